"""Settings of a server: what it serves, whom, and how much of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

from keyframe_asr.errors import OptionError
from keyframe_asr.inference.options import ComputeOptions

MEGABYTE = 1_000_000

_LIMITS: dict[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "max_upload": (0.001, 1e6),
    "max_audio": (0.001, 1e6),
    "max_requests": (1, 100_000),
    "max_streams": (1, 100_000),
    "max_message": (0.001, 1000.0),
    "idle_timeout": (0.1, 1e6),
    "drain_timeout": (0.0, 1e6),
    "workers": (1, 256),
    "stream_workers": (1, 256),
}
"""Smallest and largest value of each number."""


@dataclass(frozen=True)
class ServerSettings:
    """How a server runs.

    Attributes:
        host: address that it listens on; by default only this machine reaches it.
        port: 0 takes a free one.
        api_keys: keys of which a client must show one; none: everybody is served.
        cors_origins: origins whose pages may use the server, such as `https://example.org`.
        max_upload: megabytes of an upload.
        max_audio: seconds of an upload when it is decoded.
        max_requests: uploads in progress; more are refused until one has ended.
        max_streams: open streams; more are refused. Default: 64 for each of the `stream_workers`,
            and 8 if a model reads utterances again.
        max_message: megabytes of a message of a WebSocket.
        idle_timeout: seconds without a byte from a client after which it is disconnected.
        drain_timeout: seconds in which work may end when the server is told to stop.
        workers: processes that recognise uploads.
        stream_workers: processes that recognise streams.
        log_text: log what is recognised; no audio or text is logged otherwise.
        certificate: file of the TLS certificate.
        private_key: file of its private key.

    Raises:
        OptionError: a number is out of range, or two settings contradict each other.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_upload: float = 500.0
    max_audio: float = 4 * 3600.0
    max_requests: int = 32
    max_streams: int | None = None
    max_message: float = 24.0
    idle_timeout: float = 300.0
    drain_timeout: float = 30.0
    workers: int = 1
    stream_workers: int = 1
    log_text: bool = False
    certificate: Path | None = None
    private_key: Path | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise OptionError(
                    name, f"{value} is out of range; give a number from {least:g} to {most:g}"
                )
        for field in fields(self):
            if field.name in ("api_keys", "cors_origins") and "" in getattr(self, field.name):
                raise OptionError(field.name, "is empty; give a value, or leave it out")
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"[a-z-]+://[^/]+", origin):
                raise OptionError(
                    "cors_origins", f"'{origin}' is no origin; give one such as https://example.org"
                )
        if (self.certificate is None) != (self.private_key is None):
            raise OptionError("certificate", "needs private_key, and that needs it; give both")


@dataclass(frozen=True)
class ServedModel:
    """A model that clients may name.

    Attributes:
        name: what clients call it.
        location: folder, or name of a shipped model.
        compute: what computes it.
    """

    name: str
    location: str
    compute: ComputeOptions
