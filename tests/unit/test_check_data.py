"""check-data: every planted defect is found, exactly once, and clean data have no findings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import soundfile

from fixtures.command_line import Ran, keyframe
from fixtures.errors import refused
from fixtures.tone_corpus import HEADER, LETTERS, tones
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.data.checks.finding import KINDS, Severity
from keyframe_asr.data.checks.report import DataReport, as_json
from keyframe_asr.data.checks.rules import MIN_VALUES, outliers
from keyframe_asr.data.checks.run import check_manifests
from keyframe_asr.data.manifest import load_manifest, save_manifest
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.tokenizer import CharacterTokenizer, train_tokenizer
from keyframe_asr.timing import SAMPLE_RATE, frames_needed

TEXTS = {
    "train": ["AB", "BC", "CD", "DE", "EF", "FA"] * 4,
    "test": ["ACE", "BDF", "CEA", "DFB"],
}
"""Enough for outliers in train; test has other sentences."""


class Corpus:
    """Tables of utterances whose audio lies beside them; each split has a speaker of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, list[str]] = {}
        for split, texts in TEXTS.items():
            for number, text in enumerate(texts):
                self.add(split, f"{split}-{number:03d}", text)

    def add(
        self,
        split: str,
        name: str,
        text: str = "AB",
        samples: np.ndarray | None = None,
        *,
        speaker: str | None = None,
        rate: int = SAMPLE_RATE,
        seconds: float | None = None,
        file: str | None = None,
    ) -> Path:
        """An utterance; tones by default, `seconds` is what the table says of them."""
        if samples is None:
            known = "".join(letter for letter in text if letter in LETTERS)
            samples = tones(known or "A", seed=crc32(f"{split} {name}".encode()))
        path = self.folder / (file or f"{split}-{name}.wav")
        subtype = "PCM_16" if np.isfinite(samples).all() else "FLOAT"
        soundfile.write(path, samples, rate, subtype=subtype)
        said = len(samples) / rate if seconds is None else seconds
        who = f"speaker-{split}" if speaker is None else speaker
        row = f"{name}\t{who}\t{said:.4f}\t{path.name}\t{text}\t{split}\n"
        self.rows.setdefault(split, []).append(row)
        return path

    def names(self) -> list[str]:
        """Write the table; its splits."""
        table = self.folder / "corpus.tsv"
        table.write_text(HEADER + "".join(row for rows in self.rows.values() for row in rows))
        return [f"{table}:{split}" for split in self.rows]

    def check(self, **options: Any) -> DataReport:
        return check_manifests(self.names(), **options)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


def found(report: DataReport) -> dict[str, list[str]]:
    """Names of the items of each kind; a kind that comes in two places would be seen twice."""
    names: dict[str, list[str]] = {}
    for finding in report.findings:
        names.setdefault(finding.kind, []).extend(item.name for item in finding.items)
    return names


def details(report: DataReport, kind: str) -> list[str]:
    return [item.detail for one in report.findings if one.kind == kind for item in one.items]


def test_clean_data_have_no_findings(corpus: Corpus) -> None:
    report = corpus.check(tokenizer=CharacterTokenizer(LETTERS))
    assert report.findings == ()
    train, test = report.manifests
    assert (train.utterances, train.speakers, test.utterances) == (24, 1, 4)
    assert train.sample_rates == {SAMPLE_RATE: 24} and train.channels == {1: 24}
    assert train.seconds == pytest.approx(24 * len(tones("AB")) / SAMPLE_RATE, abs=0.01)
    assert (report.text_form, report.unit) == ("english", "tokens")


def test_audio_that_cannot_be_used(corpus: Corpus) -> None:
    corpus.add("train", "missing").unlink()
    corpus.add("train", "letters").write_text("this is no audio")
    corpus.add("train", "no-bytes").write_bytes(b"")
    corpus.add("train", "no-samples", samples=np.zeros(0), seconds=0.6)
    corpus.add("train", "none-promised", text="", samples=np.zeros(0))
    wave = tones("AB")
    wave[100] = np.nan
    corpus.add("train", "nan", samples=wave)
    half = corpus.add("train", "half-wav", text="ABCDEF")
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    torn = corpus.add("train", "half-flac", file="half.flac")
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    corpus.add("train", "claims-more", seconds=3.0, text="ABCDEFABCDEF", samples=tones("ABCDEF"))
    report = corpus.check()
    kinds = found(report)
    assert kinds.pop("audio-missing") == ["missing"]
    assert kinds.pop("audio-empty") == ["no-bytes", "no-samples", "none-promised"]
    assert kinds.pop("audio-not-finite") == ["nan"]
    assert kinds.pop("audio-duration") == ["claims-more"]
    assert kinds.pop("audio-unreadable") == ["letters", "half-wav", "half-flac"]
    assert kinds.pop("text-empty") == ["none-promised"]
    kinds.pop("duration-outlier")  # those with a wrong duration
    assert kinds == {}
    assert "1.52 s" in details(report, "audio-duration")[0]
    assert len(report.of(Severity.error)) == 5


