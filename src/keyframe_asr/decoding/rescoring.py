"""Second pass: n-best hypotheses of the first pass scored by the attention decoder.

Two-pass attention rescoring (arXiv 2012.05481), with the interpolated score
`weight · log P_decoder + (1 - weight) · log P_first`, plus what language model and hot words add.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from keyframe_asr.decoding.hypothesis import Hypothesis, with_alternatives
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.text.tokenizer import END

DECODER_WEIGHT = 0.5


def rescore(
    decoder: AttentionDecoder,
    memory: Tensor,
    memory_lengths: Tensor,
    candidates: list[list[Hypothesis]],
    weight: float = DECODER_WEIGHT,
    nbest: int = 1,
) -> list[Hypothesis]:
    """The best of each utterance's candidates under decoder and first pass together.

    Args:
        decoder: in evaluation mode.
        memory: (B, K, D) encoder 2's output.
        memory_lengths: (B,).
        candidates: per utterance its hypotheses; none gives an empty one.
        weight: of the decoder, in [0, 1]; 0 keeps the first pass, 1 ignores it.
        nbest: how many of them the best one carries as its alternatives, if more than one.

    Returns:
        One hypothesis per utterance with the interpolated score, the positions of the first pass
        and the decoder's token probabilities as confidences.
    """
    flat = [(row, one) for row, several in enumerate(candidates) for one in several]
    ranked: list[list[Hypothesis]] = [[] for _ in candidates]
    rows = torch.tensor([row for row, _ in flat], dtype=torch.long, device=memory.device)
    scored = token_scores(decoder, memory[rows], memory_lengths[rows], [one for _, one in flat])
    for (row, one), scores in zip(flat, scored, strict=True):
        first_pass = one.score - one.external
        score = weight * float(scores.sum()) + (1 - weight) * first_pass + one.external
        confidences = tuple(scores[:-1].exp().tolist())
        ranked[row].append(replace(one, score=score, confidences=confidences))
    for several in ranked:
        several.sort(key=lambda one: -one.score)
    return [with_alternatives(several, nbest) for several in ranked]


def token_scores(
    decoder: AttentionDecoder, memory: Tensor, lengths: Tensor, hypotheses: list[Hypothesis]
) -> list[Tensor]:
    """Per hypothesis the log-probability of each token and of the end of sentence, (L + 1,)."""
    if not hypotheses:
        return []
    sizes = [len(hypothesis.tokens) + 1 for hypothesis in hypotheses]
    longest = max(sizes)
    padded = torch.tensor(
        [[END, *h.tokens, *[END] * (longest - len(h.tokens))] for h in hypotheses],
        device=memory.device,
    )
    prefix, following = padded[:, :-1], padded[:, 1:]
    logits = decoder(prefix, torch.tensor(sizes, device=memory.device), memory, lengths)
    scores = logits.float().log_softmax(dim=-1).gather(2, following.unsqueeze(2)).squeeze(2).cpu()
    return [row[:size] for row, size in zip(scores, sizes, strict=True)]
