"""Packages that an extra installs, the error where one is missing, and how one is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keyframe_asr.errors import PackageError

EXTRAS: dict[str, dict[str, str]] = {
    "train": {
        "accelerate": "accelerate",
        "filelock": "filelock",
        "fsspec": "fsspec",
        "lhotse": "lhotse",
        "scipy": "scipy",
        "tensorboard": "tensorboard",
        "torch": "torch",
        "urllib3": "urllib3",
    },
    "pretrained": {"transformers": "transformers"},
    "export": {"onnx": "onnx", "onnxscript": "onnxscript"},
    "sherpa": {"sherpa-onnx": "sherpa_onnx"},
    "plot": {"fonttools": "fontTools", "matplotlib": "matplotlib", "zhplot": "zhplot"},
    "video": {"av": "av"},
    "vad": {"silero-vad": "silero_vad"},
    "hub": {"huggingface_hub": "huggingface_hub"},
    "serve": {
        "fastapi": "fastapi",
        "prometheus-client": "prometheus_client",
        "python-multipart": "python_multipart",
        "starlette": "starlette",
        "uvicorn": "uvicorn",
        "websockets": "websockets",
    },
    "cluster": {
        "aiohttp": "aiohttp",
        "fsspec": "fsspec",
        "pyarrow": "pyarrow",
        "ray": "ray",
    },
    "espeak": {"espeakng-loader": "espeakng_loader"},
}
"""The packages of each extra, with the module that a package provides. Those of an extra that it
includes are left out. If several have a package, the first is advised."""

_OWNERS = {
    module: (package, extra)
    for extra, packages in reversed(EXTRAS.items())
    for package, module in packages.items()
}


@contextmanager
def packages_for(purpose: str, instead: str = "") -> Iterator[None]:
    """Say how to install a package of `EXTRAS` that an import in this block does not find.

    The import of any other module that is missing raises its own error, as does a package that is
    there and cannot be imported.

    Args:
        purpose: what the block is for, such as "keyframe train".
        instead: what else can be done, such as "or use another file".

    Raises:
        PackageError: an extra has the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _OWNERS:
            raise
        raise missing(_OWNERS[error.name][0], purpose, instead) from error


def silent_onnxruntime() -> Any:
    """Import and return ONNX Runtime, and keep it from reporting to its makers.

    Since version 1.29 it sends events over the network, and leaves an identifier on the disk,
    unless this variable was set before it is imported. A value that the user has set stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # takes time

    return onnxruntime


def missing(package: str, purpose: str, instead: str = "") -> PackageError:
    """Return the error of a package of `EXTRAS` that is not installed, as `packages_for` does."""
    extra = next(extra for extra, packages in EXTRAS.items() if package in packages)
    advice = f"pip install 'keyframe-asr[{extra}]'" + (instead and f", {instead}")
    return PackageError(f"{purpose} needs {package}, which is not installed; {advice}")
