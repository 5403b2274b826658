"""The graphs of a network, in the order in which `keyframe_asr.runtime` runs them.

- `pretrained`: at most one window of Whisper, or one utterance of wav2vec 2.0, to outputs;
- `encoder`: features, or these outputs, to frames, their number, and inter-CTC log-probabilities;
- `keyframes`: frames around the keyframes to the output of encoder 2, its head's log-probabilities,
  and the vectors that a pretrained decoder attends to;
- `decoder_memory`: these vectors to keys and values;
- `decoder`: tokens, after cached keys and values, to log-probabilities of the tokens that follow;
- those of `export.stream_graphs`, if the network can stream.

Keyframes are chosen between `encoder` and `keyframes` by `runtime.keyframes`, because their number
depends on the data; FunASR divides Paraformer in the same way. One decoder graph serves prompts,
steps of a beam search, and whole texts: what a new token attends to is an input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from keyframe_asr.export.stream_graphs import stream_graphs
from keyframe_asr.export.tracing import Graph
from keyframe_asr.model.decoder import AttentionDecoder, DecoderState
from keyframe_asr.model.keyframes import Keyframes, gather_frames
from keyframe_asr.model.masks import attention_mask, length_mask
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.model.wav2vec2 import Wav2Vec2Encoder
from keyframe_asr.model.whisper import WhisperEncoder
from keyframe_asr.model.whisper_decoder import WhisperDecoder

_Random = Callable[..., Tensor]

BATCH, TIME, HYPOTHESES, TOKENS, PAST = 2, 150, 3, 4, 6
"""Sizes of the examples that are traced; all at least 2, as torch.export takes 1 for constant."""


class WhisperGraph(nn.Module):
    """Log-mel (B, T, bins) of at most one window to outputs (B, N, width)."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Run it."""
        return self.encoder.encode_window(features, lengths)


class Wav2Vec2Graph(nn.Module):
    """Samples (1, S, 1) of one utterance to outputs (1, N, width)."""

    def __init__(self, encoder: Wav2Vec2Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor) -> Tensor:
        """Run it."""
        return self.encoder.encode_samples(features[0, :, 0]).unsqueeze(0)


