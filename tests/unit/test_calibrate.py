"""`keyframe calibrate` and `keyframe hallucinations` as commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from fixtures.command_line import keyframe
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.evaluation.calibration import Calibrator
from keyframe_asr.inference.recognizer import load
from keyframe_asr.io.model_folder import load_model_folder, shipped_models


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = SyntheticCorpus("mandarin", train=0, dev=16, test=0, seed=6)
    return make_corpus(tmp_path_factory.mktemp("corpus"), recipe)["dev"]


def test_a_model_is_calibrated_into_a_new_folder(dev: Path, tmp_path: Path) -> None:
    result = keyframe(
        *("calibrate", "demo", dev, "--decode", "axe", "--out", tmp_path / "model"),
        *("--json", tmp_path / "report.json", "--picture", tmp_path / "reliability.png"),
    )
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "report.json").read_text())
    stored = load_model_folder(tmp_path / "model").config
    assert list(stored.confidences) == ["axe"]
    assert stored.confidences["axe"].temperature == report["decode"]["axe"]["temperature"]
    assert report["decode"]["axe"]["tokens"]["count"] > 40
    assert 0 <= report["decode"]["axe"]["tokens"]["ece_after"] < 0.2
    check, tried = report["speech_check"], report["speech_check"]["on_the_other_half"]
    assert stored.speech_check is not None and stored.speech_check.doubt == check["doubt"]
    assert (
        tried["0.002"]["hallucinated_tokens_per_hour"]
        <= check["without"]["hallucinated_tokens_per_hour"]
    )
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert "0.002 (stored)" in result.output
    assert str(tmp_path / "model") in result.stderr + result.stdout
    shipped = load_model_folder(shipped_models()["demo"]).config
    changed = {"confidences": shipped.confidences, "speech_check": shipped.speech_check}
    assert stored.model_copy(update=changed) == shipped


def _content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_in_place_only_the_configuration_changes(dev: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(shipped_models()["demo"], folder)
    before = _content(folder)
    result = keyframe("calibrate", folder, dev, "--decode", "axe", "--in-place")
    assert result.exit_code == 0, result.output
    after = _content(folder)
    assert [name for name in before if before[name] != after.get(name)] == ["config.yaml"]
    assert set(after) == set(before)
    assert set(yaml.safe_load(after["config.yaml"])["confidences"]) == {"axe"}


@pytest.mark.parametrize("options", [[], ["--in-place", "--out", "x"]])
def test_where_the_model_goes_must_be_said_once(options: list[str], dev: Path) -> None:
    assert "--out" in keyframe("calibrate", "demo", dev, *options).usage_error


def test_starts_follow_the_onsets_of_sound(tmp_path: Path) -> None:
    recipe = SyntheticCorpus("mandarin", train=0, dev=40, test=0, seed=6)
    spoken = make_corpus(tmp_path / "corpus", recipe)["dev"]
    # the median of what is stored, whatever the model said before
    folder = tmp_path / "early"
    shutil.copytree(shipped_models()["demo"], folder)
    config = folder / "config.yaml"
    config.write_text(
        config.read_text().replace("emission_delay_seconds: -0.15", "emission_delay_seconds: -1.15")
    )
    assert load_model_folder(folder).config.emission_delay_seconds < -1
    result = keyframe(
        *("calibrate", folder, spoken, "--decode", "axe", "--starts", "--in-place"),
        *("--json", tmp_path / "report.json"),
    )
    assert result.exit_code == 0, result.output
    heard = json.loads((tmp_path / "report.json").read_text())["onsets"]
    stored = load_model_folder(folder).config.emission_delay_seconds
    assert stored == heard["median"] and heard["count"] >= 30
    assert -0.4 < stored < -0.1  # this model spikes before the sound
    result = keyframe("measure-times", folder, spoken, "--decode", "axe", "--onsets", "--json",
                      tmp_path / "times.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "times.json").read_text())
    assert found["reference"].startswith("onsets")
    assert abs(found["decode"]["axe"]["start"]["bias"]) < 0.03
    assert found["decode"]["axe"]["start"]["median"] < 0.15


def test_starts_need_pauses(dev: Path, tmp_path: Path) -> None:
    result = keyframe("calibrate", "demo", dev, "--starts", "--out", tmp_path / "model")
    assert result.exit_code == 1 and str(dev) in result.stderr.splitlines()[-1]
    assert not (tmp_path / "model").exists()
    both = keyframe("measure-times", "demo", dev, "--onsets", "--reference", "demo")
    assert "--onsets" in both.usage_error and "--reference" in both.usage_error


def test_what_cannot_be_written_is_said_before_the_work(dev: Path, tmp_path: Path) -> None:
    for options, named in ((["--out", tmp_path], str(tmp_path)), (["--in-place"], "--out")):
        assert named in keyframe("calibrate", "demo", dev, *options).error  # and no progress


def test_what_was_calibrated_before_does_not_count(dev: Path) -> None:
    """Fitted twice, a scaling is the same: it is not one of what was scaled already."""
    recognizer = load("demo")
    first = Calibrator(recognizer, ["axe"])
    first.add_speech(str(dev))
    found = first.fit().confidences
    recognizer.confidences = found
    again = Calibrator(recognizer, ["axe"])
    again.add_speech(str(dev))
    assert again.fit().confidences == found


def test_hallucinations_writes_its_report(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    result = keyframe("hallucinations", "demo", "--seconds", "1", "--json", target)
    assert result.exit_code == 0, result.output
    report = json.loads(target.read_text())
    assert (report["model"], report["unit"], report["checked"]) == ("demo", "characters", True)
    found = report["decode"]["axe"]
    assert found["per_hour"] <= found["without_check"]["per_hour"]
    assert {"silence", "melody", "white noise"} <= set(found["kinds"])
    nothing = keyframe("hallucinations", "demo", "--no-synthetic")
    assert "RECORDINGS" in nothing.usage_error
