"""The network on streams, on torch (streams/steps.py has the logic)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.encoder_cache import LayerPast, Past, new_frames
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.subsampling import ConvolutionalSubsampling
from keyframe_asr.streams.state import EncoderCache, FeatureOutput, Floats, NewFrames
from keyframe_asr.streams.steps import FeatureSteps, LowerOutput, StreamedModel, UpperInput


class StreamingNetwork(FeatureSteps):
    """A network on streams of features.

    Args:
        network: can stream (`model.encoder.streaming`); it is set to evaluation mode.
        chunk: encoder frames per chunk. Default: that of the model.
        left_chunks: chunks before its own that a frame sees. Default: that of the model.
        look_ahead: encoder frames after its chunk that a frame sees. Default: that of the model.

    Raises:
        ValueError: the network cannot stream, or a number is too small.
    """

    def __init__(
        self,
        network: KeyframeNetwork,
        chunk: int | None = None,
        left_chunks: int | None = None,
        look_ahead: int | None = None,
    ) -> None:
        self.network, policy = network.eval(), network.policy
        rules = {"keep": policy.keep, "blank_threshold": policy.blank_threshold}
        keyframes = network.config.keyframes.model_copy(update=rules)
        model = StreamedModel(
            network.config.model_copy(update={"keyframes": keyframes}),
            network.normalisation.mean.numel(),
            network.vocab_size,
            network.keyframes_enabled,
            network.fusion_enabled,
        )
        super().__init__(model, TorchParts(network), chunk, left_chunks, look_ahead)

    def chunks(self, utterances: int) -> Chunks:
        """With these, `KeyframeNetwork.encode` finds in whole utterances what streams find."""
        device = self.network.inter_ctc.weight.device
        return Chunks.of([(self.chunk, self.left_chunks)] * utterances, device)

    @torch.inference_mode()
    def simulated(self, features: Sequence[Floats]) -> list[FeatureOutput]:
        """What streams of these whole utterances, (T, F) each, give in all.

        Without look-ahead, by masks, as in training.
        """
        if self.look_ahead:
            return super().simulated(features)
        padded, lengths = _batch(features, self.network.inter_ctc.weight)
        encoded = self.network.encode(padded, lengths, chunks=self.chunks(len(features)))
        inter, head = (_array(one) for one in (encoded.inter_log_probs, encoded.head_log_probs))
        keyframes = encoded.keyframes.index.cpu().numpy()
        sizes = zip(encoded.frame_lengths.tolist(), encoded.keyframes.lengths.tolist(), strict=True)
        return [
            FeatureOutput(inter[row, :frames], keyframes[row, :count], head[row, :count])
            for row, (frames, count) in enumerate(sizes)
        ]


class TorchParts:
    """See `StreamParts`; streams form a batch.

    Args:
        network: can stream.
    """

    def __init__(self, network: KeyframeNetwork) -> None:
        self._network = network

    @torch.inference_mode()
    def lower(
        self,
        features: Sequence[Floats],
        kept: Sequence[int],
        edges: Sequence[Floats],
        past: Sequence[EncoderCache],
    ) -> list[LowerOutput]:
        """See `StreamParts`."""
        if not features:
            return []
        weight = self._network.inter_ctc.weight
        padded, lengths = _batch(features, weight)
        before = torch.from_numpy(np.stack(edges)).to(weight.device)
        first = torch.tensor([one.frames for one in past], device=weight.device)
        frames, log_probs, lengths, following, new = lower_step(
            self._network,
            padded,
            lengths,
            torch.tensor(kept, device=weight.device),
            before,
            first,
            Past.of(past, weight.device),
        )
        sizes = lengths.tolist()
        every = new_frames(new, sizes)
        arrays = [_array(one) for one in (frames, log_probs, following)]
        return [
            LowerOutput(arrays[0][row, :size], arrays[1][row, :size], arrays[2][row].copy(), new)
            for row, (size, new) in enumerate(zip(sizes, every, strict=True))
        ]

    @torch.inference_mode()
    def upper(self, given: Sequence[UpperInput]) -> list[tuple[Floats, NewFrames]]:
        """See `StreamParts`."""
        device = self._network.head.weight.device
        around, inside, positions = (
            pad_sequence([torch.from_numpy(one) for one in part], batch_first=True).to(device)
            for part in (
                [one.around for one in given],
                [one.inside for one in given],
                [one.positions for one in given],
            )
        )
        sizes = [len(one.positions) for one in given]
        log_probs, new = upper_step(
            self._network,
            around,
            inside,
            positions,
            torch.tensor(sizes, device=device),
            Past.of([one.past for one in given], device),
        )
        found, kept = _array(log_probs), new_frames(new, sizes)
        return [(found[row, :size], kept[row]) for row, size in enumerate(sizes)]


def lower_step(
    network: KeyframeNetwork,
    features: Tensor,
    lengths: Tensor,
    kept: Tensor,
    edges: Tensor,
    first: Tensor,
    past: Past,
) -> tuple[Tensor, Tensor, Tensor, Tensor, LayerPast]:
    """Subsampling, encoder 1 and the inter-CTC on the next chunk of B streams.

    Args:
        network: can stream.
        features: (B, T, F).
        lengths: (B,) of them.
        kept: (B,) number of them that belong to the chunk; the others are ahead.
        edges: (B, S) of the subsampling.
        first: (B,) number of frames that each stream has had.
        past: of encoder 1.

    Returns:
        Frames (B, N, D) with self-conditioning, log-probabilities (B, N, V), lengths (B,), edges
        (B, S), and what `ConformerEncoder.step` gives of these frames.
    """
    subsampling = network.subsampling
    assert isinstance(subsampling, ConvolutionalSubsampling), "the config refuses others"
    frames, lengths, edges = subsampling.step(network.normalisation(features), lengths, kept, edges)
    positions = first.unsqueeze(1) + torch.arange(frames.size(1), device=frames.device)
    frames, new = network.encoder1.step(frames, lengths, positions, past)
    log_probs = network.inter_ctc(frames).float().log_softmax(dim=-1)
    return network.conditioned(frames, log_probs), log_probs, lengths, edges, new


def upper_step(
    network: KeyframeNetwork,
    around: Tensor,
    inside: Tensor,
    positions: Tensor,
    lengths: Tensor,
    past: Past,
) -> tuple[Tensor, LayerPast]:
    """Fusion, encoder 2 and its head on the next keyframes of B streams.

    Args:
        network: can stream.
        around: (B, K, W, D) frames around each.
        inside: (B, K, W) which of them exist.
        positions: (B, K) for encoder 2.
        lengths: (B,) numbers of keyframes.
        past: of encoder 2.

    Returns:
        Log-probabilities (B, K, V), and what `ConformerEncoder.step` gives of these keyframes.
    """
    fused = network.fusion.fuse(around, inside) if network.fusion_enabled else around[:, :, 0]
    memory, new = network.encoder2.step(fused, lengths, positions, past)
    return network.head(memory).float().log_softmax(dim=-1), new


def _batch(features: Sequence[Floats], weight: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, T, F) and their lengths (B,), where the weight is."""
    tensors = [torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32)) for one in features]
    lengths = torch.tensor([len(one) for one in tensors], device=weight.device)
    return pad_sequence(tensors, batch_first=True).to(weight), lengths


def _array(tensor: Tensor) -> Floats:
    found: Floats = tensor.float().cpu().numpy()
    return found
