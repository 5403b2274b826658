"""Report of the probes: a table, a picture, sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keyframe_asr.timing import FRAME_SHIFT_MS
from research.definition import DroppedDefinition
from research.dropped.study import OFFSETS, TARGETS, VIEWS
from research.presentation import COLOURS, MARKERS, new_figure, plain, points, rate, sentence, table
from research.significance import Difference, difference, rate_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = Mapping[str, Mapping[str, Any]]


class DroppedStudyReport:
    """Report of the views that have been measured."""

    def __init__(self, definition: DroppedDefinition, results: Results) -> None:
        self._definition, self._results = definition, results
        self._views = [view for view in VIEWS if view in results]

    @property
    def is_empty(self) -> bool:
        """True if no view has been measured yet."""
        return not self._views

    def markdown(self) -> list[str]:
        """Return the setting, findings and table."""
        definition = self._definition
        train, test = self._results[self._views[0]]["examples"]
        done = (
            f"Linear probes on the frozen encoders of `{definition.model}`: fitted on {train:,} "
            f"tokens of `{definition.train}`, which the encoders were trained on, measured on "
            f"{test:,} of `{definition.test}`; the {definition.classes} most frequent tokens. "
            "Bits are a lower bound of the mutual information between vector and token, entropy "
            "minus cross entropy of the probe; it is biased downwards, by a probe that is linear "
            "and fitted on few examples of another distribution than those it is measured on, and "
            "by an entropy estimated from few counts."
        )
        return [done, self._sentences(), self._table()]

    def summary(self) -> str:
        """Compare keyframes with other frames and with encoder 2."""
        return self._sentences()

    def figure(self) -> Figure | None:
        """Draw accuracy by token, and the variance of log-mel explained by distance in time."""
        if not self._views:
            return None
        figure = new_figure(10.5, 3.8)
        accuracy, sound = figure.subplots(1, 2, width_ratios=(1, 1.15))
        self._draw_accuracy(accuracy)
        milliseconds = [FRAME_SHIFT_MS * offset for offset in OFFSETS]
        for number, view in enumerate(self._views):
            shares = [100 * share for share in self._results[view]["explained"]]
            colour = COLOURS[number % len(COLOURS)]
            marker = MARKERS[number % len(MARKERS)]
            sound.plot(
                milliseconds, shares, color=colour, marker=marker, markersize=3, label=VIEWS[view]
            )
        plain(sound, "Log-mel rebuilt", "milliseconds from the keyframe", "variance explained, %")
        figure.legend(
            *sound.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
        )
        return figure

    def _table(self) -> str:
        names = {"own": "its token", "previous": "the one before", "following": "the one after"}
        header = ["vector"]
        for target in ("own", "previous", "following"):
            header += [f"{names[target]}: % right (95 %)", "bits"]
        header += ["log-mel at the keyframe", "within 200 ms"]
        rows = []
        for view in self._views:
            cells = [VIEWS[view]]
            for target in ("own", "previous", "following"):
                cells += [rate(*self._right(view, target)), f"{self._bits(view, target):.2f}"]
            shares = dict(zip(OFFSETS, self._results[view]["explained"], strict=True))
            near = [share for offset, share in shares.items() if abs(offset) <= 20]
            cells += [f"{shares[0]:.0%}", f"{sum(near) / len(near):.0%}"]
            rows.append(cells)
        entropy = self._results[self._views[0]]["own"]["entropy"]
        return table(header, rows) + f"\n\nEntropy of the token: {entropy:.2f} bits."

    def _sentences(self) -> str:
        compared = [
            ("encoder 1", "even", "own", "its token from the keyframe against the even frame"),
            ("encoder 1", "random", "own", "its token from the keyframe against the random frame"),
            ("fused", "keyframe", "own", "its token with fusion against without"),
            ("encoder 2", "fused", "own", "its token after encoder 2 against before"),
            ("encoder 2", "fused", "previous", "the token before after encoder 2 against before"),
            ("encoder 2", "fused", "following", "the token after, after encoder 2 against before"),
        ]
        lines = []
        for first, second, target, words in compared:
            if first in self._results and second in self._results:
                found = self._minus(first, second, target)
                noise = ", within noise" if found.is_noise else ""
                lines.append(f"- {sentence(f'{words}: {points(found)} points right{noise}')}")
        return "\n".join(lines)

    def _draw_accuracy(self, axes: Axes) -> None:
        height = 0.8 / max(1, len(self._views))
        for number, view in enumerate(self._views):
            for place, target in enumerate(TARGETS):
                value, low, high = (100 * part for part in self._right(view, target))
                y = place + 0.4 - (number + 0.5) * height
                colour = COLOURS[number % len(COLOURS)]
                axes.barh(y, value, height * 0.9, color=colour)
                axes.plot([low, high], [y, y], color="black", linewidth=0.9)
        axes.set_yticks(range(len(TARGETS)), [f"{target} token" for target in TARGETS])
        axes.set_xlim(0, 100)
        plain(axes, "Token read out of one vector", "% right (95 %)")
        axes.grid(axis="y", visible=False)

    def _right(self, view: str, target: str) -> tuple[float, float, float]:
        found = self._results[view][target]
        value, low, high = rate_interval([found["errors"]], found["lengths"])
        return 1 - value, 1 - high, 1 - low

    def _bits(self, view: str, target: str) -> float:
        return float(self._results[view][target]["bits"])

    def _minus(self, first: str, second: str, target: str) -> Difference:
        """Return the accuracy of the first view minus that of the second."""
        errors = [[self._results[view][target]["errors"]] for view in (second, first)]
        return difference(errors[0], errors[1], self._results[first][target]["lengths"])
