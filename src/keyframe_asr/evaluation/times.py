"""Accuracy of word times: errors of starts and ends, and emission delay of CTC spikes.

The reference is the manifest's alignments (`word` in its supervisions, as in the synthetic
corpora), or the forced alignment of its texts by another model. Words of reference and hypothesis
are matched by edit distance (kaldialign); only equal words are compared.

Without such a reference, token starts are compared with onsets of sound after pauses, where a token
begins with the sound. CTC spikes have a constant delay (negative with wide attention), so the delay
after pauses is assumed to apply to all tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import kaldialign
import numpy as np
import numpy.typing as npt
from lhotse.cut import Cut
from rich.table import Table

from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.audio.reading import Samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import KeyframeError, ManifestError
from keyframe_asr.evaluation.report import empty_table, machine
from keyframe_asr.evaluation.scoring import ReadCut, read_batches
from keyframe_asr.inference.alignment import align_samples, tokens_of
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.results import Token, Word
from keyframe_asr.text.forms import normaliser
from keyframe_asr.timing import FRAMES_PER_SECOND

PAUSE_SECONDS = 0.3
"""Minimum pause before an onset; a third of it at the beginning of a recording."""

SOUND_SECONDS = 0.05
"""Minimum duration of sound; shorter sounds are clicks."""

EARLIEST_SECONDS, LATEST_SECONDS = 0.5, 1.0
"""Range before and after an onset in which its spike is searched. A spike nearer to the end of the
sound before the pause is excluded."""

FEWEST_ONSETS = 30
"""Minimum number of onsets for an estimate."""


@dataclass(frozen=True)
class Onset:
    """Time at which sound begins, and at which the previous sound ended (-inf: none); seconds."""

    seconds: float
    before: float


@dataclass
class EmissionDelays:
    """Delays in seconds from onsets of sound after pauses to CTC spikes."""

    values: list[float] = field(default_factory=list)

    def add(self, samples: Samples, spikes: Sequence[float]) -> None:
        """Add one recording: samples (S,) at 16 kHz, times of the spikes in seconds, ascending."""
        found = onsets_of(samples)
        ends = [*(onset.seconds for onset in found[1:]), np.inf]
        for onset, end in zip(found, ends, strict=False):
            # an earlier spike may belong to the last token before the pause
            first = max(onset.seconds - EARLIEST_SECONDS, (onset.before + onset.seconds) / 2)
            near = [spike for spike in spikes if first <= spike < end]
            if near and near[0] <= onset.seconds + LATEST_SECONDS:
                self.values.append(near[0] - onset.seconds)

    @property
    def median(self) -> float | None:
        """Median in seconds; None if there are too few onsets."""
        enough = len(self.values) >= FEWEST_ONSETS
        return round(float(np.median(self.values)), 3) if enough else None

    def report(self) -> dict[str, Any]:
        """Number of onsets, and median and range of the delays in seconds."""
        if not self.values:
            return {"count": 0}
        tenth, half, most = np.percentile(self.values, [10, 50, 90])
        return {
            "count": len(self.values),
            "median": round(float(half), 3),
            "from_10_to_90_percent": [round(float(tenth), 3), round(float(most), 3)],
        }


def onsets_of(samples: Samples) -> list[Onset]:
    """Onsets of sound after pauses in samples (S,) at 16 kHz; none if noise masks them."""
    level = SpeechLevel.of_samples(samples)
    return [] if level is None else onsets(level.loud)


def onsets(loud: npt.NDArray[np.bool_]) -> list[Onset]:
    """Onsets of sound after pauses; `loud` (T,) marks 10 ms frames with sound."""
    shortest = round(SOUND_SECONDS * FRAMES_PER_SECOND)
    found: list[Onset] = []
    quiet, needed, ended = 0, round(PAUSE_SECONDS / 3 * FRAMES_PER_SECOND), -np.inf
    for place in range(loud.size):
        sound = loud[place : place + shortest]
        if not loud[place] or (quiet and not (sound.size == shortest and sound.all())):
            quiet += 1
            continue
        if quiet >= needed:
            found.append(Onset(place / FRAMES_PER_SECOND, ended))
        quiet, needed = 0, round(PAUSE_SECONDS * FRAMES_PER_SECOND)
        ended = (place + 1) / FRAMES_PER_SECOND
    return found


@dataclass
class TimeErrors:
    """Time errors of the words of one decode mode in seconds; positive if late."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def count(self, reference: Sequence[Word], found: Sequence[Word]) -> None:
        """Add the matching words of one utterance."""
        pairs = kaldialign.align(
            [word.text for word in reference], [word.text for word in found], ""
        )
        references, hypotheses = iter(reference), iter(found)
        for expected, recognised in pairs:
            true = next(references) if expected else None
            guess = next(hypotheses) if recognised else None
            if true is not None and guess is not None and expected == recognised:
                self.starts.append(guess.start - true.start)
                self.ends.append(guess.end - true.end)

    def count_onsets(self, samples: Samples, tokens: Sequence[Token]) -> None:
        """Add the start errors of the tokens after pauses in one recording."""
        delays = EmissionDelays()
        delays.add(samples, [token.start for token in tokens])
        self.starts += delays.values


