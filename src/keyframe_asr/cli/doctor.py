"""`keyframe doctor`: check the installation."""

from __future__ import annotations

import importlib
import platform
import sys
from importlib import metadata
from pathlib import Path

import typer

from keyframe_asr import __version__
from keyframe_asr.errors import KeyframeError, ModelError, PackageError
from keyframe_asr.io.threads import usable_cores
from keyframe_asr.packages import EXTRAS

REQUIRED = {
    "kaldi-native-fbank": "kaldi_native_fbank",
    "kaldialign": "kaldialign",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "pydantic": "pydantic",
    "pyyaml": "yaml",
    "rich": "rich",
    "safetensors": "safetensors",
    "sentencepiece": "sentencepiece",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "tokenizers": "tokenizers",
    "typer": "typer",
}
"""Packages that recognition depends on, each with the module it provides."""

IMPORTED = ("train",)
"""Extras whose packages are imported if they are installed; of others only the versions are looked
up, because some take seconds to import."""


def doctor() -> None:
    """Check Python, packages, extras, GPU, shipped models and espeak-ng.

    The exit code is 0 if recognition and what else is installed works, and 1 if not.
    """
    lines = [("keyframe-asr", __version__, True), _python()]
    lines += [_required(name, module) for name, module in REQUIRED.items()]
    lines += [_extra(extra) for extra in EXTRAS]
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
    problem = _problem(name, module)
    return name, problem or _version(name) or "unknown version", not problem


def _problem(name: str, module: str) -> str:
    """Say why a package cannot be imported; "" if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken package can raise anything on import
        return f"{name} cannot be imported: {' '.join(str(error).split())}; pip install {name}"
    return ""


def _extra(extra: str) -> tuple[str, str, bool]:
    """Tell which packages of an extra are installed, and how the others are."""
    name, versions = f"extra {extra}", {one: _version(one) for one in EXTRAS[extra]}
    there = {one: version for one, version in versions.items() if version}
    install = f"pip install 'keyframe-asr[{extra}]'"
    if not there:
        return name, f"not installed (optional): {install}", True
    if extra in IMPORTED:
        problems = [problem for one in there if (problem := _problem(one, EXTRAS[extra][one]))]
        if problems:
            return name, "; ".join(problems), False
    found = ", ".join(f"{one} {version}" for one, version in there.items())
    lacking = ", ".join(one for one in versions if one not in there)
    return name, found + (lacking and f"; without {lacking}: {install}"), True


def _version(name: str) -> str:
    """Return the version of an installed package; "" if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _compute() -> tuple[str, str, bool]:
    cores = f"{usable_cores()} CPU cores"
    if not _version("torch"):
        return "compute", f"{cores}, onnxruntime", True
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return "compute", f"{cores}, torch uses {torch.get_num_threads()} now; {gpu}", True


def _models() -> list[tuple[str, str, bool]]:
    """Check the files of the shipped models, and run the smallest on one second of silence."""
    from keyframe_asr.io.model_location import WEIGHTS_FILE, shipped_models

    folders = shipped_models()
    sizes = {name: (folder / WEIGHTS_FILE).stat().st_size for name, folder in folders.items()}
    lines = []
    for name, folder in folders.items():
        try:
            found = f"{sizes[name] / 1e6:.1f} MB, {_checked(folder)}"
            if name == min(sizes, key=sizes.__getitem__):
                found += f", {_tried(name)}"
            lines.append((f"model {name}", found, True))
        except PackageError as error:
            lines.append((f"model {name}", f"not tried: {error}", True))
        except KeyframeError as error:
            lines.append((f"model {name}", str(error), False))
    return lines or [("models", "none shipped", True)]


def _checked(folder: Path) -> str:
    """Return the language of a model whose files are whole."""
    from keyframe_asr.config.model import load_model_folder_config
    from keyframe_asr.io.base_model import check_whole, weight_files
    from keyframe_asr.io.model_location import CONFIG_FILE, WEIGHTS_FILE
    from keyframe_asr.text.tokenizer import load_tokenizer

    config = load_model_folder_config(folder / CONFIG_FILE)
    load_tokenizer(folder)
    for file in weight_files(folder / WEIGHTS_FILE):
        check_whole(file)
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
    if not _version("espeakng-loader"):
        return "espeak-ng", "not installed (optional), see extra demo", True
    import espeakng_loader

    data = Path(espeakng_loader.get_data_path())
    wanted = {"cmn": "Mandarin", "en": "English"}
    there = [label for code, label in wanted.items() if list(data.glob(f"**/lang/**/{code}"))]
    variants = len(list((data / "voices" / "!v").glob("*")))
    return "espeak-ng", f"{', '.join(there) or 'no voice'}; {variants} voice variants", bool(there)
