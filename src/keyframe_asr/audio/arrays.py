"""Samples in memory as mono samples at 16 kHz, as `audio.reading` gives those of a file."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from keyframe_asr.audio.byte_source import AudioFile, name_of
from keyframe_asr.audio.reading import Samples
from keyframe_asr.errors import AudioError
from keyframe_asr.timing import SAMPLE_RATE

LARGEST_FLOAT = 32.0
"""Floats beyond this are not audio in [-1, 1] with overshoot, but integers of another scale."""

MOST_CHANNELS = 16
"""The axis of an array that is no longer than this holds the channels, if the other is longer."""

RATES = (1_000, 768_000)
"""Lowest and highest sample rate of recordings in hertz."""

_ACCEPTED = "samples (S,), (S, channels) or (channels, S), floats in [-1, 1] or int16"


def checked_samples(
    samples: object, sample_rate: int | None = None, channel: int | None = None
) -> Samples:
    """Return samples as mono (S,) float32 at 16 kHz, clipped to [-1, 1].

    Args:
        samples: a NumPy array or torch tensor of floats in [-1, 1] or of int16: (S,), (S, C) as
            soundfile gives, or (C, S) as lhotse and torchaudio do.
        sample_rate: in hertz; None is 16 kHz. Others are resampled, as those of files are.
        channel: the channel to take, counted from 0; None is the mean of all.

    Raises:
        AudioError: they are of another type or shape, not finite, or floats at int16 scale; or
            there is no such channel or rate.
    """
    rate = checked_rate(sample_rate)
    mono = _mono(_floats(samples), channel)
    if rate != SAMPLE_RATE and mono.size:
        mono = np.asarray(soxr.resample(mono, rate, SAMPLE_RATE), dtype=np.float32)
    # as in `read_audio`, so that a file and its samples give the same text
    clipped: Samples = np.clip(mono, -1.0, 1.0)
    return np.ascontiguousarray(clipped)


def checked_block(samples: object) -> Samples:
    """Return a block of a stream as float32 (S,), at its own sample rate.

    Args:
        samples: mono (S,), a NumPy array or torch tensor of floats in [-1, 1] or of int16.

    Raises:
        AudioError: they are of another type or shape, not finite, or floats at int16 scale.
    """
    floats = _floats(samples)
    if floats.ndim != 1:
        raise AudioError(
            f"samples of a stream must be mono (S,), but are {floats.shape}; give one channel"
        )
    return floats


def refuse_rate(audio: AudioFile, sample_rate: int | None) -> None:
    """Raise `AudioError` if a sample rate is given with a file, which has its own."""
    if sample_rate is not None:
        raise AudioError(
            f"{name_of(audio)}: a file, which has a sample rate of its own; leave out "
            f"sample_rate={sample_rate!r}, which is for samples"
        )


def checked_rate(rate: Any) -> int:
    """Return a sample rate in hertz; None is 16 kHz. Raises `AudioError` for what is none."""
    if rate is None:
        return SAMPLE_RATE
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer):
        raise AudioError(f"sample_rate is {rate!r}; give an integer in hertz, such as 44100")
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            f"sample_rate is {rate}; give hertz, from {RATES[0]} to {RATES[1]}, such as 44100"
        )
    return int(rate)


def _floats(samples: object) -> npt.NDArray[np.float32]:
    """Return samples of any shape and accepted type as float32."""
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is not None and isinstance(samples, torch.Tensor):
        # NumPy has no bfloat16
        floats = samples.float() if samples.is_floating_point() else samples
        samples = floats.detach().cpu().numpy()
    if not isinstance(samples, np.ndarray):
        raise AudioError(
            f"type {type(samples).__name__} is not a recording; give {_ACCEPTED}, a file or its "
            "bytes"
        )
    is_integer = samples.dtype == np.int16
    if samples.ndim not in (1, 2) or not (is_integer or np.issubdtype(samples.dtype, np.floating)):
        raise AudioError(
            f"samples must be {_ACCEPTED}, but are {samples.dtype} {samples.shape}; convert them "
            "first"
        )
    if is_integer:
        return np.asarray(samples / np.float32(32768), dtype=np.float32)
    if not np.isfinite(samples).all():
        raise AudioError("samples have NaN or infinite values; record or convert them again")
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > LARGEST_FLOAT:
        raise AudioError(
            f"samples are {samples.dtype} up to {peak:g}, but floats must be in [-1, 1]; divide "
            "them by 32768, or give int16"
        )
    return samples.astype(np.float32)


def _mono(samples: npt.NDArray[np.float32], channel: int | None) -> Samples:
    """Return a channel, or the mean of all, of samples (S,), (S, C) or (C, S)."""
    if samples.ndim == 1:
        samples = samples[None]
    elif not 1 <= min(samples.shape) <= MOST_CHANNELS < max(samples.shape):
        raise AudioError(
            f"samples are {samples.shape}, where one axis must hold 1 to {MOST_CHANNELS} channels "
            "and the other more samples than that; give (S, channels) or (channels, S)"
        )
    by_channel = samples if samples.shape[0] <= MOST_CHANNELS else samples.T
    if channel is None and len(by_channel) > 1:
        mean: Samples = by_channel.mean(axis=0, dtype=np.float32)
        return mean
    channel = channel or 0
    if not 0 <= channel < len(by_channel):
        raise AudioError(
            f"samples have {len(by_channel)} channels, so there is no channel {channel} (the first "
            "is 0); name another one"
        )
    chosen: Samples = by_channel[channel]
    return chosen
