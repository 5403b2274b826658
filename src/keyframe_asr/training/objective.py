"""Objective of a training stage: the network and the losses of the stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.data.decoder_targets import IGNORED, text_begins
from keyframe_asr.data.soft_targets import Distributions
from keyframe_asr.errors import TrainingError
from keyframe_asr.losses.axe import axe_loss
from keyframe_asr.losses.combine import LossParts
from keyframe_asr.losses.cross_entropy import label_smoothed_cross_entropy
from keyframe_asr.losses.ctc import ctc_loss
from keyframe_asr.losses.distillation import distilled_cross_entropy
from keyframe_asr.losses.til import til_loss
from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.network import Encoded, KeyframeNetwork
from keyframe_asr.model.subsampling import subsampled_lengths
from keyframe_asr.text.tokenizer import BLANK, END
from keyframe_asr.timing import encoder_frame_seconds
from keyframe_asr.training.teacher import FullFrameTeacher, teacher_losses

LANGUAGE_WEIGHT = 0.2
"""Weight of the language that a pretrained decoder should hear, against the tokens of its text."""

DECODER_PARTS = ("decoder", "decoder_memory")
"""Parts of a network with a pretrained decoder that a stage may train alone."""

TOKENS_PER_SECOND = 4.0
"""Typical rate of speech, in Mandarin characters or English word pieces."""

Masking = Callable[[Tensor, str], Tensor]
"""Returns a masked copy of features (T, F) of an utterance, given its name."""

Chunking = Callable[[Sequence[str], Tensor], Chunks]
"""Returns the chunks of utterances, given their names and numbers of encoder frames (B,)."""


class StageObjective(nn.Module):
    """Network with the losses of one stage.

    It is one module with one `forward`, so that wrappers for several devices see every parameter
    that is used.

    Attributes:
        masking: masks outputs of a pretrained encoder that are computed here, in training; set for
            each epoch. Outputs from a store are already masked.
        chunking: divides utterances in training, if the network can stream; set for each epoch.
    """

    def __init__(
        self,
        network: KeyframeNetwork,
        stage: StageConfig,
        teacher: FullFrameTeacher | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.teacher = teacher if stage.losses.teacher > 0 else None
        self.masking: Masking | None = None
        self.chunking: Chunking | None = None
        self.losses = stage.losses
        self.trains_decoder_alone = trains_decoder_alone(network, stage)
        apply_stage(network, stage)
        encoder = network.pretrained
        if self.teacher is None or encoder is None:
            return
        if encoder.is_frozen(stage.unfreeze_from_layer) and not self.teacher.hears_like(encoder):
            raise TrainingError(
                f"stage '{stage.name}': the teacher's lower layers are not those of the network, "
                "which the stage does not train; name the model that they are from (no quantised "
                "copy), or unfreeze them"
            )

    def forward(
        self,
        features: Tensor,
        feature_lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor,
        pre_encoded: bool = False,
        names: Sequence[str] = (),
        decoder_tokens: Tensor | None = None,
        soft_targets: Distributions | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Encoded]:
        """Compute the losses of a batch.

        Args:
            features: (B, T, F).
            feature_lengths: (B,).
            tokens: (B, L).
            token_lengths: (B,).
            pre_encoded: True if `features` are outputs of the pretrained encoder.
            names: names of the utterances, for `masking` and `chunking`.
            decoder_tokens: (B, 2, N) for a pretrained decoder, as in `Batch`.
            soft_targets: (B, N, K) of its teacher, as in `Batch`.

        Returns:
            Total loss, its parts, and the encodings. Only the total has a gradient, so that
            wrappers see which weights it does not depend on.
        """
        heard = features, feature_lengths, pre_encoded
        if self.training and self.network.pretrained is not None and not pre_encoded:
            features, feature_lengths = self._masked_encodings(features, feature_lengths, names)
            pre_encoded = True
        # the losses of the other heads need as many keyframes as tokens; the decoder should learn
        # from those that recognition will find
        least = None if self.trains_decoder_alone else token_lengths
        encoded = self._encoded(features, feature_lengths, least, pre_encoded, names)
        config = self.losses
        values: dict[str, Tensor] = {}
        if config.inter_ctc > 0:
            values["inter_ctc"] = self._ctc_loss(
                encoded.inter_log_probs, tokens, encoded.frame_lengths, token_lengths
            )
        if config.head > 0 and config.head_loss != "none":
            values["head"] = self._head_loss(encoded, tokens, token_lengths)
        if config.decoder > 0 and decoder_tokens is None:
            values["decoder"] = self._decoder_loss(encoded, tokens, token_lengths)
        elif config.decoder > 0 and decoder_tokens is not None:
            values["decoder"] = self._pretrained_decoder_loss(encoded, decoder_tokens, soft_targets)
        if self.teacher is not None:
            log_probs, vectors = self.teacher(*heard[:2], encoded.keyframes, pre_encoded=heard[2])
            values |= teacher_losses(encoded, log_probs, vectors, token_lengths)
        weights = {
            "inter_ctc": config.inter_ctc,
            "head": config.head,
            "decoder": config.decoder,
            "teacher_ctc": config.teacher,
            "teacher_vectors": config.teacher,
        }
        total = LossParts(values, weights).total
        parts = {name: value.detach() for name, value in values.items()}
        return total, parts, encoded.detach()

    def train(self, mode: bool = True) -> StageObjective:
        """Switch between training and evaluation; frozen parts stay in evaluation."""
        super().train(mode)
        if self.trains_decoder_alone:
            for name, part in self.network.named_children():
                part.train(mode and name in DECODER_PARTS)
        return self

    def _encoded(
        self,
        features: Tensor,
        lengths: Tensor,
        least: Tensor | None,
        pre_encoded: bool,
        names: Sequence[str],
    ) -> Encoded:
        """Run the network, in training on chunks if it can stream."""
        chunks = None
        if self.training and self.chunking is not None:
            frame_lengths = subsampled_lengths(lengths, self.network.subsampling.factor)
            chunks = self.chunking(names, frame_lengths)
        encoded: Encoded = self.network(
            features, lengths, least, pre_encoded=pre_encoded, chunks=chunks
        )
        return encoded

    def _masked_encodings(
        self, features: Tensor, lengths: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Run the pretrained encoder and mask the outputs of each utterance."""
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
        """Mean over the batch of the CTC loss per token of each utterance.

        The loss of an utterance without text is divided by the number of tokens that speech of its
        length would have. CTC sums over frames, so otherwise it would weigh many times as much.
        """
        losses = ctc_loss(log_probs, tokens, lengths, token_lengths, blank=BLANK, reduction="none")
        seconds = lengths * encoder_frame_seconds(self.network.subsampling.factor)
        expected = (seconds * TOKENS_PER_SECOND).clamp(min=1)
        return (losses / torch.where(token_lengths > 0, token_lengths, expected)).mean()

    def _decoder_loss(self, encoded: Encoded, tokens: Tensor, token_lengths: Tensor) -> Tensor:
        prefix = nn.functional.pad(tokens, (1, 0), value=END)
        targets = nn.functional.pad(tokens, (0, 1), value=END)
        targets = targets.scatter(1, token_lengths.unsqueeze(1), END)
        decoder = self.network.own_decoder
        assert decoder is not None, "the recipe requires a decoder, and the data tokens for it"
        logits = decoder(prefix, token_lengths + 1, encoded.memory, encoded.keyframes.lengths)
        return label_smoothed_cross_entropy(
            logits, targets, token_lengths + 1, self.losses.label_smoothing
        )

    def _pretrained_decoder_loss(
        self, encoded: Encoded, tokens: Tensor, soft_targets: Distributions | None
    ) -> Tensor:
        """Loss of the tokens (B, 2, N) after the prompt, which is as long in all utterances.

        The loss of the language is added for utterances that name theirs.
        """
        decoder = self.network.pretrained_decoder
        assert decoder is not None, "only its data have such tokens"
        read, written = tokens.unbind(dim=1)
        first = text_begins(written)
        lengths = (written[:, first:] != IGNORED).sum(dim=1)
        logits = decoder(read.clamp(min=0), lengths + first, *encoded.attended)
        language = self._language_loss(logits[:, 0], written[:, 0])
        logits, written = logits[:, first:], written[:, first:]
        smoothing = self.losses.label_smoothing
        if soft_targets is None:
            return language + label_smoothed_cross_entropy(logits, written, lengths, smoothing)
        likely, masses = (part[:, first:] for part in soft_targets)
        share = self.losses.distillation
        return language + distilled_cross_entropy(
            logits, written, lengths, likely, masses, share, smoothing
        )

    @staticmethod
    def _language_loss(logits: Tensor, languages: Tensor) -> Tensor:
        """Mean over the batch, 0 for utterances without a language; (B, V) and (B,)."""
        losses = nn.functional.cross_entropy(
            logits.float(), languages, ignore_index=IGNORED, reduction="sum"
        )
        return LANGUAGE_WEIGHT * losses / len(languages)


