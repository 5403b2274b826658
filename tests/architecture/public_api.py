"""Every name and flag that others may build on, as lines of text.

`python tests/architecture/public_api.py` rewrites `tests/golden/public_api.txt`; its diff is what
a change does to the project's users.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "public_api.txt"
MODULES = (
    "keyframe_asr",
    "keyframe_asr.results",
    "keyframe_asr.errors",
    "keyframe_asr.losses",
    "keyframe_asr.model.keyframes",
)


def public_api() -> list[str]:
    """Python names with their signatures, then the commands with their flags."""
    lines = []
    for module in MODULES:
        lines += [f"python {line}" for line in _python_names(module)]
    return lines + [f"command {line}" for line in _command_flags()]


def commands() -> dict[str, Any]:
    """The verbs of the command line, each with its parameters."""
    import typer.main

    from keyframe_asr.cli.main import app

    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def flags_of(command: Any) -> list[str]:
    """Arguments in capitals, options as they are typed."""
    flags: list[str] = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            flags.append(parameter.name.upper())
        else:
            flags += [*parameter.opts, *parameter.secondary_opts]
    return flags


def _python_names(name: str) -> list[str]:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None) or [
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == name
    ]
    return [f"{name}.{key}{_shape(getattr(module, key))}" for key in sorted(names)]


def _shape(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return f"({', '.join(field.name for field in dataclasses.fields(value))})"
    if inspect.isfunction(value):
        parts = []
        for parameter in inspect.signature(value).parameters.values():
            default = parameter.default
            text = "" if default is parameter.empty else f"={default!r}"
            star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
            keyword = "keyword " if parameter.kind is parameter.KEYWORD_ONLY else ""
            parts.append(f"{keyword}{star.get(parameter.kind, '')}{parameter.name}{text}")
        return f"({', '.join(parts)})"
    return ""


def _command_flags() -> list[str]:
    return [f"{verb} {' '.join(flags_of(command))}" for verb, command in sorted(commands().items())]


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(public_api()) + "\n", encoding="utf-8")
