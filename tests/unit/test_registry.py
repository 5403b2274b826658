"""`prepare` from Python and from the command line: what a corpus takes, and what it leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.corpus_trees import lines, recording
from fixtures.errors import refused
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.data.registry import CORPORA, NAMES, PrepareOptions, prepare
from keyframe_asr.errors import ManifestError, OptionError
from keyframe_asr.text.tokenizer import load_tokenizer

ENGLISH = PrepareOptions(language="english", units="characters")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A table of six utterances, two of them for testing."""
    rows = ["path\ttext\tspeaker\tsplit"]
    for number, (words, name, split) in enumerate(
        (("go", "ann", "train"), ("enter  six", "ann", "train"), ("stop", "bob", "train"),
         ("six", "bob", "train"), ("go", "cid", "test"), ("enter", "cid", "test"))
    ):  # fmt: skip
        recording(tmp_path / "table" / f"{number}.wav", 0.1 + 0.01 * number)
        rows.append(f"{number}.wav\t{words}\t{name}\t{split}")
    lines(tmp_path / "table" / "manifest.tsv", *rows)
    return tmp_path / "table"


def test_prepare_from_python(source: Path, tmp_path: Path) -> None:
    told: list[str] = []
    options = PrepareOptions("english", dev_speakers=("bob",), units="characters")
    prepared = keyframe_asr.prepare(
        "tsv", source, tmp_path / "out", options, lambda what, done, total: told.append(what)
    )
    assert {split: path.name for split, path in prepared.manifests.items()} == {
        "train": "train.jsonl.gz",
        "dev": "dev.jsonl.gz",
        "test": "test.jsonl.gz",
    }
    cuts = {split: list(load_manifest(path)) for split, path in prepared.manifests.items()}
    assert [text(cut) for cut in cuts["train"]] == ["GO", "ENTER SIX"]
    assert [text(cut) for cut in cuts["dev"]] == ["STOP", "SIX"]
    assert [cut.recording.num_samples for cut in cuts["test"]] == [2240, 2400]
    assert all(audio_path(cut).is_absolute() for cut in cuts["dev"])
    assert prepared.tokenizer == tmp_path / "out"
    assert load_tokenizer(prepared.tokenizer).encode("GO")
    assert prepared.summary.splits["dev"].utterances == 2
    assert not prepared.was_there and len(set(told)) == 2


def test_twice_does_nothing_and_a_change_is_seen(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = prepare("tsv", str(source), str(out), ENGLISH)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    again = prepare("tsv", source, out, ENGLISH)
    assert again.was_there and again.summary == first.summary
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == stamps
    table = source / "manifest.tsv"
    table.write_text(table.read_text().replace("\tenter\t", "\tstop\t"))
    assert not prepare("tsv", source, out, replace(ENGLISH, overwrite=True)).was_there
    assert [text(cut) for cut in load_manifest(out / "test.jsonl.gz")] == ["GO", "STOP"]


def test_a_synthetic_corpus_from_python(tmp_path: Path) -> None:
    lines(tmp_path / "text.txt", "A bird in the hand.", "One bird")
    prepared = prepare("synthetic-english", tmp_path / "text.txt", tmp_path / "out")
    assert prepared.tokenizer == tmp_path / "out" and not prepared.was_there
    assert prepared.summary.splits["train"].utterances == 2
    assert prepare("synthetic-english", tmp_path / "text.txt", tmp_path / "out").was_there


@pytest.mark.parametrize(
    ("corpus", "options", "option"),
    [
        ("aishell9", PrepareOptions(), "corpus"),
        ("an4", PrepareOptions(language="english"), "language"),
        ("an4", PrepareOptions(download=True), "download"),
        ("aishell1", PrepareOptions(hours=3), "hours"),
        ("tsv", PrepareOptions(), "language"),
        ("tsv", PrepareOptions(language="french"), "language"),
        ("librispeech", PrepareOptions(dev_speakers=("ann",)), "dev_speakers"),
        ("synthetic-english", PrepareOptions(digits="keep"), "digits"),
        ("synthetic-english", PrepareOptions(allow_incomplete=True), "allow_incomplete"),
    ],
)
def test_options_that_do_not_fit(
    source: Path, tmp_path: Path, corpus: str, options: PrepareOptions, option: str
) -> None:
    (source / "manifest.tsv").rename(source / "other.tsv")
    with pytest.raises(OptionError) as error:
        prepare(corpus, source, tmp_path / "out", options)
    assert error.value.option == option
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("units", "bpee"),
        ("digits", "drop"),
        ("vocab_size", 0),
        ("hours", -1.0),
        ("parts", "train-clean-5"),
        ("dev_speakers", "ann"),
    ],
)
def test_bad_values_from_python_are_named(option: str, value: object) -> None:
    with pytest.raises(OptionError) as error:
        PrepareOptions(**{option: value})
    assert error.value.option == option


