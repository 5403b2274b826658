"""Measure a model folder on a manifest, in one or more decode modes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keyframe_asr.audio import read_audio
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.evaluation.report import Decoded, Evaluated, build_report
from keyframe_asr.inference.loading import load
from keyframe_asr.inference.modes import Mode
from keyframe_asr.inference.recognizer import EncodedAudio, Recognizer, batches_by_length
from keyframe_asr.text import normalise_text


def score_model(model: Path, manifest: Path, modes: Sequence[Mode]) -> dict[str, Any]:
    """The report of `keyframe evaluate --json`, measured on all recordings of the manifest.

    Raises:
        ModelError: the model is incomplete or lacks a mode.
        ManifestError, AudioError: the recordings cannot be read.
    """
    recognizer = load(model)
    cuts = list(load_manifest(manifest))
    recordings = [read_audio(audio_path(cut)) for cut in cuts]
    groups = batches_by_length({place: one.size for place, one in enumerate(recordings)})
    for mode in modes:  # the first call of a mode sets things up, which is not its speed
        recognizer.transcribe(recordings[0], mode)
    started = time.perf_counter()
    encoded = [recognizer.encode([recordings[place] for place in group]) for group in groups]
    encoding = time.perf_counter() - started
    decoded = {mode: _decode(recognizer, encoded, mode, encoding) for mode in modes}
    references = [text(cuts[place]) for group in groups for place in group]
    return build_report(_evaluated(recognizer, manifest, references, encoded), decoded)


def _decode(
    recognizer: Recognizer, encoded: Sequence[EncodedAudio], mode: Mode, encoding: float
) -> Decoded:
    """Texts in the order of the batches; every mode is charged the seconds of `encoding`."""
    started = time.perf_counter()
    found = [one.text for batch in encoded for one in recognizer.decode(batch, mode)]
    return Decoded(found, encoding + time.perf_counter() - started)


def _evaluated(
    recognizer: Recognizer,
    manifest: Path,
    references: list[str],
    encoded: Sequence[EncodedAudio],
) -> Evaluated:
    language = recognizer.config.language
    frames = sum(sum(batch.frames) for batch in encoded)
    keyframes = sum(sum(batch.keyframes) for batch in encoded)
    tokens = sum(
        len(recognizer.tokenizer.encode(normalise_text(one, language))) for one in references
    )
    return Evaluated(
        model=recognizer.config.name,
        manifest=str(manifest),
        language=language,
        references=references,
        audio_seconds=sum(sum(batch.seconds) for batch in encoded),
        frame_reduction=1 - keyframes / max(1, frames),
        keyframes_per_token=keyframes / max(1, tokens),
        device=recognizer.device_name,
    )
