"""Recognition in other processes: the same texts, turns, limits, and what happens when one dies."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile

import keyframe_asr
from fixtures.spoken import RATE, SENTENCES, spoken
from keyframe_asr.errors import AudioError
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions, StreamOptions
from keyframe_asr.results import Transcript
from keyframe_asr.server.metrics import Metrics
from keyframe_asr.server.service import (
    LiveUpdate,
    PartOfTranscript,
    ServerBusyError,
    ServerFullError,
    TooLongError,
    UnknownModelError,
    WorkerError,
)
from keyframe_asr.server.settings import ServedModel, ServerSettings
from keyframe_asr.server.workers import Workers

MODELS = [ServedModel(name, name, ComputeOptions()) for name in ("demo", "demo-streaming")]
LONG = np.concatenate([spoken(*SENTENCES, voice=voice) for voice in ("cmn", "cmn+f2", "cmn+m3")])
DEFAULTS = RecognitionOptions()


def run(test: Callable[[Workers], Awaitable[None]], **settings: Any) -> None:
    """Run a test with workers of these settings."""

    async def main() -> None:
        workers = Workers(MODELS, ServerSettings(**settings), Metrics())
        try:
            await asyncio.wait_for(workers.start(), 60)
            await asyncio.wait_for(test(workers), 60)
        finally:
            workers.stop()

    asyncio.run(main())


def file_of(samples: np.ndarray[Any, Any]) -> BinaryIO:
    """An open file of the system that has no name."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    soundfile.write(file, samples, RATE, format="WAV")
    return file


def exact(transcript: Transcript) -> tuple[Any, ...]:
    """What batches cannot change: all but the last digits of confidences."""
    tokens = [(one.text, one.start, one.end) for one in transcript.tokens]
    return transcript.text, tokens, transcript.duration, transcript.keyframes


async def transcript_of(news: AsyncIterator[PartOfTranscript | Transcript]) -> Transcript:
    found = [one async for one in news]
    assert isinstance(found[-1], Transcript)
    return found[-1]


async def lasts_of(updates: AsyncIterator[LiveUpdate]) -> list[str]:
    return [one.text async for update in updates for one in update.update.final]


def test_many_at_once_get_what_each_gets_alone() -> None:
    assert LONG.size > 31 * RATE
    recordings = [spoken(one) for one in SENTENCES] + [LONG]
    recognizers = {model.name: keyframe_asr.load(model.name) for model in MODELS}
    alone = {
        name: [one.transcribe(samples) for samples in recordings]
        for name, one in recognizers.items()
    }
    state = recognizers["demo"].start_stream()
    _, update = recognizers["demo"].accept(state, LONG)
    assert any(one.text for one in alone["demo"]) and update.final

    async def test(workers: Workers) -> None:
        assert workers.ready and list(workers.models) == ["demo", "demo-streaming"]
        jobs: list[Awaitable[Any]] = []
        for samples in recordings:
            for model in MODELS:
                jobs.append(
                    transcript_of(workers.transcribe(model.name, file_of(samples), DEFAULTS))
                )
        live = await workers.open_stream("demo", StreamOptions(), RATE)
        jobs.append(lasts_of(live.updates()))

        async def speak() -> None:
            for start in range(0, LONG.size, 1600):
                await live.send(LONG[start : start + 1600])
            await live.finish()

        *found, finals, _ = await asyncio.gather(*jobs, speak())
        expected = [alone[model.name][place] for place in range(6) for model in MODELS]
        assert [*map(exact, found)] == [*map(exact, expected)]
        assert finals[: len(update.final)] == [one.text for one in update.final]
        parts = [one async for one in workers.transcribe("demo", LONG, DEFAULTS)]
        texts = [one.text for one in parts]
        assert len(parts) > 2 and texts[-1] == alone["demo"][-1].text
        assert all(after.startswith(before) for before, after in pairwise(texts))
        told = [s for one in parts[:-1] if isinstance(one, PartOfTranscript) for s in one.segments]
        expected = alone["demo"][-1].segments[: len(told)]
        assert [(one.text, one.start) for one in told] == [
            (one.text, one.start) for one in expected
        ]
        live.close()
        live.close()
        assert workers.streams_open == workers.uploads_open == 0

    run(test)


