"""Finding a corpus in the folder that was given, and reading its lists of utterances."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from keyframe_asr.data.corpora.listing import ListedUtterance, Split
from keyframe_asr.errors import ManifestError

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
"""In the order of every listing."""


def find_root(source: Path, inner: str, inside: Iterable[str], corpus: str) -> Path:
    """The corpus's own folder: `source`, or `inner` below it.

    `inside` names what lies in it, of which one thing has to be there.

    Raises:
        ManifestError: it is neither.
    """
    source = Path(os.path.abspath(source))
    if not source.is_dir():
        raise ManifestError(f"{source}: no such folder; give the folder of {corpus} as --source")
    for root in (source / inner, source):
        if any((root / name).exists() for name in inside):
            return root
    raise ManifestError(
        f"{source}: holds no {corpus} (looked for {', '.join(inside)}, also in {inner}); give the "
        f"folder that holds {inner} as --source"
    )


def read_keyed_lines(path: Path) -> dict[str, str]:
    """The lines "ID REST" of a file, by ID, in its order; REST may be empty.

    Raises:
        ManifestError: the file is missing or not UTF-8, or gives an ID two different lines.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; get the corpus again, whole") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    entries: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        rest = rest.strip()
        if entries.get(key, rest) != rest:
            raise ManifestError(
                f"{path}:{number}: '{key}' has two different lines; delete the wrong one"
            )
        if key:
            entries[key] = rest
    return entries


def files_below(folder: Path, suffix: str | tuple[str, ...]) -> list[str]:
    """Names of the files in a folder that end in `suffix`, in order; none if it is not there.

    Names that start with a dot are left out: other systems leave such files behind.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return sorted(
        name for name in names if name.lower().endswith(suffix) and not name.startswith(".")
    )


def list_pairs(
    texts: Mapping[str, str], recordings: Mapping[str, Path], speakers: Mapping[str, str]
) -> tuple[list[ListedUtterance], list[str]]:
    """Utterances that have a recording and a transcript, by name, and problems of all others.

    `recordings` names only files that exist.
    """
    utterances, problems = [], []
    for name in sorted({*texts, *recordings}):
        if name not in recordings:
            problems.append(f"{name}: no recording")
        elif not texts.get(name):
            problems.append(f"{name}: no transcript")
        else:
            speaker = speakers.get(name, "")
            utterances.append(ListedUtterance(name, speaker, texts[name], recordings[name]))
    return utterances, problems
