"""What computes a model: torch, or ONNX Runtime."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from keyframe_asr.errors import ModelError
from keyframe_asr.inference.options import Backend
from keyframe_asr.io.model_location import GRAPHS_FOLDER, has_graphs, is_exported
from keyframe_asr.packages import missing


def fitting_backend(
    folder: Path, wanted: Backend = "auto", device: str | None = None
) -> Literal["torch", "onnx"]:
    """Return what computes the model of a folder.

    Args:
        folder: of the model.
        wanted: "auto" is ONNX Runtime on a CPU, where the model has graphs.
        device: as in `keyframe_asr.load`.

    Raises:
        ModelError: the model does not run on the wanted back end.
        PackageError: it runs on torch, which is not installed.
    """
    if is_exported(folder):
        if wanted == "torch":
            raise ModelError(
                f"{folder}: is an export, which does not run on torch; use back end onnx, or the "
                "model that it was exported from"
            )
        return "onnx"
    if not has_graphs(folder):
        if wanted == "onnx":
            raise ModelError(
                f"{folder}: has no {GRAPHS_FOLDER}, so it does not run on onnxruntime; use back "
                "end torch, or write them with keyframe export MODEL"
            )
        _require_torch(f"{folder}: a model without {GRAPHS_FOLDER} for onnxruntime")
        return "torch"
    on_cpu = device == "cpu" or (device is None and not _has_gpu())
    if wanted == "onnx" or (wanted == "auto" and on_cpu):
        return "onnx"
    _require_torch("back end torch" if wanted == "torch" else f"device '{device}'")
    return "torch"


def _require_torch(purpose: str) -> None:
    """Raise `PackageError` if torch is not installed, without the seconds of importing it."""
    if find_spec("torch") is None:
        raise missing("torch", purpose)


DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Devices of NVIDIA, of Windows within Linux, and of AMD."""


def _has_gpu() -> bool:
    """True if torch would take a GPU; it is only asked where a driver is, as it takes seconds."""
    driver = shutil.which("nvidia-smi") or any(map(os.path.exists, DRIVERS))
    if not driver or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
