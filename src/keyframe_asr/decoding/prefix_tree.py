"""Score many similar texts of one utterance by a decoder: a prefix that they share is read once.

The texts are the paths of a tree, all of whose tokens the decoder reads together; each attends to
those before it on its path (tree attention, arXiv 2305.09781).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.decoding.beam import Symbols
from keyframe_asr.decoding.decoder import BatchDecoder, TokenTree

Tokens = tuple[int, ...]


def tree_scores(
    decoder: BatchDecoder, row: int, texts: Sequence[Tokens], symbols: Symbols
) -> list[Floats]:
    """Log-probabilities (L + 1,) of the tokens and the end, for each text.

    Args:
        decoder: of a batch.
        row: utterance of the texts.
        texts: without prompt and end, at least one.
        symbols: prompt and end.
    """
    nodes: dict[Tokens, int] = {}
    paths = []
    for text in texts:
        whole = (*symbols.prompt, *text)
        prefixes = [whole[: size + 1] for size in range(len(whole))]
        paths.append([nodes.setdefault(prefix, len(nodes)) for prefix in prefixes])
    before = np.zeros((len(nodes), len(nodes)), dtype=np.bool_)
    for path in paths:
        for size, node in enumerate(path):
            before[node, path[: size + 1]] = True
    scored = [path[len(symbols.prompt) - 1 :] for path in paths]
    tree = TokenTree(
        tokens=np.array([prefix[-1] for prefix in nodes]),
        before=before,
        nodes=np.concatenate(scored),
        following=np.concatenate([(*text, symbols.end) for text in texts]),
    )
    ends = np.cumsum([len(path) for path in scored])
    return np.split(decoder.score_tree(row, tree), ends[:-1])
