"""`keyframe doctor`: check the installation."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib import metadata
from pathlib import Path

import typer

from keyframe_asr import __version__
from keyframe_asr.errors import KeyframeError, ModelError
from keyframe_asr.io.threads import usable_cores

REQUIRED = {
    "accelerate": "accelerate",
    "filelock": "filelock",
    "kaldi-native-fbank": "kaldi_native_fbank",
    "kaldialign": "kaldialign",
    "lhotse": "lhotse",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "pyyaml": "yaml",
    "rich": "rich",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sentencepiece": "sentencepiece",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "tensorboard": "tensorboard",
    "torch": "torch",
    "typer": "typer",
    "urllib3": "urllib3",
}
"""Packages that the project depends on, each with the module it provides."""

EXTRAS = {
    "matplotlib": "plot",
    "zhplot": "plot",
    "fonttools": "plot",
    "av": "video",
    "silero-vad": "vad",
    "transformers": "pretrained",
    "tokenizers": "pretrained",
    "huggingface_hub": "hub",
    "espeakng-loader": "demo",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "runtime",
}
"""Optional packages, each with an extra that installs it. Some take seconds to import, so only
their versions are looked up."""


def doctor() -> None:
    """Check Python, packages, GPU, shipped models and espeak-ng.

    The exit code is 0 if everything required works, and 1 if not.
    """
    lines = [("keyframe-asr", __version__, True), _python()]
    lines += [_required(name, module) for name, module in REQUIRED.items()]
    lines += [_optional(name, extra) for name, extra in EXTRAS.items()]
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


def _required(name: str, module: str) -> tuple[str, str, bool]:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken package can raise anything on import
        reason = " ".join(str(error).split())
        return name, f"cannot be imported: {reason}; pip install {name}", False
    return name, _version(name) or "unknown version", True


def _optional(name: str, extra: str) -> tuple[str, str, bool]:
    found = _version(name)
    return name, found or f"not installed (optional): pip install 'keyframe-asr[{extra}]'", True


def _version(name: str) -> str:
    """Return the version of an installed package; "" if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _compute() -> tuple[str, str, bool]:
    import torch

    threads = torch.get_num_threads()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return "compute", f"{usable_cores()} CPU cores, torch uses {threads} now; {gpu}", True


def _models() -> list[tuple[str, str, bool]]:
    """Check the files of the shipped models, and run the smallest on one second of silence."""
    from keyframe_asr.io.model_folder import shipped_models

    folders = shipped_models()
    sizes = {
        name: (folder / "model.safetensors").stat().st_size for name, folder in folders.items()
    }
    lines = []
    for name, folder in folders.items():
        try:
            found = f"{sizes[name] / 1e6:.1f} MB, {_checked(folder)}"
            if name == min(sizes, key=sizes.__getitem__):
                found += f", {_tried(name)}"
            lines.append((f"model {name}", found, True))
        except KeyframeError as error:
            lines.append((f"model {name}", str(error), False))
    return lines or [("models", "none shipped", True)]


def _checked(folder: Path) -> str:
    """Return the language of a model whose files are whole."""
    from keyframe_asr.config.model import load_model_folder_config
    from keyframe_asr.io.base_model import weight_files
    from keyframe_asr.io.model_folder import CONFIG_FILE, WEIGHTS_FILE
    from keyframe_asr.io.weights_file import read_own
    from keyframe_asr.text.tokenizer import load_tokenizer

    config = load_model_folder_config(folder / CONFIG_FILE)
    load_tokenizer(folder)
    for file in weight_files(folder / WEIGHTS_FILE):
        read_own(file)
    return config.language if config.base is None else f"{config.language}, on {config.base.model}"


def _tried(name: str) -> str:
    """Recognise silence. Raises `ModelError` if the model finds text in it."""
    import numpy as np

    from keyframe_asr.inference.recognizer import load

    recognizer = load(name)
    if recognizer.transcribe(np.zeros(16_000, dtype=np.float32)).text != "":
        raise ModelError("recognises text in silence")
    return f"recognises in {', '.join(recognizer.modes)}"


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
