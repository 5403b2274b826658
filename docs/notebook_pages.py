"""MkDocs runs the notebooks of the documentation when it builds, and shows them with their outputs.

A line `<!-- notebook NAME.ipynb -->` of a page becomes the notebook of that name beside the page.
`KEYFRAME_NOTEBOOKS=show` shows notebooks as they are stored, without running them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

NOTEBOOK = re.compile(r"^<!-- notebook ([\w.]+) -->$", flags=re.MULTILINE)
FOLDER = Path(__file__).resolve().parent / "notebooks"
LONGEST_SECONDS = 1800
"""A cell that takes longer fails the build."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the text of every page."""
    return NOTEBOOK.sub(lambda found: shown(FOLDER / found[1]), markdown)


def shown(notebook: Path) -> str:
    """Return a notebook as Markdown, with the outputs of its cells, run in the project's folder."""
    import nbformat
    from nbconvert import MarkdownExporter
    from nbconvert.preprocessors import ExecutePreprocessor

    content = nbformat.read(notebook, as_version=4)
    if os.environ.get("KEYFRAME_NOTEBOOKS") != "show":
        project = {"metadata": {"path": str(FOLDER.parents[1])}}
        ExecutePreprocessor(timeout=LONGEST_SECONDS).preprocess(content, project)
    markdown, _ = MarkdownExporter().from_notebook_node(content)
    link = f"[Notebook]({notebook.name}), as it ran when this page was made."
    return f"{markdown}\n\n{link}\n"
