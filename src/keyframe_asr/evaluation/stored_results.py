"""Compare two stored results of `keyframe evaluate`: its JSON reports, or its details."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.comparison import Comparison, compare_errors
from keyframe_asr.evaluation.metrics import UNIT_NAMES
from keyframe_asr.inference.options import DECODE_MODES
from keyframe_asr.io.text_file import read_lines

_ADVICE = "give what keyframe evaluate wrote with --json or --details"


@dataclass(frozen=True)
class StoredResult:
    """The errors of each utterance in one result.

    Attributes:
        name: the file, with the decode mode that was chosen.
        unit: of the text form.
        lengths: units of the reference, by utterance.
        errors: by decode mode and utterance.
    """

    name: str
    unit: str
    lengths: dict[str, int]
    errors: dict[str, dict[str, int]]


@dataclass(frozen=True)
class ComparedModes:
    """A decode mode of result A and one of B on the utterances that both have.

    Attributes:
        modes: of A and of B.
        rates: error rates of A and of B, fractions.
        comparison: of the two.
        utterances: number of utterances.
        unit: name of the error rate.
    """

    modes: tuple[str, str]
    rates: tuple[float, float]
    comparison: Comparison
    utterances: int
    unit: str

    def described(self) -> str:
        """Say in one line which is better."""
        mode_a, mode_b = self.modes
        modes = mode_a if mode_a == mode_b else f"{mode_a} (A), {mode_b} (B)"
        a, b = (f"{100 * rate:.2f}" for rate in self.rates)
        return f"{modes}: {self.comparison.described()}; {self.unit} A {a} %, B {b} %"

    def report(self) -> dict[str, Any]:
        """The values for JSON; rates are fractions."""
        return {
            "modes": list(self.modes),
            "unit": self.unit,
            "utterances": self.utterances,
            "rates": list(self.rates),
            "difference": self.comparison.difference,
            "ci95": [self.comparison.low, self.comparison.high],
            "better": self.comparison.better,
        }


def read_result(place: str) -> StoredResult:
    """Read a result: `FILE`, or `FILE:MODE` for one decode mode of it.

    Raises:
        KeyframeError: the file cannot be read, is no result, or lacks the mode.
    """
    stem, _, mode = place.rpartition(":")
    file = Path(stem if mode in DECODE_MODES else place)
    advice = f"{file}: not a result to compare; {_ADVICE}"
    lines = list(read_lines(file, _ADVICE, KeyframeError))
    try:
        if file.suffix.lower() == ".jsonl":
            unit, lengths, errors = _of_details(lines)
        else:
            unit, lengths, errors = _of_report(json.loads("\n".join(lines)))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyframeError(advice) from None
    if not errors:
        raise KeyframeError(advice)
    if mode in DECODE_MODES:
        if mode not in errors:
            raise KeyframeError(f"{place}: no decode mode '{mode}'; it has {', '.join(errors)}")
        errors = {mode: errors[mode]}
    return StoredResult(place, unit, lengths, errors)


_Counts = tuple[str, dict[str, int], dict[str, dict[str, int]]]


def _of_report(report: Mapping[str, Any]) -> _Counts:
    stored = report["per_utterance"]
    ids = stored["ids"]
    lengths = dict(zip(ids, stored["lengths"], strict=True))
    errors = {mode: dict(zip(ids, one, strict=True)) for mode, one in stored["errors"].items()}
    return report["unit"], lengths, errors


def _of_details(lines: list[str]) -> _Counts:
    found = [json.loads(line) for line in lines if line.strip()]
    scored = [one for one in found if "error" not in one]
    errors: dict[str, dict[str, int]] = {}
    for one in scored:
        for mode, output in one["decode"].items():
            errors.setdefault(mode, {})[one["id"]] = output["errors"]
    return (
        scored[0]["unit"] if scored else "",
        {one["id"]: one["length"] for one in scored},
        errors,
    )


def compare_results(a: StoredResult, b: StoredResult) -> list[ComparedModes]:
    """Compare two results on the utterances that both have, in each decode mode of both.

    If they have no mode in common and one mode each, these are compared.

    Raises:
        KeyframeError: they have no utterances, unit or modes in common, or other references.
    """
    both = f"{a.name} and {b.name}"
    if a.unit != b.unit:
        raise KeyframeError(
            f"{both}: errors are counted in {a.unit} and in {b.unit}; evaluate both with models of "
            "one text form"
        )
    shared = [name for name in a.lengths if name in b.lengths]
    changed = next((name for name in shared if a.lengths[name] != b.lengths[name]), None)
    if changed is not None:
        raise KeyframeError(
            f"{both}: the reference of utterance '{changed}' has {a.lengths[changed]} {a.unit} in "
            f"one and {b.lengths[changed]} in the other; evaluate both on the same manifest, with "
            "models of one text form"
        )
    lengths = [a.lengths[name] for name in shared]
    if not any(lengths):
        raise KeyframeError(f"{both}: no utterance in common; evaluate both on the same manifest")
    found = []
    for mode_a, mode_b in _pairs(a, b):
        errors_a, errors_b = (
            [errors[name] for name in shared] for errors in (a.errors[mode_a], b.errors[mode_b])
        )
        found.append(
            ComparedModes(
                modes=(mode_a, mode_b),
                rates=(sum(errors_a) / sum(lengths), sum(errors_b) / sum(lengths)),
                comparison=compare_errors(errors_a, errors_b, lengths),
                utterances=len(shared),
                unit=UNIT_NAMES.get(a.unit, a.unit),
            )
        )
    return found


def _pairs(a: StoredResult, b: StoredResult) -> list[tuple[str, str]]:
    common = [(mode, mode) for mode in a.errors if mode in b.errors]
    if common:
        return common
    if len(a.errors) == len(b.errors) == 1:
        return [(next(iter(a.errors)), next(iter(b.errors)))]
    raise KeyframeError(
        f"{a.name} and {b.name}: no decode mode in common ({', '.join(a.errors)}; "
        f"{', '.join(b.errors)}); name one of each, as in FILE:{next(iter(a.errors))}"
    )
