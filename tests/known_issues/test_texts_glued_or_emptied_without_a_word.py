"""English words in Mandarin text, Arabic words and German umlauts were lost, and none was told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from keyframe_asr.config.text_choices import TextFormName
from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance
from keyframe_asr.data.corpora.preparation import prepare_corpus
from keyframe_asr.data.corpora.preparation_options import PreparationOptions
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import ManifestError

CHARACTERS = PreparationOptions(units="characters")


def listing(folder: Path, language: str, texts: list[str]) -> CorpusListing:
    path = folder / "a.wav"
    soundfile.write(path, np.random.default_rng(0).normal(size=4000) / 10, 8000)
    said = [ListedUtterance(f"u{n:03d}", "s", one, path) for n, one in enumerate(texts)]
    return CorpusListing("said", language, {"train": said})


@pytest.mark.parametrize(
    ("language", "said", "lost", "better"),
    [
        ("zh", "我 really love you 好", "6", "mandarin-english"),
        ("en", "我 really love you 好", "我 好", "mandarin-english"),
        ("zh", "السلام عليكم", "3", "generic"),
        ("ja", "안녕하세요 여러분", "3", "generic"),
        ("en", "Übermut tut selten gut", "Ü", "generic"),
        ("en", "日本語のテスト", "日", "characters"),
    ],
)
def test_a_form_that_loses_words_is_refused(
    tmp_path: Path, language: str, said: str, lost: str, better: TextFormName
) -> None:
    corpus = listing(tmp_path, language, [said] * 3)
    with refused(ManifestError, lost, f"--text-form {better}"):
        prepare_corpus(corpus, tmp_path / "out", CHARACTERS)
    assert not (tmp_path / "out" / "train.jsonl.gz").exists()
    options = replace(CHARACTERS, text_form=better)
    summary = prepare_corpus(corpus, tmp_path / "out", options).summary
    assert (summary.language, summary.text_form) == (language, better)
    assert not any(lost in note for note in summary.notes if "text form" in note)


@pytest.mark.parametrize(("share", "code"), [(1, 1), (200, 0)])
def test_a_check_of_data_names_the_form_that_keeps_the_words(
    tmp_path: Path, share: int, code: int
) -> None:
    corpus = listing(tmp_path, "en", [*["go on"] * (share - 1), "Über"])
    listed = corpus.splits["train"]
    table = tmp_path / "train.tsv"
    rows = [["utt_id", "speaker", "duration_s", "path", "text", "split"]]
    rows += [[one.id, "s", "0.5", str(one.audio), one.text, "train"] for one in listed]
    table.write_text("\n".join(map("\t".join, rows)) + "\n", encoding="utf-8")
    report = tmp_path / "report.json"
    ran = keyframe("check-data", table, "--text-form", "english", "--json", report)
    assert ran.exit_code == code, ran
    found = {one["kind"]: one for one in json.loads(report.read_text())["findings"]}
    assert "text-lost" in found
    assert ("text-form" in found) == (code == 1)
    assert code == 0 or found["text-form"]["items"][0]["name"] == "generic"


def test_little_is_lost_and_told(tmp_path: Path) -> None:
    corpus = listing(tmp_path, "en", [*["turn on the lights"] * 100, "a café", "the łódź"])
    summary = prepare_corpus(corpus, tmp_path / "out", CHARACTERS).summary
    assert summary.problems == 1, "a letter that is lost leaves the utterance out"
    assert any("é" in note and "Ł" in note for note in summary.notes)


def test_the_loss_is_accepted_if_wanted(tmp_path: Path) -> None:
    corpus = listing(tmp_path, "en", ["Übermut tut gut"] * 3)
    options = replace(CHARACTERS, allow_incomplete=True)
    summary = prepare_corpus(corpus, tmp_path / "out", options).summary
    assert any("Ü" in note for note in summary.notes)
    cuts = load_manifest(tmp_path / "out" / "train.jsonl.gz")
    assert {text(cut) for cut in cuts} == {"UBERMUT TUT GUT"}


def test_numbers_that_would_change_are_left_out(tmp_path: Path) -> None:
    corpus = listing(tmp_path, "zh", ["一共3.5元", "一共35元"])
    options = replace(CHARACTERS, digits="keep", allow_incomplete=True)
    prepare_corpus(corpus, tmp_path / "out", options)
    cuts = load_manifest(tmp_path / "out" / "train.jsonl.gz")
    assert [text(cut) for cut in cuts] == ["一共35元"]
    assert "3.5" in (tmp_path / "out" / "problems.txt").read_text("utf-8")
