"""What a server measures, for Prometheus."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from keyframe_asr.results import Transcript

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
_FACTORS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

OTHER = "other"
"""Label of routes that do not exist, so that clients cannot add labels."""


class Metrics:
    """The measurements of one server.

    Attributes:
        registry: of all of them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "keyframe_requests",
            "Requests by route and status.",
            ["route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "keyframe_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._audio = Counter(
            "keyframe_audio_seconds",
            "Audio that was recognised.",
            ["model", "kind"],
            registry=self.registry,
        )
        self._factor = Histogram(
            "keyframe_real_time_factor",
            "Time to answer by the duration of the upload.",
            ["model"],
            buckets=_FACTORS,
            registry=self.registry,
        )
        self._in_progress = Gauge(
            "keyframe_requests_in_progress",
            "Requests that are being answered.",
            registry=self.registry,
        )

    def begun(self) -> None:
        """Note that a request has come."""
        self._in_progress.inc()

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Note that a request was answered."""
        self._in_progress.dec()
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def recognised(self, model: str, transcript: Transcript, seconds: float) -> None:
        """Note that an upload was recognised in so many seconds."""
        self._audio.labels(model, "upload").inc(transcript.duration)
        if transcript.duration:
            self._factor.labels(model).observe(seconds / transcript.duration)

    def heard(self, model: str, seconds: float) -> None:
        """Note that so much more of a stream was recognised."""
        self._audio.labels(model, "stream").inc(max(0.0, seconds))

    def watch(self, read: Callable[[], Iterable[tuple[str, str, dict[str, float]]]]) -> None:
        """Ask for values whenever they are read.

        Args:
            read: returns name, help text, and the value of each process or "" for each gauge.
        """
        self.registry.register(_Watched(read))


class _Watched:
    """Gauges whose values are asked for."""

    def __init__(self, read: Callable[[], Iterable[tuple[str, str, dict[str, float]]]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Return the gauges."""
        for name, text, values in self._read():
            labels = [] if set(values) <= {""} else ["process"]
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for label, value in values.items():
                gauge.add_metric([label] if labels else [], value)
            yield gauge

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the gauges are known when they are read."""
        return []


def resident_bytes(pid: int | None) -> float:
    """Return the memory of a process; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
        return float(pages) * os.sysconf("SC_PAGESIZE")
    return 0.0
