"""`keyframe doctor`: check the installation."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import typer

from keyframe_asr import __version__
from keyframe_asr.errors import KeyframeError

REQUIRED = {
    "torch": "torch",
    "lhotse": "lhotse",
    "kaldi-native-fbank": "kaldi_native_fbank",
    "kaldialign": "kaldialign",
    "sentencepiece": "sentencepiece",
    "safetensors": "safetensors",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "accelerate": "accelerate",
    "pydantic": "pydantic",
}
"""Packages that recognition and training need, each with the module it provides."""

OPTIONAL = {
    "matplotlib": "matplotlib",
    "espeakng-loader": "espeakng_loader",
    "transformers": "transformers",
}
"""Packages that only `keyframe inspect`, `keyframe demo` and pretrained encoders need."""


def doctor() -> None:
    """Check Python, packages, GPU, shipped models and espeak-ng.

    The exit code is 0 if everything required works, and 1 if not.
    """
    lines = [("keyframe-asr", __version__, True), _python()]
    lines += [_package(name, module, True) for name, module in REQUIRED.items()]
    lines += [_package(name, module, False) for name, module in OPTIONAL.items()]
    problems = [line for line in lines if not line[2]]
    if not problems:
        lines += [_compute(), *_models(), _espeak()]
    for name, found, good in lines:
        print(f"{'ok  ' if good else 'FAIL'}  {name:<20} {found}")
    if not all(good for _, _, good in lines):
        raise typer.Exit(1)


def _python() -> tuple[str, str, bool]:
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "" if good else "; use 3.11, 3.12 or 3.13"
    return "python", f"{platform.python_version()} ({platform.platform()}){advice}", good


def _package(name: str, module: str, required: bool) -> tuple[str, str, bool]:
    try:
        importlib.import_module(module)
        return name, metadata.version(name), True
    except metadata.PackageNotFoundError:
        return name, "unknown version", True
    except Exception as error:  # a broken package can raise anything on import
        reason = " ".join(str(error).split())
        if required:
            return name, f"cannot be imported: {reason}; pip install {name}", False
        return name, f"not installed (optional): pip install {name}", True


def _compute() -> tuple[str, str, bool]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return "compute", f"{cores} CPU cores, torch uses {torch.get_num_threads()}; {gpu}", True


def _models() -> list[tuple[str, str, bool]]:
    """Load each shipped model and run it on one second of silence."""
    import numpy as np

    from keyframe_asr.inference.recognizer import load
    from keyframe_asr.io.model_folder import shipped_models

    lines = []
    for name, folder in shipped_models().items():
        size = (folder / "model.safetensors").stat().st_size / 1e6
        try:
            recognizer = load(name)
            good = recognizer.transcribe(np.zeros(16_000, dtype=np.float32)).text == ""
            found = f"{size:.1f} MB, {recognizer.config.language}, {', '.join(recognizer.modes)}"
            lines.append((f"model {name}", found if good else "recognises text in silence", good))
        except KeyframeError as error:
            lines.append((f"model {name}", str(error), False))
    return lines or [("models", "none shipped", True)]


def _espeak() -> tuple[str, str, bool]:
    """Check espeak-ng, the optional synthesiser of the synthetic corpora."""
    try:
        import espeakng_loader
    except ImportError:
        return "espeak-ng", "not installed (optional): pip install espeakng-loader", True
    data = Path(espeakng_loader.get_data_path())
    wanted = {"cmn": "Mandarin", "en": "English"}
    there = [label for code, label in wanted.items() if list(data.glob(f"**/lang/**/{code}"))]
    variants = len(list((data / "voices" / "!v").glob("*")))
    return "espeak-ng", f"{', '.join(there) or 'no voice'}; {variants} voice variants", bool(there)
