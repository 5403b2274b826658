"""The attention decoder: a token at a time gives what the whole text gives at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keyframe_asr.config.model import DecoderConfig
from keyframe_asr.model.decoder import AttentionDecoder, DecoderState

DIM, VOCABULARY = 16, 9


@pytest.fixture
def decoder() -> AttentionDecoder:
    torch.manual_seed(2)
    return AttentionDecoder(
        DIM, VOCABULARY, DecoderConfig(layers=2, heads=2, feed_forward=32)
    ).eval()


@pytest.fixture
def memory() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(3, 5, DIM), torch.tensor([5, 1, 3])


PREFIX = torch.tensor([[2, 3, 4, 4, 8], [2, 5, 1, 7, 3], [2, 2, 6, 3, 4]])
LENGTHS = torch.tensor([5, 5, 5])


def stepped(decoder: AttentionDecoder, prefix: Tensor, state: DecoderState) -> Tensor:
    found = []
    for tokens in prefix.T:
        log_probs, state = decoder.step(tokens, state)
        found.append(log_probs)
    assert state.length == prefix.shape[1]
    return torch.stack(found, dim=1)


def test_steps_equal_the_whole(decoder: AttentionDecoder, memory: tuple[Tensor, Tensor]) -> None:
    whole = decoder(PREFIX, LENGTHS, *memory).log_softmax(-1)
    torch.testing.assert_close(
        stepped(decoder, PREFIX, decoder.start(*memory)), whole, rtol=0, atol=1e-5
    )


def test_selected_states_go_on_as_their_source(
    decoder: AttentionDecoder, memory: tuple[Tensor, Tensor]
) -> None:
    state = decoder.start(*memory)
    _, state = decoder.step(PREFIX[:, 0], state)
    _, state = decoder.step(PREFIX[:, 1], state)
    order = torch.tensor([2, 0, 0, 1])
    found, _ = decoder.step(PREFIX[order, 2], state.select(order))
    expected, _ = decoder.step(PREFIX[:, 2], state)
    torch.testing.assert_close(found, expected[order], rtol=0, atol=1e-6)


def test_reordered_past_keeps_the_memory(
    decoder: AttentionDecoder, memory: tuple[Tensor, Tensor]
) -> None:
    """Beams of one utterance swap what they said, not what they listen to."""
    one = (memory[0][:1].expand(3, -1, -1), memory[1][:1].expand(3))
    _, state = decoder.step(PREFIX[:, 0], decoder.start(*one))
    _, state = decoder.step(torch.tensor([3, 4, 5]), state)
    order = torch.tensor([1, 1, 0])
    found, _ = decoder.step(torch.tensor([6, 6, 6]), state.select_past(order))
    expected, _ = decoder.step(torch.tensor([6, 6, 6]), state)
    torch.testing.assert_close(found, expected[order], rtol=0, atol=1e-6)
    assert not torch.allclose(found, expected, atol=1e-4)


def test_states_are_values(decoder: AttentionDecoder, memory: tuple[Tensor, Tensor]) -> None:
    """Two continuations of one state do not disturb each other."""
    _, state = decoder.step(PREFIX[:, 0], decoder.start(*memory))
    first, _ = decoder.step(PREFIX[:, 1], state)
    decoder.step(PREFIX[:, 2], state)
    again, _ = decoder.step(PREFIX[:, 1], state)
    assert torch.equal(first, again)


def test_no_token_sees_the_next(decoder: AttentionDecoder, memory: tuple[Tensor, Tensor]) -> None:
    changed = PREFIX.clone()
    changed[:, 3:] = 5
    before, after = (decoder(one, LENGTHS, *memory) for one in (PREFIX, changed))
    torch.testing.assert_close(after[:, :3], before[:, :3], rtol=0, atol=1e-6)
    assert not torch.allclose(after[:, 3:], before[:, 3:], atol=1e-3)


def test_memory_past_its_length_is_not_heard(
    decoder: AttentionDecoder, memory: tuple[Tensor, Tensor]
) -> None:
    frames, lengths = memory
    noisy = frames.clone()
    noisy[1, 1:] = 1e3
    noisy[2, 3:] = -1e3
    before = decoder(PREFIX, LENGTHS, frames, lengths)
    torch.testing.assert_close(decoder(PREFIX, LENGTHS, noisy, lengths), before, rtol=0, atol=1e-5)
    assert not torch.allclose(
        decoder(PREFIX, LENGTHS, noisy, torch.tensor([5, 5, 5])), before, atol=1e-3
    )


def test_without_memory_nothing_is_nan(decoder: AttentionDecoder) -> None:
    frames, lengths = torch.zeros(3, 1, DIM), torch.tensor([0, 0, 0])
    whole = decoder(PREFIX, LENGTHS, frames, lengths).log_softmax(-1)
    assert whole.isfinite().all()
    steps = stepped(decoder, PREFIX, decoder.start(frames, lengths))
    torch.testing.assert_close(steps, whole, rtol=0, atol=1e-5)


def test_log_probabilities_sum_to_one(
    decoder: AttentionDecoder, memory: tuple[Tensor, Tensor]
) -> None:
    log_probs, _ = decoder.step(PREFIX[:, 0], decoder.start(*memory))
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3))
