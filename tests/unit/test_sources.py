"""Sources of recordings: the layouts that people have, what is recognised, what is left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fixtures.command_line import keyframe
from fixtures.corpus_trees import lines, recording
from fixtures.errors import refused
from keyframe_asr.data.manifest import (
    audio_path,
    load_manifest,
    make_cut,
    save_manifest,
    speaker,
    text,
)
from keyframe_asr.data.registry import PrepareOptions, prepare
from keyframe_asr.data.sources import Source, load_source
from keyframe_asr.errors import KeyframeWarning, ManifestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a", "b", "c"), start=1):
        recording(tmp_path / "wavs" / f"{name}.wav", 0.1 * number)
    return tmp_path


def told(source: Source) -> list[tuple[str, str, str]]:
    return [(cut.id, speaker(cut), text(cut)) for cut in source.cuts]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("audio", "sentence"),
        ("File", "Transcript"),
        ("wav", "text"),
        ("audio_filepath", "text"),
        ("wav_filename", "transcription"),
        ("file name", "utterance"),
        ("Audio-Path", "TEXT"),
    ],
)
def test_columns_are_recognised_by_name(folder: Path, path: str, said: str) -> None:
    table = lines(folder / "t.csv", f"{said},{path},age", "yes,wavs/a.wav,7", "no,wavs/b.wav,8")
    source = load_source(table)
    assert told(source) == [("wavs-a", "", "yes"), ("wavs-b", "", "no")]
    assert source.columns == {"path": path, "text": said}
    assert [cut.duration for cut in source.cuts] == [0.1, 0.2]


def test_the_usual_name_wins_and_others_are_ambiguous(folder: Path) -> None:
    table = lines(folder / "t.csv", "path,file,text,sentence", "wavs/a.wav,x,yes,no")
    assert told(load_source(table)) == [("wavs-a", "", "yes")]
    with refused(ManifestError, "audio", "file", " path"):
        load_source(lines(folder / "u.csv", "audio,file,text", "wavs/a.wav,x,yes"))
    with refused(ManifestError, " text (", "'words'"):
        load_source(lines(folder / "v.csv", "path,words", "wavs/a.wav,yes"))


@pytest.mark.parametrize(
    ("name", "separator"),
    [("t.csv", ";"), ("t.csv", "\t"), ("t.csv", "|"), ("t.tsv", ","), ("t.tsv", "\t")],
)
@pytest.mark.parametrize(("end", "mark"), [("\n", ""), ("\r\n", "\ufeff")])
def test_any_separator_line_end_and_byte_order_mark(
    folder: Path, name: str, separator: str, end: str, mark: str
) -> None:
    rows = [("client_id", "audio", "sentence"), ("ann", "wavs/a.wav", "yes")]
    (folder / name).write_bytes(
        (mark + "".join(separator.join(row) + end for row in rows)).encode()
    )
    assert told(load_source(folder / name)) == [("wavs-a", "ann", "yes")]


def test_paths_are_found_beside_the_table(folder: Path) -> None:
    absolute = folder / "wavs" / "c.wav"
    table = lines(folder / "t.csv", "path,text", "a.wav,A", r"wavs\b.wav,B", f"{absolute},C")
    source = load_source(table)
    assert [audio_path(cut).name for cut in source.cuts] == ["a.wav", "b.wav", "c.wav"]
    assert [cut.id for cut in source.cuts][:2] == ["a", "wavs-b"]


def test_what_cannot_be_used_is_left_out_and_named(folder: Path) -> None:
    (folder / "wavs" / "broken.wav").write_bytes(b"RIFF and more")
    table = lines(
        folder / "t.csv",
        "path,text",
        *("wavs/a.wav,A", "wavs/a.wav,A", "wavs/b.wav,B", "wavs/b.wav,OTHER", "wavs/c.wav,C"),
        *("wavs/broken.wav,D", "wavs/gone.wav,E"),
    )
    source = load_source(table)
    assert told(source) == [("wavs-a", "", "A"), ("wavs-c", "", "C")]
    names = [line.partition(": ")[0] for line in source.skipped]
    assert names == ["wavs-a", "wavs-b", "wavs-broken", "wavs-gone"]
    assert len(source.line.splitlines()) == 1
    with refused(ManifestError, "gone.csv: ", 2):
        load_source(lines(folder / "gone.csv", "path,text", "x.wav,A", "y.wav,B"))


def test_a_manifest_keeps_recordings_that_cannot_be_opened(folder: Path) -> None:
    """Whoever reads them gets an error each, and goes on."""
    table = lines(folder / "t.csv", "path,text", "wavs/a.wav,A", "wavs/gone.wav,E")
    assert [(cut.id, cut.duration) for cut in load_manifest(table)] == [
        ("wavs-a", 0.1),
        ("wavs-gone", 0.0),
    ]
    with pytest.warns(KeyframeWarning):
        load_manifest(lines(folder / "u.csv", "path,text", "a.wav,A", "a.wav,A"))


def test_lines_of_json(folder: Path) -> None:
    """As NeMo writes them: with times they are parts; audio may be an object."""
    rows = [
        {
            "audio_filepath": str(folder / "wavs" / "c.wav"),
            "offset": 0.1,
            "duration": 0.1,
            "text": "A",
        },
        {"audio_filepath": {"path": "wavs/a.wav"}, "duration": 0.1, "text": "B"},
    ]
    for name in ("m.json", "m.jsonl"):
        source = load_source(lines(folder / name, *map(json.dumps, rows)))
        first, second = source.cuts
        assert (first.start, first.duration, text(first)) == (0.1, 0.1, "A")
        assert (second.start, second.id, text(second)) == (0.0, "wavs-a", "B")
    with refused(ManifestError, "bad.json:2: "):
        load_source(lines(folder / "bad.json", json.dumps(rows[1]), "{half"))


def test_pairs_of_recordings_and_texts(folder: Path) -> None:
    for name, who in (("a", "ann"), ("b", "ann"), ("c", "bob")):
        (folder / "pairs" / who).mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "wavs" / f"{name}.wav", folder / "pairs" / who / f"{name}.WAV")
    lines(folder / "pairs" / "ann" / "a.txt", "Yes we", " can.")
    lines(folder / "pairs" / "bob" / "c.original.txt", "in 1999")
    lines(folder / "pairs" / "bob" / "c.normalized.txt", "in nineteen ninety nine")
    lines(folder / "pairs" / "bob" / "d.lab", "lost")
    source = load_source(folder / "pairs")
    assert told(source) == [
        ("ann-a", "ann", "Yes we can."),
        ("bob-c", "bob", "in nineteen ninety nine"),
    ]
    assert [line.partition(": ")[0] for line in source.skipped] == ["ann/b", "bob/d"]
    assert [cut.id for cut in source.cuts] == ["ann-a", "bob-c"]


@pytest.mark.parametrize(
    ("audio", "texts"), [((), ()), (("a",), ()), ((), ("a", "b")), (("a",), ("b",))]
)
def test_folders_without_pairs(
    tmp_path: Path, audio: tuple[str, ...], texts: tuple[str, ...]
) -> None:
    for name in audio:
        recording(tmp_path / f"{name}.wav")
    for name in texts:
        lines(tmp_path / f"{name}.txt", "yes")
    with refused(ManifestError, f"{tmp_path}: "):
        load_source(tmp_path)


def test_kaldi_folders(folder: Path) -> None:
    data = folder / "data"
    lines(data / "wav.scp", f"c {folder}/wavs/c.wav")
    lines(data / "text", "u1 YES", "u2 NO", "u3 GONE")
    lines(data / "segments", "u1 c 0.0 0.1", "u2 c 0.1 0.3")
    lines(data / "utt2spk", "u1 ann", "u2 bob")
    source = load_source(data)
    assert told(source) == [("u1", "ann", "YES"), ("u2", "bob", "NO")]
    assert [line.partition(": ")[0] for line in source.skipped] == ["u3"]
    with pytest.warns(KeyframeWarning):
        assert [cut.id for cut in load_manifest(data)] == ["u1", "u2"]


def test_the_layout_of_lj_speech(folder: Path) -> None:
    lines(folder / "metadata.csv", "a|in 1999|in nineteen ninety nine", "b|no|no")
    assert told(load_source(folder)) == [("a", "", "in nineteen ninety nine"), ("b", "", "no")]


def test_folders_of_hugging_face_and_splits(folder: Path) -> None:
    for split, name in (("train", "a"), ("test", "b")):
        shutil.copytree(folder / "wavs", folder / "hf" / split)
        lines(folder / "hf" / split / "metadata.csv", "file_name,transcription", f"{name}.wav,x")
    source = load_source(folder / "hf")
    assert {name: [cut.id for cut in cuts] for name, cuts in source.splits.items()} == {
        "train": ["a"],
        "test": ["b"],
    }
    with refused(ManifestError, folder / "hf" / "test"):
        load_manifest(folder / "hf")


def test_splits_of_a_table(folder: Path) -> None:
    table = lines(
        folder / "t.csv",
        "path,text,split",
        *("wavs/a.wav,A,train", "wavs/b.wav,B,Valid", "wavs/c.wav,C,unused"),
    )
    source = load_source(table)
    assert {name: [cut.id for cut in cuts] for name, cuts in source.splits.items()} == {
        "train": ["wavs-a"],
        "dev": ["wavs-b"],
    }
    assert [line.partition(": ")[0] for line in source.skipped] == ["wavs-c"]
    assert told(load_source(f"{table}:unused")) == [("wavs-c", "", "C")]


def test_cuts_whose_recordings_differ_are_left_out(folder: Path) -> None:
    good = make_cut("good", "", "A", folder / "wavs" / "a.wav", 1600)
    longer = make_cut("longer", "", "B", folder / "wavs" / "b.wav", 16000)
    gone = make_cut("gone", "", "C", folder / "wavs" / "x.wav", 1600)
    save_manifest([good, longer, gone, good.perturb_speed(0.9)], folder / "cuts.jsonl.gz")
    source = load_source(folder / "cuts.jsonl.gz")
    assert list(source.cuts) == [good]
    assert [line.partition(": ")[0] for line in source.skipped] == ["longer", "gone", "good_sp0.9"]


def test_a_prepared_folder_keeps_its_splits(folder: Path) -> None:
    table = lines(folder / "t.csv", "path,text", *(f"wavs/{one}.wav,{one}{one}" for one in "abc"))
    options = PrepareOptions(language="en", units="characters")
    out = prepare("auto", table, folder / "out", options).manifests["train"].parent
    source = load_source(out)
    assert list(source.splits) == ["train"] and len(source.cuts) == 3


def test_check_data_takes_any_source_and_says_what_a_model_leaves_out(folder: Path) -> None:
    table = lines(
        folder / "t.csv",
        "audio,sentence",
        *("wavs/b.wav,yes", "wavs/c.wav,room 42", "wavs/gone.wav,no", "wavs/b.wav,yes"),
    )
    report = folder / "report.json"
    ran = keyframe("check-data", table, "--tokenizer", "an4-small", "--json", report)
    assert ran.exit_code == 1
    found = {one["kind"]: one for one in json.loads(report.read_text("utf-8"))["findings"]}
    assert [item["name"] for item in found["left-out"]["items"]] == ["wavs-c", "wavs-gone"]
    assert [item["name"] for item in found["list-unusable"]["items"]] == ["wavs-b"]
    assert "audio-missing" in found and "text-too-long" not in found


def test_evaluate_takes_a_table_of_paths_and_texts(folder: Path) -> None:
    recording(folder / "wavs" / "long.wav", 1.0)
    table = lines(folder / "t.csv", "path,text", "wavs/long.wav,yes", "wavs/gone.wav,no")
    report = folder / "report.json"
    ran = keyframe("evaluate", "an4-small", table, "--greedy", "--json", report)
    assert ran.exit_code == 1 and "gone.wav" in ran.stderr
    assert json.loads(report.read_text("utf-8"))["utterances"] == 1
