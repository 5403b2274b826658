"""A teacher on all frames for a network with keyframes inside its encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.errors import refused
from fixtures.tiny_pretrained import WHISPER, pretrained_config, random_encoder, write_source
from fixtures.tone_corpus import MODEL, recipe_data, small_corpus, stage
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import Recipe, StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import ModelError, RecipeError, TrainingError
from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.checkpoint import load_weights
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.plan import plan_recipe
from keyframe_asr.training.run import train
from keyframe_asr.training.teacher import FullFrameTeacher, teacher_losses

AUGMENT = {"speeds": [1.0], "spec_augment": 0.0}
LEARNING = stage("taught", 3, keyframes=True, fusion=True, unfreeze_from_layer=3)
LEARNING["losses"] = {"inter_ctc": 0.1, "head": 0.1, "decoder": 0.0, "teacher": 1.0}
LEARNING["learning_rate"] = LEARNING["pretrained_learning_rate"] = 3e-3


def network(layer: int | None, seed: int = 5) -> KeyframeNetwork:
    pretrained = pretrained_config(WHISPER, keyframe_layer=layer).model_dump()
    config = parse_config(ModelConfig, MODEL | {"pretrained": pretrained, "decoder": None}, "m")
    torch.manual_seed(seed)
    built = KeyframeNetwork(config, 80, 9)
    assert built.pretrained is not None
    built.pretrained.load_state_dict(random_encoder(WHISPER).state_dict())
    return built.eval()


@torch.inference_mode()
def test_a_teacher_tells_what_the_whole_network_hears() -> None:
    whole, teacher = network(None), FullFrameTeacher(network(None), 2, 4)
    features, lengths = torch.randn(2, 150, 80), torch.tensor([150, 77])
    keyframes = Keyframes(torch.tensor([[3, 9, 30], [0, 18, 0]]), torch.tensor([3, 2]))
    expected = whole(features, lengths)
    assert whole.pretrained is not None and teacher.network.pretrained is not None
    outputs, sizes = whole.pretrained(features, lengths)
    stored, _ = teacher.network.pretrained(features, lengths)
    for heard, pre_encoded in ((features, False), (stored, True)):
        given = sizes if pre_encoded else lengths
        log_probs, vectors = teacher(heard, given, keyframes, pre_encoded=pre_encoded)
        for row, frames in enumerate(expected.frame_lengths.tolist()):
            torch.testing.assert_close(
                log_probs[row, :frames],
                expected.inter_log_probs[row, :frames],
                atol=1e-4,
                rtol=1e-4,
            )
        torch.testing.assert_close(
            vectors[0, 1], outputs[0, 17:21].mean(dim=0), atol=1e-4, rtol=1e-4
        )
        torch.testing.assert_close(vectors[1, 0], outputs[1, :3].mean(dim=0), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_distances_by_hand() -> None:
    student = network(2)
    student.keyframes_enabled = student.fusion_enabled = True
    encoded = student(torch.randn(2, 150, 80), torch.tensor([150, 77]))
    assert encoded.upper is not None
    nothing = teacher_losses(encoded, encoded.inter_log_probs, encoded.upper, torch.tensor([4, 0]))
    assert [float(one) for one in nothing.values()] == [0.0, 0.0]
    other = torch.randn_like(encoded.inter_log_probs).log_softmax(dim=-1)
    found = teacher_losses(encoded, other, 2 * encoded.upper, torch.tensor([4, 0]))
    by_hand = [
        sum(
            float((other[row, frame].exp() * (other - encoded.inter_log_probs)[row, frame]).sum())
            for frame in range(int(encoded.frame_lengths[row]))
        )
        for row in range(2)
    ]
    assert float(found["teacher_ctc"]) == pytest.approx((by_hand[0] / 4 + by_hand[1]) / 2, rel=1e-4)
    assert float(found["teacher_vectors"]) == pytest.approx(0.25, rel=1e-4)


def test_lower_layers_may_have_been_rounded() -> None:
    teacher, student = FullFrameTeacher(network(None), 2, 4), network(2).pretrained
    assert student is not None and teacher.hears_like(student)
    assert teacher.hears_like(student.half().float())
    next(student.encoder_layers()).fc1.weight.data.mul_(1.05)
    assert not teacher.hears_like(student)


def test_layers_that_are_not_trained_are_there_once() -> None:
    """The device holds one copy of them; once they are trained, the teacher has its own again."""
    teacher, student = FullFrameTeacher(network(None), 2, 4), network(2)
    assert student.pretrained is not None and teacher.network.pretrained is not None
    own, lower = teacher.network.pretrained, student.pretrained.lower_state()
    original = {name: weight.clone() for name, weight in own.lower_state().items()}
    losses = {"inter_ctc": 0.1, "head": 0.1, "decoder": 0.0, "teacher": 1.0}

    def shared(unfrozen: int) -> set[bool]:
        described = stage("one", losses=losses, keyframes=True, unfreeze_from_layer=unfrozen)
        StageObjective(student, parse_config(StageConfig, described, "stage"), teacher)
        places = {
            name: weight.untyped_storage().data_ptr() for name, weight in own.lower_state().items()
        }
        return {places[name] == one.untyped_storage().data_ptr() for name, one in lower.items()}

    assert [shared(3), shared(1), shared(3), shared(3), shared(1)] == [
        {True},
        {False},
        {True},
        {True},
        {False},
    ]
    for name, weight in own.lower_state().items():
        assert torch.equal(weight, original[name])
    assert not any(weight.requires_grad for weight in own.parameters())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("teacher") / "corpus")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source") / "whisper", WHISPER)


def recipe(table: Path, source: Path, stages: list[dict[str, Any]], **changes: Any) -> Recipe:
    data = recipe_data(table, stages)
    layer = changes.pop("keyframe_layer", None)
    described = {"family": "whisper", "source": str(source), "keyframe_layer": layer}
    data["model"] = MODEL | {"pretrained": described, "decoder": None}
    return parse_config(Recipe, data | {"augment": AUGMENT} | changes, "tones")


def load_overridden(one: Recipe, change: str) -> Recipe:
    return parse_config(Recipe, one.model_dump(mode="json"), "tones", [change])


@pytest.fixture(scope="module")
def teacher(corpus: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on all frames."""
    one = stage("only", 1)
    one["losses"] = {"inter_ctc": 0.5, "head": 0.5, "head_loss": "ctc", "decoder": 0.0}
    run = tmp_path_factory.mktemp("teacher") / "run"
    train(recipe(corpus, source, [one]), run, quiet=True)
    return run / "only" / "model"


