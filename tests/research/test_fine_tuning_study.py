"""Fine-tuning studies on a tiny corpus: what is drawn, fine-tuned and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.random_model import save_random_model
from fixtures.studies import changed, measured, summary_of, table_of, write_study
from fixtures.tone_corpus import random_texts, write_corpus
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.fine_tuning.run import FineTuned
from research.definition import SpeechConfig
from research.fine_tuning import study as fine_tuning
from research.fine_tuning.study import chosen


def tiny_study(folder: Path, **case: Any) -> Path:
    texts = {"train": random_texts(12, 1), "dev": random_texts(4, 2), "test": random_texts(4, 3)}
    table = write_corpus(folder / "corpus", texts)
    model = save_random_model(folder / "model", keyframes=True, seed=1)
    described: dict[str, Any] = {
        "group": "a random model",
        "model": str(model),
        "test": {"manifest": f"{table}:test"},
    }
    few = {"manifest": f"{table}:train", "minutes": 0.1}
    return write_study(
        folder / "tiny.yaml",
        kind="fine-tuning",
        cases=[
            described
            | {"name": "all", "label": "all of it", "train": {"manifest": f"{table}:train"}}
            | {"forgetting": {"manifest": f"{table}:dev"}}
            | case,
            described | {"name": "few", "label": "a few seconds", "train": few} | case,
        ],
    )


def pretend_to_fine_tune(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Fine-tuning leaves random weights at once; texts that it was given each time."""
    given: list[list[str]] = []

    def fine_tune(
        model: str, train: Path, dev: Path | None, *, out: Path, options: Any
    ) -> FineTuned:
        assert dev is None
        given.append([text(cut) for cut in load_manifest(train)])
        folder = save_random_model(out / "model", keyframes=True, seed=len(given))
        report = {"recordings": len(given[-1]) - 1, "hours": 0.1, "start_is_kept": False}
        return FineTuned(folder, report)

    monkeypatch.setattr(fine_tuning, "fine_tune", fine_tune)
    return given


def test_each_case_and_seed_is_fine_tuned_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = pretend_to_fine_tune(monkeypatch)
    study = tiny_study(tmp_path)
    record, said = measured(study)
    assert [one for one in said if "before" not in one] == ["all, seed 1", "few, seed 1"]
    assert len(said) == 3  # both cases start from one model
    assert len(given[0]) == 12 and 0 < len(given[1]) < 12
    assert set(given[1]) <= set(given[0])
    record, said = measured(study, seeds=2)
    assert said == ["all, seed 2", "few, seed 2"]
    assert measured(study, seeds=2)[1] == []

    first = record.results["all, seed 1"]
    assert first["recordings"] == 12 and first["report"]["recordings"] == 11
    assert first["forgetting"]["after"]["utterances"] == 4
    assert record.results["all, seed 2"]["forgetting"] is None
    assert first["default"] in first["decode"] and len(first["seen"]) == 4

    text_of_table = table_of(study, record)
    assert "## a random" in text_of_table
    assert text_of_table.count("| all of it |") == 2  # errors, and costs
    assert "| none (`model`) | 0 |" in text_of_table
    assert "| a few" in summary_of(study, record)


def test_texts_of_the_training_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_to_fine_tune(monkeypatch)
    study = tiny_study(tmp_path)
    table = tmp_path / "corpus" / "corpus.tsv"
    record, _ = measured(changed(study), only=("all",))
    expected = [
        text(cut) in {text(one) for one in load_manifest(f"{table}:train")}
        for cut in load_manifest(f"{table}:test")
    ]
    assert record.results["all, seed 1"]["seen"] == expected


def test_other_settings_are_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = pretend_to_fine_tune(monkeypatch)
    measured(tiny_study(tmp_path), only=("few",))
    _, said = measured(tiny_study(tmp_path, set=["training.batch_seconds=3"]), only=("few",))
    assert said == ["few, seed 1"] and len(given) == 2


def test_speech_that_is_drawn(tmp_path: Path) -> None:
    table = write_corpus(tmp_path / "corpus", {"train": random_texts(20, 1)})
    every = [cut.id for cut in load_manifest(f"{table}:train")]

    def names(seed: int = 1, **described: Any) -> list[str]:
        return [
            cut.id for cut in chosen(SpeechConfig(manifest=f"{table}:train", **described), seed)
        ]

    assert names() == every
    some, others = names(of=5, takes=[0, 1, 2]), names(of=5, takes=[3, 4])
    assert sorted([*some, *others]) == sorted(every) and len(others) == 8
    whole = sum(cut.duration for cut in load_manifest(f"{table}:train")) / 60
    less, more = names(minutes=whole / 4), names(minutes=whole / 2)
    assert more[: len(less)] == less and 0 < len(less) < len(more) < 20
    assert names(2, minutes=whole / 4) != less
