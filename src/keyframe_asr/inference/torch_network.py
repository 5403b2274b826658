"""A recogniser's network on torch: arrays go in and come out, tensors stay on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.decoding.arrays import Floats, Integers
from keyframe_asr.decoding.decoder import TokenTree
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.network import CANNOT_STREAM, EncodedBatch, RecognitionNetwork
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.model.decoder import DecoderState as TensorState
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.model.keyframes import select_keyframes
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.model.whisper_decoder import WhisperDecoder
from keyframe_asr.timing import encoder_frame_seconds


class TorchNetwork:
    """See `RecognitionNetwork`.

    Args:
        module: the network; it is moved to the device, and set to evaluation mode.
        device: such as "cpu" or "cuda:1". Default: a GPU if there is one.

    Raises:
        ModelError: the device cannot be used.
    """

    def __init__(self, module: KeyframeNetwork, device: str | None = None) -> None:
        self.device = usable_device(device)
        self.module = module.float().to(self.device).eval()

    @property
    def device_name(self) -> str:
        """See `RecognitionNetwork`."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return str(self.device)

    @property
    def threads(self) -> int:
        """See `RecognitionNetwork`."""
        return torch.get_num_threads()

    @property
    def frame_seconds(self) -> float:
        """See `RecognitionNetwork`."""
        return encoder_frame_seconds(self.module.subsampling.factor)

    @property
    def keyframes_enabled(self) -> bool:
        """See `RecognitionNetwork`."""
        return self.module.keyframes_enabled

    @property
    def blank_threshold(self) -> float | None:
        """See `RecognitionNetwork`."""
        return self.module.policy.blank_threshold

    @property
    def decoder_kind(self) -> Literal["own", "pretrained"] | None:
        """See `RecognitionNetwork`."""
        if self.module.decoder is None:
            return None
        return "own" if self.module.own_decoder is not None else "pretrained"

    @torch.inference_mode()
    def encode(self, features: Sequence[Floats], *, pre_encoded: bool = False) -> EncodedBatch:
        """See `RecognitionNetwork`."""
        lengths = torch.tensor([len(one) for one in features], device=self.device)
        tensors = [torch.from_numpy(one) for one in features]
        padded = pad_sequence(tensors, batch_first=True).to(self.device)
        return encoded_batch(self.module.encode(padded, lengths, pre_encoded=pre_encoded))

    def select_keyframes(self, log_probs: Floats, lengths: Integers) -> tuple[Integers, Integers]:
        """See `RecognitionNetwork`."""
        found = select_keyframes(
            torch.from_numpy(log_probs), torch.from_numpy(lengths), self.module.policy
        )
        return found.index.numpy(), found.lengths.numpy()

    def decoder(self, encoded: EncodedBatch) -> TorchDecoder:
        """See `RecognitionNetwork`."""
        decoder, attended = self.module.decoder, encoded.attended
        assert decoder is not None and isinstance(attended, _Attended)
        places = torch.from_numpy(encoded.places).to(attended.lengths.device)
        return TorchDecoder(decoder, attended.vectors[places], attended.lengths[places])

    @property
    def streaming(self) -> StreamingConfig | None:
        """See `RecognitionNetwork`."""
        return self.module.streaming

    def stream(self, chunk: int | None = None, look_ahead: int | None = None) -> StreamingNetwork:
        """See `RecognitionNetwork`."""
        if self.streaming is None:
            raise ModelError(CANNOT_STREAM)
        return StreamingNetwork(self.module, chunk, look_ahead=look_ahead)


@dataclass(frozen=True)
class _Attended:
    """Vectors (B, M, D) that the decoder attends to, and their numbers (B,)."""

    vectors: Tensor
    lengths: Tensor


