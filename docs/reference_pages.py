"""Parts of the reference that MkDocs takes from the code when it builds: recipe keys and commands.

A line `<!-- recipe keys -->` or `<!-- commands -->` of a page becomes what the code says today.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from keyframe_asr.cli.main import app
from keyframe_asr.config.recipe import Recipe

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "of at least"}


def on_page_markdown(markdown: str, page: Any = None, **_: Any) -> str:
    """MkDocs calls this with the text of every page; a study's wide table gets all the width."""
    if page is not None and page.file.src_uri.startswith("results/studies/"):
        page.meta["hide"] = ["navigation", "toc"]
    for mark, make in (("recipe keys", recipe_keys), ("commands", command_line)):
        if f"<!-- {mark} -->" in markdown:
            markdown = markdown.replace(f"<!-- {mark} -->", make())
    return markdown


def recipe_keys() -> str:
    """A section for each part of a recipe: what it is, and a table of its keys."""
    return "\n\n".join(_section(path, kind) for path, kind in _parts("", Recipe))


def command_line() -> str:
    """A section for each verb: usage, what it does, and a table of its options."""
    group: Any = typer.main.get_command(app)
    shown = [(name, one) for name, one in group.commands.items() if not one.hidden]
    return "\n\n".join(_verb(name, command) for name, command in shown)


def _parts(path: str, kind: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """A part of a recipe and all parts in it, each with the keys that lead there."""
    yield path, kind
    for name, field in kind.model_fields.items():
        for part in _models(field.annotation):
            yield from _parts(_joined(path, name, field.annotation), part)


def _section(path: str, kind: type[BaseModel]) -> str:
    described = _attribute_docstrings(kind)
    for old, renamed in getattr(kind, "renamed_keys", {}).items():
        described[renamed.name] = f"{described.get(renamed.name, '')} Formerly `{old}`."
    rows = [
        (
            f"`{name}`",
            _value(_joined(path, name, field.annotation), field),
            _default(field),
            described.get(name, ""),
        )
        for name, field in kind.model_fields.items()
    ]
    heading = f"## `{path}`" if path else "## Top level"
    if (alternative := _alternative(kind)) is not None:
        heading += f" with `kind: {alternative}`"
    table = _table(("key", "value", "default", "meaning"), rows)
    return f"{heading}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n\n{table}"


def _alternative(kind: type[BaseModel]) -> str | None:
    """The `kind` that a section has to name, as it is not the default."""
    field = kind.model_fields.get("kind")
    choices = get_args(field.annotation) if field else ()
    if field is None or len(choices) != 1 or not field.is_required():
        return None
    return str(choices[0])


def _attribute_docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """The strings below the fields of a class, those of its base classes included."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if not issubclass(owner, BaseModel) or owner is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(field.target)] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


def _joined(path: str, name: str, annotation: Any) -> str:
    inner = f"{path}.{name}" if path else name
    return f"{inner}[]" if get_origin(_plain(annotation)) is list else inner


def _plain(annotation: Any) -> Any:
    """An annotation without what pydantic is told beside it."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The parts of a recipe that an annotation names."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _type_of(path: str, annotation: Any) -> str:
    """A type in the words of YAML; a part of the recipe links to its section."""
    plain = _plain(annotation)
    if plain is NoneType:
        return "`null`"
    if _models(plain):
        if get_origin(plain) in (Union, UnionType):
            return " or ".join(dict.fromkeys(_type_of(path, one) for one in get_args(plain)))
        anchor = "".join(letter for letter in path.lower() if letter.isalnum() or letter in "_-")
        word = "list of sections" if get_origin(plain) is list else "section"
        return f"[{word}](#{anchor})"
    if get_origin(plain) in (Union, UnionType):
        return " or ".join(dict.fromkeys(_type_of(path, one) for one in get_args(plain)))
    if get_origin(plain) is Literal:
        return ", ".join(f"`{_yaml(value)}`" for value in get_args(plain))
    if get_origin(plain) is list:
        return f"list of {_type_of(path, get_args(plain)[0])}"
    if get_origin(plain) is tuple:
        return f"[{', '.join(_type_of(path, one) for one in get_args(plain))}]"
    if get_origin(plain) is dict:
        return "mapping"
    return {str: "text", int: "integer", float: "number", bool: "`true`, `false`"}[plain]


def _value(path: str, field: FieldInfo) -> str:
    """What a key may hold, as in "integer ≥ 1 or `null`"."""
    kind, limits = _type_of(path, field.annotation), _limits(field)
    if not limits:
        return kind
    base, orelse, null = kind.partition(" or `null`")
    return f"{base} {limits}{orelse}{null}"


def _limits(field: FieldInfo) -> str:
    found = [
        f"{sign} {value:g}"
        for one in field.metadata
        for name, sign in BOUNDS.items()
        if (value := getattr(one, name, None)) is not None
    ]
    return ", ".join(found)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    return "" if isinstance(value, BaseModel) else f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _verb(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(["keyframe", name, *command.collect_usage_pieces(context)])
    parts = [f"## {name}", f"```text\n{usage}\n```", inspect.cleandoc(command.help or "")]
    panels: dict[str, list[tuple[str, ...]]] = {}
    for one in command.get_params(context):
        if (record := one.get_help_record(context)) and one.name != "help":
            kind = "Options" if one.param_type_name == "option" else "Arguments"
            panel = getattr(one, "rich_help_panel", None) or kind
            panels.setdefault(panel, []).append((f"`{record[0]}`", record[1]))
    for title, rows in panels.items():
        parts += [f"**{title}**", _table(("name", "meaning"), rows)]
    return "\n\n".join(parts)


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table without the columns that are empty."""
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    lines = [[headings[place] for place in kept], ["---"] * len(kept)]
    lines += [[_cell(row[place]) for place in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """One line, with bars escaped outside of code, where Markdown takes them as they are."""
    pieces = " ".join(text.split()).split("`")
    return "`".join(
        piece if place % 2 else piece.replace("|", "\\|") for place, piece in enumerate(pieces)
    )
