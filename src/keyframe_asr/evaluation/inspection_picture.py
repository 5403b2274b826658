"""Picture of `keyframe inspect --out FILE.png`: how one recording becomes text.

From top to bottom: the spectrogram with keyframes as lines; the posteriors of the inter-CTC, blank
in grey and each token in a colour; the encoder frames as cells, keyframes filled; and the tokens of
the text, each connected to its keyframe.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keyframe_asr.evaluation.font_package import package_fonts
from keyframe_asr.evaluation.inspection import (
    GREY,
    Array,
    InspectionView,
    Spike,
    check_frames,
    find_spikes,
    headline,
    shortened,
    token_colours,
    visible,
)
from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.packages import packages_for
from keyframe_asr.text.tokenizer import BLANK
from keyframe_asr.timing import FRAMES_PER_SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT, DOTS_PER_INCH = 10.0, 6.8, 180
INCHES_PER_SECOND, MAX_WIDTH = 2.6, 100.0  # longer recordings get a wider picture

INK, PALE = "#222222", "#e4e4e4"

PLAIN_FONT = "DejaVu Sans"


def require_matplotlib() -> None:
    """Raise `PackageError` if matplotlib is missing."""
    with packages_for("a plot"):
        import matplotlib  # noqa: F401


def draw_inspection(view: InspectionView, path: Path | str) -> Mapping[str, str]:
    """Write the picture as PNG, atomically.

    Returns:
        Token → number shown instead, for tokens that no installed font can draw; usually empty.

    Raises:
        KeyframeError: matplotlib is missing, there are no frames, or the file cannot be written.
    """
    require_matplotlib()
    check_frames(view, path)
    import matplotlib

    spikes = find_spikes(view)
    tokens = [view.pieces[spike.label] for spike in spikes if spike.label != BLANK]
    tokens += [token.text for token in view.transcript.tokens]
    families, missing = choose_fonts("".join(tokens) + view.transcript.text)
    undrawable = [token for token in dict.fromkeys(tokens) if missing & set(token)]
    legend = {token: f"#{number}" for number, token in enumerate(undrawable, 1)}
    shown = {token: legend.get(token) or visible(token) for token in tokens}
    title = headline(view)
    if missing & set(title):
        numbered = " ".join(shown[token.text] for token in view.transcript.tokens)
        title = headline(view, shortened(numbered))
    settings = {"font.family": families, "text.color": INK, "text.parse_math": False}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        _save(_draw(view, spikes, shown, title), Path(path))
    return legend


def choose_fonts(text: str) -> tuple[list[str], set[str]]:
    """Choose font families for a text; also returns the characters that none of them has.

    matplotlib's default font has no Han characters. The fallback is the installed font that has
    most of the missing characters, including that of the package `zhplot`.
    """
    from matplotlib import font_manager

    missing = _lacking(font_manager.findfont(PLAIN_FONT), set(text) - {" ", "\n"})
    if not missing:
        return [PLAIN_FONT], missing
    for path in package_fonts():
        font_manager.fontManager.addfont(path)
    every = reversed(font_manager.fontManager.ttflist)
    entries = [entry for entry in every if "LastResort" not in entry.fname]
    lacking = [_lacking(entry.fname, missing) for entry in entries]
    best = min(range(len(entries)), key=lambda index: len(lacking[index]))
    more = [entries[best].name] if lacking[best] < missing else []
    return [PLAIN_FONT, *more], lacking[best]


def place_labels(centres: Array, widths: Array, left: float, right: float) -> Array:
    """Move labels apart so that they do not overlap, keeping their order.

    Minimises the largest move, except where the limits require more.

    Args:
        centres: (N,) preferred positions, ascending.
        widths: (N,) of the labels, including gaps.
        left: left limit.
        right: right limit; labels that do not fit overlap evenly.
    """
    if not len(centres):
        return centres
    widths = widths * min(1.0, (right - left) / widths.sum())
    offsets = np.cumsum(widths) - widths / 2
    # labels do not overlap if centre minus offset is non-decreasing: isotonic regression in L∞
    wanted = centres - offsets
    highest_before = np.maximum.accumulate(wanted)
    lowest_after = np.minimum.accumulate(wanted[::-1])[::-1]
    start = np.clip((highest_before + lowest_after) / 2, left, right - widths.sum())
    return np.asarray(start + offsets)


def _lacking(font: str, characters: set[str]) -> set[str]:
    """The characters without a glyph in the font file."""
    from matplotlib.ft2font import FT2Font

    try:
        glyphs = FT2Font(font)
    except (OSError, RuntimeError):  # a damaged font somewhere on the system
        return characters
    return {character for character in characters if not glyphs.get_char_index(ord(character))}


def _draw(
    view: InspectionView, spikes: Sequence[Spike], shown: Mapping[str, str], title: str
) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    seconds = len(view.fbank) / FRAMES_PER_SECOND
    width = min(max(WIDTH, seconds * INCHES_PER_SECOND), MAX_WIDTH)
    figure = Figure(figsize=(width, HEIGHT), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    fitting = int(8.2 * width)
    counts, _, text = title.partition(": ")
    wrapped = textwrap.wrap(text, fitting, max_lines=2, placeholder=" …")
    lines = [title] if len(title) <= fitting else [counts, *wrapped]
    left, top = 0.5 / width, 1 - (0.46 + 0.26 * len(lines)) / HEIGHT
    figure.subplots_adjust(left=left, right=1 - 0.2 / width, top=top, bottom=0.05, hspace=0.22)
    spectrogram, posteriors, frames = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1.5))
    figure.text(left, 1 - 0.15 / HEIGHT, "\n".join(lines), size=13, weight=_weight(), va="top")
    frames.set_xlim(0, seconds)
    _draw_spectrogram(spectrogram, view)
    _draw_posteriors(posteriors, view, spikes, shown)
    _draw_frames(frames, view, spikes)
    _draw_tokens(frames, view, spikes, shown)
    _draw_keyframe_lines(figure, spectrogram, frames, view, spikes)
    return figure


def _caption(axes: Axes, text: str) -> None:
    behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axes.set_title(text, loc="left", size=9.5, pad=5, color=INK, bbox=behind)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=GREY)


def _draw_spectrogram(axes: Axes, view: InspectionView) -> None:
    _caption(axes, f"Log-mel spectrogram, {FRAMES_PER_SECOND} frames per second")
    bands = view.fbank.shape[1]
    shown = axes.get_xlim()
    place = (0.0, len(view.fbank) / FRAMES_PER_SECOND, 0.0, float(bands))
    image = axes.imshow(view.fbank.T, cmap="magma", origin="lower", aspect="auto", extent=place)
    image.set_clim(*view.fbank_range)
    axes.set_xlim(shown)
    axes.set_yticks([0, bands // 2, bands], ["0", "mel", str(bands)])


def _draw_posteriors(
    axes: Axes, view: InspectionView, spikes: Sequence[Spike], shown: Mapping[str, str]
) -> None:
    _caption(axes, "Inter-CTC posteriors: mostly blank (grey), with one spike per token")
    seconds = np.arange(len(view.inter_probabilities)) * view.frame_seconds
    blank = view.inter_probabilities[:, BLANK]
    axes.fill_between(seconds, blank, color=PALE, linewidth=0)
    axes.plot(seconds, blank, color=GREY, linewidth=0.8)
    for label, colour in {s.label: s.colour for s in spikes if s.label != BLANK}.items():
        probability = view.inter_probabilities[:, label]
        # no line along zero, where the lines of all tokens would overlap
        near = np.convolve(probability > 0.01, np.ones(3), "full")[1:-1] > 0
        axes.fill_between(seconds, probability, color=colour, alpha=0.3, linewidth=0)
        axes.plot(seconds, np.where(near, probability, np.nan), color=colour, linewidth=1.4)
    for spike in spikes:
        second = spike.frame * view.frame_seconds
        axes.plot([second] * 2, [0, 1], color=spike.colour, linewidth=0.7, alpha=0.6)
    axes.set_ylim(0, 1.2)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    labels = [
        (spike.frame * view.frame_seconds, shown[view.pieces[spike.label]], spike.colour)
        for spike in spikes
        if spike.label != BLANK
    ]
    _write_labels(axes, labels, height=1.1, size=9.5)


def _draw_frames(axes: Axes, view: InspectionView, spikes: Sequence[Spike]) -> None:
    """Encoder frames as cells; those used by encoder 2 are filled."""
    colours = [GREY if view.all_kept else PALE] * len(view.inter_probabilities)
    for spike in spikes:
        colours[spike.frame] = spike.colour
    width = 0.86 * view.frame_seconds
    seconds = np.arange(len(colours)) * view.frame_seconds
    axes.bar(seconds, 0.2, width, bottom=0.8, color=colours, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=int(axes.bbox.width / DOTS_PER_INCH))
    axes.xaxis.set_major_formatter("{x:g} s")


def _draw_tokens(
    axes: Axes, view: InspectionView, spikes: Sequence[Spike], shown: Mapping[str, str]
) -> None:
    """The tokens below their keyframes; ε for a keyframe without a token."""
    labels = [
        (frame * view.frame_seconds, shown[token.text], colour or INK)
        for token, frame, colour in zip(
            view.transcript.tokens, view.token_frames, token_colours(view, spikes), strict=True
        )
    ]
    caption = f"{1 / view.frame_seconds:g} encoder frames per second: "
    caption += "all are kept" if view.all_kept else "only keyframes (filled) are kept and decoded"
    if not view.all_kept:
        used = {second for second, _, _ in labels}
        kept = (spike.frame * view.frame_seconds for spike in spikes)
        empty = [(second, "ε", GREY) for second in kept if second not in used]
        caption += " (ε: no token)" if empty else ""
        labels = sorted(labels + empty, key=lambda label: label[0])
    _caption(axes, caption)
    places = _write_labels(axes, labels, height=0.2, size=12)
    for place, (second, _, colour) in zip(places, labels, strict=True):
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1}
        axes.annotate("", xy=(place, 0.36), xytext=(second, 0.78), arrowprops=arrow)


def _draw_keyframe_lines(
    figure: Figure, top: Axes, bottom: Axes, view: InspectionView, spikes: Sequence[Spike]
) -> None:
    """Each keyframe as a thin line from the spectrogram to its cell."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import blended_transform_factory

    place = blended_transform_factory(bottom.transData, figure.transFigure)
    ends = [top.get_position().y0, bottom.get_position().y1]
    for spike in spikes:
        second = spike.frame * view.frame_seconds
        top.axvline(second, color="white", linewidth=0.9, alpha=0.85)
        line = Line2D([second] * 2, ends, color=spike.colour, linewidth=0.7, alpha=0.6, zorder=-1)
        figure.add_artist(line).set_transform(place)


def _write_labels(
    axes: Axes, labels: Sequence[tuple[float, str, str]], height: float, size: float
) -> Array:
    """Write (second, text, colour), sorted by time, without overlap; returns their positions."""
    style = {"size": size, "weight": _weight(), "ha": "center", "va": "center"}
    texts = [axes.text(second, height, text, {**style, "color": c}) for second, text, c in labels]
    left, right = axes.get_xlim()
    pixel, gap = (right - left) / axes.bbox.width, 0.06 * DOTS_PER_INCH
    widths = [(text.get_window_extent().width + gap) * pixel for text in texts]
    places = place_labels(np.array([place for place, *_ in labels]), np.array(widths), left, right)
    for text, place in zip(texts, places, strict=True):
        text.set_x(float(place))
    return places


def _weight() -> str:
    """Bold for matplotlib's default font; other fonts may have no bold face and cause warnings."""
    import matplotlib

    return "bold" if len(matplotlib.rcParams["font.family"]) == 1 else "normal"


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
