"""What a stage minimises, and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from fixtures.tone_corpus import ALL_FRAMES, KEYFRAMES, MEL_BINS, MODEL, stage
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.dataset import Batch
from keyframe_asr.losses import axe_loss, ctc_loss, til_loss
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.optimiser import learning_rate, optimiser

VOCABULARY = 9


def config(**changes: Any) -> StageConfig:
    return parse_config(StageConfig, stage("one", **changes), "stage")


def objective(**changes: Any) -> StageObjective:
    torch.manual_seed(3)
    model = parse_config(ModelConfig, MODEL, "model")
    network = KeyframeNetwork(model, MEL_BINS, VOCABULARY)
    return StageObjective(network, config(**changes)).eval()


def batch(lengths: list[int], texts: list[list[int]]) -> Batch:
    torch.manual_seed(4)
    tokens = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text, dtype=torch.long)
    return Batch(
        tuple(map(str, range(len(texts)))),
        torch.randn(len(lengths), max(lengths), MEL_BINS),
        torch.tensor(lengths),
        tokens,
        torch.tensor([len(text) for text in texts]),
        sum(lengths) / 100,
    )


def test_warmup_is_linear() -> None:
    one = config(learning_rate=0.1, warmup_steps=10)
    assert [learning_rate(one, step, 100) for step in (1, 5, 10)] == pytest.approx(
        [0.01, 0.05, 0.1]
    )


def test_inverse_square_root_decay() -> None:
    one = config(learning_rate=0.1, warmup_steps=10)
    assert learning_rate(one, 40, 100) == pytest.approx(0.05)
    assert learning_rate(one, 1000, 100) == pytest.approx(0.01)


def test_cosine_decay_ends_where_it_should() -> None:
    one = config(learning_rate=0.1, warmup_steps=10, decay="cosine", final_learning_rate=0.02)
    assert learning_rate(one, 10, 110) == pytest.approx(0.1)
    assert learning_rate(one, 60, 110) == pytest.approx(0.06)
    assert learning_rate(one, 35, 110) == pytest.approx(0.06 + 0.04 * math.cos(math.pi / 4))
    assert learning_rate(one, 110, 110) == pytest.approx(0.02)
    assert learning_rate(one, 500, 110) == pytest.approx(0.02)


def test_constant_rate_and_no_warmup() -> None:
    one = config(learning_rate=0.1, warmup_steps=0, decay="constant")
    assert {learning_rate(one, step, 10) for step in (1, 2, 99)} == {0.1}


def test_only_matrices_are_decayed() -> None:
    network = objective(fusion=True).network
    groups = optimiser(network, 0.3).param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert decays[id(parameter)] == (0.3 if parameter.dim() > 1 else 0.0), name


@pytest.mark.parametrize(
    ("changes", "loss"),
    [
        ({"losses": ALL_FRAMES}, ctc_loss),
        ({"losses": KEYFRAMES, "keyframes": True, "fusion": True}, axe_loss),
        ({"losses": KEYFRAMES | {"head_loss": "til"}, "keyframes": True}, til_loss),
    ],
    ids=["all frames", "axe", "til"],
)
def test_total_is_the_weighted_sum(changes: dict[str, Any], loss: Any) -> None:
    one = objective(**changes)
    given = batch([64, 40], [[3, 4, 4], [5]])
    tokens, token_lengths = given.tokens, given.token_lengths
    total, parts, encoded = one(given)
    weights = {"inter_ctc": 0.3, "head": 0.3, "decoder": 0.4}
    assert parts.keys() == weights.keys()
    torch.testing.assert_close(total, sum(weights[name] * parts[name] for name in weights))
    head = loss(encoded.head_log_probs, tokens, encoded.keyframes.lengths, token_lengths)
    torch.testing.assert_close(parts["head"], head)
    inter = ctc_loss(encoded.inter_log_probs, tokens, encoded.frame_lengths, token_lengths)
    torch.testing.assert_close(parts["inter_ctc"], inter)


def test_penalty_of_axe_reaches_the_loss() -> None:
    values = []
    for penalty in (1.0, 5.0):
        losses = KEYFRAMES | {"skip_target_penalty": penalty}
        one = objective(losses=losses, keyframes=True)
        inputs = batch([24], [[3, 4, 5, 6, 7]])
        values.append(float(one(inputs)[1]["head"].detach()))
    assert values[1] >= values[0]


def test_a_loss_without_weight_is_not_computed() -> None:
    losses = {"inter_ctc": 1.0, "head": 0.5, "head_loss": "none", "decoder": 0.0}
    total, parts, _ = objective(losses=losses)(batch([64], [[3, 4]]))
    assert parts.keys() == {"inter_ctc"}
    torch.testing.assert_close(total, parts["inter_ctc"])


def test_decoder_learns_text_then_end() -> None:
    """Written out for each utterance: start, text → text, end; padding has no part in it."""
    one = objective(losses=ALL_FRAMES | {"label_smoothing": 0.0})
    texts = [[3, 4, 5], [6], []]
    given = batch([64, 40, 32], texts)
    given.tokens[1, 1:] = 7  # rubbish in the padding
    _, parts, encoded = one(given)
    decoder = one.network.decoder
    assert decoder is not None
    expected = []
    for row, text in enumerate(texts):
        prefix = torch.tensor([[2, *text]])
        memory = encoded.memory[row : row + 1, : int(encoded.keyframes.lengths[row])]
        size = torch.tensor([memory.shape[1]])
        scores = decoder(prefix, torch.tensor([len(text) + 1]), memory, size).log_softmax(-1)
        right = scores[0, torch.arange(len(text) + 1), torch.tensor([*text, 2])]
        expected.append(-right.sum() / (len(text) + 1))
    torch.testing.assert_close(parts["decoder"], torch.stack(expected).mean())


def test_training_keeps_as_many_keyframes_as_tokens() -> None:
    one = objective(losses=KEYFRAMES, keyframes=True)
    one.network.inter_ctc.bias.data[0] = 50.0  # nothing but blank
    _, _, encoded = one(batch([64, 12], [[3, 4, 5, 6], [3, 4, 5, 6, 7, 8, 3]]))
    assert encoded.keyframes.lengths.tolist() == [4, 3]


@pytest.mark.parametrize("changes", [{}, {"keyframes": True, "losses": KEYFRAMES, "fusion": True}])
def test_empty_text_and_no_audio_have_a_gradient_that_is_finite(changes: dict[str, Any]) -> None:
    one = objective(**changes)
    total, _, _ = one(batch([64, 0, 40], [[3, 4], [], []]))
    total.backward()
    assert math.isfinite(float(total.detach()))
    for name, parameter in one.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("changes", [{}, {"keyframes": True, "losses": KEYFRAMES, "fusion": True}])
def test_batch_of_nothing_but_silence(changes: dict[str, Any]) -> None:
    one = objective(**changes)
    nothing = torch.zeros(2, 0, dtype=torch.long)
    none = torch.tensor([0, 0])
    features = torch.zeros(2, 0, MEL_BINS)
    total, _, encoded = one(Batch(("a", "b"), features, none, nothing, none, 0.0))
    total.backward()
    assert math.isfinite(float(total.detach()))
    assert encoded.keyframes.lengths.tolist() == [0, 0]
