"""`keyframe language-model`: make n-gram language models from text, convert, prune and mix them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from keyframe_asr.decoding.lm.arpa import NgramModel
    from keyframe_asr.decoding.lm.packed import Origin
    from keyframe_asr.decoding.lm.scoring import Unit
    from keyframe_asr.inference.recognizer import Recognizer

KALDI_FILES = ("wav.scp", "utt2spk", "segments")
"""Files next to the `text` of a Kaldi folder."""

SHORTEST_ID = 4
"""Characters of an utterance id; numbers that begin a sentence are usually shorter."""


MODEL_SUFFIXES = (".arpa", ".arpa.gz", ".ngram")
"""Names of files that are language models rather than texts."""

BYTES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


Texts = Annotated[
    list[Path],
    typer.Argument(
        metavar="TEXT",
        help="Text files with one sentence per line, or manifests (.jsonl.gz, .tsv) with "
        "transcripts; or language models (.arpa, .arpa.gz, .ngram) to convert, prune or mix.",
    ),
]
Out = Annotated[Path, typer.Option(help="File to write: FILE.ngram (packed) or FILE.arpa.")]
Order = Annotated[int, typer.Option(min=1, max=10, help="Length of the longest n-gram.")]
UnitOption = Annotated[
    Literal["word", "character", "token"] | None,
    typer.Option(
        help="Unit of the n-grams. Default: character for a --model whose text form has no "
        "spaces, else word."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Recognition model whose text normalisation is applied, and that must be able to "
        "write the words; --unit token also uses its tokens."
    ),
]
MaxSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Prune to this size as a packed file, such as 2MB. Default: 8MB for FILE.ngram, "
        "no pruning for FILE.arpa.",
    ),
]
Shares = Annotated[
    str | None,
    typer.Option(
        metavar="A,B...",
        help="Make a model of each TEXT and mix them with these shares, such as 3,1. Default: "
        "one model of all.",
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        help="Text and licence to name in FILE.ngram; repeat for more. Default: the file names."
    ),
]


def language_model(
    text: Texts,
    out: Out,
    order: Order = 3,
    unit: UnitOption = None,
    model: Model = None,
    max_size: MaxSize = None,
    shares: Shares = None,
    source: Sources = None,
) -> None:
    """Make an n-gram language model from text, or convert, prune or mix models.

    Estimation uses interpolated modified Kneser-Ney smoothing, pruning relative entropy.
    """
    if unit == "token" and model is None:
        raise typer.BadParameter(
            "--unit token needs the model whose tokens are used", param_hint="--model"
        )
    packed = out.name.endswith(".ngram")
    limit = _bytes(max_size or ("8MB" if packed else None))
    weights = _parsed_shares(shares, text)
    from keyframe_asr.decoding.lm.arpa import write_arpa
    from keyframe_asr.decoding.lm.building import unit_of_form
    from keyframe_asr.decoding.lm.mixing import mixed
    from keyframe_asr.decoding.lm.packed import write_packed
    from keyframe_asr.decoding.lm.pruning import pruned_to_size
    from keyframe_asr.inference.recognizer import load

    recognizer = load(model, "cpu") if model is not None else None
    if unit is None and not all(map(_is_model, text)):
        unit = unit_of_form(recognizer.config.text_form if recognizer else None)
    parts = [[path] for path in text] if weights else [text]
    models = [_model_of(part, unit, order, recognizer) for part in parts]
    whole = mixed(models, weights) if weights else models[0]
    found = whole if limit is None else pruned_to_size(whole, limit)
    if packed:
        write_packed(found, out, _origin(text, unit, source))
    else:
        write_arpa(found, out)
    sizes = ", ".join(f"{len(ngrams)} {n}-grams" for n, ngrams in enumerate(found.orders, 1))
    before = sum(map(len, whole.orders))
    pruned = f", pruned from {before} n-grams" if found is not whole else ""
    typer.echo(f"{out}: {sizes}, {out.stat().st_size} bytes{pruned}")


def _origin(text: list[Path], unit: Unit | None, source: list[str] | None) -> Origin:
    """Name the sources, by default those that packed models name, and the names of other files."""
    from keyframe_asr.decoding.lm.packed import Origin, is_packed, read_origin

    origins = [
        read_origin(path) if is_packed(path) else Origin(unit, (path.name,)) for path in text
    ]
    sources = [one for origin in origins for one in origin.sources]
    return Origin(unit or origins[0].unit, tuple(source or sources))


def _is_model(path: Path) -> bool:
    return path.name.endswith(MODEL_SUFFIXES)


def _bytes(size: str | None) -> int | None:
    """Parse a size such as 8MB or 500kB."""
    if size is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?b?)", size.strip().lower())
    if not found or found[2] not in BYTES:
        raise typer.BadParameter(
            f"'{size}' is not a size; give one such as 8MB or 500kB", param_hint="--max-size"
        )
    return int(float(found[1]) * BYTES[found[2]])


def _parsed_shares(shares: str | None, text: list[Path]) -> list[float] | None:
    """Parse one share for each TEXT; models need shares if they are not alone."""
    if shares is None:
        if len(text) > 1 and any(map(_is_model, text)):
            raise typer.BadParameter(
                "several TEXTs of which one is a language model need a share each",
                param_hint="--shares",
            )
        return None
    try:
        numbers = [float(one) for one in shares.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(text) or not all(0 < number < math.inf for number in numbers):
        raise typer.BadParameter(
            f"'{shares}' is not one number above 0 for each of {len(text)} TEXTs, such as 3,1",
            param_hint="--shares",
        )
    return numbers


def _model_of(
    paths: list[Path], unit: Unit | None, order: int, recognizer: Recognizer | None
) -> NgramModel:
    """Read one language model, or estimate one from texts."""
    from keyframe_asr.decoding.lm.building import build_language_model
    from keyframe_asr.decoding.lm.kneser_ney import NoWordsError
    from keyframe_asr.decoding.lm.packed import read_language_model

    if _is_model(paths[0]):
        return read_language_model(paths[0])
    try:
        return build_language_model(
            (line for path in paths for line in _lines(path)),
            recognizer.tokenizer if recognizer else None,
            recognizer.config.text_form if recognizer else None,
            unit=unit,
            order=order,
            max_bytes=None,
        )
    except NoWordsError as error:
        raise NoWordsError(f"{', '.join(map(str, paths))}: {error}") from None


def _lines(path: Path) -> Iterator[str]:
    """Read the sentences of a text file or manifest. Raises `ManifestError` on failure."""
    from keyframe_asr.errors import ManifestError
    from keyframe_asr.io.text_file import read_lines

    # the name of a table may end with a split, as in FILE.tsv:train
    if path.name.endswith(".jsonl.gz") or ".tsv" in path.suffix:
        from keyframe_asr.data.manifest import load_manifest
        from keyframe_asr.data.manifest import text as transcript

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
