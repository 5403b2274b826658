"""`python -m research`: what it plans, measures, refuses, and where it writes what it found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.command_line import Ran, run
from fixtures.studies import changed, pretend_to_train, training_study
from keyframe_asr.cli.main import main
from research.__main__ import app


def study(folder: Path, *arguments: object) -> Ran:
    """Run the command; all that it writes goes into `folder`."""
    where = ("--out", folder, "--runs", folder / "runs")
    return run(lambda: main(app), *arguments, *where)


def test_it_starts_as_a_process_of_its_own(repository: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "research", "--help"],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository / "src"), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    assert "--redraw" in found.stdout


def test_plan_and_refusals(tmp_path: Path) -> None:
    tiny = training_study(tmp_path)
    planned = study(tmp_path, tiny, "--plan", "--seeds", 2)
    assert planned.exit_code == 0, planned.stderr
    assert "none, seed 2" in planned.stdout and "6 of 6" in planned.stdout
    assert (
        str(tmp_path / "research" / "records" / "tiny.json")
        in study(tmp_path, tiny, "--redraw").error
    )
    assert not (tmp_path / "runs").exists()
    unknown = study(tmp_path, tiny, "--only", "axes").error
    assert "--only axes" in unknown and "axe, all, none" in unknown


def test_what_was_measured_with_another_setting_is_named_but_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_to_train(monkeypatch)
    tiny = training_study(tmp_path)
    page, table = tmp_path / "docs" / "results" / "tones.md", "docs/results/studies/tiny.md"
    page.parent.mkdir(parents=True)
    page.write_text("# Mine\n<!-- study tiny -->\n<!-- end of study tiny -->\n")
    measured = study(tmp_path, tiny, "--only", "axe", "--only", "all")
    assert measured.exit_code == 0, measured.stderr
    assert set(measured.stdout.split()) == {
        str(one) for one in (page, tmp_path / table, (tmp_path / table).with_suffix(".png"))
    }
    found = page.read_text(encoding="utf-8")
    assert found.startswith("# Mine\n<!-- study tiny -->\n*What is it?")
    assert (page.parent / re.findall(r"!\[A study\]\((.+?)\)", found)[0]).is_file()
    assert (page.parent / re.findall(r"\[All figures\]\((.+?)\)", found)[0]).is_file()
    assert "on 4 utterances" in found and "all frames, " in found

    changed(tiny, epochs={"keyframes": 2}, reference="all")
    assert study(tmp_path, tiny, "--redraw").exit_code == 0
    for text in (page.read_text("utf-8"), (tmp_path / table).read_text("utf-8")):
        assert ": axe, seed 1." in text and ": AXE, nothing." in text
        assert "\n| AXE |" not in text
    assert "\n| all frames |" in (tmp_path / table).read_text("utf-8")

    changed(tiny, epochs={"keyframes": 2, "longer": 2})
    before = page.read_text("utf-8")
    assert f"NAME={tiny}" in study(tmp_path, tiny, "--redraw").error
    assert "\n| all frames |" in (tmp_path / table).read_text("utf-8")
    changed(tiny, epochs={"keyframes": 2})
    assert study(tmp_path, tiny, "--redraw", "--set", "reference=axe").exit_code == 0
    assert page.read_text("utf-8") == before  # a study that was changed for once


@pytest.mark.parametrize("override", ["manifest=other.tsv", "systems.1.blank_threshold=0.5"])
def test_what_is_outdated_takes_no_table_away(
    override: str, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the record, or one system of three, without which nothing can be compared."""
    table = tmp_path / "docs" / "results" / "studies" / "stress_longer.md"
    table.parent.mkdir(parents=True)
    kept = tmp_path / "research" / "records" / "stress_longer.json"
    kept.parent.mkdir(parents=True)
    table.write_text("as it was")
    shutil.copy(repository / "research" / "records" / "stress_longer.json", kept)
    monkeypatch.chdir(repository)
    refusal = study(tmp_path, "stress_longer", "--redraw", "--set", override).error
    assert str(kept) in refusal
    assert "NAME=stress_longer" in refusal
    assert table.read_text() == "as it was"
