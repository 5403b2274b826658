"""The project's own source as syntax trees, for the tests of its structure."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src"
RESEARCH = REPOSITORY / "research"


@dataclass(frozen=True)
class Import:
    """One imported module, in full, and whether it is imported when its file is."""

    module: str
    line: int
    at_import_time: bool


def source_files(root: Path = SOURCE) -> list[Path]:
    """Every Python file below `root`."""
    return sorted(root.rglob("*.py"))


def module_name(path: Path, root: Path = SOURCE) -> str:
    """`a/b.py` → `a.b`; a package's `__init__.py` is the package."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, root: Path = SOURCE) -> list[Import]:
    """Modules that a file imports, wherever in it, `from a import b` as both `a` and `a.b`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module_name(path, root)
    if path.name != "__init__.py":
        package = package.rpartition(".")[0]
    found: list[Import] = []
    for node, at_import_time in _walk(tree, True):
        if isinstance(node, ast.Import):
            found += [Import(name.name, node.lineno, at_import_time) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, package)
            found.append(Import(origin, node.lineno, at_import_time))
            found += [
                Import(f"{origin}.{name.name}", node.lineno, at_import_time) for name in node.names
            ]
    return found


def functions_of(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def project_files() -> list[Path]:
    """Every file that belongs to the project: what git tracks or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    ).stdout.decode("utf-8")
    paths = [REPOSITORY / name for name in listing.split("\0") if name]
    return sorted(path for path in paths if path.is_file())


def _walk(node: ast.AST, at_import_time: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, at_import_time
    inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        inside = True
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, at_import_time and not inside)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    parents = parents[: len(parents) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)
