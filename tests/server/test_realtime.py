"""`/v1/realtime`, as OpenAI's own client uses it: texts, events, errors, and how sessions end."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fixtures.live_speech import recognizer, rest, speech, streamed
from fixtures.server import RunningServer, running_server
from keyframe_asr.inference.options import RecognitionOptions

TRANSCRIPTION = "conversation.item.input_audio_transcription"
COMPLETED = f"{TRANSCRIPTION}.completed"
COMMITTED = ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
LOGPROBS = "item.input_audio_transcription.logprobs"
Text = Callable[[AsyncRealtimeConnection], Awaitable[None]]


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def session(rate: int = 24000, **given: Any) -> dict[str, Any]:
    """A session as an update holds it."""
    include = given.pop("include", None)
    audio = {"format": {"type": "audio/pcm", "rate": rate}, **given}
    found: dict[str, Any] = {"type": "transcription", "audio": {"input": audio}}
    return found if include is None else {**found, "include": include}


@asynccontextmanager
async def connected(server: RunningServer, **query: str) -> AsyncIterator[AsyncRealtimeConnection]:
    client = AsyncOpenAI(api_key="key", base_url=f"{server.url}/v1")
    asked = {"intent": "transcription", **query}
    async with client.realtime.connect(extra_query=asked) as connection:
        assert (await connection.recv()).type == "session.created"
        yield connection


async def until(connection: AsyncRealtimeConnection, *last: str) -> list[Any]:
    """All events up to one of these types."""
    found: list[Any] = []
    while not found or found[-1].type not in last:
        found.append(await asyncio.wait_for(connection.recv(), 20))
    return found


async def append(connection: AsyncRealtimeConnection, content: bytes, size: int = 9600) -> None:
    for start in range(0, len(content), size):
        await connection.input_audio_buffer.append(audio=encoded(content[start : start + size]))


@pytest.mark.parametrize(("model", "rate"), [("demo", 24000), ("demo-streaming", 16000)])
def test_items_that_the_server_ends(server: RunningServer, model: str, rate: int) -> None:
    samples = speech(rate)
    finals, _ = streamed(samples, rate, model, silence_after_text=0.6)
    assert len(finals) == 2
    turns = {"type": "server_vad", "silence_duration_ms": 600, "create_response": False}

    async def test() -> None:
        async with connected(server, model=model) as connection:
            asked = session(rate, turn_detection=turns, include=[LOGPROBS])
            await connection.session.update(session=asked)  # type: ignore[arg-type]
            (updated,) = await until(connection, "session.updated")
            assert updated.session.audio.input.transcription.model == model
            sending = asyncio.create_task(append(connection, samples.tobytes()))
            previous = None
            for expected in finals:
                found = await until(connection, COMPLETED)
                await check_item(found, expected, previous)
                previous = found[-1].item_id
            await sending
            await connection.input_audio_buffer.commit(event_id="mine")
            (error,) = await until(connection, "error")
            assert error.error.code == "input_audio_buffer_commit_empty"
            assert error.error.event_id == "mine"

    async def check_item(found: list[Any], expected: Any, previous: str | None) -> None:
        types = [one.type for one in found]
        before = types.index("input_audio_buffer.speech_stopped")
        assert types[0] == "input_audio_buffer.speech_started"
        assert types[before + 1 : before + 4] == COMMITTED
        assert set(types[1:before] + types[before + 4 : -1]) <= {f"{TRANSCRIPTION}.delta"}
        started, stopped, committed, added = found[0], *found[before : before + 3]
        last = found[-1]
        ids = {one.item_id for one in found if hasattr(one, "item_id")} | {added.item.id}
        assert ids == {last.item_id}
        assert len({one.event_id for one in found}) == len(found)
        assert committed.previous_item_id == added.previous_item_id == previous
        assert last.transcript == expected.text and last.content_index == 0
        assert last.usage.seconds == pytest.approx(expected.duration, abs=1e-3)
        start, end = started.audio_start_ms / 1000, stopped.audio_end_ms / 1000
        assert end - start == pytest.approx(expected.duration, abs=2e-3)
        assert start <= expected.tokens[0].start <= end
        for given, token in zip(last.logprobs, expected.tokens, strict=True):
            assert given.token == token.text == bytes(given.bytes).decode()
            assert math.exp(given.logprob) == pytest.approx(token.confidence, abs=0.01)

    asyncio.run(test())


def test_text_comes_while_it_is_spoken(server: RunningServer) -> None:
    """Deltas are the committed text, or with what is added at the end, the final text."""
    _, tokens = streamed(speech(), 16000, "demo-streaming", silence_after_text=0.5)

    async def test() -> None:
        async with connected(server, model="demo-streaming") as connection:
            await connection.session.update(session=session(16000))  # type: ignore[arg-type]
            await append(connection, speech().tobytes(), 1600)
            await connection.input_audio_buffer.commit()
            found = await until(connection, "error")
        completed = [one for one in found if one.type == COMPLETED]
        assert len(completed) == 2
        for last in completed:
            own = [one for one in found if getattr(one, "item_id", "") == last.item_id]
            types = [one.type for one in own]
            spoken = types[: types.index(COMMITTED[0])]
            assert f"{TRANSCRIPTION}.delta" in spoken
            told = "".join(one.delta for one in own if one.type == f"{TRANSCRIPTION}.delta")
            start, end = own[0].audio_start_ms / 1000, own[len(spoken) - 1].audio_end_ms / 1000
            committed = "".join(one.text for one in tokens if start <= one.start < end)
            assert told and (told == last.transcript or committed.startswith(told))

    asyncio.run(test())


@pytest.mark.parametrize("rate", [24000, 16000])
def test_items_that_the_client_commits(server: RunningServer, rate: int) -> None:
    samples = speech(rate)
    first = samples[: 5 * rate // 2]
    hot = RecognitionOptions(hotwords=("八号灯",))
    expected = [
        recognizer().transcribe(samples, sample_rate=rate),
        recognizer().transcribe(first, sample_rate=rate),
        recognizer().transcribe(first, hot, sample_rate=rate),
        recognizer().transcribe(first, hot, sample_rate=rate),
    ]
    assert expected[2].text != expected[1].text

    async def test() -> None:
        async with connected(server) as connection:
            asked = session(rate, turn_detection=None, include=[LOGPROBS])
            await connection.session.update(session=asked)  # type: ignore[arg-type]
            await until(connection, "session.updated")
            for part in (samples, first):
                await append(connection, part.tobytes(), 60000)
                await connection.input_audio_buffer.commit()
            for wanted in (
                {"keywords": ["八号灯"], "language": "zh"},
                {"keywords": [], "prompt": "xyz, 八号灯", "languages": ["zh", "zh-CN"]},
            ):
                change = session(rate, transcription=wanted)
                await connection.session.update(session=change)  # type: ignore[arg-type]
                await append(connection, first.tobytes(), 60000)
                await connection.input_audio_buffer.commit()
            events: list[Any] = []
            while sum(one.type == COMPLETED for one in events) < 4:
                events += await until(connection, COMPLETED)
            committed = [one.item_id for one in events if one.type == COMMITTED[0]]
            completed = [one for one in events if one.type == COMPLETED]
            assert [one.item_id for one in completed] == committed
            before = [one.previous_item_id for one in events if one.type == COMMITTED[0]]
            assert before == [None, *committed[:-1]]
            for one, transcript in zip(completed, expected, strict=True):
                assert one.transcript == transcript.text
                assert one.usage.seconds == pytest.approx(transcript.duration, abs=1e-3)
                assert [each.token for each in one.logprobs] == [t.text for t in transcript.tokens]
                deltas = [
                    each.delta
                    for each in events
                    if each.type == f"{TRANSCRIPTION}.delta" and each.item_id == one.item_id
                ]
                assert "".join(deltas) == transcript.text

    asyncio.run(test())


def test_clear_and_change_of_mode(server: RunningServer) -> None:
    samples = speech()
    content, finals = samples.tobytes(), streamed(samples, 16000, silence_after_text=0.5)[0]

    async def test() -> None:
        async with connected(server) as connection:
            await connection.session.update(session=session(16000))  # type: ignore[arg-type]
            await append(connection, content[:40000])
            await until(connection, "input_audio_buffer.speech_started")
            await connection.input_audio_buffer.clear()
            await until(connection, "input_audio_buffer.cleared")
            await append(connection, bytes(64000))
            await connection.input_audio_buffer.commit()
            (error,) = await until(connection, "error")
            assert error.error.code == "input_audio_buffer_commit_empty"
            await append(connection, content[:60000])  # ends within the first utterance
            await connection.input_audio_buffer.commit()
            found = await until(connection, COMPLETED)
            types = [one.type for one in found]
            assert "input_audio_buffer.speech_stopped" not in types and COMMITTED[0] in types
            assert found[-1].transcript
            before = len(content[:40000]) + 64000
            # times go on
            (started,) = [one for one in found if one.type.endswith("speech_started")]
            assert started.audio_start_ms >= 1000 * before / 32000
            manual = session(16000, turn_detection=None)
            await connection.session.update(session=manual)  # type: ignore[arg-type]
            await until(connection, "session.updated")
            await append(connection, content)
            await connection.input_audio_buffer.clear()
            await connection.input_audio_buffer.commit()
            *_, error = await until(connection, "error")
            assert error.error.code == "input_audio_buffer_commit_empty"
            await append(connection, content)
            await connection.session.update(session=session(16000))  # type: ignore[arg-type]
            automatic = session(16000, turn_detection={"type": "server_vad"})
            await connection.session.update(session=automatic)  # type: ignore[arg-type]
            await append(connection, content)
            found = []
            for _ in finals:
                found += await until(connection, COMPLETED)
            texts = [one.transcript for one in found if one.type == COMPLETED]
            assert texts == [one.text for one in finals]

    asyncio.run(test())


def update(**given: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": session(**given)}


def audio(content: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": content}


INPUT = "session.audio.input"
KEYWORDS = {"keywords": ["x", 3]}
SEMANTIC = {"type": "semantic_vad"}
WRONG: list[tuple[Any, str, str | None]] = [
    ("{", "invalid_json", None),
    ('{"type": NaN}', "invalid_json", None),
    ("[" * 50_000, "invalid_json", None),
    ([], "invalid_json", None),
    ({"event": 1}, "missing_type", "type"),
    ({"type": "response.create"}, "invalid_value", "type"),
    ({"type": "input_audio_buffer.append"}, "invalid_audio", "audio"),
    (audio("a b="), "invalid_audio", "audio"),
    (audio("ä"), "invalid_audio", "audio"),
    (audio(encoded(b"\0")), "invalid_audio", "audio"),
    (audio(encoded(bytes(15 * 2**20 + 2))), "audio_too_large", "audio"),
    ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
    ({"type": "session.update"}, "invalid_value", "session"),
    ({"type": "session.update", "session": {}}, "missing_required_parameter", "session.type"),
    ({"type": "session.update", "session": {"type": "realtime"}}, "invalid_value", "session.type"),
    (update(rate=8000), "invalid_value", f"{INPUT}.format.rate"),
    (update(format={"type": "audio/pcmu"}), "invalid_value", f"{INPUT}.format.type"),
    (update(voice="alloy"), "unknown_parameter", f"{INPUT}.voice"),
    (update(transcription={"model": "whisper-1"}), "model_not_found", "model"),
    (update(transcription={"language": "en"}), "invalid_value", "language"),
    (update(transcription=KEYWORDS), "invalid_value", f"{INPUT}.transcription.keywords.1"),
    (update(turn_detection=SEMANTIC), "invalid_value", f"{INPUT}.turn_detection.type"),
    (update(include=["everything"]), "invalid_value", "session.include.0"),
]


def test_errors_do_not_end_a_session(server: RunningServer) -> None:
    async def test() -> None:
        url = f"{server.socket_url}/v1/realtime?intent=transcription"
        async with connect(url, max_size=None) as socket:
            created = json.loads(await socket.recv())
            for number, (message, code, param) in enumerate(WRONG):
                if isinstance(message, dict):
                    message["event_id"] = f"mine-{number}"
                text = message if isinstance(message, str) else json.dumps(message)
                await socket.send(text if number % 2 else text.encode())
                found = json.loads(await socket.recv())
                assert found["type"] == "error", (message, found)
                error = found["error"]
                assert (error["code"], error["param"]) == (code, param), found
                assert error["type"] == "invalid_request_error" and error["message"]
                assert error["event_id"] == (
                    f"mine-{number}" if isinstance(message, dict) else None
                )
            await socket.send(json.dumps(update(rate=24000)))
            updated = json.loads(await socket.recv())
            assert updated["session"] == created["session"]

    asyncio.run(test())


def test_a_buffer_is_limited(server: RunningServer) -> None:
    async def test() -> None:
        async with connect(f"{server.socket_url}/v1/realtime") as socket:
            await socket.recv()
            await socket.send(json.dumps(update(turn_detection=None)))
            await socket.recv()
            block = json.dumps(audio(encoded(bytes(15 * 2**20))))
            for _ in range(3):
                await socket.send(block)
            found = json.loads(await socket.recv())
            assert found["error"]["code"] == "input_audio_buffer_full"
            await socket.send('{"type":"input_audio_buffer.clear"}')
            assert json.loads(await socket.recv())["type"] == "input_audio_buffer.cleared"

    asyncio.run(test())


def test_the_beta_api(server: RunningServer) -> None:
    async def test() -> None:
        async with connect(f"{server.socket_url}/v1/realtime?intent=transcription") as socket:
            await socket.recv()
            asked = {
                "input_audio_format": "pcm16",
                "input_audio_transcription": {"model": "demo-streaming", "language": "zh"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 1},
                "input_audio_noise_reduction": {"type": "near_field"},
            }
            event = {"type": "transcription_session.update", "session": asked}
            await socket.send(json.dumps(event))
            found = json.loads(await socket.recv())
            assert found["type"] == "transcription_session.updated"
            given = found["session"]
            assert given["input_audio_transcription"]["model"] == "demo-streaming"
            assert given["turn_detection"]["silence_duration_ms"] == 100
            event["session"] = {"turn_detection": None}
            await socket.send(json.dumps(event))
            given = json.loads(await socket.recv())["session"]
            assert given["turn_detection"] is None
            assert given["input_audio_transcription"]["model"] == "demo-streaming"

    asyncio.run(test())


@pytest.mark.parametrize(
    ("query", "code"),
    [("model=gpt-4o-transcribe", "model_not_found"), ("intent=conversation", "invalid_value")],
)
def test_wrong_addresses(server: RunningServer, query: str, code: str) -> None:
    async def test() -> None:
        async with connect(f"{server.socket_url}/v1/realtime?{query}") as socket:
            (found,), closed = await rest(socket)
            assert found["error"]["code"] == code and closed == 1008

    asyncio.run(test())


def test_limits_and_the_end_of_the_server() -> None:
    flags = ("--max-streams", "1", "--idle-timeout", "1", "--api-key", "key")

    async def test(server: RunningServer) -> None:
        url = f"{server.socket_url}/v1/realtime"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, additional_headers={"authorization": "Bearer other"}):
                pass
        assert refused.value.response.status_code == 401
        async with connect(url, subprotocols=["realtime", "openai-insecure-api-key.key"]) as socket:  # type: ignore[list-item]
            assert socket.subprotocol == "realtime"
            found, code = await rest(socket)  # says nothing
            assert [one["type"] for one in found] == ["session.created", "error"]
            assert found[-1]["error"]["code"] == "idle_timeout" and code == 1008
        await never_read(url)
        async with connected(server) as connection:
            async with headed(url) as other:
                (full,), code = await rest(other)
                assert full["error"]["code"] == "server_full" and code == 1013
            for _ in range(3):  # each begins before the one before has ended
                await append(connection, speech(24000)[:24000].tobytes())
                await connection.input_audio_buffer.commit()
            await connection.input_audio_buffer.clear()
            *_, last = await until(connection, "error", "input_audio_buffer.cleared")
            assert last.type == "input_audio_buffer.cleared"
            await append(connection, speech(24000).tobytes())
            await until(connection, "input_audio_buffer.speech_started")
            for process in server.children():
                os.kill(process, signal.SIGKILL)
            *_, error = await until(connection, "error")
            assert error.error.type == "server_error"
            assert await code_of(connection) == 1011
        await ready(server)
        async with connected(server) as connection:
            manual = session(turn_detection=None)
            await connection.session.update(session=manual)  # type: ignore[arg-type]
            await append(connection, speech(24000).tobytes())
            await connection.input_audio_buffer.commit()
            await until(connection, COMMITTED[-1])
            server.process.send_signal(signal.SIGTERM)
            *_, last = await until(connection, COMPLETED)
            expected = recognizer().transcribe(speech(24000), sample_rate=24000)
            assert last.transcript == expected.text
            assert await code_of(connection) == 1001
        assert await asyncio.to_thread(server.process.wait, 10) == 0

    with running_server("demo", options=flags) as server:
        asyncio.run(test(server))
    assert not [line for line in server.log if "Traceback" in line]


async def never_read(url: str) -> None:
    """A client that only sends is not heard any more, and then given up."""
    async with headed(url, max_queue=1) as socket:
        event = json.dumps({"type": "x", "event_id": "x" * 500})
        with pytest.raises((TimeoutError, ConnectionClosed)):
            while True:
                await asyncio.wait_for(socket.send(event), 2)
        socket.transport.abort()


async def ready(server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        while (await client.get(f"{server.url}/ready")).status_code != 200:
            await asyncio.sleep(0.1)


def headed(url: str, **given: Any) -> Any:
    return connect(url, additional_headers={"authorization": "Bearer key"}, **given)


async def code_of(connection: AsyncRealtimeConnection) -> int:
    """The code with which the server closes the connection."""
    socket: ClientConnection = connection._connection  # type: ignore[assignment]
    return (await rest(socket))[1]
