"""Imports point downward only, heavy ones wait until they are needed, all are declared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from architecture.source_tree import (
    REPOSITORY,
    RESEARCH,
    SOURCE,
    imports_of,
    module_name,
    source_files,
)

FORBIDDEN = {
    "keyframe_asr.runtime": ("torch", "lhotse", "accelerate", "keyframe_asr.model"),
    "keyframe_asr.decoding": ("torch", "lhotse", "keyframe_asr.model", "keyframe_asr.losses"),
    "keyframe_asr.losses": (
        "keyframe_asr.model",
        "keyframe_asr.text",
        "keyframe_asr.data",
    ),
    "keyframe_asr.model": (
        "keyframe_asr.text",
        "keyframe_asr.audio",
        "keyframe_asr.io",
        "keyframe_asr.data",
        "keyframe_asr.losses",
    ),
}
OF_PEERS = ("cn2an", "faster_whisper", "opencc")
"""Packages of an environment of their own, in which research/benchmarks/whisper runs a peer."""

HEAVY = (
    "torch",
    "lhotse",
    "numpy",
    "soundfile",
    "scipy",
    "matplotlib",
    "accelerate",
    "tensorboard",
    "sentencepiece",
    "ray",
    "pyarrow",
    "fsspec",
)


def test_layers_of_the_import_linter_hold() -> None:
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--no-logo"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_forbidden_import(package: str) -> None:
    assert forbidden_imports(SOURCE, package, FORBIDDEN[package]) == []


def test_a_forbidden_import_would_be_found(tmp_path: Path) -> None:
    folder = tmp_path / "keyframe_asr" / "losses"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "a.py").write_text("def f():\n    from ..model import masks\n", encoding="utf-8")
    (folder / "b.py").write_text("import keyframe_asr.modelling\n", encoding="utf-8")
    found = forbidden_imports(tmp_path, "keyframe_asr.losses", ("keyframe_asr.model",))
    assert {problem.split(" ")[0] for problem in found} == {"keyframe_asr.losses.a:2"}


def test_third_party_imports_are_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    # what recognition may import is tested where only the dependencies are installed
    always = {requirement_name(line) for line in (*project["dependencies"], *extras["train"])}
    of_server = {requirement_name(line) for line in extras["serve"]}
    of_cluster = {requirement_name(line) for line in extras["cluster"]}
    # research runs where the tests do
    of_research = of_server | of_cluster | {requirement_name(line) for line in extras["dev"]}
    optional = {requirement_name(line) for key in extras if key != "dev" for line in extras[key]}
    distributions = packages_distributions()
    problems = []
    for path in (*source_files(), *source_files(RESEARCH)):
        root = SOURCE if path.is_relative_to(SOURCE) else REPOSITORY
        needed = always
        if path.is_relative_to(SOURCE / "keyframe_asr" / "server"):
            needed = always | of_server
        elif path.is_relative_to(SOURCE / "keyframe_asr" / "cluster"):
            needed = always | of_cluster
        elif root == REPOSITORY:
            needed = always | of_research
        peers = OF_PEERS if path.parent.name == "whisper" else ()
        for item in imports_of(path, root):
            top = item.module.split(".")[0]
            if top in sys.stdlib_module_names or top in ("keyframe_asr", "research", "", *peers):
                continue
            names = {normalised(name) for name in distributions.get(top, [top])}
            allowed = needed if item.at_import_time else always | optional
            if not names & allowed:
                problems.append(f"{path.relative_to(REPOSITORY)}:{item.line} imports {item.module}")
    assert problems == []


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a Python of its own; it must succeed."""
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["train", "--help"], ["transcribe", "--help"]]
)
def test_start_without_heavy_modules(arguments: list[str]) -> None:
    """`import keyframe_asr` and the help texts are instant: nothing heavy is loaded for them."""
    program = (
        "import sys\n"
        f"sys.argv = ['keyframe', *{arguments!r}]\n"
        "import keyframe_asr\n"
        "if sys.argv[1:]:\n"
        "    from keyframe_asr.cli.main import main\n"
        "    try:\n"
        "        sys.exit(main())\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code, stop.code\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    result = run(program)
    assert result.stdout.splitlines()[-1] == "loaded: []"
    if arguments:
        assert "Usage" in result.stdout


def test_decoding_and_recognition_do_not_load_torch() -> None:
    """They work on arrays; only `inference.torch_network` computes with torch."""
    modules = [
        name
        for path in source_files()
        if is_within(name := module_name(path, SOURCE), "keyframe_asr.decoding")
    ]
    modules += ["keyframe_asr.audio.arrays", "keyframe_asr.audio.voice_activity"]
    modules += [
        f"keyframe_asr.inference.{name}"
        for name in ("many", "onnx_network", "recognizer", "settings")
    ]
    assert "keyframe_asr.decoding.lm.scoring" in modules
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    run(program)


def forbidden_imports(root: Path, package: str, forbidden: tuple[str, ...]) -> list[str]:
    """Each import below `package` of a forbidden module, as `module:line imports name`."""
    return [
        f"{name}:{item.line} imports {item.module}"
        for path in source_files(root)
        if is_within(name := module_name(path, root), package)
        for item in imports_of(path, root)
        if any(is_within(item.module, module) for module in forbidden)
    ]


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def requirement_name(line: str) -> str:
    return normalised(re.split(r"[\s<>=!~;\[]", line.strip())[0])


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