def test_a_tokenizer_brings_its_form_and_its_size() -> None:
    for option, value in (("text_form", "generic"), ("units", "bpe"), ("vocab_size", 50)):
        with pytest.raises(OptionError) as error:
            PrepareOptions(tokenizer="an4", **{option: value})  # type: ignore[arg-type]
        assert error.value.option == option


def test_source_and_out(source: Path, tmp_path: Path) -> None:
    for given, out, option in ((None, tmp_path / "out", "source"), (source, source, "out")):
        with pytest.raises(OptionError) as error:
            prepare("tsv", given, out, ENGLISH)
        assert error.value.option == option


@pytest.mark.parametrize(
    ("corpus", "language"),
    [
        ("aishell_sample", "zh"),
        ("audio_cmn", "zh"),
        ("an4", "en"),
        ("speechocean762", "en"),
    ],
)
def test_what_is_a_table_now_says_so(
    source: Path, tmp_path: Path, corpus: str, language: str
) -> None:
    command = f"keyframe prepare tsv --source {source} --out {tmp_path / 'o'} --language {language}"
    with refused(ManifestError, corpus, command):
        prepare(corpus, source, tmp_path / "o")
    ran = keyframe("prepare", corpus, "--source", source, "--out", tmp_path / "o")
    assert command in ran.error


def test_command_line(source: Path, tmp_path: Path) -> None:
    options = ("--source", source, "--out", tmp_path / "out", "--units", "characters")
    options += ("--language", "english", "--dev-speakers", "bob")
    first = keyframe("prepare", "tsv", *options)
    assert first.exit_code == 0
    assert "dev 2 1 0.00" in first.output
    assert first.stderr == ""
    manifest = tmp_path / "out" / "train.jsonl.gz"
    made = manifest.stat().st_mtime_ns
    again = keyframe("prepare", "tsv", *options)
    assert again.exit_code == 0
    assert again.stdout == first.stdout and str(tmp_path / "out") in again.stderr
    assert manifest.stat().st_mtime_ns == made, "it is prepared already"


def test_wrong_usage_of_the_command_line(tmp_path: Path) -> None:
    out = ("--out", tmp_path)
    for options, named in (
        (("aishell9", *out), ("CORPUS", "'aishell9'", "an4, ")),
        (("an4", *out), ("an4", "--source")),
        (("an4", "--source", tmp_path, *out, "--language", "english"), ("an4", "--language")),
        (("thchs30", "--source", tmp_path, *out, "--part", "x"), ("thchs30", "--part")),
        (("synthetic-mandarin", *out, "--digits", "keep"), ("synthetic-mandarin", "--digits")),
        (("an4", *out, "--tokenizer", "an4", "--units", "bpe"), ("--units",)),
    ):
        said = keyframe("prepare", *options).usage_error
        assert all(part in said for part in named), said
    assert not list(tmp_path.iterdir())


def test_every_corpus_has_its_reader() -> None:
    import importlib
    import inspect

    for name, corpus in CORPORA.items():
        module = importlib.import_module(f"keyframe_asr.data.corpora.{corpus.module}")
        taken = inspect.signature(getattr(module, corpus.reader)).parameters
        assert {*corpus.options} - {"dev_speakers", "dev_share"} <= {*taken}, name
        assert {*corpus.required} <= {*corpus.options}, name
    assert len(set(NAMES)) == len(NAMES)
