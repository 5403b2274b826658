"""What made a folder of results: so that only the same command goes on with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from keyframe_asr.cluster.manifest import Recording
from keyframe_asr.cluster.places import Store, joined
from keyframe_asr.cluster.results import Counted, part_name
from keyframe_asr.errors import KeyframeError, ManifestError

RECORD = ".keyframe/record.json"


@dataclass(frozen=True)
class Archive:
    """A manifest that has been read once.

    Attributes:
        recordings: their number.
        seconds: of audio, of those whose duration the manifest tells.
        unknown: number of the others.
        sha256: of all ids, addresses and times.
    """

    recordings: int
    seconds: float
    unknown: int
    sha256: str


def read_once(manifest: str, recordings: Iterable[Recording]) -> Archive:
    """Count the recordings of a manifest.

    Raises:
        ManifestError: there are none, or two have the same id.
    """
    seen: set[int] = set()
    digest = hashlib.sha256()
    count, seconds, unknown = 0, 0.0, 0
    for one in recordings:
        key = int.from_bytes(hashlib.blake2b(one.id.encode(), digest_size=12).digest())
        if key in seen:
            raise ManifestError(f"{manifest}: id '{one.id}' occurs twice; give each its own id")
        seen.add(key)
        digest.update(json.dumps(asdict(one)).encode())
        count += 1
        seconds += one.seconds or 0.0
        unknown += one.seconds is None
    if not count:
        raise ManifestError(f"{manifest}: names no recordings; add some")
    return Archive(count, seconds, unknown, digest.hexdigest())


@dataclass(frozen=True)
class Record:
    """What is in a folder of results.

    Attributes:
        key: of the settings, the same for all that give the same texts.
        settings: model, decode mode and options.
        manifest: SHA-256 of the recordings, ids and times of the manifest.
        suffix: parquet or jsonl.
        jobs: number of jobs of each file of results, once they are written.
        counted: of the results, once all are written.
    """

    key: str
    settings: dict[str, Any]
    manifest: str
    suffix: str
    jobs: tuple[int, ...] = ()
    counted: dict[str, float] = field(default_factory=dict)

    def job_names(self, shard: int) -> list[str]:
        """Return the names of the jobs of a file of results."""
        return [f"{shard:05}-{number:05}" for number in range(self.jobs[shard])]

    def write(self, store: Store) -> None:
        """Write the record."""
        store.write(RECORD, json.dumps(asdict(self), default=str, indent=1).encode())


def begun(store: Store, wanted: Record, overwrite: bool) -> Record:
    """Return the record of a folder that the same command has begun, or begin one.

    Args:
        store: the folder.
        wanted: the record of this command.
        overwrite: begin again, whatever made the results that are there.

    Raises:
        KeyframeError: the folder holds something else, or cannot be written.
    """
    content = store.read(RECORD)
    if content is None and not overwrite:
        others = [name for name in store.names() if name != ".keyframe"]
        if others:
            raise KeyframeError(
                f"{store.place}: holds {others[0]}, which keyframe transcribe --engine ray did not "
                "write; give an empty folder"
            )
    if overwrite:
        for name in store.names():
            if name == ".keyframe" or name.startswith("part-"):
                store.remove(name)
        content = None
    if content is None:
        store.make(".keyframe")
        wanted.write(store)
        return wanted
    found = _record_of(content, store)
    difference = _difference(found, wanted)
    if difference:
        raise KeyframeError(
            f"{store.place}: made with {difference}; give another --out, or --overwrite"
        )
    return replace(found, settings=wanted.settings)


def _record_of(content: bytes, store: Store) -> Record:
    """Return the record that a file holds. Raises `KeyframeError` if it holds none."""
    try:
        values = json.loads(content)
        jobs, settings = tuple(map(int, values["jobs"])), dict(values["settings"])
        found = Record(**values | {"jobs": jobs, "settings": settings})
        Counted(**{name: float(value) for name, value in found.counted.items()})  # type: ignore[arg-type]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise KeyframeError(
            f"{joined(store.place, RECORD)}: damaged, or of another version; give another --out, "
            "or --overwrite"
        ) from None
    return found


def check_complete(store: Store, record: Record) -> None:
    """Check that all files of results are there.

    Raises:
        KeyframeError: one has been removed.
    """
    there = set(store.names())
    for shard in range(len(record.jobs)):
        name = part_name(shard, record.suffix)
        if name not in there:
            raise KeyframeError(
                f"{joined(store.place, name)}: was written, and is not there any more; put it "
                "back, or give --overwrite to transcribe all again"
            )


def _difference(found: Record, wanted: Record) -> str:
    if found.key != wanted.key:
        names = ("model", "decode", "options", "model_sha256")
        before, now = (json.loads(json.dumps(x.settings, default=str)) for x in (found, wanted))
        changed = next((name for name in names if before.get(name) != now.get(name)), "options")
        if changed == "model_sha256":
            return f"other files of model {wanted.settings['model']}"
        return f"{changed} {before.get(changed)} instead of {now.get(changed)}"
    if found.suffix != wanted.suffix:
        return f"--shards {found.suffix} instead of {wanted.suffix}"
    if found.manifest != wanted.manifest:
        return "other recordings in the manifest"
    return ""
