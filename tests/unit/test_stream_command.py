"""`keyframe stream` with real pipes, files and a terminal."""

from __future__ import annotations

import array
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile

from fixtures.command_line import ERROR, keyframe
from fixtures.random_model import RATE, save_random_model
from keyframe_asr.audio.reading import Samples
from keyframe_asr.cli.stream import GREY, WHOLE_LINE
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser

TEXTS = ("三九六", "打开灯")

WITHOUT_TORCH = """
import sys
from keyframe_asr.__main__ import main
try:
    main()
finally:
    loaded = {"torch", "lhotse", "transformers"} & set(sys.modules)
    assert not loaded, loaded
"""


@pytest.fixture(scope="module")
def speech() -> Samples:
    """Two utterances, a pause after the first only."""
    synthesiser = SpeechSynthesiser()
    first, second = (synthesiser.say(text, "cmn+f3")[0] for text in TEXTS)
    samples = np.concatenate((first, np.zeros(2 * RATE, np.float32), second))
    noise = 1e-3 * np.random.default_rng(0).normal(size=samples.size)
    return (samples + noise).clip(-1, 1).astype(np.float32)


def pcm(samples: Samples) -> bytes:
    return (samples * 32_767).astype("<i2").tobytes()


@contextmanager
def started(*arguments: object, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A program of its own, with pipes, in which torch must not be imported."""
    words = [sys.executable, "-c", WITHOUT_TORCH, "stream", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    with subprocess.Popen(words, env=environment, **pipes) as program:
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.parametrize("model", ["demo", "demo-streaming"])
def test_raw_samples_from_a_pipe(model: str, speech: Samples) -> None:
    with started(model, "-") as program:
        stdin, stdout = program.stdin, program.stdout
        assert stdin is not None and stdout is not None
        pause = speech.size - RATE // 2
        content = pcm(speech)
        stdin.write(content[: pause * 2 - 1])
        stdin.flush()
        assert stdout.readline().decode().strip() == TEXTS[0]  # while the pipe is open
        said, problems = program.communicate(content[pause * 2 - 1 :] + b"\0")
        assert (program.returncode, problems) == (0, b"")
        assert said.decode().split() == [TEXTS[1]]


def test_an_interrupt_ends_with_the_last_utterance(speech: Samples) -> None:
    with started("demo", "--json") as program:
        stdin, stdout = program.stdin, program.stdout
        assert stdin is not None and stdout is not None
        stdin.write(pcm(speech))
        stdin.flush()
        while not json.loads(stdout.readline())["final"]:
            pass
        while _unread(stdin):
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        said, problems = program.communicate()
        assert (program.returncode, problems) == (0, b"")
        last = json.loads(said.decode().splitlines()[-1])
        assert [one["text"] for one in last["final"]] == [TEXTS[1]]


def _unread(pipe: IO[bytes]) -> int:
    """Bytes of a pipe that the program has not read yet."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    waiting = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0]


def test_updates_as_json(speech: Samples) -> None:
    done = keyframe("stream", "demo", "--json", "--step", 0.2, stdin=pcm(speech))
    assert (done.exit_code, done.stderr) == (0, "")
    updates = [json.loads(line) for line in done.stdout.splitlines()]
    seconds = [update["seconds"] for update in updates]
    assert seconds == sorted(seconds) and seconds[-1] == round(speech.size / RATE, 3)
    committed = [token for update in updates for token in update["committed"]]
    assert "".join(token["text"] for token in committed).startswith(TEXTS[0])
    assert len(committed) == len("".join(TEXTS))
    assert all(token["start"] <= token["end"] <= seconds[-1] + 0.001 for token in committed)
    assert [one["text"] for update in updates for one in update["final"]] == list(TEXTS)
    assert {"text", "partial"} < set(updates[0])


def test_chunks_of_a_model_that_streams(speech: Samples, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech, RATE)
    first = []
    for chunk in (0.16, 1.28):
        done = keyframe("stream", "demo-streaming", path, "--fast", "--json", "--chunk", chunk)
        updates = [json.loads(line) for line in done.stdout.splitlines()]
        assert [one["text"] for update in updates for one in update["final"]] == list(TEXTS), done
        first.append(next(one["seconds"] for one in updates if one["committed"]))
    assert first[0] < first[1]
    refused = keyframe("stream", "demo", path, "--fast", "--look-ahead", 0.1)
    assert "model.encoder.streaming" in refused.error


def test_streams_can_be_simulated(speech: Samples, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech[: RATE * 2], RATE)
    words = "transcribe", "demo-streaming", path, "--format", "json"
    whole = json.loads(keyframe(*words, "--greedy").stdout)
    found = [
        json.loads(keyframe(*words, "--simulate-streaming", *sizes).stdout)
        for sizes in ((), ("--chunk", 0.04, "--look-ahead", 0))
    ]
    texts = [one["text"] for one in (whole, *found)]
    assert texts[:2] == [TEXTS[0]] * 2
    confidences = [[token["confidence"] for token in one["tokens"]] for one in (whole, *found)]
    assert confidences[0] != confidences[1] != confidences[2]
    assert "--chunk" in keyframe(*words, "--chunk", 0.3).usage_error


def test_a_file_of_another_rate(speech: Samples, tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, np.repeat(speech, 2), 2 * RATE)
    done = keyframe("stream", "demo", path, "--fast")
    assert (done.exit_code, done.stdout.split()) == (0, list(TEXTS)), done
    again = keyframe("stream", "demo", "--rate", 2 * RATE, stdin=pcm(np.repeat(speech, 2)))
    assert again.stdout == done.stdout


def test_a_file_takes_as_long_as_it_lasts(
    speech: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech, RATE)
    waited: list[float] = []
    monkeypatch.setattr("keyframe_asr.cli.stream.time.sleep", waited.append)
    monkeypatch.setattr("keyframe_asr.cli.stream.time.monotonic", lambda: sum(waited))
    assert keyframe("stream", "demo", path).stdout.split() == list(TEXTS)
    assert sum(waited) == pytest.approx(speech.size / RATE)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_text_that_may_change_is_grey_on_a_terminal(speech: Samples) -> None:
    ours, theirs = os.openpty()
    with started("demo", stdin=subprocess.PIPE, stdout=theirs, stderr=theirs) as program:
        os.close(theirs)
        assert program.stdin is not None
        program.stdin.write(pcm(speech))
        program.stdin.close()
        shown = b""
        while data := _read(ours):
            shown += data
        assert program.wait() == 0
    os.close(ours)
    lines = shown.decode().split("\r\n")
    assert [line.split(WHOLE_LINE)[-1] for line in lines[:-1]] == list(TEXTS)
    assert any(GREY in part for part in lines[0].split(WHOLE_LINE))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # its other end is closed
        return b""


def test_a_model_without_graphs(speech: Samples, tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    done = keyframe("stream", model, stdin=pcm(speech))
    assert done.exit_code == 0 and done.stdout, done


def test_what_cannot_be_streamed(tmp_path: Path, speech: Samples) -> None:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech, RATE)
    assert "WAV" in keyframe("stream", "demo", stdin=path.read_bytes()).error
    assert "missing.wav" in keyframe("stream", "demo", "missing.wav").error
    assert "--rate" in keyframe("stream", "demo", path, "--rate", 8_000).usage_error
    assert "--step" in keyframe("stream", "demo", "--step", 0).usage_error
    assert "100" in keyframe("stream", "demo", "--rate", 100).error
    assert "nothing" in keyframe("stream", "nothing").error


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_is_no_input() -> None:
    ours, theirs = os.openpty()
    with started("demo", stdin=theirs) as program:
        said, problem = program.communicate()
        assert (program.returncode, said) == (1, b"")
        (line,) = problem.decode().splitlines()
        assert line.startswith(ERROR)
    os.close(ours)
    os.close(theirs)
