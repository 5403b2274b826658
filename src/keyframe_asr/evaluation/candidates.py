"""Candidates of many recordings with all their scores, so that weights are compared at no cost.

Every candidate is scored once by CTC, length head, decoder and language model. The text that a
search would choose with other weights is then the best of the weighted sums: one line of arithmetic
instead of another search. What this leaves out: a search with other weights may find candidates
that none of the searches here proposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import kaldialign
import numpy as np
import numpy.typing as npt

from keyframe_asr.config.decoding import SearchConfig, StoredMode
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.prefix_beam import prefix_beam
from keyframe_asr.decoding.rescoring import scored_by_ctc, token_scores
from keyframe_asr.decoding.scorers import ShallowFusion, Weighted
from keyframe_asr.evaluation.metrics import split_units
from keyframe_asr.inference.batch_recognizer import EncodedAudio
from keyframe_asr.inference.modes import columns_of, has_spikes
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.text_rescoring import scored_texts
from keyframe_asr.text.forms import normaliser

PROPOSING_BEAM = 10

DECODER_BEAM = 5
"""Beam of a pretrained decoder, whose steps are slow: 10 takes twice the time of 5."""

PROPOSING_WEIGHT, PROPOSING_BONUS = 0.5, 1.5
"""Language model weight and token bonus of the searches that propose candidates with it."""

Tokens = tuple[int, ...]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """A candidate: its natural log-probabilities and its errors.

    `of_text` is True for the candidates of `rescore` with a pretrained decoder, of which no other
    mode has any.
    """

    ctc: float
    head: float
    decoder: float
    language_model: float
    tokens: int
    errors: int
    of_text: bool = False


class CandidatePool:
    """The candidates of recordings; arrays are (N, C), padded with impossible candidates."""

    def __init__(self, recordings: Sequence[Sequence[Scored]]) -> None:
        most = max(map(len, recordings))
        padding = Scored(-np.inf, -np.inf, -np.inf, -np.inf, 0, 0)
        rows = [[*several, *[padding] * (most - len(several))] for several in recordings]

        def array(name: str) -> Floats:
            return np.array([[getattr(one, name) for one in row] for row in rows], dtype=np.float64)

        self._ctc, self._head, self._decoder = array("ctc"), array("head"), array("decoder")
        self._language_model, self._tokens = array("language_model"), array("tokens")
        self._errors = array("errors").astype(np.int64)
        of_text = array("of_text").astype(bool)
        self._first_pass = np.where(of_text, self._ctc, self._head)
        self._ctc = np.where(of_text, -np.inf, self._ctc)

    def errors(self, mode: StoredMode, search: SearchConfig) -> Counts:
        """Errors (N,) of the candidates that a mode other than `attention` would choose."""
        if mode == "ctc":
            score = self._ctc
        elif mode == "axe":
            score = self._head
        elif mode == "rescore":
            score = _mixed(self._decoder, self._first_pass, search.decoder_weight)
        else:
            score = _mixed(self._ctc, self._decoder, search.ctc_weight)
        if search.language_model:
            score = score + search.language_model_weight * self._language_model
        best = (score + search.token_bonus * self._tokens).argmax(axis=1)
        chosen: Counts = self._errors[np.arange(len(best)), best]
        return chosen


def _mixed(first: Floats, second: Floats, weight: float) -> Floats:
    with np.errstate(invalid="ignore"):  # 0 times -inf
        return np.nan_to_num(weight * first + (1 - weight) * second, nan=-np.inf)


def scored_candidates(
    recognizer: Recognizer,
    audio: EncodedAudio,
    references: Sequence[Sequence[str]],
    fusion: ShallowFusion,
) -> list[list[Scored]]:
    """Propose and score candidates for the recordings of a batch.

    Args:
        recognizer: the model.
        audio: the batch.
        references: the units of each reference text.
        fusion: the language model with weight 1, or nothing.
    """
    network, encoded = recognizer.network, audio.encoded
    greedy_mode: DecodeMode = "axe" if network.keyframes_enabled else "ctc"
    heard, _ = recognizer.hypotheses(audio, RecognitionOptions(greedy_mode, greedy=True))
    ctc, head = (columns_of(network, encoded, mode) for mode in ("ctc", "axe"))
    fusions = [ShallowFusion()]
    if fusion.scorers:
        weighted = tuple(Weighted(scorer, PROPOSING_WEIGHT) for scorer in fusion.scorers)
        fusions.append(ShallowFusion(weighted, PROPOSING_BONUS))
    of_ctc = _proposed([prefix_beam(ctc, PROPOSING_BEAM, each) for each in fusions], heard)
    of_head = _proposed([prefix_beam(head, PROPOSING_BEAM, each) for each in fusions], heard)
    rows = [list({**one, **other}) for one, other in zip(of_ctc, of_head, strict=True)]
    flat = [Hypothesis(tokens) for row in rows for tokens in row]
    owners = [row for row, several in enumerate(rows) for _ in several]
    external = fusion.score([one.tokens for one in flat]).tolist()
    by_ctc = scored_by_ctc(ctc, [[Hypothesis(one) for one in row] for row in rows], ShallowFusion())
    decoded = [-np.inf] * len(flat)
    if network.decoder_kind == "own":
        scores = token_scores(network.decoder(encoded), owners, flat)
        decoded = [float(one.sum()) for one in scores]
    found: list[list[Scored]] = [[] for _ in rows]
    places = ((place, tokens) for place, row in enumerate(rows) for tokens in row)
    errors = (
        wrong
        for row, reference in zip(rows, references, strict=True)
        for wrong in _errors(recognizer, map(recognizer.tokenizer.decode, row), reference)
    )
    ctc_scores = (one.score for row in by_ctc for one in row)
    columns = zip(places, ctc_scores, decoded, external, errors, strict=True)
    for (place, tokens), first, second, added, wrong in columns:
        by_head = of_head[place].get(tokens, -np.inf)
        found[place].append(Scored(first, by_head, second, added, len(tokens), wrong))
    for row, several in _scored_texts(recognizer, audio, references, fusions, fusion).items():
        found[row] += several
    return found


def _scored_texts(
    recognizer: Recognizer,
    audio: EncodedAudio,
    references: Sequence[Sequence[str]],
    proposing: Sequence[ShallowFusion],
    fusion: ShallowFusion,
) -> dict[int, list[Scored]]:
    """Return the candidates of a pretrained decoder and CTC, by row of the batch."""
    network, pretrained = recognizer.network, recognizer.pretrained
    if pretrained is None:
        return {}
    spikes = zip(has_spikes(network, audio.encoded), audio.silent, strict=True)
    kept = [row for row, (spike, quiet) in enumerate(spikes) if spike and not quiet]
    if not kept:
        return {}
    encoded = audio.encoded.rows(kept)
    ctc = columns_of(network, encoded, "ctc")
    searches = [prefix_beam(ctc, DECODER_BEAM, each) for each in proposing]
    proposals = [[one for several in row for one in several] for row in zip(*searches, strict=True)]
    decoder = network.decoder(encoded)
    texts = scored_texts(
        pretrained,
        decoder,
        encoded,
        ctc,
        proposals,
        DECODER_BEAM,
        ShallowFusion(),
        pretrained.languages_of(decoder, len(kept)),
    )
    found: dict[int, list[Scored]] = {}
    for row, several in zip(kept, texts, strict=True):
        heard = [one.heard.tokens for one in several]
        external = fusion.score(heard).tolist()
        written = [recognizer.text_of(replace(one.written, of_decoder=True)) for one in several]
        errors = _errors(recognizer, written, references[row])
        columns = zip(several, external, errors, strict=True)
        found[row] = [
            Scored(one.ctc, -np.inf, one.written.score, added, len(one.heard.tokens), wrong, True)
            for one, added, wrong in columns
        ]
    return found


def _proposed(
    searches: Sequence[Sequence[Sequence[Hypothesis]]], heard: Sequence[Hypothesis]
) -> list[dict[Tokens, float]]:
    """Tokens and scores without fusion of each recording; no tokens where nothing is heard."""
    found: list[dict[Tokens, float]] = []
    for several, greedy in zip(zip(*searches, strict=True), heard, strict=True):
        every = {one.tokens: one.score - one.external for search in several for one in search}
        found.append(every if greedy.tokens and every else {(): 0.0})
    return found


def _errors(recognizer: Recognizer, texts: Iterable[str], reference: Sequence[str]) -> list[int]:
    form = recognizer.config.text_form
    normalise = normaliser(form)
    return [edit_distance(reference, split_units(normalise(text), form)) for text in texts]


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Errors of one text, split into units."""
    return int(kaldialign.edit_distance(list(reference), list(hypothesis))["total"])
