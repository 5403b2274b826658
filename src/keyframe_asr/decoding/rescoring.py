"""Two-pass attention rescoring (arXiv 2012.05481) and joint CTC/attention scoring.

The score is `weight · log P_decoder + (1 - weight) · log P_first`, plus the scores of language
model and hotwords.

With first scores from `scored_by_ctc`, this is the rescoring form (section IV-B1) of hybrid
CTC/attention decoding (Watanabe et al., "Hybrid CTC/attention architecture for end-to-end speech
recognition", IEEE JSTSP 2017). The one-pass form scores every prefix by CTC at every step of the
decoder; here prefix beam search proposes the sentences and one parallel pass of the decoder scores
them. Deviation: candidates may come from several heads (CTC on all frames, length head on
keyframes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from keyframe_asr.decoding.beam import Symbols
from keyframe_asr.decoding.hypothesis import Hypothesis, padded, with_alternatives
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.text.tokenizer import BLANK

IMPOSSIBLE = -1e6
"""CTC score of a sentence too long for its frames; finite, because 0 · -inf is NaN."""

_OWN_SYMBOLS = Symbols()


def rescore(
    decoder: AttentionDecoder,
    memory: Tensor,
    memory_lengths: Tensor,
    candidates: list[list[Hypothesis]],
    weight: float,
    nbest: int = 1,
) -> list[Hypothesis]:
    """Select the best candidate of each utterance by the scores of decoder and first pass.

    Args:
        decoder: in evaluation mode.
        memory: (B, K, D) output of encoder 2.
        memory_lengths: (B,).
        candidates: hypotheses of each utterance; none yields an empty hypothesis.
        weight: of the decoder, in [0, 1]; 0 uses the first pass only, 1 the decoder only.
        nbest: number of hypotheses stored as `alternatives` of the best, if more than one.

    Returns:
        One hypothesis per utterance with the interpolated score, the positions of the first pass
        and the decoder's token probabilities as confidences.
    """
    hypotheses = [hypothesis for several in candidates for hypothesis in several]
    owners = [row for row, several in enumerate(candidates) for _ in several]
    ranked: list[list[Hypothesis]] = [[] for _ in candidates]
    rows = torch.tensor(owners, dtype=torch.long, device=memory.device)
    scored = token_scores(decoder, memory[rows], memory_lengths[rows], hypotheses)
    for owner, hypothesis, scores in zip(owners, hypotheses, scored, strict=True):
        external = hypothesis.external
        first_pass = hypothesis.score - external
        score = weight * float(scores.sum()) + (1 - weight) * first_pass + external
        confidences = tuple(scores[:-1].exp().tolist())
        ranked[owner].append(replace(hypothesis, score=score, confidences=confidences))
    for several in ranked:
        several.sort(key=lambda hypothesis: -hypothesis.score)
    return [with_alternatives(several, nbest) for several in ranked]


def scored_by_ctc(
    ctc: Columns, candidates: list[list[Hypothesis]], fusion: ShallowFusion
) -> list[list[Hypothesis]]:
    """Score the candidates of each utterance by CTC and fusion; duplicates are removed.

    Args:
        ctc: log-probabilities of B utterances.
        candidates: hypotheses of each utterance from any search; only their tokens are used.
        fusion: language model and hotwords.
    """
    several = [list(dict.fromkeys(one.tokens for one in row)) for row in candidates]
    flat = [tokens for row in several for tokens in row]
    rows = [place for place, row in enumerate(several) for _ in row]
    scores = _ctc_scores(ctc, rows, flat).tolist()
    external = fusion.score(flat, ctc.log_probs.device).tolist()
    scored: list[list[Hypothesis]] = [[] for _ in candidates]
    for row, tokens, score, added in zip(rows, flat, scores, external, strict=True):
        scored[row].append(Hypothesis(tokens, score + added, external=added))
    return scored


class ParallelDecoder(Protocol):
    """A decoder that reads whole texts at once."""

    def __call__(
        self, prefix: Tensor, prefix_lengths: Tensor, memory: Tensor, memory_lengths: Tensor
    ) -> Tensor:
        """Logits (B, N, V) of the token after each token of the prefixes (B, N)."""
        ...


def token_scores(
    decoder: ParallelDecoder,
    memory: Tensor,
    lengths: Tensor,
    hypotheses: list[Hypothesis],
    symbols: Symbols = _OWN_SYMBOLS,
    prompts: Sequence[tuple[int, ...]] = (),
) -> list[Tensor]:
    """Log-probabilities (L + 1,) of the tokens and the end of sentence, per hypothesis.

    `prompts` has the prompt of each hypothesis, all of the same length as that of `symbols`, which
    is used without them.
    """
    if not hypotheses:
        return []
    every = prompts or [symbols.prompt] * len(hypotheses)
    texts = [
        (*prompt, *one.tokens, symbols.end) for prompt, one in zip(every, hypotheses, strict=True)
    ]
    whole, sizes = padded(texts, memory.device, symbols.end)
    prefix, following, sizes = whole[:, :-1], whole[:, 1:], sizes - 1
    logits = decoder(prefix, sizes, memory, lengths)
    scores = logits.float().log_softmax(dim=-1).gather(2, following.unsqueeze(2)).squeeze(2).cpu()
    first = len(symbols.prompt) - 1
    return [row[first:size] for row, size in zip(scores, sizes.tolist(), strict=True)]


def _ctc_scores(ctc: Columns, rows: list[int], sentences: list[tuple[int, ...]]) -> Tensor:
    """Log-probability (N,) of each sentence, summed over its paths.

    The vocabulary of each sentence is reduced to its own tokens, because N copies of the full
    log-probabilities would not fit into memory.
    """
    device = ctc.log_probs.device
    if not sentences:
        return torch.zeros(0, device=device)
    labels, _ = padded([(BLANK, *one) for one in sentences], device)
    targets, sizes = padded([[one.index(it) + 1 for it in one] for one in sentences], device)
    column = torch.arange(ctc.log_probs.shape[1], device=device).unsqueeze(1)
    row = torch.tensor(rows, device=device)[:, None, None]
    reduced = ctc.log_probs.float()[row, column, labels.unsqueeze(1)]
    found = -torch.nn.functional.ctc_loss(
        reduced.transpose(0, 1),
        targets,
        ctc.lengths[rows],
        sizes,
        blank=0,
        reduction="none",
    )
    return found.clamp(min=IMPOSSIBLE)
