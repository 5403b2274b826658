"""A recogniser's network as exported graphs, on ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from keyframe_asr.config.model import PretrainedDecoderConfig
from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.decoding.arrays import Floats, Integers
from keyframe_asr.decoding.decoder import MOST_LOGITS, TokenTree
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.network import CANNOT_STREAM, EncodedBatch
from keyframe_asr.io.model_location import GRAPH_SUFFIX
from keyframe_asr.io.threads import openmp_threads, usable_cores
from keyframe_asr.runtime.decoder import DecoderArrays, ExportedDecoder
from keyframe_asr.runtime.keyframes import select_keyframes
from keyframe_asr.runtime.network import ExportedNetwork, open_network
from keyframe_asr.runtime.streaming import STREAM_GRAPHS, ExportedStreams
from keyframe_asr.timing import encoder_frame_seconds


class OnnxNetwork:
    """See `RecognitionNetwork`.

    Args:
        exported: the graphs.
    """

    def __init__(self, exported: ExportedNetwork) -> None:
        self.exported = exported
        self._config = exported.config

    @property
    def device_name(self) -> str:
        """See `RecognitionNetwork`."""
        return "cpu"

    @property
    def threads(self) -> int:
        """See `RecognitionNetwork`."""
        return self.exported.sessions.threads or usable_cores()

    @property
    def frame_seconds(self) -> float:
        """See `RecognitionNetwork`."""
        return encoder_frame_seconds(self._config.model.subsampling.factor)

    @property
    def keyframes_enabled(self) -> bool:
        """See `RecognitionNetwork`."""
        return self._config.keyframes

    @property
    def blank_threshold(self) -> float | None:
        """See `RecognitionNetwork`."""
        return self._config.model.keyframes.blank_threshold

    @property
    def decoder_kind(self) -> Literal["own", "pretrained"] | None:
        """See `RecognitionNetwork`."""
        if self._config.model.decoder is None:
            return None
        return "own" if self._config.model.pretrained_decoder is None else "pretrained"

    def encode(self, features: Sequence[Floats], *, pre_encoded: bool = False) -> EncodedBatch:
        """See `RecognitionNetwork`."""
        floats = [np.asarray(one, dtype=np.float32) for one in features]
        found = self.exported.encode(floats, pre_encoded=pre_encoded)
        return EncodedBatch(
            inter_log_probs=found.inter_log_probs,
            frame_lengths=found.frame_lengths,
            keyframes=found.keyframes.index,
            keyframe_lengths=found.keyframes.lengths,
            memory=found.memory,
            head_log_probs=found.head_log_probs,
            attended_lengths=found.attended_lengths,
            attended=_Attended(found.attended, found.attended_lengths),
            places=np.arange(len(found.attended_lengths)),
        )

    def select_keyframes(self, log_probs: Floats, lengths: Integers) -> tuple[Integers, Integers]:
        """See `RecognitionNetwork`."""
        floats = np.asarray(log_probs, dtype=np.float32)
        found = select_keyframes(floats, lengths, self._config.model.keyframes)
        return found.index, found.lengths

    def decoder(self, encoded: EncodedBatch) -> OnnxDecoder:
        """See `RecognitionNetwork`."""
        decoder, attended = self.exported.decoder, encoded.attended
        assert decoder is not None and isinstance(attended, _Attended)
        chosen = _Attended(attended.vectors[encoded.places], attended.lengths[encoded.places])
        return OnnxDecoder(decoder, chosen, self._config.model.pretrained_decoder)

    @property
    def streaming(self) -> StreamingConfig | None:
        """See `RecognitionNetwork`."""
        return self._config.model.encoder.streaming

    def stream(self, chunk: int | None = None, look_ahead: int | None = None) -> ExportedStreams:
        """See `RecognitionNetwork`."""
        if self.streaming is None:
            raise ModelError(CANNOT_STREAM)
        sessions = self.exported.sessions
        for name in STREAM_GRAPHS:
            if not sessions.has(name):
                raise ModelError(
                    f"{sessions.folder}: contains no {name}{GRAPH_SUFFIX}, so it cannot stream; "
                    "write them again with keyframe export"
                )
        return ExportedStreams(self._config, sessions, chunk, look_ahead=look_ahead)


@dataclass(frozen=True)
class _Attended:
    """Vectors (B, M, D) that the decoder attends to, and their numbers (B,)."""

    vectors: Floats
    lengths: Integers


class OnnxDecoder:
    """See `BatchDecoder`.

    Args:
        decoder: its graphs.
        attended: what it attends to.
        pretrained: its configuration, if it is pretrained.
    """

    def __init__(
        self,
        decoder: ExportedDecoder,
        attended: _Attended,
        pretrained: PretrainedDecoderConfig | None,
    ) -> None:
        self._decoder, self._attended = decoder, attended
        self._architecture = None if pretrained is None else pretrained.architecture

    @property
    def vocab_size(self) -> int:
        """See `BatchDecoder`."""
        return self._decoder.vocab_size

    @property
    def longest(self) -> int | None:
        """See `BatchDecoder`."""
        if self._architecture is None:
            return None
        return int(self._architecture["max_target_positions"])

    def start(self, rows: Integers) -> OnnxState:
        """See `BatchDecoder`."""
        return OnnxState(self._decoder, self._state(rows))

    def score(self, rows: Integers, prefix: Integers, following: Integers) -> Floats:
        """See `BatchDecoder`."""
        count, size = prefix.shape
        at_once = max(1, MOST_LOGITS // max(1, size * self.vocab_size))
        found = np.zeros((count, size), dtype=np.float32)
        for first in range(0, count, at_once):
            part = slice(first, first + at_once)
            log_probs, _ = self._decoder.read(prefix[part], self._state(rows[part]))
            wanted = following[part][..., None]
            found[part] = np.take_along_axis(log_probs, wanted, axis=2)[..., 0]
        return found

    def score_tree(self, row: int, tree: TokenTree) -> Floats:
        """See `BatchDecoder`."""
        vectors = self._attended.vectors[row, : self._attended.lengths[row]]
        log_probs = self._decoder.read_tree(tree.tokens, tree.before, vectors)
        chosen: Floats = log_probs[tree.nodes, tree.following]
        return chosen

    def _state(self, rows: Integers) -> DecoderArrays:
        """State before the first token; hypotheses of an utterance share what they attend to."""
        utterances, place = np.unique(rows, return_inverse=True)
        vectors, lengths = self._attended.vectors[utterances], self._attended.lengths[utterances]
        start = self._decoder.start(vectors, lengths)
        return start.select(place.reshape(-1).astype(np.int64))


def open_onnx(folder: Path, device: str | None = None, threads: int | None = None) -> OnnxNetwork:
    """Open the graphs of an export.

    Args:
        folder: that `keyframe export` wrote.
        device: "cpu", or None.
        threads: for one graph. Default: as many as torch would take.

    Raises:
        ModelError: the folder is not an export, or another device is asked for.
        RecipeError: `config.yaml` contains an invalid key or value.
    """
    if device not in (None, "cpu"):
        raise ModelError(
            f"device '{device}' cannot be used: the graphs of {folder} run on the CPU; use cpu, or "
            "a model with weights and back end torch"
        )
    return OnnxNetwork(open_network(folder, threads or openmp_threads(os.environ)))


@dataclass(frozen=True)
class OnnxState:
    """See `keyframe_asr.decoding.decoder.DecoderState`."""

    decoder: ExportedDecoder
    state: DecoderArrays

    def step(self, tokens: Integers) -> tuple[Floats, OnnxState]:
        """See `DecoderState`."""
        log_probs, following = self.decoder.step(tokens, self.state)
        return log_probs, OnnxState(self.decoder, following)

    def select(self, rows: Integers) -> OnnxState:
        """See `DecoderState`."""
        return OnnxState(self.decoder, self.state.select(rows))

    def select_past(self, rows: Integers) -> OnnxState:
        """See `DecoderState`."""
        return OnnxState(self.decoder, self.state.select_past(rows))
