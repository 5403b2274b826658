"""`keyframe transcribe`: recordings in, text out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keyframe_asr.cli.decode_mode import DecodeMode
from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.option_groups import grouped
from keyframe_asr.cli.output_format import Format, printed, write_whole
from keyframe_asr.cli.search_options import SearchOptions
from keyframe_asr.errors import AudioError, KeyframeError
from keyframe_asr.formats import FORMATS, render

if TYPE_CHECKING:
    from keyframe_asr.inference.modes import Mode


@grouped
def transcribe(
    model: str = typer.Argument(help="Model folder, or the name of a shipped model."),
    audio: list[Path] = typer.Argument(help="Recordings: wav, flac, mp3, ogg, opus."),
    output: Format = typer.Option(
        Format.text, "--format", help="All but text have times; json, ctm have confidences too."
    ),
    out: Path | None = typer.Option(None, help="Folder for one file a recording."),
    decode: DecodeMode | None = typer.Option(
        None, "--decode", help="Decode mode. Default: the model's greedy mode."
    ),
    device: str | None = typer.Option(None, help="cpu or cuda. Default: a GPU if there is one."),
    *,
    search: SearchOptions,
) -> None:
    """Write the text of each AUDIO file; a bad one is named and the others go on."""
    if out is not None:
        _check_names(audio)
    from keyframe_asr.inference.loading import load

    recognizer = load(model, device)
    mode: Mode | None = decode.value if decode else None
    options = search.for_modes(recognizer, [mode or recognizer.modes[0]])
    results = recognizer.transcribe_each(audio, mode, options)
    failed = 0
    for path, result in zip(audio, results, strict=True):
        if isinstance(result, KeyframeError):
            failed += 1
            show_error(result)
        elif out is None:
            print(printed(result, output, str(path), len(audio) > 1), end="", flush=True)
        else:
            content = render(result, output, str(path))
            write_whole(out / f"{path.stem}{FORMATS[output].suffix}", content)
    if failed:
        raise typer.Exit(1)


def _check_names(audio: list[Path]) -> None:
    stem, count = Counter(path.stem for path in audio).most_common(1)[0]
    if count > 1:
        raise AudioError(
            f"{count} recordings are named '{stem}' and would be written to one file; "
            "transcribe them one at a time into different folders"
        )
