"""`keyframe stream`: recognise speech while it is spoken, from standard input or a file."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from keyframe_asr.cli.options import COMPUTE_FLAGS, SEARCH_FLAGS, Flags, Model, grouped
from keyframe_asr.errors import AudioError
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions, StreamOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from keyframe_asr.inference.recognizer import Recognizer
    from keyframe_asr.inference.streaming import StreamUpdate

BLOCK_SECONDS = 0.1
"""Duration of the blocks of a file."""

BLOCK_BYTES = 1 << 16
"""Most bytes of standard input that are read at once."""

CONTAINERS = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3"}
"""First bytes of files that are not raw PCM."""

GREY, PLAIN, WHOLE_LINE = "\x1b[90m", "\x1b[0m", "\r\x1b[2K"
"""Escape sequences: colours, and what clears the current line."""

UTTERANCE_FLAGS: Flags = {
    "step": typer.Option(
        help="Seconds of speech after which the current utterance is recognised again, by a model "
        "that does not stream."
    ),
    "silence_after_text": typer.Option(help="Seconds of silence that end an utterance."),
    "silence": typer.Option(
        help="Seconds of silence that end an utterance in which nothing was recognised."
    ),
    "longest": typer.Option(help="Seconds after which an utterance is cut."),
    "chunk": typer.Option(
        help="Seconds that a model that streams reads at a time, instead of reading again: less is "
        "earlier text and more errors. Default: the model's."
    ),
    "look_ahead": typer.Option(
        help="Seconds after it that such a chunk sees: less is earlier text and more errors. "
        "Default: the model's."
    ),
    "partial_decode": typer.Option(
        help="Greedy decode mode of text that is not final: axe, ctc or attention. Default: the "
        "model's greedy mode."
    ),
}

FINAL_FLAGS: Flags = {
    "decode": typer.Option(help="Decode mode of final text. Default: the model's best."),
    **SEARCH_FLAGS,
    "voice_activity": typer.Option(
        "--vad", help="Voice activity detector that finds utterances; auto is loudness."
    ),
    "channel": typer.Option(help="Channel of FILE, counted from 0. Default: the mean of all."),
}


@grouped
def stream(
    model: Model,
    audio: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            help="Audio file, played at its pace; or -, raw PCM from standard input: 16-bit, "
            "little-endian, mono.",
        ),
    ] = "-",
    rate: Annotated[
        int | None,
        typer.Option(help="Sample rate of standard input in hertz. Default: 16000."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Recognise FILE as fast as possible.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object per update.")
    ] = False,
    *,
    utterances: Annotated[StreamOptions, UTTERANCE_FLAGS],
    options: Annotated[RecognitionOptions, FINAL_FLAGS],
    compute: Annotated[ComputeOptions, COMPUTE_FLAGS],
) -> None:
    """Recognise speech while it is spoken.

    On a terminal, text that may still change is grey. Elsewhere, one line is written for each
    utterance that has ended. Ctrl-C ends the stream with its last utterance.

    arecord -q -f S16_LE -r 16000 -t raw | keyframe stream an4 -
    """
    if audio != "-" and rate is not None:
        raise typer.BadParameter("a file has its own rate; leave it out", param_hint="--rate")
    if audio == "-" and sys.stdin.isatty():
        raise AudioError(
            "standard input: is a terminal; name a file, or pipe raw PCM into it, such as that of "
            "arecord -q -f S16_LE -r 16000 -t raw"
        )
    from keyframe_asr.inference.recognizer import load_for

    recognizer = load_for(model, compute)
    chosen = replace(utterances, recognition=options)
    blocks = _blocks_of_input() if audio == "-" else _blocks_of_file(audio, options, fast)
    view: _View = _Json() if as_json else _Terminal() if _on_terminal() else _Lines()
    _recognise(recognizer, blocks, chosen, rate, view)


def _recognise(
    recognizer: Recognizer,
    blocks: Iterator[npt.NDArray[Any]],
    options: StreamOptions,
    rate: int | None,
    view: _View,
) -> None:
    """Recognise blocks until they end, or until Ctrl-C."""
    state = recognizer.start_stream(options, rate)
    block = None
    try:
        for block in blocks:
            state, update = recognizer.accept(state, block)
            block = None
            view.update(state.seconds, update)
    except KeyboardInterrupt:
        if block is not None:  # it came while this block was recognised
            state, update = recognizer.accept(state, block)
            view.update(state.seconds, update)
    view.end(state.seconds, recognizer.last_update(state))


def _blocks_of_file(
    path: str, options: RecognitionOptions, fast: bool
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield blocks of a file at 16 kHz, each when it would have been spoken."""
    from keyframe_asr.audio.reading import opened_recording
    from keyframe_asr.timing import SAMPLE_RATE

    with opened_recording(path, options.channel) as recording:
        begin, heard = time.monotonic(), 0.0
        for block in recording.blocks(BLOCK_SECONDS):
            heard += block.size / SAMPLE_RATE
            if not fast:
                time.sleep(max(0.0, begin + heard - time.monotonic()))
            yield block


