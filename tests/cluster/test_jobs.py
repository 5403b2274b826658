"""Jobs: every piece once and in order, of fitting size, and what a process makes of them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fixtures.spoken import RATE, SENTENCES, spoken
from keyframe_asr.audio.reading import audio_blocks
from keyframe_asr.cluster import pieces as sizes
from keyframe_asr.cluster.archive import pool_of
from keyframe_asr.cluster.cutting import durations, samples_of, segments_found
from keyframe_asr.cluster.manifest import Recording
from keyframe_asr.cluster.pieces import Job, Piece, job_seconds, jobs_of, pieces_of
from keyframe_asr.cluster.places import opened, patiently
from keyframe_asr.cluster.ray_engine import Pool
from keyframe_asr.cluster.transcribing import Transcriber, Work
from keyframe_asr.errors import AudioError, ModelError
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.inference.settings import model_settings


@given(
    st.lists(st.tuples(st.integers(1, 5), st.floats(0.1, 30_000)), max_size=40),
    st.floats(20.0, 600.0),
)
def test_jobs_hold_every_piece_once_in_order(given: list[Any], per_job: float) -> None:
    archive = [
        ([Piece(Recording(str(n), "x"), k, count) for k in range(count)], seconds)
        for n, (count, seconds) in enumerate(given)
    ]
    jobs = list(jobs_of(archive, per_job))
    assert [p for job in jobs for p in job.pieces] == [p for some, _ in archive for p in some]
    assert len({job.name for job in jobs}) == len(jobs)
    assert [job.name for job in jobs] == sorted(job.name for job in jobs)
    shards: dict[str, set[int]] = {}
    for job in jobs:
        assert 0 < len(job.pieces) <= sizes.MOST_PIECES
        assert Job.from_json(job.name, job.to_json()) == job
        for piece in job.pieces:
            shards.setdefault(piece.recording.id, set()).add(job.shard)
    assert all(len(found) == 1 for found in shards.values())
    assert [job.shard for job in jobs] == sorted(job.shard for job in jobs)


def test_jobs_are_small_where_there_is_little_audio() -> None:
    assert job_seconds(60, 4) == sizes.SHORTEST_JOB
    assert job_seconds(3600, 8) == 3600 / (8 * sizes.JOBS_PER_CORE)
    assert job_seconds(36_000_000, 1000) == sizes.LONGEST_JOB


def test_recordings_of_a_remote_archive_stay_together() -> None:
    def job_count(uri: str) -> int:
        archive = [([Piece(Recording(str(n), uri, member=str(n)))], 50.0) for n in range(6)]
        return len(list(jobs_of(archive, 100.0)))

    assert job_count("s3://bucket/recording.000000.tar") == 1
    assert job_count("/data/recording.000000.tar") == 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    speech = spoken(*SENTENCES[:2])
    soundfile.write(folder / "short.flac", speech, RATE)
    soundfile.write(folder / "long.flac", np.concatenate([speech] * 8), RATE)
    both = np.stack([np.zeros_like(speech), speech], 1)
    soundfile.write(folder / "stereo.wav", both, RATE)
    soundfile.write(folder / "tel.wav", np.concatenate([speech] * 8)[::2], RATE // 2)
    return folder


@pytest.mark.parametrize("name", ["long.flac", "tel.wav"])
def test_pieces_have_the_samples_of_the_whole(folder: Path, name: str) -> None:
    """Exactly at the model's rate, else up to the rounding of the resampler."""
    recording, options = Recording("x", str(folder / name)), RecognitionOptions()
    found = segments_found(recording, options)
    assert found is not None
    pieces = pieces_of(recording, found, 10.0)
    assert len(pieces) > 3
    assert [one for piece in pieces for one in piece.segments] == found["segments"]
    whole = np.concatenate(list(audio_blocks(folder / name)))
    assert found["samples"] == whole.size
    for piece in pieces:
        for samples, (*_, first, _, size) in zip(
            samples_of(recording, options, piece.segments), piece.segments, strict=True
        ):
            expected = whole[first : first + size]
            if name == "long.flac":
                assert np.array_equal(samples, expected)
            else:
                assert samples.shape == expected.shape
                assert np.abs(samples - expected).max() < 1e-6


def test_what_cannot_be_read_is_left_to_the_process_that_recognises(folder: Path) -> None:
    missing = Recording("x", str(folder / "missing.flac"))
    assert durations([missing, Recording("y", str(folder / "short.flac"))])[0] == 0.0
    assert segments_found(missing, RecognitionOptions()) is None
    assert pieces_of(missing, None, 10.0) == [Piece(missing)]


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    compute = ComputeOptions(device="cpu", threads=1)
    sha256 = str(model_settings("demo", compute)["model_sha256"])
    store = str(tmp_path_factory.mktemp("store"))
    return Transcriber(Work(store, "demo", sha256, RecognitionOptions(), compute))


