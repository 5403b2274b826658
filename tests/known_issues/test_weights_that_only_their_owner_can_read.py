"""Once, weights were written with mode 0600 whatever the umask, so that a service under another
account could not read a model: safetensors creates its files like that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fixtures.command_line import keyframe
from fixtures.random_model import random_model, save_random_model
from keyframe_asr.io.atomic_write import replacing, replacing_folder, write_whole
from keyframe_asr.io.model_folder import copy_model_folder
from keyframe_asr.training.checkpoint import RunState, save_state, save_weights

UMASKS = [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750), (0o077, 0o600, 0o700)]


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> tuple[set[int], set[int]]:
    """The permissions of the files and of the folders in a folder, and of itself."""
    found = [folder, *folder.rglob("*")]
    files = {path.stat().st_mode & 0o777 for path in found if path.is_file()}
    return files, {path.stat().st_mode & 0o777 for path in found if path.is_dir()}


@pytest.mark.parametrize(("mask", "file", "folder"), UMASKS)
def test_files_and_folders_have_the_permissions_of_the_umask(
    tmp_path: Path, mask: int, file: int, folder: int
) -> None:
    weights = {"weight": torch.ones(3)}
    with umask(mask):
        out = tmp_path / "out"
        write_whole(out / "text", "text")
        with replacing(out / "deep" / "weights.safetensors") as temporary:
            save_file(weights, temporary)
        with replacing_folder(out / "folder") as written:
            (written / "below").mkdir(mode=0o700)
            save_file(weights, written / "below" / "weights.safetensors")
        save_weights(weights, out / "checkpoint.safetensors")
        save_state(out, RunState(), weights, None)
        model = save_random_model(out / "model")
        (model / "model.safetensors").chmod(0o400)
        copy_model_folder(model, out / "copy", random_model().config)
        (model / "model.safetensors").chmod(file)
        done = keyframe("quantise", model, "--every-weight", "--out", out / "small")
        assert done.exit_code == 0, done
    assert modes(out) == ({file}, {folder})


def test_a_pipe_is_written_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "text")
        assert os.read(reader, 9) == b"text"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
