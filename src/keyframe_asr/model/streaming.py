"""The network on streams: the next features go in, what has become certain comes out.

It finds what `KeyframeNetwork.encode` finds in the whole with the same chunks. What a stream knows
is a value (`StreamState`): steps make new ones and change none, so that states can be copied,
stored, and joined to batches in any way.

A frame is computed when its chunk is complete. A keyframe goes through encoder 2 when it is certain
(model/keyframe_commits.py) and the frames that fusion takes around it are there. With peaks, the
frame after the keyframe always is: the run has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from keyframe_asr.config.model import KeyframesConfig
from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.encoder_cache import EncoderCache
from keyframe_asr.model.keyframe_commits import Spikes, commit_keyframes
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.subsampling import ConvolutionalSubsampling


@dataclass(frozen=True)
class Windows:
    """Outputs of encoder 1 that keyframes may still need: frames (N, D) at ascending places."""

    places: tuple[int, ...]
    frames: Tensor

    def around(self, index: Sequence[int], offsets: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The frames (K, W, D) at the offsets around each place, and which exist (K, W)."""
        row = {place: number for number, place in enumerate(self.places)}
        rows = [[row.get(place + offset, -1) for offset in offsets] for place in index]
        found = torch.tensor(rows, device=self.frames.device).view(len(index), len(offsets))
        inside = found >= 0
        around = self.frames[found.clamp(min=0)] * inside.unsqueeze(-1)
        return around, inside

    def only(self, places: Iterable[int]) -> Windows:
        """Those at `places`, as far as they are known."""
        wanted = set(places)
        rows = [number for number, place in enumerate(self.places) if place in wanted]
        return Windows(tuple(self.places[row] for row in rows), self.frames[rows])


@dataclass(frozen=True)
class StreamState:
    """What is known of one utterance so far; a value that is never changed.

    Attributes:
        features: (T, F) features that do not fill a chunk.
        edges: last input (C, F) of each convolution of the subsampling.
        encoder1: past of encoder 1.
        spikes: runs of spikes of the inter-CTC.
        windows: outputs of encoder 1 that keyframes may still need.
        waiting: keyframes that are certain, but not yet through encoder 2.
        encoder2: past of encoder 2.
        ended: the utterance has ended.
    """

    features: Tensor
    edges: tuple[Tensor, ...]
    encoder1: EncoderCache
    spikes: Spikes
    windows: Windows
    waiting: tuple[int, ...]
    encoder2: EncoderCache
    ended: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        tensors = (self.features, *self.edges, self.windows.frames)
        return sum(one.nbytes for one in tensors) + self.encoder1.nbytes + self.encoder2.nbytes


@dataclass(frozen=True)
class StreamOutput:
    """What has become certain in a step.

    Attributes:
        inter_log_probs: (N, V) of the inter-CTC, at the next N encoder frames.
        keyframes: (K,) the next keyframes, as encoder frames from the start of the utterance; all
            frames if keyframes are off.
        head_log_probs: (K, V) of the length head at the keyframes; of the final CTC if keyframes
            are off.
    """

    inter_log_probs: Tensor
    keyframes: Tensor
    head_log_probs: Tensor