@dataclass
class TimeMeasurement:
    """A measurement run of word times and its results.

    Attributes:
        recognizer: the model.
        modes: decode modes.
        reference: model that aligns the manifest's texts; None: use the manifest's alignments.
        onsets: compare token starts with onsets of sound after pauses instead.
        failed: one error per recording that could not be read or aligned; these are not counted.
    """

    recognizer: Recognizer
    modes: Sequence[DecodeMode]
    reference: Recognizer | None = None
    onsets: bool = False
    failed: list[KeyframeError] = field(default_factory=list)
    words: int = 0

    def __post_init__(self) -> None:
        for mode in self.modes:
            self.recognizer.prepare(mode)
        self._errors = {mode: TimeErrors() for mode in self.modes}

    def run(
        self, manifest: str, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> dict[str, Any]:
        """Measure a manifest; returns the report of `keyframe measure-times`.

        `progress` is called with (done, total) utterances.

        Raises:
            ManifestError: the manifest or all of its recordings cannot be read, or no utterance has
                a reference.
        """
        cuts = list(load_manifest(manifest))
        for batch in read_batches(manifest, cuts, self.failed, progress):
            self._measure(batch)
        if not self.words:
            raise ManifestError(
                f"{manifest}: no reference word times; give --reference MODEL, --onsets, or a "
                "manifest with alignments (for instance from `keyframe prepare synthetic-...`)"
            )
        return {
            "model": self.recognizer.config.name,
            "manifest": manifest,
            "reference": self._reference_name(),
            "utterances": len(cuts) - len(self.failed),
            "words": self.words,
            "machine": machine(self.recognizer.device_name),
            "decode": {mode: _summary(errors) for mode, errors in self._errors.items()},
        }

    def _measure(self, batch: Sequence[ReadCut]) -> None:
        recordings: list[Samples] = []
        references: list[list[Word]] = []
        for cut in batch:
            try:
                reference = self._reference(cut.cut, cut.samples)
            except KeyframeError as error:
                self.failed.append(error)
                continue
            recordings.append(cut.samples)
            references.append(reference)
            self.words += len(reference)
        if not recordings:
            return
        encoded = self.recognizer.encode(recordings)
        for mode, errors in self._errors.items():
            found = self.recognizer.decode(encoded, mode)
            for samples, reference, transcript in zip(recordings, references, found, strict=True):
                if self.onsets:
                    errors.count_onsets(samples, transcript.tokens)
                else:
                    errors.count(reference, transcript.normal_words)

    def _reference_name(self) -> str:
        if self.onsets:
            return "onsets of sound after pauses"
        return self.reference.config.name if self.reference else "manifest"

    def _reference(self, cut: Cut, samples: Samples) -> list[Word]:
        if self.onsets:
            return [Word("", onset.seconds, onset.seconds, 1.0) for onset in onsets_of(samples)]
        if self.reference is not None:
            if not text(cut).strip():
                return []
            tokens = tokens_of(self.reference, text(cut))
            return align_samples(self.reference, samples, tokens, cut.id).words
        normalise = normaliser(self.recognizer.config.text_form)
        alignment = cut.supervisions[0].alignment or {}
        words = [
            Word(normalise(item.symbol), item.start, item.end, 1.0)
            for item in alignment.get("word", [])
        ]
        return [word for word in words if word.text]


def _summary(errors: TimeErrors) -> dict[str, Any]:
    return {
        "matched": len(errors.starts),
        "start": _statistics(errors.starts),
        "end": _statistics(errors.ends),
    }


def _statistics(seconds: Sequence[float]) -> dict[str, float | None]:
    """Median and 95th percentile of absolute errors, and signed median (bias), in seconds."""
    if not seconds:
        return {"median": None, "p95": None, "bias": None}
    absolute = np.abs(seconds)
    return {
        "median": round(float(np.median(absolute)), 4),
        "p95": round(float(np.percentile(absolute, 95)), 4),
        "bias": round(float(np.median(seconds)), 4),
    }


def render_times(report: Mapping[str, Any]) -> Table:
    """The report as a table, one row per decode mode; times in milliseconds."""
    table = empty_table(
        f"{report['model']} on {report['manifest']}",
        ("decode", "matched", "start median", "start 95 %", "end median", "end 95 %"),
        caption=(
            f"{report['utterances']} utterances, {report['words']} words; reference: "
            f"{report['reference']}; absolute errors in ms (signed median in parentheses)"
        ),
    )
    for mode, row in report["decode"].items():
        cells = [
            cell
            for edge in ("start", "end")
            for cell in (_median(row[edge]), _milliseconds(row[edge]["p95"]))
        ]
        table.add_row(mode, str(row["matched"]), *cells)
    return table


def _median(statistics: Mapping[str, float | None]) -> str:
    bias = statistics["bias"]
    sign = "" if bias is None else f" ({1000 * bias:+.0f})"
    return _milliseconds(statistics["median"]) + sign


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.0f}"
