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

import numpy as np

from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.decoding.beam import Symbols
from keyframe_asr.decoding.decoder import BatchDecoder
from keyframe_asr.decoding.hypothesis import Hypothesis, padded, with_alternatives
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.text.tokenizer import BLANK

IMPOSSIBLE = -1e6
"""CTC score of a sentence too long for its frames; finite, because 0 · -inf is NaN."""

LOWEST = -1e30
"""Subtracted where all is impossible: the difference of two infinities is no number."""

_OWN_SYMBOLS = Symbols()


def rescore(
    decoder: BatchDecoder,
    candidates: list[list[Hypothesis]],
    weight: float,
    nbest: int = 1,
) -> list[Hypothesis]:
    """Select the best candidate of each utterance by the scores of decoder and first pass.

    Args:
        decoder: of a batch of B utterances.
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
    scored = token_scores(decoder, owners, hypotheses)
    for owner, hypothesis, scores in zip(owners, hypotheses, scored, strict=True):
        external = hypothesis.external
        first_pass = hypothesis.score - external
        score = weight * float(scores.sum()) + (1 - weight) * first_pass + external
        confidences = tuple(np.exp(scores[:-1]).tolist())
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
    external = fusion.score(flat).tolist()
    scored: list[list[Hypothesis]] = [[] for _ in candidates]
    for row, tokens, score, added in zip(rows, flat, scores, external, strict=True):
        scored[row].append(Hypothesis(tokens, score + added, external=added))
    return scored


def token_scores(
    decoder: BatchDecoder,
    rows: Sequence[int],
    hypotheses: Sequence[Hypothesis],
    symbols: Symbols = _OWN_SYMBOLS,
) -> list[Floats]:
    """Log-probabilities (L + 1,) of the tokens and the end of sentence, per hypothesis.

    `rows` are the utterances of the hypotheses.
    """
    if not hypotheses:
        return []
    whole, sizes = padded(
        [(*symbols.prompt, *one.tokens, symbols.end) for one in hypotheses], symbols.end
    )
    scores = decoder.score(np.array(rows), whole[:, :-1], whole[:, 1:])
    first = len(symbols.prompt) - 1
    return [row[first : size - 1] for row, size in zip(scores, sizes.tolist(), strict=True)]


def _ctc_scores(ctc: Columns, rows: list[int], sentences: list[tuple[int, ...]]) -> Floats:
    """Log-probability (N,) of each sentence, summed over its paths (the forward algorithm).

    States are those of `decoding.viterbi`.
    """
    if not sentences:
        return np.zeros(0)
    tokens, sizes = padded(sentences)
    lengths, row = ctc.lengths[rows], np.array(rows)[:, None]
    labels = np.full((len(sentences), 2 * tokens.shape[1] + 1), BLANK, dtype=np.int64)
    labels[:, 1::2] = tokens
    may_skip = (labels[:, 2:] != labels[:, :-2]) & (labels[:, 2:] != BLANK)
    skipping = np.where(may_skip, 0.0, -np.inf)
    score = np.full(labels.shape, -np.inf)
    score[:, 0] = 0.0  # initial state; leads to the first blank or the first token
    for column in range(int(lengths.max())):
        grown = _reached(score, skipping) + ctc.log_probs[row, column, labels]
        score = np.where((column < lengths)[:, None], grown, score)
    ends = np.stack((np.maximum(2 * sizes - 1, 0), 2 * sizes), axis=1)
    last = np.take_along_axis(score, ends, axis=1)
    last[sizes == 0, 0] = -np.inf  # there is only one end
    found: Floats = np.maximum(np.logaddexp(last[:, 0], last[:, 1]), IMPOSSIBLE)
    return found


def _reached(score: Floats, skipping: Floats) -> Floats:
    """Log-probabilities (N, S) of staying in a state, moving by one or, with a score, by two.

    NumPy's exponential and logarithm of whole arrays are faster than its `logaddexp`.
    """
    two = score[:, :-2] + skipping
    most = np.maximum(score, LOWEST)
    np.maximum(most[:, 1:], score[:, :-1], out=most[:, 1:])
    np.maximum(most[:, 2:], two, out=most[:, 2:])
    total = np.exp(score - most)
    total[:, 1:] += np.exp(score[:, :-1] - most[:, 1:])
    total[:, 2:] += np.exp(two - most[:, 2:])
    with np.errstate(divide="ignore"):  # what cannot be reached
        reached: Floats = most + np.log(total)
    return reached
