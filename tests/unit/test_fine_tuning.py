"""`keyframe fine-tune`: from recordings to a model folder and a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import random_model, save_random_model
from fixtures.tone_corpus import random_texts, write_corpus
from keyframe_asr import FineTuneOptions, fine_tune, load
from keyframe_asr.config.calibration import SpeechCheckConfig
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.data.sources import load_source
from keyframe_asr.errors import ManifestError, TrainingError
from keyframe_asr.fine_tuning import run
from keyframe_asr.fine_tuning.measuring import Measurement
from keyframe_asr.fine_tuning.preparing import REPORT_FILE, Prepared, prepare, write_start
from keyframe_asr.fine_tuning.recipe import STAGE
from keyframe_asr.fine_tuning.replay import draw_replay, open_replay
from keyframe_asr.fine_tuning.vocabulary import extended, new_tokenizer
from keyframe_asr.io.model_card import lacking_metadata
from keyframe_asr.io.model_folder import CARD_FILE, find_model, load_model_folder
from keyframe_asr.text.tokenizer import CharacterTokenizer, SentencePieceTokenizer, train_tokenizer
from keyframe_asr.training.checkpoint import Checkpoints
from keyframe_asr.training.log import START_IS_KEPT, read_log

FAST = ("training.threads=1", "training.batch_seconds=20", "augment.spec_augment=0.0")


def options(**given: Any) -> FineTuneOptions:
    return FineTuneOptions(**{"epochs": 1, "overrides": list(FAST)} | given)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = {"train": random_texts(14, 1), "dev": random_texts(4, 2)}
    return write_corpus(tmp_path_factory.mktemp("tones"), texts)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "model")


def prepared(model: Path, train: Path, out: Path, **given: Any) -> Prepared:
    return prepare(model, str(train), None, out, options(**given), lambda message: None)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_model_folder(folder).network.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_what_a_fine_tuning_leaves(corpus: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = options(learning_rate=2e-2, epochs=4)
    done = fine_tune(model, corpus, out=out, options=chosen)
    assert done.model == out / "model"
    report = json.loads((out / REPORT_FILE).read_text())
    assert report["recordings"] == 14 and report["dev"]["recordings"] == 4
    assert report["start_is_kept"] is False
    assert report["dev"]["after"] <= report["dev"]["before"]
    assert list(report["dev"]["decode"]) == list(load(done.model).modes)
    for row in report["dev"]["decode"].values():
        assert row["difference"] == pytest.approx(row["after"] - row["before"])
        low, high = row["difference_ci95"]
        assert low <= row["difference"] <= high
    worst = [row["errors"] for row in report["dev"]["worst"]]
    assert worst == sorted(worst, reverse=True)
    left = {path.name for path in out.iterdir()}
    assert {"model", "data", "log.jsonl", "recipe.yaml", REPORT_FILE} <= left
    assert not left & {"fine-tuning", "encodings", "start", "state.pt"}
    assert lacking_metadata((done.model / CARD_FILE).read_text()) == ["license"]
    assert load_model_folder(done.model).config.decoding is not None
    again = fine_tune(model, corpus, out=out, options=replace(chosen, resume=True))
    assert again.report == report


def test_a_start_that_is_best_is_kept(corpus: Path, model: Path, tmp_path: Path) -> None:
    done = fine_tune(model, corpus, out=tmp_path / "out", options=options(learning_rate=1e-12))
    assert done.report["start_is_kept"] is True
    assert done.report["dev"]["after"] == done.report["dev"]["before"]
    assert equal(weights_of(done.model), weights_of(model))
    held = load_file(done.model / "model.safetensors")
    assert sum(one.numel() for one in held.values()) == 0  # its base holds all weights


@pytest.mark.parametrize("step", ["train", "finish"])
def test_resumed_ends_as_if_never_interrupted(
    corpus: Path, model: Path, tmp_path: Path, step: str
) -> None:
    chosen = options(learning_rate=2e-2, epochs=2)
    whole = fine_tune(model, corpus, out=tmp_path / "whole" / "m", options=chosen)
    out = tmp_path / "again" / "m"

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(model, corpus, out=out, options=chosen)
    with refused(TrainingError, out, "--resume"):
        fine_tune(model, corpus, out=out, options=chosen)
    resuming = replace(chosen, resume=True)
    with refused(TrainingError, out, "epochs", 2, 3):
        fine_tune(model, corpus, out=out, options=replace(resuming, epochs=3))
    done = fine_tune(model, corpus, out=out, options=resuming)
    assert equal(weights_of(done.model), weights_of(whole.model))
    assert done.report["dev"] == whole.report["dev"]


def test_resuming_with_other_development_recordings_is_refused(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    dev, out = tmp_path / "dev.tsv", tmp_path / "out"
    cuts = load_source(f"{corpus}:dev").cuts
    lines = [f"{audio_path(cut).resolve()}\t{text(cut)}\n" for cut in cuts]
    dev.write_text("path\ttext\n" + "".join(lines))
    chosen = options(learning_rate=2e-2)

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(model, corpus, dev, out=out, options=chosen)
    resuming = replace(chosen, resume=True)
    dev.write_text("path\ttext\n" + "".join(lines[1:]))
    with refused(TrainingError, out, "--out"):
        fine_tune(model, corpus, dev, out=out, options=resuming)
    dev.write_text("path\ttext\n" + "".join(lines))
    assert fine_tune(model, corpus, dev, out=out, options=resuming).model.is_dir()


def test_what_the_stage_for_new_units_has_trained_is_not_lost(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    rates = ("stages.0.learning_rate=0.02", "stages.0.epochs=3", "stages.1.learning_rate=1e-12")
    chosen = options(vocabulary="new", overrides=[*FAST, *rates])
    done = fine_tune(model, corpus, out=tmp_path / "out", options=chosen)
    last = [entry for entry in read_log(tmp_path / "out") if START_IS_KEPT in entry][-1]
    assert last["stage"] == STAGE and last[START_IS_KEPT] is True
    assert done.report["start_is_kept"] is False


def test_killed_after_the_last_epoch_was_stored(corpus: Path, model: Path, tmp_path: Path) -> None:
    chosen, out = options(learning_rate=2e-2, epochs=2), tmp_path / "out"
    finish_stage = Checkpoints.finish_stage

    def killed(*given: Any, **named: Any) -> None:
        finish_stage(*given, **named)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "finish_stage", killed)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(model, corpus, out=out, options=chosen)
    with (out / "log.jsonl").open("a") as log:
        log.write('{"stage": "fine-')
    done = fine_tune(model, corpus, out=out, options=replace(chosen, resume=True))
    assert done.report["start_is_kept"] is False


def test_other_files_are_not_overwritten(corpus: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with refused(TrainingError, tmp_path):
        fine_tune(model, corpus, out=tmp_path, options=options())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_planning_writes_nothing(corpus: Path, model: Path, tmp_path: Path) -> None:
    ran = keyframe("fine-tune", model, corpus, "--out", tmp_path / "out", "--plan", "--epochs", 7)
    assert ran.exit_code == 0 and "epochs: 7" in ran.stdout
    assert not (tmp_path / "out").exists()


def overlapping(corpus: Path, folder: Path) -> Path:
    """A table of all recordings, which names no splits."""
    table = folder / "all.tsv"
    lines = [
        f"{cut.recording.sources[0].source}\t{cut.supervisions[0].text}\n"
        for cut in load_source(str(corpus)).cuts
    ]
    table.write_text("path\ttext\n" + "".join(lines))
    return table


def test_recordings_of_the_development_set_are_not_trained_on(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    found = prepare(model, f"{corpus}", f"{corpus}:dev", tmp_path / "out", options(), said.append)
    assert len(found.speech.train) == 14 and len(found.speech.dev) == 4
    both = prepare(
        model, str(overlapping(corpus, tmp_path)), f"{corpus}:dev", tmp_path, options(), said.append
    )
    assert len(both.speech.train) == 14


def test_a_damaged_recording_does_not_stop_the_others(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    damaged, table = tmp_path / "damaged.wav", tmp_path / "table.tsv"
    soundfile.write(damaged, np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    rows = [(audio_path(cut), text(cut)) for cut in load_source(f"{corpus}:train").cuts]
    lines = [f"{path}\t{letters}" for path, letters in [(damaged, "AB"), *rows]]
    table.write_text("\n".join(["path\ttext", *lines]) + "\n", encoding="utf-8")
    said: list[str] = []
    found = prepare(model, str(table), f"{corpus}:dev", tmp_path / "out", options(), said.append)
    assert len(found.speech.train) == 14
    assert [line for line in said if str(damaged) in line]


def test_texts_and_recordings_that_leave_nothing(corpus: Path, model: Path, tmp_path: Path) -> None:
    train = load_source(f"{corpus}:train").cuts
    silent, damaged = tmp_path / "silent.tsv", tmp_path / "damaged.tsv"
    paths = [audio_path(cut).resolve() for cut in train]
    silent.write_text("path\ttext\n" + "".join(f"{path}\t\n" for path in paths))
    with pytest.raises(ManifestError) as caught:
        prepared(model, silent, tmp_path / "out")
    assert "--vocabulary" not in str(caught.value)
    rate = 16000
    soundfile.write(tmp_path / "bad.flac", np.random.default_rng(0).normal(0, 0.1, rate), rate)
    content = bytearray((tmp_path / "bad.flac").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "bad.flac").write_bytes(content)
    damaged.write_text(f"path\ttext\nbad.flac\t{text(train[0])}\n")
    with refused(ManifestError, "damaged.tsv"):
        prepare(model, str(corpus), str(damaged), tmp_path / "out", options(), lambda message: None)


def test_texts_that_the_model_cannot_spell(corpus: Path, model: Path, tmp_path: Path) -> None:
    rows = load_source(f"{corpus}:train").cuts
    table = tmp_path / "table.tsv"

    def write(texts: list[str]) -> None:
        lines = [
            f"{cut.recording.sources[0].source}\t{text}\n"
            for cut, text in zip(rows, texts, strict=True)
        ]
        table.write_text("path\ttext\n" + "".join(lines))

    write(["ABC", "ABQ"] + ["ABC"] * 12)
    said: list[str] = []
    kept = prepare(model, str(table), str(corpus) + ":dev", tmp_path, options(), said.append)
    assert len(kept.speech.train) == 13
    assert any("Q (1)" in line for line in said)
    write(["XYZ"] * 14)
    with refused(ManifestError, table, 14, "--vocabulary new"):
        prepare(model, str(table), str(corpus) + ":dev", tmp_path, options(), said.append)
    write(["XYZ"] * 6 + ["ABC"] * 8)
    with refused(ManifestError, table, 8, 10):
        prepare(model, str(table), str(corpus) + ":dev", tmp_path, options(), said.append)


def test_an_extended_vocabulary_keeps_the_old_units() -> None:
    old = CharacterTokenizer("ABC ")
    assert extended(old, ["AB C"]).content() == old.content()
    new = extended(old, ["ADÉ", "BD"])
    assert new.encode("AB C") == old.encode("AB C")
    assert [new.piece(token) for token in new.encode("DÉ")] == ["D", "É"]
    texts = ["THE CAT SAT ON THE MAT", "A CAT", "THAT HAT"]
    pieces = train_tokenizer(texts, TokenizerConfig(kind="sentencepiece", vocab_size=30))
    grown = extended(pieces, ["CAFÉ", "ØRE"])
    assert isinstance(grown, SentencePieceTokenizer)
    assert all(grown.encode(one) == pieces.encode(one) for one in texts)
    assert grown.decode(grown.encode("ÉT")) == "ÉT" and grown.unknown("ÉØ") == []
    assert new_tokenizer(random_model().config.text_form, texts).unknown(texts[0]) == []


def test_rows_of_new_units_are_added_to_the_old_ones(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.tsv"
    cuts = load_source(f"{corpus}:train").cuts
    lines = [f"{cut.recording.sources[0].source}\tABQ\n" for cut in cuts]
    table.write_text("path\ttext\n" + "".join(lines))
    found = prepared(model, table, tmp_path / "out", vocabulary="extend")
    write_start(found)
    old, new = weights_of(model), weights_of(found.start)
    size = found.stored.tokenizer.vocab_size
    assert found.tokenizer.vocab_size == size + 1
    for name in ("inter_ctc.weight", "head.bias", "decoder.embedding.weight"):
        assert torch.equal(new[name][:size], old[name]) and len(new[name]) == size + 1
    assert all(torch.equal(new[name], one) for name, one in old.items() if "encoder1" in name)


def test_errors_count_letters_that_the_model_lacks(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    cuts = load_source(f"{corpus}:train").cuts
    table = tmp_path / "table.tsv"
    lines = [f"{cut.recording.sources[0].source}\tÀ\n" for cut in cuts]
    table.write_text("path\ttext\n" + "".join(lines))
    chosen = options(vocabulary="extend", learning_rate=1e-12)
    done = fine_tune(model, table, f"{corpus}:dev", out=tmp_path / "out", options=chosen)
    assert done.report["start_is_kept"] is True
    first = load_manifest(tmp_path / "out" / "data" / "train.jsonl.gz")[0]
    assert first.supervisions[0].text == "À"


@pytest.mark.parametrize("keyframes", [True, False])
def test_models_with_and_without_keyframes(corpus: Path, tmp_path: Path, keyframes: bool) -> None:
    model = save_random_model(tmp_path / "model", keyframes)
    chosen = options(learning_rate=2e-2, epochs=3)
    done = fine_tune(model, corpus, out=tmp_path / "out", options=chosen)
    assert load_model_folder(done.model).config.keyframes is keyframes
    assert ("axe" in done.report["dev"]["decode"]) is keyframes


def test_replay_is_mixed_in_and_forgetting_measured(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    more = write_corpus(tmp_path / "more", {"train": random_texts(40, 9)})
    chosen = options(replay=str(more), overrides=[*FAST])
    done = fine_tune(model, corpus, out=tmp_path / "out", options=chosen)
    mixed = load_manifest(tmp_path / "out" / "data" / "replay.jsonl.gz")
    own = load_manifest(tmp_path / "out" / "data" / "train.jsonl.gz")
    share = sum(cut.duration for cut in mixed) / sum(cut.duration for cut in [*mixed, *own])
    assert 0.25 < share < 0.4
    assert done.report["also_measured"]["recordings"] == 10


def test_own_recordings_are_not_replayed(corpus: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with refused(ManifestError, corpus, 0):
        fine_tune(model, corpus, out=out, options=options(replay=str(corpus)))
    assert not out.exists()


def test_synthetic_replay_is_in_the_form_of_the_model(tmp_path: Path) -> None:
    stored = load_model_folder(find_model("an4-small"))
    form, tokenizer = stored.config.text_form, stored.tokenizer
    found = open_replay("synthetic", "en", form, tokenizer, [])
    assert isinstance(found, SyntheticCorpus)
    replay = draw_replay(found, 1.0, form, tokenizer, tmp_path, lambda *_: None)
    every = [*replay.train, *replay.held_out]
    assert len(replay.train) > 10 and len(replay.held_out) > 10
    assert all(one.id.startswith("replay-") for one in every)
    assert all(tokenizer.unknown(text(one)) == [] and text(one).isupper() for one in every)


def test_a_check_that_rejects_everything_is_loosened(corpus: Path, model: Path) -> None:
    cuts = list(load_source(f"{corpus}:dev").cuts)
    recognizer = load(model)
    recognizer.speech_check = SpeechCheckConfig(bias=-1e6, doubt=0, agreement=0, hesitation=0)
    measurement = Measurement(recognizer, Path("unused"))
    found = measurement.recognise(cuts, "dev")
    assert all(set(texts) == {""} for texts in found.texts.values())
    assert any(one.tokens for one in measurement.speech)
    assert found.texts["ctc"] == [""] * len(cuts)
    recognizer.speech_check = None
    free = Measurement(recognizer, Path("unused")).recognise(cuts, "dev")
    assert any(free.texts["ctc"])


def test_wrong_usage(corpus: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = keyframe("fine-tune", model, corpus, "--out", out, "--vocabulary", "other")
    assert "--vocabulary" in ran.usage_error
    ran = keyframe("fine-tune", model, corpus, "--out", out, "--set", "stages.0.epoch=3")
    assert ran.exit_code == 1 and "epoch" in ran.stderr.splitlines()[-1]
    for option in ("--replay", "--also-measure"):
        ran = keyframe("fine-tune", model, corpus, "--out", out, option, "nothing.tsv")
        assert ran.exit_code == 1 and "nothing.tsv" in ran.stderr.splitlines()[-1]
    assert not out.exists()
