"""Strict validation of YAML configuration files.

Unknown keys and wrong types are rejected, with the nearest valid key. Renamed keys are still read.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import reprlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from keyframe_asr.errors import RecipeError

ConfigT = TypeVar("ConfigT", bound=BaseModel)


@dataclass(frozen=True)
class Renamed:
    """The current name of a renamed key, and the conversion of old values."""

    name: str
    convert: Callable[[Any], Any] = lambda value: value


class Strict(BaseModel):
    """Base class of configurations: no type conversion, no unknown keys."""

    # strict: pydantic would convert `true` to a number and "12" to an integer
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {}
    """Old names of keys. They are still read, with a note on standard error."""


def parse_config(
    kind: type[ConfigT], data: Any, where: str, overrides: Sequence[str] = ()
) -> ConfigT:
    """Validate `data` as `kind`.

    Args:
        kind: the configuration class.
        data: the parsed YAML.
        where: the file, for messages.
        overrides: `key.sub=value`, applied in order.

    Raises:
        RecipeError: a key or value is invalid; names all problems in one line.
    """
    data = _with_current_names(kind, data, where)
    for override in overrides:
        apply_override(data, override)
        data = _with_current_names(kind, data, f"--set {override}", replace=True)
    if not isinstance(data, dict):
        raise RecipeError(f"{where}: expected a mapping of keys to values, found {data!r}")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(_describe(kind, problem) for problem in error.errors())
        raise RecipeError(f"{where}: {problems}") from None


class RepeatedKeyError(ValueError):
    """A key that occurs twice in one mapping."""

    def __init__(self, key: str, first: int | None = None, second: int | None = None) -> None:
        where = "" if second is None else f"line {second}: "
        before = "" if first is None else f", first in line {first}"
        super().__init__(f"{where}the key '{key}' occurs twice{before}; remove one of them")


class _Loader(yaml.SafeLoader):
    """Loader that also reads `1e-3` as a number, which YAML 1.1 takes as text.

    A key that occurs twice in a mapping is refused, as YAML demands; PyYAML takes the last.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise RepeatedKeyError(key.value, lines[name], line)
            lines[name] = line
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _parse_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader


def read_yaml(path: Path) -> Any:
    """Read a YAML file. Raises `RecipeError` if it cannot be read."""
    try:
        return _parse_yaml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file; give the path of a YAML recipe") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    except RepeatedKeyError as error:
        raise RecipeError(f"{path}: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise RecipeError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise RecipeError(f"{path}: nested too deeply; give a YAML recipe") from None


def parse_json(text: str) -> Any:
    """Parse JSON. Raises `ValueError` if it is invalid, or if a key occurs twice in an object."""
    return json.loads(text, object_pairs_hook=_without_repetition)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RepeatedKeyError(key)
        found[key] = value
    return found


def apply_override(data: Any, override: str) -> None:
    """Set `key.sub=value` in parsed YAML, in place. Raises `RecipeError` for an invalid path."""
    key, separator, text = override.partition("=")
    if not separator:
        raise RecipeError(f"--set {override}: expected key=value, for example seed=2")
    try:
        value = _parse_yaml(text)
    except RepeatedKeyError as error:
        raise RecipeError(f"--set {override}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"--set {override}: '{text}' is not a YAML value; quote it") from None
    node, steps = data, key.split(".")
    for step in steps[:-1]:
        place = _place(node, step, override)
        if node[place] is None:
            node[place] = {}
        node = node[place]
    node[_place(node, steps[-1], override)] = value


def _place(node: Any, step: str, override: str) -> int | str:
    """Index of `step` in a list, or its key in a mapping, created if missing."""
    if isinstance(node, list):
        if not (step.isascii() and step.isdigit()) or int(step) >= len(node):
            raise RecipeError(
                f"--set {override}: '{step}' is not an index of a list of {len(node)} items; "
                "indices start from 0"
            )
        return int(step)
    if isinstance(node, dict):
        node.setdefault(step, None)
        return step
    raise RecipeError(
        f"--set {override}: cannot set key '{step}' of {reprlib.repr(node)}, which is not a mapping"
    )


def _with_current_names(
    kind: type[BaseModel], data: Any, where: str, place: str = "", replace: bool = False
) -> Any:
    """A copy of the data with renamed keys.

    With `replace`, a value under the old name overwrites that under the current name, because it
    was set later; otherwise only one of them may be present.
    """
    if isinstance(data, list):
        return [
            _with_current_names(kind, item, where, f"{place}{number}.", replace)
            for number, item in enumerate(data)
        ]
    if not isinstance(data, dict):
        return data
    found = dict(data)
    old_names = kind.renamed_keys if issubclass(kind, Strict) else {}
    for old, renamed in old_names.items():
        if old not in found:
            continue
        if renamed.name in found and not replace:
            raise RecipeError(
                f"{where}: '{place}{old}' is the old name of '{renamed.name}', which is also set; "
                "remove one of them"
            )
        value = found[renamed.name] = renamed.convert(found.pop(old))
        _note(f"{where}: '{place}{old}' was renamed; read as '{renamed.name}: {value}'")
    for name, field in kind.model_fields.items():
        if name in found:
            for nested in models_in(field.annotation):
                found[name] = _with_current_names(
                    nested, found[name], where, f"{place}{name}.", replace
                )
    return found


@functools.cache  # once, even if a file is read several times
def _note(line: str) -> None:
    print(line, file=sys.stderr)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The configuration classes in an annotation such as `list[StageConfig] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def _describe(kind: type[BaseModel], problem: Any) -> str:
    location, named = _place_of(kind, problem["loc"])
    key = ".".join(str(part) for part in location) or "recipe"
    if problem["type"] == "extra_forbidden":
        names = list(named.model_fields)
        near = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.0)
        return f"unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else "")
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("value_error", "missing"):
        return f"'{key}': {message}"
    return f"'{key}': {message}, found {reprlib.repr(problem['input'])}"


def _place_of(
    kind: type[BaseModel], location: tuple[Any, ...]
) -> tuple[tuple[Any, ...], type[BaseModel]]:
    """The keys that lead to a problem, and the class in which the last of them should be.

    pydantic also names the alternative of a union that it took by its kind.
    """
    keys: list[Any] = []
    choices: list[type[BaseModel]] = [kind]
    for number, part in enumerate(location):
        if isinstance(part, int):
            keys.append(part)
            continue
        if len(choices) > 1:
            choices = [one for one in choices if part in get_args(_kind_of(one))] or choices[:1]
            continue
        keys.append(part)
        inner = choices[0].model_fields.get(part) if choices else None
        found = list(models_in(inner.annotation)) if inner is not None else []
        if number < len(location) - 1 and found:
            choices = found
    return tuple(keys), choices[0]


def _kind_of(choice: type[BaseModel]) -> Any:
    field = choice.model_fields.get("kind")
    return None if field is None else field.annotation
