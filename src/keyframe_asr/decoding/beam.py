"""Beam search on the attention decoder.

Each decoder step processes all hypotheses of the whole batch. A hypothesis at its length limit can
only end. An utterance leaves the batch as soon as its result is final, so its search does not
depend on the other utterances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis, with_alternatives
from keyframe_asr.model.decoder import DecoderState
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


class StepwiseDecoder(Protocol):
    """A decoder that continues texts token by token."""

    def start(self, memory: Tensor, memory_lengths: Tensor) -> DecoderState:
        """State before the first token, for memory (B, K, D) of lengths (B,)."""
        ...

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Log-probabilities (B, V) after tokens (B,), or (B, N) of a prompt, and the next state."""
        ...


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

    utterance: Tensor
    limit: Tensor
    fewest: Tensor
    tokens: Tensor
    token_scores: Tensor
    scores: Tensor
    finished: Tensor

    def keep(self, rows: Tensor) -> _Beams:
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
    decoder: StepwiseDecoder,
    memory: Tensor,
    memory_lengths: Tensor,
    limits: Tensor,
    config: BeamConfig,
    nbest: int = 1,
    prompts: Tensor | None = None,
    fewest: Tensor | None = None,
) -> list[Hypothesis]:
    """Find the most probable token sequence of each utterance under the decoder.

    Args:
        decoder: in evaluation mode.
        memory: (B, K, D) what it attends to, such as the output of encoder 2.
        memory_lengths: (B,).
        limits: (B,) maximum number of tokens; 0 returns an empty hypothesis without a search.
        config: beam size, scoring and special tokens.
        nbest: number of hypotheses stored as `alternatives` of the best, if more than one.
        prompts: (B, P) tokens before each text; None: the prompt of the special tokens.
        fewest: (B,) minimum number of tokens, at most `limits`; None: 0.

    Returns:
        One hypothesis per utterance, without positions; the score includes the end of sentence.
    """
    results = [EMPTY] * memory.shape[0]
    chosen = ((limits > 0) & (memory_lengths > 0)).nonzero().squeeze(1)
    if not len(chosen):
        return results
    least = torch.zeros_like(limits) if fewest is None else fewest
    beams = _begin(chosen, limits[chosen], least[chosen], config.size)
    state = decoder.start(memory[chosen], memory_lengths[chosen])
    if prompts is None:
        one = torch.tensor([config.symbols.prompt], device=memory.device)
        prompts = one.expand(memory.shape[0], -1)
    prompt = prompts[chosen]
    # a single token is a step like all others
    log_probs, state = decoder.step(prompt if prompt.shape[1] > 1 else prompt.squeeze(1), state)
    rows = torch.arange(len(chosen), device=memory.device).repeat_interleave(config.size)
    log_probs, state = log_probs[rows], state.select(rows)
    while True:
        beams, state = _extend(log_probs, beams, state, config)
        done = _final(beams, config, nbest)
        if done.any():
            for row in done.nonzero().squeeze(1).tolist():
                results[int(beams.utterance[row])] = _result(beams, row, nbest, config)
            rows = (~done).nonzero().squeeze(1)
            beams, state = beams.keep(rows), state.select(_rows(rows, config.size))
        if not len(beams.utterance):
            return results
        log_probs, state = decoder.step(beams.tokens[:, :, -1].flatten(), state)


def _begin(utterance: Tensor, limit: Tensor, fewest: Tensor, size: int) -> _Beams:
    """One empty hypothesis per utterance; the other beam entries have probability zero."""
    batch, device = len(utterance), utterance.device
    scores = torch.full((batch, size), -torch.inf, device=device)
    scores[:, 0] = 0.0
    nothing = torch.empty(batch, size, 0, device=device)
    finished = torch.zeros(batch, size, dtype=torch.bool, device=device)
    return _Beams(utterance, limit, fewest, nothing.long(), nothing, scores, finished)


