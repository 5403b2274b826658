"""Whisper's decoder (arXiv 2212.04356) on any memory, such as the vectors of a few keyframes.

Pre-norm Transformer layers with learned positions; the output layer is the embedding. Weights have
the names of `transformers`. Deviation from the original: the memory has any length, and a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from keyframe_asr.config.model import PretrainedDecoderConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.model.attention import attend, attend_shared, merge_heads, split_heads
from keyframe_asr.model.decoder import DecoderState, KeyValue
from keyframe_asr.model.integer_linear import (
    IntegerEmbedding,
    IntegerLinear,
    IntegerWeight,
    joined,
    use_integers,
)
from keyframe_asr.model.masks import attention_mask

SIZES = (
    "d_model",
    "decoder_attention_heads",
    "decoder_ffn_dim",
    "decoder_layers",
    "max_target_positions",
    "vocab_size",
)
"""Keys of Whisper's `config.json` that the decoder needs."""


class WhisperDecoder(nn.Module):
    """Predicts the next of Whisper's tokens from the previous ones and a memory.

    Attributes:
        dim: width D of memory and tokens.
        vocab_size: number V of tokens.
        longest: most tokens of a text, those of the prompt included.
    """

    def __init__(self, config: PretrainedDecoderConfig) -> None:
        super().__init__()
        sizes = _sizes(config)
        self.dim, self.vocab_size = sizes["d_model"], sizes["vocab_size"]
        self.longest = sizes["max_target_positions"]
        self.embed_tokens: nn.Embedding | IntegerEmbedding
        self.embed_tokens = nn.Embedding(self.vocab_size, self.dim)
        self.embed_positions = nn.Embedding(self.longest, self.dim)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        nn.init.normal_(self.embed_positions.weight, std=0.02)
        heads, hidden = sizes["decoder_attention_heads"], sizes["decoder_ffn_dim"]
        self.layers = nn.ModuleList(
            _Layer(self.dim, heads, hidden, config.dropout) for _ in range(sizes["decoder_layers"])
        )
        self.layer_norm = nn.LayerNorm(self.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, prefix: Tensor, prefix_lengths: Tensor, memory: Tensor, memory_lengths: Tensor
    ) -> Tensor:
        """Compute the logits of every next token in parallel (teacher forcing).

        Args:
            prefix: (B, N) token ids, beginning with the prompt, padded at the end.
            prefix_lengths: (B,), unused: attention is causal, so padding at the end cannot affect
                a valid position.
            memory: (B, M, D).
            memory_lengths: (B,).

        Returns:
            Logits (B, N, V).
        """
        del prefix_lengths
        hidden, _ = self._run(prefix, self.start(memory, memory_lengths))
        return self._logits(hidden)

    def start(self, memory: Tensor, memory_lengths: Tensor) -> DecoderState:
        """State before the first token, for memory (B, M, D) of lengths (B,)."""
        heads = self._layers[0].self_attn.heads
        empty = memory.new_zeros(memory.size(0), heads, 0, self.dim // heads)
        return DecoderState(
            tuple(layer.encoder_attn.keys_and_values(memory) for layer in self._layers),
            tuple((empty, empty) for _ in self._layers),
            attention_mask(memory_lengths, memory.size(1)),
            0,
        )

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Log-probabilities (B, V) of the token after these, and the next state.

        Args:
            tokens: (B,), or several for each utterance (B, N), such as a prompt.
            state: of the tokens before them.
        """
        hidden, state = self._run(tokens if tokens.dim() == 2 else tokens.unsqueeze(1), state)
        return self._logits(hidden[:, -1]).float().log_softmax(dim=-1), state

    def read_tree(self, tokens: Tensor, before: Tensor, memory: Tensor) -> Tensor:
        """Logits (N, V) of the token after each of a tree of texts.

        Args:
            tokens: (N,).
            before: (N, N) True for the tokens on the path to each, itself included.
            memory: (M, D), one for all.
        """
        sizes = torch.tensor([len(memory)], device=memory.device)
        state = self.start(memory.unsqueeze(0), sizes)
        logits, _ = self.read(tokens.unsqueeze(0), state, before.sum(dim=1) - 1, before)
        return logits[0]

    def read(
        self, tokens: Tensor, state: DecoderState, positions: Tensor, mask: Tensor
    ) -> tuple[Tensor, DecoderState]:
        """Logits (B, N, V) of the tokens after these, and the next state.

        Args:
            tokens: (B, N).
            state: of the tokens before them.
            positions: (N,) or (B, N) of the tokens.
            mask: (N, length + N) or (B, 1, N, length + N) of what each attends to.
        """
        hidden, state = self._run(tokens, state, positions, mask)
        return self._logits(hidden), state

    def trained_parts(self, cross_attention_only: bool, first: int = 1) -> Iterator[nn.Module]:
        """The modules that a stage trains: of the layers from number `first` (from 1) on.

        Raises:
            ModelError: there is no such layer.
        """
        if first > len(self.layers):
            raise ModelError(
                f"pretrained_decoder.from_layer is {first}, but the decoder has "
                f"{len(self.layers)} layers; choose 1 to {len(self.layers)}"
            )
        for layer in self._layers[first - 1 :]:
            if cross_attention_only:
                yield layer.encoder_attn
                yield layer.encoder_attn_layer_norm
            else:
                yield layer
        if not cross_attention_only:
            yield self.layer_norm

    def use_integers(self, weights: Mapping[str, IntegerWeight]) -> None:
        """Compute with these weights, for recognition; see `integer_linear.use_integers`."""
        for number, layer in enumerate(self._layers):
            layer.self_attn.join(weights, f"layers.{number}.self_attn")
        use_integers(self, weights)
        if (weight := weights.get("embed_tokens.weight")) is not None:
            self.embed_tokens = IntegerEmbedding(weight)

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """Layers, heads, and width of a head."""
        heads = self._layers[0].self_attn.heads
        return len(self.layers), heads, self.dim // heads

    @property
    def _layers(self) -> Sequence[_Layer]:
        return cast("Sequence[_Layer]", list(self.layers))

    def _run(
        self,
        tokens: Tensor,
        state: DecoderState,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, DecoderState]:
        """Normalised output (B, N, D) of the last layer for tokens (B, N), and the next state.

        Positions and mask are those of one text, unless given.
        """
        size, before = tokens.size(1), state.length
        if positions is None:
            positions = torch.arange(before, before + size, device=tokens.device)
        hidden = self.dropout(self.embed_tokens(tokens) + self.embed_positions(positions))
        # without earlier tokens, attention is simply causal, for which it needs no mask
        if mask is None and before:
            mask = tokens.new_ones(size, before + size).tril(before).bool()
        grown = []
        for layer, past, memory in zip(self._layers, state.past, state.memory, strict=True):
            hidden, past = layer(hidden, mask, past, memory, state.memory_mask)
            grown.append(past)
        after = DecoderState(state.memory, tuple(grown), state.memory_mask, before + size)
        return self.layer_norm(hidden), after

    def _logits(self, hidden: Tensor) -> Tensor:
        if isinstance(self.embed_tokens, IntegerEmbedding):
            logits: Tensor = self.embed_tokens.output(hidden)
            return logits
        return nn.functional.linear(hidden, self.embed_tokens.weight)


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.joint: IntegerLinear | None = None

    def join(self, weights: Mapping[str, IntegerWeight], prefix: str) -> None:
        """Make one layer of integers of those that have the same input, if all have integers."""
        names = [f"{prefix}.{kind}_proj.weight" for kind in "qkv"]
        if not all(name in weights for name in names):
            return
        bias = torch.cat((self.q_proj.bias, torch.zeros_like(self.q_proj.bias), self.v_proj.bias))
        self.joint = IntegerLinear(joined([weights[name] for name in names]), bias)
        del self.q_proj, self.k_proj, self.v_proj

    def query(self, tokens: Tensor) -> Tensor:
        """Queries (B, H, N, D / H) of tokens (B, N, D)."""
        return split_heads(self.q_proj(tokens), self.heads)

    def query_key_value(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, H, N, D / H), of the same tokens (B, N, D)."""
        if self.joint is None:
            return self.query(tokens), *self.keys_and_values(tokens)
        query, key, value = self.joint(tokens).chunk(3, dim=-1)
        heads = self.heads
        return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)

    def keys_and_values(self, frames: Tensor) -> KeyValue:
        """Keys and values, each (B, H, N, D / H), of frames (B, N, D)."""
        key, value = self.k_proj(frames), self.v_proj(frames)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def forward(self, query: Tensor, attended: KeyValue, mask: Tensor | None) -> Tensor:
        """Self-attention; causal without a mask."""
        heads = attend(query, *attended, mask, causal=mask is None)
        output: Tensor = self.out_proj(merge_heads(heads))
        return output

    def to_memory(self, query: Tensor, memory: KeyValue, mask: Tensor) -> Tensor:
        """As `forward`; several rows of queries may share a memory."""
        output: Tensor = self.out_proj(merge_heads(attend_shared(query, *memory, mask)))
        return output


