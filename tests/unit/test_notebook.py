"""The notebook of the documentation runs, here with few steps and recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from architecture.source_tree import REPOSITORY

nbformat = pytest.importorskip("nbformat")

NOTEBOOK = REPOSITORY / "docs" / "notebooks" / "speech_to_language_model.ipynb"
SETTINGS = """LANGUAGE_MODEL_STEPS, PROJECTION_STEPS = 2, 2
RECORDINGS, TEST_RECORDINGS = 4, 2"""


def test_the_notebook_runs_in_a_fresh_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEYFRAME_DATA", str(tmp_path))  # without recordings
    names: dict[str, object] = {"__name__": "__main__"}
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    for cell in cells:
        if cell.cell_type == "code":
            is_setting = "parameters" in cell.metadata.get("tags", [])
            exec(compile(SETTINGS if is_setting else cell.source, "cell", "exec"), names)
    printed = capsys.readouterr().out
    assert "espeak-ng" in printed
    assert printed.count("control:") == 3


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.get("outputs", []) == []
