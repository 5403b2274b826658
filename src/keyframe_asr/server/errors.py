"""Errors as clients of OpenAI's API know them: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from keyframe_asr.audio.suffixes import readable_suffixes
from keyframe_asr.errors import (
    AudioError,
    FormatError,
    KeyframeError,
    ModelError,
    OptionError,
    PackageError,
)
from keyframe_asr.server.service import (
    AccessError,
    OriginError,
    ServerBusyError,
    ServerFullError,
    SlowClientError,
    TooLongError,
    UnknownModelError,
    WorkerError,
)

log = logging.getLogger(__name__)

RETRY_SECONDS = 2
"""After which a client that was refused may try again."""

LONGEST_MESSAGE = 500


@dataclass(frozen=True)
class _Kind:
    """What is told of a class of errors besides the message."""

    status: int
    code: str | None = None
    param: str | None = None


_KINDS: Mapping[type[Exception], _Kind] = {
    AccessError: _Kind(401, "invalid_api_key"),
    OriginError: _Kind(403, "origin_not_allowed"),
    UnknownModelError: _Kind(404, "model_not_found", "model"),
    SlowClientError: _Kind(408, "request_timeout"),
    TooLongError: _Kind(413, "file_too_large", "file"),
    FormatError: _Kind(415, "unsupported_format", "file"),
    AudioError: _Kind(400, "invalid_audio", "file"),
    OptionError: _Kind(400, "invalid_value"),
    ServerBusyError: _Kind(429, "rate_limit_exceeded"),
    ServerFullError: _Kind(503, "server_full"),
    WorkerError: _Kind(500, "recognition_failed"),
    # these tell of files of the server
    ModelError: _Kind(500),
    PackageError: _Kind(500),
    KeyframeError: _Kind(400),
    Exception: _Kind(500),
}

_FIELDS = {"hotwords": "keywords", "segmentation": "chunking_strategy"}
"""Names of fields of requests, by those of options in Python."""

_INTERNAL = "the server could not answer; tell who runs it, whose log says more"


def envelope(error: Exception) -> tuple[int, dict[str, object], dict[str, str]]:
    """Return status, content and headers of the answer to a request that failed."""
    kind = next(_KINDS[one] for one in type(error).__mro__ if one in _KINDS)
    message, param = str(error), kind.param
    if isinstance(error, OptionError):
        name = error.option.partition(".")[0]
        param = _FIELDS.get(name, name)
        message = f"{param}: {error.reason}"
    elif isinstance(error, FormatError):
        message = f"the recording is in a format that is not read here; send {_formats()}"
    elif kind.status == 500 and not isinstance(error, WorkerError):
        log.error("a request failed", exc_info=error)
        message = _INTERNAL
    retry = {"retry-after": str(RETRY_SECONDS)} if kind.status in (429, 503) else {}
    return kind.status, error_body(kind.status, message, param, kind.code), retry


def error_body(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, object]:
    """Return the content of the answer to a request that failed, with a message on one line."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    told = {"message": on_one_line(message, LONGEST_MESSAGE), "type": kind, "param": None}
    return {"error": told | {"param": param and on_one_line(param, 100), "code": code}}


def on_one_line(text: str, longest: int) -> str:
    """Return a text, which a client may have chosen, shortened and without control characters."""
    visible = "".join(
        " " if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") else letter
        for letter in text[: longest + 1]
    )
    return visible if len(visible) <= longest else f"{visible[: longest - 3]}..."


def add_error_handlers(app: FastAPI) -> None:
    """Let an application answer with these errors."""

    @app.exception_handler(KeyframeError)
    async def refused(request: Request, error: Exception) -> JSONResponse:
        del request
        status, content, headers = envelope(error)
        return JSONResponse(content, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Any) -> JSONResponse:
        del request
        first = error.errors()[0]
        name = str(first["loc"][-1])
        content = error_body(400, f"{name}: {first['msg']}", name, "invalid_value")
        return JSONResponse(content, 400)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: Any) -> JSONResponse:
        message, code = str(error.detail), "invalid_form" if error.status_code == 400 else None
        if error.status_code == 404:
            message, code = f"there is no {request.url.path}; see /docs", "unknown_url"
        elif error.status_code == 405:
            message, code = f"{request.method} is not possible here; see /docs", "unknown_method"
        content = error_body(error.status_code, message, None, code)
        return JSONResponse(content, error.status_code, error.headers)


def _formats() -> str:
    """Return the usual formats that are read, in words."""
    usual = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".mp4", ".webm")
    *others, last = (one[1:] for one in usual if one in readable_suffixes())
    return f"{', '.join(others)} or {last}"
