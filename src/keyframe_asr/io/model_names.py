"""Find a model by its folder or by the name of one that the package ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from keyframe_asr.errors import ModelError
from keyframe_asr.io.model_folder import CONFIG_FILE


def find_model(model: str | Path) -> Path:
    """The folder of a model. Raises `ModelError`, naming the shipped ones, if there is none."""
    folder = Path(model)
    if (folder / CONFIG_FILE).is_file():
        return folder
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    names = ", ".join(shipped) or "none"
    if (folder / "model" / CONFIG_FILE).is_file():
        raise ModelError(f"{model}: is the folder of a training run; give {folder / 'model'}")
    if folder.is_dir():
        raise ModelError(
            f"{model}: holds no {CONFIG_FILE}; give a model folder, or one of: {names}"
        )
    raise ModelError(
        f"{model}: no such model folder, and no model of that name is shipped; shipped are: {names}"
    )


def shipped_models() -> dict[str, Path]:
    """Folder of each model inside the package, by name."""
    root = Path(str(resources.files("keyframe_asr"))) / "models"
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {folder.name: folder for folder in folders if (folder / CONFIG_FILE).is_file()}
