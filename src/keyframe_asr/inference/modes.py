"""Decode an encoded batch in one of the decode modes.

- `axe`: the length head, greedily or with a beam search.
- `ctc`: the inter-CTC, or the final CTC of a model that keeps all frames; greedily or with a beam
  search. Language model and hot words need the beam search.
- `attention`: beam search on the decoder.
- `rescore`: hypotheses of the first pass (length head, or CTC) rescored by the decoder.
- `joint`: hypotheses of all heads, scored by CTC and decoder together.

A pretrained decoder has tokens of its own: `attention` then takes its times from CTC
(`inference.decoder_search`), `rescore` compares texts of CTC and decoder
(`inference.text_rescoring`), and there is no `joint`.

No mode hallucinates where the first pass finds nothing: the decoder is not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keyframe_asr.decoding.arrays import inside_lengths
from keyframe_asr.decoding.axe_alignment import axe_positions
from keyframe_asr.decoding.beam import BeamConfig, attention_beam
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis, padded, with_alternatives
from keyframe_asr.decoding.prefix_beam import prefix_beam
from keyframe_asr.decoding.rescoring import rescore, scored_by_ctc
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.decoder_search import DecoderSearch
from keyframe_asr.inference.network import EncodedBatch, RecognitionNetwork
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.search import Search
from keyframe_asr.inference.text_rescoring import rescored_texts
from keyframe_asr.text.tokenizer import BLANK


def available_modes(network: RecognitionNetwork) -> tuple[DecodeMode, ...]:
    """Return the modes that a network supports, those of its top head first."""
    first: tuple[DecodeMode, ...] = ("axe", "ctc") if network.keyframes_enabled else ("ctc",)
    if network.decoder_kind == "pretrained":
        return (*first, "attention", "rescore")
    return first if network.decoder_kind is None else (*first, "attention", "rescore", "joint")


def check_mode(network: RecognitionNetwork, mode: DecodeMode, name: str) -> None:
    """Raise `ModelError` if model `name` cannot decode in this mode."""
    modes = available_modes(network)
    if mode in modes:
        return
    if mode == "axe":
        reason = "it keeps all frames, so it has no length head"
    elif network.decoder_kind is not None:
        reason = "its decoder is a pretrained one with tokens of its own"
    else:
        reason = "it has no attention decoder"
    raise ModelError(
        f"model '{name}' cannot decode with '{mode}': {reason}; use {', '.join(modes)}"
    )


def decode(
    network: RecognitionNetwork,
    encoded: EncodedBatch,
    silent: Sequence[bool],
    search: Search,
    fusion: ShallowFusion,
    pretrained: DecoderSearch | None = None,
) -> tuple[list[Hypothesis], list[Sequence[int]]]:
    """Return B hypotheses, and for each the source frame of every column its positions refer to.

    Args:
        network: it must support the mode.
        encoded: its output for B utterances.
        silent: B flags; the text of these utterances is empty whatever the network finds.
        search: how to decode; its files are not read.
        fusion: scorers read from those files.
        pretrained: search with the pretrained decoder, if the model has one.
    """
    mode = search.mode
    if mode in ("attention", "rescore") and pretrained is not None:
        return _by_pretrained(network, encoded, silent, search, fusion, pretrained)
    if mode == "ctc" and network.keyframes_enabled:
        found = greedy_ctc(encoded.inter_log_probs, encoded.frame_lengths)
        every_frame = range(encoded.inter_log_probs.shape[1])
        sources: list[Sequence[int]] = [every_frame] * len(found)
    else:
        found = _first_pass(network, encoded)
        sources = encoded.keyframes.tolist()
    has_text = [bool(one.tokens) and not quiet for one, quiet in zip(found, silent, strict=True)]
    if mode in ("attention", "rescore", "joint"):
        found = _second_pass(network, encoded, has_text, search, fusion)
    elif search.beam > 1:
        searched = prefix_beam(columns_of(network, encoded, mode), search.beam, fusion)
        found = [with_alternatives(several, search.nbest) for several in searched]
    empty = with_alternatives([], search.nbest)
    return [one if kept else empty for one, kept in zip(found, has_text, strict=True)], sources


def _by_pretrained(
    network: RecognitionNetwork,
    encoded: EncodedBatch,
    silent: Sequence[bool],
    search: Search,
    fusion: ShallowFusion,
    pretrained: DecoderSearch,
) -> tuple[list[Hypothesis], list[Sequence[int]]]:
    """As `decode`, with a pretrained decoder; the utterances without a spike have no text."""
    spikes = has_spikes(network, encoded)
    kept = [
        row
        for row, (spike, quiet) in enumerate(zip(spikes, silent, strict=True))
        if spike and not quiet
    ]
    nothing = replace(with_alternatives([], search.nbest), of_decoder=True)
    results = [nothing] * len(spikes)
    if kept:
        chosen = encoded.rows(kept)
        decoder = network.decoder(chosen)
        if search.mode == "attention":
            found = pretrained.hypotheses(decoder, chosen, search)
        else:
            ctc = columns_of(network, chosen, "ctc")
            found = rescored_texts(pretrained, decoder, chosen, ctc, search, fusion)
        for row, one in zip(kept, found, strict=True):
            results[row] = one
    return results, [range(encoded.inter_log_probs.shape[1])] * len(spikes)


def columns_of(network: RecognitionNetwork, encoded: EncodedBatch, mode: DecodeMode) -> Columns:
    """Return the log-probabilities that the first pass of a mode searches."""
    if mode == "ctc" and network.keyframes_enabled:
        return Columns(encoded.inter_log_probs, encoded.frame_lengths, collapse=True)
    collapse = not network.keyframes_enabled
    return Columns(encoded.head_log_probs, encoded.keyframe_lengths, collapse)


def _first_pass(network: RecognitionNetwork, encoded: EncodedBatch) -> list[Hypothesis]:
    """Decode the head of encoder 2 greedily."""
    if not network.keyframes_enabled:
        return greedy_ctc(encoded.head_log_probs, encoded.keyframe_lengths)
    found = greedy_aligned(encoded.head_log_probs, encoded.keyframe_lengths)
    return [
        one if any_spike else EMPTY
        for one, any_spike in zip(found, has_spikes(network, encoded), strict=True)
    ]


def has_spikes(network: RecognitionNetwork, encoded: EncodedBatch) -> list[bool]:
    """Return B flags: True if the utterance has a CTC spike.

    Without one, the only keyframe is the frame with the least blank probability.
    """
    log_probs, lengths = encoded.inter_log_probs, encoded.frame_lengths
    blank, threshold = log_probs[..., BLANK], network.blank_threshold
    if threshold is None:
        spikes = log_probs[..., BLANK + 1 :].max(axis=-1) > blank
    else:
        spikes = np.exp(blank) <= threshold
    inside = inside_lengths(lengths, log_probs.shape[1])
    found: list[bool] = (spikes & inside).any(axis=1).tolist()
    return found


def _second_pass(
    network: RecognitionNetwork,
    encoded: EncodedBatch,
    has_text: Sequence[bool],
    search: Search,
    fusion: ShallowFusion,
) -> list[Hypothesis]:
    """Return the decoder's hypotheses for the utterances with text, empty ones for the others."""
    rows = [row for row, kept in enumerate(has_text) if kept]
    results = [EMPTY] * len(has_text)
    if network.decoder_kind is None or not rows:
        return results
    encoded = encoded.rows(rows)
    decoder, head = network.decoder(encoded), columns_of(network, encoded, "axe")
    width, nbest = search.beam, search.nbest
    if search.mode == "attention":
        config = BeamConfig(width, search.length_normalised)
        chosen = attention_beam(decoder, head.lengths, config, nbest)
        chosen = _aligned(chosen, head)
    elif search.mode == "rescore":
        candidates = prefix_beam(head, width, fusion)
        chosen = rescore(decoder, candidates, search.decoder_weight, nbest)
    else:
        ctc = columns_of(network, encoded, "ctc")
        searches = [ctc, head] if network.keyframes_enabled else [ctc]
        proposals = [prefix_beam(columns, width, fusion) for columns in searches]
        candidates = [
            [one for several in row for one in several] for row in zip(*proposals, strict=True)
        ]
        candidates = scored_by_ctc(ctc, candidates, fusion)
        chosen = rescore(decoder, candidates, 1 - search.ctc_weight, nbest)
        chosen = _aligned(chosen, head)
    for row, one in zip(rows, chosen, strict=True):
        results[row] = one
    return results


def _aligned(hypotheses: list[Hypothesis], head: Columns) -> list[Hypothesis]:
    """Set the position of every token to its column in the cheapest monotonic alignment."""
    columns = axe_positions(head, *padded([one.tokens for one in hypotheses]))
    return [
        replace(one, positions=tuple(row[: len(one.tokens)]))
        for one, row in zip(hypotheses, columns.tolist(), strict=True)
    ]
