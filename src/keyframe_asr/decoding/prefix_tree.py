"""Score many similar texts of one utterance by a decoder: a prefix that they share is read once.

The texts are the paths of a tree, all of whose tokens the decoder reads together; each attends to
those before it on its path (tree attention, arXiv 2305.09781).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from keyframe_asr.decoding.beam import Symbols

Tokens = tuple[int, ...]


class TreeDecoder(Protocol):
    """A decoder that reads a tree of tokens."""

    def read_tree(self, tokens: Tensor, before: Tensor, memory: Tensor) -> Tensor:
        """Logits (N, V) after each of N tokens, whose paths (N, N) include themselves."""
        ...


def tree_scores(
    decoder: TreeDecoder, memory: Tensor, texts: Sequence[Tokens], symbols: Symbols
) -> list[Tensor]:
    """Log-probabilities (L + 1,) of the tokens and the end, for each text.

    Args:
        decoder: in evaluation mode.
        memory: (M, D) of the utterance.
        texts: without prompt and end.
        symbols: prompt and end.
    """
    nodes: dict[Tokens, int] = {}
    paths = []
    for text in texts:
        whole = (*symbols.prompt, *text)
        prefixes = [whole[: size + 1] for size in range(len(whole))]
        paths.append([nodes.setdefault(prefix, len(nodes)) for prefix in prefixes])
    before = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for prefix, node in nodes.items():
        before[node, [nodes[prefix[: size + 1]] for size in range(len(prefix))]] = True
    tokens = torch.tensor([prefix[-1] for prefix in nodes], device=memory.device)
    logits = decoder.read_tree(tokens, before.to(memory.device), memory).float()
    total = logits.logsumexp(dim=1)
    found = []
    for text, path in zip(texts, paths, strict=True):
        at = torch.tensor(path[len(symbols.prompt) - 1 :], device=memory.device)
        following = torch.tensor((*text, symbols.end), device=memory.device)
        found.append((logits[at, following] - total[at]).cpu())
    return found
