"""Recognition with exported graphs gives the transcripts of the network, in every decode mode."""

from __future__ import annotations

import pytest

from fixtures.exported import TracedSessions
from fixtures.random_model import noise, random_model
from fixtures.random_pretrained import random_pretrained
from keyframe_asr.inference.batch_recognizer import BatchRecognizer
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.model_folder import StoredModel
from keyframe_asr.results import Transcript
from keyframe_asr.runtime.network import ExportedNetwork

SOUNDS = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 0.0, 2.3, 0.9), start=30)]


def exported_twin(recognizer: Recognizer) -> BatchRecognizer:
    """The same model, whose network runs as exported graphs."""
    network, config = module_of(recognizer.network), recognizer.config
    stored = StoredModel(network, recognizer.tokenizer, config)
    exported = ExportedNetwork(config, TracedSessions(network))
    twin = BatchRecognizer(stored, OnnxNetwork(exported))
    twin.pretrained = recognizer.pretrained
    return twin


def assert_same(found: list[Transcript], expected: list[Transcript]) -> None:
    assert any(one.text for one in expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.text == theirs.text
        assert [one.text for one in ours.alternatives] == [one.text for one in theirs.alternatives]
        for token, other in zip(ours.tokens, theirs.tokens, strict=True):
            assert (token.text, token.start, token.end) == (other.text, other.start, other.end)
            assert token.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_a_decoder_of_the_models_own() -> None:
    recognizer = Recognizer(random_model(), "cpu")
    twin = exported_twin(recognizer)
    assert twin.modes == recognizer.modes
    assert set(twin.modes) == {"axe", "ctc", "attention", "rescore", "joint"}
    for mode in twin.modes:
        options = RecognitionOptions(decode=mode, beam=4, nbest=3)
        assert_same(twin.recognise(SOUNDS, options), recognizer.recognise(SOUNDS, options))


def test_a_pretrained_decoder() -> None:
    recognizer = random_pretrained(languages=("zh", "en"))
    twin = exported_twin(recognizer)
    assert twin.modes == recognizer.modes and "rescore" in twin.modes
    for mode in ("attention", "rescore"):
        options = RecognitionOptions(decode=mode, beam=4, nbest=2)
        assert_same(twin.recognise(SOUNDS, options), recognizer.recognise(SOUNDS, options))
