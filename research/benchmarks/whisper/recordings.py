"""The recordings that the systems are compared on: sets of speech, and sounds without any."""

from __future__ import annotations

import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from keyframe_asr.audio.reading import read_audio
from keyframe_asr.data.manifest import audio_path, load_manifest, speaker, text
from keyframe_asr.timing import SAMPLE_RATE

Form = Literal["mandarin", "english", "spelled", "none"]

SILENCE_SECONDS = (1, 5, 20)
"""Durations of the recordings of digital silence."""

MOST_WORDS = 80
"""Recordings of the set `words`: single words, of which there are hundreds."""


@dataclass(frozen=True)
class Recording:
    """A recording; `id` is unique over all sets."""

    id: str
    speaker: str
    path: str
    language: str
    text: str
    seconds: float


@dataclass(frozen=True)
class RecordingSet:
    """Recordings whose texts are scored in the same form; `none`: there is nothing to hear."""

    name: str
    title: str
    form: Form
    recordings: tuple[Recording, ...]


SPEECH: dict[str, tuple[str, Form, str, str]] = {
    "mandarin": ("Mandarin test", "mandarin", "zh", "aishell_sample/manifest.tsv:test"),
    "english": ("English test", "english", "en", "speechocean762/manifest.tsv:test"),
    "an4": ("AN4 test", "spelled", "en", "an4/manifest.tsv:test"),
    "words": ("Words of another Mandarin voice", "mandarin", "zh", "audio_cmn/manifest.tsv:test"),
}
"""Sets with speech: title, form, language and manifest."""

NOISE = "noise"
SETS = (*SPEECH, NOISE)


def read_sets(
    names: Iterable[str],
    data: Path,
    work: Path,
    per_speaker: int | None = None,
    most: int | None = None,
) -> list[RecordingSet]:
    """Read sets.

    Args:
        names: of `SETS`.
        data: folder of the corpora.
        work: folder for the recordings of silence.
        per_speaker: recordings of each speaker of `english`; None is all.
        most: recordings of each set, evenly spread; None is all.
    """
    found = []
    for name in names:
        one = _noise(data / "noise", work) if name == NOISE else _speech(name, data, per_speaker)
        if most is not None:
            one = RecordingSet(one.name, one.title, one.form, tuple(spread(one.recordings, most)))
        found.append(one)
    return found


def spread(recordings: Sequence[Recording], most: int) -> list[Recording]:
    """At most this many recordings, evenly spread over their order."""
    count = min(most, len(recordings))
    return [recordings[place * len(recordings) // count] for place in range(count)]


def spread_by_speaker(recordings: Sequence[Recording], each: int) -> list[Recording]:
    """At most this many recordings of each speaker, evenly spread over their order."""
    speakers: dict[str, list[Recording]] = {}
    for one in recordings:
        speakers.setdefault(one.speaker, []).append(one)
    return [one for several in speakers.values() for one in spread(several, each)]


def _speech(name: str, data: Path, per_speaker: int | None) -> RecordingSet:
    title, form, language, manifest = SPEECH[name]
    recordings = [
        Recording(
            f"{name}/{cut.id}",
            speaker(cut),
            str(audio_path(cut)),
            language,
            text(cut),
            cut.duration,
        )
        for cut in load_manifest(data / manifest)
    ]
    if name == "english" and per_speaker is not None:
        recordings = spread_by_speaker(recordings, per_speaker)
    if name == "words":
        recordings = spread(recordings, MOST_WORDS)
    return RecordingSet(name, title, form, tuple(recordings))


def _noise(folder: Path, work: Path) -> RecordingSet:
    sounds = [
        (f"{NOISE}/{path.parent.name}/{path.stem}", path.parent.name, path)
        for path in sorted(folder.glob("*/*.ogg"))
    ]
    for seconds in SILENCE_SECONDS:
        path = work / f"silence_{seconds}s.wav"
        _write_silence(path, seconds)
        sounds.append((f"{NOISE}/silence/{seconds}s", "silence", path))
    recordings = tuple(
        Recording(name, kind, str(path), "en", "", len(read_audio(path)) / SAMPLE_RATE)
        for name, kind, path in sounds
    )
    return RecordingSet(NOISE, "Noise and digital silence", "none", recordings)


def _write_silence(path: Path, seconds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(bytes(2 * SAMPLE_RATE * seconds))
