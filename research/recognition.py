"""Recognise recordings with a model: errors per utterance, frames, time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from kaldialign import edit_distance

from keyframe_asr.audio.reading import Samples
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.metrics import (
    character_errors,
    confidence_interval,
    count_errors,
    split_units,
    word_errors,
)
from keyframe_asr.inference.batch_recognizer import batches_by_length
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.base_model import weight_files
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.forms import normaliser
from keyframe_asr.timing import FRAMES_PER_SECOND, SAMPLE_RATE
from keyframe_asr.training.initial_weights import find_weights
from research.multiply_adds import MultiplyAddsCounter

_COUNTERS: WeakKeyDictionary[KeyframeNetwork, MultiplyAddsCounter] = WeakKeyDictionary()
"""Cached because a stress study uses the same network under every condition."""


def weights_digest(model: str) -> str | None:
    """Return the first digits of the SHA-256 of a model's weights, or None if it is missing.

    The weights of a base model belong to them.
    """
    whole = hashlib.sha256()
    try:
        for file in weight_files(find_weights(model)):
            whole.update(file.read_bytes())
    except (KeyframeError, OSError):
        return None
    return whole.hexdigest()[:16]


def recognise(
    recognizer: Recognizer,
    recordings: Sequence[Samples],
    references: Sequence[str],
    modes: Sequence[DecodeMode],
    *,
    as_shipped: bool = False,
    beam: int | None = None,
) -> dict[str, Any]:
    """Recognise recordings, and return error rates (fractions), frames and times.

    Compares networks alone, without the speech check, unless `as_shipped`. `unit` is words for
    English, characters for Mandarin; `errors` are per utterance; `attended`: a decoder's vectors.
    """
    network = module_of(recognizer.network)
    if not as_shipped:
        recognizer.speech_check = None
    texts: dict[str, list[str]] = {mode: [""] * len(recordings) for mode in modes}
    seconds = dict.fromkeys(modes, 0.0)
    frames, keyframes, attended, products = 0, 0, 0, 0.0
    sizes = {place: samples.size for place, samples in enumerate(recordings)}
    recognizer.encode([min(recordings, key=len)])  # warm-up
    for batch in batches_by_length(sizes):
        began = time.perf_counter()
        encoded = recognizer.encode([recordings[place] for place in batch])
        encoding = time.perf_counter() - began
        frames, keyframes = frames + sum(encoded.frames), keyframes + sum(encoded.keyframes)
        attended += int(encoded.encoded.attended_lengths.sum())
        products += sum(
            _multiply_adds(network, sizes[place], kept)
            for place, kept in zip(batch, encoded.keyframes, strict=True)
        )
        for mode in modes:
            began = time.perf_counter()
            found = recognizer.decode(encoded, RecognitionOptions(decode=mode, beam=beam))
            seconds[mode] += encoding + time.perf_counter() - began
            for place, one in zip(batch, found, strict=True):
                texts[mode][place] = one.text
    form = recognizer.config.text_form
    normalise = normaliser(form)
    normal = [normalise(reference) for reference in references]
    tokens = sum(len(recognizer.tokenizer.encode(text)) for text in normal)
    duration = sum(sizes.values()) / SAMPLE_RATE
    return {
        "device": recognizer.device_name,
        "utterances": len(recordings),
        "audio_seconds": round(duration, 3),
        "unit": form.unit,
        "frames": frames,
        "keyframes": keyframes,
        **({} if network.decoder_memory is None else {"attended": attended}),
        "tokens": tokens,
        "multiply_adds_per_second": products / duration,
        "lengths": [len(split_units(text, form)) for text in normal],
        "decode": {
            mode: _scored(normal, [normalise(text) for text in texts[mode]], form)
            | {"rtf": seconds[mode] / duration}
            for mode in modes
        },
    }


def _scored(references: list[str], hypotheses: list[str], form: TextForm) -> dict[str, Any]:
    pairs = [
        (split_units(reference, form), split_units(hypothesis, form))
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    kinds = count_errors([one for one, _ in pairs], [one for _, one in pairs])
    return {
        "wer": word_errors(references, hypotheses, form).rate,
        "cer": character_errors(references, hypotheses, form).rate,
        "rate": kinds.rate,
        "ci95": list(confidence_interval([one for one, _ in pairs], [one for _, one in pairs])),
        "substitutions": kinds.substitutions,
        "deletions": kinds.deletions,
        "insertions": kinds.insertions,
        "errors": [int(edit_distance(*pair)["total"]) for pair in pairs],
    }


def _multiply_adds(network: KeyframeNetwork, samples: int, kept: int) -> int:
    """Count multiply-adds of the encoders on a recording, without a pretrained encoder."""
    if network not in _COUNTERS:
        _COUNTERS[network] = MultiplyAddsCounter(network)
    frames = samples * FRAMES_PER_SECOND // SAMPLE_RATE
    if network.pretrained is not None:
        frames //= 2
    keyframes = kept if network.keyframes_enabled else None
    return _COUNTERS[network].count(frames, keyframes, fused=network.fusion_enabled).total
