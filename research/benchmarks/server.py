"""Load a server on this machine: requests a second, live streams at real time, and memory.

    python -m research.benchmarks.server FOLDER [--model an4] [--clients 1 8 32] [--seconds 20]
        [--rounds 3] [--streams 1 8 16 24 32] [--live-model an4] [--beside MINUTES]
        [--requests 10000] [--opened 10000] [--peer NAME MODEL COMMAND] [--json FILE]

FOLDER has recordings; those of 3 to 4.5 s are sent. The server, and each peer by COMMAND (in which
{port} stands for a port), run in processes of their own; a peer is asked for MODEL. Peers are sent
the same requests, and servers take turns; figures are medians of rounds.

A stream sends 96 ms at a time, when it would have been spoken: clips with pauses of 1.5 s. How far
it is behind is the time from when the last sample that a message covers was sent until the message
comes. With `--beside`, a recording of so many minutes is uploaded while 8 streams are open. Memory
is that of all processes of the server, before and after so many requests, and so many streams of
one clip each.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import shlex
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
import websockets

from keyframe_asr.audio.reading import read_audio
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import processor

SHORTEST, LONGEST = 3.0, 4.5
BLOCK_SECONDS, PAUSE_SECONDS = 0.096, 1.5
MOST_CLIPS = 40
STREAMS_BESIDE = 8
WARM_UP = 20
"""A twentieth of the requests and streams come before the memory is measured first."""

OWN = "keyframe-asr"


class Server:
    """A server that is being measured.

    Attributes:
        name: of the system.
        url: its address.
        process: its first process.
    """

    def __init__(self, name: str, url: str, process: subprocess.Popen[bytes]) -> None:
        self.name, self.url, self.process = name, url, process

    def megabytes(self) -> float:
        """Memory of the server and its processes that is not shared, else all of it."""
        pids = [self.process.pid]
        for pid in pids:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += [int(one) for one in children.read_text("ascii").split()]
        return sum(map(_resident, pids)) / 1e6


@contextmanager
def running(name: str, command: str, ready: str = "/health") -> Iterator[Server]:
    """Run a server by a command in which {port} is a free port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        shlex.split(command.format(port=port)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            time.sleep(0.2)
            try:
                if httpx.get(url + ready, timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                if process.poll() is not None:
                    raise SystemExit(f"{name}: ended with {process.returncode}") from None
        yield Server(name, url, process)
    finally:
        process.terminate()
        process.wait(60)


def clips_of(folder: Path) -> list[tuple[bytes, bytes]]:
    """Return file and 16-bit samples of each recording of a usual length, in order of name."""
    found: list[tuple[bytes, bytes]] = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in (".wav", ".flac") or len(found) == MOST_CLIPS:
            continue
        samples = read_audio(path)
        if SHORTEST <= samples.size / SAMPLE_RATE <= LONGEST:
            found.append((path.read_bytes(), _pcm(samples)))
    if not found:
        raise SystemExit(f"{folder}: no recordings of {SHORTEST} to {LONGEST} s; give others")
    return found


async def upload(session: httpx.AsyncClient, server: Server, model: str, content: bytes) -> None:
    """Let a server recognise a recording."""
    answer = await session.post(
        f"{server.url}/v1/audio/transcriptions",
        files={"file": ("clip.wav", content)},
        data={"model": model},
    )
    answer.raise_for_status()


async def requests_a_second(
    server: Server, model: str, clips: Sequence[tuple[bytes, bytes]], clients: int, seconds: float
) -> float:
    """Return how many uploads a server answers a second, for so many clients at once."""
    answered, chosen = 0, itertools.cycle(clips)
    end = time.monotonic() + seconds

    async def client(session: httpx.AsyncClient) -> None:
        nonlocal answered
        while time.monotonic() < end:
            await upload(session, server, model, next(chosen)[0])
            answered += 1

    began = time.monotonic()
    async with httpx.AsyncClient(timeout=600) as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return answered / (time.monotonic() - began)


async def stream(
    server: Server, model: str, pcm: bytes, seconds: float, delay: float
) -> list[float]:
    """Speak to a server for so long, and return how far it was behind at each message."""
    await asyncio.sleep(delay)
    url = server.url.replace("http", "ws", 1)
    size = round(BLOCK_SECONDS * SAMPLE_RATE) * 2
    behind: list[float] = []
    async with websockets.connect(f"{url}/v1/stream?model={model}&rate={SAMPLE_RATE}") as socket_:
        await socket_.recv()
        began = time.monotonic()

        async def speak() -> None:
            for number, start in enumerate(range(0, len(pcm) - size, size), 1):
                if number * BLOCK_SECONDS > seconds:
                    break
                await asyncio.sleep(max(0.0, began + number * BLOCK_SECONDS - time.monotonic()))
                await socket_.send(pcm[start : start + size])
            await socket_.send(json.dumps({"type": "finish"}))

        speaking = asyncio.create_task(speak())
        async for message in socket_:
            told = json.loads(message)
            if told["type"] == "partial":
                behind.append(time.monotonic() - began - told["seconds"])
            elif told["type"] == "error":
                raise SystemExit(f"a stream failed: {told['error']['message']}")
        await speaking
    return behind


async def streams(
    server: Server,
    model: str,
    clips: Sequence[tuple[bytes, bytes]],
    number: int,
    seconds: float,
    recording: bytes | None = None,
) -> dict[str, float]:
    """Open so many streams at once, each with its own clips, and perhaps upload a recording."""
    noise = np.random.default_rng(0).normal(0, 1e-4, round(PAUSE_SECONDS * SAMPLE_RATE))
    speech = [pcm + _pcm(noise.astype(np.float32)) for _, pcm in clips]
    jobs: list[Coroutine[Any, Any, list[float] | None]] = []
    for one in range(number):
        turned = speech[one % len(speech) :] + speech[: one % len(speech)]
        repeats = int(seconds / (sum(map(len, speech)) / 2 / SAMPLE_RATE)) + 1
        delay = one * BLOCK_SECONDS / number
        jobs.append(stream(server, model, b"".join(turned) * repeats, seconds, delay))
    async with httpx.AsyncClient(timeout=600) as session:
        if recording is not None:
            jobs.append(upload(session, server, model, recording))
        found = await asyncio.gather(*jobs)
    behind = [value for one in found for value in one or ()]
    return {
        "streams": number,
        "median": 1000 * statistics.median(behind),
        "p99": 1000 * float(np.percentile(behind, 99)),
        "worst": 1000 * max(behind),
    }


async def opened(
    server: Server, model: str, clips: Sequence[tuple[bytes, bytes]], number: int
) -> None:
    """Open so many streams, 16 at a time, and send one clip through each at once."""
    left = itertools.count()
    url = server.url.replace("http", "ws", 1)

    async def client() -> None:
        while (one := next(left)) < number:
            async with websockets.connect(f"{url}/v1/stream?model={model}") as socket_:
                await socket_.send(clips[one % len(clips)][1][: 2 * SAMPLE_RATE])
                await socket_.send(json.dumps({"type": "finish"}))
                async for _ in socket_:
                    pass

    await asyncio.gather(*(client() for _ in range(16)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    given = _parser().parse_args(arguments)
    clips = clips_of(given.folder)
    found: dict[str, Any] = {"machine": processor(), "clips": len(clips)}
    models = dict.fromkeys((given.model, given.live_model or given.model))
    limits = "--max-streams 1000 --max-requests 1000"
    own = f"{sys.executable} -m keyframe_asr serve {' '.join(models)} {limits} --port {{port}}"
    peers = {name: (model, command) for name, model, command in given.peer}
    with running(OWN, own, "/ready") as server:
        if given.clients:
            found["requests"] = _requests(server, peers, given, clips)
        live = given.live_model or given.model
        found["streams"] = [
            _told(asyncio.run(streams(server, live, clips, number, given.seconds)))
            for number in given.streams
        ]
        if given.beside:
            found["beside"] = _beside(server, live, clips, given)
        found["memory"] = _memory(server, live, clips, given)
    if given.json is not None:
        write_whole(given.json, json.dumps(found, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("research.benchmarks.server", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="an4")
    parser.add_argument("--live-model")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 8, 16, 24, 32])
    parser.add_argument("--beside", type=float, metavar="MINUTES", default=0.0)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--opened", type=int, default=0)
    names = ("NAME", "MODEL", "COMMAND")
    parser.add_argument("--peer", action="append", default=[], nargs=3, metavar=names)
    parser.add_argument("--json", type=Path)
    return parser


def _requests(
    server: Server,
    peers: dict[str, tuple[str, str]],
    given: argparse.Namespace,
    clips: Sequence[tuple[bytes, bytes]],
) -> list[dict[str, Any]]:
    """Requests a second of all servers, in turns; only one of them has work at a time."""
    rows: list[dict[str, Any]] = []
    for clients in given.clients:
        rates: dict[str, list[float]] = {}
        for _ in range(given.rounds):
            for name in (OWN, *peers):
                if name == OWN:
                    measure = requests_a_second(server, given.model, clips, clients, given.seconds)
                    rates.setdefault(name, []).append(asyncio.run(measure))
                    continue
                model, command = peers[name]
                with running(name, command) as peer:
                    asyncio.run(requests_a_second(peer, model, clips, 1, 1.0))  # warm up
                    measure = requests_a_second(peer, model, clips, clients, given.seconds)
                    rates.setdefault(name, []).append(asyncio.run(measure))
        medians = {name: statistics.median(values) for name, values in rates.items()}
        rows.append(_told({"clients": clients, "requests a second": medians, "rounds": rates}))
    return rows


def _beside(
    server: Server,
    model: str,
    clips: Sequence[tuple[bytes, bytes]],
    given: argparse.Namespace,
) -> list[dict[str, Any]]:
    """How far streams are behind alone, and beside a long upload, in turns."""
    pcm = b"".join(pcm for _, pcm in clips)
    wanted = round(given.beside * 60 * SAMPLE_RATE) * 2
    samples = np.frombuffer((pcm * (wanted // len(pcm) + 1))[:wanted], dtype="<i2")
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV")
    content, rows = file.getvalue(), []
    for _ in range(given.rounds):
        for recording in (None, content):
            found = streams(server, model, clips, STREAMS_BESIDE, given.seconds, recording)
            minutes = given.beside * (recording is not None)
            rows.append(_told({"minutes": minutes, **asyncio.run(found)}))
    return rows


def _memory(
    server: Server,
    model: str,
    clips: Sequence[tuple[bytes, bytes]],
    given: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Memory before and after many requests and many streams."""

    async def requests(number: int) -> None:
        left = itertools.count()
        async with httpx.AsyncClient(timeout=600) as session:

            async def client() -> None:
                while (one := next(left)) < number:
                    await upload(session, server, given.model, clips[one % len(clips)][0])

            await asyncio.gather(*(client() for _ in range(8)))

    rows = []
    for name, number, work in (
        ("requests", given.requests, requests),
        ("streams", given.opened, lambda count: opened(server, model, clips, count)),
    ):
        if number:
            asyncio.run(work(number // WARM_UP))
            megabytes = [server.megabytes()]
            for _ in range(2):
                asyncio.run(work(number // 2))
                megabytes.append(server.megabytes())
            rows.append(_told({name: number, "MB before, half-way, after": megabytes}))
    return rows


def _told(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row, default=str), flush=True)
    return row


def _resident(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _pcm(samples: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    return (samples * 32767).round().astype("<i2").tobytes()


if __name__ == "__main__":
    main()
