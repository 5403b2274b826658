"""The notebook of the documentation runs, here with few steps and recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from architecture.source_tree import REPOSITORY

pytest.importorskip("mkdocs")
pytest.importorskip("nbconvert")
nbformat = pytest.importorskip("nbformat")

NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "speech_to_language_model.ipynb"
SETTINGS = """LANGUAGE_MODEL_STEPS, PROJECTION_STEPS = 2, 2
RECORDINGS, TEST_RECORDINGS = 4, 2"""


def test_the_notebook_runs_without_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFRAME_DATA", str(tmp_path))
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    for cell in cells:
        if cell.cell_type == "code":
            is_setting = "parameters" in cell.metadata.get("tags", [])
            exec(compile(SETTINGS if is_setting else cell.source, "cell", "exec"), names)
    assert len(names["train"]) == 4
    assert not any(isinstance(audio, Path) for audio, _ in names["train"] + names["test"])
    assert not any(one.requires_grad for one in names["model"].parameters())
    assert names["projection"].weight.grad is not None
    assert [len(texts) for texts in names["found"].values()] == [2] * 5


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.get("outputs", []) == []


def test_a_page_has_the_outputs_of_its_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from docs.notebook_pages import shown

    monkeypatch.delenv("KEYFRAME_NOTEBOOKS", raising=False)
    file = written(tmp_path / "sum.ipynb", "print(40 + 2)")
    assert "42" in shown(file)
    monkeypatch.setenv("KEYFRAME_NOTEBOOKS", "show")
    assert "42" not in shown(file)


def test_a_cell_that_fails_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mkdocs.exceptions import PluginError

    from docs.notebook_pages import shown

    monkeypatch.delenv("KEYFRAME_NOTEBOOKS", raising=False)
    with pytest.raises(PluginError) as refused:
        shown(written(tmp_path / "bad.ipynb", "raise ValueError('one\\ntwo')"))
    assert "\n" not in str(refused.value)
    for part in ("bad.ipynb", "ValueError", "one two"):
        assert part in str(refused.value)


def written(file: Path, code: str) -> Path:
    cells = [nbformat.v4.new_code_cell(code)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    return file
