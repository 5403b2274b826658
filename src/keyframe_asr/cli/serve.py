"""`keyframe serve`: a server for recordings and live speech."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Annotated

import typer

from keyframe_asr.cli.options import COMPUTE_FLAGS, COMPUTE_PANEL, Flags, grouped
from keyframe_asr.errors import OptionError
from keyframe_asr.inference.options import ComputeOptions
from keyframe_asr.server.settings import ServedModel, ServerSettings

LIMITS_PANEL = "Limits"


def _limit(text: str) -> object:
    return typer.Option(help=text, rich_help_panel=LIMITS_PANEL)


SERVER_FLAGS: Flags = {
    "host": typer.Option(
        help="Address to listen on; 0.0.0.0 lets other machines in. Default: this machine only."
    ),
    "port": typer.Option(help="Port to listen on; 0 takes a free one."),
    "certificate": typer.Option(help="File of the TLS certificate."),
    "private_key": typer.Option(help="File of its private key."),
    "log_text": typer.Option("--log-text", help="Log what is recognised."),
    "max_upload": _limit("Megabytes of an upload."),
    "max_audio": _limit("Seconds of an upload when it is decoded."),
    "max_requests": _limit("Uploads in progress; more are refused with status 429."),
    "max_streams": _limit(
        "Open streams; more are refused with status 503. Default: 64 for each of --stream-workers, "
        "and 8 if a model does not stream."
    ),
    "max_message": _limit("Megabytes of a message of a WebSocket."),
    "idle_timeout": _limit("Seconds without a byte after which a client is disconnected."),
    "drain_timeout": _limit("Seconds in which work may end when the server is told to stop."),
    "workers": typer.Option(
        help="Processes that recognise uploads.", rich_help_panel=COMPUTE_PANEL
    ),
    "stream_workers": typer.Option(
        help="Processes that recognise streams.", rich_help_panel=COMPUTE_PANEL
    ),
}


@grouped
def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Models as keyframe transcribe takes them; NAME=MODEL gives one another name for "
            "clients. The first is the default.",
        ),
    ],
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            envvar="KEYFRAME_API_KEYS",
            help="Key that clients must show; repeat for several. Others see it in the list of "
            "processes, but not in the environment.",
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin whose pages may use the server, such as https://example.org; repeat for "
            "several."
        ),
    ] = None,
    *,
    settings: Annotated[ServerSettings, SERVER_FLAGS],
    compute: Annotated[ComputeOptions, COMPUTE_FLAGS],
) -> None:
    """Serve models to applications, and a page with a microphone.

    Applications written for OpenAI's transcription API work with it: POST /v1/audio/transcriptions,
    and /v1/realtime for live speech.

    keyframe serve english-mandarin an4
    """
    from keyframe_asr.server.running import serve as run

    try:
        settings = replace(
            settings, api_keys=tuple(api_key or ()), cors_origins=tuple(cors_origin or ())
        )
    except OptionError as error:  # the flags give one of several
        raise OptionError(error.option.removesuffix("s"), error.reason) from None
    served = [_served(model, compute) for model in models]
    names = [model.name for model in served]
    for name in names:
        if names.count(name) > 1:
            raise typer.BadParameter(
                f"two models are named {name}; give one another name: NAME=MODEL",
                param_hint="MODEL",
            )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # tells of each bad form

    def ready(address: str) -> None:
        print(f"{', '.join(names)}: {address} (Ctrl-C stops)", flush=True)

    run(served, settings, ready)


def _served(given: str, compute: ComputeOptions) -> ServedModel:
    """Return the model of an argument. Raises `ModelError` if there is none."""
    from keyframe_asr.config.model import load_model_folder_config
    from keyframe_asr.io.model_location import CONFIG_FILE, find_model

    name, separator, location = given.rpartition("=")
    if separator and not name:
        raise typer.BadParameter(
            f"{given} has no name before =; give NAME=MODEL", param_hint="MODEL"
        )
    folder = find_model(location)
    if not name:  # a path is nothing to clients
        is_path = os.path.isdir(location)
        name = load_model_folder_config(folder / CONFIG_FILE).name if is_path else location
    return ServedModel(name, os.fspath(folder), compute)
