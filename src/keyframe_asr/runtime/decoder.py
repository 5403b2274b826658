"""An exported decoder: the model's own, or a pretrained one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from keyframe_asr.runtime.keyframes import Floats, Integers
from keyframe_asr.runtime.sessions import Sessions


@dataclass(frozen=True)
class DecoderArrays:
    """Immutable state of token-by-token decoding of R hypotheses of B utterances.

    Attributes:
        memory: keys and values (layers, 2, B, H, M, D / H) of what the decoder attends to.
        memory_lengths: (B,).
        utterance: (R,) row of the memory of each hypothesis.
        past: keys and values (layers, 2, Q, H, N, D / H) of the tokens so far.
        parents: (R,) row of the past that each hypothesis continues.
    """

    memory: Floats
    memory_lengths: Integers
    utterance: Integers
    past: Floats
    parents: Integers

    def select(self, index: Integers) -> DecoderArrays:
        """Reorder or repeat the hypotheses by index (R',)."""
        utterance, parents = self.utterance[index], self.parents[index]
        kept, renumbered = np.unique(utterance, return_inverse=True)
        if len(kept) == len(self.memory_lengths):
            return replace(self, utterance=utterance, parents=parents)
        return replace(
            self,
            memory=self.memory[:, :, kept],
            memory_lengths=self.memory_lengths[kept],
            utterance=renumbered.astype(np.int64),
            parents=parents,
        )

    def select_past(self, index: Integers) -> DecoderArrays:
        """Reorder only the tokens so far, for beams that stay within their utterance."""
        return replace(self, parents=self.parents[index])


class ExportedDecoder:
    """Runs the graphs `decoder_memory` and `decoder`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @property
    def vocab_size(self) -> int:
        """Number V of its tokens."""
        log_probs = self._sessions.session("decoder").get_outputs()[0]
        return int(log_probs.shape[2])

    def start(self, vectors: Floats, lengths: Integers) -> DecoderArrays:
        """State before the first token, for vectors (B, M, D) of lengths (B,)."""
        (memory,) = self._sessions.run("decoder_memory", vectors=vectors)
        layers, two, batch, heads, _, width = memory.shape
        rows = np.arange(batch)
        nothing = np.zeros((layers, two, batch, heads, 0, width), dtype=np.float32)
        return DecoderArrays(memory, lengths, rows, nothing, rows)

    def step(self, tokens: Integers, state: DecoderArrays) -> tuple[Floats, DecoderArrays]:
        """Log-probabilities (R, V) of the token after these, and the next state.

        Args:
            tokens: (R,), or several for each hypothesis (R, P), such as a prompt.
            state: of the tokens before them.
        """
        several = tokens if tokens.ndim == 2 else tokens[:, None]
        log_probs, following = self.read(several, state)
        return log_probs[:, -1], following

    def read(self, tokens: Integers, state: DecoderArrays) -> tuple[Floats, DecoderArrays]:
        """Log-probabilities (R, P, V) of the tokens after each of tokens (R, P), and the state."""
        rows, size = tokens.shape
        positions = np.broadcast_to(state.past.shape[4] + np.arange(size), (rows, size))
        visible = np.broadcast_to(np.tri(size, dtype=bool), (rows, size, size))
        return self._run(tokens, positions, visible, state)

    def read_tree(self, tokens: Integers, before: npt.NDArray[np.bool_], vectors: Floats) -> Floats:
        """Log-probabilities (N, V) of the token after each of a tree of texts.

        Args:
            tokens: (N,).
            before: (N, N) True for the tokens on the path to each, itself included.
            vectors: (M, D), one for all.
        """
        state = self.start(vectors[None], np.array([len(vectors)]))
        positions = before.sum(axis=1)[None] - 1
        log_probs, _ = self._run(tokens[None], positions, before[None], state)
        of_one: Floats = log_probs[0]
        return of_one

    def _run(
        self,
        tokens: Integers,
        positions: Integers,
        visible: npt.NDArray[np.bool_],
        state: DecoderArrays,
    ) -> tuple[Floats, DecoderArrays]:
        rows = len(tokens)
        memory, lengths = state.memory, state.memory_lengths
        batch = len(lengths)
        in_order = rows % batch == 0 and np.array_equal(
            state.utterance, np.repeat(np.arange(batch), rows // batch)
        )
        if not in_order:  # hypotheses of an utterance do not lie together
            memory, lengths = memory[:, :, state.utterance], lengths[state.utterance]
        log_probs, grown = self._sessions.run(
            "decoder",
            tokens=tokens,
            positions=positions,
            visible=visible,
            past=state.past,
            parents=state.parents,
            memory=memory,
            memory_lengths=lengths,
        )
        return log_probs, replace(state, past=grown, parents=np.arange(rows))
