"""The results of an archive: a row for each recording, in the order of the manifest.

Rows are written as Parquet or JSON Lines, some hours of audio to a file. A file depends on its jobs
only, so that it can be written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import pyarrow
from pyarrow import parquet

from keyframe_asr.cluster.pieces import Job, Piece
from keyframe_asr.cluster.places import Store
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.joining import RecognisedSegment, join_segments
from keyframe_asr.inference.normal_texts import with_normal_texts
from keyframe_asr.inference.segmentation import SegmentBounds
from keyframe_asr.results import Alternative, Segment, Token, Transcript, Word
from keyframe_asr.timing import SAMPLE_RATE

_TOKEN = pyarrow.struct(
    [
        ("text", pyarrow.string()),
        ("start", pyarrow.float64()),
        ("end", pyarrow.float64()),
        ("confidence", pyarrow.float64()),
    ]
)
_SEGMENT = pyarrow.struct(
    [
        ("text", pyarrow.string()),
        ("start", pyarrow.float64()),
        ("end", pyarrow.float64()),
        ("language", pyarrow.string()),
    ]
)

SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("audio", pyarrow.string()),
        ("text", pyarrow.string()),
        ("normal_text", pyarrow.string()),
        ("confidence", pyarrow.float64()),
        ("tokens", pyarrow.list_(_TOKEN)),
        ("segments", pyarrow.list_(_SEGMENT)),
        (
            "alternatives",
            pyarrow.list_(
                pyarrow.struct([("text", pyarrow.string()), ("score", pyarrow.float64())])
            ),
        ),
        ("duration", pyarrow.float64()),
        ("frame_reduction", pyarrow.float64()),
        ("language", pyarrow.string()),
        ("model", pyarrow.string()),
        ("model_sha256", pyarrow.string()),
        ("decode", pyarrow.string()),
        ("options", pyarrow.string()),
        ("version", pyarrow.string()),
        ("error", pyarrow.string()),
    ]
)
"""Columns of the results. `confidence` is the mean of the tokens'; `options` is JSON."""


@dataclass(frozen=True)
class Counted:
    """What is in a file of results: recordings, those with an error, seconds of audio, and seconds
    that processes took to recognise them."""

    recordings: int = 0
    errors: int = 0
    seconds: float = 0.0
    took: float = 0.0

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            self.recordings + other.recordings,
            self.errors + other.errors,
            self.seconds + other.seconds,
            self.took + other.took,
        )


@dataclass(frozen=True)
class Assembly:
    """How results are written.

    Attributes:
        store: folder.
        suffix: parquet or jsonl.
        form: text form of the model.
        made_by: values of the columns of the model.
    """

    store: str
    suffix: str
    form: TextForm
    made_by: dict[str, str | None]


def part_name(shard: int, suffix: str) -> str:
    """Return the name of a file of results."""
    return f"part-{shard:05}.{suffix}"


def alone_name(job: str) -> str:
    """Return the file with the results of a job whose pieces were recognised one by one."""
    return f".keyframe/alone/{job}.json"


def write_part(
    assembly: Assembly, shard: int, jobs: Sequence[str], files: Mapping[str, Sequence[str]]
) -> Counted:
    """Join the results of jobs to recordings, and write their file.

    Args:
        assembly: how.
        shard: number of the file.
        jobs: names of its jobs, in order.
        files: files with the results of each job; jobs without one have `alone_name`.

    Raises:
        KeyframeError: it cannot be written, or a piece has no result.
    """
    store = Store(assembly.store)
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[Piece, dict[str, Any]]] = []
    counted = Counted()
    for name in jobs:
        content = store.read(f".keyframe/jobs/{name}.json")
        if content is None:
            raise KeyframeError(f"{store.place}: job {name} is missing; give another --out")
        job = Job.from_json(name, content)
        results, took = _results(store, job, files)
        counted += Counted(took=took)
        if len(results) != len(job.pieces):
            raise _incomplete(store, name)
        for piece, result in zip(job.pieces, results, strict=True):
            waiting.append((piece, result))
            if piece.number + 1 == piece.pieces:
                rows.append(_row(waiting, assembly))
                waiting = []
    if waiting:
        raise _incomplete(store, jobs[-1])
    store.write(part_name(shard, assembly.suffix), _written(rows, assembly.suffix))
    return counted + Counted(
        recordings=len(rows),
        errors=sum(row["error"] is not None for row in rows),
        seconds=sum(row["duration"] or 0.0 for row in rows),
    )


