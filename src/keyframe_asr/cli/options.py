"""Options of several verbs, and dataclasses of options as the flags of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast, get_args, get_origin, get_type_hints

import typer

from keyframe_asr.errors import OptionError
from keyframe_asr.inference.options import DECODE_MODES, DecodeMode

Flags: TypeAlias = Mapping[str, Any]
"""What `typer.Option` gives for each field of a dataclass that is to be a flag."""

SEARCH_PANEL, OUTPUT_PANEL, COMPUTING_PANEL = "Search", "Output", "Computing"
PANELS = (None, SEARCH_PANEL, OUTPUT_PANEL, COMPUTING_PANEL)
"""In the order of the help; options of no panel are the common ones."""


def _search(*names: str, text: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=SEARCH_PANEL)


SEARCH_FLAGS: Flags = {
    "language_model": typer.Option(help="ARPA file (see keyframe language-model)."),
    "hotwords": typer.Option(
        help="File with a word or phrase per line, optionally a tab and its weight."
    ),
    "beam": _search(text="Width of the search. Default: 10; greedy in axe and ctc."),
    "nbest": _search(text="Texts wanted of each recording."),
    "language_model_weight": _search(text="Weight of the language model."),
    "token_bonus": _search(text="Added for every token: more gives longer texts."),
    "hotword_weight": _search(text="Bonus for each token of a hot word."),
    "ctc_weight": _search(text="Weight of CTC against the decoder, 0 to 1 (joint)."),
    "decoder_weight": _search(text="Weight of the decoder, not the head, 0 to 1 (rescore)."),
    "length_normalised": _search(
        "--length-normalised", text="Compare scores per token instead of summed (attention)."
    ),
}
"""Fields of `RecognitionOptions` for every verb that searches."""


Model: TypeAlias = Annotated[
    str, typer.Argument(help="Model folder, or the name of a shipped model.")
]
Manifest: TypeAlias = Annotated[
    str, typer.Argument(help="lhotse cuts (.jsonl.gz) or table (.tsv, FILE.tsv:SPLIT).")
]
Recording: TypeAlias = Annotated[Path, typer.Argument(help="Recording: wav, flac, mp3, ogg, opus.")]
Device: TypeAlias = Annotated[
    str | None, typer.Option(help="cpu or cuda. Default: a GPU if there is one.")
]
JsonFile: TypeAlias = Annotated[
    Path | None, typer.Option("--json", help="Write the report here as well.")
]
Decode: TypeAlias = Annotated[
    DecodeMode | None, typer.Option(help="Decode mode. Default: the model's greedy mode.")
]


def _repeated_decode(default: str) -> Any:
    return typer.Option(
        "--decode",
        metavar=f"<{'|'.join(DECODE_MODES)}>",
        help=f"Decode mode; may be repeated. Default: {default}.",
    )


DecodeModes: TypeAlias = Annotated[list[str] | None, _repeated_decode("the model's greedy mode")]
AllDecodeModes: TypeAlias = Annotated[list[str] | None, _repeated_decode("all that the model has")]


def decode_modes(names: Sequence[str] | None) -> list[DecodeMode]:
    """The modes of a repeated option, each once. Raises `typer.BadParameter` for other names."""
    for name in names or ():
        if name not in DECODE_MODES:
            raise typer.BadParameter(
                f"there is no '{name}'; use one of {', '.join(DECODE_MODES)}", param_hint="--decode"
            )
    return cast(list[DecodeMode], list(dict.fromkeys(names or ())))


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer wants it: each field of its parameters that are dataclasses a flag.

    The fields are annotated like typer's own parameters, or the parameter is annotated with
    `Flags`, which then say which fields are flags and in which order. An `OptionError` becomes
    wrong usage that names the flag.
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
        groups[name] = (group, [one.name for one in members])

    def call(**given: Any) -> None:
        try:
            for name, (group, members) in groups.items():
                given[name] = group(**{member: given.pop(member) for member in members})
            command(**given)
        except OptionError as error:
            flag = names.get(error.option, error.option)
            raise typer.BadParameter(error.reason, param_hint=flag) from None

    flat.sort(key=_panel)
    names = {one.name: _flag(one) for one in flat}
    keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in flat]
    call.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in flat}
    call.__name__, call.__doc__ = command.__name__, command.__doc__
    return call


def _group(hint: Any) -> tuple[Any, Flags | None]:
    """The dataclass that a parameter is annotated with, if any, and its flags if given apart."""
    if get_origin(hint) is Annotated:
        kind, *extra = get_args(hint)
        return (kind, extra[0]) if is_dataclass(kind) else (None, None)
    return (hint, None) if is_dataclass(hint) else (None, None)


def _members(group: Any, flags: Flags | None) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    members = inspect.signature(group).parameters
    if flags is None:
        return [one.replace(annotation=hints[name]) for name, one in members.items()]
    return [
        members[name].replace(annotation=Annotated[hints[name], flag])
        for name, flag in flags.items()
    ]


def _info(parameter: inspect.Parameter) -> Any:
    """What typer is told of a parameter."""
    if get_origin(parameter.annotation) is Annotated:
        return get_args(parameter.annotation)[1]
    return parameter.default


def _panel(parameter: inspect.Parameter) -> int:
    panel = getattr(_info(parameter), "rich_help_panel", None)
    return PANELS.index(panel) if panel in PANELS else 0


def _flag(parameter: inspect.Parameter) -> str:
    declared = getattr(_info(parameter), "param_decls", None)
    return str(declared[0]) if declared else "--" + parameter.name.replace("_", "-")
