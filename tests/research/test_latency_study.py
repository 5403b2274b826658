"""Studies of latency: when tokens of a stream are there, and what keyframes wait for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lhotse.supervision import AlignmentItem

from fixtures.errors import refused
from fixtures.random_model import random_model, save_random_model
from fixtures.streaming_network import random_features, step_by_step, streaming_network
from fixtures.studies import measured, summary_of, table_of, write_study
from fixtures.tone_corpus import random_texts, recipe_data, stage, write_corpus
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.data.manifest import load_manifest, save_manifest, text
from keyframe_asr.errors import ManifestError, RecipeError
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.streams.state import FeatureOutput
from keyframe_asr.text.tokenizer import CharacterTokenizer
from keyframe_asr.training.run import TrainingResult
from research.definition import LatencyDefinition, load_study
from research.latency.report import LatencyStudyReport
from research.latency.streams import Written, arrivals_of, speech_of, units
from research.measurement import Record
from research.training import study as training


def one_hot(labels: list[int], size: int = 4) -> np.ndarray:
    """Log-probabilities (N, V) whose best labels are these."""
    return np.log(np.eye(size, dtype=np.float32)[labels] * 0.9 + 0.02)


RUNS = [0, 1, 1, 0, 2, 2, 2, 0, 3]


@pytest.mark.parametrize(
    ("network", "labels", "arrivals"),
    [
        # chunks of two frames: runs start in chunks 0, 2 and 4; they end in 1, 3 and at the end
        ({"keep": "peak"}, {2: 1, 5: 2, 8: 3}, [(0, 1, 1), (2, 3, 3), (4, 4, 4)]),
        ({"keep": "first"}, {1: 1, 4: 2, 8: 3}, [(0, 0, 1), (2, 2, 2), (4, 4, 4)]),
        ({"keep": "first", "fusion": None}, {1: 1, 4: 2, 8: 3}, [(0, 0, 0), (2, 2, 2), (4, 4, 4)]),
        ({"keyframes": False}, {2: 1, 3: 0}, [(1, 1, 1), (1, 1, 1)]),
        ({}, {3: 0}, [(None, 4, 4)]),  # kept because an utterance keeps one at least
    ],
)
def test_when_keyframes_come(
    network: dict[str, Any], labels: dict[int, int], arrivals: list[tuple[int | None, int, int]]
) -> None:
    inter = one_hot(RUNS)
    output = FeatureOutput(inter, np.array(list(labels)), one_hot(list(labels.values())))
    found = arrivals_of(streaming_network(**network), output, 2)
    assert [(one.begun, one.certain, one.there) for one in found] == arrivals


@pytest.mark.parametrize("keep", ["peak", "first"])
@pytest.mark.parametrize("fusion", [("attention", 3, False), ("attention", 2, True), None])
@pytest.mark.parametrize("keyframes", [True, False])
@pytest.mark.parametrize("chunk", [1, 3, 40])
def test_streams_give_keyframes_when_they_are_said_to_come(
    keep: str, fusion: tuple[str, int, bool] | None, keyframes: bool, chunk: int
) -> None:
    """All frames without fusion: the study has no others."""
    if not keyframes and fusion is not None:
        return
    network = streaming_network(fusion=fusion, keep=keep, keyframes=keyframes)
    stream = StreamingNetwork(network, chunk, look_ahead=0)
    total = 0
    for features in random_features([900, 597], seed=4):
        steps = step_by_step(stream, features, 4 * chunk)
        came = [number for number, (_, output) in enumerate(steps) for _ in output.keyframes]
        output = FeatureOutput.joined([output for _, output in steps])
        arrivals = arrivals_of(network, output, chunk)
        assert [one.there for one in arrivals] == came
        total += len(came)
    assert total > 10


def test_a_token_is_there_with_its_run_and_a_word_with_its_last_token() -> None:
    model = replace(random_model(streaming=StreamingConfig()), tokenizer=CharacterTokenizer("AB "))
    a, space, b = model.tokenizer.encode("A B")
    labels = [0, a, a, b, 0, space, b, b, 0]
    size = model.tokenizer.vocab_size
    shown = [float(place) for place in range(len(labels))]
    assert units(model, "inter", one_hot(labels, size), shown) == [("AB", 3.0), ("B", 6.0)]
    assert units(model, "head", one_hot(labels, size), shown) == [("AAB", 3.0), ("BB", 7.0)]


def test_only_correct_words_have_a_latency() -> None:
    words = [
        AlignmentItem("A", 0.0, 0.5),
        AlignmentItem("B", 0.5, 0.5),
        AlignmentItem("C", 1.0, 1.0),
    ]
    written = Written()
    written.add(words, [("A", 0.75), ("D", 1.5), ("C", 2.5), ("C", 3.0)])
    written.add(words[:2], [("A", 0.25)])
    written.add(words, [])
    assert written.errors == [2, 1, 3]
    assert written.latencies == [0.25, 0.5, -0.25]
    figures = written.figures()
    assert figures["median"] == 250 and figures["first"] == 500
    assert figures["last"] == 125  # of 1000 and -750


def latency_study(folder: Path) -> Path:
    """Two variants, and recordings of one word each."""
    texts = {"train": random_texts(8, 1), "dev": random_texts(4, 2), "test": random_texts(4, 3)}
    table = write_corpus(folder / "corpus", texts)
    cuts = list(load_manifest(f"{table}:test"))
    for cut in cuts:
        item = AlignmentItem(text(cut), 0.08, cut.duration - 0.16)
        cut.supervisions[0].alignment = {"word": [item]}
    save_manifest(cuts, folder / "test.jsonl.gz")
    data = recipe_data(table, [stage("keyframes", 1, fusion=True, keyframes=True)])
    data["data"]["test"] = str(folder / "test.jsonl.gz")
    data["features"]["level"] = None
    data["model"] = data["model"] | {"encoder": data["model"]["encoder"] | {"streaming": {}}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    off = ["stages.0.keyframes=false", "stages.0.fusion=false", "stages.0.losses.head_loss=ctc"]
    return write_study(
        folder / "late.yaml",
        kind="latency",
        recipe=str(folder / "recipe.yaml"),
        reference="all",
        chunks=[2, 8],
        chunk=8,
        look_ahead=[3],
        variants=[
            {"name": "peak", "label": "peaks", "stages": ["keyframes"]},
            {"name": "all", "label": "all frames", "stages": ["keyframes"], "set": off},
        ],
    )


def test_a_study_of_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(recipe: Recipe, folder: Path, **named: Any) -> TrainingResult:
        last = recipe.stages[-1]
        model = save_random_model(
            folder / last.name / "model", last.keyframes, streaming=StreamingConfig()
        )
        return TrainingResult(folder, model, {})

    monkeypatch.setattr(training, "train", train)
    study = latency_study(tmp_path)
    record, said = measured(study)
    assert said == ["peak, seed 1", "all, seed 1"]
    assert measured(study)[1] == []
    peak, every = record.results["peak, seed 1"], record.results["all, seed 1"]
    assert set(peak["sizes"]) == {"2+0", "8+0", "8+3"} and peak["lengths"] == [1] * 4
    assert every["sizes"]["2+0"]["wait"] == {"run": 0, "fusion": 0}
    assert all(len(one["errors"]) == 4 for one in every["whole"].values())
    told = table_of(study, record)
    assert told.count("\n| peaks |") == 7  # four of errors, three of latency
    assert "\n- peaks: " in told and "\n- all frames: " not in told
    assert "| all frames |" in summary_of(study, record)


def test_times_are_needed(tmp_path: Path) -> None:
    table = write_corpus(tmp_path, {"test": random_texts(2, 3)})
    with refused(ManifestError, "test-000", "words"):
        speech_of(random_model(streaming=StreamingConfig()), list(load_manifest(f"{table}:test")))


def test_the_size_of_the_summary_is_measured() -> None:
    with refused(RecipeError, "chunk 3", "[1, 2, 4, 8, 16, 32]"):
        load_study("latency", ["chunk=3"])


def test_all_words_are_on_the_picture(repository: Path) -> None:
    study = load_study("latency")
    assert isinstance(study, LatencyDefinition)
    record = Record.load(repository / "research" / "records" / "latency.json")
    figure = LatencyStudyReport(study, record.results).figure()
    assert figure is not None
    figure.canvas.draw()
    for axes in figure.axes:
        assert axes.get_window_extent().width > 0.25 * figure.bbox.width
        for words in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
            extent = words.get_window_extent()
            assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width, words
