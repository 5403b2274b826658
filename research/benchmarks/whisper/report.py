"""The comparison as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from research.presentation import table

MOST_SPEAKERS = 10
"""Sets of more speakers have no table of them; the JSON file has all."""


def markdown(report: Mapping[str, Any]) -> str:
    """Return all tables of a report of `compare.py`."""
    whispers = report["whisper"]
    parts = []
    for one in report["sets"].values():
        head = (
            f"## {one['title']}: {one['recordings']} recordings, {one['seconds'] / 60:.1f} minutes"
        )
        rows = _written(one) if "words" in next(iter(one["systems"].values()), {}) else None
        parts += [head, rows or _errors(one, whispers), "" if rows else _speakers(one)]
    if "speed" in report:
        parts += ["## Speed, one thread", _speed(report["speed"])]
    return "\n\n".join(part for part in parts if part)


def _errors(one: Mapping[str, Any], whispers: Sequence[str]) -> str:
    present = [name for name in whispers if name in one["systems"]]
    header = [
        "system",
        "errors, % (95 %)",
        *(f"minus {name}" for name in present),
        "vectors attended to, a second",
        "decoder steps a second",
    ]
    rows = []
    for name, found in one["systems"].items():
        low, high = found["ci95"]
        minus = found.get("minus", {})
        rows.append(
            [
                name,
                f"{100 * found['error']:.1f} ({100 * low:.1f}-{100 * high:.1f})",
                *(_difference(minus[other]) if other in minus else "" for other in present),
                f"{found['vectors_per_second']:.1f}",
                f"{found['steps_per_second']:.1f}",
            ]
        )
    return table(header, rows)


def _difference(one: Mapping[str, Any]) -> str:
    shown = f"{100 * one['difference']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
    return f"**{shown}**" if one["better"] else shown


def _speakers(one: Mapping[str, Any]) -> str:
    systems = one["systems"]
    speakers = list(next(iter(systems.values()))["speakers"]) if systems else []
    if 1 < len(speakers) <= MOST_SPEAKERS:
        rows = [
            [name, *(f"{100 * found['speakers'][speaker]:.1f}" for speaker in speakers)]
            for name, found in systems.items()
        ]
        return table(["errors, %", *speakers], rows)
    if len(speakers) == 1:
        return ""
    rows = [
        [
            name,
            other,
            str(minus["speakers_with_fewer_errors"]),
            str(minus["speakers_with_more_errors"]),
            _over_speakers(minus),
        ]
        for name, found in systems.items()
        for other, minus in found.get("minus", {}).items()
    ]
    header = ["system", "against", "speakers with fewer errors", "with more"]
    return table([*header, "95 % over speakers, points"], rows) if rows else ""


def _over_speakers(minus: Mapping[str, Any]) -> str:
    if "ci95_over_speakers" not in minus:
        return ""
    low, high = minus["ci95_over_speakers"]
    return f"{100 * low:+.1f} to {100 * high:+.1f}"


def _written(one: Mapping[str, Any]) -> str:
    rows = [
        [name, str(found["texts"]), str(found["words"])] for name, found in one["systems"].items()
    ]
    return table(["system", "recordings with a text", "words written"], rows)


def _speed(speed: Mapping[str, Any]) -> str:
    names = list(speed["recordings"])
    rows = []
    for system, found in speed["systems"].items():
        factors = found["real_time_factor"]
        cells = [
            "{:.3f} ({:.3f}-{:.3f})".format(factors[name], *found["range"][name])
            if name in factors
            else ""
            for name in names
        ]
        rows.append([system, *cells, f"{found['peak_megabytes']:.0f}"])
    header = [f"real-time factor, {count} of {name}" for name, count in speed["recordings"].items()]
    return table(["system", *header, "peak memory, MB"], rows)
