"""Lines of lhotse's manifests, checked and packed.

A line as lhotse and `save_manifest` write it is checked as it is; only others are made into cuts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lhotse import MonoCut
from lhotse.cut import Cut
from lhotse.serialization import deserialize_item

from keyframe_asr.data.manifest import ARCHIVED, PART_TOLERANCE, POSITION
from keyframe_asr.data.packed_cuts import PackedCuts, PackedLine, packed_line
from keyframe_asr.errors import ManifestError
from keyframe_asr.io.text_file import read_lines

_CUT = {"id", "start", "duration", "channel", "supervisions", "recording", "type"}
_SUPERVISION = {"id", "recording_id", "start", "duration", "channel", "text", "speaker", "language"}
_RECORDING = {"id", "sources", "sampling_rate", "num_samples", "duration", "channel_ids"}
_SOURCE = {"type", "channels", "source"}
"""Fields of a usual line."""


def load_cuts(file: Path) -> PackedCuts:
    """Read lhotse cuts from `.jsonl` or `.jsonl.gz`; there may be none.

    Raises:
        ManifestError: a line is not one cut of a recording with one supervision.
    """
    advice = "it may be truncated, write it again"
    lines = enumerate(read_lines(file, advice, ManifestError), start=1)
    return PackedCuts(
        parse_line(content, f"{file}:{line}") for line, content in lines if content.strip()
    )


def parse_line(content: str, where: str) -> PackedLine:
    """Check a line, and pack it. Raises `ManifestError` with the place `where`."""
    try:
        data: Any = json.loads(content)
    except (ValueError, RecursionError):
        data = None
    return _packed(data, content) if _is_usual(data) else packed_line(_parse_cut(content, where))


def pack(data: dict[str, Any], where: str) -> PackedLine:
    """Check the values of a line, and pack it. Raises `ManifestError` with the place `where`."""
    content = json.dumps(data, ensure_ascii=False)
    return _packed(data, content) if _is_usual(data) else packed_line(_parse_cut(content, where))


def _packed(data: dict[str, Any], content: str) -> PackedLine:
    text = data["supervisions"][0].get("text") or ""
    rate = data["recording"]["sampling_rate"]
    return PackedLine(content, data["id"], text, data["duration"], rate)


def _is_usual(data: Any) -> bool:
    """True if lhotse surely makes a cut of it that passes all checks of `_parse_cut`."""
    try:
        (said,), recording = data["supervisions"], data["recording"]
        (source,) = recording["sources"]
        start, duration = data["start"], data["duration"]
        fields = data.keys() - {"custom"} == _CUT and recording.keys() == _RECORDING
        fields = fields and source.keys() == _SOURCE and said.keys() <= _SUPERVISION
        custom = data.get("custom", {})
        numbers = (start, duration, recording["duration"], said["start"], said["duration"])
        whole = (data["channel"], recording["sampling_rate"], recording["num_samples"])
        texts = (data["id"], source["source"], said.get("text", ""), said.get("speaker", ""))
        return bool(
            fields
            and data["type"] == "MonoCut"
            and custom.keys() == ({POSITION} if source["type"] == ARCHIVED else set())
            and _is_readable(source["type"], source["source"], custom)
            and all(type(one) in (float, int) for one in numbers)
            and all(type(one) is int for one in whole)
            and all(type(one) is str for one in texts)
            and type(said["id"]) is type(said["recording_id"]) is type(recording["id"]) is str
            and source["channels"] == recording["channel_ids"]
            and 0 <= start <= start + duration <= recording["duration"] + PART_TOLERANCE < 1e12
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _parse_cut(content: str, where: str) -> Cut:
    try:
        data: Any = json.loads(content)
        cut = deserialize_item(data)
    except Exception as error:  # lhotse raises various errors, AssertionError included
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ManifestError(
            f"{where}: not a lhotse cut ({reason}); write one cut per line"
        ) from None
    if not isinstance(cut, MonoCut):
        raise ManifestError(
            f"{where}: a {type(cut).__name__}, but only lhotse's MonoCut is supported; "
            "write one recording with one channel per line"
        )
    sources = cut.recording.sources if cut.recording is not None else []
    if len(sources) != 1 or not _is_readable(sources[0].type, sources[0].source, cut.custom or {}):
        raise ManifestError(f"{where}: cut '{cut.id}' is not one audio file; save it as a file")
    if len(cut.supervisions) != 1:
        raise ManifestError(
            f"{where}: cut '{cut.id}' has {len(cut.supervisions)} supervisions instead of one; "
            "split it with lhotse's trim_to_supervisions and save_audios"
        )
    _check_values(cut, where)
    _check_part(cut, where)
    return cut


def _is_readable(kind: str, source: Any, custom: Mapping[str, Any]) -> bool:
    """True for a file, and for a part of an archive whose place is known."""
    if kind != ARCHIVED:
        return kind == "file"
    place = custom.get(POSITION)
    return bool(source) and isinstance(place, list) and [*map(type, place)] == [str, int, int]


def _check_values(cut: MonoCut, where: str) -> None:
    """Check what lhotse takes as it is. Raises `ManifestError`."""
    recording, supervision = cut.recording, cut.supervisions[0]
    for name, value in (
        ("start", cut.start),
        ("duration", cut.duration),
        ("channel", cut.channel),
        ("recording.duration", recording.duration),
        ("recording.sampling_rate", recording.sampling_rate),
        ("recording.num_samples", recording.num_samples),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
            raise ManifestError(f"{where}: {name} is {value!r}; give a number")
    for name, text, needed in (
        ("id", cut.id, True),
        ("recording.sources.source", recording.sources[0].source, True),
        ("supervisions.text", supervision.text, False),
        ("supervisions.speaker", supervision.speaker, False),
    ):
        if not isinstance(text, str) and (needed or text is not None):
            raise ManifestError(f"{where}: {name} is {text!r}; give a text in quotes")


def _check_part(cut: MonoCut, where: str) -> None:
    recording = cut.recording
    end = cut.start + cut.duration
    if not 0 <= cut.start <= end <= recording.duration + PART_TOLERANCE:
        raise ManifestError(
            f"{where}: cut '{cut.id}' is from {cut.start:.2f} to {end:.2f} s "
            f"of a recording of {recording.duration:.2f} s; write the cuts again"
        )
