"""Files and functions stay small, names say what a thing is, everything public is described."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from architecture.source_tree import (
    REPOSITORY,
    RESEARCH,
    functions_of,
    project_files,
    source_files,
)

FILE_LINES, FUNCTION_LINES, PARAMETERS = 400, 60, 8
EMPTY_NAMES = {"base", "common", "core", "helper", "helpers", "misc", "util", "utils"}
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:work|home|root|tmp|Users|mnt)/")
TEXT_ENDINGS = {
    "", ".cff", ".css", ".html", ".md", ".py", ".sh", ".toml", ".tsv", ".txt", ".yaml", ".yml"
}  # fmt: skip

FILES = [
    pytest.param(path, id=str(path.relative_to(REPOSITORY)))
    for path in (*source_files(), *source_files(RESEARCH))
]


@pytest.mark.parametrize("path", FILES)
def test_sizes(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES, f"{lines} lines; split the file by its nouns"
    for function in functions_of(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= FUNCTION_LINES, f"{function.name}() has {length} lines"
        number = len(parameter_names(function))
        assert number <= PARAMETERS, f"{function.name}() has {number} parameters; use a dataclass"


@pytest.mark.parametrize("path", FILES)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if tree.body:
        assert ast.get_docstring(tree), "the file does not say what it is"
    assert undocumented(tree) == []


def test_missing_docstring_would_be_found() -> None:
    source = "class A:\n    'a'\n    def b(self): pass\n    def _c(self): pass\ndef d(): pass\n"
    assert undocumented(ast.parse(source)) == ["d", "A.b"]


@pytest.mark.parametrize("path", FILES)
def test_names_say_something(path: Path) -> None:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    assert EMPTY_NAMES.isdisjoint(parts)


def test_no_paths_of_one_machine() -> None:
    problems = []
    for path in project_files():
        if path.suffix not in TEXT_ENDINGS:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line):
                problems.append(f"{path}:{number}: {line.strip()}")
    assert problems == []


def test_no_recordings_in_the_project() -> None:
    """Real speech is never committed; the corpora stay where they are."""
    audio = {".wav", ".flac", ".opus", ".ogg", ".mp3", ".m4a"}
    assert [path for path in project_files() if path.suffix.lower() in audio] == []


def parameter_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def undocumented(tree: ast.Module) -> list[str]:
    """Public functions, classes and methods that neither they nor a base class describe."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    missing = [name for name, node in described(tree) if not ast.get_docstring(node)]
    for owner in classes.values():
        if owner.name.startswith("_"):
            continue
        bases = [classes[base] for base in map(ast.unparse, owner.bases) if base in classes]
        inherited = {name for base in bases for name, node in described(base)}
        missing += [
            f"{owner.name}.{name}"
            for name, node in described(owner)
            if not ast.get_docstring(node) and name not in inherited
        ]
    return missing


def described(
    owner: ast.Module | ast.ClassDef,
) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """What of a file or class has to have a docstring, by name."""
    return [
        (node.name, node)
        for node in owner.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not is_restated(node)
    ]


def is_restated(node: ast.stmt) -> bool:
    """Overloads and setters, which only restate something described elsewhere."""
    decorators = [ast.unparse(item) for item in getattr(node, "decorator_list", [])]
    return any(item.endswith(("overload", "override", ".setter")) for item in decorators)