class _Layer(nn.Module):
    """Causal self-attention, attention to the memory, feed-forward."""

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = _Attention(dim, heads)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.encoder_attn = _Attention(dim, heads)
        self.encoder_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor | None,
        past: KeyValue,
        memory: KeyValue,
        memory_mask: Tensor,
    ) -> tuple[Tensor, KeyValue]:
        query, key, value = self.self_attn.query_key_value(self.self_attn_layer_norm(tokens))
        if past[0].size(2):
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        tokens = tokens + self.dropout(self.self_attn(query, (key, value), mask))
        query = self.encoder_attn.query(self.encoder_attn_layer_norm(tokens))
        tokens = tokens + self.dropout(self.encoder_attn.to_memory(query, memory, memory_mask))
        hidden = self.fc2(gelu(self.fc1(self.final_layer_norm(tokens))))
        return tokens + self.dropout(hidden), (key, value)


def _sizes(config: PretrainedDecoderConfig) -> dict[str, Any]:
    if config.architecture is None:
        raise ModelError(
            f"model.decoder.architecture is missing for '{config.source}'; training reads it from "
            "the folder of the pretrained decoder"
        )
    if lacking := [name for name in SIZES if not isinstance(config.architecture.get(name), int)]:
        raise ModelError(
            f"'{config.source}': not the configuration of a whole Whisper: {lacking[0]} is "
            "missing; give a Whisper with its decoder"
        )
    return config.architecture
