"""What is known of a stream, and what a step of it gives: arrays and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyframe_asr.streams.keyframe_commits import Spikes

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class NewFrames:
    """What the layers of an encoder must keep of N frames.

    Attributes:
        keys: (L, H, N, D / H), rotated.
        values: (L, H, N, D / H).
        inputs: (L, N, D) of the convolutions.
    """

    keys: Floats
    values: Floats
    inputs: Floats

    def first(self, count: int) -> NewFrames:
        """Of the first frames."""
        return NewFrames(self.keys[:, :, :count], self.values[:, :, :count], self.inputs[:, :count])


@dataclass(frozen=True, eq=False)
class EncoderCache:
    """The past of one stream, for L layers.

    Attributes:
        frames: number of frames that the stream has had.
        keys: (L, H, M, D / H) of its last M frames, rotated.
        values: (L, H, M, D / H).
        inputs: (L, reach, D) last inputs of the convolutions, zeros before the start.
    """

    frames: int
    keys: Floats
    values: Floats
    inputs: Floats

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.keys.nbytes + self.values.nbytes + self.inputs.nbytes

    def followed_by(self, new: NewFrames, most: int) -> EncoderCache:
        """The past after the next frames, with the keys of at most `most` frames."""
        reach = self.inputs.shape[1]
        return EncoderCache(
            self.frames + new.keys.shape[2],
            _last(self.keys, new.keys, most, axis=2),
            _last(self.values, new.values, most, axis=2),
            _last(self.inputs, new.inputs, reach, axis=1),
        )


@dataclass(frozen=True, eq=False)
class Windows:
    """Outputs of encoder 1 that keyframes may still need: frames (N, D) at ascending places."""

    places: tuple[int, ...]
    frames: Floats

    def around(self, index: Sequence[int], offsets: Sequence[int]) -> tuple[Floats, Bools]:
        """The frames (K, W, D) at the offsets around each place, and which exist (K, W)."""
        row = {place: number for number, place in enumerate(self.places)}
        rows = [[row.get(place + offset, -1) for offset in offsets] for place in index]
        found = np.array(rows, dtype=np.int64).reshape(len(index), len(offsets))
        inside = found >= 0
        around = self.frames[found.clip(min=0)]
        around[~inside] = 0.0
        return around, inside

    def followed_by(self, frames: Floats, first: int) -> Windows:
        """With the frames (N, D) from this place on."""
        places = range(first, first + len(frames))
        return Windows((*self.places, *places), np.concatenate((self.frames, frames)))

    def only(self, places: Iterable[int]) -> Windows:
        """Those at `places`, as far as they are known."""
        wanted = set(places)
        rows = [number for number, place in enumerate(self.places) if place in wanted]
        return Windows(tuple(self.places[row] for row in rows), self.frames[rows])


@dataclass(frozen=True, eq=False)
class FeatureState:
    """What is known of one utterance so far: a value that is never changed.

    Attributes:
        features: (T, F) features that do not fill a chunk and its look-ahead.
        edges: (S,) last input of each convolution of the subsampling, one after the other.
        encoder1: past of encoder 1.
        spikes: runs of spikes of the inter-CTC.
        windows: outputs of encoder 1 that keyframes may still need.
        waiting: keyframes that are certain, but not yet through encoder 2.
        encoder2: past of encoder 2.
        ended: the utterance has ended.
    """

    features: Floats
    edges: Floats
    encoder1: EncoderCache
    spikes: Spikes
    windows: Windows
    waiting: tuple[int, ...]
    encoder2: EncoderCache
    ended: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = self.features.nbytes + self.edges.nbytes + self.windows.frames.nbytes
        return arrays + self.encoder1.nbytes + self.encoder2.nbytes


@dataclass(frozen=True, eq=False)
class FeatureOutput:
    """What has become certain in a step.

    Attributes:
        inter_log_probs: (N, V) of the inter-CTC, at the next N encoder frames.
        keyframes: (K,) the next keyframes, as encoder frames from the start of the utterance; all
            frames if keyframes are off.
        head_log_probs: (K, V) of the length head at the keyframes; of the final CTC if keyframes
            are off.
    """

    inter_log_probs: Floats
    keyframes: Integers
    head_log_probs: Floats

    @classmethod
    def joined(cls, outputs: Sequence[FeatureOutput]) -> FeatureOutput:
        """What several steps in a row give, at least one."""
        return cls(
            np.concatenate([one.inter_log_probs for one in outputs]),
            np.concatenate([one.keyframes for one in outputs]),
            np.concatenate([one.head_log_probs for one in outputs]),
        )


def _last(past: Floats, new: Floats, most: int, axis: int) -> Floats:
    """The last `most` of both along an axis; a copy, which keeps neither in memory."""
    both = np.concatenate((past, new), axis=axis)
    first = max(0, both.shape[axis] - most)
    kept = both[(slice(None),) * axis + (slice(first, None),)]
    return kept.copy() if first else both
