"""Kaldi-compatible log-mel filter banks, the one front end of training, streaming and runtime.

kaldi-native-fbank computes them as Kaldi's `compute-fbank-feats --snip-edges=false --dither=0`
does: 25 ms povey windows every 10 ms, pre-emphasis 0.97, power spectrum, mel bands from 20 Hz to
8 kHz, natural logarithm. A reflection at both ends makes the frame count depend on the length
alone: T = (S + 80) // 160.
"""

from __future__ import annotations

import kaldi_native_fbank
import numpy as np
import numpy.typing as npt

from keyframe_asr.config import FeaturesConfig
from keyframe_asr.timing import (
    FRAME_LENGTH_MS,
    FRAME_SHIFT_MS,
    FRAME_SHIFT_SAMPLES,
    SAMPLE_RATE,
)

_INT16_SCALE = 32_768.0


def num_frames(num_samples: int) -> int:
    """Number of fbank frames of `num_samples` samples: rounded to the nearest frame shift."""
    return (num_samples + FRAME_SHIFT_SAMPLES // 2) // FRAME_SHIFT_SAMPLES


class Fbank:
    """Log-mel filter bank of whole recordings; holds no state between calls."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.num_mel_bins = config.num_mel_bins

    def __call__(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute (T, num_mel_bins) float32 from samples (S,) in [-1, 1] at 16 kHz.

        T is 0 for fewer than 80 samples, half a frame shift.
        """
        if samples.ndim != 1:
            raise ValueError(f"samples must be mono, shape (S,), found {samples.shape}")
        frames = num_frames(samples.size)
        features = np.empty((frames, self.num_mel_bins), dtype=np.float32)
        if frames == 0:
            return features
        extractor = kaldi_native_fbank.OnlineFbank(self._options())
        # Kaldi's features are those of 16-bit integers
        scaled = np.ascontiguousarray(samples, dtype=np.float32) * np.float32(_INT16_SCALE)
        # elements of the buffer are converted faster than those of the array (NumPy scalars)
        extractor.accept_waveform(SAMPLE_RATE, scaled.data)
        extractor.input_finished()
        for frame in range(frames):
            features[frame] = extractor.get_frame(frame)
        return features

    def _options(self) -> kaldi_native_fbank.FbankOptions:
        # made anew for each call, so that a Fbank can be sent to worker processes
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = SAMPLE_RATE
        options.frame_opts.frame_length_ms = FRAME_LENGTH_MS
        options.frame_opts.frame_shift_ms = FRAME_SHIFT_MS
        options.frame_opts.dither = 0.0
        options.frame_opts.snip_edges = False
        options.mel_opts.num_bins = self.num_mel_bins
        return options
