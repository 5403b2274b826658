"""`keyframe align` of manifests and of long recordings, in every format."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tgt
from lhotse import CutSet

from fixtures.command_line import keyframe
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser
from keyframe_asr.data.manifest import load_manifest, make_cut, save_manifest
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.timing import SAMPLE_RATE as RATE

SAID = "ONE TWO THREE FOUR FIVE"
MODEL = "an4-small"
TIMES = 14
"""How often it is said in the long recording, with a second of silence after each."""


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return load(MODEL, "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings and a manifest: right, wrong and unspellable texts, a part, none, and a long."""
    here = tmp_path_factory.mktemp("corpus")
    speech = SpeechSynthesiser().say(SAID.lower(), "en-us+f2")[0].astype(np.float32)
    padded = np.concatenate([np.zeros(RATE, np.float32), speech])
    long = np.concatenate([speech, np.zeros(RATE, np.float32)] * TIMES)
    cuts = []
    for name, said, samples in (
        ("right", SAID, speech),
        ("wrong", "STOP GO TEN", speech),
        ("unspellable", "A7Ž", speech),
        ("part", SAID, padded),
        ("long", " ".join([SAID] * TIMES), long),
    ):
        soundfile.write(here / f"{name}.flac", samples, RATE)
        part = (RATE, samples.size) if name == "part" else None
        speaker = {"right": "mary", "part": "john"}.get(name, "")
        file = here / f"{name}.flac"
        cuts.append(make_cut(name, speaker, said, file, samples.size, part=part))
    cuts.insert(4, make_cut("missing", "", "A", here / "missing.wav", RATE))
    save_manifest(cuts, here / "cuts.jsonl")
    return here


@pytest.fixture(scope="module")
def aligned(folder: Path) -> Path:
    formats = [
        argument
        for name in ("kaldi", "cuts", "ctm", "textgrid", "json")
        for argument in ("--format", name)
    ]
    ran = keyframe("align", MODEL, folder / "cuts.jsonl", "--out", folder / "out", *formats)
    assert ran.exit_code == 1  # two cannot be aligned
    assert "2 of 6" in ran.stderr.splitlines()[-1]
    return folder / "out"


def listed(out: Path) -> dict[str, dict[str, str]]:
    rows = (out / "utterances.tsv").read_text(encoding="utf-8").splitlines()
    return {row["utt_id"]: row for row in csv.DictReader(rows, delimiter="\t")}


def test_what_fits_and_what_does_not(aligned: Path) -> None:
    rows = listed(aligned)
    fits = {name: row["fit"] for name, row in rows.items() if not name.startswith("long-")}
    assert fits == {
        "right": "fits",
        "wrong": "doubtful",
        "unspellable": "failed",
        "part": "fits",
        "missing": "failed",
    }
    assert float(rows["right"]["loss_per_token"]) < 0.1
    assert rows["wrong"]["reason"] and not rows["right"]["reason"]
    assert "'7'" in rows["unspellable"]["reason"] and "unspellable" in rows["unspellable"]["reason"]
    assert "missing.wav" in rows["missing"]["reason"]
    assert list(rows)[:3] == ["right", "wrong", "unspellable"]


def test_long_recordings_are_cut_at_pauses(aligned: Path, folder: Path) -> None:
    parts = [row for name, row in listed(aligned).items() if name.startswith("long-")]
    times = [(float(row["start"]), float(row["end"])) for row in parts]
    duration = soundfile.info(folder / "long.flac").duration
    period = duration / TIMES
    assert [row["text"] for row in parts] == [SAID] * TIMES
    assert [row["fit"] for row in parts] == ["fits"] * TIMES
    for number, (start, end) in enumerate(times):
        assert abs(start - number * period) < 0.5
        assert start < end <= (number + 1) * period + 0.1


def test_cuts_have_word_times(aligned: Path) -> None:
    cuts = CutSet.from_file(aligned / "cuts.jsonl.gz").to_eager()
    part = cuts["part"]
    assert (part.start, part.supervisions[0].speaker) == (1.0, "john")
    for cut in cuts:
        (supervision,) = cut.supervisions
        words = supervision.alignment["word"]
        assert [word.symbol for word in words] == supervision.text.split()
        assert all(0 <= word.start <= word.end <= cut.duration + 1e-3 for word in words)
    assert list(load_manifest(aligned / "cuts.jsonl.gz").ids) == list(cuts.ids)


def test_kaldi_files(aligned: Path, folder: Path) -> None:
    files = {
        name: dict(
            line.split(maxsplit=1) for line in (aligned / name).read_text("utf-8").splitlines()
        )
        for name in ("segments", "text", "utt2spk", "wav.scp")
    }
    assert files["segments"].keys() == files["text"].keys() == files["utt2spk"].keys()
    assert all(list(lines) == sorted(lines) for lines in files.values())
    assert files["segments"]["part"].startswith("part 1.000 ")
    assert files["utt2spk"]["right"] == "mary" and files["utt2spk"]["long-0000"] == "long-0000"
    assert files["wav.scp"]["long"] == str(folder / "long.flac")


def test_formats_of_each_recording(aligned: Path) -> None:
    found = json.loads((aligned / "json" / "long.json").read_text(encoding="utf-8"))
    grid = tgt.read_textgrid(str(aligned / "textgrid" / "long.TextGrid"))
    words = [word for segment in found["segments"] for word in segment["words"]]
    tier = grid.get_tier_by_name("words")
    assert [one.text for one in tier.annotations] == [word["text"] for word in words]
    lines = [line.split() for line in (aligned / "alignment.ctm").read_text().splitlines()]
    own = [line for line in lines if line[0] == "long"]
    assert [line[4] for line in own] == [word["text"] for word in words]
    assert [float(line[2]) for line in own] == pytest.approx([w["start"] for w in words], abs=1e-3)
    assert min(float(line[2]) for line in lines if line[0] == "part") >= 1.0


def test_dropping_what_is_doubtful(folder: Path) -> None:
    out = folder / "dropped"
    keyframe("align", MODEL, folder / "cuts.jsonl", "--out", out, "--drop-doubtful")
    kept = {name for name, row in listed(out).items() if row["fit"] == "fits"}
    assert set(load_manifest(out / "cuts.jsonl.gz").ids) == kept
    assert "wrong" in listed(out) and "wrong" not in kept


def test_a_long_recording_by_itself(folder: Path, recognizer: Recognizer) -> None:
    said, long = " ".join([SAID] * TIMES), folder / "long.flac"
    (folder / "said.txt").write_text(said, encoding="utf-8")
    ran = keyframe("align", MODEL, long, folder / "said.txt")
    found = json.loads(ran.stdout)
    assert (found["text"], ran.stderr) == (said, "")
    assert [segment["text"] for segment in found["segments"]] == [SAID] * TIMES
    assert [word.text for word in recognizer.align(long, said).words] == said.split()
    out = folder / "one"
    ran = keyframe("align", MODEL, long, folder / "said.txt", "--format", "kaldi", "--out", out)
    assert ran.exit_code == 0, ran
    assert len((out / "segments").read_text().splitlines()) == TIMES


def test_wrong_usage(folder: Path) -> None:
    here = ("align", MODEL, folder / "cuts.jsonl")
    assert keyframe(*here).exit_code == 2
    assert keyframe(*here, "--out", folder / "cuts.jsonl").exit_code == 2
    assert keyframe(*here, "--out", folder / "x", "--channel", 1).exit_code == 2
