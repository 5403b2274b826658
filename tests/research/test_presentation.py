"""A study writes its paragraph between its marks on a page of results, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.errors import refused
from keyframe_asr.errors import KeyframeError
from research.definition import shipped_studies
from research.presentation import find_page, write_between_marks

PAGE = """# Results
<!-- study one -->
old
<!-- end of study one -->
By hand.
<!-- study two -->
<!-- end of study two -->
"""


def test_only_what_is_between_the_marks_changes(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text(PAGE)
    write_between_marks("two", ["new \\1", "", "lines"], page)
    assert page.read_text() == PAGE.replace("two -->\n<!--", "two -->\nnew \\1\n\nlines\n<!--")
    write_between_marks("one", ["newer"], page)
    assert "old" not in page.read_text() and "-->\nnewer\n<!--" in page.read_text()


@pytest.mark.parametrize("place", ["results.md", "results/an4.md", "results/english/noise.md"])
def test_marks_are_found_wherever_they_are(place: str, tmp_path: Path) -> None:
    page = tmp_path / place
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(PAGE)
    (tmp_path / "guide.md").write_text(PAGE.replace("two", "three"))
    assert find_page("two", tmp_path) == page
    assert find_page("three", tmp_path) is None  # on no page of results


def test_without_pages_there_is_nothing_to_find(tmp_path: Path) -> None:
    assert find_page("one", tmp_path) is None


def test_every_study_has_one_place(repository: Path) -> None:
    docs = repository / "docs"
    pages = [docs / "results.md", *(docs / "results").rglob("*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages if page.is_file()]
    for name in shipped_studies():
        for mark in (f"<!-- study {name} -->\n", f"<!-- end of study {name} -->\n"):
            assert sum(text.count(mark) for text in texts) == 1, mark
        assert find_page(name, docs) is not None


def test_a_page_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "results.md").write_bytes(b"\xff\xfe\x00")
    with refused(KeyframeError, tmp_path / "results.md"):
        find_page("one", tmp_path)
