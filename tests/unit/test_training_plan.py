"""`keyframe train --plan`, and the picture at the end of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from fixtures.command_line import keyframe
from fixtures.tone_corpus import recipe_data, small_corpus, stage, three_stages, tone_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.training import run
from keyframe_asr.training.curves import draw_curves
from keyframe_asr.training.plan import count_parameters, estimate_memory, plan_recipe
from keyframe_asr.training.run import train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


def test_plan_counts_what_training_does(corpus: Path, tmp_path: Path) -> None:
    recipe = tone_recipe(corpus, three_stages(1), accumulate=2, batch_seconds=3.0)
    plan = plan_recipe(recipe, tmp_path / "scratch")
    train(recipe, tmp_path / "run", quiet=True)
    entries = [
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    ]
    steps = {entry["stage"]: entry["step"] for entry in entries if "step" in entry}
    assert {one.name: one.updates for one in plan.stages} == steps
    weights = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["weights"]
    statistics = (
        weights["normalisation.mean"].numel() + weights["normalisation.inverse_std"].numel()
    )
    assert (
        sum(plan.parameters.values()) == sum(one.numel() for one in weights.values()) - statistics
    )
    assert all(one.utterances == 12 for one in plan.stages)


def test_plan_reads_no_recordings(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    for path in tmp_path.rglob("*.wav"):
        path.unlink()
    plan = plan_recipe(tone_recipe(corpus, three_stages(1)), tmp_path / "scratch")
    assert plan.stages[0].hours > 0


def test_memory_grows_with_the_batch_and_the_network(corpus: Path, tmp_path: Path) -> None:
    from keyframe_asr.config.recipe import Recipe
    from keyframe_asr.model.network import KeyframeNetwork

    def estimate(batch_seconds: float, dim: int) -> int:
        data = recipe_data(corpus, [stage("one")], batch_seconds=batch_seconds)
        data["model"] = data["model"] | {"encoder": data["model"]["encoder"] | {"dim": dim}}
        recipe = parse_config(Recipe, data, "tones")
        network = KeyframeNetwork(recipe.model, 16, 9)
        assert sum(count_parameters(network).values()) == sum(
            one.numel() for one in network.parameters()
        )
        return estimate_memory(network, recipe.stages[0], recipe, 3.0)

    small, long, wide = estimate(8, 16), estimate(32, 16), estimate(8, 64)
    assert 2.5 * small < long < 4 * small
    assert wide > 2 * small


def test_plan_on_the_command_line_trains_nothing(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "tones.yaml"
    path.write_text(yaml.safe_dump(recipe_data(corpus, three_stages(1))))
    result = keyframe("train", path, "--out", tmp_path / "run", "--plan")
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "run").exists()
    for word in ("baseline", "fusion", "keyframes", "encoder1", "GiB", "updates"):
        assert word in result.stdout


def test_curves_of_a_run(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "draw_curves", draw_curves)  # which other tests do without
    train(tone_recipe(corpus, three_stages(1)), tmp_path, quiet=True)
    picture = (tmp_path / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_no_curves_without_epochs(tmp_path: Path) -> None:
    assert draw_curves(tmp_path) is None
    (tmp_path / "log.jsonl").write_text('{"stage": "one", "averaged": true}\n')
    assert draw_curves(tmp_path) is None