class TorchDecoder:
    """See `BatchDecoder`.

    Args:
        decoder: in evaluation mode.
        vectors: (B, M, D) what it attends to.
        lengths: (B,) their numbers.
    """

    def __init__(
        self, decoder: AttentionDecoder | WhisperDecoder, vectors: Tensor, lengths: Tensor
    ) -> None:
        self._decoder, self._vectors, self._lengths = decoder, vectors, lengths

    @property
    def vocab_size(self) -> int:
        """See `BatchDecoder`."""
        if isinstance(self._decoder, WhisperDecoder):
            return int(self._decoder.vocab_size)
        size: int = self._decoder.embedding.num_embeddings
        return size

    @property
    def longest(self) -> int | None:
        """See `BatchDecoder`."""
        return self._decoder.longest if isinstance(self._decoder, WhisperDecoder) else None

    @torch.inference_mode()
    def start(self, rows: Integers) -> TorchState:
        """See `BatchDecoder`."""
        return TorchState(self._decoder, self._decoder.start(*self._attended(rows)))

    @torch.inference_mode()
    def score(self, rows: Integers, prefix: Integers, following: Integers) -> Floats:
        """See `BatchDecoder`."""
        tokens = self._tensor(prefix)
        lengths = tokens.new_full((len(tokens),), tokens.size(1))
        logits = self._decoder(tokens, lengths, *self._attended(rows)).float()
        wanted = self._tensor(following).unsqueeze(2)
        return arrays(logits.gather(2, wanted).squeeze(2) - logits.logsumexp(dim=2))

    @torch.inference_mode()
    def score_tree(self, row: int, tree: TokenTree) -> Floats:
        """See `BatchDecoder`."""
        assert isinstance(self._decoder, WhisperDecoder)
        memory = self._vectors[row, : self._lengths[row]]
        before = torch.from_numpy(tree.before).to(memory.device)
        logits = self._decoder.read_tree(self._tensor(tree.tokens), before, memory).float()
        nodes, following = self._tensor(tree.nodes), self._tensor(tree.following)
        return arrays(logits[nodes, following] - logits.logsumexp(dim=1)[nodes])

    def _attended(self, rows: Integers) -> tuple[Tensor, Tensor]:
        index = self._tensor(rows)
        return self._vectors[index], self._lengths[index]

    def _tensor(self, integers: Integers) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(integers)).to(self._vectors.device)


@dataclass(frozen=True)
class TorchState:
    """See `keyframe_asr.decoding.decoder.DecoderState`."""

    decoder: AttentionDecoder | WhisperDecoder
    state: TensorState

    @torch.inference_mode()
    def step(self, tokens: Integers) -> tuple[Floats, TorchState]:
        """See `DecoderState`."""
        log_probs, following = self.decoder.step(self._tensor(tokens), self.state)
        return arrays(log_probs.float()), TorchState(self.decoder, following)

    @torch.inference_mode()
    def select(self, rows: Integers) -> TorchState:
        """See `DecoderState`."""
        return TorchState(self.decoder, self.state.select(self._tensor(rows)))

    @torch.inference_mode()
    def select_past(self, rows: Integers) -> TorchState:
        """See `DecoderState`."""
        return TorchState(self.decoder, self.state.select_past(self._tensor(rows)))

    def _tensor(self, integers: Integers) -> Tensor:
        device = self.state.memory_mask.device
        return torch.from_numpy(np.ascontiguousarray(integers)).to(device)


def module_of(network: RecognitionNetwork) -> KeyframeNetwork:
    """The torch module of a network. Raises `ModelError` if it is not computed by torch."""
    if not isinstance(network, TorchNetwork):
        raise ModelError(
            "the model was loaded for onnxruntime, and this needs torch; load it with back end "
            "torch, or the model that an export comes from"
        )
    return network.module


def encoded_batch(encoded: Encoded) -> EncodedBatch:
    """Convert the output of a network; what its decoder attends to stays on the device."""
    vectors, numbers = encoded.attended
    index, lengths = encoded.keyframes.index, encoded.keyframes.lengths
    return EncodedBatch(
        inter_log_probs=arrays(encoded.inter_log_probs),
        frame_lengths=arrays(encoded.frame_lengths),
        keyframes=arrays(index),
        keyframe_lengths=arrays(lengths),
        memory=arrays(encoded.memory.float()),
        head_log_probs=arrays(encoded.head_log_probs),
        attended_lengths=arrays(numbers),
        attended=_Attended(vectors.detach(), numbers),
        places=np.arange(len(numbers)),
    )


def arrays(tensor: Tensor) -> npt.NDArray[Any]:
    """The values of a tensor on any device, without gradient."""
    return tensor.detach().cpu().numpy()


def usable_device(name: str | None) -> torch.device:
    """Return the device of this name, which can compute. Default: a GPU if there is one."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(name or ("cuda" if gpus else "cpu"))
        torch.ones(1, device=device).cpu()  # raises for "meta" too, which holds no values
    except Exception:  # torch has no common type: RuntimeError, AssertionError, AttributeError...
        raise ModelError(
            f"device '{name}' cannot be used: there is none of this name, or this torch was not "
            f"built for it ({gpus} CUDA GPUs found); use cpu"
        ) from None
    return device
