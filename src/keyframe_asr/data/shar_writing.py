"""Write cuts and their recordings in lhotse's Shar format, shard by shard, in several processes.

Recordings become FLAC at their own rate: 16 bits where that keeps every sample, as it does for
recordings of 16 bits, else 24. A cut that names a channel gets only that; others keep all. The
place of each recording in its archive is written with its cut (`data.shar`).
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item
from lhotse.shar.utils import to_shar_placeholder
from lhotse.utils import fastcopy

from keyframe_asr.audio.byte_source import name_of
from keyframe_asr.audio.decoding import Block
from keyframe_asr.audio.reading import read_channels
from keyframe_asr.data.feature_store import check_duration, place_in_file
from keyframe_asr.data.manifest import POSITION, audio_channel, audio_of
from keyframe_asr.data.parallel import each
from keyframe_asr.data.shar import SHARDS
from keyframe_asr.errors import AudioError, KeyframeError, ManifestError
from keyframe_asr.io.atomic_write import replacing_folder

SHARD_CUTS = 1000
"""Utterances of a shard, as lhotse's default."""

_MOST_CHANNELS = 8
"""Of FLAC."""


@dataclass(frozen=True)
class _Shard:
    folder: Path
    number: int
    lines: tuple[str, ...]
    shards: int


def write_shar(
    cuts: Sequence[Cut],
    folder: Path,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    shard_cuts: int = SHARD_CUTS,
) -> dict[str, str]:
    """Write cuts into a folder, which is replaced as a whole.

    Args:
        cuts: in the order in which they are written.
        folder: the folder.
        jobs: processes that read recordings; each writes a shard.
        progress: called with (done, total) cuts.
        shard_cuts: utterances of a shard.

    Returns:
        Why cuts are left out, by their names: their recordings cannot be read.

    Raises:
        ManifestError: the folder cannot be written.
    """
    left_out: dict[str, str] = {}
    with replacing_folder(folder, "choose another --out", ManifestError) as written:
        shards = _shards(cuts, written, shard_cuts)
        for done, failed in enumerate(each(_write_shard, shards, jobs, chunk=1), start=1):
            left_out |= failed
            progress(min(done * shard_cuts, len(cuts)), len(cuts))
    return left_out


def _shards(cuts: Sequence[Cut], folder: Path, size: int) -> Iterator[_Shard]:
    starts = range(0, max(1, len(cuts)), size)
    for number, first in enumerate(starts):
        some = cuts[first : first + size]
        lines = tuple(json.dumps(cut.to_dict(), ensure_ascii=False) for cut in some)
        yield _Shard(folder, number, lines, len(starts))


def _write_shard(shard: _Shard) -> dict[str, str]:
    """Write a shard; returns why cuts are left out."""
    left_out: dict[str, str] = {}
    lines: list[str] = []
    name = f"{shard.number:06d}"
    with tarfile.open(shard.folder / f"recording.{name}.tar", "w") as archive:
        for line in shard.lines:
            cut: Cut = deserialize_item(json.loads(line))
            try:
                encoded = _encoded(cut)
            except KeyframeError as error:
                left_out[cut.id] = str(error)
            else:
                added = _added(archive, cut, encoded, shard.shards)
                lines.append(json.dumps(added, ensure_ascii=False) + "\n")
    content = gzip.compress("".join(lines).encode("utf-8", "surrogatepass"), mtime=0)
    (shard.folder / f"cuts.{name}.jsonl.gz").write_bytes(content)
    return left_out


def _encoded(cut: Cut) -> bytes:
    """Read the recording of a cut, and encode it as FLAC.

    Raises:
        AudioError: the recording cannot be read.
        ManifestError: its length differs from the manifest.
    """
    audio, channel = audio_of(cut), audio_channel(cut)
    samples, rate = read_channels(audio, *place_in_file(cut))
    check_duration(cut, len(samples) / rate)
    if channel is not None and channel >= samples.shape[1]:
        raise AudioError(f"{name_of(audio)}: has {samples.shape[1]} channels, not {channel + 1}")
    if channel is not None:
        samples = samples[:, channel : channel + 1]
    elif samples.shape[1] > _MOST_CHANNELS:
        samples = samples.mean(axis=1, dtype=np.float32, keepdims=True)
    file = io.BytesIO()
    whole, subtype = _integers(samples)
    soundfile.write(file, whole, rate, format="FLAC", subtype=subtype)
    return file.getvalue()


def _integers(samples: Block) -> tuple[Any, str]:
    """Samples as integers: libsndfile scales floats by one less than it divides by in reading."""
    scaled = np.clip(samples, -1.0, 1.0) * np.float32(2**15)
    if np.array_equal(scaled, np.rint(scaled)):
        return np.minimum(scaled, 2**15 - 1).astype(np.int16), "PCM_16"
    fine = np.rint(np.clip(samples, -1.0, 1.0).astype(np.float64) * 2**23)
    return np.minimum(fine, 2**23 - 1).astype(np.int32) << 8, "PCM_24"


def _added(archive: tarfile.TarFile, cut: Cut, encoded: bytes, shards: int) -> dict[str, Any]:
    """Add a recording to an archive; returns the cut that names its place, and all `shards`."""
    recording = to_shar_placeholder(cut.recording, cut)
    recording.sources[0].channels = recording.channel_ids = [0]
    name = f"{cut.id}.flac"
    _add(archive, name, encoded)
    padded = -(-len(encoded) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    position = [name, archive.offset - padded, len(encoded)]
    _add(archive, f"{cut.id}.json", json.dumps(recording.to_dict()).encode() + b"\n")
    custom = {**(cut.custom or {}), POSITION: position, SHARDS: shards}
    data: dict[str, Any] = fastcopy(
        cut, start=0.0, channel=0, recording=recording, custom=custom
    ).to_dict()
    return data


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    described = tarfile.TarInfo(name)
    described.size = len(content)
    archive.addfile(described, io.BytesIO(content))
