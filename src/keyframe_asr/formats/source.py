"""Where a transcript comes from: a recording, and what recognised it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """The recording of a transcript, and what recognised it.

    Attributes:
        name: of the recording, usually its path; `audio` in JSON.
        id: the file field of CTM; None is the name without folder and suffix.
        channel: of the recording, counted from 1, for CTM; 1 also if all were averaged.
        settings: further fields of JSON, such as the model and the decode mode.
    """

    name: str
    id: str | None = None
    channel: int = 1
    settings: Mapping[str, object] = field(default_factory=dict)
