"""The work of a process: it loads the model once, and recognises job after job."""

from __future__ import annotations

import functools
import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow

from keyframe_asr.audio.byte_source import AudioFile, name_of
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.audio.uris import is_uri, located
from keyframe_asr.cluster.cutting import channel_of, samples_of
from keyframe_asr.cluster.pieces import Job, Piece
from keyframe_asr.cluster.places import PAUSES, Store, opened, patiently
from keyframe_asr.errors import AudioError, KeyframeError, ModelError
from keyframe_asr.inference.batch_recognizer import batches_by_length
from keyframe_asr.inference.longform import recognise_each
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.inference.recognizer import load_for
from keyframe_asr.inference.settings import model_settings
from keyframe_asr.results import Transcript


@dataclass(frozen=True)
class Work:
    """What every process needs to start.

    Attributes:
        store: the folder of the results, which also holds the jobs.
        model: as `keyframe_asr.load` takes it.
        sha256: of the model on the machine that started the work.
        options: how recordings are recognised.
        compute: back end, device and threads of a process.
    """

    store: str
    model: str
    sha256: str
    options: RecognitionOptions
    compute: ComputeOptions


class Transcriber:
    """Recognises jobs; Ray Data creates one in each process of its pool."""

    def __init__(self, work: Work) -> None:
        found = model_settings(work.model, work.compute)["model_sha256"]
        if found != work.sha256:
            raise ModelError(
                f"{work.model}: has other files on another machine; give all machines the same"
            )
        self._store = Store(work.store)
        self._recognizer = load_for(work.model, work.compute)
        self._options = self._recognizer.prepare(work.options)

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        """Recognise the jobs of a batch, and return their results as JSON."""
        names = batch["job"].to_pylist()
        results = [json.dumps(self._job(name)) for name in names]
        return pyarrow.table({"job": names, "results": pyarrow.array(results, pyarrow.string())})

    def _job(self, name: str) -> dict[str, Any]:
        content = self._store.read(f".keyframe/jobs/{name}.json")
        if content is None:
            raise KeyframeError(f"{self._store.place}: job {name} is missing; start again")
        began = time.perf_counter()
        pieces = Job.from_json(name, content).pieces
        try:
            results = self.recognise(pieces)
        except Exception:  # one of them is to blame; the others have their texts
            results = [self.alone(piece) for piece in pieces]
        return {"results": results, "took": time.perf_counter() - began}

    def recognise(self, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        """Return the text or the error of each piece, as values for JSON."""
        results: list[dict[str, Any] | None] = [None] * len(pieces)
        sounds: dict[int, AudioFile | Samples] = {}
        with ExitStack() as stack:
            archives = _members([one for one in pieces if one.recording.member is not None])
            for number, piece in enumerate(pieces):
                try:
                    if piece.is_whole:
                        sounds[number] = self._sound(piece, archives, stack)
                    else:
                        results[number] = {"segments": self._segments(piece)}
                except KeyframeError as error:
                    results[number] = {"error": str(error)}
            found = recognise_each(self._recognizer, sounds.values(), self._options)
            for number, result in zip(sounds, found, strict=True):
                if result.error is None:
                    results[number] = {"transcript": asdict(result.unwrap())}
                else:
                    results[number] = {"error": _named(result.error, pieces[number])}
        return [one for one in results if one is not None]

    def alone(self, piece: Piece) -> dict[str, Any]:
        """Return the text or the error of a piece, whatever it raises."""
        try:
            return self.recognise([piece])[0]
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return {"error": f"{piece.recording.uri}: cannot be recognised ({reason})"}

    def _sound(
        self, piece: Piece, archives: dict[tuple[str, str], bytes], stack: ExitStack
    ) -> AudioFile | Samples:
        recording = piece.recording
        if recording.member is not None:
            content = archives.get((recording.uri, recording.member))
            if not content:
                raise AudioError(
                    f"{recording.uri}: no recording of cut '{recording.member}'; write it again"
                )
            return content
        file = stack.enter_context(opened(recording.uri))
        if recording.start is None and recording.channel is None:
            return file
        seconds = None if recording.start is None else recording.seconds
        channel = channel_of(recording, self._options)
        samples = read_audio(file, recording.start or 0.0, seconds, channel)
        if recording.start and not samples.size:
            raise AudioError(
                f"{recording.uri}: ends before {recording.start:g} s, where the part is to start; "
                "correct the manifest"
            )
        return samples

    def _segments(self, piece: Piece) -> list[dict[str, Any]]:
        """Recognise segments of a long recording."""
        samples = samples_of(piece.recording, self._options, piece.segments)
        found: dict[int, Transcript] = {}
        sizes = {number: one.size for number, one in enumerate(samples)}
        for batch in batches_by_length(sizes, self._options.batch_seconds):
            texts = self._recognizer.recognise([samples[one] for one in batch], self._options)
            found |= dict(zip(batch, texts, strict=True))
        return [
            {"bounds": segment[:4], "transcript": asdict(found[number])}
            for number, segment in enumerate(piece.segments)
        ]


def recognised_alone(work: Work, piece: Piece) -> tuple[dict[str, Any], float]:
    """Return the text or the error of a piece, as `Transcriber.recognise`, and the seconds taken.

    The model is loaded once in each process.
    """
    began = time.perf_counter()
    return _transcriber(work).alone(piece), time.perf_counter() - began


@functools.cache
def _transcriber(work: Work) -> Transcriber:
    return Transcriber(work)


def _named(error: KeyframeError, piece: Piece) -> str:
    """Return the message of an error with the address of the recording, whose bytes were read."""
    message, nameless = str(error), name_of(b"")
    if not message.startswith(nameless):
        return message
    recording = piece.recording
    place = recording.uri if recording.member is None else f"{recording.uri}/{recording.member}"
    return place + message.removeprefix(nameless)


def _members(pieces: Sequence[Piece]) -> dict[tuple[str, str], bytes]:
    """Return the recordings of pieces that are in shards of lhotse Shar; none of a damaged one."""
    wanted: dict[str, set[str]] = {}
    for piece in pieces:
        wanted.setdefault(piece.recording.uri, set()).add(str(piece.recording.member))
    found: dict[tuple[str, str], bytes] = {}

    def read(uri: str, names: set[str]) -> None:
        for name, content in _files_in_tar(uri):
            if name in names:
                found[uri, name] = content()
                names.remove(name)
                if not names:
                    break

    for uri, names in wanted.items():
        with suppress(OSError, tarfile.TarError, KeyframeError):
            patiently(partial(read, uri, names), PAUSES if is_uri(uri) else ())
    return found


def _files_in_tar(uri: str) -> Iterator[tuple[str, Any]]:
    filesystem, path = located(uri)
    with (
        filesystem.open(path, "rb") as file,
        tarfile.open(fileobj=file, mode="r:") as archive,
    ):
        for member in archive:
            name, _, suffix = member.name.rpartition(".")
            if member.isfile() and suffix not in ("json", "nodata", "nometa"):
                yield name, lambda member=member: archive.extractfile(member).read()  # type: ignore
