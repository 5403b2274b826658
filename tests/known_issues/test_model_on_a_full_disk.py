"""Once, a disk that was full while a model was written ended in a traceback."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

from fixtures.processes import forking
from fixtures.random_model import save_random_model
from keyframe_asr.errors import ModelError


def write_where_files_stay_small(folder: Path, told: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        save_random_model(folder)
    except ModelError as error:
        told.write_text(str(error), encoding="utf-8")


def test_one_line_and_nothing_half_written(tmp_path: Path) -> None:
    told, folder = tmp_path / "told.txt", tmp_path / "model"
    child: Any = forking().Process(target=write_where_files_stay_small, args=(folder, told))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    message = told.read_text(encoding="utf-8")
    assert message.startswith(f"{folder}: ") and "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["told.txt"]
