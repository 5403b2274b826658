"""Once, a byte order mark became part of the first word of a file, and characters that are no line
ends, such as U+2028, ended a line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from fixtures.errors import refused
from keyframe_asr.errors import KeyframeError, TextError
from keyframe_asr.io.text_file import read_lines, read_text

LINES = ["ein Wort", "", "zwei\u2028Wörter\x0b", "我"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_marks_and_line_ends_are_no_text(
    tmp_path: Path, mark: bytes, end: str, closed: bool, packed: bool
) -> None:
    content = mark + (end.join(LINES) + end * closed).encode()
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert list(read_lines(path, "")) == LINES
    assert read_text(path, "") == "\n".join(LINES)


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    assert list(read_lines(tmp_path / "a.txt", "")) == []


def test_the_line_in_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("eins\nzwei\nfünf\n".encode("latin-1"))
    with refused(TextError, f"{path}:3:"):
        read_text(path, "", TextError)
    path.write_bytes("eins\n".encode("utf-16"))
    with refused(TextError, f"{path}:1:"):
        read_text(path, "", TextError)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(b"eins\n" * 1000)[:-9])
    plain = tmp_path / "b.gz"
    plain.write_bytes(b"eins\n")
    for path in (packed, plain, tmp_path, tmp_path / "gone", tmp_path / ("a" * 300), Path("a\0b")):
        with refused(KeyframeError, path, "the advice"):
            read_text(path, "the advice")
