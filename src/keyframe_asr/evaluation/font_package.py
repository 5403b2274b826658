"""The font of the package `zhplot` (Noto Sans SC), for pictures and pages with Han characters.

It comes with the extra `plot`. A picture or a page must not depend on the fonts of the machine that
shows it.
"""

from __future__ import annotations

import base64
import importlib.util
import io
from pathlib import Path

FONT_PACKAGE = "zhplot"

EMBEDDED_FAMILY = "embedded"
"""Name of the font in a page."""

PLAIN_BELOW = "\u0250"
"""Every font has the Latin characters before this one."""


def package_fonts() -> list[Path]:
    """Return the font files of the package; none if it is not installed."""
    package = importlib.util.find_spec(FONT_PACKAGE)
    folders = package.submodule_search_locations if package else None
    return sorted(file for folder in folders or () for file in Path(folder).rglob("*.ttf"))


def font_face(text: str) -> str:
    """Return a CSS rule that embeds the font with the characters of a text that are not Latin.

    The rule is empty if the text has none that the font has, or the extra `plot` is not installed.
    """
    characters = {character for character in text if character >= PLAIN_BELOW}
    fonts = package_fonts()
    if not characters or not fonts or importlib.util.find_spec("fontTools") is None:
        return ""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    file = io.BytesIO()
    with TTFont(fonts[0], lazy=True) as font:
        characters &= {chr(code) for code in font.getBestCmap()}
        if not characters:
            return ""
        subsetter = Subsetter(Options(layout_features=[], hinting=False, notdef_outline=True))
        subsetter.populate(text="".join(characters))
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(file)
    content = base64.b64encode(file.getvalue()).decode("ascii")
    return (
        f'@font-face {{ font-family: "{EMBEDDED_FAMILY}"; '
        f'src: url("data:font/woff;base64,{content}") format("woff"); }}'
    )