def test_a_network_comes_closer_to_its_teacher(
    corpus: Path, source: Path, teacher: Path, tmp_path: Path
) -> None:
    taught = recipe(corpus, source, [LEARNING], keyframe_layer=2, teacher=str(teacher))
    train(taught, tmp_path / "run", quiet=True)
    rows = [json.loads(row) for row in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if "loss_teacher_ctc" in row]
    assert len(epochs) == 3
    for part in ("loss_teacher_ctc", "loss_teacher_vectors"):
        assert epochs[-1][part] < epochs[0][part]
    weights = load_weights(tmp_path / "run" / "taught" / "averaged.safetensors")
    assert not any("teacher" in name for name in weights)  # it is no part of the model
    resumed = tmp_path / "resumed"
    train(taught, resumed, ["stages.0.epochs=2"], quiet=True)
    train(taught, resumed, ["stages.0.epochs=3"], resume=True, quiet=True)
    assert (resumed / "taught" / "model" / "model.safetensors").is_file()


def test_a_teacher_that_cannot_teach_is_named(
    corpus: Path, source: Path, teacher: Path, tmp_path: Path
) -> None:
    with refused(RecipeError, "taught", "keyframe_layer"):
        recipe(corpus, source, [LEARNING], teacher=str(teacher))
    with refused(RecipeError, "taught", "teacher"):
        recipe(corpus, source, [LEARNING], keyframe_layer=2)
    none = recipe(corpus, source, [LEARNING], keyframe_layer=2, teacher=str(tmp_path / "none"))
    level = {"features": {"num_mel_bins": 16, "level": -15.0}}
    other_level = recipe(
        corpus, source, [LEARNING], keyframe_layer=2, teacher=str(teacher), **level
    )
    deeper = write_source(tmp_path / "deeper", WHISPER | {"encoder_layers": 4})
    other_size = recipe(corpus, deeper, [LEARNING], keyframe_layer=2, teacher=str(teacher))
    factor = load_overridden(
        recipe(corpus, source, [LEARNING], keyframe_layer=2, teacher=str(teacher)),
        "model.subsampling.factor=8",
    )
    for wrong, said in (
        (none, str(tmp_path / "none")),
        (other_level, "level"),
        (other_size, "encoder"),
        (factor, "factor"),
    ):
        with refused(ModelError, said):
            plan_recipe(wrong, tmp_path)
        with refused(ModelError, said):
            train(wrong, tmp_path / "run", quiet=True)
        assert not (tmp_path / "run").exists()
    unused = [LEARNING | {"losses": LEARNING["losses"] | {"teacher": 0.0}}]
    plan_recipe(recipe(corpus, source, unused, teacher=str(tmp_path / "none")), tmp_path)


def test_a_teacher_must_know_the_tokens_and_the_layers_below(
    corpus: Path, source: Path, teacher: Path, tmp_path: Path
) -> None:
    pieces = {"kind": "sentencepiece", "vocab_size": 12, "model_type": "bpe"}
    tokens = recipe(
        corpus, source, [LEARNING], keyframe_layer=2, teacher=str(teacher), tokenizer=pieces
    )
    with refused(ModelError, "tokenizer", str(teacher)):
        train(tokens, tmp_path / "a", quiet=True)
    other = write_source(tmp_path / "other", WHISPER | {"encoder_ffn_dim": 32})
    lower = recipe(corpus, other, [LEARNING], keyframe_layer=2, teacher=str(teacher))
    with refused(TrainingError, "taught", "lower layers"):
        train(lower, tmp_path / "b", quiet=True)
