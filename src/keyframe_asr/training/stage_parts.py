"""The parts of the network on which the losses of a stage depend.

The others are frozen. DistributedDataParallel waits for the gradient of every trained weight: with
one that never gets any, it would have to search the graph of every batch.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from keyframe_asr.config.recipe import LossConfig
from keyframe_asr.model.network import KeyframeNetwork


def freeze_unused(network: KeyframeNetwork, losses: LossConfig) -> None:
    """Freeze every part that no loss depends on.

    Args:
        network: with keyframes and fusion as in the stage.
        losses: of the stage.
    """
    for part in _unused(network, losses):
        if part is not None:
            part.requires_grad_(False)


def _unused(network: KeyframeNetwork, losses: LossConfig) -> Iterator[nn.Module | None]:
    head = losses.head > 0 and losses.head_loss != "none"
    decoder, teacher = losses.decoder > 0, losses.teacher > 0
    reads_encoder2 = decoder and _decoder_reads_encoder2(network)
    encoder2 = head or reads_encoder2
    upper = encoder2 or teacher or decoder
    inter_ctc = losses.inter_ctc > 0 or teacher or (encoder2 and network.conditioning is not None)
    if not decoder:
        yield from (network.decoder, network.decoder_memory)
    if not head:
        yield network.head
    if not encoder2:
        yield from (network.encoder2, network.conditioning)
        if network.keyframe_layers is not None:
            yield network.keyframe_layers.projection
    if not (encoder2 and network.fusion_enabled):
        yield network.fusion
    if not inter_ctc:
        yield network.inter_ctc
    if not (inter_ctc or encoder2):
        yield from (network.layer_sum, network.subsampling, network.encoder1)
    encoder = network.pretrained
    if not upper and encoder is not None and encoder.keyframe_layer is not None:
        yield network.keyframe_layers
        yield from list(encoder.encoder_layers())[encoder.keyframe_layer :]
        yield from encoder.final_modules()


def _decoder_reads_encoder2(network: KeyframeNetwork) -> bool:
    """False if a pretrained decoder reads outputs of the pretrained encoder instead."""
    memory = network.decoder_memory
    return memory is None or network.pretrained is None or memory.config.memory == "encoder2"