def _blocks_of_input() -> Iterator[npt.NDArray[np.int16]]:
    """Yield raw PCM from standard input as it comes; half a sample at its end is left out."""
    import numpy as np

    rest = b""
    first = True
    while data := sys.stdin.buffer.read1(BLOCK_BYTES):  # type: ignore[union-attr]
        data = rest + data
        if first:
            _refuse_container(data)
        first = False
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], dtype="<i2").astype(np.int16)


def _refuse_container(data: bytes) -> None:
    for begin, name in CONTAINERS.items():
        if data.startswith(begin):
            raise AudioError(
                f"standard input: is a {name} file, not raw PCM; name the file instead of -, or "
                "convert it to 16-bit PCM without a header"
            )


def _on_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


class _View(Protocol):
    """Shows a stream."""

    def update(self, seconds: float, update: StreamUpdate) -> None:
        """Show what is new after so many seconds of the stream."""

    def end(self, seconds: float, last: StreamUpdate) -> None:
        """Show what is left at the end."""


class _Lines:
    """One line for each utterance that has ended."""

    def update(self, seconds: float, update: StreamUpdate) -> None:
        del seconds
        for transcript in update.final:
            print(transcript.text, flush=True)

    def end(self, seconds: float, last: StreamUpdate) -> None:
        self.update(seconds, last)


class _Terminal:
    """Lines of final text, and below them the current utterance on a line that is rewritten."""

    def __init__(self) -> None:
        self._shown = ""

    def update(self, seconds: float, update: StreamUpdate) -> None:
        del seconds
        for transcript in update.final:
            self._final(transcript.text)
        width = shutil.get_terminal_size().columns - 1
        partial = _tail(update.partial, width)
        text = _tail(update.text, width - _cells(partial))
        line = f"{text}{GREY}{partial}{PLAIN}" if text or partial else ""
        if line != self._shown:
            print(WHOLE_LINE + line, end="", flush=True)
            self._shown = line

    def end(self, seconds: float, last: StreamUpdate) -> None:
        del seconds
        self._final("".join(one.text for one in last.final))

    def _final(self, text: str) -> None:
        print(WHOLE_LINE + (f"{text}\n" if text else ""), end="", flush=True)
        self._shown = ""


class _Json:
    """One object for each update in which something is new."""

    def __init__(self) -> None:
        self._partial = ""

    def update(self, seconds: float, update: StreamUpdate) -> None:
        if update.committed or update.final or update.partial != self._partial:
            _print_json(seconds, update)
        self._partial = update.partial

    def end(self, seconds: float, last: StreamUpdate) -> None:
        self.update(seconds, last)


def _print_json(seconds: float, update: StreamUpdate) -> None:
    told = {"seconds": round(seconds, 3), **update.to_dict()}
    print(json.dumps(told, ensure_ascii=False), flush=True)


def _cells(text: str) -> int:
    """Return the columns of a terminal that a text takes; a Chinese character takes two."""
    from rich.cells import cell_len

    return cell_len(text)


def _tail(text: str, width: int) -> str:
    """Return the end of a text that fits into so many columns."""
    while text and _cells(text) > width:
        text = text[1:]
    return text
