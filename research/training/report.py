"""Report of a training study: a table of its variants, and sentences."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keyframe_asr.inference.options import DECODE_MODES
from research.definition import TrainingDefinition, VariantConfig
from research.presentation import NOISE, in_words, points, rate, sentence, table
from research.training.picture import draw
from research.training.results import Result, TrainingResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class TrainingStudyReport:
    """Report of the variants and seeds that have been measured."""

    def __init__(self, definition: TrainingDefinition, results: Mapping[str, Result]) -> None:
        self._definition = definition
        self._results = TrainingResults(definition, results)

    @property
    def is_empty(self) -> bool:
        """True if no variant has been trained yet."""
        return not self._results.variants

    def markdown(self) -> list[str]:
        """Return the setting, findings and table."""
        if self.is_empty:
            return ["No variant has been trained yet."]
        return [self._done(), self._sentences(), self._spread(), self._table(), self._missing()]

    def summary(self) -> str:
        """Return which variants make more, fewer or as many errors as the reference."""
        results, reference = self._results, self._results.reference
        if reference is None:
            return ""
        found: dict[str, list[str]] = {
            "more errors": [],
            "fewer errors": [],
            "within noise of it": [],
        }
        for one in results.others:
            minus = results.difference(one)
            side = "fewer errors" if minus.value < 0 else "more errors"
            found["within noise of it" if minus.is_noise else side].append(
                f"{one.label}{self._repeated(one)}, {points(minus)}"
            )
        lines = [
            f"{reference.label}{self._repeated(reference)}: {rate(*results.rate(reference))} % of "
            f"{results.any_result['unit']} wrong, greedy; {self._measured()}. "
            "Differences from it, in points (95 %):",
            *(f"{side}: {'; '.join(of)}." for side, of in found.items() if of),
            self._other_modes(reference),
            self._spread(),
            self._missing(),
        ]
        return "\n".join(f"- {line}" for line in lines if line)

    def figure(self) -> Figure | None:
        """Draw the error rate of each variant with its interval, or against tokens per second."""
        return draw(self._results)

    def _done(self) -> str:
        definition, results = self._definition, self._results
        epochs = sorted(
            {run["epochs"] for one in results.variants for run in results.trainings(one)}
        )
        seeds = results.training_counts[-1]
        noise = (
            "One training each: how much another would differ is not in the intervals."
            if seeds == 1
            else f"Up to {seeds} seeds each, which the intervals take in; rates are their means."
        )
        if seeds > 1 and definition.start is not None and definition.start.stage is not None:
            noise += " All seeds share one start."
        return (
            f"`{definition.recipe}`, every variant from {self._begun()} unless it says otherwise, "
            f"{' or '.join(map(str, epochs))} epochs each; {self._measured()}, error in "
            f"{results.any_result['unit']}, compared in the greedy mode. {NOISE} {noise} Real-time "
            "factors are of one pass, beside whatever else the machine did."
        )

    def _begun(self) -> str:
        """Describe what variants start from."""
        start = self._definition.start
        if start is None:
            return "random weights"
        stage = f"the same weights of stage `{start.stage}`" if start.stage is not None else ""
        if start.initial is None:
            return stage
        model = f"`{start.initial}`"
        if start.reinitialise:
            model += f" without {', '.join(start.reinitialise)}"
        return f"{stage}, begun as {model}," if stage else model

    def _measured(self) -> str:
        first, seeds = self._results.any_result, self._results.training_counts
        span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
        many = "one seed" if seeds == [1] else f"{span} seeds"
        return (
            f"measured on {first['utterances']} utterances ({first['audio_seconds'] / 60:.1f} "
            f"minutes) of the {self._definition.split} part, {many}"
        )

    def _sentences(self) -> str:
        reference = self._results.reference
        if reference is None:
            return ""
        return "\n".join(
            f"- {sentence(in_words(self._results.difference(one), one.label, reference.label))}"
            for one in self._results.others
        )

    def _other_modes(self, reference: VariantConfig) -> str:
        """List variants that differ from the reference in another mode, but not in the greedy."""
        results = self._results
        compared = [
            (mode, one)
            for mode in results.modes(reference)
            for one in results.others
            if results.difference(one).is_noise
            and mode in results.modes(one)
            and mode not in (self._definition.compare, results.greedy(one))
        ]
        found: dict[str, list[str]] = {}
        for mode, one in compared:
            minus = results.difference(one, mode)
            if not minus.is_noise:
                found.setdefault(mode, []).append(f"{one.label}, {points(minus)}")
        if not found:
            return ""
        listed = ". ".join(f"`{mode}`: {'; '.join(of)}" for mode, of in found.items())
        return (
            f"Of these, in other modes beyond noise ({len(compared)} comparisons, of which chance "
            f"alone makes one in twenty): {listed}."
        )

    def _spread(self) -> str:
        """Compare the spread of variants with the same start to that of trainings of one."""
        spread = self._results.spread()
        if (
            spread is None or self._definition.picture == "tokens_per_second"
        ):  # a curve: they differ
            return ""
        return (
            f"{spread.variants} rows that begin alike, {spread.seeds} trainings each, greedy: "
            "without the shift that a seed gives all rows, trainings of one row have a standard "
            f"deviation of {spread.within:.2f} points; the means of the rows have one of "
            f"{spread.between:.2f}, where chance alone would make {spread.by_chance:.2f}."
        )

    def _table(self) -> str:
        results = self._results
        found = {mode for one in results.variants for mode in results.modes(one)}
        modes = [mode for mode in DECODE_MODES if mode in found]
        header = ["variant", *(f"{mode} % (95 %)" for mode in modes)]
        header += ["difference, greedy", "CER/WER, greedy", "frames dropped"]
        header += ["at one keyframe a token", "keyframes per token", "units", "tokens a second"]
        if self._attend:
            header.append("vectors that the decoder attends to, a second")
        header += [
            "10⁹ multiply-adds a second, without a pretrained encoder",
            "real-time factor",
            "seeds",
        ]
        rows = []
        for one in results.variants:
            measured = results.modes(one)
            cells = [rate(*results.rate(one, mode)) if mode in measured else "" for mode in modes]
            compared = results.reference is not None and one != results.reference
            cells.append(points(results.difference(one)) if compared else "")
            rows.append([one.label, *cells, *self._figures(one)])
        return table(header, rows)

    def _figures(self, variant: VariantConfig) -> list[str]:
        runs, greedy = self._results.trainings(variant), self._results.greedy(variant)

        def mean(of: Any) -> float:
            return statistics.fmean(of(run) for run in runs)

        attended = f"{mean(lambda run: run.get('attended', 0) / run['audio_seconds']):.1f}"
        cer, wer = (mean(lambda run, key=key: run["decode"][greedy][key]) for key in ("cer", "wer"))
        return [
            f"{100 * cer:.1f} / {100 * wer:.1f}",
            f"{mean(lambda run: 1 - run['keyframes'] / run['frames']):.1%}",
            f"{mean(lambda run: 1 - run['tokens'] / run['frames']):.1%}",
            f"{mean(lambda run: run['keyframes'] / run['tokens']):.2f}",
            f"{runs[0]['vocabulary']:,}",
            f"{mean(lambda run: run['tokens'] / run['audio_seconds']):.2f}",
            *([attended] if self._attend else []),
            f"{mean(lambda run: run['multiply_adds_per_second']) / 1e9:.3f}",
            f"{mean(lambda run: run['decode'][greedy]['rtf']):.4f}",
            str(len(runs)),
        ]

    @property
    def _attend(self) -> bool:
        """True if the decoders are pretrained: what they attend to is of interest."""
        runs = [run for one in self._results.variants for run in self._results.trainings(one)]
        return any("attended" in run for run in runs)

    def _missing(self) -> str:
        missing = [one.label for one in self._results.missing]
        return f"Not trained with this setting yet: {', '.join(missing)}." if missing else ""

    def _repeated(self, variant: VariantConfig) -> str:
        """Return the number of trainings of a variant if the numbers differ."""
        if len(self._results.training_counts) == 1:
            return ""
        seeds = len(self._results.trainings(variant))
        return f" ({seeds} seeds)" if seeds > 1 else " (1 seed)"