def test_the_same_text_from_everywhere(transcriber: Transcriber, folder: Path) -> None:
    """A path, a member of a tar archive, HTTP, another filesystem, one channel, and a part."""
    from lhotse import CutSet, MonoCut
    from lhotse import Recording as Source

    file = folder / "short.flac"
    source = Source.from_file(file)
    cuts = CutSet.from_cuts([MonoCut("c", 0.0, source.duration, 0, recording=source)])
    (folder / "shar").mkdir()
    cuts.to_shar(folder / "shar", fields={"recording": "flac"}, shard_size=3)
    fsspec.filesystem("memory").pipe_file("/short.flac", file.read_bytes())
    with served(folder) as address:
        recordings = [
            Recording("path", str(file)),
            Recording("tar", str(folder / "shar" / "recording.000000.tar"), member="c"),
            Recording("http", f"{address}/short.flac"),
            Recording("memory", "memory://short.flac"),
            Recording("file", f"file://{file}"),
            Recording("channel", str(folder / "stereo.wav"), channel=1),
            Recording("part", str(folder / "long.flac"), 0.0, source.duration),
        ]
        results = transcriber.recognise([Piece(one) for one in recordings])
    texts = [result["transcript"]["text"] for result in results]
    assert texts[0]
    assert texts == texts[:1] * len(recordings)


def test_errors_name_what_cannot_be_read(transcriber: Transcriber, folder: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/damaged.flac", b"fLaC no more")
    fsspec.filesystem("memory").pipe_file("/empty.flac", b"")
    with served(folder) as address:
        recordings = [
            Recording("a", f"{address}/missing.flac"),
            Recording("b", "memory://missing.flac"),
            Recording("c", "memory://damaged.flac"),
            Recording("empty", "memory://empty.flac"),
            Recording("d", str(folder / "recording.tar"), member="x"),
            Recording("e", str(folder / "stereo.wav"), channel=7),
            Recording("f", str(folder / "short.flac"), 9000.0, 5.0),
            Recording("g", str(folder / "short.flac")),
        ]
        results = transcriber.recognise([Piece(one) for one in recordings])
    for recording, result in zip(recordings[:-1], results[:-1], strict=True):
        assert recording.uri in result["error"]
    assert results[-1]["transcript"]["text"]


def test_another_model_of_the_same_name_is_refused(transcriber: Transcriber) -> None:
    with pytest.raises(ModelError, match="demo"):
        Transcriber(Work(".", "demo", "0" * 64, RecognitionOptions(), ComputeOptions()))


def test_what_a_busy_server_refuses_is_fetched_again(folder: Path) -> None:
    pauses = (0.0, 0.0)
    content = (folder / "short.flac").read_bytes()
    with (
        served(folder, refusals=2) as address,  # HEAD and GET
        opened(f"{address}/short.flac", pauses) as file,
    ):
        assert file == content
    with (
        served(folder, refusals=99) as address,
        pytest.raises(AudioError, match="503"),
        opened(f"{address}/short.flac", pauses),
    ):
        pass
    calls = []

    def missing() -> None:
        calls.append(1)
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        patiently(missing, pauses)
    assert len(calls) == 1


@contextmanager
def served(folder: Path, refusals: int = 0) -> Iterator[str]:
    """Serve a folder over HTTP, without ranges of bytes; the first requests get status 503."""
    left = iter(range(refusals))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def send_head(self) -> Any:
            if next(left, None) is None:
                return super().send_head()
            self.send_error(503)
            return None

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("machines", "options", "expected"),
    [
        ({"CPU": 8.0}, {}, Pool(8)),
        ({"CPU": 8.0}, {"threads": 4}, Pool(2, 4)),
        ({"CPU": 0.0}, {}, Pool(1)),
        ({"CPU": 8.0, "GPU": 2.0}, {}, Pool(2, 1, 1)),
        ({"CPU": 8.0, "GPU": 2.0}, {"backend": "onnx"}, Pool(8)),
        ({"CPU": 8.0, "GPU": 2.0}, {"device": "cpu"}, Pool(8)),
    ],
)
def test_a_process_for_each_gpu_or_core(
    machines: dict[str, float], options: dict[str, Any], expected: Pool
) -> None:
    pool, compute = pool_of(machines, ComputeOptions(**options), None, "demo")
    assert pool == expected
    assert compute.device == ("cuda" if expected.gpus else "cpu")
    assert compute.threads == expected.cores
    assert pool_of(machines, ComputeOptions(**options), 40, "demo")[0].actors == 40


def test_an_error_in_a_process_is_told_in_its_own_line() -> None:
    from ray.exceptions import RayTaskError

    from keyframe_asr.cluster.ray_engine import cause_of

    remote = RayTaskError("f", "Traceback\n  File x\nValueError", ModelError("m: wrong"))
    assert str(cause_of(remote.as_instanceof_cause())) == "m: wrong"
    assert str(cause_of(remote)) == "m: wrong"