def test_limits_and_errors() -> None:
    async def test(workers: Workers) -> None:
        with pytest.raises(UnknownModelError):
            await transcript_of(workers.transcribe("../demo", LONG, DEFAULTS))
        with pytest.raises(AudioError), tempfile.TemporaryFile() as file:
            file.write(b"RIFF0000WAVE")
            await transcript_of(workers.transcribe("demo", file, DEFAULTS))
        for audio in (file_of(LONG), LONG):
            with pytest.raises(TooLongError):
                await transcript_of(workers.transcribe("demo", audio, DEFAULTS))
        first = workers.transcribe("demo", spoken(*SENTENCES[:2]), DEFAULTS)
        running = asyncio.create_task(transcript_of(first))
        await asyncio.sleep(0)
        with pytest.raises(ServerBusyError):
            await transcript_of(workers.transcribe("demo", spoken(SENTENCES[0]), DEFAULTS))
        assert (await running).text
        live = await workers.open_stream("demo", StreamOptions(), RATE)
        with pytest.raises(ServerFullError):
            await workers.open_stream("demo", StreamOptions(), RATE)
        await live.send(np.full(10, np.nan))
        with pytest.raises(AudioError):
            await lasts_of(live.updates())
        live.close()
        again = await workers.open_stream("demo", StreamOptions(), RATE)
        again.close()

    run(test, max_audio=20.0, max_requests=1, max_streams=1)


def test_a_process_that_dies_is_started_again() -> None:
    """Its recording is recognised once more; its streams end, and the other processes go on."""

    async def test(workers: Workers) -> None:
        live = await workers.open_stream("demo", StreamOptions(), RATE)
        upload, stream = workers.uploads[0].pid, workers.streams[0].pid
        assert upload and stream
        running = asyncio.create_task(transcript_of(workers.transcribe("demo", LONG, DEFAULTS)))
        await asyncio.sleep(0)
        os.kill(upload, signal.SIGKILL)
        assert exact(await running) == exact(keyframe_asr.load("demo").transcribe(LONG))
        assert workers.uploads[0].restarts == 1
        upload = workers.uploads[0].pid
        assert upload
        os.kill(upload, signal.SIGKILL)
        time.sleep(0.3)  # it is gone, which the event loop cannot notice meanwhile
        found = await transcript_of(workers.transcribe("demo", spoken(SENTENCES[0]), DEFAULTS))
        assert found.text and workers.uploads[0].restarts == 2
        await live.send(spoken(SENTENCES[0]))
        os.kill(stream, signal.SIGKILL)
        with pytest.raises(WorkerError):
            await lasts_of(live.updates())
        live.close()
        again = await workers.open_stream("demo", StreamOptions(), RATE)
        again.close()

    run(test)


def test_who_leaves_stops_the_work() -> None:
    hour = np.tile(LONG, 60)

    def busy(pid: int | None) -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def test(workers: Workers) -> None:
        news = workers.transcribe("demo", hour, DEFAULTS)
        await anext(news)
        pid = workers.uploads[0].pid
        await news.aclose()
        await asyncio.sleep(1.0)
        before = busy(pid)
        await asyncio.sleep(0.5)
        assert busy(pid) - before < 0.1
        live = await workers.open_stream("demo", StreamOptions(), RATE)
        sending = asyncio.create_task(live.send(hour))
        await asyncio.sleep(0.5)
        assert not sending.done()  # nobody reads, so it waits
        sending.cancel()
        live.close()
        await asyncio.sleep(1.0)
        before = busy(workers.streams[0].pid)
        await asyncio.sleep(0.5)
        assert busy(workers.streams[0].pid) - before < 0.1

    run(test)
