"""`keyframe language-model`: estimate an n-gram language model from text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from keyframe_asr.config.text_form import TextForm
    from keyframe_asr.inference.recognizer import Recognizer

KALDI_FILES = ("wav.scp", "utt2spk", "segments")
"""Files next to the `text` of a Kaldi folder."""

SHORTEST_ID = 4
"""Characters of an utterance id; numbers that begin a sentence are usually shorter."""


def language_model(
    text: Annotated[
        list[Path],
        typer.Argument(
            metavar="TEXT",
            help="Text files with one sentence per line, or manifests (.jsonl.gz, .tsv) with "
            "transcripts.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="ARPA file to write.")],
    order: Annotated[int, typer.Option(min=1, max=10, help="Length of the longest n-gram.")] = 3,
    unit: Annotated[
        Literal["word", "character", "token"] | None,
        typer.Option(
            help="Unit of the n-grams. Default: character for a --model whose text form has no "
            "spaces, else word."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Recognition model whose text normalisation is applied; --unit token also uses "
            "its tokens."
        ),
    ] = None,
) -> None:
    """Estimate an n-gram language model from text, for --language-model.

    Writes an ARPA file with interpolated modified Kneser-Ney smoothing.
    """
    if unit == "token" and model is None:
        raise typer.BadParameter(
            "--unit token needs the model whose tokens are used", param_hint="--model"
        )
    from keyframe_asr.decoding.lm.arpa import write_arpa
    from keyframe_asr.decoding.lm.kneser_ney import estimate
    from keyframe_asr.decoding.lm.scoring import split_units
    from keyframe_asr.inference.recognizer import load

    recognizer: Recognizer | None = load(model, "cpu") if model is not None else None
    tokenizer = recognizer.tokenizer if recognizer else None
    form = recognizer.config.text_form if recognizer else None
    if unit is None:
        unit = "character" if form is not None and form.separation == "none" else "word"
    sentences = [
        split_units(_in_form(line, unit, form), unit, tokenizer)
        for path in text
        for line in _lines(path)
    ]
    found = estimate(sentences, order)
    write_arpa(found, out)
    sizes = ", ".join(f"{len(ngrams)} {n}-grams" for n, ngrams in enumerate(found.orders, 1))
    typer.echo(f"{out}: {sizes} from {len(sentences)} sentences")


def _in_form(line: str, unit: str, form: TextForm | None) -> str:
    """Bring a line into the form of the model, if any, with spaces between all of its words."""
    from keyframe_asr.text.forms import normalise_text, words_of_form

    if form is None:
        return line
    normal = normalise_text(line, form)
    return " ".join(words_of_form(normal, form)) if unit == "word" else normal


def _lines(path: Path) -> Iterator[str]:
    """Read the sentences of a text file or manifest. Raises `ManifestError` on failure."""
    from keyframe_asr.data.manifest import load_manifest
    from keyframe_asr.data.manifest import text as transcript
    from keyframe_asr.errors import ManifestError
    from keyframe_asr.io.text_file import read_lines

    # the name of a table may end with a split, as in FILE.tsv:train
    if path.name.endswith(".jsonl.gz") or ".tsv" in path.suffix:
        yield from (transcript(cut) for cut in load_manifest(str(path)))
        return
    lines = [
        line
        for line in read_lines(path, "give a text file with one sentence per line", ManifestError)
        if line.strip()
    ]
    if not _have_ids(lines):
        yield from lines
    elif not any((path.parent / name).is_file() for name in KALDI_FILES):
        raise ManifestError(
            f"{path}: every line begins with something like an id ('{_first(lines[0])}'); "
            "give the Kaldi folder's own file, next to wav.scp, or remove the ids: "
            "cut -d' ' -f2-"
        )
    else:
        typer.echo(f"{path}: the first word of each line is taken for an utterance id", err=True)
        yield from (" ".join(line.split()[1:]) for line in lines)


def _have_ids(lines: list[str]) -> bool:
    """Return whether every line begins with another word that has a digit, as ids do."""
    firsts = [_first(line) for line in lines]
    return (
        len(firsts) > 1
        and len(set(firsts)) == len(firsts)
        and all(re.search(r"\d", first) and len(first) >= SHORTEST_ID for first in firsts)
    )


def _first(line: str) -> str:
    return line.split(maxsplit=1)[0]
