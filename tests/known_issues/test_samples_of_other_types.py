"""Samples other than float arrays in [-1, 1] gave an empty text or a traceback."""

from __future__ import annotations

import io
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from fixtures.containers import encoded
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.audio.arrays import checked_samples
from keyframe_asr.errors import AudioError, FormatError
from keyframe_asr.inference.recognizer import Recognizer, load

SOUND = noise(1.0)
INTEGERS = np.round(SOUND * 32768).clip(-32768, 32767).astype(np.int16)
WAV = encoded("WAV", "FLOAT", SOUND, RATE)

ACCEPTED: dict[str, Any] = {
    "float64": SOUND.astype(np.float64),
    "strided": np.repeat(SOUND, 2)[::2],
    "float tensor": torch.from_numpy(SOUND),
    "tensor with a gradient": torch.from_numpy(SOUND).requires_grad_(),
    "double tensor": torch.from_numpy(SOUND).double(),
    "bytes": WAV,
    "bytearray": bytearray(WAV),
    "memoryview": memoryview(WAV),
    "file in memory": io.BytesIO(WAV),
}
SCALED: dict[str, Any] = {
    "int16": INTEGERS,
    "int16 tensor": torch.from_numpy(INTEGERS),
    "int16 file": encoded("WAV", "PCM_16", INTEGERS, RATE),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "list": (SOUND.tolist(), "list"),
    "none": (None, "NoneType"),
    "number": (1.0, "float"),
    "floats at int16 scale": (INTEGERS.astype(np.float32), "float32"),
    "float tensor at int16 scale": (torch.from_numpy(INTEGERS).float(), "float32"),
    "int32": (INTEGERS.astype(np.int32), "int32"),
    "uint8": (np.zeros(100, np.uint8), "uint8"),
    "bool tensor": (torch.zeros(100, dtype=torch.bool), "bool"),
    "complex": (SOUND.astype(np.complex64), "complex64"),
    "as many channels as samples": (np.zeros((100, 100), np.float32), "(100, 100)"),
    "three axes": (np.zeros((2, 1, 100), np.float32), "(2, 1, 100)"),
    "a number in an array": (np.array(0.5, np.float32), "()"),
    "objects": (np.array([None, 1]), "object"),
    "text file": (io.StringIO("a"), "binary"),
    "empty bytes": (b"", "0 bytes"),
    "other bytes": (b"no recording" * 100, "recording"),
}


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return load(save_random_model(tmp_path_factory.mktemp("model") / "random"))


@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_is_the_same_recording_gives_the_same_text(recognizer: Recognizer, kind: str) -> None:
    expected = recognizer.transcribe(SOUND, "ctc")
    assert expected.text
    assert recognizer.transcribe(ACCEPTED[kind], "ctc").text == expected.text


@pytest.mark.parametrize("kind", SCALED)
def test_int16_is_scaled(recognizer: Recognizer, kind: str) -> None:
    expected = recognizer.transcribe(INTEGERS.astype(np.float32) / 32768, "ctc")
    assert recognizer.transcribe(SCALED[kind], "ctc").text == expected.text


def test_int16_samples_are_those_of_a_file() -> None:
    extremes = np.array([-32768, -1, 0, 1, 32767], np.int16)
    written, _ = soundfile.read(io.BytesIO(encoded("WAV", "PCM_16", extremes)), dtype="float32")
    np.testing.assert_array_equal(checked_samples(extremes), written)


def test_half_precision_tensors() -> None:
    for kind in (torch.float16, torch.bfloat16):
        samples = torch.from_numpy(SOUND).to(kind)
        np.testing.assert_array_equal(checked_samples(samples), samples.float().numpy())


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_recording_is_refused(recognizer: Recognizer, kind: str) -> None:
    audio, named = REFUSED[kind]
    with refused(FormatError if kind == "other bytes" else AudioError, named):
        recognizer.transcribe(audio, "ctc")


def test_one_bad_item_does_not_stop_the_others(recognizer: Recognizer) -> None:
    bad = [audio for audio, _ in REFUSED.values()]
    given = [item for audio in bad for item in (audio, SOUND)]
    results = list(recognizer.transcribe_each(given, "ctc"))
    assert [isinstance(one.error, AudioError) for one in results] == [True, False] * len(bad)
    assert len({one.transcript.text for one in results if one.transcript}) == 1


def test_loud_samples_are_clipped_and_not_refused() -> None:
    assert np.abs(checked_samples(10 * SOUND / np.abs(SOUND).max())).max() == 1.0


def test_file_objects(recognizer: Recognizer, tmp_path: Path) -> None:
    expected = recognizer.transcribe(SOUND, "ctc").text
    (tmp_path / "a").write_bytes(b"four" + WAV)
    with open(tmp_path / "a", "rb") as file:
        file.seek(4)
        assert recognizer.transcribe(file, "ctc").text == expected
        with refused(AudioError, str(tmp_path / "a")):  # nothing is left
            recognizer.transcribe(file, "ctc")
    sender, receiver = socket.socketpair()
    with sender, receiver, receiver.makefile("rb") as stream:
        sender.sendall(WAV)
        sender.shutdown(socket.SHUT_WR)
        assert recognizer.transcribe(stream, "ctc").text == expected
