"""Errors of several systems on a set of recordings, and whether they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from keyframe_asr.evaluation.comparison import compare_errors
from research.benchmarks.whisper.normal_forms import (
    count_each,
    english_units,
    fewest_errors,
    mandarin_units,
    spelled_readings,
    spelled_units,
    words_written,
)
from research.benchmarks.whisper.recordings import Form, RecordingSet
from research.significance import rate_interval

FEWEST_SPEAKERS = 10
"""Speakers that a set needs for an interval over speakers."""


@dataclass(frozen=True)
class Scores:
    """Errors of each system on each recording (U,); `lengths` (U,) and speakers of the set.

    Without speech, `errors` are words that were written, and all lengths are 0.
    """

    lengths: tuple[int, ...]
    speakers: tuple[str, ...]
    errors: Mapping[str, Sequence[int]]

    def described(self, whispers: Sequence[str]) -> dict[str, Any]:
        """Return rates, intervals, speakers and differences as JSON values.

        Every system but those of whisper is compared with those of whisper and with the systems
        before it.
        """
        if not any(self.lengths):
            return {name: _written(one) for name, one in self.errors.items()}
        found: dict[str, Any] = {}
        for place, (name, errors) in enumerate(self.errors.items()):
            rate, low, high = rate_interval([errors], self.lengths)
            found[name] = {
                "error": rate,
                "ci95": [low, high],
                "errors": list(errors),
                "speakers": {
                    one: sum(wrong) / max(1, sum(sizes))
                    for one, (wrong, sizes) in self._by_speaker(errors).items()
                },
            }
            if name not in whispers:
                found[name]["minus"] = {
                    other: self.difference(other, name) for other in list(self.errors)[:place]
                }
        return found

    def difference(self, other: str, name: str) -> dict[str, Any]:
        """Error rate of `name` minus that of `other`, over recordings and over speakers."""
        pair = self.errors[other], self.errors[name]
        found = asdict(compare_errors(pair[0], pair[1], self.lengths))
        summed = [list(self._by_speaker(errors).values()) for errors in pair]
        totals = [[sum(wrong) for wrong, _ in one] for one in summed]
        found["speakers_with_fewer_errors"] = sum(b < a for a, b in zip(*totals, strict=True))
        found["speakers_with_more_errors"] = sum(b > a for a, b in zip(*totals, strict=True))
        if len(summed[0]) >= FEWEST_SPEAKERS:
            sizes = [sum(size) for _, size in summed[0]]
            over = compare_errors(totals[0], totals[1], sizes)
            found["ci95_over_speakers"] = [over.low, over.high]
        return found

    def _by_speaker(self, errors: Sequence[int]) -> dict[str, tuple[list[int], list[int]]]:
        found: dict[str, tuple[list[int], list[int]]] = {}
        for speaker, wrong, size in zip(self.speakers, errors, self.lengths, strict=True):
            of_one = found.setdefault(speaker, ([], []))
            of_one[0].append(wrong)
            of_one[1].append(size)
        return found


def score(recordings: RecordingSet, texts: Mapping[str, Sequence[str]], peer_python: str) -> Scores:
    """Score the texts of systems, those of each in the order of the recordings.

    `peer_python` is needed for Mandarin only.
    """
    references = [one.text for one in recordings.recordings]
    lengths, errors = _counted(recordings.form, references, texts, peer_python)
    speakers = tuple(one.speaker for one in recordings.recordings)
    return Scores(tuple(lengths), speakers, errors)


def _counted(
    form: Form,
    references: Sequence[str],
    texts: Mapping[str, Sequence[str]],
    peer_python: str,
) -> tuple[list[int], dict[str, list[int]]]:
    if form == "none":
        return [0] * len(references), {
            name: [words_written(text) for text in one] for name, one in texts.items()
        }
    if form == "spelled":
        expected = [spelled_units(text) for text in references]
        return [len(one) for one in expected], {
            name: [
                fewest_errors(units, spelled_readings(text))
                for units, text in zip(expected, one, strict=True)
            ]
            for name, one in texts.items()
        }
    if form == "english":
        expected = [english_units(text) for text in references]
        found = {name: [english_units(text) for text in one] for name, one in texts.items()}
    else:
        expected = mandarin_units(references, peer_python)
        found = {name: mandarin_units(one, peer_python) for name, one in texts.items()}
    lengths = [len(one) for one in expected]
    return lengths, {name: count_each(expected, one) for name, one in found.items()}


def _written(words: Sequence[int]) -> dict[str, Any]:
    return {"texts": sum(map(bool, words)), "words": sum(words), "errors": list(words)}
