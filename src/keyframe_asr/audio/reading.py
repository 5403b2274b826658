"""Read recordings as mono samples at 16 kHz.

`audio.decoding` decodes WAV, FLAC, MP3, Ogg, Opus and more; soxr resamples. Long recordings can be
read in blocks. Every problem with a file raises an `AudioError` whose one-line message names the
file, the cause and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

from keyframe_asr.audio.byte_source import AudioFile, name_of
from keyframe_asr.audio.decoding import BLOCK_FRAMES, Block, Sound, opened_sound
from keyframe_asr.errors import AudioError
from keyframe_asr.timing import SAMPLE_RATE

Samples = npt.NDArray[np.float32]
"""(S,) mono at 16 kHz."""

_MIXED_SAMPLES = 1 << 14
"""Samples of each channel that are mixed at once: a compressed file may have hundreds of silent
channels, which take gigabytes when they are decoded."""

_CHECKED_SAMPLES = 1600
"""Samples that `read_length` decodes at each end of a recording."""


@dataclass(frozen=True)
class AudioLength:
    """Samples of a recording per channel, its native sample rate in hertz, and its channels."""

    samples: int
    sample_rate: int
    channels: int = 1


def read_audio(
    audio: AudioFile,
    start: float = 0.0,
    seconds: float | None = None,
    channel: int | None = None,
) -> Samples:
    """Read a recording, or a part of it, as mono samples at 16 kHz.

    Resamples other sample rates, and clips values beyond full scale (from float files, lossy codecs
    or overshoot of the resampler).

    Args:
        audio: a path, `-` for standard input, an encoded recording in memory, or a binary file
            object, which is read from its position.
        start: start of the part in seconds.
        seconds: duration of the part; None reads to the end. Less is read if the file ends earlier.
        channel: the channel to read, counted from 0; None is the mean of all.

    Returns:
        (S,) float32 in [-1, 1]; S is 0 for a file with a valid header and no samples.

    Raises:
        AudioError: the file is missing, empty, a folder, not audio, damaged or cut off, lacks the
            channel, or contains samples that are not finite.
    """
    with opened_recording(audio, channel) as recording:
        return recording.part(start, seconds)


def read_channels(
    audio: AudioFile, start: float = 0.0, seconds: float | None = None
) -> tuple[Block, int]:
    """Read a recording, or a part of it, without mixing channels or resampling.

    Returns:
        samples (S, channels) at the native sample rate, and that rate in hertz.

    Raises:
        AudioError: as `read_audio`.
    """
    with opened_sound(audio) as sound:
        reader = _FiniteReader(sound)
        reader.skip(start)
        return reader.read(seconds), sound.sample_rate


def audio_blocks(
    audio: AudioFile, seconds: float = 30.0, channel: int | None = None
) -> Iterator[Samples]:
    """Read a recording as mono samples at 16 kHz, block by block, in constant memory.

    The concatenated blocks equal the result of `read_audio`; each lasts about `seconds`.

    Raises:
        AudioError: as `read_audio`, when the faulty block is reached.
    """
    with opened_recording(audio, channel) as recording:
        yield from recording.blocks(seconds)


def announced_seconds(audio: AudioFile) -> float:
    """Duration of a recording in seconds according to its header, without decoding.

    An estimate: some formats do not tell it. 0 if it is unknown.

    Raises:
        AudioError: as `read_audio`, for problems visible in the header.
    """
    with opened_sound(audio) as sound:
        return sound.announced / sound.sample_rate


def read_length(audio: AudioFile) -> AudioLength:
    """Length of a recording, checked by decoding its beginning and end, or if needed all of it.

    Raises:
        AudioError: as `read_audio`, for problems visible in the header and the first and last
            samples; also if the recording contains no samples.
    """
    with opened_sound(audio) as sound:
        reader = _FiniteReader(sound)
        if len(reader.frames(_CHECKED_SAMPLES)) == _CHECKED_SAMPLES:
            sound.seek(sound.announced - 2 * _CHECKED_SAMPLES)
            while len(reader.frames(BLOCK_FRAMES)) == BLOCK_FRAMES:
                pass
        length = AudioLength(sound.position, sound.sample_rate, sound.channels)
    if not length.samples:
        raise AudioError(f"{name_of(audio)}: contains no samples; record or copy it again")
    return length


@contextmanager
def opened_recording(audio: AudioFile, channel: int | None = None) -> Iterator[Recording]:
    """Open a recording that is read once, as a whole or by blocks.

    Raises:
        AudioError: as `read_audio`, for problems visible in the header.
    """
    with opened_sound(audio) as sound:
        yield Recording(sound, channel)


class Recording:
    """An open recording, read as mono samples at 16 kHz; see `opened_recording`.

    Attributes:
        announced_seconds: duration according to its header; an estimate, 0 if unknown.
    """

    def __init__(self, sound: Sound, channel: int | None = None) -> None:
        if channel is not None and not 0 <= channel < sound.channels:
            raise AudioError(
                f"{sound.name}: has {sound.channels} channel{'s' * (sound.channels > 1)}, so there "
                f"is no channel {channel} (the first is 0); name another one"
            )
        self.announced_seconds = sound.announced / sound.sample_rate
        self._channel = channel
        self._rate = sound.sample_rate
        self._reader = _FiniteReader(sound)
        self._read_ahead: list[Samples] = []

    def skip(self, seconds: float) -> None:
        """Begin later, or at the end. Raises `AudioError` as `read_audio`."""
        self._reader.skip(seconds)

    def part(self, start: float = 0.0, seconds: float | None = None) -> Samples:
        """Read a part, at most to the end. Raises `AudioError` as `read_audio`."""
        self._reader.skip(start)
        frames = None if seconds is None else round(seconds * self._rate)
        return self._resampled(self._mono(frames))

    def whole(self, longest: float) -> Samples | None:
        """Read all if it lasts `longest` seconds at most; None if not, and `blocks` reads it.

        Raises:
            AudioError: as `read_audio`.
        """
        most = round(longest * self._rate)
        mono = self._mono(most + 1)
        if mono.size <= most:
            return self._resampled(mono)
        self._read_ahead = [mono]
        return None

    def blocks(self, seconds: float) -> Iterator[Samples]:
        """Read block by block. Raises `AudioError` as `read_audio`, at the faulty block."""
        resampler = None
        if self._rate != SAMPLE_RATE:
            resampler = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32")
        for mono, last in self._mono_blocks(max(1, round(seconds * self._rate))):
            if resampler is not None:
                mono = np.asarray(resampler.resample_chunk(mono, last=last), dtype=np.float32)
            if mono.size:
                yield np.clip(mono, -1.0, 1.0)

    def _mono_blocks(self, size: int) -> Iterator[tuple[Samples, bool]]:
        """Yield blocks of `size` samples at the native rate, and whether they are the last."""
        for ahead in self._read_ahead:
            for start in range(0, ahead.size, size):
                yield ahead[start : start + size], False
        last = False
        while not last:
            mono = self._mono(size)
            last = mono.size < size
            yield mono, last

    def _mono(self, frames: int | None) -> Samples:
        """Read the next `frames` samples, or all if None, and mix them; fewer only at the end."""
        parts, left = [np.zeros(0, np.float32)], math.inf if frames is None else frames
        while left > 0:
            wanted = int(min(left, _MIXED_SAMPLES))
            parts.append(self._mixed(self._reader.frames(wanted)))
            left -= parts[-1].size
            if parts[-1].size < wanted:
                break
        return np.concatenate(parts)

    def _mixed(self, block: Block) -> Samples:
        if self._channel is not None:
            return np.ascontiguousarray(block[:, self._channel])
        mean: Samples = block.mean(axis=1, dtype=np.float32)
        return mean

    def _resampled(self, mono: Samples) -> Samples:
        if self._rate != SAMPLE_RATE and mono.size:
            mono = np.asarray(soxr.resample(mono, self._rate, SAMPLE_RATE), dtype=np.float32)
        clipped: Samples = np.clip(mono, -1.0, 1.0)
        return clipped


class _FiniteReader:
    """Reads a recording and raises `AudioError` where a sample is NaN or infinite."""

    def __init__(self, sound: Sound) -> None:
        self._sound = sound

    def skip(self, seconds: float) -> None:
        self._sound.skip(round(seconds * self._sound.sample_rate))

    def read(self, seconds: float | None) -> Block:
        """Read `seconds`, or to the end if None."""
        if seconds is not None:
            return self.frames(round(seconds * self._sound.sample_rate))
        blocks = [self.frames(BLOCK_FRAMES)]
        while len(blocks[-1]) == BLOCK_FRAMES:
            blocks.append(self.frames(BLOCK_FRAMES))
        return np.concatenate(blocks)

    def frames(self, count: int) -> Block:
        """Read `count` samples per channel; fewer only at the end."""
        sound = self._sound
        start = sound.position
        samples = sound.read(count)
        finite = np.isfinite(samples)
        if not finite.all():
            bad = start + int(np.flatnonzero(~finite.all(axis=1))[0])
            raise AudioError(
                f"{sound.name}: contains samples that are not finite (NaN or infinite), the first "
                f"at {bad / sound.sample_rate:.3f} s; export the recording again"
            )
        return samples
