"""Transformer attention decoder (arXiv 1706.03762), pre-norm, with rotary self-attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from keyframe_asr.config.model import DecoderConfig
from keyframe_asr.model.attention import (
    attend,
    attend_shared,
    merge_heads,
    rotary_angles,
    rotate,
    split_heads,
)
from keyframe_asr.model.conformer import FeedForward
from keyframe_asr.model.masks import attention_mask

KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class DecoderState:
    """Immutable state of token-by-token decoding.

    Attributes:
        memory: per layer, keys and values of the encoder output, each (B, H, K, D / H); or of
            fewer utterances, each for several rows.
        past: per layer, keys and values of the tokens so far, each (B, H, N, D / H).
        memory_mask: (B, 1, 1, K).
        length: N, tokens so far.
    """

    memory: tuple[KeyValue, ...]
    past: tuple[KeyValue, ...]
    memory_mask: Tensor
    length: int

    def select(self, index: Tensor) -> DecoderState:
        """Reorder or repeat the batch by index (B',), for beam search."""
        return DecoderState(
            tuple((key[index], value[index]) for key, value in self.memory),
            tuple((key[index], value[index]) for key, value in self.past),
            self.memory_mask[index],
            self.length,
        )

    def select_past(self, index: Tensor) -> DecoderState:
        """Reorder only the tokens so far, for beams that stay within their utterance."""
        past = tuple((key[index], value[index]) for key, value in self.past)
        return DecoderState(self.memory, past, self.memory_mask, self.length)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder output, feed-forward."""

    def __init__(self, dim: int, config: DecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.self_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.self_output = nn.Linear(dim, dim)
        self.memory_norm = nn.LayerNorm(dim)
        self.memory_query = nn.Linear(dim, dim)
        self.memory_key_value = nn.Linear(dim, 2 * dim)
        self.memory_output = nn.Linear(dim, dim)
        self.feed_forward = FeedForward(dim, config.feed_forward)
        self.dropout = nn.Dropout(config.dropout)

    def project_memory(self, memory: Tensor) -> KeyValue:
        """Keys and values of memory (B, K, D)."""
        key, value = self.memory_key_value(memory).chunk(2, dim=-1)
        return split_heads(key, self.heads), split_heads(value, self.heads)

    def forward(
        self,
        tokens: Tensor,
        angles: tuple[Tensor, Tensor],
        past: KeyValue | None,
        memory: KeyValue,
        memory_mask: Tensor,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue]:
        """Process tokens (B, N, D) that follow `past`; returns (B, N, D) and the extended past.

        Without a `mask` (B, 1, N, past + N), several tokens must be the first.
        """
        query, key, value = (
            split_heads(part, self.heads)
            for part in self.query_key_value(self.self_norm(tokens)).chunk(3, dim=-1)
        )
        query, key = rotate(query, angles), rotate(key, angles)
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        # A single new token attends to all previous ones; only a prefix needs the causal mask.
        if mask is None and past is not None:
            mask = key.new_ones(1, key.size(2), dtype=torch.bool)
        attended = attend(query, key, value, mask, causal=mask is None)
        tokens = tokens + self.dropout(self.self_output(merge_heads(attended)))
        query = split_heads(self.memory_query(self.memory_norm(tokens)), self.heads)
        attended = attend_shared(query, *memory, memory_mask)
        tokens = tokens + self.dropout(self.memory_output(merge_heads(attended)))
        return tokens + self.dropout(self.feed_forward(tokens)), (key, value)


class AttentionDecoder(nn.Module):
    """Predicts the next token from the previous tokens and the output of encoder 2."""

    def __init__(self, dim: int, vocab_size: int, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim = dim // config.heads
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.scale = dim**0.5
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(DecoderLayer(dim, config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, vocab_size)

    def forward(
        self, prefix: Tensor, prefix_lengths: Tensor, memory: Tensor, memory_lengths: Tensor
    ) -> Tensor:
        """Compute the logits of every next token in parallel (teacher forcing).

        Args:
            prefix: (B, N) token ids, beginning with the start symbol, padded at the end.
            prefix_lengths: (B,), unused: attention is causal, so padding at the end cannot affect
                a valid position.
            memory: (B, K, D) output of encoder 2.
            memory_lengths: (B,).

        Returns:
            Logits (B, N, V).
        """
        del prefix_lengths
        mask = attention_mask(memory_lengths, memory.size(1))
        angles = rotary_angles(_positions(0, prefix), self.head_dim)
        tokens = self.dropout(self.embedding(prefix) * self.scale)
        for layer in self._layers:
            tokens, _ = layer(tokens, angles, None, layer.project_memory(memory), mask)
        logits: Tensor = self.output(self.norm(tokens))
        return logits

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """Layers, heads, and width of a head."""
        return len(self.layers), self._layers[0].heads, self.head_dim

    @property
    def _layers(self) -> Sequence[DecoderLayer]:
        return cast("Sequence[DecoderLayer]", self.layers)

    def start(self, memory: Tensor, memory_lengths: Tensor) -> DecoderState:
        """State before the first token, for memory (B, K, D) of lengths (B,)."""
        empty = memory.new_zeros(memory.size(0), self._layers[0].heads, 0, self.head_dim)
        return DecoderState(
            tuple(layer.project_memory(memory) for layer in self._layers),
            tuple((empty, empty) for _ in self._layers),
            attention_mask(memory_lengths, memory.size(1)),
            0,
        )

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Log-probabilities (B, V) of the token after tokens (B,), and the next state."""
        one = tokens.unsqueeze(1)
        logits, following = self.read(one, state, _positions(state.length, one))
        return logits[:, 0].log_softmax(dim=-1), following

    def read(
        self, tokens: Tensor, state: DecoderState, positions: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, DecoderState]:
        """Logits (B, N, V) of the tokens after these, and the next state.

        Args:
            tokens: (B, N).
            state: of the tokens before them.
            positions: (B, N) of the tokens.
            mask: (B, 1, N, length + N) of what each attends to; None: everything, for one token.
        """
        angles = rotary_angles(positions, self.head_dim)
        hidden = self.dropout(self.embedding(tokens) * self.scale)
        grown = []
        for layer, past, memory in zip(self._layers, state.past, state.memory, strict=True):
            hidden, past = layer(hidden, angles, past, memory, state.memory_mask, mask)
            grown.append(past)
        size = state.length + tokens.size(1)
        logits: Tensor = self.output(self.norm(hidden))
        return logits, DecoderState(state.memory, tuple(grown), state.memory_mask, size)


def _positions(start: int, tokens: Tensor) -> Tensor:
    return torch.arange(start, start + tokens.size(1), device=tokens.device).expand_as(tokens)
