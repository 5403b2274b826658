"""Rescoring with a pretrained decoder against scores computed text by text, token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fixtures.random_model import noise
from fixtures.random_pretrained import random_pretrained
from keyframe_asr.config.decoding import SearchConfig
from keyframe_asr.decoding.beam import BeamConfig, attention_beam
from keyframe_asr.decoding.prefix_beam import prefix_beam
from keyframe_asr.decoding.rescoring import IMPOSSIBLE
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.evaluation import candidates
from keyframe_asr.evaluation.candidates import CandidatePool, edit_distance, scored_candidates
from keyframe_asr.evaluation.metrics import split_units
from keyframe_asr.inference import text_rescoring
from keyframe_asr.inference.display_spelling import displayed_as
from keyframe_asr.inference.modes import columns_of
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.text.forms import normalise_text
from keyframe_asr.text.tokenizer import BLANK, UNKNOWN

BEAM, BONUS = 6, 0.3
SOUNDS = [noise(0.9, 1), noise(0.5, 2), noise(1.4, 3)]


@pytest.fixture(scope="module", params=[True, False], ids=["keyframes", "all-frames"])
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    return random_pretrained(request.param)


def options(weight: float, nbest: int = BEAM) -> RecognitionOptions:
    return RecognitionOptions(
        "rescore", beam=BEAM, nbest=nbest, decoder_weight=weight, token_bonus=BONUS
    )


def every_path(log_probs: np.ndarray, tokens: tuple[int, ...]) -> float:
    """Log-probability of tokens under CTC: the forward algorithm (Graves et al., 2006)."""
    states = [BLANK]
    for token in tokens:
        states += [token, BLANK]
    before = [-math.inf] * len(states)
    for at, column in enumerate(log_probs):
        after = []
        for place, label in enumerate(states):
            reached = [0.0 if at == 0 and place < 2 else -math.inf, before[place]]
            if place >= 1:
                reached.append(before[place - 1])
            if place >= 2 and label not in (BLANK, states[place - 2]):
                reached.append(before[place - 2])
            after.append(float(np.logaddexp.reduce(reached)) + float(column[label]))
        before = after
    return max(IMPOSSIBLE, float(np.logaddexp.reduce(before[-2:])))


def by_hand(recognizer: Recognizer, sound: np.ndarray, weight: float) -> dict[str, float]:
    """Every text that one of the searches proposes, in the model's form, with its score."""
    pretrained = recognizer.pretrained
    assert pretrained is not None
    encoded = recognizer.encode([sound]).encoded
    decoder = recognizer.network.decoder(encoded)
    ctc = columns_of(recognizer.network, encoded, "ctc")
    log_probs = ctc.log_probs[0].astype(np.float64)
    symbols, form = pretrained.symbols, recognizer.config.text_form
    heard = pretrained.heard(encoded)
    fewest, most = pretrained._lengths(encoded, heard, pretrained.longest(decoder))
    config = BeamConfig(BEAM, symbols=symbols)
    (best,) = attention_beam(decoder, most, config, BEAM, fewest=fewest)
    searched = best.alternatives
    written = [one.tokens for one in searched]
    spellings: dict[str, set[tuple[int, ...]]] = {}
    for one in prefix_beam(ctc, BEAM, ShallowFusion(token_bonus=BONUS))[0]:
        if UNKNOWN not in one.tokens:
            text = recognizer.tokenizer.decode(one.tokens)
            spellings.setdefault(text, set()).add(one.tokens)
            shown = displayed_as(text, pretrained.tokenizer.decode(written[0]), form)
            written.append(tuple(pretrained.tokenizer.encode(shown)))
    best: dict[str, float] = {}
    for tokens in written:
        steps, state = decoder.start(np.array([0])).step(np.array([symbols.prompt]))
        total = 0.0
        for token in (*tokens, symbols.end):
            total += float(steps[0, token])
            steps, state = state.step(np.array([token]))
        text = normalise_text(pretrained.tokenizer.decode(tokens), form)
        ways = spellings.get(text, set()) | {tuple(recognizer.tokenizer.encode(text))}
        score = max(
            weight * total + (1 - weight) * every_path(log_probs, way) + BONUS * len(way)
            for way in ways
        )
        best[text] = max(score, best.get(text, -math.inf))
    return best


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_scores_are_those_of_ctc_and_decoder(recognizer: Recognizer, weight: float) -> None:
    form = recognizer.config.text_form
    for sound in SOUNDS:
        wanted = by_hand(recognizer, sound, weight)
        found, _ = recognizer.hypotheses(recognizer.encode([sound]), options(weight))
        texts = [normalise_text(recognizer.text_of(one), form) for one in found[0].alternatives]
        scores = [one.score for one in found[0].alternatives]
        best = sorted(wanted.values(), reverse=True)[:BEAM]
        assert scores == pytest.approx(best, rel=1e-4, abs=1e-3)
        assert scores == pytest.approx([wanted[text] for text in texts], rel=1e-4, abs=1e-3)
        assert found[0].score == scores[0] and len(set(texts)) == len(texts) > 1


