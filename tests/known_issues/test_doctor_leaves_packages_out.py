"""Once, `keyframe doctor` left silero-vad and other packages out, and took half a minute: it
imported optional packages and recognised with every model."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from fixtures.command_line import keyframe, lacking
from fixtures.errors import refused
from fixtures.random_model import save_random_model
from keyframe_asr.cli.doctor import REQUIRED, _checked
from keyframe_asr.errors import ModelError
from keyframe_asr.packages import EXTRAS

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]


def packages(requirements: list[str]) -> set[str]:
    """Names of packages, without extras of this one."""
    found = {re.split(r"[^\w.-]", one)[0] for one in requirements}
    return found - {PROJECT["name"]}


def test_every_dependency_is_listed() -> None:
    assert set(REQUIRED) == packages(PROJECT["dependencies"])


def test_every_extra_is_listed() -> None:
    extras = PROJECT["optional-dependencies"]
    named = {name: packages(extras[name]) for name in extras if name not in ("docs", "dev")}
    assert {name: set(one) for name, one in EXTRAS.items()} == {
        name: one for name, one in named.items() if one
    }


def test_versions_are_shown_without_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "matplotlib", "zhplot", "silero_vad", "onnx", "av"):
        lacking(name, monkeypatch)
    done = keyframe("doctor")
    assert done.exit_code == 0, done
    for name in (*REQUIRED, *(name for one in EXTRAS.values() for name in one)):
        try:
            assert f"{name} {metadata.version(name)}" in done.output
        except metadata.PackageNotFoundError:
            assert name in done.output


def test_a_model_that_was_copied_in_part_is_found(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    assert _checked(model) == "en"
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with refused(ModelError, weights):
        _checked(model)
