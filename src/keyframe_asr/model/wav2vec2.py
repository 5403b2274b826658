"""wav2vec 2.0 encoder (arXiv 2006.11477), applied to one utterance at a time.

Uses the layers of `transformers` with its own forward pass, which returns the outputs of chosen
layers. Utterances are not padded: the group norm of the smaller checkpoints is computed over all
samples, so padding would make an utterance depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from keyframe_asr.config.model import PretrainedConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.model.masks import attention_mask
from keyframe_asr.model.pretrained import PretrainedEncoder


class Wav2Vec2Encoder(PretrainedEncoder):
    """Maps waveforms (B, S, 1) at 16 kHz to outputs of the chosen layers at 50 Hz."""

    def __init__(self, config: PretrainedConfig) -> None:
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        try:
            architecture = Wav2Vec2Config(**dict(config.architecture or {}))
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"'{config.source}': not a wav2vec 2.0 configuration: {error}"
            ) from None
        total = architecture.num_hidden_layers
        super().__init__(config, total, architecture.hidden_size)
        architecture.num_hidden_layers = self.built
        self._total_layers = total
        encoder: Any = Wav2Vec2Model(architecture)
        # in pre-norm layers, the final norm belongs to the original last layer only
        if architecture.do_stable_layer_norm and self.built < total:
            encoder.encoder.layer_norm = nn.Identity()
        self.encoder = encoder

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `PretrainedEncoder`."""
        outputs = [
            self._encode(samples[:length, 0])
            for samples, length in zip(features, lengths.tolist(), strict=True)
        ]
        sizes = torch.tensor([len(output) for output in outputs], device=lengths.device)
        return pad_sequence(outputs, batch_first=True), sizes

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """See `PretrainedEncoder`."""
        found: Tensor = self.encoder._get_feat_extract_output_lengths(lengths)
        return found.clamp(min=0)

    def upper(self, vectors: Tensor, places: Tensor, lengths: Tensor) -> Tensor:
        """See `PretrainedEncoder`."""
        layers = self.encoder.encoder
        mask = attention_mask(lengths, vectors.size(1))
        for layer in layers.layers[max(self.chosen) :]:
            vectors = layer(vectors, attention_mask=mask)
        if self.encoder.config.do_stable_layer_norm:
            vectors = layers.layer_norm(vectors)
        return vectors

    def encoder_layers(self) -> Iterator[nn.Module]:
        """See `PretrainedEncoder`."""
        return iter(self.encoder.encoder.layers)

    def final_modules(self) -> Iterator[nn.Module]:
        """See `PretrainedEncoder`."""
        if self.encoder.config.do_stable_layer_norm:
            yield self.encoder.encoder.layer_norm

    def _keep_constants(self) -> None:
        masked = getattr(self.encoder, "masked_spec_embed", None)
        if masked is not None:  # for the masks of its own training, which are not used here
            masked.requires_grad_(False)

    def _encode(self, samples: Tensor) -> Tensor:
        """Map samples (S,) to (N, width); N is 0 for less than one window of samples."""
        frames = torch.tensor(samples.size(0))
        if int(self.encoder._get_feat_extract_output_lengths(frames)) < 1:
            return samples.new_zeros(0, self.width)
        return self.encode_samples(samples)

    def encode_samples(self, samples: Tensor) -> Tensor:
        """Map the samples (S,) of one utterance, at least one window, to outputs (N, width)."""
        layers = self.encoder.encoder
        extracted = self.encoder.feature_extractor(samples.unsqueeze(0)).transpose(1, 2)
        hidden, _ = self.encoder.feature_projection(extracted)
        hidden = hidden + layers.pos_conv_embed(hidden)
        norm_first = self.encoder.config.do_stable_layer_norm
        if not norm_first:
            hidden = layers.layer_norm(hidden)
        outputs = [hidden] if 0 in self.chosen else []
        for number, layer in enumerate(layers.layers[: max(self.chosen)], start=1):
            hidden = layer(hidden)
            if number in self.chosen:
                last = norm_first and number == self._total_layers
                outputs.append(layers.layer_norm(hidden) if last else hidden)
        return torch.cat(outputs, dim=-1).squeeze(0)
