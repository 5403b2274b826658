"""Files and folders are there whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fixtures.errors import refused
from keyframe_asr.errors import KeyframeError, ModelError
from keyframe_asr.io.atomic_write import replacing, replacing_folder, write_whole


@pytest.mark.parametrize("flush", [False, True])
def test_a_file_takes_the_place_of_another(tmp_path: Path, flush: bool) -> None:
    path = tmp_path / "new" / "a.txt"
    for content in ("one", "two"):
        with replacing(path, flush=flush) as temporary:
            assert temporary.parent == path.parent, "on the same disk"
            temporary.write_text(content)
        assert path.read_text() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises((ModelError, KeyboardInterrupt)) as error:  # noqa: SIM117
        with replacing(path, "make room", ModelError) as temporary:
            temporary.write_text("half")
            raise failure
    if isinstance(failure, OSError):
        message = str(error.value)
        assert message.startswith(f"{path}: ") and message.endswith("; make room")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_text_and_bytes(tmp_path: Path) -> None:
    write_whole(tmp_path / "text", "灯\udcff\n")
    assert (tmp_path / "text").read_bytes() == "灯\\udcff\n".encode()
    write_whole(tmp_path / "bytes", b"\0\xff")
    assert (tmp_path / "bytes").read_bytes() == b"\0\xff"
    with refused(KeyframeError, f"{tmp_path / 'text' / 'below'}: "):
        write_whole(tmp_path / "text" / "below", "")


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "model"
    for name in ("one", "two"):
        with replacing_folder(folder) as written:
            (written / name).touch()
        assert [path.name for path in folder.iterdir()] == [name]
    with (
        refused(ModelError, f"{folder}: ", "; x"),
        replacing_folder(folder, "x", ModelError) as written,
    ):
        (written / "three").touch()
        raise OSError(errno.ENOSPC, "No space left")
    assert [path.name for path in folder.iterdir()] == ["two"]
    assert list(folder.parent.iterdir()) == [folder]
