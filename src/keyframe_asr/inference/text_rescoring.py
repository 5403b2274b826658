"""Rescoring with a pretrained decoder, whose tokens are not the model's own: texts are compared.

The candidates are the texts of the CTC's prefix beam search and those of the decoder's own search.
CTC scores each text in the model's tokens (all paths), the decoder in its own tokens, with the end
of text. Case and punctuation that the model's text form does not have are the decoder's alone: of
several spellings of a text, the one that the decoder prefers is written. A text of CTC is spelled
as the decoder's best text is (`inference.display_spelling`).

- The model's tokenizer may divide a text in a way that CTC's search did not: the better score of
  the two counts, and with it the language model and the bonus of its tokens.
- What the model's tokenizer cannot spell is `UNKNOWN` for CTC, a class like all others, as in
  training. CTC hardly believes in it, so such a text wins only if the decoder is much surer.
- A proposal of CTC with `UNKNOWN` in it is no text, and one that is too long for the decoder has no
  score of it; neither is a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keyframe_asr.decoding.decoder import MOST_LOGITS, BatchDecoder
from keyframe_asr.decoding.hypothesis import Hypothesis, padded, with_alternatives
from keyframe_asr.decoding.prefix_beam import prefix_beam
from keyframe_asr.decoding.prefix_tree import tree_scores
from keyframe_asr.decoding.rescoring import IMPOSSIBLE, scored_by_ctc
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.inference.decoder_search import DecoderSearch
from keyframe_asr.inference.display_spelling import displayed_as
from keyframe_asr.inference.network import EncodedBatch
from keyframe_asr.inference.search import Search
from keyframe_asr.text.forms import normalise_text
from keyframe_asr.text.tokenizer import UNKNOWN

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class ScoredText:
    """A candidate.

    Attributes:
        written: in the decoder's tokens, with the decoder's score and confidences.
        heard: in the model's tokens, with the score of CTC and fusion.
    """

    written: Hypothesis
    heard: Hypothesis

    @property
    def ctc(self) -> float:
        """Log-probability of CTC."""
        return self.heard.score - self.heard.external

    def score(self, weight: float) -> float:
        """All scores together, for a weight of the decoder in [0, 1]."""
        mixed = weight * self.written.score + (1 - weight) * self.ctc
        return mixed + self.heard.external


def rescored_texts(
    pretrained: DecoderSearch,
    decoder: BatchDecoder,
    encoded: EncodedBatch,
    ctc: Columns,
    search: Search,
    fusion: ShallowFusion,
) -> list[Hypothesis]:
    """Return the best text of each utterance; its positions are encoder frames.

    Args:
        pretrained: the decoder's tokens.
        decoder: of these utterances.
        encoded: output of the network for B utterances; every one has a spike.
        ctc: log-probabilities of all its frames.
        search: beam of both searches, weight of the decoder, and number of hypotheses.
        fusion: language model and hot words over the model's tokens.
    """
    proposals = prefix_beam(ctc, search.beam, fusion, timed=False)
    languages = pretrained.languages_of(decoder, len(proposals), search.language)
    candidates = scored_texts(
        pretrained, decoder, encoded, ctc, proposals, search.beam, fusion, languages
    )
    weight = search.decoder_weight
    kept = [
        sorted(several, key=lambda one: -one.score(weight))[: search.nbest]
        for several in candidates
    ]
    placed = _placed(pretrained, encoded, ctc, kept, languages)
    return [
        with_alternatives(
            [
                replace(found, score=one.score(weight), external=one.heard.external)
                for found, one in zip(several, scored, strict=True)
            ],
            search.nbest,
        )
        for several, scored in zip(placed, kept, strict=True)
    ]


def scored_texts(
    pretrained: DecoderSearch,
    decoder: BatchDecoder,
    encoded: EncodedBatch,
    ctc: Columns,
    proposals: Sequence[Sequence[Hypothesis]],
    beam: int,
    fusion: ShallowFusion,
    languages: Sequence[str],
) -> list[list[ScoredText]]:
    """Score the texts that the decoder's search and a first pass propose for each utterance.

    Args:
        pretrained: the decoder's tokens.
        decoder: of these utterances.
        encoded: output of the network for B utterances.
        ctc: log-probabilities of all its frames.
        proposals: of the first pass for each utterance, in the model's tokens.
        beam: of the decoder's search.
        fusion: language model and hot words over the model's tokens.
        languages: of the utterances.

    Returns:
        At least one candidate of each utterance; no two have the same text in the model's form.
    """
    search = Search("attention", beam, beam)
    heard = pretrained.heard(encoded)
    searched = pretrained.without_times(decoder, encoded, heard, search, languages)
    rows = [
        _Candidates(pretrained, one.alternatives or (one,), several, pretrained.longest(decoder))
        for one, several in zip(searched, proposals, strict=True)
    ]
    spelled = [
        [Hypothesis(one) for several in row.heard.values() for one in several] for row in rows
    ]
    by_ctc = scored_by_ctc(ctc, spelled, fusion)
    _add_scores(pretrained, decoder, rows, languages)
    return [
        row.scored({one.tokens: one for one in several})
        for row, several in zip(rows, by_ctc, strict=True)
    ]


class _Candidates:
    """The candidates of one utterance, by their text in the model's form.

    Attributes:
        written: the spellings of each text in the decoder's tokens.
        heard: the spellings of each text in the model's tokens.
        known: scores of the decoder for spellings.
    """

    def __init__(
        self,
        pretrained: DecoderSearch,
        searched: Sequence[Hypothesis],
        proposals: Sequence[Hypothesis],
        longest: int,
    ) -> None:
        self.written: dict[str, set[Tokens]] = {}
        self.heard: dict[str, set[Tokens]] = {}
        self.known = {one.tokens: one for one in searched}
        example = pretrained.tokenizer.decode(searched[0].tokens)
        for one in searched:
            text = normalise_text(pretrained.tokenizer.decode(one.tokens), pretrained.form)
            self.written.setdefault(text, set()).add(one.tokens)
        for one in proposals:
            text = normalise_text(pretrained.own.decode(one.tokens), pretrained.form)
            shown = displayed_as(text, example, pretrained.form)
            tokens = tuple(pretrained.tokenizer.encode(shown))
            if UNKNOWN not in one.tokens and len(tokens) <= longest:
                self.written.setdefault(text, set()).add(tokens)
                self.heard.setdefault(text, set()).add(one.tokens)
        for text in self.written:
            self.heard.setdefault(text, set()).add(tuple(pretrained.own.encode(text)))

    @property
    def unknown(self) -> list[Tokens]:
        """Spellings that the decoder has not scored yet."""
        every = (tokens for several in self.written.values() for tokens in sorted(several))
        return [tokens for tokens in every if tokens not in self.known]

    def scored(self, by_ctc: dict[Tokens, Hypothesis]) -> list[ScoredText]:
        """Return the best spelling of each text."""
        return [
            ScoredText(
                max((self.known[one] for one in sorted(several)), key=lambda one: one.score),
                max((by_ctc[one] for one in sorted(self.heard[text])), key=lambda one: one.score),
            )
            for text, several in self.written.items()
        ]


def _add_scores(
    pretrained: DecoderSearch,
    decoder: BatchDecoder,
    rows: Sequence[_Candidates],
    languages: Sequence[str],
) -> None:
    """Let the decoder score the spellings that its search did not find."""
    for place, row in enumerate(rows):
        symbols = replace(pretrained.symbols, prompt=pretrained.prompts[languages[place]])
        wanted = row.unknown
        while wanted:
            widest = (len(symbols.prompt) + max(map(len, wanted))) * decoder.vocab_size
            size = max(1, MOST_LOGITS // widest)
            part, wanted = wanted[:size], wanted[size:]
            scored = tree_scores(decoder, place, part, symbols)
            for tokens, scores in zip(part, scored, strict=True):
                sure = tuple(np.exp(scores[:-1]).tolist())
                row.known[tokens] = Hypothesis(tokens, float(scores.sum()), confidences=sure)


def _placed(
    pretrained: DecoderSearch,
    encoded: EncodedBatch,
    ctc: Columns,
    kept: Sequence[Sequence[ScoredText]],
    languages: Sequence[str],
) -> list[list[Hypothesis]]:
    """Add the times of CTC's best path for each text; without a path, of what CTC hears."""
    flat = [one.heard.tokens for several in kept for one in several]
    owners = [place for place, several in enumerate(kept) for _ in several]
    tokens, counts = padded(flat)
    paths = best_paths(ctc, tokens, counts, np.array(owners))
    positions = iter(paths.positions.tolist())
    greedy, bounds = pretrained.heard(encoded), pretrained.bounds(encoded)
    found: list[list[Hypothesis]] = []
    for place, several in enumerate(kept):
        row = []
        for one in several:
            frames = next(positions)[: len(one.heard.tokens)]
            heard = replace(one.heard, positions=tuple(frames))
            timed = heard if one.ctc > IMPOSSIBLE else greedy[place]
            row.append(pretrained.placed(one.written, timed, bounds[place], languages[place]))
        found.append(row)
    return found
