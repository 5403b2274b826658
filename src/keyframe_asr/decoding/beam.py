"""Beam search on the attention decoder.

Each decoder step processes all hypotheses of the whole batch. A hypothesis at its length limit can
only end. An utterance leaves the batch as soon as its result is final, so its search does not
depend on the other utterances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keyframe_asr.decoding.arrays import Bools, Floats, Integers, largest
from keyframe_asr.decoding.decoder import BatchDecoder, DecoderState
from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis, with_alternatives
from keyframe_asr.text.tokenizer import BLANK, END


@dataclass(frozen=True)
class Symbols:
    """Special tokens of a decoder.

    Attributes:
        prompt: tokens before every text, unless a search is given the prompt of each.
        end: token after a text.
        never: tokens that are not part of any text.
    """

    prompt: tuple[int, ...] = (END,)
    end: int = END
    never: tuple[int, ...] = (BLANK,)


@dataclass(frozen=True)
class BeamConfig:
    """Beam size; `length_normalised` divides each score by its number of tokens."""

    size: int
    length_normalised: bool = False
    symbols: Symbols = Symbols()


@dataclass(frozen=True)
class _Beams:
    """The hypotheses of all unfinished utterances, best first.

    Attributes:
        utterance: (B,) index of each utterance in the caller's batch.
        limit: (B,) maximum number of tokens of each utterance.
        fewest: (B,) minimum number of tokens.
        tokens: (B, S, N) tokens so far, padded with the end of sentence.
        token_scores: (B, S, N) log-probability of each token.
        scores: (B, S) sums of log-probabilities.
        finished: (B, S) True if the end of sentence was reached.
    """

    utterance: Integers
    limit: Integers
    fewest: Integers
    tokens: Integers
    token_scores: Floats
    scores: Floats
    finished: Bools

    def keep(self, rows: Integers) -> _Beams:
        return _Beams(
            self.utterance[rows],
            self.limit[rows],
            self.fewest[rows],
            self.tokens[rows],
            self.token_scores[rows],
            self.scores[rows],
            self.finished[rows],
        )


def attention_beam(
    decoder: BatchDecoder,
    limits: Integers,
    config: BeamConfig,
    nbest: int = 1,
    prompts: Integers | None = None,
    fewest: Integers | None = None,
) -> list[Hypothesis]:
    """Find the most probable token sequence of each utterance under the decoder.

    Args:
        decoder: of a batch of B utterances.
        limits: (B,) maximum number of tokens; 0 returns an empty hypothesis without a search.
        config: beam size, scoring and special tokens.
        nbest: number of hypotheses stored as `alternatives` of the best, if more than one.
        prompts: (B, P) tokens before each text; None: the prompt of the special tokens.
        fewest: (B,) minimum number of tokens, at most `limits`; None: 0.

    Returns:
        One hypothesis per utterance, without positions; the score includes the end of sentence.
    """
    results = [EMPTY] * len(limits)
    (chosen,) = np.nonzero(limits > 0)
    if not len(chosen):
        return results
    least = np.zeros_like(limits) if fewest is None else fewest
    beams = _begin(chosen, limits[chosen], least[chosen], config.size)
    if prompts is None:
        prompts = np.tile(np.array(config.symbols.prompt), (len(limits), 1))
    prompt = prompts[chosen]
    # a single token is a step like all others
    log_probs, state = decoder.start(chosen).step(prompt if prompt.shape[1] > 1 else prompt[:, 0])
    rows = np.repeat(np.arange(len(chosen)), config.size)
    log_probs, state = log_probs[rows], state.select(rows)
    while True:
        beams, state = _extend(log_probs, beams, state, config)
        done = _final(beams, config, nbest)
        if done.any():
            for row in np.flatnonzero(done).tolist():
                results[beams.utterance[row]] = _result(beams, row, nbest, config)
            rows = np.flatnonzero(~done)
            beams, state = beams.keep(rows), state.select(_rows(rows, config.size))
        if not len(beams.utterance):
            return results
        log_probs, state = state.step(beams.tokens[:, :, -1].ravel())


def _begin(utterance: Integers, limit: Integers, fewest: Integers, size: int) -> _Beams:
    """One empty hypothesis per utterance; the other beam entries have probability zero."""
    batch = len(utterance)
    scores = np.full((batch, size), -np.inf)
    scores[:, 0] = 0.0
    nothing = np.empty((batch, size, 0))
    finished = np.zeros((batch, size), dtype=np.bool_)
    return _Beams(utterance, limit, fewest, nothing.astype(np.int64), nothing, scores, finished)


def _extend(
    log_probs: Floats, beams: _Beams, state: DecoderState, config: BeamConfig
) -> tuple[_Beams, DecoderState]:
    """Extend every hypothesis by one token and keep the best `size` of each utterance."""
    batch, size, _ = beams.tokens.shape
    tokens, log_probs = _continuations(log_probs, beams, config.symbols)
    totals = beams.scores[:, :, None] + log_probs
    ranked = _normalised(totals, beams, config) if config.length_normalised else totals
    _, best = largest(ranked.reshape(batch, -1), size)
    parent, place = np.divmod(best, tokens.shape[2])
    row = np.arange(batch)[:, None]
    token, added = tokens[row, parent, place], log_probs[row, parent, place]
    extended = _Beams(
        beams.utterance,
        beams.limit,
        beams.fewest,
        np.concatenate((beams.tokens[row, parent], token[:, :, None]), axis=2),
        np.concatenate((beams.token_scores[row, parent], added[:, :, None]), axis=2),
        totals[row, parent, place],
        beams.finished[row, parent] | (token == config.symbols.end),
    )
    return extended, state.select_past((row * size + parent).ravel())


def _continuations(log_probs: Floats, beams: _Beams, symbols: Symbols) -> tuple[Integers, Floats]:
    """The best next tokens (B, S, C) of each hypothesis, and their log-probabilities.

    There are as many as hypotheses, which is enough. A hypothesis that is too short cannot end,
    one at its limit can only end, and a finished one repeats the end at no cost.
    """
    batch, size, length = beams.tokens.shape
    end = np.where(beams.finished, 0.0, log_probs[:, symbols.end].reshape(batch, size))
    allowed = log_probs.copy()
    allowed[:, list(symbols.never)] = -np.inf
    allowed[np.repeat(beams.fewest > length, size), symbols.end] = -np.inf
    width = min(size, log_probs.shape[1])
    found, labels = largest(allowed, width)
    best, tokens = found.reshape(batch, size, width), labels.reshape(batch, size, width)
    over = beams.finished | (beams.limit <= length)[:, None]
    tokens[over], best[over] = symbols.end, -np.inf
    best[:, :, 0] = np.where(over, end, best[:, :, 0])
    return tokens, best


def _normalised(totals: Floats, beams: _Beams, config: BeamConfig) -> Floats:
    """Totals (B, S, V) divided by the number of tokens, including the end of sentence."""
    divided: Floats = totals / ((beams.tokens != config.symbols.end).sum(axis=2) + 1)[:, :, None]
    return divided


def _final(beams: _Beams, config: BeamConfig, nbest: int) -> Bools:
    """(B,) True for utterances whose best hypotheses can no longer change.

    Scores never rise, so a finished hypothesis at the top cannot be overtaken. Normalised scores
    may rise, so there all hypotheses must be finished or impossible.
    """
    over = beams.finished | np.isneginf(beams.scores)
    return np.asarray((over if config.length_normalised else over[:, :nbest]).all(axis=1))


def _result(beams: _Beams, row: int, nbest: int, config: BeamConfig) -> Hypothesis:
    """The best hypothesis of a row with its alternatives; beams are sorted by score."""
    found = []
    for place in range(min(nbest, beams.tokens.shape[1])):
        tokens = beams.tokens[row, place]
        length = int((tokens != config.symbols.end).sum())
        if np.isneginf(beams.scores[row, place]):
            break
        found.append(
            Hypothesis(
                tokens=tuple(tokens[:length].tolist()),
                score=float(beams.scores[row, place]),
                confidences=tuple(np.exp(beams.token_scores[row, place, :length]).tolist()),
            )
        )
    return with_alternatives(found, nbest)


def _rows(utterances: Integers, size: int) -> Integers:
    """Rows of these utterances in the flattened (B x S) batch."""
    rows: Integers = (utterances[:, None] * size + np.arange(size)).ravel()
    return rows
