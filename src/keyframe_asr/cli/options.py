"""Options shared by several verbs, and dataclasses whose fields become flags."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from keyframe_asr.errors import OptionError
from keyframe_asr.inference.options import DECODE_MODES, DecodeMode

Flags: TypeAlias = Mapping[str, Any]
"""A `typer.Option` for each field of a dataclass that becomes a flag."""

SEARCH_PANEL, OUTPUT_PANEL, COMPUTE_PANEL = "Search", "Output", "Compute"
CLUSTER_PANEL = "Archives and clusters"
PANELS = (None, SEARCH_PANEL, OUTPUT_PANEL, COMPUTE_PANEL, CLUSTER_PANEL)
"""Panels in the order of the help. Common options are in no panel."""


def _search(*names: str, text: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=SEARCH_PANEL)


SEARCH_FLAGS: Flags = {
    "greedy": typer.Option("--greedy", help="Decode without a search and language model: fastest."),
    "language_model": typer.Option(
        help="N-gram language model used instead of the model's own; see keyframe language-model."
    ),
    "no_language_model": typer.Option(
        "--no-language-model", help="Do not use the model's own language model."
    ),
    "hotwords": typer.Option(
        help="File with one word or phrase per line, optionally a tab and its weight."
    ),
    "language": typer.Option(
        help="Language that a pretrained decoder writes, such as en: one of those that the model "
        "was trained on. Default: the one that it hears."
    ),
    "beam": _search(text="Beam width, at most 500. Default: the model's own."),
    "nbest": _search(text="Number of alternative texts per recording."),
    "language_model_weight": _search(
        text="Weight of the language model. Default: the model's own."
    ),
    "token_bonus": _search(
        text="Score added per token; a higher bonus gives longer texts. Default: the model's own."
    ),
    "hotword_weight": _search(text="Score added per token of a hot word."),
    "ctc_weight": _search(
        text="Weight of CTC against the decoder in joint, 0 to 1. Default: the model's own."
    ),
    "decoder_weight": _search(
        text="Weight of the decoder against the head in rescore, 0 to 1. Default: the model's own."
    ),
    "length_normalised": _search(
        "--length-normalised", text="Compare scores per token instead of summed, in attention."
    ),
}
"""Fields of `RecognitionOptions` that every verb with a beam search offers."""


STREAMING_FLAGS: Flags = {
    "simulate_streaming": _search(
        "--simulate-streaming",
        text="Recognise in chunks, as keyframe stream does before an utterance has ended.",
    ),
    "chunk": _search(text="Seconds per chunk of --simulate-streaming. Default: the model's."),
    "look_ahead": _search(
        text="Seconds after it that a chunk of --simulate-streaming sees. Default: the model's."
    ),
}
"""Fields of `RecognitionOptions` with which recordings are recognised as streams are."""

Model: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Model folder, shipped model (english-mandarin, an4, an4-streaming, an4-small, demo, "
        "demo-streaming), folder of keyframe export, or OWNER/NAME on the Hugging Face Hub.",
    ),
]
Manifest: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST",
        help="lhotse cuts (.jsonl.gz) or a table (FILE.tsv, or FILE.tsv:SPLIT for one split).",
    ),
]
Recording: TypeAlias = Annotated[
    Path, typer.Argument(metavar="AUDIO", help="Audio file: wav, flac, mp3, ogg or opus.")
]
Channel: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, help="Channel to read, counted from 0. Default: the mean of all."),
]
DEVICE = typer.Option(help="cpu or cuda. Default: a GPU if there is one.")
Device: TypeAlias = Annotated[str | None, DEVICE]
COMPUTE_FLAGS: Flags = {
    "device": DEVICE,
    "backend": typer.Option(
        help="What computes: onnx for folders of keyframe export, torch for other models; auto is "
        "the one that fits.",
        rich_help_panel=COMPUTE_PANEL,
    ),
    "threads": typer.Option(
        help="CPU threads per process. Default: the cores that other programs leave free, divided "
        "among the processes.",
        rich_help_panel=COMPUTE_PANEL,
    ),
}
"""Fields of `ComputeOptions` for one process."""
JsonFile: TypeAlias = Annotated[
    Path | None, typer.Option("--json", help="Also write the report to this JSON file.")
]
Decode: TypeAlias = Annotated[
    DecodeMode | None, typer.Option(help="Decode mode. Default: the model's best.")
]


class CheckedCommand(TyperCommand):
    """A command that also refuses `nan` for a number with a range, which no comparison does."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line."""
        rest: list[str] = super().parse_args(ctx, args)
        parameters: list[Any] = list(self.get_params(ctx))
        for parameter in parameters:
            value = ctx.params.get(parameter.name)
            least, most = _range(parameter)
            if least is not None and isinstance(value, float) and not math.isfinite(value):
                upper = "" if most is None else f" and at most {most:g}"
                raise typer.BadParameter(
                    f"{value} is not a finite number; give one that is at least {least:g}{upper}",
                    ctx=ctx,
                    param=parameter,
                )
        return rest


