"""The graph for sherpa-onnx: samples to the log-probabilities of the inter-CTC.

sherpa-onnx computes fbank for most kinds of CTC models, but without our level and up to a lower
frequency. To models of its kind `omnilingual` it gives the samples, brought to mean 0 and variance
1. So this graph has the whole front end of `audio.features` inside, and its tokens are ours.

- The level of a recording (`audio.level`) depends on neither its gain nor an offset. As there, it
  is the maximum of medians; of less than 0.2 s it may differ.
- What fbank does to a frame before the power spectrum is linear: without offset, pre-emphasis,
  window and Fourier transform are one convolution.
- Each frame comes several times, so that there is one every 20 ms, as sherpa-onnx counts time. CTC
  joins equal neighbours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from keyframe_asr.audio.level import LASTING_FRAMES, LOWEST_LEVEL
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.timing import FRAME_LENGTH_MS, FRAME_SHIFT_MS, FRAME_SHIFT_SAMPLES, SAMPLE_RATE

BLANK, END = 0, 2
"""Reserved ids, as in `text.tokenizer`."""

FRAME_SAMPLES = FRAME_LENGTH_MS * SAMPLE_RATE // 1000
FOURIER_SAMPLES = 512

PRE_EMPHASIS, WINDOW_POWER, LOWEST_FREQUENCY = 0.97, 0.85, 20.0
"""Of Kaldi's fbank; the window is `povey`."""

FAINT_DECIBELS = 50.0
"""Most by which sherpa-onnx amplifies a recording, as it adds 1e-5 to the variance."""

THEIR_FRAME_MS = 20


class FbankGraph(nn.Module):
    """`audio.features.Fbank` without level: 16-bit samples (1, S) to (1, T, bins); S >= 400."""

    spectrum: Tensor
    mel: Tensor

    def __init__(self, num_mel_bins: int) -> None:
        super().__init__()
        self.register_buffer("spectrum", torch.from_numpy(_spectrum()).float().unsqueeze(1))
        self.register_buffer("mel", torch.from_numpy(_mel(num_mel_bins)).float().unsqueeze(2))

    def forward(self, samples: Tensor) -> Tensor:
        """Run it."""
        before, after = (FRAME_SAMPLES - FRAME_SHIFT_SAMPLES) // 2, FRAME_SAMPLES // 2
        reflected = (samples[:, :before].flip(1), samples, samples[:, -after:].flip(1))
        parts = nn.functional.conv1d(
            torch.cat(reflected, dim=1).unsqueeze(1), self.spectrum, stride=FRAME_SHIFT_SAMPLES
        )
        real, imaginary = parts.chunk(2, dim=1)
        energy = nn.functional.conv1d(real.square() + imaginary.square(), self.mel)
        return energy.clamp(min=torch.finfo(torch.float32).eps).log().transpose(1, 2)


class SherpaGraph(nn.Module):
    """Samples (1, S) of mean 0 and variance 1 to log-probabilities (1, N, V), one every 20 ms.

    Args:
        network: with a front end of its own.
        num_mel_bins: of its fbank.
        level: to which its recordings are brought, in decibels.
    """

    def __init__(self, network: KeyframeNetwork, num_mel_bins: int, level: float) -> None:
        super().__init__()
        self.network = network
        self.fbank = FbankGraph(num_mel_bins)
        self.level = level

    def forward(self, samples: Tensor) -> Tensor:
        """Run it."""
        gain = self.level - _speech_level(samples)
        features = self.fbank(samples * (32_768 * 10 ** (gain / 20)))
        lengths = torch.full((1,), features.size(1))
        _, _, log_probs = self.network.lower(features, lengths)
        # our texts have no end of text, and sherpa-onnx would write one
        label = torch.arange(log_probs.size(2))
        blank = log_probs[..., [BLANK, END]].amax(dim=-1, keepdim=True)
        log_probs = torch.where(label == BLANK, blank, log_probs)
        log_probs = log_probs.masked_fill(label == END, -torch.inf)
        repeats = self.network.subsampling.factor * FRAME_SHIFT_MS // THEIR_FRAME_MS
        return log_probs.repeat_interleave(repeats, dim=1)


def _speech_level(samples: Tensor) -> Tensor:
    """Level (1,) of samples (1, S), as `audio.level.speech_level`, and not below the lowest."""
    values = torch.stack((samples, samples.square()), dim=1)
    mean, square = nn.functional.avg_pool1d(values, FRAME_SAMPLES, FRAME_SHIFT_SAMPLES).unbind(1)
    levels = 10 * (square - mean.square()).clamp(min=1e-20).log10()
    # windows over the end have fewer loud frames than the last whole one, so no higher median
    padded = nn.functional.pad(levels, (0, LASTING_FRAMES - 1), value=-200.0)
    windows = [padded[:, first : first + levels.size(1)] for first in range(LASTING_FRAMES)]
    medians = torch.stack(windows).topk(LASTING_FRAMES // 2 + 1, dim=0).values[-1]
    return medians.amax(dim=1).clamp(min=LOWEST_LEVEL + FAINT_DECIBELS)


def _spectrum() -> npt.NDArray[np.float64]:
    """Matrix (2 * 256, 400) from a frame to the real and imaginary parts of its spectrum."""
    place = np.arange(FRAME_SAMPLES)
    centred = np.eye(FRAME_SAMPLES) - 1 / FRAME_SAMPLES
    emphasised = centred - PRE_EMPHASIS * centred[np.maximum(place - 1, 0)]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * place / (FRAME_SAMPLES - 1))) ** WINDOW_POWER
    turns = 2 * np.pi * np.outer(np.arange(FOURIER_SAMPLES // 2), place) / FOURIER_SAMPLES
    waves = np.concatenate((np.cos(turns), np.sin(turns)))
    matrix: npt.NDArray[np.float64] = waves @ (window[:, None] * emphasised)
    return matrix


def _mel(bins: int) -> npt.NDArray[np.float64]:
    """Triangles (bins, 256) between 20 Hz and 8 kHz."""
    edges = np.linspace(_mels(LOWEST_FREQUENCY), _mels(SAMPLE_RATE / 2), bins + 2)[:, None]
    places = _mels(np.arange(FOURIER_SAMPLES // 2) * SAMPLE_RATE / FOURIER_SAMPLES)
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    triangles: npt.NDArray[np.float64] = np.maximum(np.minimum(rising, falling), 0.0)
    return triangles


def _mels(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    mels: npt.NDArray[np.float64] = 1127 * np.log1p(np.asarray(hertz) / 700)
    return mels
