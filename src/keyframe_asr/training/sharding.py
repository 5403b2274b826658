"""Weights, gradients and optimiser state divided among processes (FSDP2, arXiv 2304.11277).

What is trained is a copy of the objective, whose layers gather their weights while they run. The
original keeps whole weights, for whatever needs them: evaluation, averages, checkpoints and model
folders. Both exchange weights at the beginning of an epoch, and before anything reads them.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.wav2vec2 import Wav2Vec2Encoder
from keyframe_asr.model.whisper_decoder import WhisperDecoder
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective


class ShardedCopy:
    """A copy of an objective, divided among processes.

    Attributes:
        objective: the copy; its parameters are `DTensor`.
    """

    def __init__(self, whole: StageObjective, processes: Processes) -> None:
        self._whole = whole
        kept = {} if whole.teacher is None else {id(whole.teacher): whole.teacher}
        self.objective = copy.deepcopy(whole, kept)
        # layers also return keys and values, which nobody changes in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
        mesh = init_device_mesh(processes.device.type, (processes.count,))
        for module, methods in _units(self.objective.network):
            fully_shard(module, mesh=mesh)
            for method in methods:
                register_fsdp_forward_method(module, method)
        fully_shard(
            self.objective,
            mesh=mesh,
            ignored_params=set() if whole.teacher is None else set(whole.teacher.parameters()),
        )

    @torch.no_grad()
    def take(self) -> None:
        """Take weights and settings of the original."""
        whole, shards = self._whole, self.objective
        shards.train(whole.training)
        shards.masking, shards.chunking = whole.masking, whole.chunking
        for weight, shard in self._weights():
            shard.copy_(distribute_tensor(weight, shard.device_mesh, shard.placements))
        for ours, theirs in zip(shards.network.buffers(), whole.network.buffers(), strict=True):
            ours.copy_(theirs)

    @torch.no_grad()
    def give(self) -> None:
        """Give the trained weights to the original; all processes must."""
        for weight, shard in self._weights():
            if weight.requires_grad:
                weight.copy_(shard.full_tensor())

    @staticmethod
    def clip_grad_norm_(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
        """Clip the gradient to a norm of at most `most`; returns the norm, a scalar."""
        norm = nn.utils.clip_grad_norm_(parameters, most)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    @staticmethod
    def whole_state(state: dict[str, Any]) -> dict[str, Any]:
        """The state of an optimiser of the copy, with whole tensors; all processes must ask."""
        found = {
            number: {
                name: one.full_tensor() if isinstance(one, DTensor) else one
                for name, one in values.items()
            }
            for number, values in state["state"].items()
        }
        return state | {"state": found}

    @staticmethod
    def divided_state(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """The opposite of `whole_state`, for an optimiser whose groups are those of the state."""
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        numbers = [number for group in state["param_groups"] for number in group["params"]]
        found = dict(state["state"])
        for number, weight in zip(numbers, weights, strict=True):
            if number in found:
                found[number] = {
                    name: _like(weight, one) if one.shape == weight.shape else one
                    for name, one in found[number].items()
                }
        return state | {"state": found}

    def _weights(self) -> Iterator[tuple[nn.Parameter, DTensor]]:
        pairs = zip(
            self._whole.network.parameters(), self.objective.network.parameters(), strict=True
        )
        return cast("Iterator[tuple[nn.Parameter, DTensor]]", pairs)


def _like(weight: DTensor, value: Tensor) -> DTensor:
    on_device = value.to(weight.device)
    return distribute_tensor(on_device, weight.device_mesh, weight.placements)


def _units(network: KeyframeNetwork) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    """Modules that gather their weights on their own, and methods that use them beside `forward`.

    Every process must run them equally often in a batch. wav2vec 2.0 runs once per utterance, so
    it is gathered with the rest of the network.
    """
    for encoder in (network.encoder1, network.encoder2):
        yield from ((layer, ()) for layer in encoder.layers)
    decoder = network.decoder
    if isinstance(decoder, AttentionDecoder):
        yield from ((layer, ("project_memory",)) for layer in decoder.layers)
    elif isinstance(decoder, WhisperDecoder):
        for layer in decoder.layers:
            yield cast("nn.Module", layer.encoder_attn), ("query", "keys_and_values", "to_memory")
            yield layer, ()
    pretrained = network.pretrained
    if pretrained is not None and not isinstance(pretrained, Wav2Vec2Encoder):
        yield from ((layer, ()) for layer in pretrained.encoder_layers())
