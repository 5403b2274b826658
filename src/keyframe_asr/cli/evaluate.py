"""`keyframe evaluate`: error rates, frames dropped and speed of a model on a manifest."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from keyframe_asr.cli.decode_mode import DecodeMode
from keyframe_asr.errors import KeyframeError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from lhotse.cut import Cut
    from rich.progress import Progress

    from keyframe_asr.inference.modes import DecodeOptions, Mode
    from keyframe_asr.inference.recognizer import Recognizer


def evaluate(
    model: str = typer.Argument(help="Model folder, or the name of a shipped model."),
    manifest: str = typer.Argument(help="lhotse cuts (.jsonl.gz) or table (.tsv, FILE.tsv:SPLIT)."),
    decode: list[DecodeMode] = typer.Option(
        [], "--decode", help="Decode mode; may be repeated. Default: the model's greedy mode."
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write the report here as well."),
    beam: int = typer.Option(10, min=1, help="Width of the beam (attention, rescore)."),
    length_normalised: bool = typer.Option(
        False, help="Compare beam-search scores per token instead of summed (attention)."
    ),
    decoder_weight: float = typer.Option(
        0.5, min=0.0, max=1.0, help="Weight of the decoder against the first pass (rescore)."
    ),
    device: str | None = typer.Option(None, help="cpu or cuda. Default: a GPU if there is one."),
) -> None:
    """Measure error rates, frames dropped and speed of MODEL on MANIFEST."""
    from rich.console import Console

    from keyframe_asr.data.manifest import load_manifest
    from keyframe_asr.decoding.beam import BeamConfig
    from keyframe_asr.evaluation.report import build_report, render, save_report
    from keyframe_asr.inference.loading import load
    from keyframe_asr.inference.modes import DecodeOptions, check_mode

    recognizer = load(model, device)
    modes: list[Mode] = [mode.value for mode in decode] or [recognizer.modes[0]]
    for mode in modes:
        check_mode(recognizer.network, mode, recognizer.config.name)
    options = DecodeOptions(BeamConfig(beam, length_normalised), decoder_weight)
    measured = _Measured()
    cuts = list(load_manifest(manifest))
    _recognise(recognizer, cuts, list(dict.fromkeys(modes)), options, measured)
    if not measured.references:
        raise ManifestError(f"{manifest}: none of its {len(cuts)} recordings can be read")
    report = build_report(_evaluated(recognizer, manifest, measured), _decoded(measured))
    if json_file is not None:
        save_report(report, json_file)
    Console().print(render(report))
    if measured.failed:
        raise KeyframeError(
            f"{manifest}: {measured.failed} of {len(cuts)} recordings could not be read and are "
            "not counted; see above"
        )


@dataclass
class _Measured:
    """Sums over all batches."""

    references: list[str] = field(default_factory=list)
    hypotheses: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    audio_seconds: float = 0.0
    frames: int = 0
    keyframes: int = 0
    failed: int = 0


def _recognise(
    recognizer: Recognizer,
    cuts: Sequence[Cut],
    modes: Sequence[Mode],
    options: DecodeOptions,
    measured: _Measured,
) -> None:
    """Recognise batches of similar lengths in every mode, with a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    from keyframe_asr.data.manifest import audio_path
    from keyframe_asr.inference.recognizer import batches_by_length, read_recording
    from keyframe_asr.timing import SAMPLE_RATE

    sizes = {place: round(cut.duration * SAMPLE_RATE) for place, cut in enumerate(cuts)}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("recognising", total=len(cuts))
        for batch in batches_by_length(sizes):
            read, chosen = [], []
            for cut in (cuts[place] for place in batch):
                samples = read_recording(audio_path(cut))
                if isinstance(samples, KeyframeError):
                    measured.failed += 1
                    _warn(progress, samples)
                else:
                    read.append(samples)
                    chosen.append(cut)
            if read:
                _recognise_batch(recognizer, read, chosen, modes, options, measured)
            progress.advance(task, len(batch))


def _recognise_batch(
    recognizer: Recognizer,
    recordings: list[npt.NDArray[np.float32]],
    cuts: Sequence[Cut],
    modes: Sequence[Mode],
    options: DecodeOptions,
    measured: _Measured,
) -> None:
    """Encode once, decode in every mode; each mode is charged for the encoding."""
    from keyframe_asr.data.manifest import text

    started = time.perf_counter()
    encoded = recognizer.encode(recordings)
    encoding = time.perf_counter() - started
    measured.references.extend(text(cut) for cut in cuts)
    measured.audio_seconds += sum(encoded.seconds)
    measured.frames += sum(encoded.frames)
    measured.keyframes += sum(encoded.keyframes)
    for mode in modes:
        started = time.perf_counter()
        found = recognizer.decode(encoded, mode, options)
        elapsed = encoding + time.perf_counter() - started
        measured.seconds[mode] = measured.seconds.get(mode, 0.0) + elapsed
        measured.hypotheses.setdefault(mode, []).extend(one.text for one in found)


def _evaluated(recognizer: Recognizer, manifest: str, measured: _Measured) -> Any:
    from keyframe_asr.evaluation.report import Evaluated
    from keyframe_asr.text import normalise_text

    language = recognizer.config.language
    tokens = sum(
        len(recognizer.tokenizer.encode(normalise_text(reference, language)))
        for reference in measured.references
    )
    return Evaluated(
        model=recognizer.config.name,
        manifest=manifest,
        language=language,
        references=measured.references,
        audio_seconds=measured.audio_seconds,
        frame_reduction=1 - measured.keyframes / measured.frames if measured.frames else 0.0,
        keyframes_per_token=measured.keyframes / tokens if tokens else 0.0,
        device=recognizer.device_name,
    )


def _decoded(measured: _Measured) -> Any:
    from keyframe_asr.evaluation.report import Decoded

    return {
        mode: Decoded(hypotheses, measured.seconds[mode])
        for mode, hypotheses in measured.hypotheses.items()
    }


def _warn(progress: Progress, error: KeyframeError) -> None:
    progress.stop()
    print(f"keyframe: error: {error}", file=sys.stderr)
    progress.start()
