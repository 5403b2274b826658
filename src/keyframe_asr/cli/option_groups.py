"""Many options of a command as dataclasses: typer itself wants one parameter for each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer wants it: each field of its parameters that are dataclasses an option.

    The fields are annotated like typer's own parameters and have defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    flat: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if not is_dataclass(hints[name]):
            flat.append(parameter.replace(annotation=hints[name]))
            continue
        fields = get_type_hints(hints[name], include_extras=True)
        members = inspect.signature(hints[name]).parameters
        flat += [one.replace(annotation=fields[key]) for key, one in members.items()]
        groups[name] = (hints[name], list(members))

    def call(**given: Any) -> None:
        for name, (group, members) in groups.items():
            given[name] = group(**{member: given.pop(member) for member in members})
        command(**given)

    keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in flat]
    call.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in flat}
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call
