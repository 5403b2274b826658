"""The demo, whole and small: it recognises, trains, compares, draws, and can be run again."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from fixtures.command_line import keyframe
from fixtures.errors import refused
from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus
from keyframe_asr.demo import run
from keyframe_asr.demo.comparison import LEGEND, Compared, as_markdown, as_table
from keyframe_asr.demo.run import LONG, SHORT, STAGES, UPPER_HALF, DemoSize, run_demo
from keyframe_asr.errors import KeyframeError
from keyframe_asr.io.model_folder import find_model, load_model_folder
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.initial_weights import find_weights, load_initial
from keyframe_asr.training.log import TrainingLog

SIZES = pytest.mark.parametrize("size", [SHORT, LONG], ids=["short", "long"])


def recipe_of(size: DemoSize) -> Recipe:
    return load_recipe(Path(run.__file__).with_name(size.recipe))


@SIZES
def test_recipe_trains_what_the_table_shows_for_equally_long(size: DemoSize) -> None:
    stages = {stage.name: stage for stage in recipe_of(size).stages}
    assert all(name in stages for name, _, _ in STAGES)
    for name in ("til", "axe"):
        assert stages[name].start_from == "fusion"
        assert stages[name].reinitialise == ["encoder2", "head"]
        assert stages[name].keyframes and stages[name].losses.head_loss == name
        further = stages["fusion"].epochs + stages[name].epochs
        assert stages["baseline-longer"].epochs == further
    assert stages["baseline-longer"].start_from == "baseline"


def test_the_long_demo_trains_for_longer() -> None:
    short, long = (
        size.corpus.train * sum(stage.epochs for stage in recipe_of(size).stages)
        for size in (SHORT, LONG)
    )
    assert short < long


def test_the_short_demo_starts_from_the_lower_half_of_the_shipped_model(tmp_path: Path) -> None:
    assert SHORT.initial is not None and LONG.initial is None
    shipped = load_model_folder(find_model(SHORT.initial))
    recipe = recipe_of(SHORT)
    assert recipe.model == shipped.config.model
    bins, symbols = recipe.features.num_mel_bins, shipped.tokenizer.vocab_size
    network = KeyframeNetwork(recipe.model, bins, symbols)
    with TrainingLog(tmp_path, quiet=True) as log:
        load_initial(network, find_weights(SHORT.initial), shipped.tokenizer, UPPER_HALF, log)
    loaded = {
        name.partition(".")[0]: torch.equal(weight, shipped.network.state_dict()[name])
        for name, weight in network.state_dict().items()
        if weight.dim() > 1
    }
    assert loaded == {
        "subsampling": True,
        "encoder1": True,
        "inter_ctc": True,
        "fusion": False,
        "encoder2": False,
        "head": False,
        "decoder": False,
    }


@pytest.mark.parametrize(("options", "size"), [([], SHORT), (["--long"], LONG)])
def test_command_chooses_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], size: DemoSize
) -> None:
    asked: list[tuple[Path, DemoSize]] = []
    monkeypatch.setattr(run, "run_demo", lambda out, _, size: asked.append((out, size)))
    assert keyframe("demo", "--out", tmp_path, *options).exit_code == 0
    assert asked == [(tmp_path, size)]


@pytest.mark.slow
def test_small_demo_runs_and_runs_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        printed = StringIO()
        rows = run_demo(out, Console(file=printed, width=160), _tiny())
        (out / "from_an_earlier_demo").touch()
    assert not (out / "fresh" / "from_an_earlier_demo").exists()
    assert [row.stage for row in rows] == [stage for stage, _, _ in STAGES]
    assert rows[0].frame_reduction == 0.0
    table = json.loads((out / "table.json").read_text(encoding="utf-8"))
    assert [row["decode"].keys() for row in table] == [
        {"ctc", "attention"},
        {"axe", "attention"},
        {"axe", "attention"},
    ]
    assert all(row["utterances"] == 6 for row in table)
    markdown = (out / "table.md").read_text(encoding="utf-8")
    labels = [label for _, label, _ in STAGES]
    assert all(one in markdown and one in printed.getvalue() for one in [*labels, LEGEND])
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert "'demo'" in printed.getvalue()


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with refused(KeyframeError, f"{tmp_path}: "):
        run_demo(tmp_path, Console(file=StringIO()), _tiny())
    assert (tmp_path / "thesis.txt").exists()


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.touch()
    with refused(KeyframeError, f"{file}: "):
        run_demo(file, Console(file=StringIO()), _tiny())


@pytest.mark.parametrize(
    ("error", "reduction", "met"),
    [(0.099, 0.8, True), (0.1, 0.9, False), (0.02, 0.79, False)],
)
def test_what_is_expected_of_keyframes(error: float, reduction: float, met: bool) -> None:
    assert _row(error, reduction).meets_expectation is met


def test_markdown_states_interval_and_machine() -> None:
    text = as_markdown([_row(0.05, 0.9)])
    assert "| keyframes + AXE | 5.0 (1.0-9.0) | 4.0 | 90.0% | 1.01 | 0.0020 |" in text
    assert "a machine" in text


def test_table_fits_a_narrow_terminal() -> None:
    printed = StringIO()
    rows = [replace(_row(0.123, 0.9), label=label) for _, label, _ in STAGES]
    wide = [_row(0.474, 0.9, interval=(0.443, 0.505), keyframes=12.52), *rows]
    Console(file=printed, width=80).print(as_table(wide))
    assert "12.3 (1.0-9.0)" in printed.getvalue()
    assert "47.4 (44.3-50.5)" in printed.getvalue()
    assert "12.52" in printed.getvalue()
    assert "keyframes + AXE" in printed.getvalue()
    assert "…" not in printed.getvalue()


def _row(
    error: float,
    reduction: float,
    interval: tuple[float, float] = (0.01, 0.09),
    keyframes: float = 1.01,
) -> Compared:
    report = {
        "utterances": 3,
        "audio_seconds": 6.0,
        "frame_reduction": reduction,
        "keyframes_per_token": keyframes,
        "machine": "a machine",
        "decode": {
            "axe": {"cer": error, "cer_ci95": list(interval), "rtf": 0.002},
            "attention": {"cer": 0.04, "cer_ci95": [0.01, 0.09], "rtf": 0.01},
        },
    }
    return Compared("axe", "keyframes + AXE", "axe", report)


def _tiny() -> DemoSize:
    stages = len(recipe_of(SHORT).stages)
    return DemoSize(
        recipe=SHORT.recipe,
        minutes=1,
        fresh_utterances=2,
        corpus=SyntheticCorpus("mandarin", train=12, dev=4, test=6, seed=3),
        overrides=[
            "model.encoder.dim=16",
            "model.encoder.feed_forward=16",
            "model.encoder.layers=2",
            "model.encoder.keyframe_layer=1",
            "model.decoder.feed_forward=16",
            "model.subsampling.channels=8",
            "training.threads=1",
            *(f"stages.{number}.epochs=1" for number in range(stages)),
        ],
    )
