"""What a recording holds, decoded from its first sample to its last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import soundfile
from lhotse.cut import Cut
from torch.utils.data import DataLoader, Dataset

from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import audio_path
from keyframe_asr.errors import AudioError, ManifestError

FULL_SCALE = 0.999
"""Samples of at least this size count as clipped; the largest 16-bit sample is 0.99997."""


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What one recording, or the part of it that an utterance is, holds.

    Attributes:
        sample_rate: of the file, in hertz; 0 if it has no header that can be read.
        channels: of the file, 0 likewise.
        problem: kind of finding, "" if the audio can be used.
        reason: why, for people.
        silent: every sample is 0.
        clipped: share of the samples at full scale, as the model hears them (16 kHz, mono).
        digest: equal for equal samples at 16 kHz; empty if there is a problem or silence.
    """

    sample_rate: int = 0
    channels: int = 0
    problem: str = ""
    reason: str = ""
    silent: bool = False
    clipped: float = 0.0
    digest: bytes = b""


def listen(cuts: Sequence[Cut], workers: int = 0) -> Iterator[AudioFacts]:
    """Facts of each cut, in order; decoded by `workers` processes beside this one."""
    yield from DataLoader(_Recordings(cuts), batch_size=None, num_workers=workers)


def audio_facts(cut: Cut) -> AudioFacts:
    """Decode the audio of a cut, all of it."""
    path = audio_path(cut)
    try:
        samples = read_samples(cut)
    except (AudioError, ManifestError) as error:
        rate, channels = _header(path)
        reason = str(error).removeprefix(f"{path}: ").partition("; ")[0]
        return AudioFacts(rate, channels, _problem(path, error), reason)
    rate, channels = _header(path)
    if not samples.size:
        return AudioFacts(rate, channels, "audio-empty", "0 samples")
    if not samples.any():
        return AudioFacts(rate, channels, silent=True)
    clipped = float(np.mean(np.abs(samples) >= FULL_SCALE))
    digest = blake2b(samples.tobytes(), digest_size=16).digest()
    return AudioFacts(rate, channels, clipped=clipped, digest=digest)


class _Recordings(Dataset[AudioFacts]):
    def __init__(self, cuts: Sequence[Cut]) -> None:
        self._cuts = cuts

    def __len__(self) -> int:
        return len(self._cuts)

    def __getitem__(self, index: int) -> AudioFacts:
        return audio_facts(self._cuts[index])


def _header(path: Path) -> tuple[int, int]:
    try:
        info = soundfile.info(os.fsencode(path))
    except (OSError, soundfile.SoundFileError, TypeError, ValueError):
        return 0, 0
    return info.samplerate, info.channels


def _problem(path: Path, error: AudioError | ManifestError) -> str:
    """The kind of a failure; a look at the file tells what the error says to people only."""
    try:
        if not path.is_file():
            return "audio-missing"
        if not path.stat().st_size:
            return "audio-empty"
        samples, _ = soundfile.read(os.fsencode(path), dtype="float32")
    except (OSError, soundfile.SoundFileError, TypeError, ValueError, MemoryError):
        return "audio-unreadable"
    if isinstance(error, ManifestError):
        return "audio-duration" if samples.size else "audio-empty"
    return "audio-unreadable" if np.isfinite(samples).all() else "audio-not-finite"
