"""`keyframe language-model`: an n-gram model from text, for the beam searches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from keyframe_asr.inference.recognizer import Recognizer


def language_model(
    text: Annotated[
        list[Path],
        typer.Argument(
            help="Text with one sentence a line, or manifests (.jsonl.gz, .tsv) with transcripts."
        ),
    ],
    out: Annotated[Path, typer.Option(help="ARPA file to write.")],
    order: Annotated[int, typer.Option(min=1, max=10, help="Longest n-gram.")] = 3,
    unit: Annotated[
        Literal["word", "character", "token"], typer.Option(help="What an n-gram counts.")
    ] = "word",
    model: Annotated[
        str | None,
        typer.Option(
            help="Recogniser it is for, whose normal form the text gets; needed by --unit token."
        ),
    ] = None,
) -> None:
    """Build an n-gram language model from text, for --language-model.

    Writes an ARPA file, smoothed by interpolated modified Kneser-Ney.
    """
    if unit == "token" and model is None:
        raise typer.BadParameter("tokens are those of a recogniser; name it", param_hint="--model")
    from keyframe_asr.decoding.lm.arpa import write_arpa
    from keyframe_asr.decoding.lm.kneser_ney import estimate
    from keyframe_asr.decoding.lm.scoring import split_units
    from keyframe_asr.inference.recognizer import load
    from keyframe_asr.text.forms import NORMALISATIONS

    recognizer: Recognizer | None = load(model, "cpu") if model is not None else None
    tokenizer = recognizer.tokenizer if recognizer else None
    normalise = NORMALISATIONS[recognizer.config.normalisation] if recognizer else str
    sentences = [
        split_units(normalise(line), unit, tokenizer) for path in text for line in _lines(path)
    ]
    found = estimate(sentences, order)
    write_arpa(found, out)
    sizes = ", ".join(f"{len(ngrams)} {n}-grams" for n, ngrams in enumerate(found.orders, 1))
    typer.echo(f"{out}: {sizes} of {len(sentences)} sentences")


def _lines(path: Path) -> Iterator[str]:
    """Sentences of a text file or a manifest. Raises `ManifestError` if it cannot be read."""
    from keyframe_asr.data.manifest import load_manifest
    from keyframe_asr.data.manifest import text as transcript
    from keyframe_asr.errors import ManifestError

    # a table may be followed by the name of a split, as in FILE.tsv:train
    if path.name.endswith(".jsonl.gz") or ".tsv" in path.suffix:
        yield from (transcript(cut) for cut in load_manifest(str(path)))
        return
    try:
        yield from path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ManifestError(
            f"{path}: cannot be read: {reason}; give a text file with one sentence a line"
        ) from None