@pytest.mark.parametrize("logits", [1, text_rescoring.MOST_LOGITS])
def test_batches_are_decoded_as_alone(
    recognizer: Recognizer, logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [recognizer.recognise([sound], options(0.4))[0] for sound in SOUNDS]
    monkeypatch.setattr(text_rescoring, "MOST_LOGITS", logits)
    together = recognizer.recognise(SOUNDS, options(0.4))
    for one, two in zip(together, alone, strict=True):
        assert one.text == two.text and one.text
        assert [token.start for token in one.tokens] == [token.start for token in two.tokens]
        assert [each.score for each in one.alternatives] == pytest.approx(
            [each.score for each in two.alternatives], rel=1e-4
        )


def test_every_token_has_a_time_and_a_confidence(recognizer: Recognizer) -> None:
    for weight in (0.0, 0.5, 1.0):
        audio = recognizer.encode(SOUNDS)
        for found in recognizer.hypotheses(audio, options(weight))[0]:
            assert found.of_decoder
            for one in found.alternatives:
                assert len(one.positions) == len(one.tokens) == len(one.confidences)
                assert list(one.positions) == sorted(one.positions)
                assert all(0 <= sure <= 1 for sure in one.confidences)
        for shown in recognizer.decode(audio, options(weight, 1)):
            assert all(0 <= each.start <= each.end <= shown.duration for each in shown.tokens)


def test_times_are_those_of_the_ctc_path(recognizer: Recognizer) -> None:
    """A text of CTC's own letters has the frames that CTC gives it."""
    audio, search = recognizer.encode(SOUNDS), recognizer.pretrained
    assert search is not None
    compared = 0
    options_of_ctc = RecognitionOptions("ctc", beam=BEAM, nbest=BEAM)
    for one, other in zip(
        recognizer.hypotheses(audio, options(0.0))[0],
        recognizer.hypotheses(audio, options_of_ctc)[0],
        strict=True,
    ):
        frames = {recognizer.text_of(each): each.positions for each in other.alternatives}
        first, last = min(min(each) for each in frames.values() if each), 10**6
        for each in one.alternatives:
            text = normalise_text(recognizer.text_of(each), recognizer.config.text_form)
            pieces = zip(search.tokenizer.pieces(each.tokens), each.positions, strict=True)
            letters = tuple(frame for piece, frame in pieces if piece.isalpha())
            if text in frames and len(letters) == len(text) > 0:
                compared += 1
                assert letters == frames[text]
                assert first <= each.positions[0] <= last
    assert compared


def test_silence_has_no_text(recognizer: Recognizer) -> None:
    assert recognizer.transcribe(0 * SOUNDS[0], options(1.0)).text == ""


def test_candidates_are_ranked_as_they_are_decoded(recognizer: Recognizer) -> None:
    """Candidates are scored once for tuning, and give the texts that each weight gives."""
    form, beam = recognizer.config.text_form, candidates.DECODER_BEAM
    audio = recognizer.encode(SOUNDS)
    references = [split_units("ABCDEF", form)] * len(SOUNDS)
    scored = scored_candidates(recognizer, audio, references, ShallowFusion())
    pool = CandidatePool(scored)
    for weight in (0.2, 0.5, 0.8):
        search = SearchConfig(beam=beam, decoder_weight=weight)
        given = RecognitionOptions("rescore", beam=beam, decoder_weight=weight)
        texts = [normalise_text(one.text, form) for one in recognizer.decode(audio, given)]
        wanted = [edit_distance(references[0], split_units(text, form)) for text in texts]
        assert pool.errors("rescore", search).tolist() == wanted
    beam = candidates.PROPOSING_BEAM
    given = RecognitionOptions("ctc", beam=beam)
    texts = [normalise_text(one.text, form) for one in recognizer.decode(audio, given)]
    wanted = [edit_distance(references[0], split_units(text, form)) for text in texts]
    assert pool.errors("ctc", SearchConfig(beam=beam)).tolist() == wanted
