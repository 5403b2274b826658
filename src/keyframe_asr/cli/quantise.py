"""`keyframe quantise`: store a model in less space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keyframe_asr.cli.options import Model
from keyframe_asr.errors import ModelError

if TYPE_CHECKING:
    from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
    from keyframe_asr.text.decoder_vocabulary import Pruned


def quantise(
    model: Model,
    out: Path = typer.Option(..., help="Model folder to write."),
    every_weight: bool = typer.Option(
        False,
        "--every-weight",
        help="Quantise all matrices, not only those of the pretrained encoder and decoder; what "
        "makes the decoder's memory is left out.",
    ),
    decoder_languages: str | None = typer.Option(
        None,
        help="Languages, such as en,zh: leave out the tokens of a pretrained decoder that occur in "
        "no others.",
    ),
    decoder_words: Path | None = typer.Option(
        None,
        help="Text file: of the tokens of letters, leave out those that none of its words needs.",
    ),
) -> None:
    """Make a model smaller by storing weights as 8-bit integers.

    By default only the weights of a pretrained encoder and decoder are quantised, to a quarter of
    their float32 size. Run keyframe evaluate on both models to measure the effect.
    """
    from keyframe_asr.io.model_folder import (
        WEIGHTS_FILE,
        find_model,
        load_model_folder,
        quantise_model_folder,
    )

    folder = find_model(model)
    stored = load_model_folder(folder)  # refuses a damaged model
    network, tokenizer = stored.network, stored.decoder_tokenizer
    parts = ("pretrained.", "decoder.") if tokenizer else ("pretrained.",)
    names = {
        name for name, _ in network.named_parameters() if every_weight or name.startswith(parts)
    }
    if not names:
        raise ModelError(
            f"{folder}: no pretrained encoder or decoder to quantise; add --every-weight to "
            "quantise all"
        )
    vocabulary = None
    if decoder_languages is not None or decoder_words is not None:
        vocabulary = _vocabulary(folder, tokenizer, decoder_languages, decoder_words)
    quantise_model_folder(folder, out, names, vocabulary)
    before, after = ((place / WEIGHTS_FILE).stat().st_size / 1e6 for place in (folder, out))
    digits = 1 if after >= 0.1 else 4  # beside a base model there may be next to nothing
    print(f"{out}: weights are {after:.{digits}f} MB, before {before:.{digits}f} MB")


def _vocabulary(
    folder: Path, tokenizer: DecoderTokenizer | None, languages: str | None, words: Path | None
) -> Pruned:
    from keyframe_asr.io.text_file import read_text
    from keyframe_asr.text.decoder_vocabulary import pruned

    if tokenizer is None:
        raise ModelError(
            f"{folder}: has no pretrained decoder, whose tokens could be left out; leave out "
            "--decoder-languages and --decoder-words"
        )
    if languages is None:
        raise typer.BadParameter(
            "give the languages, too, such as en", param_hint="--decoder-languages"
        )
    listed = () if words is None else read_text(words, "give a text file with words").split()
    return pruned(tokenizer, [one.strip() for one in languages.split(",")], listed)