def _range(parameter: Any) -> tuple[float | None, float | None]:
    """Return the smallest and the largest value of an option."""
    holder = parameter if hasattr(parameter, "min") else getattr(parameter, "type", None)
    return getattr(holder, "min", None), getattr(holder, "max", None)


def repeated_decode(default: str) -> Any:
    """Return the option `--decode` that takes several modes; `default` is for the help."""
    return typer.Option(
        "--decode",
        metavar=f"<{'|'.join(DECODE_MODES)}>",
        help=f"Decode mode; repeat for several. Default: {default}.",
    )


DecodeModes: TypeAlias = Annotated[list[str] | None, repeated_decode("the model's best")]
AllDecodeModes: TypeAlias = Annotated[list[str] | None, repeated_decode("all of the model's")]


def decode_modes(names: Sequence[str] | None) -> list[DecodeMode]:
    """Return the modes of a repeated option, each once. Raises `typer.BadParameter` for others."""
    for name in names or ():
        if name not in DECODE_MODES:
            raise typer.BadParameter(
                f"'{name}' is not a decode mode; use one of {', '.join(DECODE_MODES)}",
                param_hint="--decode",
            )
    return cast(list[DecodeMode], list(dict.fromkeys(names or ())))


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Flatten a command's dataclass parameters: each field becomes a flag for typer.

    Either the fields are annotated like typer parameters, or the parameter is annotated with
    `Flags`, which select and order the fields. An `OptionError` is reported as wrong usage of the
    flag.
    """
    hints = get_type_hints(command, include_extras=True)
    flat: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        group, flags = _group(hints[name])
        if group is None:
            flat.append(parameter.replace(annotation=hints[name]))
            continue
        members = _members(group, flags)
        flat += members
        groups[name] = (group, [member.name for member in members])

    def call(**given: Any) -> None:
        try:
            for name, (group, members) in groups.items():
                given[name] = group(**{member: given.pop(member) for member in members})
            command(**given)
        except OptionError as error:
            flag = names.get(error.option, error.option)
            raise typer.BadParameter(error.reason, param_hint=flag) from None

    flat.sort(key=_panel)
    names = {parameter.name: _flag(parameter) for parameter in flat}
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in flat]
    call.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call


def _group(hint: Any) -> tuple[Any, Flags | None]:
    """Return the dataclass that a parameter is annotated with, and its `Flags`; None for either."""
    if get_origin(hint) is Annotated:
        kind, *extra = get_args(hint)
        return (kind, extra[0]) if is_dataclass(kind) else (None, None)
    return (hint, None) if is_dataclass(hint) else (None, None)


def _members(group: Any, flags: Flags | None) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    members = inspect.signature(group).parameters
    if flags is None:
        return [member.replace(annotation=hints[name]) for name, member in members.items()]
    for name, hint in hints.items():
        if Path in get_args(hint):  # a file here, also if it may be something else in Python
            hints[name] = Path | None
    return [
        members[name].replace(annotation=Annotated[hints[name], flag])
        for name, flag in flags.items()
    ]


def _info(parameter: inspect.Parameter) -> Any:
    """Return the `typer.Option` or `typer.Argument` of a parameter."""
    if get_origin(parameter.annotation) is Annotated:
        return get_args(parameter.annotation)[1]
    return parameter.default


def _panel(parameter: inspect.Parameter) -> int:
    panel = getattr(_info(parameter), "rich_help_panel", None)
    return PANELS.index(panel) if panel in PANELS else 0


def _flag(parameter: inspect.Parameter) -> str:
    declared = getattr(_info(parameter), "param_decls", None)
    return str(declared[0]) if declared else "--" + parameter.name.replace("_", "-")
