"""A study writes its paragraph between its marks on the page of results, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyframe_asr.errors import KeyframeError
from research.definition import shipped_studies
from research.results_page import update_page

PAGE = """# Results
<!-- study one -->
old
<!-- end of study one -->
By hand.
<!-- study two -->
<!-- end of study two -->
"""


def test_only_what_is_between_the_marks_changes(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "studies"
    folder.mkdir(parents=True)
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    assert update_page("two", ["new \\1", "", "lines"], folder) == page
    assert page.read_text() == PAGE.replace("two -->\n<!--", "two -->\nnew \\1\n\nlines\n<!--")
    assert update_page("one", ["newer"], folder) == page
    assert "old" not in page.read_text() and "newer\n<!-- end of study one" in page.read_text()


def test_without_marks_there_is_nothing_to_write(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "studies"
    folder.mkdir(parents=True)
    assert update_page("one", ["text"], folder) is None
    (tmp_path / "results.md").write_text(PAGE)
    assert update_page("three", ["text"], folder) is None
    assert (tmp_path / "results.md").read_text() == PAGE


def test_every_study_has_its_place_on_the_page(repository: Path) -> None:
    pages = sorted((repository / "docs" / "results").glob("*.md"))
    page = "\n".join(one.read_text(encoding="utf-8") for one in pages)
    for name in shipped_studies():
        assert f"<!-- study {name} -->\n" in page
        assert f"<!-- end of study {name} -->\n" in page


def test_a_page_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "results.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeyframeError, match=r"results\.md: cannot be read"):
        update_page("one", ["text"], tmp_path / "results" / "studies")
