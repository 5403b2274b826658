"""Kaldi data folders: `wav.scp` and `text`, optionally `segments`, `utt2spk` and
`reco2file_and_channel`.

The format is described at https://kaldi-asr.org/doc/data_prep.html. lhotse's `load_kaldi_data_dir`
is not used: it opens all recordings, needs one sample rate for all, and silently drops what it
cannot use. This reader opens no recording and reports what is missing.

A fifth column of `segments` is the channel, counted from 0, as Kaldi's extract-segments reads it.
`reco2file_and_channel` names the side of a call, A or B, also written 1 or 2; it counts where the
file of the recording has both sides.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.data.corpora.listing import (
    CorpusListing,
    ListedUtterance,
    Split,
    find_splits,
    read_keyed_lines,
    read_lines,
)
from keyframe_asr.errors import ManifestError

ADVICE = "give a Kaldi data folder"
"""What to do if a file is missing."""

_SIDES = {"A": 0, "B": 1, "1": 0, "2": 1}
"""Channels in `reco2file_and_channel`."""

_ARCHIVE = re.compile(r".*\.ark(:\d+)?$")


@dataclass(frozen=True)
class _Segment:
    """Position of an utterance in a recording, in seconds; `end` None is the end of it.

    `channel` is counted from 0; None if it is not named.
    """

    recording: str
    start: float = 0.0
    end: float | None = None
    channel: int | None = None


def read(
    source: Path,
    language: str,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
) -> CorpusListing:
    """List the data folders `train`, `dev` and `test` in `source`, or those with the given names.

    Paths in `wav.scp` are relative to the working directory, as in Kaldi, or else to `source`.

    Raises:
        ManifestError: a folder or file is missing or has an invalid line, or a recording is not a
            file.
    """
    source = Path(source)
    folders = find_splits(source, (train, dev, test), ("{}",), "data folder")
    problems: list[str] = []
    splits: dict[Split, list[ListedUtterance]] = {
        split: read_folder(folder, source, problems) for split, folder in folders.items()
    }
    return CorpusListing("kaldi", language, splits, problems=problems)


def read_folder(folder: Path, source: Path, problems: list[str]) -> list[ListedUtterance]:
    """List one data folder.

    Args:
        folder: holds `wav.scp`, `text` and so on.
        source: folder to which paths are relative that do not exist below the working directory.
        problems: receives a line per utterance that lacks its text or recording.

    Raises:
        ManifestError: as `read`.
    """
    recordings = _recordings(folder / "wav.scp", source)
    texts = read_keyed_lines(folder / "text", ADVICE)
    speakers = (
        read_keyed_lines(folder / "utt2spk", ADVICE) if (folder / "utt2spk").is_file() else {}
    )
    sides = _sides(folder / "reco2file_and_channel")
    if (folder / "segments").is_file():
        segments = _segments(folder / "segments")
    else:
        segments = {name: _Segment(name) for name in recordings}
    utterances = []
    for name, segment in segments.items():
        if name not in texts:
            problems.append(f"{name}: no line in {folder / 'text'}")
        elif segment.recording not in recordings:
            problems.append(f"{name}: recording '{segment.recording}' is not in wav.scp")
        else:
            utterances.append(
                ListedUtterance(
                    name,
                    speakers.get(name, ""),
                    texts[name],
                    recordings[segment.recording],
                    segment.start,
                    segment.end,
                    sides.get(segment.recording) if segment.channel is None else segment.channel,
                    may_be_apart=segment.channel is None,
                )
            )
    problems += [f"{name}: text without a recording" for name in texts if name not in segments]
    return utterances


def _recordings(file: Path, source: Path) -> dict[str, Path]:
    found = {}
    for name, place in read_keyed_lines(file, ADVICE).items():
        if place.endswith("|") or place == "-":
            raise ManifestError(
                f"{file}: recording '{name}' is a command ({place}), but only files are supported; "
                "run the commands and list the files they write, or use Kaldi's wav-copy"
            )
        if _ARCHIVE.match(place):
            raise ManifestError(
                f"{file}: recording '{name}' is in an archive ({place}), but only files are "
                "supported; extract the archives with Kaldi's wav-copy"
            )
        path = Path(place)
        found[name] = path if path.is_absolute() or os.path.isfile(path) else source / path
    return found


def _segments(file: Path) -> dict[str, _Segment]:
    found: dict[str, _Segment] = {}
    for line, content in read_lines(file, ADVICE):
        name, *cells = content.split()
        try:
            recording, start, end = cells[0], float(cells[1]), float(cells[2])
            channel = int(cells[3]) if len(cells) > 3 else None
        except (IndexError, ValueError):
            start = end = math.nan
            channel = None
        valid = math.isfinite(start) and math.isfinite(end) and start >= 0 and len(cells) <= 4
        if not valid or (channel is not None and channel < 0):
            raise ManifestError(
                f"{file}:{line}: not 'UTTERANCE RECORDING START END [CHANNEL]' with times in "
                "seconds and channels counted from 0"
            )
        if name in found:
            raise ManifestError(f"{file}:{line}: '{name}' occurs twice; give each a unique name")
        # -1 stands for the end of the recording
        found[name] = _Segment(recording, start, None if end == -1 else end, channel)
    return found


def _sides(file: Path) -> dict[str, int]:
    """Read the channel of each recording, counted from 0; empty if there is no such file."""
    if not file.is_file():
        return {}
    found = {}
    for line, content in read_lines(file, ADVICE):
        name, *cells = content.split()
        side = cells[-1] if len(cells) == 2 else ""
        if side not in _SIDES:
            raise ManifestError(
                f"{file}:{line}: not 'RECORDING FILE CHANNEL' with one of {', '.join(_SIDES)}"
            )
        found[name] = _SIDES[side]
    return found