def _incomplete(store: Store, job: str) -> KeyframeError:
    return KeyframeError(
        f"{store.place}: pieces of job {job} have no results; give --overwrite to begin again"
    )


def _results(
    store: Store, job: Job, files: Mapping[str, Sequence[str]]
) -> tuple[list[dict[str, Any]], float]:
    if job.name in files:
        content = store.read(f".keyframe/done/{files[job.name][0]}")
        table = parquet.read_table(BytesIO(content or b""), columns=["results"])
        found = json.loads(table["results"][0].as_py())
    else:
        content = store.read(alone_name(job.name))
        if content is None:
            raise KeyframeError(f"{store.place}: job {job.name} has no results; run again")
        found = json.loads(content)
    return found["results"], float(found["took"])


def _row(parts: Sequence[tuple[Piece, dict[str, Any]]], assembly: Assembly) -> dict[str, Any]:
    """Return the row of a recording of these pieces."""
    recording = parts[0][0].recording
    row: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    row |= assembly.made_by | {"id": recording.id, "audio": recording.uri}
    error = next((result["error"] for _, result in parts if "error" in result), None)
    if error is not None:
        return row | {"error": error}
    transcript = _transcript(parts, assembly.form)
    confidences = [token.confidence for token in transcript.tokens]
    return row | {
        "text": transcript.text,
        "normal_text": transcript.normal,
        "confidence": sum(confidences) / len(confidences) if confidences else None,
        "tokens": [asdict(token) for token in transcript.tokens],
        "segments": [
            {"text": one.text, "start": one.start, "end": one.end, "language": one.language}
            for one in transcript.segments
        ],
        "alternatives": [asdict(one) for one in transcript.alternatives],
        "duration": transcript.duration,
        "frame_reduction": transcript.frame_reduction,
        "language": transcript.language or row["language"],
    }


def _transcript(parts: Sequence[tuple[Piece, dict[str, Any]]], form: TextForm) -> Transcript:
    piece, result = parts[0]
    if piece.is_whole:
        return transcript_from(result["transcript"])
    segments = [
        RecognisedSegment(SegmentBounds(*one["bounds"]), transcript_from(one["transcript"]))
        for _, result in parts
        for one in result["segments"]
    ]
    whole = join_segments(segments, piece.samples / SAMPLE_RATE, form.separation)
    if any(one.transcript.normal is not None for one in segments):
        whole = with_normal_texts(whole, form)
    return whole


def transcript_from(values: dict[str, Any]) -> Transcript:
    """Return the transcript of which these are the values (`dataclasses.asdict`)."""

    def timed(values: dict[str, Any]) -> dict[str, Any]:
        tokens = [Token(**one) for one in values["tokens"]]
        return values | {"tokens": tokens, "words": [Word(**one) for one in values["words"]]}

    segments = [Segment(**timed(one)) for one in values["segments"]]
    others = [Alternative(**one) for one in values["alternatives"]]
    return Transcript(**timed(values) | {"segments": segments, "alternatives": others})


def _written(rows: list[dict[str, Any]], suffix: str) -> bytes:
    if suffix == "jsonl":
        return "".join(f"{line}\n" for line in _lines(rows)).encode()
    buffer = BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row | {"options": json.loads(row["options"])}, ensure_ascii=False)
