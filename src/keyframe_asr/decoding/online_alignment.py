"""Viterbi alignment of long texts, frame by frame, in bounded memory.

The states are those of `decoding.viterbi` for a CTC. Two things bound the work per frame and the
memory. Only a band of states around the best one is kept; a shorter text is always searched whole.
And as soon as all paths in the band share their beginning (Šrámek et al., "The on-line Viterbi
algorithm", 2007), that beginning is final, and only its tokens are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keyframe_asr.text.tokenizer import BLANK

Floats = npt.NDArray[np.float32]

BAND = 1024
"""States in the band: 512 tokens, some two minutes of speech."""

TRACED_FRAMES = 500
"""Frames between two searches for what all paths share."""


@dataclass(frozen=True)
class TokenPath:
    """The most probable path of a text.

    Attributes:
        positions: (L,) frame of each token, the most probable if several emit it.
        confidences: (L,) its probability there.
        lost: (T,) log-probability that each frame loses against its most probable label: 0 where
            the path says what the model hears.
        speaks: (T,) True where the path emits a token, False for blank.
    """

    positions: npt.NDArray[np.int64]
    confidences: npt.NDArray[np.float64]
    lost: Floats
    speaks: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Frames:
    """Some frames in the band: first state, and step back, emission (T, W) and best label (T,)."""

    first: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int8]
    emitted: Floats
    best: Floats

    def __add__(self, other: _Frames) -> _Frames:
        return _Frames(
            *(
                np.concatenate((getattr(self, name), getattr(other, name)))
                for name in ("first", "steps", "emitted", "best")
            )
        )

    def since(self, frame: int) -> _Frames:
        return _Frames(
            self.first[frame:], self.steps[frame:], self.emitted[frame:], self.best[frame:]
        )


class OnlineAlignment:
    """Aligns a token sequence with log-probabilities that arrive in blocks.

    Args:
        tokens: (L,) ids without blank, at least one.
        band: number of states in the band.
    """

    def __init__(self, tokens: npt.NDArray[np.int64], band: int = BAND) -> None:
        count = tokens.size
        self._labels = np.full(2 * count + 1, BLANK, dtype=np.int64)
        self._labels[1::2] = tokens
        self._may_skip = np.zeros(self._labels.size, dtype=np.bool_)
        self._may_skip[3::2] = tokens[1:] != tokens[:-1]
        self._width = min(band, self._labels.size)
        self._first = 0
        self._scores = np.full(self._width, -np.inf)
        self._scores[0] = 0.0  # initial state; leads to the first blank or the first token
        self._history: _Frames | None = None
        self._peaks = np.full(count, -np.inf)
        self._positions = np.zeros(count, dtype=np.int64)
        self._lost: list[Floats] = []
        self._speaks: list[npt.NDArray[np.bool_]] = []
        self._final = 0  # frames whose state is final

    def push(self, log_probs: Floats) -> None:
        """Add the next frames (T, V)."""
        for start in range(0, len(log_probs), TRACED_FRAMES):
            block = self._searched(log_probs[start : start + TRACED_FRAMES])
            self._history = block if self._history is None else self._history + block
            self._settle()

    def finish(self) -> TokenPath | None:
        """Return the best path; None if the tokens do not fit into the frames, or the band."""
        ends = np.array([self._labels.size - 2, self._labels.size - 1]) - self._first
        scores = [self._scores[end] if 0 <= end < self._width else -np.inf for end in ends]
        if self._history is None or max(scores) == -np.inf:
            return None
        state = int(ends[int(np.argmax(scores))]) + self._first
        self._keep(self._history, _traced(self._history, np.array([state]))[:, 0])
        return TokenPath(
            self._positions,
            np.exp(self._peaks),
            np.concatenate(self._lost),
            np.concatenate(self._speaks),
        )

    def _searched(self, log_probs: Floats) -> _Frames:
        """Extend the paths by frames (T, V)."""
        shape = (len(log_probs), self._width)
        first = np.empty(len(log_probs), dtype=np.int64)
        steps, emitted = np.empty(shape, dtype=np.int8), np.empty(shape, dtype=np.float32)
        candidates = np.full((3, self._width), -np.inf)
        for frame, scores in enumerate(log_probs):
            self._move()
            band = slice(self._first, self._first + self._width)
            candidates[0] = self._scores
            candidates[1, 1:] = self._scores[:-1]
            candidates[2, 2:] = np.where(self._may_skip[band][2:], self._scores[:-2], -np.inf)
            step = candidates.argmax(axis=0)
            first[frame], steps[frame] = self._first, step
            emitted[frame] = scores[self._labels[band]]
            self._scores = candidates[step, np.arange(self._width)] + emitted[frame]
            self._scores -= self._scores.max()  # keeps the precision of long sums
        return _Frames(first, steps, emitted, log_probs.max(axis=1))

    def _move(self) -> None:
        """Move the band up so that the best state is at its middle at most."""
        ahead = int(self._scores.argmax()) - self._width // 2
        by = min(ahead, self._labels.size - self._width - self._first)
        if by > 0:
            self._scores = np.concatenate((self._scores[by:], np.full(by, -np.inf)))
            self._first += by

    def _settle(self) -> None:
        """Keep the tokens of the frames at which all paths are in the same state."""
        assert self._history is not None
        alive = self._first + np.flatnonzero(self._scores > -np.inf)
        paths = _traced(self._history, alive)
        shared = int((paths == paths[:, :1]).all(axis=1).cumprod().sum())
        if shared:
            self._keep(self._history, paths[:shared, 0])
            self._history = self._history.since(shared)

    def _keep(self, frames: _Frames, states: npt.NDArray[np.int64]) -> None:
        """Keep what the first frames emit in their final states."""
        rows = np.arange(states.size)
        emitted = frames.emitted[rows, states - frames.first[rows]]
        self._lost.append(frames.best[rows] - emitted)
        self._speaks.append(states % 2 == 1)
        for row in np.flatnonzero(states % 2):
            token = states[row] // 2
            if emitted[row] > self._peaks[token]:
                self._peaks[token] = emitted[row]
                self._positions[token] = self._final + row
        self._final += states.size


def _traced(frames: _Frames, states: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the states (T, N) of the paths that end in states (N,)."""
    paths = np.empty((len(frames.first), states.size), dtype=np.int64)
    for frame in reversed(range(len(frames.first))):
        paths[frame] = states
        states = states - frames.steps[frame, states - frames.first[frame]]
    return paths
