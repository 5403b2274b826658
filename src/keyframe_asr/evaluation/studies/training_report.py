"""What a training study found: a table of its variants, a picture, sentences."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keyframe_asr.evaluation.significance import Difference, difference, rate_interval
from keyframe_asr.evaluation.studies.definition import TrainingStudy, VariantConfig
from keyframe_asr.evaluation.studies.figures import COLOURS, GREY, INK, new_figure, plain
from keyframe_asr.evaluation.studies.markdown import NOISE, in_words, points, rate, sentence, table
from keyframe_asr.evaluation.studies.training import part_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODES = ("axe", "ctc", "attention", "rescore", "joint")
ALL_FRAMES_MODE = "ctc"
"""What a model without keyframes is compared by: its greedy mode."""

Results = Mapping[str, Mapping[str, Any]]

FAR = 2.0
"""A picture gives only the number of rows whose error is above so many times the median row's."""

LABEL_WIDTH = 36
"""Characters of a line of a row's name in a picture."""

SAME_PLACE = 0.02
"""Tokens a second between points that a picture cannot tell apart."""


class TrainingReport:
    """Of the variants and seeds that there are results of."""

    def __init__(self, study: TrainingStudy, results: Results) -> None:
        self._study = study
        self._runs: dict[str, list[Mapping[str, Any]]] = {}
        for variant in study.variants:
            found = [
                result
                for name, result in results.items()
                if name.startswith(part_name(variant.name, 0)[:-1])
            ]
            if found:
                self._runs[variant.name] = found
        self._variants = [one for one in study.variants if one.name in self._runs]

    def markdown(self) -> list[str]:
        """What was done, sentences, the table."""
        if not self._variants:
            return ["No variant has been trained yet."]
        return [self._done(), self._sentences(), self._spread(), self._table(), self._missing()]

    def summary(self) -> str:
        """Which variants make more or fewer errors than the reference, and which do not."""
        if self._study.reference not in self._runs:
            return ""
        found: dict[str, list[str]] = {"more": [], "fewer": [], "within noise": []}
        for one in self._variants:
            if one.name == self._study.reference:
                continue
            minus = self._minus(one)
            side = "within noise" if minus.is_noise else "fewer" if minus.value < 0 else "more"
            found[side].append(f"{one.label}{self._repeated(one)}, {points(minus)}")
        reference = next(one for one in self._variants if one.name == self._study.reference)
        lines = [
            f"- {reference.label}{self._repeated(reference)}: "
            f"{rate(*self._rate(reference, self._mode(reference)))} % of "
            f"{self._runs[reference.name][0]['unit']} wrong, greedy; {self._measured()}. "
            "Others less this, in points (95 %):"
        ]
        titles = {
            "more": "more errors",
            "fewer": "fewer errors",
            "within noise": "within noise of it",
        }
        lines += [f"- {titles[side]}: {'; '.join(of)}." for side, of in found.items() if of]
        more = (self._other_modes(), self._spread(), self._missing())
        lines += [f"- {line}" for line in more if line]
        return "\n".join(lines)

    def figure(self) -> Figure | None:
        """Error of each variant with its interval, or against tokens a second."""
        if not self._variants:
            return None
        if self._study.picture != "tokens_per_second":
            figure = new_figure(7.5, 0.34 * len(self._variants) + 1.2)
            self._draw_variants(figure.subplots())
        else:
            figure = new_figure(9.5, 3.6)
            errors, dropped = figure.subplots(1, 2)
            self._draw_curve(errors, dropped)
        return figure

    def _done(self) -> str:
        study, first = self._study, self._runs[self._variants[0].name][0]
        epochs = sorted({run["epochs"] for runs in self._runs.values() for run in runs})
        seeds = max(len(runs) for runs in self._runs.values())
        noise = (
            "One training each: how much another would differ is not in the intervals."
            if seeds == 1
            else f"Up to {seeds} seeds each, which the intervals take in; rates are their means."
        )
        if seeds > 1 and study.start is not None and study.start.stage is not None:
            noise += " All seeds share one start."
        return (
            f"`{study.recipe}`, every variant from {self._begun()} unless it says otherwise, "
            f"{' or '.join(map(str, epochs))} epochs each; {self._measured()}, error in "
            f"{first['unit']}, compared in the greedy mode. {NOISE} {noise} Real-time factors are "
            "of one pass, beside whatever else the machine did."
        )

    def _begun(self) -> str:
        """What variants start from."""
        start = self._study.start
        if start is None:
            return "random weights"
        stage = f"the same weights of stage `{start.stage}`" if start.stage is not None else ""
        if start.initial is None:
            return stage
        model = f"`{start.initial}`"
        if start.forget:
            model += f" without {', '.join(start.forget)}"
        return f"{stage}, begun as {model}," if stage else model

    def _measured(self) -> str:
        first = self._runs[self._variants[0].name][0]
        seeds = sorted({len(runs) for runs in self._runs.values()})
        span = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
        many = "one seed" if seeds == [1] else f"{span} seeds"
        return (
            f"measured on {first['utterances']} utterances ({first['audio_seconds'] / 60:.1f} "
            f"minutes) of the {self._study.split} part, {many}"
        )

    def _sentences(self) -> str:
        if self._study.reference not in self._runs:
            return ""
        reference = self._label(self._study.reference)
        return "\n".join(
            f"- {sentence(in_words(self._minus(one), one.label, reference))}"
            for one in self._variants
            if one.name != self._study.reference
        )

    def _other_modes(self) -> str:
        """Rows that differ from the reference in another mode, though not in the greedy one."""
        reference = next(one for one in self._variants if one.name == self._study.reference)
        others = [one for one in self._variants if one != reference and self._minus(one).is_noise]
        compared = [
            (mode, one)
            for mode in MODES
            for one in others
            if mode not in (self._study.compare, self._mode(one))
            and all(mode in self._runs[row.name][0]["decode"] for row in (one, reference))
        ]
        found: dict[str, list[str]] = {}
        for mode, one in compared:
            minus = self._minus(one, mode)
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
        """Whether rows that begin alike differ by more than trainings of one row do."""
        most = max(len(runs) for runs in self._runs.values())
        rows = [
            [100 * run["decode"][self._mode(one)]["rate"] for run in self._runs[one.name]]
            for one in self._variants
            if len(self._runs[one.name]) == most and not one.from_nothing
        ]
        if most < 2 or len(rows) < 3:
            return ""
        means = [statistics.fmean(row) for row in rows]
        shifts = [statistics.fmean(seed) for seed in zip(*rows, strict=True)]
        middle = statistics.fmean(means)
        left = [
            rate - mean - shift + middle
            for row, mean in zip(rows, means, strict=True)
            for rate, shift in zip(row, shifts, strict=True)
        ]
        within = (sum(one**2 for one in left) / ((len(rows) - 1) * (most - 1))) ** 0.5
        return (
            f"{len(rows)} rows that begin alike, {most} trainings each, greedy: but for the shift "
            f"that a seed gives all rows, trainings of a row differ by {within:.2f} points "
            f"(standard deviation); the means of the rows by {statistics.stdev(means):.2f}, where "
            f"chance alone would make {within / most**0.5:.2f}."
        )

    def _table(self) -> str:
        modes = [
            mode
            for mode in MODES
            if any(mode in run["decode"] for runs in self._runs.values() for run in runs)
        ]
        has_reference = self._study.reference in self._runs
        header = ["variant", *(f"{mode} % (95 %)" for mode in modes)]
        header += ["difference, greedy", "CER/WER, greedy", "frames dropped"]
        header += ["at one keyframe a token", "keyframes per token", "units", "tokens a second"]
        header += ["10⁹ multiply-adds a second", "real-time factor", "seeds"]
        rows = []
        for one in self._variants:
            cells = [one.label, *(self._rate_in(one, mode) for mode in modes)]
            is_reference = one.name == self._study.reference
            cells.append(points(self._minus(one)) if has_reference and not is_reference else "")
            rows.append(cells + self._figures(one))
        return table(header, rows)

    def _figures(self, variant: VariantConfig) -> list[str]:
        runs = self._runs[variant.name]

        def mean(of: Any) -> float:
            return statistics.fmean(of(run) for run in runs)

        greedy = self._mode(variant)
        cer, wer = (mean(lambda run, key=key: run["decode"][greedy][key]) for key in ("cer", "wer"))
        return [
            f"{100 * cer:.1f} / {100 * wer:.1f}",
            f"{mean(lambda run: 1 - run['keyframes'] / run['frames']):.1%}",
            f"{mean(lambda run: 1 - run['tokens'] / run['frames']):.1%}",
            f"{mean(lambda run: run['keyframes'] / run['tokens']):.2f}",
            f"{runs[0]['vocabulary']:,}",
            f"{mean(lambda run: run['tokens'] / run['audio_seconds']):.2f}",
            f"{mean(lambda run: run['multiply_adds_per_second']) / 1e9:.3f}",
            f"{mean(lambda run: run['decode'][greedy]['rtf']):.4f}",
            str(len(runs)),
        ]

    def _missing(self) -> str:
        missing = [one.label for one in self._study.variants if one.name not in self._runs]
        return f"Not trained with this setting yet: {', '.join(missing)}." if missing else ""

    def _draw_variants(self, axes: Axes) -> None:
        places = range(len(self._variants))[::-1]
        rates = [
            [100 * part for part in self._rate(one, self._mode(one))] for one in self._variants
        ]
        edge = FAR * statistics.median(value for value, _, _ in rates)
        for place, one, (value, low, high) in zip(places, self._variants, rates, strict=True):
            if low > edge:  # drawn to scale it would squeeze all the others
                axes.annotate(
                    f"{value:.1f} →",
                    (0.99, place),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="center",
                    size=8,
                    color=INK,
                )
                continue
            colour = COLOURS[1] if one.name == self._study.reference else COLOURS[0]
            axes.plot([low, high], [place, place], color=colour, linewidth=2)
            axes.plot([value], [place], "o", color=colour, markersize=6)
            for run in self._runs[one.name]:
                error = 100 * run["decode"][self._mode(one)]["rate"]
                axes.plot([error], [place], "|", color=INK, markersize=8)
        names = [textwrap.fill(self._named(one), LABEL_WIDTH) for one in self._variants]
        axes.set_yticks(list(places), names)
        axes.set_ylim(-0.7, len(names) - 0.3)
        if self._study.reference in self._runs:
            reference = next(one for one in self._variants if one.name == self._study.reference)
            axes.axvline(
                100 * self._rate(reference, self._mode(reference))[0], color=GREY, linewidth=0.8
            )
        unit = self._runs[self._variants[0].name][0]["unit"]
        plain(
            axes,
            self._study.title,
            f"errors in {unit}, greedy, %; bar: 95 %, |: one training, line: reference",
        )

    def _draw_curve(self, errors: Axes, dropped: Axes) -> None:
        runs = [self._runs[one.name][0] for one in self._variants]
        x = [run["tokens"] / run["audio_seconds"] for run in runs]
        rates = [
            [100 * part for part in self._rate(one, self._mode(one))] for one in self._variants
        ]
        shares = [
            100 * statistics.fmean(1 - run["keyframes"] / run["frames"] for run in self._runs[name])
            for name in (one.name for one in self._variants)
        ]
        for place, one, (value, low, high), share in zip(
            x, self._variants, rates, shares, strict=True
        ):
            errors.plot([place, place], [low, high], color=COLOURS[0], linewidth=1.6)
            errors.plot([place], [value], "o", color=COLOURS[0])
            dropped.plot([place], [share], "s", color=COLOURS[1])
            # names of points that lie on one another stand together at the first of them
            near = [
                other.label
                for other, at in zip(self._variants, x, strict=True)
                if abs(at - place) < SAME_PLACE
            ]
            if one.label == near[0]:
                for axes, height in ((errors, value), (dropped, share)):
                    axes.annotate(
                        "; ".join(near),
                        (place, height),
                        (5, 4),
                        textcoords="offset points",
                        size=7.5,
                    )
        for axes in (errors, dropped):
            axes.margins(x=0.15)  # room for the name beside the last point
        label = "tokens per second"
        unit = self._runs[self._variants[0].name][0]["unit"]
        plain(errors, f"Errors in {unit}, greedy", label, "% (95 %)")
        plain(dropped, "Frames dropped", label, "%")

    def _named(self, variant: VariantConfig) -> str:
        """What the picture calls a variant: with its latency where that is asked about."""
        if self._study.picture != "latency":
            return variant.label
        seconds = self._runs[variant.name][0]["latency_seconds"]
        return f"{variant.label}, {1000 * seconds:.0f} ms"

    def _repeated(self, variant: VariantConfig) -> str:
        """How many trainings a variant has had, where others have had more or fewer."""
        if len({len(runs) for runs in self._runs.values()}) == 1:
            return ""
        seeds = len(self._runs[variant.name])
        return f" ({seeds} seeds)" if seeds > 1 else " (1 seed)"

    def _mode(self, variant: VariantConfig) -> str:
        """The decode mode by which a variant is compared."""
        run = self._runs[variant.name][0]
        return ALL_FRAMES_MODE if run["keeps_all"] else self._study.compare

    def _errors(self, variant: VariantConfig, mode: str) -> list[Sequence[int]]:
        return [run["decode"][mode]["errors"] for run in self._runs[variant.name]]

    def _rate(self, variant: VariantConfig, mode: str) -> tuple[float, float, float]:
        runs = self._runs[variant.name]
        if len(runs) == 1:
            found = runs[0]["decode"][mode]
            return found["rate"], *found["ci95"]
        return rate_interval(self._errors(variant, mode), runs[0]["lengths"])

    def _rate_in(self, variant: VariantConfig, mode: str) -> str:
        if mode not in self._runs[variant.name][0]["decode"]:
            return ""
        return rate(*self._rate(variant, mode))

    def _minus(self, variant: VariantConfig, mode: str | None = None) -> Difference:
        """Error rate of a variant less the reference's, greedy or in a decode mode."""
        reference = next(one for one in self._variants if one.name == self._study.reference)
        errors, other = (self._errors(one, mode or self._mode(one)) for one in (variant, reference))
        return difference(errors, other, self._runs[reference.name][0]["lengths"])

    def _label(self, name: str) -> str:
        return next(one.label for one in self._variants if one.name == name)