def test_audio_that_sounds_wrong(corpus: Corpus) -> None:
    corpus.add("train", "silent", samples=np.zeros(9000))
    corpus.add("train", "silent-too", samples=np.zeros(9000))
    corpus.add("train", "said-to-be-silent", samples=np.zeros(9000), text="")
    corpus.add("train", "clipped", samples=np.clip(4 * tones("AB"), -1, 1))
    peak = tones("AB")
    corpus.add("train", "normalised", samples=peak / np.abs(peak).max())
    corpus.add("test", "telephone", "FACE", samples=tones("FACE")[::2], rate=8000)
    corpus.add("test", "stereo", "DEAD", samples=np.stack([tones("DEAD")] * 2, axis=1))
    report = corpus.check()
    assert found(report) == {
        "audio-silent": ["silent", "silent-too"],
        "audio-clipped": ["clipped"],
        "text-empty": ["said-to-be-silent"],
        "audio-channels": ["stereo"],
        "audio-rates": ["8000 Hz", "16000 Hz"],
    }
    assert report.manifests[1].sample_rates == {8000: 1, SAMPLE_RATE: 5}
    assert report.manifests[1].channels == {1: 5, 2: 1}


def test_texts(corpus: Corpus) -> None:
    corpus.add("test", "empty", text="")
    corpus.add("test", "blank", text="  ")
    corpus.add("test", "dots", text="...")
    corpus.add("test", "digits", text="ROOM 12", samples=tones("ABCD"))
    corpus.add("test", "wide-digits", text="BAD １２", samples=tones("ABC"))
    corpus.add("test", "nobody", text="CAB", speaker="")
    assert found(corpus.check()) == {
        "text-empty": ["empty", "blank"],
        "text-nothing": ["dots"],
        "text-digits": ["digits", "wide-digits"],
        "speaker-unknown": ["nobody"],
    }


def test_mandarin_texts(corpus: Corpus, tmp_path: Path) -> None:
    corpus.rows = {}
    said = ["打开灯", "关上门", "1号门", "……", "打开灯。"]
    for number, text in enumerate(said):
        corpus.add("dev", f"dev-{number}", text, samples=tones("ABC", seed=number))
    report = corpus.check(tokenizer=CharacterTokenizer("打开灯关上"))
    assert report.text_form == "mandarin"
    assert found(report) == {
        "text-digits": ["dev-2"],
        "text-nothing": ["dev-3"],
        "text-unknown": ["门", "1", "号"],
    }
    assert details(report, "text-unknown")[0] == "2 times, first in dev-1"
    as_english = corpus.check(text_form=TEXT_FORMS["english"])
    assert found(as_english)["text-nothing"] == [f"dev-{number}" for number in range(5)]


@pytest.mark.parametrize(("model_type", "unknown"), [("bpe", ["Z"]), ("word", ["DAZED"])])
def test_what_a_sentencepiece_tokenizer_lacks(
    corpus: Corpus, model_type: str, unknown: list[str]
) -> None:
    config = TokenizerConfig.model_validate(
        {"kind": "sentencepiece", "model_type": model_type, "vocab_size": 20}
    )
    every = [text for texts in TEXTS.values() for text in texts]
    tokenizer = train_tokenizer(every, config)
    corpus.add("test", "dazed", "BDF DAZED", samples=tones("ABCDEF"))
    assert found(corpus.check(tokenizer=tokenizer)) == {"text-unknown": unknown}


def test_more_text_than_frames(corpus: Corpus) -> None:
    """0.4 s are 10 frames at 25 Hz: enough for 10 letters, of which no two neighbours are equal."""
    for name, text in (("fits", "ABCDEFABCD"), ("repeats", "ABCDEFABCC"), ("long", "ABCDEFABCDE")):
        samples = 0.1 * np.random.default_rng(crc32(name.encode())).normal(size=6400)
        corpus.add("test", name, text, samples=samples)
    tokenizer = CharacterTokenizer(LETTERS)
    report = corpus.check(tokenizer=tokenizer)
    assert found(report) == {"text-too-long": ["repeats", "long"]}
    assert details(report, "text-too-long") == ["needs 11 frames, has 10"] * 2
    twice = corpus.check(tokenizer=tokenizer, subsampling_factor=8)
    assert found(twice) == {"text-too-long": ["fits", "repeats", "long"]}


