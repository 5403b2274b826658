"""Tables and lhotse cuts as corpora of one's own."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.command_line import Ran, keyframe
from fixtures.corpus_trees import counts
from fixtures.errors import refused
from keyframe_asr.data.corpora import an4, speechocean762, tables
from keyframe_asr.data.corpora.listing import hold_out_speakers
from keyframe_asr.data.corpora.synthetic.sentences import ENGLISH_VOCABULARY
from keyframe_asr.data.manifest import load_manifest, make_cut, save_manifest, speaker, text
from keyframe_asr.errors import ManifestError
from keyframe_asr.timing import SAMPLE_RATE


def sound(path: Path, seconds: float = 0.6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(len(str(path))).normal(size=round(seconds * SAMPLE_RATE))
    soundfile.write(path, samples, SAMPLE_RATE)
    return path


def prepare(*arguments: str | Path) -> Ran:
    return keyframe("prepare", *arguments)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("a/1.wav", "b/1.wav", "b/2.wav"):
        sound(tmp_path / name)
    return tmp_path


def test_a_csv_as_a_spreadsheet_writes_it(source: Path) -> None:
    table = source / "mine.csv"
    table.write_text(
        "text,path,split,age\r\n"
        '"He said ""go"", then left",a/1.wav,train,7\r\n'
        'two\r\n,"b/1.wav",valid,\r\n'.replace("two\r\n,", '"two\r\nlines",')
        + "no,b/2.wav,test,\r\n",
        encoding="utf-8-sig",
        newline="",
    )
    listing = tables.read_table(table, "en")
    assert listing.corpus == "csv"
    found = {
        split: [(u.id, u.speaker, u.text, u.audio) for u in utterances]
        for split, utterances in listing.splits.items()
    }
    assert found == {
        "train": [("a-1", "", 'He said "go", then left', source / "a" / "1.wav")],
        "dev": [("b-1", "", "two\nlines", source / "b" / "1.wav")],
        "test": [("b-2", "", "no", source / "b" / "2.wav")],
    }


def test_tabs_leave_quotes_alone(source: Path) -> None:
    (source / "manifest.tsv").write_text(
        'path\ttext\tspeaker\tutt_id\tsplit\na/1.wav\t"yes, she said\tann\tu1\ttrain\n'
    )
    (one,) = tables.read_table(source, "en").splits["train"]
    assert (one.id, one.speaker, one.text) == ("u1", "ann", '"yes, she said')


def test_a_table_for_each_split(source: Path) -> None:
    (source / "train.tsv").write_text("path\ttext\na/1.wav\tyes\n")
    (source / "test.csv").write_text("path,text\nb/1.wav,no\n")
    listing = tables.read_table(source, "en")
    assert {split: [u.id for u in one] for split, one in listing.splits.items()} == {
        "train": ["a-1"],
        "test": ["b-1"],
    }
    (source / "more.tsv").write_text("path\ttext\nb/2.wav\tno\n")
    listing = tables.read_table(source, "en", dev="more.tsv")
    assert [u.id for u in listing.splits["dev"]] == ["b-2"]


def test_bad_tables(source: Path) -> None:
    with refused(ManifestError, f"{source}: ", "train.tsv", "train.csv"):
        tables.read_table(source, "en")
    table = source / "manifest.csv"
    for content, named in (
        ("path,words\na.wav,yes\n", (f"{table}: ", " text (", "'words'")),
        ("path,text,split\na.wav,yes,train\nb.wav,no,eval\n", (f"{table}:3: ", "'eval'", "dev")),
        ("path,text,split\n,yes,train\n", (f"{table}:2: ", "path")),
        ('path,text,split\na.wav,"yes,train\n', (f"{table}:2: ",)),
    ):
        table.write_text(content)
        with refused(ManifestError, *named):
            tables.read_table(source, "en")
    with refused(ManifestError, table, "dev"):
        tables.read_table(table, "en", dev="other.csv")


def test_command_line(source: Path) -> None:
    (source / "manifest.csv").write_text(
        "path,text,split\na/1.wav,yes we can,train\nb/1.wav,no we can,test\n"
    )
    out = source / "out"
    options = ("--source", source, "--out", out)
    assert "--language" in prepare("csv", *options).usage_error and not out.exists()
    options += ("--language", "english", "--units", "bpe", "--vocab-size", "14")
    done = prepare("csv", *options)
    assert done.exit_code == 0, done.output
    assert "test 1 0 0.00" in done.output and "dev 0 0 0.00" in done.output
    assert [text(cut) for cut in load_manifest(out / "train.jsonl.gz")] == ["YES WE CAN"]
    for refused_option in (
        ("--hours", "3"),
        ("--units", "words"),
        ("--download",),
        ("--part", "clean"),
        ("--digits", "spell"),
    ):
        assert refused_option[0] in prepare("csv", *options, *refused_option).usage_error
    held_out = prepare("csv", *options, "--dev-speakers", "ann,bob")
    assert held_out.exit_code == 1 and "ann" in held_out.stderr
    said = prepare("csv", *options, "--language", "french").usage_error
    assert "'french'" in said


def test_lhotse_cuts(source: Path) -> None:
    path, rate = source / "a" / "1.wav", SAMPLE_RATE
    whole = make_cut("whole", "ann", "yes", path, 9600)
    part = make_cut("part", "bob", "no", path, 9600, rate, (1600, 4800))
    save_manifest([whole, part, whole.perturb_speed(0.9)], source / "cuts_train.jsonl.gz")
    save_manifest([make_cut("t", "", "no", path, 9600)], source / "test.jsonl")
    listing = tables.read_cuts(source, "en")
    assert [(u.id, u.speaker, u.start, u.end) for u in listing.splits["train"]] == [
        ("whole", "ann", 0.0, None),
        ("part", "bob", 0.1, pytest.approx(0.3)),
    ]
    assert [problem.partition(": ")[0] for problem in listing.problems] == ["whole_sp0.9"]
    options = ("--source", source, "--out", source / "out", "--language", "english")
    options += ("--units", "characters")
    assert prepare("lhotse", *options).exit_code == 1
    assert prepare("lhotse", *options, "--allow-incomplete").exit_code == 0
    found = load_manifest(source / "out" / "train.jsonl.gz")
    assert [(cut.id, speaker(cut), cut.start, cut.duration) for cut in found] == [
        ("whole", "ann", 0.0, 0.6),
        ("part", "bob", 0.1, 0.2),
    ]
    with refused(ManifestError, source / "a", ".jsonl"):
        tables.read_cuts(source / "a", "en")


def test_speakers_are_held_out(source: Path) -> None:
    rows = ["path\ttext\tspeaker\tsplit", "a/1.wav\tyes\tann\ttrain", "b/1.wav\tno\tbob\ttrain"]
    (source / "manifest.tsv").write_text("\n".join([*rows, "b/2.wav\tno\tcid\ttest"]) + "\n")
    listing = hold_out_speakers(tables.read_table(source, "en"), {"bob"})
    held_out = {split: [one.speaker for one in rows] for split, rows in listing.splits.items()}
    assert held_out == {"train": ["ann"], "dev": ["bob"], "test": ["cid"]}
    assert "bob" in listing.notes[0]
    with refused(ManifestError, "tsv"):
        hold_out_speakers(listing, {"ann"})
    with refused(ManifestError, "'cid'", "ann bob"):
        hold_out_speakers(tables.read_table(source, "en"), {"cid"})


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["an4", "aishell_sample", "audio_cmn", "speechocean762"])
def test_real_tables(name: str, corpus_root: Path) -> None:
    source = corpus_root / name
    if not source.is_dir():
        pytest.skip(f"no {name} in {source}")
    with (source / "manifest.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    language = "zh" if name in ("aishell_sample", "audio_cmn") else "en"
    listing = tables.read_table(source, language)
    assert counts(listing) == dict(Counter(row["split"] for row in rows))
    utterances = [one for split in listing.splits.values() for one in split]
    assert {one.id: (one.speaker, one.text) for one in utterances} == {
        row["utt_id"]: (row["speaker"], row["text"]) for row in rows
    }
    assert all(one.audio.is_file() for one in utterances)
    speakers = {split: {one.speaker for one in ones} for split, ones in listing.splits.items()}
    if name == "speechocean762":
        # the same speakers as are taken from the corpus in its own layout
        training = sorted(speakers["train"] | speakers["dev"])
        assert speakers["dev"] == set(training[:: speechocean762.DEV_EVERY])
        assert not speakers["test"] & set(training)
    if name == "an4":
        assert not speakers["test"] & speakers["train"]
        assert an4._dev_speakers(speakers["train"], seed=1) == set(AN4_DEV_SPEAKERS)
        spoken = {word for one in utterances for word in one.text.split()}
        assert spoken <= ENGLISH_VOCABULARY


AN4_DEV_SPEAKERS = ("fclc", "ffmm", "ftal", "mcsc", "mewl", "mmaf", "mmdg", "mtcv")
"""As `recipes/an4_small.yaml` names them for the table, and as the published corpus draws them."""