def trains_decoder_alone(network: KeyframeNetwork, stage: StageConfig) -> bool:
    """True if a stage trains a pretrained decoder and its memory, and nothing else."""
    return network.pretrained_decoder is not None and stage.trains_decoder_alone


def apply_stage(network: KeyframeNetwork, stage: StageConfig) -> None:
    """Configure keyframe selection, fusion and frozen layers for a stage."""
    network.keyframes_enabled = stage.keyframes
    network.fusion_enabled = stage.fusion
    if network.pretrained is not None:
        network.pretrained.unfreeze_from(stage.unfreeze_from_layer)
    if network.pretrained_decoder is None or network.decoder_memory is None:
        return
    alone = trains_decoder_alone(network, stage)
    for name, part in network.named_children():
        if name not in ("pretrained", *DECODER_PARTS):
            part.requires_grad_(not alone)
    network.pretrained_decoder.requires_grad_(False)
    network.decoder_memory.requires_grad_(stage.losses.decoder > 0)
    chosen = stage.pretrained_decoder
    if stage.losses.decoder > 0 and chosen.parts != "nothing":
        only_cross = chosen.parts == "cross_attention"
        for module in network.pretrained_decoder.trained_parts(only_cross, chosen.from_layer):
            module.requires_grad_(True)


@contextmanager
def naming_utterances(stage: str, ids: Sequence[str]) -> Iterator[None]:
    """Re-raise errors of the losses and of keyframe selection with the names of the utterances.

    Both raise `ValueError` (or its subclass `LossInputError`) with positions in the batch, because
    they do not know the names.
    """
    try:
        yield
    except ValueError as error:
        raise TrainingError(
            f"stage '{stage}': {error}; utterances of the batch, from position 0: "
            f"{', '.join(ids)}; check them, or lower the learning rate"
        ) from error


def check_finite(what: str, value: Tensor, stage: str, ids: Sequence[str]) -> None:
    """Raise `TrainingError`, naming the utterances, if the scalar `value` is not finite."""
    if not torch.isfinite(value):
        raise TrainingError(
            f"stage '{stage}': the {what} is {float(value.detach())} for the batch of "
            f"{', '.join(ids)}; check these utterances, or lower the learning rate"
        )