class EncoderGraph(nn.Module):
    """Features (B, T, F) to frames (B, U, D), lengths (B,), and log-probabilities (B, U, V)."""

    def __init__(self, network: KeyframeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run it."""
        frames, frame_lengths, log_probs = self.network.lower(features, lengths)
        return self.network.conditioned(frames, log_probs), frame_lengths, log_probs


class KeyframesGraph(nn.Module):
    """Frames and keyframes (B, K) to encoder 2 (B, K, D), log-probabilities (B, K, V), vectors."""

    def __init__(self, network: KeyframeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        frames: Tensor,
        frame_lengths: Tensor,
        index: Tensor,
        keyframe_lengths: Tensor,
        outputs: Tensor | None = None,
        output_lengths: Tensor | None = None,
        attended_index: Tensor | None = None,
        attended_lengths: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Run it; `attended_index` are the outputs that a decoder of `neighbours` attends to."""
        network, keyframes = self.network, Keyframes(index, keyframe_lengths)
        below = frames if outputs is None else outputs
        sizes = frame_lengths if output_lengths is None else output_lengths
        memory, log_probs, upper = network.higher(frames, frame_lengths, keyframes, below, sizes)
        if network.decoder_memory is None:
            return memory, log_probs
        source = network.decoder_source(memory, below, upper)
        if attended_index is not None and attended_lengths is not None:
            real = length_mask(attended_lengths, attended_index.size(1))
            vectors = gather_frames(source, attended_index, real)
            return memory, log_probs, network.decoder_memory.adapt(vectors, attended_index)
        return memory, log_probs, network.decoder_memory(source, sizes, keyframes)[0]


class DecoderMemoryGraph(nn.Module):
    """Vectors (B, M, D) to their keys and values (layers, 2, B, H, M, D / H)."""

    def __init__(self, decoder: AttentionDecoder | WhisperDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, vectors: Tensor) -> Tensor:
        """Run it."""
        lengths = torch.full((vectors.size(0),), 1, device=vectors.device)
        return _stacked(self.decoder.start(vectors, lengths).memory)


class DecoderGraph(nn.Module):
    """Tokens (R, P) to the log-probabilities (R, P, V) of those that follow, and all their keys."""

    def __init__(self, decoder: AttentionDecoder | WhisperDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        visible: Tensor,
        past: Tensor,
        parents: Tensor,
        memory: Tensor,
        memory_lengths: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run it.

        Args:
            tokens: (R, P) next tokens of R hypotheses, S in a row for each of B utterances.
            positions: (R, P).
            visible: (R, P, P) True where a new token attends to another; all attend to the past.
            past: (layers, 2, Q, H, N, D / H) keys and values of the tokens before.
            parents: (R,) row of the past that each hypothesis continues.
            memory: (layers, 2, B, H, M, D / H).
            memory_lengths: (B,).
        """
        before = past.index_select(2, parents)
        seen = visible.new_ones(visible.size(0), visible.size(1), before.size(4))
        mask = torch.cat((seen, visible), dim=2).unsqueeze(1)
        state = DecoderState(
            tuple((key, value) for key, value in memory.unbind(0)),
            tuple((key, value) for key, value in before.unbind(0)),
            attention_mask(memory_lengths, memory.size(4)),
            before.size(4),
        )
        logits, state = self.decoder.read(tokens, state, positions, mask)
        return logits.float().log_softmax(dim=-1), _stacked(state.past)


def graphs_of(network: KeyframeNetwork) -> dict[str, Graph]:
    """The graphs of a network in evaluation mode, by name."""
    generator = torch.Generator().manual_seed(1)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    graphs = {}
    width = network.normalisation.mean.numel()
    if network.pretrained is not None:
        graphs["pretrained"] = _pretrained_graph(network.pretrained, some)
    lengths = torch.tensor([TIME, TIME - 31])
    graphs["encoder"] = Graph(
        EncoderGraph(network),
        {"features": some(BATCH, TIME, width), "lengths": lengths},
        {"features": (2,)},
        ("frames", "frame_lengths", "log_probs"),
    )
    graphs["keyframes"] = _keyframes_graph(network, some)
    if network.decoder is not None:
        graphs |= _decoder_graphs(network.decoder, some)
    if network.streaming is not None:
        graphs |= stream_graphs(network)
    return graphs


def _pretrained_graph(encoder: PretrainedEncoder, some: _Random) -> Graph:
    if isinstance(encoder, WhisperEncoder):
        size = min(TIME, encoder.window)
        inputs = {
            "features": some(BATCH, size, encoder.encoder.num_mel_bins),
            "lengths": torch.tensor([size, size - 7]),
        }
        return Graph(WhisperGraph(encoder), inputs, {"features": (2,)}, ("outputs",))
    assert isinstance(encoder, Wav2Vec2Encoder)
    samples = {"features": some(1, 16_000, 1)}
    return Graph(Wav2Vec2Graph(encoder), samples, {"features": (0, 2)}, ("outputs",))


def _keyframes_graph(network: KeyframeNetwork, some: _Random) -> Graph:
    frames, dim = 40, network.config.encoder.dim
    index = torch.tensor([[0, 3, 9, 17, 39], [2, 5, 11, 0, 0]])
    inputs = {
        "frames": some(BATCH, frames, dim),
        "frame_lengths": torch.tensor([frames, 30]),
        "index": index,
        "keyframe_lengths": torch.tensor([5, 3]),
    }
    fixed: dict[str, tuple[int, ...]] = {"frames": (2,)}
    outputs = ["memory", "log_probs"]
    memory = network.decoder_memory
    takes_outputs = memory is not None and memory.config.memory != "encoder2"
    if network.pretrained is not None and (network.keyframe_layers is not None or takes_outputs):
        size = 1 + frames * network.outputs_per_frame
        inputs |= {
            "outputs": some(BATCH, size, network.pretrained.width),
            "output_lengths": torch.tensor([size, 61]),
        }
        fixed["outputs"] = (2,)
    if memory is not None and takes_outputs and memory.config.memory == "neighbours":
        inputs |= {
            "attended_index": torch.arange(7).expand(BATCH, -1) * 2,
            "attended_lengths": torch.tensor([7, 4]),
        }
    if memory is not None:
        outputs.append("attended")
    # the padding of keyframes may lie in a window of Whisper that has no keyframe
    inside = network.keyframe_layers is not None
    return Graph(KeyframesGraph(network), inputs, fixed, tuple(outputs), inside)


def _decoder_graphs(decoder: AttentionDecoder | WhisperDecoder, some: _Random) -> dict[str, Graph]:
    layers, heads, head_dim = decoder.cache_shape
    rows, size = BATCH * HYPOTHESES, 9
    fixed = (0, 1, 3, 5)
    return {
        "decoder_memory": Graph(
            DecoderMemoryGraph(decoder),
            {"vectors": some(BATCH, size, heads * head_dim)},
            {"vectors": (2,)},
            ("memory",),
        ),
        "decoder": Graph(
            DecoderGraph(decoder),
            {
                "tokens": torch.arange(rows * TOKENS).view(rows, TOKENS) % 4,
                "positions": (PAST + torch.arange(TOKENS)).expand(rows, -1),
                "visible": torch.ones(rows, TOKENS, TOKENS).tril().bool(),
                "past": some(layers, 2, rows - 1, heads, PAST, head_dim),
                "parents": torch.arange(rows).clamp(max=rows - 2),
                "memory": some(layers, 2, BATCH, heads, size, head_dim),
                "memory_lengths": torch.tensor([size, size - 2]),
            },
            {"past": fixed, "memory": fixed},
            ("log_probs", "grown"),
        ),
    }


def _stacked(layers: tuple[tuple[Tensor, Tensor], ...]) -> Tensor:
    return torch.stack([torch.stack(pair) for pair in layers])
