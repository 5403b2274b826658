"""What holds for AXE whatever the numbers are."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keyframe_asr.losses import axe_align, axe_loss

EXAMPLES = settings(max_examples=60, deadline=None)


class Batch(NamedTuple):
    """Arguments of `axe_loss`, in order."""

    log_probs: torch.Tensor
    targets: torch.Tensor
    input_lengths: torch.Tensor
    target_lengths: torch.Tensor


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Ragged float64 batches of log-softmax outputs, n = 0 and m < n included."""
    size, longest_input = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    longest_target, vocabulary = draw(st.integers(0, 8)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    sharpness = draw(st.sampled_from([0.1, 1.0, 10.0]))
    logits = sharpness * torch.randn(
        size, longest_input, vocabulary, generator=generator, dtype=torch.float64
    )
    return Batch(
        logits.log_softmax(-1),
        torch.randint(1, vocabulary, (size, longest_target), generator=generator),
        torch.randint(1, longest_input + 1, (size,), generator=generator),
        torch.randint(0, longest_target + 1, (size,), generator=generator),
    )


@EXAMPLES
@given(batches())
def test_never_negative(batch: Batch) -> None:
    assert (axe_loss(*batch, reduction="none") >= 0).all()


@EXAMPLES
@given(batches(), st.floats(0.1, 5.0), st.floats(0.0, 5.0))
def test_grows_with_the_penalty(batch: Batch, penalty: float, more: float) -> None:
    small = axe_loss(*batch, skip_target_penalty=penalty, reduction="none")
    large = axe_loss(*batch, skip_target_penalty=penalty + more, reduction="none")
    assert (large >= small - 1e-9).all()


@EXAMPLES
@given(batches(), st.integers(0, 2**31))
def test_does_not_depend_on_the_order_of_the_batch(batch: Batch, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(batch.targets), generator=generator)
    losses = axe_loss(*batch, reduction="none")
    permuted = axe_loss(*(part[order] for part in batch), reduction="none")
    assert torch.equal(permuted, losses[order])


@EXAMPLES
@given(batches(), st.integers(0, 4), st.integers(0, 4))
def test_does_not_depend_on_the_padding(batch: Batch, frames: int, tokens: int) -> None:
    losses = axe_loss(*batch, reduction="none")
    wider = batch._replace(
        log_probs=torch.nn.functional.pad(batch.log_probs, (0, 0, 0, frames), value=math.nan),
        targets=torch.nn.functional.pad(batch.targets, (0, tokens), value=-1),
    )
    torch.testing.assert_close(axe_loss(*wider, reduction="none"), losses, rtol=1e-12, atol=1e-12)
    for place, loss in enumerate(losses):
        alone = Batch(*(part[place : place + 1] for part in batch))
        m, n = int(alone.input_lengths), int(alone.target_lengths)
        alone = alone._replace(log_probs=alone.log_probs[:, :m], targets=alone.targets[:, :n])
        torch.testing.assert_close(axe_loss(*alone, reduction="sum"), loss, rtol=1e-12, atol=1e-12)


@EXAMPLES
@given(batches(), st.floats(0.5, 4.0))
def test_alignment_is_monotonic_and_costs_the_loss(batch: Batch, penalty: float) -> None:
    alignment = axe_align(*batch, skip_target_penalty=penalty)
    losses = axe_loss(*batch, skip_target_penalty=penalty, reduction="none")
    torch.testing.assert_close(alignment.cost, losses)
    for place in range(len(batch.targets)):
        m, n = int(batch.input_lengths[place]), int(batch.target_lengths[place])
        positions, skipped = alignment.position[place], alignment.skipped[place]
        assert (positions[:n].diff() >= 0).all()
        assert ((positions[:n] >= 0) & (positions[:n] < m)).all()
        assert (positions[n:] == -1).all()
        assert not skipped[n:].any()
        taken = positions[:n][~skipped[:n]]
        assert len(set(taken.tolist())) == len(taken)
        wanted = torch.zeros_like(alignment.prediction_aligned[place])
        wanted[taken] = True
        assert torch.equal(alignment.prediction_aligned[place], wanted)


@EXAMPLES
@given(st.lists(st.integers(0, 4), min_size=1, max_size=10))
def test_certain_predictions_of_the_targets_cost_nothing(predictions: list[int]) -> None:
    """Each prediction is sure of its id; the targets are those ids without ε."""
    tokens = [token for token in predictions if token != 0]
    logits = torch.nn.functional.one_hot(torch.tensor([predictions]), 5) * 60.0
    targets = torch.tensor([tokens], dtype=torch.long).reshape(1, len(tokens))
    lengths = torch.tensor([len(predictions)]), torch.tensor([len(tokens)])
    loss = axe_loss(logits.log_softmax(-1), targets, *lengths, reduction="sum")
    assert loss.item() < 1e-6
    alignment = axe_align(logits.log_softmax(-1), targets, *lengths)
    places = [place for place, token in enumerate(predictions) if token != 0]
    assert alignment.position[0].tolist() == places
