"""Whisper encoder (arXiv 2212.04356) on utterances of any length.

Uses the layers of `transformers` with its own forward pass, because the one of `transformers`
requires inputs of 30 s and has no mask. Deviation from the original: an utterance is not padded to
30 s with silence. Its frames have the first positions, the padding of a batch is masked before both
convolutions and in the attention, and longer utterances are split into windows of 30 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from keyframe_asr.config.model import PretrainedConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.model.masks import attention_mask, length_mask
from keyframe_asr.model.pretrained import PretrainedEncoder

STRIDE = 2
"""Mel frames per output frame."""


class WhisperEncoder(PretrainedEncoder):
    """Maps log-mel (B, T, bins) at 100 Hz to outputs of the chosen layers at 50 Hz."""

    def __init__(self, config: PretrainedConfig) -> None:
        from transformers import WhisperConfig
        from transformers.models.whisper import modeling_whisper

        try:
            architecture = WhisperConfig(**dict(config.architecture or {}))
        except (TypeError, ValueError) as error:
            raise ModelError(f"'{config.source}': not a Whisper configuration: {error}") from None
        total = architecture.encoder_layers
        super().__init__(config, total, architecture.d_model)
        architecture.encoder_layers = self.built
        self._total_layers = total
        encoder: Any = modeling_whisper.WhisperEncoder(architecture)
        if self.built < total:
            encoder.layer_norm = nn.Identity()
        self.encoder = encoder

    @property
    def window(self) -> int:
        """Maximum number of mel frames encoded together."""
        return STRIDE * int(self.encoder.max_source_positions)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `PretrainedEncoder`."""
        batch, frames, _ = features.shape
        windows = -(-frames // self.window)
        if windows == 0:  # convolutions need at least one frame
            return features.new_zeros(batch, 0, self.width), lengths
        if windows == 1:
            return self.encode_window(features, lengths), _output_lengths(lengths)
        padded = pad(features, (0, 0, 0, windows * self.window - frames))
        starts = torch.arange(windows, device=lengths.device) * self.window
        inside = (lengths.unsqueeze(1) - starts).clamp(0, self.window).flatten()
        cut = padded.reshape(batch * windows, self.window, -1)
        kept = inside.nonzero().flatten()
        encoded = cut.new_zeros(batch * windows, self.window // STRIDE, self.width)
        encoded = encoded.index_copy(0, kept, self.encode_window(cut[kept], inside[kept]))
        whole = encoded.view(batch, -1, self.width)
        return whole[:, : -(-frames // STRIDE)], _output_lengths(lengths)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """See `PretrainedEncoder`."""
        return _output_lengths(lengths)

    def upper(self, vectors: Tensor, places: Tensor, lengths: Tensor) -> Tensor:
        """See `PretrainedEncoder`. Keyframes attend to those of their own window of 30 s."""
        mask = attention_mask(lengths, vectors.size(1))
        window = places // (self.window // STRIDE)
        mask = mask & (window[:, None, :, None] == window[:, None, None, :])
        for layer in self.encoder.layers[max(self.chosen) :]:
            vectors = layer(vectors, mask)
        normed: Tensor = self.encoder.layer_norm(vectors)
        return normed

    def encoder_layers(self) -> Iterator[nn.Module]:
        """See `PretrainedEncoder`."""
        return iter(self.encoder.layers)

    def final_modules(self) -> Iterator[nn.Module]:
        """See `PretrainedEncoder`."""
        yield self.encoder.layer_norm

    def _keep_constants(self) -> None:
        self.encoder.embed_positions.requires_grad_(False)  # sinusoids

    def encode_window(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Encode at most one window: (B, T, bins) to (B, ceil(T / 2), width), zeros in padding."""
        mel = length_mask(lengths, features.size(1)).unsqueeze(1)
        first = gelu(self.encoder.conv1(features.transpose(1, 2).masked_fill(~mel, 0.0)))
        hidden = gelu(self.encoder.conv2(first.masked_fill(~mel, 0.0))).transpose(1, 2)
        hidden = hidden + self.encoder.embed_positions.weight[: hidden.size(1)]
        outside = ~length_mask(_output_lengths(lengths), hidden.size(1)).unsqueeze(-1)
        mask = attention_mask(_output_lengths(lengths), hidden.size(1))
        outputs = [hidden] if 0 in self.chosen else []
        for number, layer in enumerate(self.encoder.layers[: max(self.chosen)], start=1):
            hidden = layer(hidden, mask)
            if number in self.chosen:
                last = number == self._total_layers
                outputs.append(self.encoder.layer_norm(hidden) if last else hidden)
        return torch.cat(outputs, dim=-1).masked_fill(outside, 0.0)


def _output_lengths(lengths: Tensor) -> Tensor:
    return (lengths + STRIDE - 1) // STRIDE
