"""A cost study of a tiny network."""

from __future__ import annotations

import json
from pathlib import Path

from fixtures.studies import measured, table_of, write_study
from fixtures.tone_corpus import recipe_data, stage


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
    record, _ = measured(study, only=("training step", "length of the utterance"))
    (step,) = (one for name, one in record.results.items() if name == "training step, cpu")
    assert list(step["stages"]) == ["all frames", "keyframes + AXE", "keyframes + TIL"]
    assert all(len(steps) == 2 for steps in step["stages"].values())
    assert all(value > 0 for value in step["stages"]["keyframes + AXE"][0].values())
    rows = record.results["length of the utterance, cpu"]["rows"]
    first, last = (row["all frames"]["multiply_adds"]["total"] for row in rows)
    assert last > 4 * first  # attention grows with the square
    assert "| decoder |" in table_of(study, record)
