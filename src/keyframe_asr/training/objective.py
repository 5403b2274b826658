"""Objective of a training stage: the network and the losses of the stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.data.dataset import Batch
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
from keyframe_asr.model.encoded import Encoded, EncodedFrames
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.subsampling import subsampled_lengths
from keyframe_asr.text.tokenizer import BLANK, END
from keyframe_asr.timing import encoder_frame_seconds
from keyframe_asr.training.stage_parts import freeze_unused
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

HostLengths = tuple[Tensor, Tensor]
"""Numbers of encoder frames (B,) and of tokens (B,), on the CPU."""


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
        if not encoder.is_frozen(stage.unfreeze_from_layer):
            self.teacher.take_lower_layers_back()
        elif self.teacher.hears_like(encoder):
            self.teacher.share_lower_layers(encoder)
        else:
            raise TrainingError(
                f"stage '{stage.name}': the teacher's lower layers are not those of the network, "
                "which the stage does not train; name the model that they are from (no quantised "
                "copy), or unfreeze them"
            )

    def forward(
        self, batch: Batch, frames: EncodedFrames | None = None
    ) -> tuple[Tensor, dict[str, Tensor], Encoded]:
        """Compute the losses of a batch.

        Args:
            batch: on the device of the network.
            frames: what the network hears in every frame of it, if that is known already.

        Returns:
            Total loss, its parts, and the encodings. Only the total has a gradient, so that
            wrappers see which weights it does not depend on.
        """
        tokens, token_lengths = batch.tokens, batch.token_lengths
        # the losses of the other heads need as many keyframes as tokens; the decoder should learn
        # from those that recognition will find
        least = None if self.trains_decoder_alone else token_lengths
        frames = frames or self.encode_frames(batch)
        encoded = self.network.encode_keyframes(frames, least)
        on_host = self._lengths_on_host(batch)
        config = self.losses
        values: dict[str, Tensor] = {}
        if config.inter_ctc > 0:
            values["inter_ctc"] = self._ctc_loss(
                encoded.inter_log_probs, tokens, encoded.frame_lengths, token_lengths, on_host
            )
        if config.head > 0 and config.head_loss != "none":
            values["head"] = self._head_loss(encoded, tokens, token_lengths, on_host)
        if config.decoder > 0 and batch.decoder_tokens is None:
            values["decoder"] = self._decoder_loss(encoded, tokens, token_lengths)
        elif config.decoder > 0 and batch.decoder_tokens is not None:
            values["decoder"] = self._pretrained_decoder_loss(
                encoded, batch.decoder_tokens, batch.soft_targets
            )
        if self.teacher is not None:
            log_probs, vectors = self.teacher(
                batch.features,
                batch.feature_lengths,
                encoded.keyframes,
                pre_encoded=batch.pre_encoded,
            )
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

    def encode_frames(self, batch: Batch) -> EncodedFrames:
        """Run what hears every frame: in training masked, and on chunks if it can stream."""
        features, lengths, pre_encoded = batch.features, batch.feature_lengths, batch.pre_encoded
        if self.training and self.network.pretrained is not None and not pre_encoded:
            features, lengths = self._masked_encodings(batch)
            pre_encoded = True
        chunks = None
        if self.training and self.chunking is not None:
            frames, _ = self._lengths_on_host(batch)
            chunks = self.chunking(batch.ids, frames).to(features.device)
        return self.network.encode_frames(features, lengths, pre_encoded=pre_encoded, chunks=chunks)

    def _input_lengths_on_host(self, batch: Batch) -> Tensor:
        """Lengths (B,) of the input of encoder 1 before it is subsampled, on the CPU."""
        lengths, _ = batch.lengths_on_host
        if self.network.pretrained is None or batch.pre_encoded:
            return lengths
        return self.network.pretrained.output_lengths(lengths)

    def _lengths_on_host(self, batch: Batch) -> HostLengths:
        """Encoder frames and tokens of each utterance, on the CPU."""
        lengths = self._input_lengths_on_host(batch)
        return (
            subsampled_lengths(lengths, self.network.subsampling.factor),
            batch.lengths_on_host[1],
        )

    def _masked_encodings(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Run the pretrained encoder and mask the outputs of each utterance."""
        assert self.network.pretrained is not None
        outputs, lengths = self.network.pretrained(batch.features, batch.feature_lengths)
        if self.masking is None:
            return outputs, lengths
        sizes = self._input_lengths_on_host(batch).tolist()
        masked = [
            self.masking(one[:length], name)
            for one, length, name in zip(outputs, sizes, batch.ids, strict=True)
        ]
        return nn.utils.rnn.pad_sequence(masked, batch_first=True), lengths

    def _head_loss(
        self, encoded: Encoded, tokens: Tensor, token_lengths: Tensor, on_host: HostLengths | None
    ) -> Tensor:
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
        if self.network.keyframes_enabled:  # their number is not known on the CPU
            on_host = None
        return self._ctc_loss(log_probs, tokens, lengths, token_lengths, on_host)

    def _ctc_loss(
        self,
        log_probs: Tensor,
        tokens: Tensor,
        lengths: Tensor,
        token_lengths: Tensor,
        on_host: HostLengths | None,
    ) -> Tensor:
        """Mean over the batch of the CTC loss per token of each utterance.

        The loss of an utterance without text is divided by the number of tokens that speech of its
        length would have. CTC sums over frames, so otherwise it would weigh many times as much.
        """
        losses = ctc_loss(
            log_probs,
            tokens,
            lengths,
            token_lengths,
            blank=BLANK,
            reduction="none",
            host_lengths=on_host,
        )
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
    """Configure keyframe selection, fusion and frozen parts for a stage."""
    network.keyframes_enabled = stage.keyframes
    network.fusion_enabled = stage.fusion
    alone = trains_decoder_alone(network, stage)
    for name, part in network.named_children():
        if name != "pretrained":
            part.requires_grad_(not alone or name in DECODER_PARTS)
    if network.pretrained is not None:
        network.pretrained.unfreeze_from(stage.unfreeze_from_layer)
    if network.pretrained_decoder is not None:
        network.pretrained_decoder.requires_grad_(False)
        chosen = stage.pretrained_decoder
        if chosen.parts != "nothing":
            only_cross = chosen.parts == "cross_attention"
            for module in network.pretrained_decoder.trained_parts(only_cross, chosen.from_layer):
                module.requires_grad_(True)
    freeze_unused(network, stage.losses)
