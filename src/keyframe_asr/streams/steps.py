"""Steps of streams: the next features go in, what has become certain comes out.

They find what the network finds in the whole with the same chunks. What a stream knows is a value
(`FeatureState`): steps make new ones and change none, so that states can be copied, stored, moved,
and joined to batches in any way.

A frame is computed when its chunk is complete, one chunk of each stream at a time. So how the
features are divided into steps changes nothing. A keyframe goes through encoder 2 when it is
certain (streams/keyframe_commits.py) and the frames that fusion takes around it are there. With
peaks, the frame after the keyframe always is: the run has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from keyframe_asr.config.model import ModelConfig
from keyframe_asr.streams.keyframe_commits import Spikes, commit_keyframes
from keyframe_asr.streams.shapes import edge_shapes, fusion_offsets
from keyframe_asr.streams.state import (
    Bools,
    EncoderCache,
    FeatureOutput,
    FeatureState,
    Floats,
    Integers,
    NewFrames,
    Windows,
)


@dataclass(frozen=True)
class StreamedModel:
    """What steps know of a network.

    Attributes:
        config: of the model; it can stream.
        num_mel_bins: size of features.
        vocab_size: number of labels.
        keyframes: encoder 2 sees keyframes only.
        fusion: keyframes are fused with the frames around them.
    """

    config: ModelConfig
    num_mel_bins: int
    vocab_size: int
    keyframes: bool
    fusion: bool


@dataclass(frozen=True, eq=False)
class LowerOutput:
    """What subsampling, encoder 1 and the inter-CTC give for the next frames of a stream.

    Attributes:
        frames: (N, D) of encoder 1, with self-conditioning.
        log_probs: (N, V) of the inter-CTC.
        edges: (S,) as in `FeatureState`.
        new: of encoder 1.
    """

    frames: Floats
    log_probs: Floats
    edges: Floats
    new: NewFrames


@dataclass(frozen=True, eq=False)
class UpperInput:
    """The next frames of encoder 2.

    Attributes:
        around: (K, W, D) frames around each.
        inside: (K, W) which of them exist.
        positions: (K,) of each, for encoder 2.
        past: of encoder 2.
    """

    around: Floats
    inside: Bools
    positions: Integers
    past: EncoderCache


class StreamParts(Protocol):
    """What computes: the network in two parts, for the next chunk of each of several streams."""

    def lower(
        self, features: Sequence[Floats], edges: Sequence[Floats], past: Sequence[EncoderCache]
    ) -> list[LowerOutput]:
        """Subsampling, encoder 1 and the inter-CTC, from features (T, F), T > 0, of each."""
        ...

    def upper(self, given: Sequence[UpperInput]) -> list[tuple[Floats, NewFrames]]:
        """Fusion, encoder 2 and its head, to log-probabilities (K, V), K > 0, of each."""
        ...


class FeatureSteps:
    """A network on streams of features.

    Args:
        model: what it is.
        parts: what computes it.
        chunk: encoder frames per chunk. Default: that of the model.
        left_chunks: chunks before its own that a frame sees. Default: that of the model.

    Raises:
        ValueError: the network cannot stream, or a number is too small.
    """

    def __init__(
        self,
        model: StreamedModel,
        parts: StreamParts,
        chunk: int | None = None,
        left_chunks: int | None = None,
    ) -> None:
        config = model.config.encoder.streaming
        if config is None:
            raise ValueError("the network cannot stream: model.encoder.streaming is null")
        self.chunk = config.chunk if chunk is None else chunk
        self.left_chunks = config.left_chunks if left_chunks is None else left_chunks
        if self.chunk < 1 or self.left_chunks < 0:
            raise ValueError(
                f"chunk must be at least 1 and left_chunks at least 0, found {self.chunk} and "
                f"{self.left_chunks}"
            )
        self._model, self._parts = model, parts
        self._unit = self.chunk * model.config.subsampling.factor
        self._offsets = fusion_offsets(model.config.fusion) if model.fusion else (0,)
        window = model.config.encoder.attention_window
        of_chunks = self.chunk * self.left_chunks
        self._most_frames = of_chunks if window is None else min(window, of_chunks)
        self._most_keyframes = config.left_keyframes if model.keyframes else of_chunks

    def start(self) -> FeatureState:
        """The state before the first features of an utterance."""
        model, encoder = self._model, self._model.config.encoder
        shapes = edge_shapes(model.config.subsampling, model.num_mel_bins)
        return FeatureState(
            features=_zeros(0, model.num_mel_bins),
            edges=_zeros(sum(channels * bins for channels, bins in shapes)),
            encoder1=self._no_frames(encoder.keyframe_layer),
            spikes=Spikes(),
            windows=Windows((), _zeros(0, encoder.dim)),
            waiting=(),
            encoder2=self._no_frames(encoder.layers - encoder.keyframe_layer),
        )

    def step_one(
        self, state: FeatureState, features: Floats, *, last: bool = False
    ) -> tuple[FeatureState, FeatureOutput]:
        """Take the next features (T, F) of one utterance; see `step`."""
        states, outputs = self.step([state], [features], [last])
        return states[0], outputs[0]

    def step(
        self, states: Sequence[FeatureState], features: Sequence[Floats], last: Sequence[bool]
    ) -> tuple[list[FeatureState], list[FeatureOutput]]:
        """Take the next features of several utterances; none changes what another gives.

        Args:
            states: of each utterance.
            features: (T, F) float32 of each, of the model's front end; T may be 0.
            last: whether the utterance ends after these features.

        Raises:
            ValueError: an utterance has ended, the numbers of states, features and `last` differ,
                or log-probabilities are NaN.
        """
        if any(state.ended for state in states):
            raise ValueError("the utterance has ended; start a new state for the next one")
        now, outputs = [], []
        for state, block, _ in zip(states, features, last, strict=True):
            block = np.asarray(block, dtype=np.float32)
            now.append(replace(state, features=np.concatenate((state.features, block))))
            outputs.append([self._nothing()])
        while rows := [n for n, state in enumerate(now) if len(state.features) >= self._unit]:
            self._advance(now, outputs, rows, last=False)
        # apart from the last full chunk, which may have been given before
        self._advance(now, outputs, [n for n, ends in enumerate(last) if ends], last=True)
        # copies: a part of a block would keep all of it in memory
        now = [replace(state, features=state.features.copy()) for state in now]
        return now, [FeatureOutput.joined(several) for several in outputs]

    def _advance(
        self,
        states: list[FeatureState],
        outputs: list[list[FeatureOutput]],
        rows: Sequence[int],
        *,
        last: bool,
    ) -> None:
        """Replace the states of these rows by those after their next chunk, and add its outputs."""
        taken = {row: states[row].features[: self._unit] for row in rows}
        active = [row for row in rows if len(taken[row])]
        lower = self._parts.lower(
            [taken[row] for row in active],
            [states[row].edges for row in active],
            [states[row].encoder1 for row in active],
        )
        found = dict(zip(active, lower, strict=True))
        ready: dict[int, list[int]] = {}
        for row in rows:
            states[row], log_probs, ready[row] = self._heard(states[row], found.get(row), last=last)
            outputs[row].append(replace(self._nothing(), inter_log_probs=log_probs))
        while active := [row for row in rows if ready[row]]:
            self._commit(states, outputs, {row: self._taken(ready[row]) for row in active})
        for row in rows:
            states[row] = replace(states[row], windows=self._still_needed(states[row]))

    def _heard(
        self, state: FeatureState, lower: LowerOutput | None, *, last: bool
    ) -> tuple[FeatureState, Floats, list[int]]:
        """The state after a chunk, its log-probabilities, and keyframes ready for encoder 2."""
        heard, log_probs = state.spikes.frames, _zeros(0, self._model.vocab_size)
        if lower is not None:
            log_probs, windows = lower.log_probs, state.windows
            new = range(heard, heard + len(lower.frames))
            state = replace(
                state,
                features=state.features[self._unit :],
                edges=lower.edges,
                encoder1=state.encoder1.followed_by(lower.new, self._most_frames),
                windows=Windows(
                    (*windows.places, *new), np.concatenate((windows.frames, lower.frames))
                ),
            )
        spikes, certain = commit_keyframes(
            state.spikes, log_probs, self._model.config.keyframes, last=last
        )
        if not self._model.keyframes:
            certain = list(range(heard, spikes.frames))
        waiting = (*state.waiting, *certain)
        count = len(waiting)
        if not last:
            count = sum(place + self._offsets[-1] < spikes.frames for place in waiting)
            if not self._model.keyframes:  # encoder 2 takes the chunks of encoder 1
                count -= count % self.chunk
        after = replace(state, spikes=spikes, waiting=waiting[count:], ended=last)
        return after, log_probs, list(waiting[:count])

    def _taken(self, ready: list[int]) -> list[int]:
        """Take away what goes through encoder 2 at once: keyframes, or a chunk of all frames."""
        count = len(ready) if self._model.keyframes else self.chunk
        taken = ready[:count]
        del ready[:count]
        return taken

    def _commit(
        self,
        states: list[FeatureState],
        outputs: list[list[FeatureOutput]],
        ready: dict[int, list[int]],
    ) -> None:
        """Run encoder 2 and its head on keyframes of some rows."""
        given = []
        for row, index in ready.items():
            around, inside = states[row].windows.around(index, self._offsets)
            past = states[row].encoder2
            positions = np.array(index, dtype=np.int64)
            if self._model.config.keyframes.positions != "source":
                positions = past.frames + np.arange(len(index))
            given.append(UpperInput(around, inside, positions, past))
        upper = self._parts.upper(given)
        for (row, index), (log_probs, new) in zip(ready.items(), upper, strict=True):
            past = states[row].encoder2.followed_by(new, self._most_keyframes)
            states[row] = replace(states[row], encoder2=past)
            keyframes = np.array(index, dtype=np.int64)
            outputs[row].append(
                replace(self._nothing(), keyframes=keyframes, head_log_probs=log_probs)
            )

    def _still_needed(self, state: FeatureState) -> Windows:
        heard = state.spikes.frames
        candidates = state.spikes.candidates(self._model.config.keyframes)
        places = {
            place + offset for place in (*state.waiting, *candidates) for offset in self._offsets
        }
        return state.windows.only(places | set(range(heard + self._offsets[0], heard)))

    def _nothing(self) -> FeatureOutput:
        labels = self._model.vocab_size
        return FeatureOutput(_zeros(0, labels), np.zeros(0, dtype=np.int64), _zeros(0, labels))

    def _no_frames(self, layers: int) -> EncoderCache:
        encoder = self._model.config.encoder
        keys = _zeros(layers, encoder.heads, 0, encoder.dim // encoder.heads)
        return EncoderCache(0, keys, keys, _zeros(layers, encoder.kernel // 2, encoder.dim))


def _zeros(*shape: int) -> Floats:
    return np.zeros(shape, dtype=np.float32)
