"""Evaluation of a model on a manifest in one or more decode modes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lhotse.cut import Cut

from keyframe_asr.audio.reading import Samples
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import audio_channel, audio_path, is_part, load_manifest, text
from keyframe_asr.errors import KeyframeError, ManifestError
from keyframe_asr.evaluation.report import Decoded, Evaluated, build_report
from keyframe_asr.inference.batch_recognizer import batches_by_length, read_recording
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.text.forms import normaliser
from keyframe_asr.timing import SAMPLE_RATE


@dataclass
class Scoring:
    """An evaluation run and its measurements.

    Attributes:
        recognizer: the model.
        modes: decode modes. Encoding is done once; its time is added to every mode.
        options: further options, for all modes.
        failed: one error per recording that could not be read; these are not scored.
    """

    recognizer: Recognizer
    modes: Sequence[DecodeMode]
    options: RecognitionOptions = field(default_factory=RecognitionOptions)
    failed: list[KeyframeError] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    hypotheses: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    audio_seconds: float = 0.0
    frames: int = 0
    keyframes: int = 0

    def __post_init__(self) -> None:
        self._options = {
            mode: self.recognizer.prepare(replace(self.options, decode=mode)) for mode in self.modes
        }

    def run(
        self,
        manifest: str,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, Any]:
        """Evaluate a manifest; returns the report of `keyframe evaluate --json`.

        `progress` is called with (done, total) utterances.

        Raises:
            ManifestError: the manifest cannot be read, or none of its recordings can.
        """
        cuts = list(load_manifest(manifest))
        for batch in read_batches(manifest, cuts, self.failed, progress):
            self._recognise(batch)
        decoded = {
            mode: Decoded(found, self.seconds[mode]) for mode, found in self.hypotheses.items()
        }
        return build_report(self._evaluated(manifest), decoded)

    def _recognise(self, batch: Sequence[ReadCut]) -> None:
        is_first = not self.references
        recordings = [one.samples for one in batch]
        self.references += [text(one.cut) for one in batch]
        if is_first:  # warm-up, so that one-off initialisation is not measured
            shortest = min(recordings, key=len)
            for options in self._options.values():
                self.recognizer.recognise([shortest], options)
        started = time.perf_counter()
        encoded = self.recognizer.encode(recordings)
        encoding = time.perf_counter() - started
        self.audio_seconds += sum(encoded.seconds)
        self.frames += sum(encoded.frames)
        self.keyframes += sum(encoded.keyframes)
        for mode, options in self._options.items():
            started = time.perf_counter()
            found = self.recognizer.decode(encoded, options)
            elapsed = encoding + time.perf_counter() - started
            self.seconds[mode] = self.seconds.get(mode, 0.0) + elapsed
            self.hypotheses.setdefault(mode, []).extend(one.text for one in found)

    def _evaluated(self, manifest: str) -> Evaluated:
        normalise = normaliser(self.recognizer.config.text_form)
        tokens = sum(
            len(self.recognizer.tokenizer.encode(normalise(reference)))
            for reference in self.references
        )
        return Evaluated(
            model=self.recognizer.config.name,
            manifest=manifest,
            text_form=self.recognizer.config.text_form,
            references=self.references,
            audio_seconds=self.audio_seconds,
            frame_reduction=1 - self.keyframes / max(1, self.frames),
            keyframes_per_token=self.keyframes / max(1, tokens),
            device=self.recognizer.device_name,
        )


@dataclass(frozen=True)
class ReadCut:
    """A cut of a manifest, its index there, and its samples (S,) at 16 kHz."""

    place: int
    cut: Cut
    samples: Samples


def read_batches(
    manifest: str,
    cuts: Sequence[Cut],
    failed: list[KeyframeError],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[list[ReadCut]]:
    """Read the cuts of a manifest in non-empty batches of similar length.

    Args:
        manifest: its name, for the error message.
        cuts: of the manifest.
        failed: receives one error per recording that cannot be read.
        progress: called with (done, total) utterances.

    Raises:
        ManifestError: no recording can be read.
    """
    sizes = {place: round(cut.duration * SAMPLE_RATE) for place, cut in enumerate(cuts)}
    done = read = 0
    for places in batches_by_length(sizes):
        batch = []
        for place in places:
            try:
                batch.append(ReadCut(place, cuts[place], _read_cut(cuts[place])))
            except KeyframeError as error:
                failed.append(error)
        if batch:
            read += len(batch)
            yield batch
        done += len(places)
        progress(done, len(cuts))
    if not read:
        raise ManifestError(
            f"{manifest}: none of {len(cuts)} recordings can be read; check the paths"
        )


def _read_cut(cut: Cut) -> Samples:
    """Samples (S,) of a cut, which may be part of a recording.

    Raises:
        KeyframeError: the recording cannot be read or is too long.
    """
    if is_part(cut):
        return read_recording(read_samples(cut))
    return read_recording(audio_path(cut), audio_channel(cut))
