"""HTML page of `keyframe evaluate --page`: which errors a model makes, where, and how they sound.

The template is `error_page.html`. The page embeds its data as JSON and the worst utterances as
MP3, which all current browsers play; the browser builds the rest of text nodes, and nothing else is
loaded.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import soundfile

from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.breakdown import by_speaker, by_value, confusions
from keyframe_asr.evaluation.details import Details
from keyframe_asr.evaluation.font_package import font_face
from keyframe_asr.evaluation.metrics import UNIT_NAMES
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.pages import filled
from keyframe_asr.timing import SAMPLE_RATE

TEMPLATE = "error_page.html"

MOST_CONFUSIONS = 100
"""Confusions of each kind that the page lists."""


@dataclass(frozen=True)
class PageLimits:
    """What is embedded of a large evaluation; the tables always count all utterances.

    Attributes:
        utterances: number of utterances that are listed, those with the most errors.
        recordings: number of them that can be played.
        seconds: longest recording that can be played.
        audio_bytes: size of all their MP3 files.
    """

    utterances: int = 3000
    recordings: int = 60
    seconds: float = 30.0
    audio_bytes: int = 6_000_000


def write_error_page(
    report: Mapping[str, Any],
    details: Sequence[Details],
    path: Path,
    limits: PageLimits | None = None,
) -> None:
    """Write the page atomically.

    Args:
        report: of `keyframe evaluate --json`.
        details: of its utterances; recordings that cannot be read now cannot be played.
        path: the file to write.
        limits: of what is embedded.

    Raises:
        KeyframeError: the file cannot be written.
    """
    write_whole(path, render_error_page(report, details, limits or PageLimits()))


def render_error_page(
    report: Mapping[str, Any], details: Sequence[Details], limits: PageLimits
) -> str:
    """Render the page as HTML."""
    data = json.dumps(_data(report, details, limits), ensure_ascii=False, separators=(",", ":"))
    contents = {
        "title": html.escape(f"{report['model']} on {report['manifest']}"),
        "font": font_face(data),
        # without "<", the data cannot end the script element that contains it
        "data": data.replace("<", "\\u003c"),
    }
    page = resources.files("keyframe_asr.evaluation").joinpath(TEMPLATE).read_text("utf-8")
    return filled(page, contents)


def _data(
    report: Mapping[str, Any], details: Sequence[Details], limits: PageLimits
) -> dict[str, Any]:
    scored = [one for one in details if "error" not in one]
    unit = report["unit"]
    worst = _worst(scored, next(iter(report["decode"])))
    listed = sorted(worst[: limits.utterances])
    played = dict(_played([scored[place] for place in worst], limits))
    return {
        "model": report["model"],
        "manifest": report["manifest"],
        "unit": unit,
        "rateName": UNIT_NAMES[unit],
        "facts": {
            "utterances": f"{report['utterances']:,}",
            "audio": f"{report['audio_seconds'] / 60:.1f} minutes",
            "frames dropped": f"{report['frame_reduction']:.1%}",
            "text form": report["text_form"],
        },
        "device": _device(report),
        "scored": len(scored),
        "modes": {mode: _mode(report, scored, mode) for mode in report["decode"]},
        "utterances": [_listed(scored[place]) for place in listed],
        "failed": [[one["id"], one["error"]] for one in details if "error" in one],
        "audio": played,
    }


def _device(report: Mapping[str, Any]) -> str:
    threads = report["threads"]
    computed = report["machine"].rpartition("computed on ")[2]
    return f"{threads} thread{'s' * (threads > 1)}" if computed == "cpu" else computed


def _worst(scored: Sequence[Details], mode: str) -> list[int]:
    """Places of the utterances, those with the most errors first."""

    def key(place: int) -> tuple[int, float, int]:
        one = scored[place]
        errors = one["decode"][mode]["errors"]
        return -errors, -errors / max(1, one["length"]), place

    return sorted(range(len(scored)), key=key)


def _mode(report: Mapping[str, Any], scored: Sequence[Details], mode: str) -> dict[str, Any]:
    row = report["decode"][mode]
    found = confusions(scored, mode)
    spoken = found.spoken
    groups = {
        "speaker": by_speaker(scored, mode),
        f"{report['unit']} of the reference": by_value(
            scored, mode, [one["length"] for one in scored]
        ),
        "signal-to-noise ratio (dB, estimated)": by_value(
            scored, mode, [one["snr"] for one in scored]
        ),
        "speech level (dB)": by_value(scored, mode, [one["level"] for one in scored]),
        "confidence (%)": by_value(
            scored,
            mode,
            [
                None if value is None else 100 * value
                for value in (one["decode"][mode]["confidence"] for one in scored)
            ],
        ),
    }
    return {
        "rate": row["cer" if report["unit"] == "characters" else "wer"],
        "interval": row["ci95"],
        "substitutions": row["substitutions"],
        "deletions": row["deletions"],
        "insertions": row["insertions"],
        "correct": sum(one["decode"][mode]["errors"] == 0 for one in scored),
        "rtf": row["rtf"],
        "search": ", ".join(f"{name} {value}" for name, value in row["search"].items()),
        "substituted": [
            [expected, heard, count, spoken[expected]]
            for (expected, heard), count in found.substitutions[:MOST_CONFUSIONS]
        ],
        "deleted": [
            [expected, count, spoken[expected]]
            for expected, count in found.deletions[:MOST_CONFUSIONS]
        ],
        "inserted": [list(one) for one in found.insertions[:MOST_CONFUSIONS]],
        "groups": {
            name: [asdict(group) for group in some] for name, some in groups.items() if some
        },
    }


def _listed(one: Details) -> dict[str, Any]:
    return {
        "id": one["id"],
        "speaker": one["speaker"],
        "duration": one["duration"],
        "length": one["length"],
        "snr": one["snr"],
        "level": one["level"],
        "decode": {
            mode: {
                "errors": output["errors"],
                "confidence": output["confidence"],
                # a unit that is right stands alone
                "alignment": [
                    expected if expected == found else [expected, found]
                    for expected, found in output["alignment"]
                ],
            }
            for mode, output in one["decode"].items()
        },
    }


def _played(worst: Sequence[Details], limits: PageLimits) -> Iterator[tuple[str, str]]:
    """Yield names and MP3 files (base64) of the recordings that can be played."""
    size = count = 0
    for one in worst:
        if count == limits.recordings:
            return
        if one["duration"] > limits.seconds:
            continue
        try:
            content = _mp3(
                read_audio(Path(one["audio"]), one["start"], one["duration"], one["channel"])
            )
        except KeyframeError:
            continue
        if size + len(content) > limits.audio_bytes:
            return
        size += len(content)
        count += 1
        yield one["id"], base64.b64encode(content).decode("ascii")


def _mp3(samples: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()
