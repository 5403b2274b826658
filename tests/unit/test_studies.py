"""Studies of every kind on tiny models: measured once, kept, and told."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml
from safetensors.torch import load_file, save_file

from fixtures.random_model import noise, save_random_model
from fixtures.tone_corpus import random_texts, recipe_data, stage, write_corpus
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.errors import AudioError, KeyframeError, RecipeError, TrainingError
from keyframe_asr.timing import SAMPLE_RATE
from research import catalogue, training
from research.definition import StressStudy, load_study
from research.run import Part, Record, choose, measure, plan
from research.stress_results import StressResults

REPOSITORY = Path(__file__).resolve().parents[2]


def part(name: str, value: float = 1.0, work: float = 1.0, variant: str = "") -> Part:
    return Part(name, variant or name, {"value": value}, lambda: {"found": value}, work)


def run(name: Path, seeds: int = 1, only: tuple[str, ...] = ()) -> tuple[Record, list[str]]:
    """Measure a study of a file; its record, and what was said."""
    study = load_study(str(name))
    record = Record.load(name.parent / "out" / f"{name.stem}.json")
    said: list[str] = []
    parts = catalogue.measurement(name.stem, study, name.parent / "runs", "cpu").parts(seeds)
    failed = measure(choose(parts, only), record, study.model_dump(mode="json"), said.append)
    assert failed == []
    catalogue.write_report(name.stem, study, record)
    return record, said


def study_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as `make study` does."""
    return subprocess.run(
        [sys.executable, "-m", "research", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def write_study(path: Path, **described: Any) -> Path:
    described = {"title": "A study", "question": "What is it?"} | described
    path.write_text(yaml.safe_dump(described), encoding="utf-8")
    return path


def report_of(record: Record) -> str:
    """The markdown, once there is a picture beside it."""
    assert record.path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    return record.path.with_suffix(".md").read_text(encoding="utf-8")


def summary_of(study: Path, record: Record) -> str:
    """What the page of results says."""
    return catalogue.report(load_study(str(study)), record).summary()


def test_what_is_finished_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    said: list[str] = []
    measure([part("a"), part("b")], Record.load(path), {}, said.append)
    assert len(said) == 2
    again = Record.load(path)
    assert again.results == {"a": {"found": 1.0}, "b": {"found": 1.0}}
    measure([part("a"), part("b", value=2.0), part("c")], again, {}, said.append)
    assert [line.split(": ")[1] for line in said[2:]] == ["b", "c"]  # the setting of b is another
    assert Record.load(path).results["b"] == {"found": 2.0}


def test_a_part_that_fails_leaves_the_others_alone(tmp_path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise AudioError("no such file")

    record = Record.load(tmp_path / "kept.json")
    failed = measure([Part("a", "a", {}, fail), part("b")], record, {}, lambda line: None)
    assert [str(error) for error in failed] == ["a: no such file"]
    assert list(record.results) == ["b"]


def test_parts_of_another_setting_are_named_but_not_compared(tmp_path: Path) -> None:
    study = training_study(tmp_path)
    out = tmp_path / "results" / "studies"
    where = ("--out", out, "--runs", tmp_path / "runs")
    page = tmp_path / "results.md"
    page.write_text("# Mine\n<!-- study tiny -->\n<!-- end of study tiny -->\n")
    measured = study_command(study, *where, "--only", "axe", "--only", "all")
    assert measured.returncode == 0, measured.stderr
    found = page.read_text(encoding="utf-8")
    assert found.startswith("# Mine\n<!-- study tiny -->\n*What is it?* (`keyframe study ")
    assert (tmp_path / re.findall(r"!\[A study\]\((.+?)\)", found)[0]).is_file()
    assert (tmp_path / re.findall(r"\[All figures\]\((.+?)\)", found)[0]).is_file()
    assert "% of words wrong, greedy; measured on 4 utterances" in found
    assert re.search(r"(more|fewer) errors|within noise of it: all frames, ", found)

    described = yaml.safe_load(study.read_text())
    described["epochs"] = {"keyframes": 2}
    described["reference"] = "all"
    study.write_text(yaml.safe_dump(described))
    assert study_command(study, *where, "--redraw").returncode == 0
    for text in (page.read_text("utf-8"), (out / "tiny.md").read_text("utf-8")):
        assert "Left out, measured with another setting: axe, seed 1." in text
        assert "Not trained with this setting yet: AXE, nothing." in text
        assert "\n| AXE |" not in text
    assert "\n| all frames |" in (out / "tiny.md").read_text("utf-8")

    described["epochs"] = {"keyframes": 2, "longer": 2}
    study.write_text(yaml.safe_dump(described))
    before = page.read_text("utf-8")
    refused = study_command(study, *where, "--redraw")
    assert refused.returncode == 1 and "its table stays as it is" in refused.stderr
    assert "\n| all frames |" in (out / "tiny.md").read_text("utf-8")
    described["epochs"] = {"keyframes": 2}
    study.write_text(yaml.safe_dump(described))
    assert study_command(study, *where, "--redraw", "--set", "reference=axe").returncode == 0
    assert page.read_text("utf-8") == before  # a study that was changed for once


def test_weights_that_are_gone_are_those_of_then(tmp_path: Path) -> None:
    record = Record.load(tmp_path / "kept.json")
    record.parts["a"] = {"setting": {"start": {"weights": "12ab"}, "epochs": 1}}
    for weights, epochs, outdated in [
        ("12ab", 1, []),
        (None, 1, []),
        ("9", 1, ["a"]),
        (None, 2, ["a"]),
    ]:
        now = Part("a", "a", {"start": {"weights": weights}, "epochs": epochs}, dict)
        assert record.outdated([now]) == outdated


def test_two_processes_share_a_record(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    one, other = Record.load(path), Record.load(path)
    measure([part("a")], one, {}, lambda line: None)
    measure([part("b")], other, {}, lambda line: None)
    assert list(Record.load(path).results) == list(other.results) == ["a", "b"]


def test_the_plan_says_how_long_by_what_is_known(tmp_path: Path) -> None:
    record = Record.load(tmp_path / "kept.json")
    parts = [part("a", work=2.0), part("b", work=6.0)]
    assert [one.seconds for one in plan(parts, record)] == [None, None]
    measure(parts[:1], record, {}, lambda line: None)
    record.parts["a"]["seconds"] = 10.0
    assert [(one.is_done, one.seconds) for one in plan(parts, record)] == [
        (True, 10.0),
        (False, 30.0),
    ]


def test_only_some_variants() -> None:
    parts = [part("a, 1", variant="a"), part("a, 2", variant="a"), part("b")]
    assert [one.name for one in choose(parts, ["a"])] == ["a, 1", "a, 2"]
    with pytest.raises(KeyframeError, match="--only c: no such variant; there are: a, b"):
        choose(parts, ["c"])


def test_a_damaged_record(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("{")
    with pytest.raises(KeyframeError, match="is no record of a study"):
        Record.load(path)


def test_stress(tmp_path: Path) -> None:
    table = write_corpus(tmp_path / "corpus", {"test": random_texts(6, 1)})
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "a.wav", noise(1.0), SAMPLE_RATE)
    model = str(save_random_model(tmp_path / "model"))
    every = str(save_random_model(tmp_path / "every", keyframes=False))
    study = write_study(
        tmp_path / "stress.yaml",
        kind="stress",
        manifest=f"{table}:test",
        noise=str(tmp_path / "noise"),
        systems=[
            {"name": "all frames", "model": every, "decode": "ctc"},
            {"name": "keyframes", "model": model, "decode": "axe"},
            {"name": "unsure", "model": model, "decode": "axe", "blank_threshold": 1e-6},
        ],
        stresses=[
            {"kind": "noise", "levels": [20.0, 0.0]},
            {"kind": "room", "levels": [0.2]},
            {"kind": "speed", "levels": [0.8, 1.2]},
            {"kind": "telephone", "levels": [3400.0]},
            {"kind": "clipping", "levels": [20.0]},
        ],
    )
    record, said = run(study)
    assert len(said) == 3 * 8
    found = record.results
    assert found["all frames, noise 0"]["keyframes"] == found["all frames, noise 0"]["frames"]
    # nothing is so surely no blank: of each utterance only the least blank frame is left
    assert found["unsure, clean"]["keyframes"] == 6 < found["keyframes, clean"]["keyframes"]
    slow, fast = (found[f"keyframes, speed {speed}"]["audio_seconds"] for speed in (0.8, 1.2))
    assert slow == pytest.approx(1.5 * fast, rel=1e-2)
    text = report_of(record)
    assert "| noise, 0 dB |" in text and "| as recorded |" in text
    assert "Over all 7 stresses together" in text
    assert run(study)[1] == []


def test_cost(tmp_path: Path) -> None:
    recipe = recipe_data(tmp_path / "none.tsv", [stage("baseline")])
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    study = write_study(
        tmp_path / "cost.yaml",
        kind="cost",
        recipe=str(tmp_path / "recipe.yaml"),
        vocabulary=20,
        tokens_per_second=3.0,
        batch_seconds=4.0,
        steps=2,
        seconds=[1.0, 4.0],
        rounds=1,
    )
    record, _ = run(study, only=("training step", "length of the utterance"))
    (step,) = (one for name, one in record.results.items() if name == "training step, cpu")
    assert list(step["stages"]) == ["all frames", "keyframes + AXE", "keyframes + TIL"]
    assert all(len(steps) == 2 for steps in step["stages"].values())
    assert all(value > 0 for value in step["stages"]["keyframes + AXE"][0].values())
    rows = record.results["length of the utterance, cpu"]["rows"]
    first, last = (row["all frames"]["multiply_adds"]["total"] for row in rows)
    assert last > 4 * first  # attention grows with the square
    assert "| decoder |" in report_of(record)


def training_study(folder: Path) -> Path:
    texts = {"train": random_texts(12, 1), "dev": random_texts(4, 2), "test": random_texts(4, 3)}
    table = write_corpus(folder / "corpus", texts)
    stages = [
        stage("baseline", 1),
        stage("keyframes", 1, fusion=True, keyframes=True),
        stage("longer", 1, start_from="baseline"),
    ]
    data = recipe_data(table, stages)
    data["data"]["test"] = f"{table}:test"
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    return write_study(
        folder / "tiny.yaml",
        kind="training",
        recipe=str(folder / "recipe.yaml"),
        start={"stage": "baseline"},
        reference="axe",
        variants=[
            {"name": "axe", "label": "AXE", "stages": ["keyframes"]},
            {"name": "all", "label": "all frames", "stages": ["longer"]},
            {
                "name": "none",
                "label": "nothing",
                "stages": ["keyframes"],
                "set": ["stages.0.losses.head=0.0", "stages.0.losses.head_loss=none"],
                "from_nothing": True,
            },
        ],
    )


def test_training(tmp_path: Path) -> None:
    study = training_study(tmp_path)
    record, said = run(study, only=("axe",))
    assert [line.split(": ")[1] for line in said] == ["axe, seed 1"]
    assert "Not trained with this setting yet: all frames, nothing." in report_of(record)
    start = sorted(one.name for one in (tmp_path / "runs" / "tiny").iterdir() if one.is_dir())
    assert [name.rpartition("-")[0] for name in start] == ["axe-seed1", "start-seed1"]

    record, said = run(study)
    assert len(said) == 2
    assert "seed" not in summary_of(study, record).replace("one seed", "")
    record, said = run(study, seeds=2, only=("axe",))
    assert len(said) == 1
    summary = summary_of(study, record)
    assert "- AXE (2 seeds): " in summary and "all frames (1 seed), " in summary
    record, said = run(study, seeds=2)
    assert len(said) == 2
    assert len(list((tmp_path / "runs" / "tiny").glob("start*[!k]"))) == 1
    assert run(study, seeds=2)[1] == []
    axe, every = record.results["axe, seed 1"], record.results["all, seed 1"]
    assert every["keeps_all"] and every["keyframes"] == every["frames"]
    assert not axe["keeps_all"]
    assert sorted(axe["decode"]) == ["attention", "axe", "ctc", "joint", "rescore"]
    assert axe["latency_seconds"] == pytest.approx(0.04)
    text = report_of(record)
    assert "Up to 2 seeds each" in text and "| joint % (95 %) |" in text
    assert text.count("\n| AXE |") == 1 and "| all frames |" in text


def stress_of_trainings(folder: Path, trained: Path) -> Path:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    return write_study(
        folder / "stress.yaml",
        kind="stress",
        manifest=recipe["data"]["test"],
        noise=str(folder),
        systems=[
            {"name": "all frames", "variant": f"{trained}/all", "decode": "ctc"},
            {"name": "keyframes", "variant": f"{trained}/axe", "decode": "axe"},
            {"name": "inter-CTC", "variant": f"{trained}/axe", "decode": "ctc"},
        ],
        stresses=[{"kind": "speed", "levels": [1.2]}],
    )


def test_stress_of_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants of a training study: trained once, measured by seed, told by their mean."""
    study = stress_of_trainings(tmp_path, training_study(tmp_path))
    trained, train_recipe = [], training.train_recipe

    def spy(recipe: Recipe, *others: Any, **named: Any) -> Path:
        trained.append((recipe.name, recipe.seed))
        return train_recipe(recipe, *others, **named)

    monkeypatch.setattr(training, "train_recipe", spy)
    record, said = run(study)
    assert len(said) == 2 * 3
    assert "one training of each system" in summary_of(study, record)
    assert sorted(trained) == [("all", 1), ("axe", 1), ("start", 1)]
    record, said = run(study, seeds=2)
    assert len(said) == 2 * 3
    assert sorted(trained) == [("all", 1), ("all", 2), ("axe", 1), ("axe", 2), ("start", 1)]
    assert run(study, seeds=2)[1] == []

    found = record.results
    both = [found[f"keyframes, clean, seed {seed}"] for seed in (1, 2)]
    assert both[0]["keyframes"] == found["inter-CTC, clean, seed 1"]["keyframes"]
    mean = sum(one["decode"]["axe"]["rate"] for one in both) / 2
    assert "2 trainings of each system" in summary_of(study, record)
    assert re.search(rf"\| as recorded \|.*\| {100 * mean:.1f}, ", report_of(record))

    without = record.without(["keyframes, clean, seed 2"])
    half = catalogue.report(load_study(str(study)), without)
    assert "trainings: all frames 2, keyframes 1, inter-CTC 2" in half.summary()
    assert half.markdown()[-1] == (
        "Left out until others are measured: keyframes, speed 1.2, seed 2."
    )
    changed = load_study(str(study), ["stresses=[{kind: speed, levels: [0.9]}]"])
    assert catalogue.report(changed, record).markdown()[-1] == ""  # what is asked no more

    # what is trained is looked for before what it starts from
    for start in (tmp_path / "runs" / "tiny").glob("start*[!k]"):
        shutil.rmtree(start)
    changed = yaml.safe_load(study.read_text())
    changed["stresses"][0]["levels"] = [1.1]
    study.write_text(yaml.safe_dump(changed))
    assert len(run(study)[1]) == 3
    assert len(trained) == 5


def test_more_under_stress_is_beyond_what_is_there_without(tmp_path: Path) -> None:
    """By hand: as recorded 1 and 3 errors in 10 words, under stress 4 and 9; with two trainings."""
    study = stress_of_trainings(tmp_path, training_study(tmp_path))
    errors = {
        "all frames": {"clean": [1, 1], "speed 1.2": [3, 5]},
        "keyframes": {"clean": [2, 4], "speed 1.2": [9, 9]},
        "inter-CTC": {"clean": [1, 1], "speed 1.2": [4, 4]},
    }
    results = {
        f"{system}, {condition}, seed {seed}": {
            "decode": {mode: {"errors": [count]} for mode in ("axe", "ctc")},
            "lengths": [10],
            "keyframes": 1,
            "frames": 2,
            "tokens": 1,
        }
        for system, conditions in errors.items()
        for condition, counts in conditions.items()
        for seed, count in enumerate(counts, start=1)
    }
    described = load_study(str(study))
    assert isinstance(described, StressStudy)
    found = StressResults(described, results)
    system, every = found.others[0], found.stressed
    assert every == [("speed", 1.2)]
    assert found.rate(found.reference, every)[0] == pytest.approx(0.4)
    assert found.difference(system, every).value == pytest.approx(0.9 - 0.4)
    assert found.added_by_stress(system, every).value == pytest.approx((0.9 - 0.3) - (0.4 - 0.1))
    # trainings keep their own clean recordings: 7 and 5 less 2 and 4
    excess = found.added_by_stress(system, every)
    assert (excess.low, excess.high) == pytest.approx((0.5 - 0.4, 0.7 - 0.2))


def test_a_failed_training_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(str(stress_of_trainings(tmp_path, training_study(tmp_path))))
    tried = []

    def fail(recipe: Recipe, *others: Any, **named: Any) -> Path:
        tried.append(recipe.name)
        raise TrainingError("no room on the disk")

    monkeypatch.setattr(training, "train_recipe", fail)
    parts = catalogue.measurement("stress", study, tmp_path / "runs", "cpu").parts(1)
    record = Record(tmp_path / "stress.json")
    failed = measure(parts, record, {}, lambda line: None)
    assert len(failed) == len(parts) == 6
    assert tried == ["start", "start"]  # for either variant once


def test_parts_of_another_training_are_measured_anew(tmp_path: Path) -> None:
    trained = training_study(tmp_path)
    study = load_study(str(stress_of_trainings(tmp_path, trained)))

    def settings() -> list[dict[str, Any]]:
        made = catalogue.measurement("stress", study, tmp_path / "runs", "cpu")
        return [part.setting for part in made.parts(2)]

    before = settings()
    assert settings() == before
    described = yaml.safe_load(trained.read_text())
    described["variants"][0]["epochs"] = {"keyframes": 2}
    trained.write_text(yaml.safe_dump(described))
    after = settings()
    same = [one == other for one, other in zip(before, after, strict=True)]
    assert same == [True, False, False] * 4


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("ablation_an4/axe", "'axe': no such variant; there are: axe-fusion3, all-frames"),
        ("cost/axe", "'cost' is a study that trains nothing"),
        ("nothing/axe", "nothing: no such study"),
    ],
)
def test_stress_of_what_there_is_not(
    variant: str, message: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    study = load_study("stress", [f"systems=[{{name: a, variant: {variant}, decode: ctc}}]"])
    with pytest.raises(RecipeError, match=re.escape(message)):
        catalogue.measurement("stress", study, Path("runs"), "cpu").parts(1)


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ("[{name: a, model: demo, variant: units/characters, decode: ctc}]", "one of the two"),
        ("[{name: a, decode: ctc}]", "a: name a model or the variant of a study"),
        ("[{name: a, variant: units, decode: ctc}]", "'units' is no STUDY/VARIANT, for example"),
        ("[{name: a, variant: units/, decode: ctc}]", "'units/' is no STUDY/VARIANT"),
        (
            "[{name: a, model: demo, decode: ctc}, {name: a, model: demo, decode: axe}]",
            "two systems have the same name: a, a",
        ),
    ],
)
def test_bad_systems(systems: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_study("stress", [f"systems={systems}"])


@pytest.mark.parametrize(
    ("start", "trained"),
    [
        ({"stage": "longer"}, [("start", None, [], 3), ("axe", "averaged.safetensors", (), 1)]),
        (
            {"stage": "longer", "initial": "demo", "reinitialise": ["head"]},
            [("start", "demo", ["head"], 1), ("axe", "averaged.safetensors", (), 1)],
        ),
        ({"initial": "demo", "reinitialise": ["head"]}, [("axe", "demo", ["head"], 1)]),
    ],
)
def test_what_variants_start_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: dict[str, Any],
    trained: list[tuple[Any, ...]],
) -> None:
    study = training_study(tmp_path)
    described = yaml.safe_load(study.read_text()) | {"start": start}
    described["stage_set"] = ["learning_rate=0.25"]
    study.write_text(yaml.safe_dump(described))
    model, calls = save_random_model(tmp_path / "model"), []

    def record(
        recipe: Recipe, folder: Path, *, resume: bool, initial: Any, reinitialise: Any
    ) -> Path:
        name = Path(initial).name if initial is not None else None
        calls.append((recipe.name, name, reinitialise, len(recipe.stages)))
        assert resume and all(stage.learning_rate == 0.25 for stage in recipe.stages)
        return model

    monkeypatch.setattr(training, "train_recipe", record)
    run(study, only=("axe",))
    assert calls == trained


def test_other_weights_at_the_same_place_are_another_start(tmp_path: Path) -> None:
    study = training_study(tmp_path)
    weights = save_random_model(tmp_path / "model") / "model.safetensors"
    described = yaml.safe_load(study.read_text())
    described["start"] = {"initial": str(weights.parent)}
    study.write_text(yaml.safe_dump(described))

    def setting() -> dict[str, Any]:
        made = catalogue.measurement("tiny", load_study(str(study)), tmp_path, "cpu")
        return made.parts(1)[0].setting

    before = setting()
    assert setting() == before
    save_file({k: 2 * v for k, v in load_file(weights).items()}, weights)
    assert setting() != before


def test_the_command(tmp_path: Path) -> None:
    study = training_study(tmp_path)
    where = ("--out", tmp_path / "out", "--runs", tmp_path / "runs")
    planned = study_command(study, *where, "--plan", "--seeds", 2)
    assert planned.returncode == 0, planned.stderr
    assert "none, seed 2" in planned.stdout and "6 of 6 parts to measure" in planned.stdout
    nothing = study_command(study, *where, "--redraw")
    assert nothing.returncode == 1
    assert "nothing has been measured yet" in nothing.stderr
    assert not (tmp_path / "runs").exists()
    unknown = study_command(study, *where, "--only", "axes")
    assert unknown.returncode == 1
    (line,) = unknown.stderr.splitlines()
    assert "--only axes: no such variant; there are: axe, all, none" in line


@pytest.mark.parametrize("changed", ["manifest=other.tsv", "systems.1.blank_threshold=0.5"])
def test_what_is_outdated_takes_no_table_away(
    changed: str, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the record, or one system of three, without which nothing can be compared."""
    kept = repository / "docs" / "results" / "studies"
    for name in ("stress_longer.json", "stress_longer.md"):
        shutil.copy(kept / name, tmp_path)
    monkeypatch.chdir(repository)
    found = study_command("stress_longer", "--redraw", "--out", tmp_path, "--set", changed)
    assert found.returncode == 1
    (line,) = found.stderr.splitlines()
    assert "leaves nothing to show; its table stays as it is" in line
    assert (tmp_path / "stress_longer.md").read_text() == (kept / "stress_longer.md").read_text()
