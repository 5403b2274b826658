"""Front ends: compute features from samples.

The default is a Kaldi-compatible log-mel filter bank; a pretrained encoder brings its own front
end. kaldi-native-fbank computes the same as Kaldi's
`compute-fbank-feats --snip-edges=false --dither=0`: 25 ms povey windows every 10 ms, pre-emphasis
0.97, power spectrum, mel bands from 20 Hz to 8 kHz, natural logarithm. The signal is reflected at
both ends, so the number of frames depends on the length only: T = (S + 80) // 160. Before that,
every recording is brought to the same level (`audio.level`), so that its gain changes nothing.
"""

from __future__ import annotations

from typing import Protocol

import kaldi_native_fbank
import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.level import at_level
from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.whisper_mel import whisper_mel
from keyframe_asr.config.model import FeaturesConfig, PretrainedConfig
from keyframe_asr.timing import (
    FRAME_LENGTH_MS,
    FRAME_SHIFT_MS,
    FRAME_SHIFT_SAMPLES,
    SAMPLE_RATE,
)

_INT16_SCALE = 32_768.0

CONTEXT_FRAMES = 2
"""Frames that are computed before a part of a recording: where it begins, they are reflections."""


class FrontEnd(Protocol):
    """Compute features (T, width) float32 from samples (S,) in [-1, 1] at 16 kHz; stateless."""

    @property
    def width(self) -> int:
        """Values per frame."""

    @property
    def level(self) -> float | None:
        """Level to which recordings are brought, in decibels; None leaves them as they are."""

    def __call__(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Compute the features of a whole recording."""


def front_end(config: FeaturesConfig, pretrained: PretrainedConfig | None) -> FrontEnd:
    """Return the front end of a model: that of its pretrained encoder, or else `Fbank`."""
    if pretrained is None:
        return Fbank(config)
    if pretrained.family == "whisper":
        bins = int((pretrained.architecture or {}).get("num_mel_bins", 80))
        return WhisperMel(bins, config.level)
    return NormalisedWaveform(config.level)


def num_frames(num_samples: int) -> int:
    """Number of fbank frames in `num_samples` samples, rounded to the nearest frame shift."""
    return (num_samples + FRAME_SHIFT_SAMPLES // 2) // FRAME_SHIFT_SAMPLES


def samples_of_frames(frames: int) -> int:
    """Number of samples after which no further one changes the first `frames` fbank frames."""
    half_window = FRAME_LENGTH_MS * SAMPLE_RATE // 2000
    return frames * FRAME_SHIFT_SAMPLES - FRAME_SHIFT_SAMPLES // 2 + half_window if frames else 0


def first_sample(frame: int) -> int:
    """First sample from which `fbank_from` computes this fbank frame and those that follow."""
    return FRAME_SHIFT_SAMPLES * max(0, frame - CONTEXT_FRAMES)


def fbank_from(fbank: FrontEnd, samples: Samples, frame: int) -> npt.NDArray[np.float32]:
    """Compute frames (T, width) of a recording from this frame on, as they are in the whole.

    Args:
        fbank: has no level, which would depend on the whole.
        samples: those of the recording from `first_sample(frame)` on. If it goes on after them,
            the frames whose `samples_of_frames` are more are not those of the whole.
        frame: index of the first frame that is wanted.
    """
    return fbank(samples)[min(frame, CONTEXT_FRAMES) :]


class Fbank:
    """Log-mel filter bank of whole recordings; stateless."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.num_mel_bins = config.num_mel_bins
        self.level = config.level

    @property
    def width(self) -> int:
        """Number of mel bins."""
        return self.num_mel_bins

    def __call__(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Compute (T, num_mel_bins) float32 from samples (S,) in [-1, 1] at 16 kHz.

        T is 0 for fewer than 80 samples (half a frame shift).
        """
        if samples.ndim != 1:
            raise ValueError(f"samples must be mono, shape (S,), found {samples.shape}")
        frames = num_frames(samples.size)
        features = np.empty((frames, self.num_mel_bins), dtype=np.float32)
        if frames == 0:
            return features
        samples = _levelled(samples, self.level)
        extractor = kaldi_native_fbank.OnlineFbank(self._options())
        # Kaldi computes features from 16-bit integers
        scaled = np.ascontiguousarray(samples, dtype=np.float32) * np.float32(_INT16_SCALE)
        # the elements of a buffer convert faster than those of an array (NumPy scalars)
        extractor.accept_waveform(SAMPLE_RATE, scaled.data)
        extractor.input_finished()
        for frame in range(frames):
            features[frame] = extractor.get_frame(frame)
        return features

    def _options(self) -> kaldi_native_fbank.FbankOptions:
        # created for each call, so that a Fbank can be pickled for worker processes
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = SAMPLE_RATE
        options.frame_opts.frame_length_ms = FRAME_LENGTH_MS
        options.frame_opts.frame_shift_ms = FRAME_SHIFT_MS
        options.frame_opts.dither = 0.0
        options.frame_opts.snip_edges = False
        options.mel_opts.num_bins = self.num_mel_bins
        return options


class WhisperMel:
    """Whisper's log-mel, without padding to 30 s: T = S // 160.

    As in the original, values are clamped to at least the utterance's maximum minus 8.
    """

    def __init__(self, num_mel_bins: int, level: float | None = None) -> None:
        self.width = num_mel_bins
        self.level = level

    def __call__(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Compute (S // 160, width) float32."""
        return whisper_mel(_levelled(samples, self.level), self.width)


class NormalisedWaveform:
    """Samples normalised to mean 0 and variance 1 per utterance, for wav2vec 2.0."""

    width = 1

    def __init__(self, level: float | None = None) -> None:
        self.level = level

    def __call__(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Compute (S, 1) float32."""
        if samples.size == 0:
            return np.empty((0, 1), dtype=np.float32)
        samples = _levelled(samples, self.level)
        centred = samples - samples.mean(dtype=np.float64)
        scaled: npt.NDArray[np.float64] = centred / np.sqrt(centred.var() + 1e-7)
        return scaled.astype(np.float32)[:, None]


def _levelled(samples: Samples, level: float | None) -> Samples:
    return samples if level is None else at_level(samples, level)
