"""The four decode modes on one encoded batch.

`axe`: greedy on the length head. `ctc`: greedy on the inter-CTC, or on the final CTC of a model
that keeps all frames. `attention`: beam search on the decoder. `rescore`: hypotheses of the first
pass (length head or CTC) rescored by the decoder.

Where the first pass finds nothing, no mode invents text: the decoder is not even asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from keyframe_asr.decoding.beam import BeamConfig, attention_beam
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis
from keyframe_asr.decoding.prefix_beam import aligned_beam, ctc_prefix_beam
from keyframe_asr.decoding.rescoring import DECODER_WEIGHT, rescore
from keyframe_asr.errors import ModelError
from keyframe_asr.losses import axe_align
from keyframe_asr.model.decoder import AttentionDecoder
from keyframe_asr.model.network import Encoded, KeyframeNetwork
from keyframe_asr.tokenizer import BLANK

Mode = Literal["axe", "ctc", "attention", "rescore"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class DecodeOptions:
    """Widths and weights; `rescore` keeps as many hypotheses as the beam is wide."""

    beam: BeamConfig = field(default_factory=BeamConfig)
    decoder_weight: float = DECODER_WEIGHT


DEFAULT_OPTIONS = DecodeOptions()


def available_modes(network: KeyframeNetwork) -> tuple[Mode, ...]:
    """The modes that a network has the parts for, its greedy one first."""
    first: tuple[Mode, ...] = ("axe", "ctc") if network.keyframes_enabled else ("ctc",)
    return first if network.decoder is None else (*first, "attention", "rescore")


def check_mode(network: KeyframeNetwork, mode: str, name: str) -> None:
    """Raises `ModelError` if model `name` cannot decode in this mode."""
    modes = available_modes(network)
    if mode in modes:
        return
    if mode not in MODES:
        reason = "there is no such decode mode"
    elif mode == "axe":
        reason = "it keeps all frames, so it has no length head"
    else:
        reason = "it has no attention decoder"
    raise ModelError(
        f"model '{name}' cannot decode with '{mode}': {reason}; use {', '.join(modes)}"
    )


def decode(
    network: KeyframeNetwork,
    encoded: Encoded,
    silent: Sequence[bool],
    mode: Mode,
    options: DecodeOptions,
) -> tuple[list[Hypothesis], list[Sequence[int]]]:
    """Hypotheses, and for each the source frame of every column its positions count in.

    Args:
        network: in evaluation mode; it must have the parts for the mode.
        encoded: its output for B utterances.
        silent: B utterances that are to stay empty whatever the network says.
        mode: how to decode.
        options: widths and weights.
    """
    if mode == "ctc" and network.keyframes_enabled:
        found = greedy_ctc(encoded.inter_log_probs, encoded.frame_lengths)
        every_frame = range(encoded.inter_log_probs.shape[1])
        sources: list[Sequence[int]] = [every_frame] * len(found)
    else:
        found = _first_pass(network, encoded)
        sources = encoded.keyframes.index.tolist()
    heard = [bool(one.tokens) and not quiet for one, quiet in zip(found, silent, strict=True)]
    if mode in ("attention", "rescore"):
        found = _second_pass(network, encoded, heard, mode, options)
    return [one if kept else EMPTY for one, kept in zip(found, heard, strict=True)], sources


def _first_pass(network: KeyframeNetwork, encoded: Encoded) -> list[Hypothesis]:
    """Greedy on encoder 2's head."""
    if not network.keyframes_enabled:
        return greedy_ctc(encoded.head_log_probs, encoded.keyframes.lengths)
    found = greedy_aligned(encoded.head_log_probs, encoded.keyframes.lengths)
    return [
        one if any_spike else EMPTY
        for one, any_spike in zip(found, spiking(network, encoded), strict=True)
    ]


def spiking(network: KeyframeNetwork, encoded: Encoded) -> list[bool]:
    """Which utterances have a spike; the others' only keyframe is their least blank frame."""
    log_probs, lengths = encoded.inter_log_probs, encoded.frame_lengths
    blank, threshold = log_probs[..., BLANK], network.policy.blank_threshold
    if threshold is None:
        spikes = log_probs[..., BLANK + 1 :].amax(dim=-1) > blank
    else:
        spikes = blank.exp() <= threshold
    frames = torch.arange(log_probs.shape[1], device=lengths.device)
    inside = frames < lengths.unsqueeze(1)
    found: list[bool] = (spikes & inside).any(dim=1).tolist()
    return found


def _second_pass(
    network: KeyframeNetwork,
    encoded: Encoded,
    heard: Sequence[bool],
    mode: Mode,
    options: DecodeOptions,
) -> list[Hypothesis]:
    """The decoder's choice for the utterances that were heard, empty for the others."""
    decoder: AttentionDecoder | None = network.decoder
    rows = torch.tensor([row for row, kept in enumerate(heard) if kept], dtype=torch.long)
    results = [EMPTY] * len(heard)
    if decoder is None or not len(rows):
        return results
    rows = rows.to(encoded.memory.device)
    memory, lengths = encoded.memory[rows], encoded.keyframes.lengths[rows]
    log_probs = encoded.head_log_probs[rows]
    if mode == "attention":
        chosen = attention_beam(decoder, memory, lengths, lengths, options.beam)
        chosen = _aligned(chosen, log_probs, lengths)
    else:
        search = aligned_beam if network.keyframes_enabled else ctc_prefix_beam
        candidates = search(log_probs, lengths, options.beam.size)
        chosen = rescore(decoder, memory, lengths, candidates, options.decoder_weight)
    for row, one in zip(rows.tolist(), chosen, strict=True):
        results[row] = one
    return results


def _aligned(hypotheses: list[Hypothesis], log_probs: Tensor, lengths: Tensor) -> list[Hypothesis]:
    """Give every token a column of the head: that of its cheapest monotonic alignment."""
    longest = max((len(one.tokens) for one in hypotheses), default=0)
    if longest == 0:
        return hypotheses
    targets = torch.tensor(
        [[*one.tokens, *[BLANK] * (longest - len(one.tokens))] for one in hypotheses]
    )
    sizes = torch.tensor([len(one.tokens) for one in hypotheses])
    device = log_probs.device
    alignment = axe_align(log_probs, targets.to(device), lengths, sizes.to(device))
    return [
        replace(one, positions=tuple(row[: len(one.tokens)]))
        for one, row in zip(hypotheses, alignment.position.tolist(), strict=True)
    ]
