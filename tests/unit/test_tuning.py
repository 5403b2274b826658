"""Choosing how a model is decoded: ranking again, the rules of choice, and what is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model, save_random_model
from fixtures.random_pretrained import random_pretrained
from keyframe_asr.config.decoding import SearchConfig
from keyframe_asr.decoding.lm.building import build_language_model
from keyframe_asr.decoding.lm.packed import write_packed
from keyframe_asr.decoding.scorers import ShallowFusion, Weighted
from keyframe_asr.errors import ManifestError, ModelError
from keyframe_asr.evaluation.candidates import (
    DECODER_BEAM,
    CandidatePool,
    Scored,
    scored_candidates,
)
from keyframe_asr.evaluation.tuning import TUNED_MODES, WIDER_BEAM, Tuned, options_of, tune
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.text.forms import normalise_text

COLUMNS = "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit\n"
SEEDS = range(12)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(random_model(), "cpu")


@pytest.fixture(scope="module")
def folder(recognizer, tmp_path_factory) -> Path:
    """A model, recordings of noise, and a table that says what one of its modes hears in each."""
    folder = tmp_path_factory.mktemp("tuning")
    save_random_model(folder / "model")
    for seed in SEEDS:
        soundfile.write(folder / f"{seed}.wav", noise(0.8, seed), RATE, subtype="FLOAT")
    for mode in ("axe", "ctc", "joint"):
        rows = []
        for seed in SEEDS:
            said = recognizer.transcribe(noise(0.8, seed), mode).text
            rows.append(f"{seed}\ts\t0.8\t{seed}.wav\t{said}\tdev\n")
        (folder / f"{mode}.tsv").write_text(COLUMNS + "".join(rows), encoding="utf-8")
    return folder


def language_model(folder: Path, recognizer: Recognizer, table: str) -> Path:
    """A language model that knows the texts of a table by heart."""
    rows = (folder / table).read_text(encoding="utf-8").splitlines()[1:]
    texts = 4 * [row.split("\t")[4] for row in rows]
    path = folder / f"{table}.ngram"
    form = recognizer.config.text_form
    write_packed(
        build_language_model(texts, recognizer.tokenizer, form, unit="character", order=5), path
    )
    return path


def test_the_mode_that_hears_best_becomes_the_default(folder, recognizer) -> None:
    for mode in ("ctc", "joint"):
        tuned = tune(recognizer, str(folder / f"{mode}.tsv"))
        assert tuned.decoding.mode == mode
        assert tuned.chosen.rate < 0.02 and tuned.chosen.mode == mode
        assert tuned.decoding.language_model is None and tuned.language_model is None
    assert tune(recognizer, str(folder / "ctc.tsv")).decoding.greedy == "ctc"
    assert {row.mode for row in tuned.rows} == set(TUNED_MODES)


@pytest.mark.parametrize(("mode", "beam"), [("attention", 1), ("rescore", DECODER_BEAM)])
def test_modes_of_a_pretrained_decoder_can_become_the_default(folder, mode, beam) -> None:
    recognizer = random_pretrained()
    options = RecognitionOptions(mode, beam=beam)
    form = recognizer.config.text_form
    rows = []
    for seed in SEEDS:
        said = normalise_text(recognizer.transcribe(noise(0.8, seed), options).text, form)
        rows.append(f"{seed}\ts\t0.8\t{seed}.wav\t{said}\tdev\n")
    table = folder / f"pretrained_{mode}.tsv"
    table.write_text(COLUMNS + "".join(rows), encoding="utf-8")
    tuned = tune(recognizer, str(table))
    assert {row.mode for row in tuned.rows} == {"axe", "ctc", "attention", "rescore"}
    assert tuned.decoding.mode == mode and tuned.chosen.rate < 0.1


def test_equally_good_settings_stay_the_fast_ones(folder, recognizer) -> None:
    tuned = tune(recognizer, str(folder / "axe.tsv"))
    assert (tuned.decoding.mode, tuned.decoding.greedy) == ("axe", "axe")
    assert tuned.chosen.search == SearchConfig(beam=1) and tuned.chosen.rate == 0


def test_a_favoured_mode_wins_unless_another_is_better(folder, recognizer) -> None:
    assert tune(recognizer, str(folder / "axe.tsv"), favoured="joint").decoding.mode == "axe"
    axe, ctc = ((folder / f"{mode}.tsv").read_text().splitlines() for mode in ("axe", "ctc"))
    halves = [(axe, ctc)[place % 2][place] for place in range(len(axe))]
    (folder / "halves.tsv").write_text("\n".join(halves))
    for mode in ("axe", "ctc"):
        found = tune(recognizer, str(folder / "halves.tsv"), favoured=mode)
        assert found.decoding.mode == found.chosen.mode == mode


def test_the_wider_beam_is_tried_in_the_two_best_modes(folder, recognizer) -> None:
    lm = language_model(folder, recognizer, "joint.tsv")
    rows = tune(recognizer, str(folder / "joint.tsv"), language_model=lm).rows
    wide = [row.mode for row in rows if row.search.beam == WIDER_BEAM]
    fewest = {
        mode: min(
            int(row.errors.sum())
            for row in rows
            if row.mode == mode and row.search.beam != WIDER_BEAM
        )
        for mode in TUNED_MODES
    }
    assert len(wide) == 2
    assert set(wide) == set(sorted(TUNED_MODES, key=lambda mode: fewest[mode])[:2])


def test_a_language_model_is_kept_only_if_it_helps(folder, recognizer) -> None:
    """One that knows the texts helps where greedy decoding does not find them."""
    lm = language_model(folder, recognizer, "joint.tsv")
    helped = tune(recognizer, str(folder / "joint.tsv"), language_model=lm, modes=["ctc"])
    assert helped.decoding.mode == "ctc" and helped.decoding.searches["ctc"].language_model
    assert helped.language_model == lm
    assert helped.decoding.language_model == "language_model.ngram"
    useless = tune(recognizer, str(folder / "ctc.tsv"), language_model=lm, modes=["ctc"])
    assert not useless.decoding.searches["ctc"].language_model
    assert useless.language_model is useless.decoding.language_model is None


def test_the_same_data_give_the_same_decoding(folder, recognizer) -> None:
    first, second = (tune(recognizer, str(folder / "joint.tsv")) for _ in range(2))
    assert first.decoding == second.decoding


def test_rows_are_what_is_decoded_in_use(folder, recognizer) -> None:
    lm = language_model(folder, recognizer, "joint.tsv")
    tuned = tune(recognizer, str(folder / "joint.tsv"), language_model=lm)
    sounds = [noise(0.8, seed) for seed in SEEDS]
    said = [row.split("\t")[4] for row in (folder / "joint.tsv").read_text().splitlines()[1:]]
    for row in tuned.rows:
        found = recognizer.transcribe_batch(sounds, options_of(row.mode, row.search, lm))
        perfect = [one.text == text for one, text in zip(found, said, strict=True)]
        assert sum(perfect) == int((row.errors == 0).sum())


def test_ranking_again_is_what_the_searches_do(recognizer) -> None:
    """With the weights of a search, the best candidate is the text that the search finds."""
    audio = recognizer.encode([noise(0.8, seed) for seed in SEEDS])
    for mode, search in [
        ("joint", SearchConfig(beam=10, ctc_weight=0.2)),
        ("axe", SearchConfig(beam=10)),
        ("rescore", SearchConfig(beam=10, decoder_weight=0.3)),
    ]:
        texts = [one.text for one in recognizer.decode(audio, options_of(mode, search, None))]
        references = [text.split() for text in texts]
        pool = CandidatePool(scored_candidates(recognizer, audio, references, ShallowFusion()))
        assert pool.errors(mode, search).sum() == 0, mode


def test_weights_choose_among_candidates() -> None:
    first = Scored(ctc=-1.0, head=-9.0, decoder=-2.0, language_model=-8.0, tokens=2, errors=1)
    second = Scored(ctc=-4.0, head=-3.0, decoder=-1.0, language_model=-2.0, tokens=5, errors=7)
    lost = replace(second, head=-np.inf, ctc=0.0, errors=4)
    pool = CandidatePool([[first, second], [first, second, lost]])
    assert pool.errors("ctc", SearchConfig()).tolist() == [1, 4]
    assert pool.errors("axe", SearchConfig()).tolist() == [7, 7]
    assert pool.errors("rescore", SearchConfig(decoder_weight=0)).tolist() == [7, 7]
    assert pool.errors("joint", SearchConfig(ctc_weight=1)).tolist() == [1, 4]
    assert pool.errors("joint", SearchConfig(ctc_weight=0)).tolist()[0] == 7
    with_model = SearchConfig(language_model=True, language_model_weight=1.0)
    assert pool.errors("ctc", with_model).tolist() == [7, 4]
    assert pool.errors("ctc", SearchConfig(token_bonus=2)).tolist() == [7, 4]


def test_a_weighted_scorer_is_the_scorer_times_its_weight(folder, recognizer) -> None:
    lm = language_model(folder, recognizer, "ctc.tsv")
    options = RecognitionOptions("ctc", language_model=lm, language_model_weight=1.0)
    sentences = [(3, 4, 5), (), (2, 2)]
    plain = recognizer.fusion(options).scorers[0]
    one, other = (
        ShallowFusion((scorer,)).score(sentences) for scorer in (plain, Weighted(plain, 0.25))
    )
    assert other.tolist() == pytest.approx((0.25 * one).tolist())


def test_what_is_stored_is_the_default_afterwards(folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    rows = (folder / "joint.tsv").read_text(encoding="utf-8").splitlines()[1:]
    text.write_text("".join(4 * [row.split("\t")[4] + "\n" for row in rows]), encoding="utf-8")
    out = tmp_path / "tuned"
    words = ("tune", folder / "model", folder / "joint.tsv", "--text", text)
    told = keyframe(*words, "--out", out)
    assert told.exit_code == 0, told
    decoding = yaml.safe_load((out / "config.yaml").read_text())["decoding"]
    assert decoding["mode"] == "joint" and "joint.tsv" in decoding["chosen_on"]
    found = keyframe_asr.load(out, "cpu")
    assert found.default_mode == "joint"
    assert (decoding["language_model"] is None) == (found.language_model is None)
    assert str(found.search().beam) in told.stdout
    before = (folder / "model" / "config.yaml").read_text()
    assert keyframe(*words).exit_code == 0
    assert (folder / "model" / "config.yaml").read_text() == before


def test_a_language_model_that_no_longer_helps_goes(folder: Path, tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    lm = language_model(folder, Recognizer(random_model(), "cpu"), "joint.tsv")
    first = keyframe("tune", model, folder / "ctc.tsv", "--in-place")
    assert first.exit_code == 0 and keyframe_asr.load(model, "cpu").default_mode == "ctc"
    config = yaml.safe_load((model / "config.yaml").read_text())
    config["decoding"] |= {"language_model": "old.ngram", "mode": "axe"}
    (model / "config.yaml").write_text(yaml.safe_dump(config))
    (model / "old.ngram").write_bytes(lm.read_bytes())
    assert keyframe("tune", model, folder / "ctc.tsv", "--in-place").exit_code == 0
    assert not (model / "old.ngram").exists()
    assert keyframe_asr.load(model, "cpu").language_model is None


def test_problems_are_named(folder: Path, recognizer, tmp_path: Path) -> None:
    model = folder / "model"
    assert "--out" in keyframe("tune", model, "x.tsv", "--out", tmp_path / "x",
                               "--in-place").usage_error  # fmt: skip
    assert "--decode" in keyframe("tune", model, "x.tsv", "--decode", "magic").usage_error
    assert "demo" in keyframe("tune", "demo", "x.tsv", "--in-place").error
    with refused(ManifestError, "missing.tsv"):
        tune(recognizer, str(tmp_path / "missing.tsv"))
    bare = Recognizer(random_model(decoder=False), "cpu")
    with refused(ModelError, "joint"):
        tune(bare, str(folder / "ctc.tsv"), modes=["joint"])
    (folder / "empty.tsv").write_text(COLUMNS + "0\ts\t0.8\t0.wav\t\tdev\n", encoding="utf-8")
    with refused(ManifestError, "empty.tsv"):
        tune(recognizer, str(folder / "empty.tsv"))


@pytest.mark.parametrize("keyframes", [True, False])
def test_models_without_decoder_or_keyframes(folder: Path, keyframes: bool) -> None:
    bare = Recognizer(random_model(keyframes, decoder=False), "cpu")
    tuned: Tuned = tune(bare, str(folder / "ctc.tsv"))
    modes = {"axe", "ctc"} if keyframes else {"ctc"}
    assert {row.mode for row in tuned.rows} == modes
    assert set(tuned.decoding.searches) == modes
    whole = tune(Recognizer(random_model(keyframes=False), "cpu"), str(folder / "ctc.tsv"))
    assert set(whole.decoding.searches) == {"ctc", "rescore", "joint"}