class StreamingNetwork:
    """A network on streams of features.

    Args:
        network: can stream (`model.encoder.streaming`); it is set to evaluation mode.
        chunk: encoder frames per chunk. Default: that of the model.
        left_chunks: chunks before its own that a frame sees. Default: that of the model.

    Raises:
        ValueError: the network cannot stream, or a number is too small.
    """

    def __init__(
        self, network: KeyframeNetwork, chunk: int | None = None, left_chunks: int | None = None
    ) -> None:
        config = network.streaming
        if config is None:
            raise ValueError("the network cannot stream: model.encoder.streaming is null")
        assert isinstance(network.subsampling, ConvolutionalSubsampling), (
            "the config refuses others"
        )
        self.network, self._subsampling = network.eval(), network.subsampling
        self.chunk = config.chunk if chunk is None else chunk
        self.left_chunks = config.left_chunks if left_chunks is None else left_chunks
        if self.chunk < 1 or self.left_chunks < 0:
            raise ValueError(
                f"chunk must be at least 1 and left_chunks at least 0, found {self.chunk} and "
                f"{self.left_chunks}"
            )
        self._left_keyframes = config.left_keyframes
        policy = network.policy
        self._rules = KeyframesConfig(keep=policy.keep, blank_threshold=policy.blank_threshold)
        self._offsets = network.fusion.offsets if network.fusion_enabled else (0,)

    def start(self) -> StreamState:
        """The state before the first features of an utterance."""
        network = self.network
        weights = network.inter_ctc.weight
        return StreamState(
            weights.new_zeros(0, network.normalisation.mean.numel()),
            self._subsampling.start(),
            network.encoder1.start(),
            Spikes(),
            Windows((), weights.new_zeros(0, network.config.encoder.dim)),
            (),
            network.encoder2.start(),
        )

    def chunks(self, utterances: int) -> Chunks:
        """With these, `KeyframeNetwork.encode` finds in whole utterances what streams find."""
        device = self.network.inter_ctc.weight.device
        return Chunks.of([(self.chunk, self.left_chunks)] * utterances, device)

    def step(
        self, state: StreamState, features: Tensor, *, last: bool = False
    ) -> tuple[StreamState, StreamOutput]:
        """Take the next features (T, F) of an utterance, of any number; see `step_batch`."""
        states, outputs = self.step_batch([state], [features], [last])
        return states[0], outputs[0]

    @torch.inference_mode()
    def step_batch(
        self, states: Sequence[StreamState], features: Sequence[Tensor], last: Sequence[bool]
    ) -> tuple[list[StreamState], list[StreamOutput]]:
        """Take the next features of several utterances; none changes what another gives.

        Args:
            states: of each utterance.
            features: (T, F) of each, of the model's front end; T may be 0.
            last: whether the utterance ends after these features.

        Raises:
            ValueError: an utterance has ended, the numbers of states, features and `last` differ,
                or log-probabilities are NaN.
        """
        if any(state.ended for state in states):
            raise ValueError("the utterance has ended; start a new state for the next one")
        given = list(zip(states, features, last, strict=True))
        taken, rest = [], []
        for state, block, is_last in given:
            known = torch.cat((state.features, block.to(state.features)))
            unit = self.chunk * self._subsampling.factor
            count = len(known) if is_last else len(known) // unit * unit
            taken.append(known[:count])
            rest.append(known[count:].clone())
        lower = self._lower(states, taken)
        chosen = [
            self._chosen(state, frames, log_probs, is_last)
            for (state, _, is_last), (frames, log_probs, *_) in zip(given, lower, strict=True)
        ]
        upper = self._upper(states, chosen)
        after, outputs = [], []
        for number, is_last in enumerate(last):
            _, log_probs, edges, encoder1 = lower[number]
            spikes, ready, waiting, windows = chosen[number]
            head_log_probs, encoder2 = upper[number]
            kept = self._still_needed(spikes, waiting, windows)
            after.append(
                StreamState(rest[number], edges, encoder1, spikes, kept, waiting, encoder2, is_last)
            )
            keyframes = torch.tensor(ready, dtype=torch.long)
            outputs.append(StreamOutput(log_probs, keyframes, head_log_probs))
        return after, outputs

    def _lower(
        self, states: Sequence[StreamState], taken: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor, tuple[Tensor, ...], EncoderCache]]:
        """Outputs of encoder 1 (N, D), log-probabilities (N, V), edges and past of each stream."""
        network = self.network
        weights = network.inter_ctc.weight
        found = [
            (
                weights.new_zeros(0, weights.size(1)),
                weights.new_zeros(0, weights.size(0)),
                state.edges,
                state.encoder1,
            )
            for state in states
        ]
        active = [number for number, one in enumerate(taken) if len(one)]
        if not active:
            return found
        lengths = torch.tensor([len(taken[number]) for number in active], device=weights.device)
        features = pad_sequence([taken[number] for number in active], batch_first=True)
        frames, lengths, edges = self._subsampling.step(
            network.normalisation(features), lengths, [states[number].edges for number in active]
        )
        caches = [states[number].encoder1 for number in active]
        first = torch.tensor([one.frames for one in caches], device=weights.device)
        positions = first.unsqueeze(1) + torch.arange(frames.size(1), device=weights.device)
        chunks = self.chunks(len(active))
        frames, caches = network.encoder1.step(frames, lengths, positions, chunks, caches)
        log_probs = network.inter_ctc(frames).float().log_softmax(dim=-1)
        frames = network.conditioned(frames, log_probs)
        for row, number in enumerate(active):
            count = int(lengths[row])
            own = tuple(one.clone() for one in edges[row])
            found[number] = frames[row, :count], log_probs[row, :count].clone(), own, caches[row]
        return found

    def _chosen(
        self, state: StreamState, frames: Tensor, log_probs: Tensor, last: bool
    ) -> tuple[Spikes, tuple[int, ...], tuple[int, ...], Windows]:
        """Spikes, keyframes that are ready for encoder 2, those that wait, and known windows."""
        heard = state.spikes.frames
        known = heard + len(frames)
        new = range(heard, known)
        spikes, certain = commit_keyframes(
            state.spikes, log_probs.cpu().numpy(), self._rules, last=last
        )
        keyframes = (*state.waiting, *(certain if self.network.keyframes_enabled else new))
        count = len(keyframes)
        if not last:
            count = sum(place + self._offsets[-1] < known for place in keyframes)
            if not self.network.keyframes_enabled:  # encoder 2 takes the chunks of encoder 1
                count -= count % self.chunk
        windows = Windows((*state.windows.places, *new), torch.cat((state.windows.frames, frames)))
        return spikes, keyframes[:count], keyframes[count:], windows

    def _still_needed(self, spikes: Spikes, waiting: Sequence[int], windows: Windows) -> Windows:
        places = {
            place + offset
            for place in (*waiting, *spikes.candidates(self._rules))
            for offset in self._offsets
        }
        return windows.only(places | set(range(spikes.frames + self._offsets[0], spikes.frames)))

    def _upper(
        self,
        states: Sequence[StreamState],
        chosen: Sequence[tuple[Spikes, tuple[int, ...], tuple[int, ...], Windows]],
    ) -> list[tuple[Tensor, EncoderCache]]:
        """Log-probabilities (K, V) of the head at ready keyframes, and the past of encoder 2."""
        network = self.network
        empty = network.head.weight.new_zeros(0, network.vocab_size)
        found = [(empty, state.encoder2) for state in states]
        active = [number for number, (_, ready, _, _) in enumerate(chosen) if ready]
        if not active:
            return found
        around, inside = [], []
        for number in active:
            _, ready, _, windows = chosen[number]
            frames, real = windows.around(ready, self._offsets)
            around.append(frames)
            inside.append(real)
        lengths = torch.tensor([len(one) for one in around], device=empty.device)
        fused = pad_sequence(around, batch_first=True)
        if network.fusion_enabled:
            fused = network.fusion.fuse(fused, pad_sequence(inside, batch_first=True))
        else:
            fused = fused[:, :, 0]
        caches = [states[number].encoder2 for number in active]
        chunks = self.chunks(len(active))
        if network.keyframes_enabled:
            chunks = chunks.of_keyframes(self._left_keyframes)
        positions = self._positions([chosen[number][1] for number in active], caches, fused)
        memory, caches = network.encoder2.step(fused, lengths, positions, chunks, caches)
        log_probs = network.head(memory).float().log_softmax(dim=-1)
        for row, number in enumerate(active):
            found[number] = log_probs[row, : int(lengths[row])].clone(), caches[row]
        return found

    def _positions(
        self, ready: Sequence[Sequence[int]], caches: Sequence[EncoderCache], like: Tensor
    ) -> Tensor:
        """Positions (B, K) of the keyframes for encoder 2; 0 in the padding."""
        if self.network.config.keyframes.positions == "source":
            rows = [torch.tensor(one) for one in ready]
        else:
            rows = [
                cache.frames + torch.arange(len(one))
                for one, cache in zip(ready, caches, strict=True)
            ]
        return pad_sequence(rows, batch_first=True).to(like.device)
