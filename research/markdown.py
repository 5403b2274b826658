"""How numbers of studies are written, and their tables, as markdown."""

from __future__ import annotations

from collections.abc import Sequence

from research.significance import Difference

NOISE = (
    "Differences are in points, with a 95 % interval by bootstrap over the utterances, the same "
    "for both; **bold** where the interval does not hold 0. The others lie within noise."
)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is to the left and whose others are to the right."""
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def rate(value: float, low: float, high: float) -> str:
    """An error rate and its interval, fractions, in percent."""
    return f"{100 * value:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def points(found: Difference) -> str:
    """A difference of error rates in points, bold where it is beyond noise."""
    value, low, high = (100 * one for one in (found.value, found.low, found.high))
    text = f"{value:+.1f} ({low:+.1f} to {high:+.1f})".replace("-0.0", "0.0").replace("+0.0", "0.0")
    return text if found.is_noise else f"**{text}**"


def in_words(found: Difference, name: str, reference: str) -> str:
    """A difference of error rates as part of a sentence; names may be plural."""
    if found.is_noise:
        return f"{name} and {reference} differ within noise ({points(found)} points)"
    than = "fewer" if found.value < 0 else "more"
    size = (
        f"{100 * abs(found.value):.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    )
    return f"{name}: {than} errors than {reference}, by {size}"


def sentence(text: str) -> str:
    """The text with a capital, if a letter of English begins it, and a full stop at its end."""
    first = text[:1].upper() if text[:1].isascii() else text[:1]
    return f"{first}{text[1:]}."


def document(title: str, command: str, parts: Sequence[str]) -> str:
    """A whole file: title, what made it, then its parts."""
    begin = [f"# {title}", f"Made by `{command}`; do not edit by hand."]
    return "\n\n".join([*begin, *(part for part in parts if part)]) + "\n"
