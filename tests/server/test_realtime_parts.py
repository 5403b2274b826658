"""What `/v1/realtime` is made of, without a server: configurations, items, and reading ahead."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from keyframe_asr.errors import OptionError
from keyframe_asr.inference.streaming import StreamUpdate
from keyframe_asr.results import Token, Transcript
from keyframe_asr.server import sockets
from keyframe_asr.server.realtime_events import completed
from keyframe_asr.server.realtime_session import (
    Configuration,
    Transcription,
    TurnDetection,
    parsed,
)
from keyframe_asr.server.realtime_turns import Conversation, Turns
from keyframe_asr.server.service import LiveUpdate, ModelFacts, WorkerError
from keyframe_asr.server.sockets import Client, ClientGoneError, Closing, MessageError, converse

MODELS = {
    "one": ModelFacts("one", 0, ("zh",), False, 16000, 0.04, 0.1),
    "several": ModelFacts("several", 0, ("en", "de"), False, 16000, 0.04, 0.1),
}
START = Configuration(Transcription("one"))


def changed(before: Configuration, **given: Any) -> Configuration:
    return before.updated({"type": "transcription", "audio": {"input": given}}, MODELS)


def test_an_update_changes_what_it_names() -> None:
    asked = {"keywords": ["a", "b", "a"], "prompt": "c, d", "language": "zh"}
    found = changed(START, transcription=asked)
    assert found.transcription == Transcription("one", "zh", "c, d", ("a", "b"))
    assert found.prompt == ("c", "d")
    assert found.recognition.hotwords == ("a", "b") and found.recognition.language == "zh"
    assert changed(found, format={"type": "audio/pcm", "rate": 16000}).rate == 16000
    assert changed(found, noise_reduction={"type": "near_field", "strength": 1.0}) == found
    assert changed(found, transcription={"keywords": None}).transcription.prompt == "c, d"
    assert changed(found, transcription={"languages": ["zh"]}).transcription.language == "zh"
    with pytest.raises(OptionError):
        changed(found, transcription={"model": "several"})
    other = changed(found, transcription={"model": "several", "languages": ["en", "zh"]})
    assert other.transcription.language == "en"
    assert changed(other, transcription={"language": None}).transcription.language is None


def test_events_have_a_bounded_number_of_values() -> None:
    fits = {"audio": "AAAA" * 5_000_000, "keywords": ["a"] * 1000}
    assert parsed(json.dumps(fits)) == parsed(json.dumps(fits).encode()) == fits
    for many in ([[]] * 10_000, [1] * 10_001, {str(number): {} for number in range(10_000)}):
        with pytest.raises(MessageError):
            parsed(json.dumps({"type": many}))


def test_turns_are_kept_within_limits() -> None:
    given = {"type": "server_vad", "silence_duration_ms": 5, "prefix_padding_ms": 9000}
    found = changed(START, turn_detection=given)
    assert found.turns == TurnDetection(0.5, 2000, 100)
    assert found.stream.silence_after_text == 0.1 < found.stream.silence
    assert found.recognition.segmentation.padding == 2.0
    partly = changed(found, turn_detection={"type": "server_vad", "threshold": None})
    assert partly.turns == TurnDetection()
    assert changed(found, turn_detection=None).turns is None


def live(
    seconds: float, start: float | None, text: str = "", *final: Transcript, **given: Any
) -> LiveUpdate:
    committed = tuple(given.pop("tokens", ()))
    update = StreamUpdate(committed, text, "", final)
    return LiveUpdate(seconds, update, start, **given)


def told(events: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """The last words of the types of events, and what they tell."""
    found = []
    for one in events:
        name = one["type"].rpartition(".")[2]
        values = [one[key] for key in ("audio_start_ms", "audio_end_ms", "delta") if key in one]
        found.append((name, *values, *([one["transcript"]] if "transcript" in one else [])))
    return found  # type: ignore[return-value]


STORED = [("committed",), ("added",), ("done",)]


def test_items_of_a_stream() -> None:
    turns = Turns(Conversation(), offset=10.0)
    assert turns.events(live(1.0, None)) == []
    first = turns.events(live(2.0, 1.5))
    assert told(first) == [("speech_started", 11500)]
    assert told(turns.events(live(3.0, 1.5, "a b"))) == [("delta", "a b")]
    assert told(turns.events(live(3.5, 1.5, "a b"))) == []
    assert told(turns.events(live(4.0, 1.5, "x"))) == []  # does not follow what was told
    cut = Transcript("a b c", [], 2.0)
    found = turns.events(live(5.0, 3.5, "d", cut))
    assert told(found) == [
        ("speech_stopped", 13500),
        *STORED,
        ("delta", " c"),
        ("completed", "a b c"),
        ("speech_started", 13500),
        ("delta", "d"),
    ]
    assert found[0]["item_id"] == first[0]["item_id"] != found[-1]["item_id"]
    # sound in which nothing is recognised, and more that begins at once
    found = turns.events(live(6.0, 5.5))
    assert told(found) == [
        ("speech_stopped", 16000),
        *STORED,
        ("completed", ""),
        ("speech_started", 15500),
    ]
    assert found[1]["previous_item_id"] == first[0]["item_id"]
    turns.stopped_by_client = True
    other = Transcript("other", [], 0.5)
    assert told(turns.events(live(7.0, None, "", other, last=True))) == [
        *STORED,
        ("delta", "other"),
        ("completed", "other"),
    ]


def test_two_utterances_in_one_update() -> None:
    turns = Turns(Conversation(), offset=0.0)
    token = Token("b", 0.7, 0.8, 0.0)
    both = (Transcript("a", [], 0.5), Transcript("b", [token], 0.2))
    found = turns.events(live(1.0, None, "", *both, last=True))
    assert [one[0] for one in told(found)].count("completed") == 2
    assert len({one["item_id"] for one in found if "item_id" in one}) == 2


def test_confidences_of_zero_are_numbers_in_json() -> None:
    found = completed("item", Transcript("b", [Token("▁b", 0.7, 0.8, 0.0)]), probabilities=True)
    (one,) = json.loads(json.dumps(found, allow_nan=False))["logprobs"]
    assert one["token"] == " b" and one["logprob"] < -13


class FakeSocket:
    """A client that has sent these messages, and reads what it is sent, or does not."""

    def __init__(self, *messages: bytes, reads: bool = True, leaves: bool = False) -> None:
        self.scope = {"subprotocols": ["openai-insecure-api-key.x"]}
        self._messages, self._reads, self._leaves = [*messages], reads, leaves
        self.sent: list[dict[str, Any]] = []
        self.closed: int | None = None

    async def accept(self, subprotocol: str | None) -> None:
        assert subprotocol is None

    async def receive(self) -> dict[str, Any]:
        if self._messages:
            return {"type": "websocket.receive", "bytes": self._messages.pop(0)}
        if not self._leaves:
            await asyncio.Event().wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def send_text(self, text: str) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        self.sent.append(json.loads(text))

    async def close(self, code: int, reason: str) -> None:
        del reason
        self.closed = code

    @property
    def unread(self) -> int:
        return len(self._messages)


def test_few_messages_are_read_ahead() -> None:
    async def test() -> None:
        socket = FakeSocket(*[bytes(3_200_000)] * 10, leaves=True)
        client = Client(socket, 10)  # type: ignore[arg-type]
        reading = asyncio.create_task(client.read_ahead())
        await asyncio.sleep(0.05)
        assert socket.unread == 7
        await client.next()
        await asyncio.sleep(0.05)
        assert socket.unread == 6
        for _ in range(9):
            await client.next()
        with pytest.raises(ClientGoneError):
            await reading

    asyncio.run(test())


def test_who_does_not_read_is_given_up() -> None:
    async def test() -> None:
        client = Client(FakeSocket(reads=False), 0.05)  # type: ignore[arg-type]
        with pytest.raises(ClientGoneError):
            await client.send({})

    asyncio.run(test())


@pytest.mark.parametrize(
    ("raised", "code", "answers"),
    [
        (Closing(1001), 1001, 0),
        (ClientGoneError(), None, 0),
        (MessageError("x"), 1008, 1),
        (WorkerError("x"), 1011, 1),
        (ZeroDivisionError(), 1011, 1),
    ],
)
def test_how_conversations_end(raised: Exception, code: int | None, answers: int) -> None:
    socket, stopped = FakeSocket(), []

    async def talk(client: Client) -> None:
        async def wait() -> None:
            try:
                await client.next()
            finally:
                stopped.append(True)

        async def fail() -> None:
            await asyncio.sleep(0)
            raise raised

        await sockets.together(wait(), fail())

    asyncio.run(converse(socket, 10, talk, lambda error: {"kind": type(error).__name__}))  # type: ignore[arg-type]
    assert (socket.closed, len(socket.sent), stopped) == (code, answers, [True])
    if isinstance(raised, ZeroDivisionError):
        assert socket.sent == [{"kind": "WorkerError"}]
