"""Where transcripts go: a file for each recording, or a line of standard output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from keyframe_asr.cli.recordings import Named
from keyframe_asr.errors import AudioError
from keyframe_asr.formats import Source, escaped, render
from keyframe_asr.formats.ctm import file_field
from keyframe_asr.io.pipes import is_pipe
from keyframe_asr.results import Transcript

T = TypeVar("T")


class Format(StrEnum):
    """Output formats: the keys of `keyframe_asr.formats.FORMATS`."""

    text = "text"
    json = "json"
    jsonl = "jsonl"
    srt = "srt"
    vtt = "vtt"
    ctm = "ctm"
    textgrid = "textgrid"


def targets(
    recordings: Sequence[Named], out: Path | None, beside: bool, suffix: str
) -> list[Path | None]:
    """Return the output file of each recording: in `out`, next to the recording, or None.

    `x.wav` gives `x.txt`, but `x.wav.txt` if another recording would give the same.

    Raises:
        AudioError: two recordings have the same output file, or `beside` names a pipe.
    """
    if not beside and out is None:
        return [None] * len(recordings)
    if beside and (pipe := next((one.path for one in recordings if is_pipe(one.path)), None)):
        raise AudioError(f"{pipe}: a pipe, which is in no folder of recordings; give --out DIR")
    whole = [named.path if beside or out is None else out / named.relative for named in recordings]
    stems = _distinct([[path.with_suffix(""), path] for path in whole])
    written = [stem.with_name(stem.name + suffix) for stem in stems]
    owners: dict[Path, Path] = {}
    for recording, target in zip(recordings, written, strict=True):
        if (other := owners.setdefault(target, recording.path)) is not recording.path:
            raise AudioError(
                f"{other} and {recording.path}: both would be written to {target}; give the "
                "folder they are in, --beside, or a pattern such as 'DIR/**/*.wav'"
            )
    return list(written)


def ids(recordings: Sequence[Named]) -> list[str]:
    """Return an id of each recording for CTM: as little of its path as tells it from the others.

    That is its path below the folder searched, without suffix; if that is not enough, with suffix,
    then the whole path, and at last a number.
    """
    short = [
        [named.relative.with_suffix(""), named.relative, named.path.with_suffix(""), named.path]
        for named in recordings
    ]
    found = _distinct([[file_field(path.as_posix()) for path in paths] for paths in short])
    again = Counter(found)
    numbers: Counter[str] = Counter()
    for place, one in enumerate(found):
        if again[one] > 1:  # spaces of a name, and underscores of another
            numbers[one] += 1
            found[place] = f"{one}#{numbers[one]}"
    return found


def printed(transcript: Transcript, output: Format, source: Source, several: bool = False) -> str:
    """Render for standard output: text and JSON as one line that names the recording."""
    if output is Format.json:
        output = Format.jsonl
    content = render(transcript, output, source)
    if output is Format.text and several:
        return f"{escaped(source.name)}\t{content}"
    return content


def _distinct(choices: list[list[T]]) -> list[T]:
    """Choose one value from each list, the first that no other list chooses, or the last."""
    places = [0] * len(choices)
    while True:
        chosen = [own[place] for own, place in zip(choices, places, strict=True)]
        times = Counter(chosen)
        moved = False
        for index, one in enumerate(chosen):
            if times[one] > 1 and places[index] + 1 < len(choices[index]):
                places[index] += 1
                moved = True
        if not moved:
            return chosen
