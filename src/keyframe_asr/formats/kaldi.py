"""The files of a Kaldi data folder: `segments`, `text`, `utt2spk` and `wav.scp`.

Lines are sorted by their first field as in the C locale, which Kaldi's scripts demand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keyframe_asr.formats.ctm import file_field
from keyframe_asr.formats.timed_text import clean


@dataclass(frozen=True)
class KaldiUtterance:
    """An utterance of a recording, with times in seconds from the start of the recording."""

    id: str
    recording: str
    path: str
    speaker: str
    start: float
    end: float
    text: str


def data_folder(utterances: Iterable[KaldiUtterance]) -> dict[str, str]:
    """Return the content of each file by its name.

    An utterance without a speaker is its own, as Kaldi advises. `wav.scp` has paths: recordings
    that are no WAV files need a command there.
    """
    files: dict[str, dict[str, str]] = {
        name: {} for name in ("segments", "text", "utt2spk", "wav.scp")
    }
    for one in utterances:
        id, recording = file_field(one.id), file_field(one.recording)
        files["segments"][id] = f"{recording} {one.start:.3f} {one.end:.3f}"
        files["text"][id] = clean(one.text)
        files["utt2spk"][id] = file_field(one.speaker) if one.speaker else id
        files["wav.scp"][recording] = one.path
    return {
        name: "".join(f"{key} {lines[key]}\n" for key in sorted(lines, key=str.encode))
        for name, lines in files.items()
    }
