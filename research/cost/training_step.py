"""Time the components of a training step, forward and backward.

The graph is cut between components and gradients are passed by hand. Together, the components do
the work of a normal step: forward, losses, backward, clipping, optimiser. Features are random.
Blank is so probable that there are as many keyframes as tokens, as after the inter-CTC has learned
to spike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import LossConfig
from keyframe_asr.losses import axe_loss, ctc_loss, label_smoothed_cross_entropy, til_loss
from keyframe_asr.model.keyframes import Keyframes, select_keyframes
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import END
from keyframe_asr.timing import FRAMES_PER_SECOND

BLANK_BIAS = 30.0
MEAN_SECONDS, DEVIATION = 4.5, 0.35
"""Utterance durations of AISHELL-1: mean, and standard deviation of the logarithm."""

GRADIENT_CLIP = 5.0
HEAD_LOSSES: dict[str, Callable[..., Tensor]] = {
    "axe": axe_loss,
    "til": til_loss,
    "ctc": ctc_loss,
}
PIECES = (
    "subsampling",
    "encoder 1",
    "inter-CTC",
    "keyframes and fusion",
    "encoder 2",
    "length head",
    "decoder",
    "optimiser",
)


@dataclass(frozen=True)
class RandomBatch:
    """Features (B, T, F), lengths (B,), tokens (B, L), lengths (B,)."""

    features: Tensor
    feature_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor

    def to(self, device: str) -> RandomBatch:
        """Move the batch to a device."""
        return RandomBatch(
            self.features.to(device),
            self.feature_lengths.to(device),
            self.tokens.to(device),
            self.token_lengths.to(device),
        )


class SteppedNetwork:
    """A network with random weights whose training steps are timed by component.

    Args:
        model: the network, with an attention decoder and without a pretrained encoder; its
            self-conditioning is not run.
        mel_bins: F.
        vocabulary: V.
        head_loss: "ctc" keeps all frames, "axe" and "til" train on keyframes.
        device: where to compute.
    """

    def __init__(
        self, model: ModelConfig, mel_bins: int, vocabulary: int, head_loss: str, device: str
    ) -> None:
        torch.manual_seed(0)
        self.network = random_network(model, mel_bins, vocabulary).to(device).train()
        self.network.keyframes_enabled = self.network.fusion_enabled = head_loss != "ctc"
        self.head_loss = head_loss
        self.losses = LossConfig()
        self.seconds: dict[str, float] = dict.fromkeys(PIECES, 0.0)
        self._optimiser = torch.optim.AdamW(self.network.parameters(), lr=1e-9, fused=True)
        self._device = device

    def step(self, batch: RandomBatch) -> dict[str, float]:
        """Run one step, and return the seconds of each component."""
        self.seconds = dict.fromkeys(PIECES, 0.0)
        network, lengths = self.network, batch.feature_lengths
        with self._timed("subsampling"):
            frames, frame_lengths = network.subsampling(
                network.normalisation(batch.features), lengths
            )
        into_encoder1 = _leaf(frames)
        every = Keyframes.all_frames(frame_lengths, frames.size(1))
        with self._timed("encoder 1"):
            encoded = network.encoder1(into_encoder1, frame_lengths, every.index)
        into_inter, into_fusion = _leaf(encoded), _leaf(encoded)
        with self._timed("inter-CTC"):
            inter = network.inter_ctc(into_inter).float().log_softmax(dim=-1)
            inter_loss = ctc_loss(inter, batch.tokens, frame_lengths, batch.token_lengths)
            (self.losses.inter_ctc * inter_loss).backward()
        with self._timed("keyframes and fusion"):
            kept, fused = every, into_fusion
            if network.keyframes_enabled:
                policy, asked = network.policy, batch.token_lengths
                kept = select_keyframes(inter.detach(), frame_lengths, policy, asked)
                fused = network.fusion(into_fusion, frame_lengths, kept)
        gradient = self._encoder2_and_losses(batch, fused, kept)
        with self._timed("keyframes and fusion"):
            if network.keyframes_enabled:
                fused.backward(gradient)
                gradient = _gradient(into_fusion)
        with self._timed("encoder 1"):
            encoded.backward(gradient + _gradient(into_inter))
        with self._timed("subsampling"):
            frames.backward(_gradient(into_encoder1))
        with self._timed("optimiser"):
            torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
            self._optimiser.step()
            self._optimiser.zero_grad()
        return self.seconds

    def _encoder2_and_losses(self, batch: RandomBatch, fused: Tensor, kept: Keyframes) -> Tensor:
        """Run all above the keyframes forward and backward; return the gradient of `fused`."""
        network, into_encoder2 = self.network, _leaf(fused)
        with self._timed("encoder 2"):
            memory = network.encoder2(into_encoder2, kept.lengths, kept.index)
        into_head, into_decoder = _leaf(memory), _leaf(memory)
        with self._timed("length head"):
            log_probs = network.head(into_head).float().log_softmax(dim=-1)
            found = HEAD_LOSSES[self.head_loss](
                log_probs, batch.tokens, kept.lengths, batch.token_lengths
            )
            (self.losses.head * found).backward()
        with self._timed("decoder"):
            prefix = torch.nn.functional.pad(batch.tokens, (1, 0), value=END)
            targets = torch.nn.functional.pad(batch.tokens, (0, 1), value=END)
            sizes = batch.token_lengths + 1
            assert network.decoder is not None, "refused by the study"
            logits = network.decoder(prefix, sizes, into_decoder, kept.lengths)
            smoothing = self.losses.label_smoothing
            found = label_smoothed_cross_entropy(logits, targets, sizes, smoothing)
            (self.losses.decoder * found).backward()
        with self._timed("encoder 2"):
            memory.backward(_gradient(into_head) + _gradient(into_decoder))
        return _gradient(into_encoder2)

    @contextmanager
    def _timed(self, piece: str) -> Iterator[None]:
        began = seconds_on(self._device)
        yield
        self.seconds[piece] += seconds_on(self._device) - began


def seconds_on(device: str) -> float:
    """Return the processor time of all threads; on a GPU, wall-clock time after synchronisation."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def random_network(model: ModelConfig, mel_bins: int, vocabulary: int) -> KeyframeNetwork:
    """Create a network whose inter-CTC predicts blank everywhere."""
    network = KeyframeNetwork(model, mel_bins, vocabulary)
    network.inter_ctc.bias.data[0] = BLANK_BIAS
    return network


def random_batch(
    seconds: float,
    mel_bins: int,
    vocabulary: int,
    tokens_per_second: float,
    generator: np.random.Generator,
) -> RandomBatch:
    """Create utterances of similar length with random features and text, `seconds` in total."""
    mean = float(np.clip(MEAN_SECONDS * np.exp(DEVIATION * generator.normal()), 1.2, 14.5))
    count = max(1, round(seconds / mean))
    frames = np.maximum(
        1, np.round(FRAMES_PER_SECOND * mean * generator.uniform(0.95, 1.0, count))
    ).astype(np.int64)
    tokens = np.maximum(1, np.round(frames / FRAMES_PER_SECOND * tokens_per_second))
    lengths, sizes = torch.from_numpy(frames), torch.from_numpy(tokens.astype(np.int64))
    drawn = generator.integers(END + 1, vocabulary, (count, int(sizes.max())))
    features = generator.normal(size=(count, int(lengths.max()), mel_bins)).astype(np.float32)
    inside = torch.arange(drawn.shape[1]) < sizes.unsqueeze(1)
    return RandomBatch(
        torch.from_numpy(features),
        lengths,
        torch.from_numpy(drawn).masked_fill(~inside, 0),
        sizes,
    )


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad
