"""`keyframe evaluate`: error rate, dropped frames and speed of a model on a test set."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from keyframe_asr.cli.measuring import measure
from keyframe_asr.cli.options import (
    SEARCH_FLAGS,
    DecodeModes,
    Device,
    JsonFile,
    Manifest,
    Model,
    decode_modes,
    grouped,
)
from keyframe_asr.inference.options import RecognitionOptions


@grouped
def evaluate(
    model: Model,
    manifest: Manifest,
    decode: DecodeModes = None,
    json_file: JsonFile = None,
    device: Device = None,
    *,
    options: Annotated[RecognitionOptions, SEARCH_FLAGS],
) -> None:
    """Measure a model's error rate, dropped frames and speed on a test set."""
    modes = decode_modes(decode)
    for mode in modes:
        replace(options, decode=mode)  # report wrong usage before the model is loaded
    from keyframe_asr.evaluation.report import render
    from keyframe_asr.evaluation.scoring import Scoring
    from keyframe_asr.inference.recognizer import load

    recognizer = load(model, device)
    scoring = Scoring(recognizer, modes or [recognizer.search(options).mode], options)
    measure(scoring, manifest, render, json_file)
