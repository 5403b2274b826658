"""Steps of streams: the next features go in, what has become certain comes out.

They find what the network finds in the whole with the same chunks. What a stream knows is a value
(`FeatureState`): steps make new ones and change none, so that states can be copied, stored, moved,
and joined to batches in any way.

A chunk is computed when it and the look-ahead after it are complete, one chunk of each stream at a
time. So how the features are divided into steps changes nothing. What is computed of the look-ahead
is seen by the chunk, and forgotten. A keyframe goes through encoder 2 when it is certain
(streams/keyframe_commits.py) and the frames that fusion takes around it are there, together with
the others of this chunk. It also sees those that would be keyframes if the utterance ended with the
look-ahead.
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
        edges: (S,) after the kept features, as in `FeatureState`.
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


@dataclass(frozen=True, eq=False)
class _Ready:
    """Keyframes for encoder 2.

    Attributes:
        certain: the next keyframes.
        coming: those that follow, as far as the look-ahead tells.
        windows: frames around all of these.
    """

    certain: list[int]
    coming: list[int]
    windows: Windows


class StreamParts(Protocol):
    """What computes: the network in two parts, for the next chunk of each of several streams."""

    def lower(
        self,
        features: Sequence[Floats],
        kept: Sequence[int],
        edges: Sequence[Floats],
        past: Sequence[EncoderCache],
    ) -> list[LowerOutput]:
        """Subsampling, encoder 1 and the inter-CTC, from features (T, F), T > 0, of each.

        Of these, `kept` belong to the chunk; the others are ahead.
        """
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
        look_ahead: encoder frames after its chunk that a frame sees. Default: that of the model.

    Raises:
        ValueError: the network cannot stream, or a number is too small.
    """

    def __init__(
        self,
        model: StreamedModel,
        parts: StreamParts,
        chunk: int | None = None,
        left_chunks: int | None = None,
        look_ahead: int | None = None,
    ) -> None:
        config = model.config.encoder.streaming
        if config is None:
            raise ValueError("the network cannot stream: model.encoder.streaming is null")
        self.chunk = config.chunk if chunk is None else chunk
        self.left_chunks = config.left_chunks if left_chunks is None else left_chunks
        self.look_ahead = config.look_ahead if look_ahead is None else look_ahead
        if self.chunk < 1 or min(self.left_chunks, self.look_ahead) < 0:
            raise ValueError(
                "chunk must be at least 1, left_chunks and look_ahead at least 0, found "
                f"{self.chunk}, {self.left_chunks} and {self.look_ahead}"
            )
        self._model, self._parts = model, parts
        self._factor = model.config.subsampling.factor
        self._unit, self._ahead = self.chunk * self._factor, self.look_ahead * self._factor
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
        # without look-ahead, the last chunk may have been computed when it was not known to be
        # the last: so it never is, if it is full, and its last frame may be of fewer features
        end = self._unit + 1 if self._ahead else self._unit - self._factor + 1
        needed = [end if ends else self._unit + self._ahead for ends in last]
        while rows := [n for n, state in enumerate(now) if len(state.features) >= needed[n]]:
            self._advance(now, outputs, rows, last=False)
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
        taken = {row: states[row].features[: self._unit + self._ahead] for row in rows}
        active = [row for row in rows if len(taken[row])]
        lower = self._parts.lower(
            [taken[row] for row in active],
            [min(len(taken[row]), self._unit) for row in active],
            [states[row].edges for row in active],
            [states[row].encoder1 for row in active],
        )
        found = dict(zip(active, lower, strict=True))
        ready: dict[int, _Ready] = {}
        for row in rows:
            states[row], log_probs, ready[row] = self._heard(states[row], found.get(row), last=last)
            outputs[row].append(replace(self._nothing(), inter_log_probs=log_probs))
        self._commit(states, outputs, {row: one for row, one in ready.items() if one.certain})
        for row in rows:
            states[row] = replace(states[row], windows=self._still_needed(states[row]))

    def _heard(
        self, state: FeatureState, lower: LowerOutput | None, *, last: bool
    ) -> tuple[FeatureState, Floats, _Ready]:
        """The state after a chunk, its log-probabilities, and keyframes ready for encoder 2."""
        heard, log_probs = state.spikes.frames, _zeros(0, self._model.vocab_size)
        ahead, frames_ahead = log_probs, _zeros(0, self._model.config.encoder.dim)
        if lower is not None:
            log_probs, ahead = lower.log_probs[: self.chunk], lower.log_probs[self.chunk :]
            frames_ahead = lower.frames[self.chunk :]
            state = replace(
                state,
                features=state.features[self._unit :],
                edges=lower.edges,
                encoder1=state.encoder1.followed_by(lower.new.first(self.chunk), self._most_frames),
                windows=state.windows.followed_by(lower.frames[: self.chunk], heard),
            )
        rules = self._model.config.keyframes
        spikes, certain = commit_keyframes(state.spikes, log_probs, rules, last=last)
        if not self._model.keyframes:
            certain = list(range(heard, spikes.frames))
        waiting = (*state.waiting, *certain)
        count = len(waiting)
        if not last:
            count = sum(place + self._offsets[-1] < spikes.frames for place in waiting)
        after = replace(state, spikes=spikes, waiting=waiting[count:], ended=last)
        coming: list[int] = []
        if len(ahead):
            _, coming = commit_keyframes(spikes, ahead, rules, last=True)
            if not self._model.keyframes:
                coming = list(range(spikes.frames, spikes.frames + len(ahead)))
            coming = [*waiting[count:], *coming]
        windows = after.windows.followed_by(frames_ahead, spikes.frames)
        return after, log_probs, _Ready(list(waiting[:count]), coming, windows)

    def _commit(
        self,
        states: list[FeatureState],
        outputs: list[list[FeatureOutput]],
        ready: dict[int, _Ready],
    ) -> None:
        """Run encoder 2 and its head on the keyframes of some rows."""
        given = []
        for row, one in ready.items():
            index, past = [*one.certain, *one.coming], states[row].encoder2
            around, inside = one.windows.around(index, self._offsets)
            positions = np.array(index, dtype=np.int64)
            if self._model.config.keyframes.positions != "source":
                positions = past.frames + np.arange(len(index))
            given.append(UpperInput(around, inside, positions, past))
        upper = self._parts.upper(given) if given else []
        for (row, one), (log_probs, new) in zip(ready.items(), upper, strict=True):
            count = len(one.certain)
            past = states[row].encoder2.followed_by(new.first(count), self._most_keyframes)
            states[row] = replace(states[row], encoder2=past)
            keyframes = np.array(one.certain, dtype=np.int64)
            outputs[row].append(
                replace(self._nothing(), keyframes=keyframes, head_log_probs=log_probs[:count])
            )

    def simulated(self, features: Sequence[Floats]) -> list[FeatureOutput]:
        """What streams of these whole utterances, (T, F) each, give in all."""
        states = [self.start() for _ in features]
        return self.step(states, features, [True] * len(states))[1]

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
