"""Whisper's decoder gives what transformers' gives, at once or step by step, on any memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.tiny_pretrained import WHOLE_WHISPER, whole_whisper
from keyframe_asr.config.model import PretrainedDecoderConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.model.decoder_memory import DecoderMemory
from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.model.whisper_decoder import WhisperDecoder

DIM: int = WHOLE_WHISPER["d_model"]
FRAMES: int = WHOLE_WHISPER["max_source_positions"]
PREFIX = torch.tensor([[257, 258, 7, 9, 299, 3], [257, 260, 1, 1, 2, 200], [257, 258, 5, 6, 7, 8]])
SIZES = torch.tensor([6, 6, 6])


def config(**changes: Any) -> PretrainedDecoderConfig:
    return PretrainedDecoderConfig(
        kind="pretrained", source="tiny", architecture=WHOLE_WHISPER, **changes
    )


@pytest.fixture(scope="module")
def whole() -> Any:
    return whole_whisper()


@pytest.fixture(scope="module")
def decoder(whole: Any) -> WhisperDecoder:
    made = WhisperDecoder(config()).eval()
    made.load_state_dict(whole.model.decoder.state_dict())
    return made


@pytest.fixture
def memory() -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(3, 7, DIM), torch.tensor([7, 1, 4])


def identity_memory(**changes: Any) -> DecoderMemory:
    return DecoderMemory(config(**changes), DIM, DIM, outputs_per_frame=2)


@torch.inference_mode()
def test_all_outputs_give_what_transformers_gives(whole: Any, decoder: WhisperDecoder) -> None:
    """Every encoder frame as a keyframe, with its two outputs: the memory is the whole encoder's,
    and the log-probabilities are Whisper's own."""
    torch.manual_seed(4)
    mel = torch.randn(2, 80, 2 * FRAMES)
    outputs = whole.model.encoder(mel).last_hidden_state
    expected = whole(input_features=mel, decoder_input_ids=PREFIX[:2]).logits.log_softmax(-1)
    every = Keyframes.all_frames(torch.tensor([FRAMES // 2] * 2), FRAMES // 2)
    build = identity_memory(memory="neighbours", memory_frames=2)
    vectors, lengths = build(outputs, torch.tensor([FRAMES] * 2), every)
    torch.testing.assert_close(vectors, outputs, rtol=0, atol=1e-6)
    found = decoder(PREFIX[:2], SIZES[:2], vectors, lengths).log_softmax(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prompt", [1, 3])
@torch.inference_mode()
def test_steps_equal_the_whole(
    decoder: WhisperDecoder, memory: tuple[Tensor, Tensor], prompt: int
) -> None:
    expected = decoder(PREFIX, SIZES, *memory).log_softmax(-1)
    log_probs, state = decoder.step(PREFIX[:, :prompt], decoder.start(*memory))
    found = [log_probs]
    for tokens in PREFIX[:, prompt:].T:
        log_probs, state = decoder.step(tokens, state)
        found.append(log_probs)
    assert state.length == PREFIX.shape[1]
    steps = torch.stack(found, dim=1)
    torch.testing.assert_close(steps, expected[:, prompt - 1 :], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_several_tokens_follow_earlier_ones(
    decoder: WhisperDecoder, memory: tuple[Tensor, Tensor]
) -> None:
    expected = decoder(PREFIX, SIZES, *memory).log_softmax(-1)
    _, state = decoder.step(PREFIX[:, :2], decoder.start(*memory))
    found, _ = decoder.step(PREFIX[:, 2:5], state)
    torch.testing.assert_close(found, expected[:, 4], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_batch_equals_alone(decoder: WhisperDecoder, memory: tuple[Tensor, Tensor]) -> None:
    vectors, lengths = memory
    together = decoder(PREFIX, SIZES, vectors, lengths)
    for row, size in enumerate(lengths.tolist()):
        one = slice(row, row + 1)
        alone = decoder(PREFIX[one], SIZES[one], vectors[one, :size], lengths[one])
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-4)


def test_parts_that_a_stage_trains(decoder: WhisperDecoder) -> None:
    def names(*chosen: Any) -> set[str]:
        parts = list(decoder.trained_parts(*chosen))
        return {name for name, module in decoder.named_modules() if any(module is p for p in parts)}

    assert names(True) == {
        f"layers.{n}.encoder_attn{part}" for n in (0, 1) for part in ("", "_layer_norm")
    }
    assert names(False, 2) == {"layers.1", "layer_norm"}
    with pytest.raises(ModelError):
        names(True, 3)


def test_incomplete_configuration_is_refused() -> None:
    with pytest.raises(ModelError):
        WhisperDecoder(
            PretrainedDecoderConfig(
                kind="pretrained", source="tiny", architecture={"d_model": 16, "vocab_size": 300}
            )
        )


KEYFRAMES = Keyframes(torch.tensor([[0, 2, 3], [1, 0, 0]]), torch.tensor([3, 1]))
LENGTHS = torch.tensor([8, 3])


def outputs() -> Tensor:
    """Output t of utterance b is 100 b + t in every place."""
    place = torch.arange(8.0) + 100 * torch.arange(2.0).unsqueeze(1)
    return place.unsqueeze(-1).expand(2, 8, DIM)


@torch.inference_mode()
def test_fused_begins_as_the_mean_around_each_keyframe() -> None:
    """Four outputs around frame t are 2 t - 1 to 2 t + 2; those outside the utterance are left
    out."""
    found, lengths = identity_memory()(outputs(), LENGTHS, KEYFRAMES)
    assert lengths.tolist() == [3, 1]
    means = [[(0 + 1 + 2) / 3, 4.5, (5 + 6 + 7) / 3], [(101 + 102) / 2]]
    assert found[0, :, 0].tolist() == pytest.approx(means[0])
    assert found[1, 0, 0].item() == pytest.approx(means[1][0])


@torch.inference_mode()
def test_neighbours_are_given_once_each() -> None:
    found, lengths = identity_memory(memory="neighbours")(outputs(), LENGTHS, KEYFRAMES)
    assert lengths.tolist() == [8, 2]
    assert found[0, :, 0].tolist() == pytest.approx(list(range(8)))
    assert found[1, :2, 0].tolist() == pytest.approx([101, 102])


@torch.inference_mode()
def test_positions_have_no_weight_at_first() -> None:
    plain, _ = identity_memory()(outputs(), LENGTHS, KEYFRAMES)
    build = identity_memory(positions=True)
    assert torch.equal(build(outputs(), LENGTHS, KEYFRAMES)[0], plain)
    build.position_scale.fill_(1.0)
    added = build(outputs(), LENGTHS, KEYFRAMES)[0] - plain
    place = 2 * 2 + 0.5  # in the middle of frame 2's two outputs
    assert added[0, 1, 0].item() == pytest.approx(torch.tensor(place).sin().item(), abs=1e-5)
    assert added[0, 1, DIM // 2].item() == pytest.approx(torch.tensor(place).cos().item(), abs=1e-5)


@pytest.mark.parametrize("memory", ["fused", "neighbours"])
def test_nothing_to_take_from(memory: str) -> None:
    nothing = Keyframes(torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    found, lengths = identity_memory(memory=memory)(
        torch.zeros(2, 0, DIM), torch.zeros(2, dtype=torch.long), nothing
    )
    assert lengths.tolist() == [0, 0]
    assert found.shape[1] == 1 and found.isfinite().all()