def _extend(
    log_probs: Tensor, beams: _Beams, state: DecoderState, config: BeamConfig
) -> tuple[_Beams, DecoderState]:
    """Extend every hypothesis by one token and keep the best `size` of each utterance."""
    batch, size, length = beams.tokens.shape
    tokens, log_probs = _continuations(log_probs, beams, config.symbols)
    totals = beams.scores.unsqueeze(2) + log_probs
    ranked = _normalised(totals, beams, config) if config.length_normalised else totals
    best = ranked.flatten(1).topk(size, dim=1).indices
    parent = best // tokens.shape[2]
    token, added = tokens.flatten(1).gather(1, best), log_probs.flatten(1).gather(1, best)
    picked = parent.unsqueeze(2).expand(-1, -1, length)
    extended = _Beams(
        beams.utterance,
        beams.limit,
        beams.fewest,
        torch.cat((beams.tokens.gather(1, picked), token.unsqueeze(2)), dim=2),
        torch.cat((beams.token_scores.gather(1, picked), added.unsqueeze(2)), dim=2),
        totals.flatten(1).gather(1, best),
        beams.finished.gather(1, parent) | (token == config.symbols.end),
    )
    offset = torch.arange(batch, device=parent.device).unsqueeze(1) * size
    return extended, state.select_past((offset + parent).flatten())


def _continuations(log_probs: Tensor, beams: _Beams, symbols: Symbols) -> tuple[Tensor, Tensor]:
    """The best next tokens (B, S, C) of each hypothesis, and their log-probabilities.

    There are as many as hypotheses, which is enough. A hypothesis that is too short cannot end,
    one at its limit can only end, and a finished one repeats the end at no cost.
    """
    batch, size, length = beams.tokens.shape
    log_probs = log_probs.view(batch, size, -1)
    end = log_probs[:, :, symbols.end].masked_fill(beams.finished, 0.0)
    allowed = log_probs.index_fill(
        2, log_probs.new_tensor(symbols.never, dtype=torch.long), -torch.inf
    )
    if (short := beams.fewest > length).any():
        allowed[short, :, symbols.end] = -torch.inf
    best, tokens = allowed.topk(min(size, log_probs.shape[2]), dim=2)
    over = beams.finished | (beams.limit <= length).unsqueeze(1)
    tokens = tokens.masked_fill(over.unsqueeze(2), symbols.end)
    best = best.masked_fill(over.unsqueeze(2), -torch.inf)
    best[:, :, 0] = torch.where(over, end, best[:, :, 0])
    return tokens, best


def _normalised(totals: Tensor, beams: _Beams, config: BeamConfig) -> Tensor:
    """Totals (B, S, V) divided by the number of tokens, including the end of sentence."""
    return totals / ((beams.tokens != config.symbols.end).sum(dim=2) + 1).unsqueeze(2)


def _final(beams: _Beams, config: BeamConfig, nbest: int) -> Tensor:
    """(B,) True for utterances whose best hypotheses can no longer change.

    Scores never rise, so a finished hypothesis at the top cannot be overtaken. Normalised scores
    may rise, so there all hypotheses must be finished or impossible.
    """
    over = beams.finished | beams.scores.isneginf()
    return (over if config.length_normalised else over[:, :nbest]).all(dim=1)


def _result(beams: _Beams, row: int, nbest: int, config: BeamConfig) -> Hypothesis:
    """The best hypothesis of a row with its alternatives; beams are sorted by score."""
    found = []
    for place in range(min(nbest, beams.tokens.shape[1])):
        tokens = beams.tokens[row, place]
        length = int((tokens != config.symbols.end).sum())
        if beams.scores[row, place].isneginf():
            break
        found.append(
            Hypothesis(
                tokens=tuple(tokens[:length].tolist()),
                score=float(beams.scores[row, place]),
                confidences=tuple(beams.token_scores[row, place, :length].exp().tolist()),
            )
        )
    return with_alternatives(found, nbest)


def _rows(utterances: Tensor, size: int) -> Tensor:
    """Rows of these utterances in the flattened (B x S) batch."""
    return (utterances.unsqueeze(1) * size + torch.arange(size, device=utterances.device)).flatten()
