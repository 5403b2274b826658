"""What a stage of training minimises: the network with the losses of the stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.errors import TrainingError
from keyframe_asr.losses.axe import axe_loss
from keyframe_asr.losses.combine import LossParts
from keyframe_asr.losses.cross_entropy import label_smoothed_cross_entropy
from keyframe_asr.losses.ctc import ctc_loss
from keyframe_asr.losses.til import til_loss
from keyframe_asr.model.network import Encoded, KeyframeNetwork
from keyframe_asr.text.tokenizer import BLANK, END
from keyframe_asr.timing import encoder_frame_seconds

TOKENS_PER_SECOND = 4.0
"""Of speech, about: characters of Mandarin, pieces of English words."""

Masking = Callable[[Tensor, str], Tensor]
"""Features (T, F) of the utterance of that name to a masked copy."""


class StageObjective(nn.Module):
    """The network together with the losses of one stage.

    One module with one `forward`, so that wrappers for several devices see every parameter used.

    Attributes:
        masking: changes outputs of a pretrained encoder in training where they are computed here;
            set for each epoch. Those from a store have been masked already.
    """

    def __init__(self, network: KeyframeNetwork, stage: StageConfig) -> None:
        super().__init__()
        self.network = network
        self.masking: Masking | None = None
        self.losses = stage.losses
        apply_stage(network, stage)

    def forward(
        self,
        features: Tensor,
        feature_lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor,
        pre_encoded: bool = False,
        names: Sequence[str] = (),
    ) -> tuple[Tensor, dict[str, Tensor], Encoded]:
        """Features (B, T, F), tokens (B, L), lengths (B,); total loss, its parts, encodings.

        `names` of the utterances are what `masking` draws from. Only the total has a gradient, so
        that wrappers see which weights it does not depend on.
        """
        if self.training and self.network.pretrained is not None and not pre_encoded:
            features, feature_lengths = self._masked_encodings(features, feature_lengths, names)
            pre_encoded = True
        encoded = self.network(features, feature_lengths, token_lengths, pre_encoded=pre_encoded)
        config = self.losses
        values: dict[str, Tensor] = {}
        if config.inter_ctc > 0:
            values["inter_ctc"] = self._ctc_loss(
                encoded.inter_log_probs, tokens, encoded.frame_lengths, token_lengths
            )
        if config.head > 0 and config.head_loss != "none":
            values["head"] = self._head_loss(encoded, tokens, token_lengths)
        if config.decoder > 0:
            values["decoder"] = self._decoder_loss(encoded, tokens, token_lengths)
        weights = {
            "inter_ctc": config.inter_ctc,
            "head": config.head,
            "decoder": config.decoder,
        }
        total = LossParts(values, weights).total
        parts = {name: value.detach() for name, value in values.items()}
        return total, parts, encoded.detach()

    def _masked_encodings(
        self, features: Tensor, lengths: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Outputs of the pretrained encoder, each utterance masked on its own."""
        assert self.network.pretrained is not None
        outputs, lengths = self.network.pretrained(features, lengths)
        if self.masking is None:
            return outputs, lengths
        masked = [
            self.masking(one[:length], name)
            for one, length, name in zip(outputs, lengths.tolist(), names, strict=True)
        ]
        return nn.utils.rnn.pad_sequence(masked, batch_first=True), lengths

    def _head_loss(self, encoded: Encoded, tokens: Tensor, token_lengths: Tensor) -> Tensor:
        log_probs, lengths = encoded.head_log_probs, encoded.keyframes.lengths
        if self.losses.head_loss == "axe":
            penalty = self.losses.skip_target_penalty
            return axe_loss(
                log_probs,
                tokens,
                lengths,
                token_lengths,
                blank=BLANK,
                skip_target_penalty=penalty,
            )
        if self.losses.head_loss == "til":
            return til_loss(log_probs, tokens, lengths, token_lengths, blank=BLANK)
        return self._ctc_loss(log_probs, tokens, lengths, token_lengths)

    def _ctc_loss(
        self, log_probs: Tensor, tokens: Tensor, lengths: Tensor, token_lengths: Tensor
    ) -> Tensor:
        """Mean over the batch of each utterance's CTC loss by token.

        One without text is divided by the tokens it would hold if it were speech. CTC sums over
        frames, so that undivided it would weigh many times as much as speech of its length.
        """
        losses = ctc_loss(log_probs, tokens, lengths, token_lengths, blank=BLANK, reduction="none")
        seconds = lengths * encoder_frame_seconds(self.network.subsampling.factor)
        expected = (seconds * TOKENS_PER_SECOND).clamp(min=1)
        return (losses / torch.where(token_lengths > 0, token_lengths, expected)).mean()

    def _decoder_loss(self, encoded: Encoded, tokens: Tensor, token_lengths: Tensor) -> Tensor:
        prefix = nn.functional.pad(tokens, (1, 0), value=END)
        targets = nn.functional.pad(tokens, (0, 1), value=END)
        targets = targets.scatter(1, token_lengths.unsqueeze(1), END)
        assert self.network.decoder is not None, "refused by the recipe"
        logits = self.network.decoder(
            prefix, token_lengths + 1, encoded.memory, encoded.keyframes.lengths
        )
        return label_smoothed_cross_entropy(
            logits, targets, token_lengths + 1, self.losses.label_smoothing
        )


def apply_stage(network: KeyframeNetwork, stage: StageConfig) -> None:
    """Switch keyframe selection, fusion and frozen layers as the stage says."""
    network.keyframes_enabled = stage.keyframes
    network.fusion_enabled = stage.fusion
    if network.pretrained is not None:
        network.pretrained.unfreeze_from(stage.unfreeze_from_layer)


@contextmanager
def naming_utterances(stage: str, ids: Sequence[str]) -> Iterator[None]:
    """Turn a refusal of the losses or of the keyframe selection into a line that names the batch.

    Both raise `ValueError` (a `LossInputError` is one) with places in the batch, since neither
    knows what the utterances are called.
    """
    try:
        yield
    except ValueError as error:
        raise TrainingError(
            f"stage '{stage}': {error}; the utterances of the batch, place 0 first: "
            f"{', '.join(ids)}; look at these, or lower the learning rate"
        ) from error


def check_finite(what: str, value: Tensor, stage: str, ids: Sequence[str]) -> None:
    """Raise `TrainingError` naming the utterances unless the scalar `value` is finite."""
    if not torch.isfinite(value):
        raise TrainingError(
            f"stage '{stage}': the {what} is {float(value.detach())} for the batch of "
            f"{', '.join(ids)}; look at these utterances, or lower the learning rate"
        )
