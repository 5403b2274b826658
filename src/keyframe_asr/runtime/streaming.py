"""An exported network on streams of features (streams/steps.py has the logic)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.runtime.sessions import Sessions
from keyframe_asr.streams.state import EncoderCache, Floats, NewFrames
from keyframe_asr.streams.steps import FeatureSteps, LowerOutput, StreamedModel, UpperInput

STREAM_GRAPHS = ("stream_encoder", "stream_keyframes")


class ExportedStreams(FeatureSteps):
    """The graphs of an exported model on streams of features.

    Args:
        config: of the model; it can stream.
        sessions: its graphs, with `STREAM_GRAPHS`.
        chunk: encoder frames per chunk. Default: that of the model.
        left_chunks: chunks before its own that a frame sees. Default: that of the model.
        look_ahead: encoder frames after its chunk that a frame sees. Default: that of the model.

    Raises:
        ValueError: the model cannot stream, or a number is too small.
    """

    def __init__(
        self,
        config: ModelFolderConfig,
        sessions: Sessions,
        chunk: int | None = None,
        left_chunks: int | None = None,
        look_ahead: int | None = None,
    ) -> None:
        model = StreamedModel(
            config.model,
            config.features.num_mel_bins,
            config.vocab_size,
            config.keyframes,
            config.fusion,
        )
        super().__init__(model, ExportedParts(sessions), chunk, left_chunks, look_ahead)


class ExportedParts:
    """See `StreamParts`; one stream after the other.

    Args:
        sessions: the graphs.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def lower(
        self,
        features: Sequence[Floats],
        kept: Sequence[int],
        edges: Sequence[Floats],
        past: Sequence[EncoderCache],
    ) -> list[LowerOutput]:
        """See `StreamParts`."""
        found = []
        for one, count, edge, cache in zip(features, kept, edges, past, strict=True):
            frames, log_probs, following, *new = self._sessions.run(
                "stream_encoder",
                features=one,
                kept=np.array([count]),
                edges=edge,
                first=np.array([cache.frames]),
                **_of_past(cache),
            )
            found.append(LowerOutput(frames, log_probs, following, NewFrames(*new)))
        return found

    def upper(self, given: Sequence[UpperInput]) -> list[tuple[Floats, NewFrames]]:
        """See `StreamParts`."""
        found = []
        for one in given:
            log_probs, *new = self._sessions.run(
                "stream_keyframes",
                around=one.around,
                inside=one.inside,
                positions=one.positions,
                **_of_past(one.past),
            )
            found.append((log_probs, NewFrames(*new)))
        return found


def _of_past(cache: EncoderCache) -> dict[str, Any]:
    return {"keys": cache.keys, "values": cache.values, "inputs": cache.inputs}