def test_frames_that_ctc_needs() -> None:
    assert [frames_needed(text) for text in ("", "A", "AB", "AA", "AAA", "ABA")] == [
        0, 1, 2, 3, 5, 3
    ]  # fmt: skip


def test_outliers_of_duration_and_rate(corpus: Corpus) -> None:
    corpus.add("train", "long", "ABCDEF" * 5)
    slow = np.concatenate([tones("AB"), np.zeros(5000)])
    corpus.add("train", "slow", "A", samples=slow)
    corpus.add("test", "long-of-few", "ABCDEF" * 4)
    report = corpus.check()
    assert found(report) == {"duration-outlier": ["long"], "rate-outlier": ["slow"]}
    assert details(report, "duration-outlier") == ["7.28 s (median 0.56)"]


def test_rule_of_outliers() -> None:
    generator = np.random.default_rng(0)
    usual = np.exp(generator.normal(1.0, 0.2, size=500))
    assert outliers([*usual, 30.0, 0.2]) == [500, 501]
    assert outliers([2.0] * 50 + [3.9, 4.1, 1.1, 0.9]) == [51, 53], "less than a factor of 2"
    assert outliers([1.0] * (MIN_VALUES - 2) + [100.0]) == []
    assert outliers([1.0] * (MIN_VALUES - 1) + [100.0]) == [MIN_VALUES - 1]
    assert outliers([]) == []


def test_what_comes_twice(corpus: Corpus) -> None:
    wave, _ = soundfile.read(corpus.folder / "train-train-003.wav")
    corpus.add("train", "again", "DE", samples=wave)
    corpus.add("train", "again-otherwise", "ED", samples=wave, file="otherwise.flac")
    corpus.add("test", "leaked", "FED", samples=wave, file="leaked.flac")
    corpus.add("test", "train-005", "DEAF")
    corpus.add("test", "known-voice", "BEAD", speaker="speaker-train")
    corpus.add("test", "known-sentence", "ef!", samples=tones("EF"))
    report = corpus.check()
    assert found(report) == {
        "split-audio": ["leaked"],
        "duplicate-audio": ["again", "again-otherwise"],
        "split-utterance": ["train-005"],
        "split-speaker": ["speaker-train"],
        "split-sentence": ["known-sentence"],
    }
    same, otherwise = details(report, "duplicate-audio")
    assert "train-003" in same and "train-003" in otherwise and same != otherwise
    assert details(report, "split-speaker") == ["26 and 1 utterances"]
    assert details(report, "split-sentence") == ["same as train-004: 'ef!'"]
    severities = {finding.kind: finding.severity.value for finding in report.findings}
    assert severities["split-audio"] == "error"
    assert severities["split-speaker"] == "warning"
    assert severities["split-sentence"] == "information"
    (leak,) = report.of(Severity.error)
    assert leak.manifests == tuple(corpus.names())


def test_each_pair_of_splits_is_compared(corpus: Corpus) -> None:
    wave = tones("FEED")
    for split in ("train", "test", "dev"):
        corpus.add(split, f"{split}-last", "FEED", samples=wave)
    pairs = [one.manifests for one in corpus.check().findings if one.kind == "split-audio"]
    train, test, dev = corpus.names()
    assert pairs == [(train, test), (train, dev), (test, dev)]


def test_processes_find_the_same(corpus: Corpus) -> None:
    corpus.add("train", "letters").write_text("this is no audio")
    corpus.add("train", "silent", samples=np.zeros(9000))
    alone = corpus.check()
    assert {"audio-unreadable", "audio-silent"} <= set(found(alone))
    assert corpus.check(jobs=2) == alone


def test_lhotse_cuts_are_checked_too(corpus: Corpus, tmp_path: Path) -> None:
    corpus.add("test", "digits", "A 4", samples=tones("AB"))
    train, test = corpus.names()
    cuts = tmp_path / "test.jsonl.gz"
    save_manifest(load_manifest(test), cuts)
    report = check_manifests([train, str(cuts)])
    assert [summary.manifest for summary in report.manifests] == [train, str(cuts)]
    assert found(report) == {"text-digits": ["digits"]}


def test_progress_counts_every_utterance(corpus: Corpus) -> None:
    told: list[tuple[int, int]] = []
    corpus.check(progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 28) for done in range(1, 29)]


