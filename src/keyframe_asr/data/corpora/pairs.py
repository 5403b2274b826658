"""Folders of recordings, each with its text in a file of the same name beside it.

    ann/a1.wav   ann/a1.txt        also .lab or .trn, or a1.normalized.txt as in LibriTTS

Recordings may lie at any depth and in any format that can be read. If all lie in several folders,
the outermost ones count as speakers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from keyframe_asr.audio.suffixes import readable_suffixes, unreadable_suffixes
from keyframe_asr.data.corpora.listing import ListedUtterance
from keyframe_asr.errors import KeyframeError, ManifestError
from keyframe_asr.io.text_file import read_lines

TEXT_SUFFIXES = {".normalized.txt": 0, ".original.txt": 2, ".txt": 1, ".lab": 1, ".trn": 1}
"""Endings of texts; of several texts for a recording, the one of the lowest number is read."""


def list_pairs_below(folder: Path) -> tuple[list[ListedUtterance], list[str]]:
    """List the pairs below a folder by name, and the problems of files without a partner.

    Raises:
        ManifestError: there is no pair.
    """
    audio: dict[str, Path] = {}
    texts: dict[str, tuple[int, Path]] = {}
    problems = []
    needs_package = 0
    for path in _files_below(folder):
        name = str(path.relative_to(folder))
        lower = name.lower()
        suffix = os.path.splitext(lower)[1]
        needs_package += suffix in unreadable_suffixes()
        if suffix in readable_suffixes():
            stem = name[: -len(suffix)]
            if stem in audio:
                problems.append(f"{name}: {audio[stem].name} has the same name")
            else:
                audio[stem] = path
        elif ending := next(filter(lower.endswith, TEXT_SUFFIXES), None):
            stem = name[: -len(ending)]
            texts[stem] = min((TEXT_SUFFIXES[ending], path), texts.get(stem, (9, path)))
    both = sorted({*audio} & {*texts})
    if not both:
        raise ManifestError(f"{folder}: {_nothing(audio, texts, needs_package)}")
    problems += [f"{name}: recording without a text" for name in sorted({*audio} - {*texts})]
    problems += [f"{name}: text without a recording" for name in sorted({*texts} - {*audio})]
    speakers = _speakers(both)
    utterances = []
    for name in both:
        try:
            text = " ".join(" ".join(read_lines(texts[name][1], "")).split())
        except KeyframeError as error:
            problems.append(f"{name}: {error}".removesuffix("; "))
            continue
        named = "-".join(Path(name).parts)
        utterances.append(ListedUtterance(named, speakers.get(name, ""), text, audio[name]))
    return utterances, problems


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, without hidden ones, following no links to folders."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        yield from (Path(place, one) for one in sorted(files) if not one.startswith("."))


def _speakers(names: list[str]) -> dict[str, str]:
    """Map names to their outermost folder, if all lie in folders, and these are several."""
    outermost = {name: Path(name).parts[0] for name in names if len(Path(name).parts) > 1}
    several = len(outermost) == len(names) and len(set(outermost.values())) > 1
    return outermost if several else {}


def _nothing(audio: dict[str, Path], texts: dict[str, tuple[int, Path]], needs_package: int) -> str:
    """Say why a folder has no pairs."""
    asked = "give a folder of recordings with texts of the same names (a.wav and a.txt)"
    if needs_package and not audio:
        return (
            f"its {needs_package} recordings need PyAV; pip install 'keyframe-asr[video]', or "
            "convert them to .wav or .flac"
        )
    if not audio and not texts:
        return f"contains neither recordings nor texts; {asked}, or a table"
    if not texts:
        return f"recordings ({len(audio)}), but no texts; {asked}, or a table"
    if not audio:
        return f"texts ({len(texts)}), but no recordings; {asked}"
    shown = f"{next(iter(audio.values())).name}, {next(iter(texts.values()))[1].name}"
    return (
        f"recordings ({len(audio)}) and texts ({len(texts)}), but none of the same name ({shown}); "
        "name them alike"
    )
