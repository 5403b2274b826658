"""Send damaged messages to a server's WebSockets, several at a time: python -m fuzz.sockets --help.

No conversation may end but as documented, no event may tell of an error of the server, each session
must answer afterwards, no process may die, and the memory of the server must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import time
from collections import Counter
from random import Random
from typing import Any, TypeAlias

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fixtures.live_speech import speech
from fixtures.server import RunningServer, running_server
from fuzz.uploads import resident

Message: TypeAlias = str | bytes

EXPECTED = (1000, 1007, 1008, 1009)
"""Close codes after damaged messages."""

AT_ONCE = 8
SLOWEST = 60.0
IN_ONE = 12
"""Messages of a conversation."""

VALUES: list[Any] = [
    *(None, True, -1, 0, 1e308, 10**400),
    *("", "\0", "\ud800", "a" * 5000, "八\t号", "-0"),
    *([], [[]], {}),
]
"""What a damaged field may hold."""


def conversation(seed: int, number: int) -> tuple[str, list[Message]]:
    """The path and the messages of a conversation, most of them damaged."""
    random = Random(f"{seed} {number}")
    content = speech().tobytes()
    if random.random() < 0.3:
        query = random.choice(["", "", "rate=24000", "language=zh", f"keywords={random.random()}"])
        messages = [_piece(random, content) for _ in range(IN_ONE)]
        return f"/v1/stream?{query}", [_damaged(random, one) for one in messages]
    events = [_event(random, content) for _ in range(IN_ONE)]
    return "/v1/realtime?intent=transcription", [
        _damaged(random, json.dumps(_changed(random, event))) for event in events
    ]


def _piece(random: Random, content: bytes) -> bytes:
    start = random.randrange(len(content))
    return content[start : start + random.choice([0, 1, 3200, 6401, 100_000])]


def _event(random: Random, content: bytes) -> dict[str, Any]:
    kind = random.choice(["append"] * 5 + ["commit", "clear", "update", "update", "other"])
    if kind == "append":
        audio = base64.b64encode(_piece(random, content)).decode()
        return {"type": "input_audio_buffer.append", "audio": audio}
    if kind == "other":
        return {"type": random.choice(["response.create", "conversation.item.delete", "x"])}
    if kind != "update":
        return {"type": f"input_audio_buffer.{kind}", "event_id": "mine"}
    audio_input = {
        "format": {"type": "audio/pcm", "rate": random.choice([16000, 24000])},
        "transcription": {"model": "demo", "keywords": ["八号灯"], "prompt": "七号灯, abc"},
        "turn_detection": random.choice([None, {"type": "server_vad", "silence_duration_ms": 300}]),
    }
    session = {"type": "transcription", "audio": {"input": audio_input}}
    return {"type": "session.update", "session": session}


def _changed(random: Random, value: Any) -> Any:
    """A value of which one part may be replaced, left out, or doubled."""
    if random.random() < 0.1:
        return random.choice(VALUES)
    if isinstance(value, dict) and value:
        key = random.choice(list(value))
        changed = {**value, key: _changed(random, value[key])}
        if random.random() < 0.1:
            del changed[key]
        if random.random() < 0.1:
            changed[f"{key}_"] = value[key]
        return changed
    if isinstance(value, list) and value:
        return [*value[:-1], _changed(random, value[-1]), *random.choice([[], value])]
    return value


def _damaged(random: Random, message: Message) -> Message:
    """A message with damaged bytes, or of the other kind."""
    content = message.encode() if isinstance(message, str) else message
    fate = random.random()
    if fate < 0.05 and content:
        return content[: random.randrange(len(content))]
    if fate < 0.15 and content:
        changed = bytearray(content)
        for _ in range(random.randint(1, 5)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        content = bytes(changed)
        return content if isinstance(message, bytes) else content.decode("latin-1")
    if fate < 0.2:
        texts = ['{"type":"finish"}', "[1", ""]
        return content if isinstance(message, str) else random.choice(texts)
    return message


async def send(server: RunningServer, number: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Send so many messages; return how conversations ended, and what was wrong."""
    ends: Counter[str] = Counter()
    problems: list[str] = []
    numbers = iter(range(-(-number // IN_ONE)))

    async def client() -> None:
        for case in numbers:
            path, messages = conversation(seed, case)
            try:
                end = await asyncio.wait_for(_talk(f"{server.socket_url}{path}", messages), SLOWEST)
            except TimeoutError:
                end = "hangs"
            except InvalidStatus as refused:
                end = f"status {refused.response.status_code}"
            ends[end] += 1
            if end not in ("answers", "leaves", *(f"closed with {code}" for code in EXPECTED)):
                problems.append(f"case {case}: {path} {end}")
            if case % 100 == 0:
                print(f"{case}: {dict(ends)}", flush=True)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return ends, problems


async def _talk(url: str, messages: list[Message]) -> str:
    """Hold a conversation; return how it ended."""
    leaves = len(messages[0]) % 5 == 0
    async with connect(url, max_size=None, open_timeout=SLOWEST) as socket:
        reading = asyncio.create_task(_read(socket))
        try:
            for message in messages:
                await socket.send(message)
            if leaves:
                socket.transport.abort()
                await reading
                return "leaves"
            last = {"type": "session.update", "event_id": "last", "session": {"type": "other"}}
            await socket.send('{"type":"finish"}' if "/v1/stream" in url else json.dumps(last))
        except ConnectionClosed:
            pass
        return await reading


async def _read(socket: ClientConnection) -> str:
    """Read what the server says until the answer to the last message, or the end."""
    try:
        while True:
            event = json.loads(await socket.recv())
            error = event.get("error", {})
            if error.get("type", "invalid_request_error") != "invalid_request_error":
                return f"error {error}"
            if error.get("event_id") == "last" or event["type"] == "done":
                return "answers"
    except ConnectionClosed as closed:
        return f"closed with {closed.rcvd.code if closed.rcvd else 1006}"


def main() -> None:
    """Parse the arguments and run; exit code 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.sockets", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed damages otherwise")
    parser.add_argument("--number", type=int, default=10_000, help="number of messages")
    given = parser.parse_args()
    with running_server("demo", options=("--max-streams", "64")) as server:
        asyncio.run(send(server, 1000, given.seed + 1))  # afterwards, caches are full
        before, processes, began = resident(server), server.children(), time.monotonic()
        ends, problems = asyncio.run(send(server, given.number, given.seed))
        after = resident(server)
        if server.children() != processes:
            problems.append("a process has died")
    problems += [line for line in server.log if "Traceback" in line]
    print(f"{dict(ends)} in {time.monotonic() - began:.0f} s")
    print(f"memory: {before:.0f} MB before, {after:.0f} MB after")
    print("\n".join(problems[:50]) or "no problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
