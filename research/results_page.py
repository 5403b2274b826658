"""The paragraph of a study on the page of all results, between the marks that are there for it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from keyframe_asr.errors import KeyframeError
from research.run import write_text

PAGE = Path("..") / ".." / "results.md"
"""Where the page lies, from the folder of the studies' results."""


def update_page(name: str, paragraphs: list[str], folder: Path) -> Path | None:
    """Write the paragraphs of study `name` between its marks; returns the page if it has them.

    The marks are `<!-- study NAME -->` and `<!-- end of study NAME -->`, each on its own line.

    Raises:
        KeyframeError: the page cannot be read or written.
    """
    page = Path(os.path.normpath(folder / PAGE))
    begin, end = f"<!-- study {name} -->\n", f"<!-- end of study {name} -->\n"
    between = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    try:
        before = page.read_text(encoding="utf-8") if page.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise KeyframeError(
            f"{page}: cannot be read ({error}); mend it, or name another --out"
        ) from None
    if not between.search(before):
        return None
    text = "\n\n".join(part for part in paragraphs if part)
    write_text(between.sub(lambda found: f"{found[1]}{text}\n{found[2]}", before), page)
    return page
