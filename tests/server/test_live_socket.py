"""`/v1/stream`: the same text as in Python, errors, limits, and how conversations end."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from architecture.source_tree import REPOSITORY
from fixtures.live_speech import recognizer, rest, speech, streamed
from fixtures.server import RunningServer, running_server
from keyframe_asr.inference.options import RecognitionOptions

FINISH = '{"type":"finish"}'


async def say(socket: ClientConnection, content: bytes, size: int = 6401) -> None:
    """Send audio in messages of a size that cuts samples."""
    for start in range(0, len(content), size):
        await socket.send(content[start : start + size])


async def recognised(url: str, samples: np.ndarray[Any, Any]) -> tuple[list[dict[str, Any]], int]:
    async with connect(url) as socket:
        reading = asyncio.create_task(rest(socket))
        await say(socket, samples.tobytes())
        await socket.send(FINISH)
        await socket.send(b"\0\0")  # too late, and ignored
        return await reading


@pytest.mark.parametrize(
    ("model", "rate"), [("demo", 16000), ("demo", 24000), ("demo-streaming", 48000)]
)
def test_same_text_as_in_python(server: RunningServer, model: str, rate: int) -> None:
    samples = speech(rate)
    finals, tokens = streamed(samples, rate, model)
    assert len(finals) == 2 and all(one.text for one in finals)
    url = f"{server.socket_url}/v1/stream?model={model}&rate={rate}&language=zh"
    found, code = asyncio.run(recognised(url, samples))
    (ready, *messages, done) = found
    assert code == 1000
    facts = recognizer(model)
    assert ready == {
        "type": "ready",
        "model": model,
        "sample_rate": rate,
        "frame_seconds": facts.network.frame_seconds,
        "emission_delay": facts.config.emission_delay_seconds,
        "streams": model == "demo-streaming",
        "languages": ["zh"],
    }
    assert done["type"] == "done" and done["seconds"] == pytest.approx(samples.size / rate, abs=0.1)
    told = [one["transcript"] for one in messages if one["type"] == "final"]
    for given, expected in zip(told, finals, strict=True):
        assert given["text"] == expected.text
        assert [(one["text"], one["start"], one["end"]) for one in given["tokens"]] == [
            (one.text, pytest.approx(one.start, abs=1e-3), pytest.approx(one.end, abs=1e-3))
            for one in expected.tokens
        ]
        assert given["start"] <= given["tokens"][0]["start"]
        assert given["end"] - given["start"] == pytest.approx(given["duration"], abs=1e-3)
        assert given["keyframes"] == pytest.approx(expected.keyframes, abs=1e-3)
        assert len(given["keyframes"]) < given["frames"]
        assert given["frames"] == pytest.approx(given["duration"] / ready["frame_seconds"], abs=1)
    partial = [one for one in messages if one["type"] == "partial"]
    starts = {one["start"] for one in partial} - {None}
    assert starts == {one["start"] for one in told}
    committed = [token["text"] for one in partial for token in one["tokens"]]
    assert committed == [one.text for one in tokens]
    assert all(len(one["keyframes"]) == len(one["tokens"]) for one in partial)
    clock = [0.0, *(one["seconds"] for one in partial)]
    assert max(after - before for before, after in pairwise(clock)) <= 2.0


def test_hot_words(server: RunningServer) -> None:
    words = ("零零", "八号灯")
    best = RecognitionOptions(hotwords=words)
    finals, _ = streamed(speech(), 16000, recognition=best)
    url = f"{server.socket_url}/v1/stream?" + "&".join(f"keywords={quote(one)}" for one in words)
    found, _ = asyncio.run(recognised(url, speech()))
    told = [one["transcript"]["text"] for one in found if one["type"] == "final"]
    assert told == [one.text for one in finals]
    assert told != [one.text for one in streamed(speech(), 16000)[0]]


@pytest.mark.parametrize(
    ("query", "message", "expected"),
    [
        ("model=../demo", b"", ("model_not_found", "model", 1008)),
        ("rate=7999", b"", ("invalid_value", "rate", 1008)),
        ("rate=192001", b"", ("invalid_value", "rate", 1008)),
        ("rate=1e4", b"", ("invalid_value", "rate", 1008)),
        ("language=en", b"", ("invalid_value", "language", 1008)),
        ("keywords=" + "a" * 201, b"", ("invalid_value", "keywords", 1008)),
        ("modle=demo", b"", ("unknown_parameter", "modle", 1008)),
        ("", '{"type":"start"}', ("invalid_message", None, 1008)),
        ("", "[" * 100_000, ("invalid_message", None, 1008)),
        ("", '"finish"', ("invalid_message", None, 1008)),
    ],
)
def test_errors(
    server: RunningServer, query: str, message: str | bytes, expected: tuple[Any, ...]
) -> None:
    async def test() -> None:
        async with connect(f"{server.socket_url}/v1/stream?{query}") as socket:
            if message:
                await socket.send(message)
            found, code = await rest(socket)
            error = found[-1]["error"]
            assert found[-1]["type"] == "error" and error["type"] == "invalid_request_error"
            assert (error["code"], error["param"], code) == expected
            assert error["message"]

    asyncio.run(test())


def test_text_that_is_not_utf_8(server: RunningServer) -> None:
    async def test() -> None:
        async with connect(f"{server.socket_url}/v1/stream") as socket:
            await socket.send(b"\xff\xfe", text=True)
            _, code = await rest(socket)
            assert code == 1007

    asyncio.run(test())


MINUTES = 20


async def leave_early(socket: ClientConnection) -> None:
    """Send faster than speech is recognised, and then leave without a word."""
    many = np.tile(speech(), MINUTES * 60 * 16000 // speech().size).tobytes()
    sending = asyncio.create_task(say(socket, many, 50_000))
    await asyncio.sleep(0.3)
    sending.cancel()
    socket.transport.abort()
    with suppress(asyncio.CancelledError, ConnectionClosed):
        await sending


def test_limits_and_the_end_of_the_server() -> None:
    options = ("--max-streams", "1", "--max-message", "0.1", "--idle-timeout", "1")

    async def test(running: RunningServer) -> None:
        url = f"{running.socket_url}/v1/stream"
        async with connect(url) as socket:  # says nothing
            found, code = await rest(socket)
            assert [one["type"] for one in found] == ["ready", "error"] and code == 1008
            assert found[-1]["error"]["code"] == "idle_timeout"
        async with connect(url) as socket:  # is active for longer than it may be idle
            for _ in range(7):
                await socket.send(bytes(3200))
                await asyncio.sleep(0.2)
            await socket.send(FINISH)
            assert (await rest(socket))[1] == 1000
        async with connect(url) as socket:
            await socket.send(bytes(100_001))
            assert (await rest(socket))[1] == 1009
        async with connect(url, subprotocols=["openai-insecure-api-key.x", "stream"]) as socket:
            assert socket.subprotocol == "stream"
            await say(socket, speech().tobytes())
            async with connect(url) as other:
                found, code = await rest(other)
                assert (found[0]["error"]["code"], code) == ("server_full", 1013)
                assert found[0]["error"]["type"] == "server_error"
            await leave_early(socket)
        while True:  # who left makes room
            async with connect(url) as socket:
                if json.loads(await socket.recv())["type"] == "ready":
                    break
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"{running.url}/metrics")).text
        heard = re.findall(r'^keyframe_audio_seconds_total{kind="stream".* (.+)$', metrics, re.M)
        assert heard and sum(map(float, heard)) < MINUTES * 60 / 2
        await asyncio.sleep(0.1)
        async with connect(url) as socket:
            assert json.loads(await socket.recv())["type"] == "ready"
            await say(socket, speech().tobytes())
            while json.loads(await socket.recv())["type"] != "partial":
                pass  # some of it has arrived then
            running.process.send_signal(signal.SIGTERM)
            found, code = await rest(socket)
            finals = [one["transcript"]["text"] for one in found if one["type"] == "final"]
            # the speech, as far as it had arrived
            expected = [one.text for one in streamed(speech(), 16000)[0]]
            assert finals and expected[0].startswith(finals[0][:1])
            assert found[-1]["type"] == "done" and code == 1001
        assert await asyncio.to_thread(running.process.wait, 10) == 0

    with running_server("demo", options=options) as running:
        asyncio.run(test(running))
    assert not [line for line in running.log if "Traceback" in line]


@pytest.mark.parametrize("page", ["server_stream.md", "server_realtime.md"])
def test_examples_of_the_documentation(server: RunningServer, page: str, tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "guides" / page).read_text(encoding="utf-8")
    (example,) = re.findall(r"^```py\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    soundfile.write(tmp_path / "speech.wav", speech(), 16000)
    address = server.url.removeprefix("http://")
    assert "127.0.0.1:8000" in example
    ran = subprocess.run(
        [sys.executable, "-c", example.replace("127.0.0.1:8000", address)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    expected = [one.text for one in streamed(speech(), 16000)[0]]
    if "realtime" in page:
        expected = [recognizer().transcribe(speech()).text]
    assert ran.stdout.splitlines() == expected
