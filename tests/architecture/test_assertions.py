"""Tests ask for types, fields and values: what a message says may be put better at any time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from architecture.source_tree import REPOSITORY

SENTENCE = re.compile(r"(?<![\w'-])[a-z]+(?: [a-z]+){2,}(?![\w'-])")
"""Three words of small letters in a row. Values, which users need, are paths, names and numbers."""


def test_no_test_quotes_english() -> None:
    problems = []
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        problems += [
            f"{path.relative_to(REPOSITORY)}:{line}: {quoted!r}"
            for line, quoted in quotations(tree)
        ]
    assert problems == []


def test_a_quotation_would_be_found() -> None:
    source = """
with pytest.raises(ModelError, match=r"a\\.wav: no such file.*try again"):
    load("is no such model")
with refused(ModelError, path, "holds no model"):
    pass
assert "use one of " in result.stderr and f"{path} cannot be read" in str(error)
assert not line.startswith("there is nothing to do")
assert "a.wav:3: 'dim' 12" in line and "'dim'" in line and text == "one two three"
"""
    found = [quoted for _, quoted in quotations(ast.parse(source))]
    assert found == [
        "a\\.wav: no such file.*try again",
        "holds no model",
        "use one of ",
        " cannot be read",
        "there is nothing to do",
    ]


def quotations(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each sentence that a test looks for in something longer."""
    for node in ast.walk(tree):
        for expression in looked_for(node):
            for part in ast.walk(expression):
                text = part.value if isinstance(part, ast.Constant) else None
                if isinstance(text, str) and SENTENCE.search(re.sub(r"\\.|[.*+?]", "  ", text)):
                    yield node.lineno, text


def looked_for(node: ast.AST) -> list[ast.expr]:
    """What a test searches for: patterns, beginnings and ends, what is `in` a text."""
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
        return [node.left]
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2]
        patterns = [keyword.value for keyword in node.keywords if keyword.arg == "match"]
        searching = name in ("startswith", "endswith", "refused", "search", "fullmatch")
        return patterns + (node.args if searching else [])
    return []