def test_manifest_that_is_not_there(tmp_path: Path) -> None:
    with refused(ManifestError, f"{tmp_path / 'gone.tsv'}: "):
        check_manifests([str(tmp_path / "gone.tsv")])


def keys(items: Iterable[dict[str, Any]]) -> set[str]:
    return {key for item in items for key in item}


def test_json_for_programs(corpus: Corpus) -> None:
    corpus.add("train", "missing").unlink()
    corpus.add("test", "known-voice", "BEAD", speaker="speaker-train")
    written = json.loads(json.dumps(as_json(corpus.check())))
    assert set(written) == {
        "text_form", "unit", "subsampling_factor", "manifests", "counts", "findings"
    }  # fmt: skip
    assert keys(written["manifests"]) == {
        "manifest", "utterances", "seconds", "speakers", "sample_rates", "channels"
    }  # fmt: skip
    assert written["counts"] == {"error": 1, "warning": 1, "information": 0}
    first, second = written["findings"]
    assert first == {
        "kind": "audio-missing",
        "severity": "error",
        "title": KINDS["audio-missing"].title,
        "advice": KINDS["audio-missing"].advice,
        "manifests": corpus.names()[:1],
        "count": 1,
        "items": [{"name": "missing", "detail": first["items"][0]["detail"]}],
    }
    assert (second["kind"], second["count"]) == ("split-speaker", 1)
    assert second["manifests"] == corpus.names()
    assert written["manifests"][0]["sample_rates"] == {"16000": 24}


def check_data(*arguments: object) -> Ran:
    return keyframe("check-data", *arguments)


def test_command_on_clean_data_and_on_warnings(corpus: Corpus) -> None:
    clean = check_data(*corpus.names())
    assert (clean.exit_code, clean.stderr) == (0, "")
    assert "corpus.tsv:train" in clean.output and str(corpus.folder) not in clean.output
    corpus.add("test", "odd", "[red]BEAD", samples=tones("BEAD"), speaker="speaker-train")
    warned = check_data(*corpus.names(), "--jobs", 2)
    assert (warned.exit_code, warned.stderr) == (0, "")
    title = KINDS["split-speaker"].title
    assert title in warned.output and title not in clean.output


def test_command_on_errors(corpus: Corpus, tmp_path: Path) -> None:
    shutil.copy(corpus.folder / "train-train-000.wav", corpus.add("test", "copy", "FE"))
    (tmp_path / "tokenizer.txt").write_bytes(CharacterTokenizer("ABCDE").content())
    options = ["--tokenizer", tmp_path, "--language", "english"]
    target = tmp_path / "new" / "report.json"
    result = check_data(*corpus.names(), *options, "--json", target)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    title = KINDS["split-audio"].title
    assert line.startswith("keyframe: error: ") and f"{title} (1)" in line
    assert title in result.stdout and "copy" in result.stdout
    written = json.loads(target.read_text())
    assert {one["kind"] for one in written["findings"]} == {"split-audio", "text-unknown"}
    assert [path.name for path in target.parent.iterdir()] == ["report.json"]
    shown = check_data(*corpus.names(), *options, "--json", "-")
    assert (shown.exit_code, json.loads(shown.stdout)) == (1, written)


@pytest.mark.parametrize("arguments", [[], ["a.tsv", "a.tsv"], ["a.tsv", "--language", "latin"]])
def test_wrong_usage(arguments: list[str]) -> None:
    assert check_data(*arguments).usage_error


def test_mistakes_are_one_line(corpus: Corpus, tmp_path: Path) -> None:
    assert "gone.tsv: " in check_data("gone.tsv").error
    assert f"{tmp_path}: " in check_data(*corpus.names(), "--tokenizer", tmp_path).error


@pytest.mark.corpus
def test_an4_has_known_sentences_but_no_known_speakers(corpus_root: Path) -> None:
    table = corpus_root / "an4" / "manifest.tsv"
    report = check_manifests([f"{table}:train", f"{table}:test"])
    assert {kind: len(names) for kind, names in found(report).items()} == {"split-sentence": 26}
    assert report.manifests[1].speakers == 10


@pytest.mark.corpus
def test_aishell_sample_has_its_speakers_in_every_split(corpus_root: Path) -> None:
    table = corpus_root / "aishell_sample" / "manifest.tsv"
    report = check_manifests([f"{table}:dev", f"{table}:test"])
    assert report.text_form == "mandarin"
    assert found(report) == {"split-speaker": ["S0150", "S0252"]}
