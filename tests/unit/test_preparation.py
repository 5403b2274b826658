"""Preparing a corpus: what is written, what is left out, and what happens twice or half."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.errors import refused
from fixtures.random_model import save_random_model
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.config.text_form import TEXT_FORMS, TextForm
from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance
from keyframe_asr.data.corpora.preparation import prepare_corpus
from keyframe_asr.data.corpora.preparation_options import DEFAULT_OPTIONS, PreparationOptions
from keyframe_asr.data.corpora.summary import read_summary
from keyframe_asr.data.feature_store import FeatureStore, read_samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.data.statistics import load_statistics, measure_statistics
from keyframe_asr.errors import ManifestError, ModelError, RecipeError
from keyframe_asr.text.tokenizer import CharacterTokenizer, SentencePieceTokenizer, load_tokenizer
from keyframe_asr.timing import SAMPLE_RATE

RATE = 8000
TEXTS = ("打开空调。", "关 灯", "ｋｔｖ好吗", "今天天气", "二十六度", "放一首歌", "关灯", "好")
LENIENT = PreparationOptions(allow_incomplete=True)


def record(path: Path, seconds: float = 0.5, rate: int = RATE) -> Path:
    """A recording of noise, another one for each name."""
    generator = np.random.default_rng(len(path.name) + sum(map(ord, path.name)))
    soundfile.write(path, 0.1 * generator.normal(size=round(seconds * rate)), rate)
    return path


def utterances(folder: Path, split: str, texts: Sequence[str] = TEXTS) -> list[ListedUtterance]:
    return [
        ListedUtterance(f"{split}-{n}", f"s{n % 2}", said, record(folder / f"{split}-{n}.wav"))
        for n, said in enumerate(texts)
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> CorpusListing:
    splits = {
        "train": utterances(tmp_path, "train"),
        "dev": utterances(tmp_path, "dev", TEXTS[:2]),
        "test": utterances(tmp_path, "test", TEXTS[2:5]),
    }
    return CorpusListing("small", "zh", splits, ["a note"])


def with_more(corpus: CorpusListing, *more: ListedUtterance) -> CorpusListing:
    return replace(corpus, splits=corpus.splits | {"test": [*corpus.splits["test"], *more]})


def problems(out: Path) -> dict[str, str]:
    lines = (out / "problems.txt").read_text(encoding="utf-8").splitlines()
    return {line.partition(": ")[0]: line.partition(": ")[2] for line in lines}


def failure(corpus: CorpusListing, out: Path, options: PreparationOptions) -> str:
    with pytest.raises(ManifestError) as error:
        prepare_corpus(corpus, out, options, overwrite=True)
    line = str(error.value)
    assert "\n" not in line
    assert read_summary(out) is None
    return line


def test_what_is_written(corpus: CorpusListing, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared = prepare_corpus(corpus, out)
    assert not prepared.was_there
    assert sorted(path.name for path in out.iterdir()) == [
        "cmvn.json",
        "dev.jsonl.gz",
        "summary.json",
        "test.jsonl.gz",
        "tokenizer.txt",
        "train.jsonl.gz",
    ]
    cuts = list(load_manifest(out / "train.jsonl.gz"))
    assert [text(cut) for cut in cuts][:3] == ["打开空调", "关灯", "KTV好吗"]
    assert cuts[0].duration == 0.5 and cuts[0].recording.sampling_rate == RATE
    tokenizer = load_tokenizer(out)
    assert isinstance(tokenizer, CharacterTokenizer)
    assert all(1 not in tokenizer.encode(text(cut)) for cut in cuts)


def test_statistics_are_those_that_a_training_would_measure(
    corpus: CorpusListing, tmp_path: Path
) -> None:
    prepare_corpus(corpus, tmp_path / "out")
    cuts = list(load_manifest(tmp_path / "out" / "train.jsonl.gz"))
    features = FeaturesConfig()
    store = FeatureStore(Fbank(features), keep=False)
    assert load_statistics(tmp_path / "out") == measure_statistics(
        cuts, store, level=features.level
    )


def test_summaries_of_older_versions_are_read(corpus: CorpusListing, tmp_path: Path) -> None:
    now = prepare_corpus(corpus, tmp_path / "out").summary
    path = tmp_path / "out" / "summary.json"
    old = json.loads(path.read_text("utf-8")) | {"language": "mandarin"}
    old["normalisation"] = old.pop("text_form")
    path.write_text(json.dumps(old), "utf-8")
    assert read_summary(tmp_path / "out") == now
    assert now.form == TEXT_FORMS["mandarin"]


def test_a_form_of_ones_own_is_stored_by_its_fields(corpus: CorpusListing, tmp_path: Path) -> None:
    form = TextForm(separation="none", unit="characters", digits=False)
    options = PreparationOptions(text_form=form)
    summary = prepare_corpus(corpus, tmp_path / "out", options).summary
    assert isinstance(summary.text_form, dict)
    assert read_summary(tmp_path / "out") == summary and summary.form == form


def test_summary(corpus: CorpusListing, tmp_path: Path) -> None:
    summary = prepare_corpus(corpus, tmp_path / "out").summary
    assert summary == read_summary(tmp_path / "out")
    assert (summary.corpus, summary.language, summary.text_form) == (
        "small",
        "zh",
        "mandarin",
    )
    assert summary.tokenizer == {
        "kind": "characters",
        "vocab_size": None,
        "model_type": "unigram",
    }
    assert summary.notes == ["a note"]
    test = summary.splits["test"]
    assert (test.utterances, test.speakers, test.characters, test.tokens) == (3, 2, 13, 13)
    assert test.tokens_per_second == pytest.approx(13 / 1.5, rel=1e-3)
    assert test.tokens_per_frame == pytest.approx(13 / 37.5, rel=1e-3)


def test_twice_does_nothing(corpus: CorpusListing, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = prepare_corpus(corpus, out)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert prepare_corpus(corpus, out) == replace(first, was_there=True)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == stamps


def test_changes_are_seen(corpus: CorpusListing, tmp_path: Path) -> None:
    out = tmp_path / "out"
    marks = [prepare_corpus(corpus, out).summary.fingerprint]
    record(tmp_path / "dev-0.wav", 0.7)
    marks.append(prepare_corpus(corpus, out, overwrite=True).summary.fingerprint)
    assert next(iter(load_manifest(out / "dev.jsonl.gz"))).duration == 0.7
    options = PreparationOptions(vocab_size=12)
    marks.append(prepare_corpus(corpus, out, options, overwrite=True).summary.fingerprint)
    assert load_tokenizer(out).vocab_size == 12
    (out / "cmvn.json").unlink()
    assert not prepare_corpus(corpus, out, PreparationOptions(vocab_size=12)).was_there
    assert len(set(marks)) == 3


def test_another_tokenizer_leaves_none_of_the_first(corpus: CorpusListing, tmp_path: Path) -> None:
    prepare_corpus(corpus, tmp_path, PreparationOptions(units="unigram", vocab_size=40))
    assert isinstance(load_tokenizer(tmp_path), SentencePieceTokenizer)
    prepare_corpus(corpus, tmp_path, overwrite=True)
    assert isinstance(load_tokenizer(tmp_path), CharacterTokenizer)
    assert not (tmp_path / "tokenizer.model").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_random_model(tmp_path / "model")


def test_tokenizer_and_form_of_a_trained_model(
    corpus: CorpusListing, model: Path, tmp_path: Path
) -> None:
    texts = ("bad-grey", "féed.")
    splits = {split: utterances(tmp_path, split, texts) for split in ("train", "dev", "test")}
    options = PreparationOptions(tokenizer=model, allow_incomplete=True)
    out = tmp_path / "out"
    found = prepare_corpus(replace(corpus, language="de", splits=splits), out, options)
    assert found.summary.form == TEXT_FORMS["english"]
    assert found.summary.language == "de"
    assert found.summary.tokenizer == {"kind": "characters"}
    assert (out / "tokenizer.txt").read_bytes() == (model / "tokenizer.txt").read_bytes()
    assert set(problems(out)) == {"train-0", "dev-0", "test-0"}
    assert "⁇" not in problems(out)["dev-0"] and str(model) in problems(out)["dev-0"]


def test_a_tokenizer_that_has_changed(corpus: CorpusListing, model: Path, tmp_path: Path) -> None:
    splits = {"train": utterances(tmp_path, "train", ["bad", "bee"])}
    listing, out = replace(corpus, splits=splits), tmp_path / "out"
    options = PreparationOptions(tokenizer=model)
    prepare_corpus(listing, out, options)
    assert prepare_corpus(listing, out, options).was_there
    (model / "tokenizer.txt").write_bytes(CharacterTokenizer("ABDEG").content())
    assert not prepare_corpus(listing, out, options, overwrite=True).was_there
    assert load_tokenizer(out).vocab_size == 8


def test_a_model_that_is_none(corpus: CorpusListing, tmp_path: Path) -> None:
    with refused(ModelError, tmp_path / "gone"):
        prepare_corpus(corpus, tmp_path / "out", PreparationOptions(tokenizer=tmp_path / "gone"))


def test_too_few_pieces(corpus: CorpusListing, tmp_path: Path) -> None:
    with refused(RecipeError, "vocab_size", 9):
        prepare_corpus(corpus, tmp_path / "out", PreparationOptions("unigram", 9))
    assert read_summary(tmp_path / "out") is None


def broken(folder: Path) -> list[ListedUtterance]:
    """One utterance for each way in which a recording can be unusable."""
    whole = record(folder / "whole.wav").read_bytes()
    (folder / "nothing.wav").write_bytes(b"")
    (folder / "prose.wav").write_text("this is no audio")
    (folder / "header.wav").write_bytes(whole[:44])
    (folder / "half.wav").write_bytes(whole[: len(whole) // 2])
    flac = record(folder / "tail.flac", 2.0).read_bytes()
    (folder / "tail.flac").write_bytes(flac[: len(flac) // 2])
    soundfile.write(folder / "zero.wav", np.zeros(0), RATE)
    samples = np.zeros(4000, np.float32)
    samples[7] = np.nan
    soundfile.write(folder / "nan.wav", samples, RATE, subtype="FLOAT")
    names = ("gone.wav", "nothing.wav", "prose.wav", "header.wav", "half.wav", "tail.flac")
    names += ("zero.wav", "nan.wav")
    return [ListedUtterance(name, "", "好", folder / name) for name in names]


def test_broken_recordings_are_listed_and_left_out(corpus: CorpusListing, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bad = broken(tmp_path)
    summary = prepare_corpus(with_more(corpus, *bad), out, LENIENT).summary
    assert summary.splits["test"].utterances == 3
    assert summary.problems == len(bad) == 8
    found = problems(out)
    assert found.keys() == {utterance.id for utterance in bad}
    assert all(str(tmp_path / name) in reason for name, reason in found.items())
    causes = {reason.replace(name, "") for name, reason in found.items()}
    assert len(causes) == 8, "one each"
    assert "0.001 s" in found["nan.wav"]
    assert summary.notes[-1].startswith("test: 8 of 11 ") and "problems.txt" in summary.notes[-1]


def test_damage_in_the_middle_is_found_by_the_statistics(
    corpus: CorpusListing, tmp_path: Path
) -> None:
    samples = np.zeros(8000, np.float32)
    samples[4000] = np.inf
    soundfile.write(tmp_path / "inf.wav", samples, RATE, subtype="FLOAT")
    train = [*corpus.splits["train"], ListedUtterance("inf", "", "坏", tmp_path / "inf.wav")]
    listing = replace(corpus, splits=corpus.splits | {"train": train})
    summary = prepare_corpus(listing, tmp_path / "out", LENIENT).summary
    assert str(tmp_path / "inf.wav") in problems(tmp_path / "out")["inf"]
    assert summary.splits["train"].utterances == len(TEXTS)
    assert load_tokenizer(tmp_path / "out").encode("坏") == [1]


def test_more_problems_than_an_accident(corpus: CorpusListing, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_corpus(corpus, out)
    gone = ListedUtterance("gone", "", "好", tmp_path / "gone.wav")
    line = failure(with_more(corpus, gone), out, DEFAULT_OPTIONS)
    assert line.startswith(f"{out / 'problems.txt'}: 1 of 14 utterances ") and "(gone: " in line
    assert "--allow-incomplete" in line and "--digits" not in line
    assert not (out / "tokenizer.txt").exists()
    assert prepare_corpus(with_more(corpus, gone), out, LENIENT).summary.problems == 1


def test_one_problem_in_a_hundred_is_an_accident(tmp_path: Path) -> None:
    many = utterances(tmp_path, "train", ["好"] * 99)
    listing = CorpusListing("many", "zh", {"train": many}, problems=["u: has no transcript"])
    summary = prepare_corpus(listing, tmp_path / "out").summary
    assert problems(tmp_path / "out") == {"u": "has no transcript"}
    dev, test, unusable = summary.notes
    assert dev.startswith("dev: ") and test.startswith("test: ")
    assert unusable.startswith("1 utterances ") and "problems.txt" in unusable
    listing.problems.append("v: has no transcript")
    assert "2 of 101" in failure(listing, tmp_path / "out", DEFAULT_OPTIONS)


def test_transcripts_that_cannot_be_trusted(corpus: CorpusListing, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav")
    said = {"ascii": "26度", "wide": "２６度", "silent": "，。", "zero": "二〇二六年"}
    more = [ListedUtterance(name, "", text, path) for name, text in said.items()]
    line = failure(with_more(corpus, *more), tmp_path / "out", DEFAULT_OPTIONS)
    assert "3 of 17" in line and "--digits keep" in line
    reasons = problems(tmp_path / "out")
    assert reasons.keys() == {"ascii", "wide", "silent"}
    assert all(said[name] in reason for name, reason in reasons.items())
    keep = PreparationOptions(digits="keep", allow_incomplete=True)
    summary = prepare_corpus(with_more(corpus, *more), tmp_path / "out", keep).summary
    assert problems(tmp_path / "out").keys() == {"silent"}
    assert summary.text_form == "mandarin"
    kept = [text(cut) for cut in load_manifest(tmp_path / "out" / "test.jsonl.gz")][-3:]
    assert kept == ["26度", "26度", "二〇二六年"]


def test_english_digits_and_foreign_letters(tmp_path: Path) -> None:
    said = ["Room 42, please.", "Café Zoë", "Łódź is far", "don’t", "٣ men"]
    listing = CorpusListing("spoken", "en", {"train": utterances(tmp_path, "train", said)})
    out = tmp_path / "out"
    lenient = PreparationOptions("characters", allow_incomplete=True)
    refusing = prepare_corpus(listing, out, lenient)
    assert refusing.summary.text_form == "english"
    assert [text(cut) for cut in load_manifest(out / "train.jsonl.gz")] == ["CAFE ZOE", "DON'T"]
    assert problems(out).keys() == {"train-0", "train-2", "train-4"}
    assert "Ł" in problems(out)["train-2"] and "english" in problems(out)["train-2"]

    keeping = prepare_corpus(listing, out, replace(lenient, digits="keep"), overwrite=True)
    assert keeping.summary.text_form == "english-digits"
    cuts = load_manifest(out / "train.jsonl.gz")
    assert [text(cut) for cut in cuts] == ["ROOM 42 PLEASE", "CAFE ZOE", "DON'T"]
    assert "٣" in problems(out)["train-4"]


def test_parts_of_one_recording(corpus: CorpusListing, tmp_path: Path) -> None:
    path = record(tmp_path / "long.wav", 4.0, SAMPLE_RATE)
    parts = [
        ListedUtterance("first", "", "好", path, 0.5, 1.25),
        ListedUtterance("last", "", "好", path, 3.5),
        ListedUtterance("rounded", "", "好", path, 3.0, 4.3),
        ListedUtterance("late", "", "好", path, 3.0, 5.0),
        ListedUtterance("beyond", "", "好", path, 4.5),
        ListedUtterance("backwards", "", "好", path, 2.0, 1.0),
    ]
    prepare_corpus(with_more(corpus, *parts), tmp_path / "out", LENIENT)
    found = {cut.id: cut for cut in load_manifest(tmp_path / "out" / "test.jsonl.gz")}
    spans = {name: (cut.start, cut.duration) for name, cut in found.items() if cut.start}
    assert spans == {"first": (0.5, 0.75), "last": (3.5, 0.5), "rounded": (3.0, 1.0)}
    samples, _ = soundfile.read(path, dtype="float32")
    assert np.array_equal(read_samples(found["first"]), samples[8000:20000])
    reasons = problems(tmp_path / "out")
    assert reasons.keys() == {"late", "beyond", "backwards"}
    assert "4.00 s" in reasons["late"] and "5.00 s" in reasons["late"]


def test_a_name_twice_and_nothing_at_all(corpus: CorpusListing, tmp_path: Path) -> None:
    twice = with_more(corpus, corpus.splits["train"][0])
    assert "'train-0'" in failure(twice, tmp_path / "out", LENIENT)
    nothing = CorpusListing("none", "en", {"train": []})
    assert failure(nothing, tmp_path / "out", LENIENT).startswith("none: ")


def test_a_place_that_cannot_be_written(corpus: CorpusListing, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert str(out) in failure(corpus, out, DEFAULT_OPTIONS)


def test_a_corpus_to_be_tested_on_only(corpus: CorpusListing, tmp_path: Path) -> None:
    only = replace(corpus, splits={"test": corpus.splits["test"]})
    summary = prepare_corpus(only, tmp_path / "out").summary
    assert summary.tokenizer is None and summary.splits["test"].tokens == 0
    assert prepare_corpus(only, tmp_path / "out").was_there
    assert len(load_manifest(tmp_path / "out" / "test.jsonl.gz")) == 3


def test_progress_is_told(corpus: CorpusListing, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepare_corpus(
        corpus,
        tmp_path / "out",
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert told[12] == ("opening recordings", 13, 13)
    assert told[-1] == ("measuring features", 8, 8)


def test_older_summaries_are_read(corpus: CorpusListing, tmp_path: Path) -> None:
    """Those of version 0.1 name neither language nor tokens."""
    prepare_corpus(corpus, tmp_path)
    path = tmp_path / "summary.json"
    data = json.loads(path.read_text())
    for split in data["splits"].values():
        del split["tokens"]
    older = {key: data[key] for key in ("corpus", "fingerprint", "splits", "notes")}
    path.write_text(json.dumps(older))
    summary = read_summary(tmp_path)
    assert summary is not None and summary.splits["test"].characters == 13
