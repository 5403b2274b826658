"""The whole recogniser network (arXiv 2510.10453): encoder 1, keyframes, fusion, encoder 2, heads.

Deviations from the paper: rotary positions at the original frame times, layer norm instead of
batch norm in the convolution module, no dropout on attention weights nor inside the feed-forward
modules of the Conformer layers, only on their output; optionally self-conditioning (arXiv
2104.02724): the projected posteriors of the inter-CTC are added to the input of encoder 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from keyframe_asr.config.model import ModelConfig, PretrainedConfig, PretrainedDecoderConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.model.chunks import Chunks, KeyframeChunks
from keyframe_asr.model.conformer import ConformerEncoder
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.model.decoder_memory import DecoderMemory
from keyframe_asr.model.encoded import Encoded, EncodedFrames
from keyframe_asr.model.fusion import FrameFusion
from keyframe_asr.model.integer_linear import IntegerWeight, integers_supported
from keyframe_asr.model.keyframe_layers import KeyframeLayers
from keyframe_asr.model.keyframes import (
    Keyframes,
    SelectionPolicy,
    distinct_frames,
    gather_frames,
    ready_frames,
    select_keyframes,
)
from keyframe_asr.model.pretrained import LayerSum, PretrainedEncoder
from keyframe_asr.model.subsampling import (
    ConvolutionalSubsampling,
    EncodingSubsampling,
    GlobalNormalisation,
)
from keyframe_asr.model.wav2vec2 import Wav2Vec2Encoder
from keyframe_asr.model.whisper import WhisperEncoder
from keyframe_asr.model.whisper_decoder import WhisperDecoder
from keyframe_asr.packages import packages_for

PRETRAINED_STEP = 2
"""Frames of 10 ms per output of a pretrained encoder."""


class KeyframeNetwork(nn.Module):
    """The encoders, both heads and the attention decoder, which may be a pretrained one.

    The input is fbank, or the input of a pretrained encoder, whose outputs are then normalised,
    summed over layers and subsampled in place of fbank. Its upper layers may run on keyframes;
    their output is then added to the input of encoder 2. `keyframes_enabled` and `fusion_enabled`
    are set by the training stage or the stored model. The parameters are the same in all cases, so
    each stage can start from the weights of the previous stage.
    """

    def __init__(self, config: ModelConfig, num_mel_bins: int, vocab_size: int) -> None:
        super().__init__()
        encoder = config.encoder
        self.config = config
        self.streaming = encoder.streaming
        self.vocab_size = vocab_size
        self.keyframes_enabled = False
        self.fusion_enabled = False
        self.policy = SelectionPolicy(config.keyframes.keep, config.keyframes.blank_threshold)
        self.pretrained: PretrainedEncoder | None = None
        self.layer_sum: LayerSum | None = None
        self.keyframe_layers: KeyframeLayers | None = None
        self.subsampling: ConvolutionalSubsampling | EncodingSubsampling
        if config.pretrained is None:
            self.normalisation = GlobalNormalisation(num_mel_bins)
            self.subsampling = ConvolutionalSubsampling(
                num_mel_bins, encoder.dim, config.subsampling
            )
        else:
            self._build_on_pretrained(config.pretrained)
        self.input_dropout = nn.Dropout(encoder.dropout)
        self.encoder1 = ConformerEncoder(encoder.keyframe_layer, encoder, encoder.attention_window)
        self.inter_ctc = nn.Linear(encoder.dim, vocab_size)
        self.conditioning = (
            nn.Linear(vocab_size, encoder.dim, bias=False) if encoder.self_conditioning else None
        )
        self.fusion = FrameFusion(encoder.dim, config.fusion)
        self.encoder2 = ConformerEncoder(encoder.layers - encoder.keyframe_layer, encoder)
        self.head = nn.Linear(encoder.dim, vocab_size)
        self.decoder: AttentionDecoder | WhisperDecoder | None = None
        self.decoder_memory: DecoderMemory | None = None
        if isinstance(config.decoder, PretrainedDecoderConfig):
            self._build_pretrained_decoder(config.decoder)
        elif config.decoder is not None:
            self.decoder = AttentionDecoder(encoder.dim, vocab_size, config.decoder)

    @property
    def outputs_per_frame(self) -> int:
        """Outputs of a pretrained encoder per encoder frame."""
        return self.subsampling.factor // PRETRAINED_STEP

    @property
    def own_decoder(self) -> AttentionDecoder | None:
        """The decoder, if its tokens are the model's own."""
        return self.decoder if isinstance(self.decoder, AttentionDecoder) else None

    @property
    def pretrained_decoder(self) -> WhisperDecoder | None:
        """The decoder, if it is pretrained and has tokens of its own."""
        return self.decoder if isinstance(self.decoder, WhisperDecoder) else None

    def forward(
        self,
        features: Tensor,
        lengths: Tensor,
        min_keyframes: Tensor | None = None,
        *,
        pre_encoded: bool = False,
        chunks: Chunks | None = None,
    ) -> Encoded:
        """See `encode`."""
        return self.encode(features, lengths, min_keyframes, pre_encoded=pre_encoded, chunks=chunks)

    def encode(
        self,
        features: Tensor,
        lengths: Tensor,
        min_keyframes: Tensor | None = None,
        *,
        pre_encoded: bool = False,
        chunks: Chunks | None = None,
    ) -> Encoded:
        """Run both encoders and both heads.

        Args:
            features: (B, T, F) of the model's front end, not normalised; padding may have any
                value.
            lengths: (B,) frames per utterance; may be 0.
            min_keyframes: (B,) minimum number of keyframes, clamped to the number of frames.
            pre_encoded: `features` are already outputs of the pretrained encoder.
            chunks: what a stream would see of each utterance; None: all of it.

        Raises:
            ValueError: `pre_encoded` without a pretrained encoder, or chunks, but it cannot stream.
        """
        frames = self.encode_frames(features, lengths, pre_encoded=pre_encoded, chunks=chunks)
        return self.encode_keyframes(frames, min_keyframes)

    def encode_frames(
        self,
        features: Tensor,
        lengths: Tensor,
        *,
        pre_encoded: bool = False,
        chunks: Chunks | None = None,
    ) -> EncodedFrames:
        """Run what hears every frame, with arguments and errors as `encode`."""
        if chunks is not None and self.streaming is None:
            raise ValueError("there are chunks, but model.encoder.streaming is null")
        if pre_encoded and self.pretrained is None:
            raise ValueError("features are pre-encoded, but the network has no pretrained encoder")
        if self.pretrained is not None and not pre_encoded:
            features, lengths = self.pretrained(features, lengths)
        frames, frame_lengths, inter_log_probs = self.lower(features, lengths, chunks)
        return EncodedFrames(frames, frame_lengths, inter_log_probs, features, lengths, chunks)

    def encode_keyframes(
        self, below: EncodedFrames, min_keyframes: Tensor | None = None
    ) -> Encoded:
        """Select keyframes and run what hears only them; `min_keyframes` as in `encode`."""
        frames, frame_lengths = below.frames, below.lengths
        inter_log_probs = below.inter_log_probs
        keyframes = Keyframes.all_frames(frame_lengths, frames.size(1))
        if self.keyframes_enabled:
            keyframes = select_keyframes(inter_log_probs, frame_lengths, self.policy, min_keyframes)
        of_keyframes = None
        if below.chunks is not None and self.streaming is not None:
            policy = self.policy if self.keyframes_enabled else None
            last = self.fusion.offsets[-1] if self.fusion_enabled else 0
            ready = ready_frames(inter_log_probs, frame_lengths, keyframes, policy, last)
            left = self.streaming.left_keyframes if self.keyframes_enabled else None
            of_keyframes = below.chunks.of_keyframes(ready, left)
        if self.conditioning is not None:
            frames = self._conditioned(frames, inter_log_probs, keyframes, self.conditioning)
        memory, head_log_probs, upper = self.higher(
            frames, frame_lengths, keyframes, below.outputs, below.output_lengths, of_keyframes
        )
        found = Encoded(
            inter_log_probs, frame_lengths, keyframes, memory, head_log_probs, upper=upper
        )
        if self.decoder_memory is None:
            return found
        source = self.decoder_source(memory, below.outputs, upper)
        attended = self.decoder_memory(source, below.output_lengths, keyframes)
        return replace(found, decoder_memory=attended)

    def lower(
        self, features: Tensor, lengths: Tensor, chunks: Chunks | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run subsampling, encoder 1 and the inter-CTC.

        Args:
            features: (B, T, F) fbank, or outputs of the pretrained encoder.
            lengths: (B,).
            chunks: as in `encode`.

        Returns:
            Frames (B, U, D), their lengths (B,), and log-probabilities (B, U, V).
        """
        frames, frame_lengths = self._subsample(features, lengths)
        every_frame = Keyframes.all_frames(frame_lengths, frames.size(1))
        frames = self.encoder1(frames, frame_lengths, every_frame.index, chunks)
        return frames, frame_lengths, self.inter_ctc(frames).float().log_softmax(dim=-1)

    def conditioned(self, frames: Tensor, inter_log_probs: Tensor) -> Tensor:
        """Add the projected posteriors of the inter-CTC to all frames (B, U, D), if it is on."""
        if self.conditioning is None:
            return frames
        added: Tensor = self.conditioning(inter_log_probs.exp().to(frames.dtype))
        return frames + added

    def higher(
        self,
        frames: Tensor,
        frame_lengths: Tensor,
        keyframes: Keyframes,
        outputs: Tensor,
        output_lengths: Tensor,
        chunks: KeyframeChunks | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run fusion, the pretrained encoder's layers on keyframes, encoder 2 and its head.

        Args:
            frames: (B, U, D) of encoder 1, with self-conditioning.
            frame_lengths: (B,).
            keyframes: index (B, K).
            outputs: (B, T, width) of the pretrained encoder; any without one.
            output_lengths: (B,).
            chunks: what a stream would see of the keyframes; None: all of them.

        Returns:
            Output of encoder 2 (B, K, D), log-probabilities of its head (B, K, V), and output of
            the pretrained encoder's upper layers (B, K, W), if they run on keyframes.
        """
        fused = frames
        if self.fusion_enabled:
            fused = self.fusion(frames, frame_lengths, keyframes)
        elif self.keyframes_enabled:
            fused = keyframes.gather(frames)
        upper = self._upper(outputs, output_lengths, keyframes)
        if upper is not None and self.keyframe_layers is not None:
            fused = fused + self.keyframe_layers.projection(upper)
        memory = self.encoder2(fused, keyframes.lengths, self._positions(keyframes), chunks)
        return memory, self.head(memory).float().log_softmax(dim=-1), upper

    def decoder_source(self, memory: Tensor, outputs: Tensor, upper: Tensor | None) -> Tensor:
        """What the vectors for a pretrained decoder are made of, with arguments as `higher`."""
        own = self.decoder_memory
        if own is None or self.pretrained is None or own.config.memory == "encoder2":
            return memory
        return outputs[..., -self.pretrained.dim :] if upper is None else upper

    def use_integers(self, weights: Mapping[str, IntegerWeight]) -> None:
        """Let the pretrained decoder compute with integers, for recognition on the CPU.

        Args:
            weights: by name; those of other parts are not used, and none where this torch cannot
                multiply integers.
        """
        prefix = "decoder."
        of_decoder = {
            name.removeprefix(prefix): weight
            for name, weight in weights.items()
            if name.startswith(prefix)
        }
        if of_decoder and self.pretrained_decoder is not None and integers_supported():
            self.pretrained_decoder.use_integers(of_decoder)

    def _subsample(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if features.size(1) == 0:  # convolutions need at least one frame
            features = features.new_zeros(features.size(0), 1, features.size(2))
        features = self.normalisation(features)
        if self.layer_sum is not None:
            features = self.layer_sum(features)
        frames, frame_lengths = self.subsampling(features, lengths)
        return self.input_dropout(frames), frame_lengths

    def _conditioned(
        self, frames: Tensor, log_probs: Tensor, keyframes: Keyframes, projection: nn.Linear
    ) -> Tensor:
        """Add the projected posteriors to the frames (B, U, D) in the windows of keyframes."""
        offsets = self.fusion.offsets if self.fusion_enabled else (0,)
        size = frames.size(1)
        count = keyframes.index.size(1) * len(offsets)
        if not self.keyframes_enabled or count >= size:
            return self.conditioned(frames, log_probs)
        window = torch.arange(offsets[0], offsets[-1] + 1, device=frames.device)
        places = keyframes.index.unsqueeze(-1) + window
        inside = (places >= 0) & (places < size) & keyframes.mask.unsqueeze(-1)
        index, real = distinct_frames(places, inside, size, count)
        added: Tensor = projection(gather_frames(log_probs, index, real).exp().to(frames.dtype))
        rows = index.unsqueeze(-1).expand_as(added)
        return frames.scatter_add(1, rows, added.masked_fill(~real.unsqueeze(-1), 0.0))

    def _upper(self, features: Tensor, lengths: Tensor, keyframes: Keyframes) -> Tensor | None:
        """The output of the pretrained encoder's layers that run on keyframes, if there are any."""
        if self.keyframe_layers is None or self.pretrained is None:
            return None
        highest = features[..., -self.pretrained.dim :]
        upper: Tensor = self.keyframe_layers(self.pretrained, highest, lengths, keyframes)
        return upper

    def _build_on_pretrained(self, config: PretrainedConfig) -> None:
        pretrained = self.pretrained = build_pretrained(config)
        self.normalisation = GlobalNormalisation(pretrained.width)
        if len(pretrained.chosen) > 1:
            self.layer_sum = LayerSum(len(pretrained.chosen))
        self.subsampling = EncodingSubsampling(
            pretrained.dim, self.config.encoder.dim, self.config.subsampling
        )
        if config.keyframe_layer is not None:
            self.keyframe_layers = KeyframeLayers(
                pretrained.dim,
                self.config.encoder.dim,
                config.keyframe_window,
                self.outputs_per_frame,
            )

    def _build_pretrained_decoder(self, config: PretrainedDecoderConfig) -> None:
        decoder = WhisperDecoder(config)
        decoder.requires_grad_(False)
        width = self.config.encoder.dim
        if config.memory != "encoder2" and self.pretrained is not None:
            width = self.pretrained.dim
        self.decoder = decoder
        of_keyframes = self.keyframe_layers is not None
        self.decoder_memory = DecoderMemory(
            config, width, decoder.dim, self.outputs_per_frame, of_keyframes=of_keyframes
        )

    def _positions(self, keyframes: Keyframes) -> Tensor:
        if self.config.keyframes.positions == "source":
            return keyframes.index
        return torch.arange(keyframes.index.size(1), device=keyframes.index.device).expand_as(
            keyframes.index
        )


def build_pretrained(config: PretrainedConfig) -> PretrainedEncoder:
    """Build the encoder with random weights, frozen.

    Raises:
        ModelError: the architecture is missing or wrong.
        PackageError: `transformers` is not installed.
    """
    if config.architecture is None:
        raise ModelError(
            f"model.pretrained.architecture is missing for '{config.source}'; training reads it "
            "from the folder of the pretrained encoder"
        )
    with packages_for(f"the pretrained encoder ({config.family})"):
        import transformers  # noqa: F401
    kind = WhisperEncoder if config.family == "whisper" else Wav2Vec2Encoder
    encoder: PretrainedEncoder = kind(config)
    encoder.unfreeze_from(None)
    return encoder
