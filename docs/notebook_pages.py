"""MkDocs runs the notebooks of the documentation when it builds, and shows them with their outputs.

A line `<!-- notebook NAME.ipynb -->` of a page becomes the notebook of that name beside the page.
`KEYFRAME_NOTEBOOKS=show` shows notebooks as they are stored, without running them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.exceptions import PluginError
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

NOTEBOOK = re.compile(r"^<!-- notebook ([\w.]+) -->$", flags=re.MULTILINE)
FOLDER = Path(__file__).resolve().parent / "notebooks"
LONGEST_SECONDS = 1800
"""A cell that takes longer fails the build."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs calls this with the text of every page."""
    return NOTEBOOK.sub(lambda found: shown(FOLDER / found[1]), markdown)


def shown(notebook: Path) -> str:
    """Return a notebook as Markdown, with the outputs of its cells.

    Raises:
        PluginError: a cell failed or took too long.
    """
    content = nbformat.read(notebook, as_version=4)
    if os.environ.get("KEYFRAME_NOTEBOOKS") != "show":
        run(content, notebook.name)
    markdown, _ = MarkdownExporter().from_notebook_node(content)
    return f"{markdown}\n\n[The notebook]({notebook.name}), without outputs.\n"


def run(content: Any, name: str) -> None:
    """Run the cells in the project's folder, and keep their outputs in the notebook."""
    project = {"metadata": {"path": str(FOLDER.parents[1])}}
    runner = ExecutePreprocessor(
        timeout=LONGEST_SECONDS, coalesce_streams=True, extra_arguments=["--log-level=ERROR"]
    )
    try:
        runner.preprocess(content, project)
    except CellExecutionError as error:
        raise PluginError(one_line(f"{name}: {error.ename}: {error.evalue}")) from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise PluginError(one_line(f"{name}: {error}")) from None
    for cell in content.cells:  # readers need no warnings of libraries
        if "outputs" in cell:
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]


def one_line(message: str) -> str:
    """What MkDocs reports, without line breaks."""
    return f"a notebook failed: {' '.join(message.split())}"
