"""Format numbers and tables as Markdown, draw pictures, and write pages of results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.inspection import COLOURS, GREY
from keyframe_asr.evaluation.inspection_picture import INK, PALE, require_matplotlib
from keyframe_asr.io.atomic_write import replacing, write_whole
from research.significance import Difference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS", "GREY", "INK", "MARKERS", "NOISE", "PALE", "document", "find_page", "in_words",
    "new_figure", "plain", "points", "rate", "save_figure", "sentence", "table",
    "write_between_marks",
]  # fmt: skip

DOTS_PER_INCH = 110
MARKERS = "osD^vPX*"
NOISE = (
    "Differences are in points, with a 95 % interval by bootstrap over the utterances, the same "
    "for both; **bold** where the interval does not hold 0. The others lie within noise."
)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table with the first column left-aligned and the others right-aligned."""
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def rate(value: float, low: float, high: float) -> str:
    """Format an error rate and its interval, given as fractions, in percent."""
    return f"{100 * value:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def points(found: Difference) -> str:
    """Format a difference of error rates in percentage points, bold if it is beyond noise."""
    value, low, high = (100 * one for one in (found.value, found.low, found.high))
    text = f"{value:+.1f} ({low:+.1f} to {high:+.1f})".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return text if found.is_noise else f"**{text}**"


def in_words(found: Difference, name: str, reference: str) -> str:
    """Describe a difference of error rates as part of a sentence; names may be plural."""
    if found.is_noise:
        return f"{name} and {reference} differ within noise ({points(found)} points)"
    than = "fewer" if found.value < 0 else "more"
    size = (
        f"{100 * abs(found.value):.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    )
    return f"{name}: {than} errors than {reference}, by {size}"


def sentence(text: str) -> str:
    """Add a capital, if the text begins with an ASCII letter, and a full stop."""
    first = text[:1].upper() if text[:1].isascii() else text[:1]
    return f"{first}{text[1:]}."


def document(title: str, command: str, paragraphs: Sequence[str]) -> str:
    """Compose a file: title, the command that made it, and the non-empty paragraphs."""
    begin = [f"# {title}", f"Made by `{command}`; do not edit by hand."]
    return "\n\n".join([*begin, *filter(None, paragraphs)]) + "\n"


def find_page(name: str, documentation: Path) -> Path | None:
    """Return the page of results with marks for study `name`, or None.

    The marks are `<!-- study NAME -->` and `<!-- end of study NAME -->`, each on its own line of
    `results.md` or of a page below `results/`.

    Raises:
        KeyframeError: a page cannot be read.
    """
    pages = [documentation / "results.md", *sorted((documentation / "results").rglob("*.md"))]
    has_marks = _between_marks(name).search
    return next((page for page in pages if page.is_file() and has_marks(_read(page))), None)


def write_between_marks(name: str, paragraphs: Sequence[str], page: Path) -> None:
    """Write the non-empty paragraphs between the marks of study `name` on a page.

    Raises:
        KeyframeError: the page cannot be read or written.
    """
    text = "\n\n".join(filter(None, paragraphs))
    write_whole(page, _between_marks(name).sub(lambda at: f"{at[1]}{text}\n{at[2]}", _read(page)))


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure; sizes in inches. Raises `KeyframeError` without matplotlib."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """Style axes: title on the left, thin grid, no box."""
    axes.set_title(title, loc="left", size=10, color=INK)
    axes.set_xlabel(x_label, size=9, color=INK)
    axes.set_ylabel(y_label, size=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, color=GREY, labelcolor=INK)
    axes.grid(color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all. Raises `KeyframeError` if it cannot be written."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _between_marks(name: str) -> re.Pattern[str]:
    begin, end = f"<!-- study {name} -->\n", f"<!-- end of study {name} -->\n"
    return re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KeyframeError(
            f"{page}: cannot be read ({error}); correct it, or name another folder with --out"
        ) from None
