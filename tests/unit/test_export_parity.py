"""Exported graphs give what the network gives, for every kind of model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from fixtures.exported import KINDS, Pair, exported
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.runtime.decoder import ExportedDecoder
from keyframe_asr.runtime.network import EncodedArrays

Floats = npt.NDArray[np.float32]

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
WITH_DECODER = ["fbank", "whisper"]
"""One of each kind of decoder: the graphs are the same whatever they attend to."""


def some_features(name: str) -> list[Floats]:
    """Of utterances of several lengths: one window of Whisper and more, one frame, and none."""
    random = np.random.default_rng(3)
    family = KINDS[name].pretrained
    if family in (None, "whisper"):
        sizes = [97, 1, 0, 290, 33]
        return [random.normal(size=(size, 80)).astype(np.float32) for size in sizes]
    sizes = [16_000, 400, 399, 0, 7_001]
    return [random.normal(size=(size, 1)).astype(np.float32) for size in sizes]


@torch.inference_mode()
def by_torch(pair: Pair, features: list[Floats]) -> Encoded:
    tensors = [torch.from_numpy(one) for one in features]
    lengths = torch.tensor([len(one) for one in tensors])
    padded = pad_sequence(tensors, batch_first=True, padding_value=7.0)
    return pair.network.encode(padded, lengths)


def assert_same(found: EncodedArrays, expected: Encoded, rows: int) -> None:
    np.testing.assert_array_equal(found.frame_lengths, expected.frame_lengths)
    np.testing.assert_array_equal(found.keyframes.lengths, expected.keyframes.lengths)
    vectors, lengths = expected.attended
    np.testing.assert_array_equal(found.attended_lengths, lengths)
    for row in range(rows):
        frames, count = int(found.frame_lengths[row]), int(found.keyframes.lengths[row])
        np.testing.assert_array_equal(
            found.keyframes.index[row, :count], expected.keyframes.index[row, :count]
        )
        for ours, theirs, size in (
            (found.inter_log_probs, expected.inter_log_probs, frames),
            (found.memory, expected.memory, count),
            (found.head_log_probs, expected.head_log_probs, count),
            (found.attended, vectors, int(lengths[row])),
        ):
            np.testing.assert_allclose(ours[row, :size], theirs[row, :size], **CLOSE)


@pytest.mark.parametrize("name", KINDS)
def test_an_exported_network_gives_the_outputs_of_the_network(name: str) -> None:
    pair, features = exported(name), some_features(name)
    expected = by_torch(pair, features)
    assert_same(pair.exported.encode(features), expected, len(features))


@pytest.mark.parametrize("name", ["fbank", "fbank, all frames"])
def test_graphs_take_a_batch_with_any_padding(name: str) -> None:
    pair, features = exported(name), some_features(name)
    expected = by_torch(pair, features)
    lengths = np.array([len(one) for one in features])
    padded = np.full((len(features), int(lengths.max()), 80), -5.0, dtype=np.float32)
    for row, one in enumerate(features):
        padded[row, : len(one)] = one
    sessions = pair.exported.sessions
    frames, frame_lengths, log_probs = sessions.run("encoder", features=padded, lengths=lengths)
    index, counts = (one.numpy() for one in (expected.keyframes.index, expected.keyframes.lengths))
    memory, head = sessions.run(
        "keyframes",
        frames=frames,
        frame_lengths=frame_lengths,
        index=index,
        keyframe_lengths=counts,
    )
    np.testing.assert_array_equal(frame_lengths, expected.frame_lengths)
    for row in range(len(features)):
        size, count = int(frame_lengths[row]), int(counts[row])
        for found, wanted, valid in (
            (log_probs, expected.inter_log_probs, size),
            (memory, expected.memory, count),
            (head, expected.head_log_probs, count),
        ):
            np.testing.assert_allclose(found[row, :valid], wanted[row, :valid], **CLOSE)


@torch.inference_mode()
def test_padding_of_keyframes_may_lie_in_a_window_without_any() -> None:
    pair, random = exported("whisper, keyframes inside"), np.random.default_rng(4)
    frames = random.normal(size=(2, 60, 16)).astype(np.float32)
    outputs = random.normal(size=(2, 120, 16)).astype(np.float32)
    sizes, output_sizes = np.array([60, 60]), np.array([120, 120])
    index, counts = np.array([[31, 33, 0, 0], [1, 2, 31, 35]]), np.array([2, 4])
    memory, head, attended = pair.exported.sessions.run(
        "keyframes",
        frames=frames,
        frame_lengths=sizes,
        index=index,
        keyframe_lengths=counts,
        outputs=outputs,
        output_lengths=output_sizes,
    )
    keyframes = Keyframes(torch.from_numpy(index[:1, :2]), torch.from_numpy(counts[:1]))
    alone, log_probs, upper = pair.network.higher(
        torch.from_numpy(frames[:1]),
        torch.from_numpy(sizes[:1]),
        keyframes,
        torch.from_numpy(outputs[:1]),
        torch.from_numpy(output_sizes[:1]),
    )
    assert pair.network.decoder_memory is not None and upper is not None
    vectors, _ = pair.network.decoder_memory(upper, torch.from_numpy(output_sizes[:1]), keyframes)
    for found, expected in ((memory, alone), (head, log_probs), (attended, vectors)):
        np.testing.assert_allclose(found[:1, :2], expected, **CLOSE)


@pytest.mark.parametrize("name", ["whisper", "wav2vec2"])
@torch.inference_mode()
def test_outputs_of_the_pretrained_encoder_may_be_known(name: str) -> None:
    pair, features = exported(name), some_features(name)
    outputs = [pair.exported.pretrained_outputs(one) for one in features]
    directly = pair.exported.encode(features)
    later = pair.exported.encode(outputs, pre_encoded=True)
    np.testing.assert_array_equal(directly.head_log_probs, later.head_log_probs)


def test_a_minimum_of_keyframes_is_kept() -> None:
    pair, features = exported("fbank"), some_features("fbank")
    found = pair.exported.encode(features, [20, 5, 5, 70, 5])
    assert found.keyframes.lengths.tolist() == [20, 1, 0, 70, 5]


def the_decoder(name: str) -> tuple[Pair, ExportedDecoder, EncodedArrays]:
    pair = exported(name)
    features = [one for one in some_features(name) if len(one) > 399 or len(one) in (97, 290, 33)]
    assert pair.exported.decoder is not None
    return pair, pair.exported.decoder, pair.exported.encode(features)


@torch.inference_mode()
def texts_by_torch(pair: Pair, tokens: list[list[int]], found: EncodedArrays) -> Floats:
    """Log-probabilities (B, N, V) of the tokens after each of these, read at once."""
    assert pair.network.decoder is not None
    logits = pair.network.decoder(
        torch.tensor(tokens),
        torch.tensor([len(one) for one in tokens]),
        torch.from_numpy(found.attended),
        torch.from_numpy(found.attended_lengths),
    )
    return logits.log_softmax(dim=-1).numpy()


@pytest.mark.parametrize("name", WITH_DECODER)
def test_a_decoder_reads_texts_at_once_and_step_by_step(name: str) -> None:
    pair, decoder, encoded = the_decoder(name)
    tokens = [[2, 5, 3, 4], [2, 3, 3, 8], [2, 7, 6, 5]][: len(encoded.attended)]
    expected = texts_by_torch(pair, tokens, encoded)
    start = decoder.start(encoded.attended, encoded.attended_lengths)
    whole, _ = decoder.read(np.array(tokens), start)
    np.testing.assert_allclose(whole, expected, **CLOSE)
    prompted, state = decoder.step(np.array(tokens)[:, :2], start)
    np.testing.assert_allclose(prompted, expected[:, 1], **CLOSE)
    for place in (2, 3):
        stepped, state = decoder.step(np.array(tokens)[:, place], state)
        np.testing.assert_allclose(stepped, expected[:, place], **CLOSE)


@pytest.mark.parametrize("name", ["fbank", "whisper"])
def test_hypotheses_are_repeated_reordered_and_left_out(name: str) -> None:
    pair, decoder, encoded = the_decoder(name)
    texts = [[2, 5, 3, 4], [2, 4, 7, 3], [2, 3, 8, 6], [2, 6, 6, 5]]
    rows = np.array([0, 0, 1, 1])
    several = replace(
        encoded, attended=encoded.attended[rows], attended_lengths=encoded.attended_lengths[rows]
    )
    expected, tokens = texts_by_torch(pair, texts, several), np.array(texts)
    start = decoder.start(encoded.attended[:2], encoded.attended_lengths[:2])
    _, state = decoder.step(np.array([2, 2]), start)
    state = state.select(rows)
    _, state = decoder.step(tokens[[1, 0, 3, 2], 1], state)
    state = state.select_past(np.array([1, 0, 3, 2]))  # the best of each utterance come first
    found, state = decoder.step(tokens[:, 2], state)
    np.testing.assert_allclose(found, expected[:, 2], **CLOSE)
    second, _ = decoder.step(tokens[2:, 3], state.select(np.array([2, 3])))
    np.testing.assert_allclose(second, expected[2:, 3], **CLOSE)
    mixed = np.array([3, 0, 2])  # not in the order of their utterances
    others, _ = decoder.step(tokens[mixed, 3], state.select(mixed))
    np.testing.assert_allclose(others, expected[mixed, 3], **CLOSE)


@torch.inference_mode()
def test_a_tree_of_texts_is_read_at_once() -> None:
    pair, decoder, encoded = the_decoder("whisper")
    tokens, paths = [2, 5, 3, 4, 7], [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 4]]
    before = np.zeros((5, 5), dtype=bool)
    for place, path in enumerate(paths):
        before[place, path] = True
    vectors = encoded.attended[0, : encoded.attended_lengths[0]]
    found = decoder.read_tree(np.array(tokens), before, vectors)
    assert pair.network.pretrained_decoder is not None
    logits = pair.network.pretrained_decoder.read_tree(
        torch.tensor(tokens), torch.from_numpy(before), torch.from_numpy(vectors)
    )
    np.testing.assert_allclose(found, logits.log_softmax(dim=-1), **CLOSE)
