"""What is made of the records that ship: no picture is cut off or squeezed, seeds are weighed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from research.definition import TrainingDefinition, load_study, shipped_studies
from research.measurement import Record
from research.presentation import GREY
from research.training.picture import draw
from research.training.report import TrainingStudyReport
from research.training.results import TrainingResults

RECORDS = Path(__file__).resolve().parents[2] / "research" / "records"
TRAINING = [
    name
    for name in shipped_studies()
    if load_study(name).kind == "training" and (RECORDS / f"{name}.json").is_file()
]


def report(name: str, repository: Path) -> TrainingStudyReport:
    study = load_study(name)
    assert isinstance(study, TrainingDefinition)
    record = Record.load(repository / "research" / "records" / f"{name}.json")
    return TrainingStudyReport(study, record.results)


@pytest.mark.parametrize("name", TRAINING)
def test_all_words_are_on_the_picture(name: str, repository: Path) -> None:
    figure = report(name, repository).figure()
    assert figure is not None
    figure.canvas.draw()
    for axes in figure.axes:
        left, right = axes.get_window_extent().x0, axes.get_window_extent().x1
        assert right - left > 0.3 * figure.bbox.width / len(figure.axes)
        titles = [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label]  # type: ignore[attr-defined]
        for text in [*titles, *axes.get_yticklabels(), *axes.texts]:
            if text.get_text():
                extent = text.get_window_extent()
                assert extent.x0 >= 0, text
                assert extent.x1 <= figure.bbox.width, text


def test_a_row_far_off_does_not_squeeze_the_others(repository: Path) -> None:
    """Of AN4, where everything at random makes 92 % of errors and the others 8 to 12."""
    figure = report("ablation_an4", repository).figure()
    assert figure is not None
    rates, differences = figure.axes
    assert rates.get_xlim()[1] < 20
    assert differences.get_xlim()[1] < 10
    (rate,), (difference,) = ([text.get_text() for text in axes.texts] for axes in figure.axes)
    assert float(rate.removesuffix(" →")) > 50
    assert float(difference.removesuffix(" →")) > 50


def test_the_picture_shows_differences_from_the_reference(repository: Path) -> None:
    """A row each but the reference's; grey exactly where the interval holds 0."""
    results = report("ablation_mandarin", repository)._results
    figure = draw(results)
    assert figure is not None
    bars = {
        line.get_ydata()[0]: line  # type: ignore[index]
        for line in figure.axes[1].lines
        if len(line.get_xdata()) == 2 and line.get_linewidth() == 2  # type: ignore[arg-type]
    }
    places = dict(zip(range(len(results.variants))[::-1], results.variants, strict=True))
    assert set(bars) == {place for place, one in places.items() if one != results.reference}
    for place, bar in bars.items():
        minus = results.difference(places[place])
        assert list(bar.get_xdata()) == [100 * minus.low, 100 * minus.high]  # type: ignore[arg-type]
        assert (bar.get_color() == GREY) == minus.is_noise


def test_rows_are_weighed_against_seeds(repository: Path) -> None:
    """The same numbers from the record itself, by taking the effects of rows and seeds away."""
    record = Record.load(repository / "research" / "records" / "ablation_an4.json")
    rows: dict[str, list[float]] = {}
    for name, result in record.results.items():
        errors = result["decode"]["ctc" if result["keeps_all"] else "axe"]
        rows.setdefault(name.rpartition(", seed ")[0], []).append(100 * errors["rate"])
    del rows["from-nothing"], rows["head-anew"]
    repeated = np.array([row for row in rows.values() if len(row) == 3])
    left = repeated - repeated.mean(axis=1, keepdims=True)
    left -= left.mean(axis=0)
    within = np.sqrt((left**2).sum() / (2 * (len(repeated) - 1)))
    between = np.std(repeated.mean(axis=1), ddof=1)
    summary = report("ablation_an4", repository).summary()
    (line,) = (line for line in summary.splitlines() if line.startswith(f"- {len(repeated)} rows "))
    for number in (3, *(f"{one:.2f}" for one in (within, between, within / np.sqrt(3)))):
        assert str(number) in line
    assert not re.search(r"^- \d+ rows ", report("encoder", repository).summary(), re.MULTILINE)


def test_other_modes_are_told_where_they_differ(repository: Path) -> None:
    """Of AN4: rescoring is better on all frames, whatever greedy modes say."""
    summary = report("ablation_an4", repository).summary()
    (line,) = (line for line in summary.splitlines() if "`rescore`: all frames, " in line)
    assert line.startswith("- ") and "`rescore`: all frames, **-2.3 (-4." in line


def test_a_model_without_keyframes_is_compared_in_the_same_mode_if_it_can() -> None:
    definition = load_study("decoder_memory")
    assert isinstance(definition, TrainingDefinition)
    for decode, expected in (({"ctc": 3, "attention": 1}, "attention"), ({"ctc": 3}, "ctc")):
        modes = {
            mode: {"errors": [count, 0], "rate": count / 10, "ci95": [0.0, 1.0]}
            for mode, count in decode.items()
        }
        results = TrainingResults(
            definition, {"all-frames, seed 1": {"keeps_all": True, "decode": modes}}
        )
        (variant,) = results.variants
        assert results.greedy(variant) == expected
        assert results.rates(variant) == [10.0 * decode[expected]]
