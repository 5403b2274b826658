"""Evaluation of a model on a manifest in one or more decode modes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from lhotse.cut import Cut

from keyframe_asr.audio.byte_source import name_of
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import (
    audio_channel,
    audio_of,
    is_part,
    load_manifest,
    speaker,
    text,
)
from keyframe_asr.errors import KeyframeError, ManifestError, OtherLanguageWarning
from keyframe_asr.evaluation.details import Details, Output, Signal, Utterance, details_of
from keyframe_asr.evaluation.known_letters import unknown_letters
from keyframe_asr.evaluation.report import Decoded, Evaluated, build_report
from keyframe_asr.inference.batch_recognizer import AudioInput, batches_by_length, read_recording
from keyframe_asr.inference.longform import WHOLE_SECONDS
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.text.forms import normaliser
from keyframe_asr.timing import SAMPLE_RATE

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total) utterances."""


@dataclass
class Scoring:
    """An evaluation run and its measurements.

    Attributes:
        recognizer: the model.
        modes: decode modes. Encoding is done once; its time is added to every mode.
        options: further options, for all modes.
        failed: one error per recording that could not be read; these are not scored.
        utterances: of the manifest, in its order, also those that failed.
    """

    recognizer: Recognizer
    modes: Sequence[DecodeMode]
    options: RecognitionOptions = field(default_factory=RecognitionOptions)
    failed: list[KeyframeError] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._warm = False
        self._options = {
            mode: self.recognizer.prepare(replace(self.options, decode=mode)) for mode in self.modes
        }

    @property
    def scored(self) -> list[Utterance]:
        """The utterances without those that failed."""
        return [one for one in self.utterances if one.error is None]

    @property
    def references(self) -> list[str]:
        """Text of each scored utterance, as it is in the manifest."""
        return [one.text for one in self.scored]

    @property
    def hypotheses(self) -> dict[str, list[str]]:
        """Text of each scored utterance by decode mode, as it was recognised."""
        scored = self.scored
        return {
            mode: [one.outputs[mode].transcript.text for one in scored] for mode in self._options
        }

    def run(self, manifest: str, progress: Progress = lambda done, total: None) -> dict[str, Any]:
        """Evaluate a manifest; returns the report of `keyframe evaluate --json`.

        `progress` is called with (done, total) utterances. Recordings over 30 s are segmented as
        `Recognizer.transcribe` does; of these, the encoders run once per mode, and the time of
        reading counts.

        Raises:
            ManifestError: the manifest cannot be read, or none of its recordings can.
        """
        cuts = list(load_manifest(manifest))
        self.utterances = [_utterance(cut) for cut in cuts]
        self._check_language(manifest)
        long = [place for place, cut in enumerate(cuts) if cut.duration > WHOLE_SECONDS]
        done = 0
        for batch in _batches(cuts, set(range(len(cuts))) - set(long)):
            self._recognise([one for one in batch if isinstance(one, ReadCut)])
            for one in batch:
                if isinstance(one, UnreadCut):
                    self.utterances[one.place].error = str(one.error)
                    self.failed.append(one.error)
            done += len(batch)
            progress(done, len(cuts))
        for place in long:
            try:
                self._recognise_long(self.utterances[place], cuts[place])
            except KeyframeError as error:
                self.utterances[place].error = str(error)
                self.failed.append(error)
            done += 1
            progress(done, len(cuts))
        if not self.scored:
            raise _nothing_read(manifest, len(cuts))
        return build_report(self._evaluated(manifest), self._decoded())

    @property
    def details(self) -> list[Details]:
        """What `keyframe evaluate --details` writes of each utterance."""
        form = self.recognizer.config.text_form
        return [details_of(one, form) for one in self.utterances]

    def _recognise(self, batch: Sequence[ReadCut]) -> None:
        if not batch:
            return
        recordings = [one.samples for one in batch]
        if not self._warm:  # so that one-off initialisation is not measured
            self._warm = True
            shortest = min(recordings, key=len)
            for options in self._options.values():
                self.recognizer.recognise([shortest], options)
        started = time.perf_counter()
        encoded = self.recognizer.encode(recordings, stream=self.recognizer.simulated(self.options))
        encoding = time.perf_counter() - started
        seconds = sum(encoded.seconds)
        utterances = [self.utterances[one.place] for one in batch]
        for row, utterance in enumerate(utterances):
            utterance.duration = encoded.seconds[row]
            utterance.frames, utterance.keyframes = encoded.frames[row], encoded.keyframes[row]
            utterance.signal = Signal.of_samples(recordings[row])
        for mode, options in self._options.items():
            started = time.perf_counter()
            found = self.recognizer.decode(encoded, options)
            elapsed = encoding + time.perf_counter() - started
            for utterance, transcript in zip(utterances, found, strict=True):
                share = elapsed * (utterance.duration / seconds if seconds else 1 / len(batch))
                utterance.outputs[mode] = Output(transcript, share)

    def _recognise_long(self, utterance: Utterance, cut: Cut) -> None:
        audio: AudioInput = audio_of(cut)
        channel = audio_channel(cut)
        if is_part(cut) or cut.recording.transforms:
            audio, channel = read_samples(cut), None
            beginning = audio[: round(WHOLE_SECONDS * SAMPLE_RATE)]
        else:
            beginning = read_audio(audio_of(cut), 0.0, WHOLE_SECONDS, channel)
        utterance.signal = Signal.of_samples(beginning)
        for mode, options in self._options.items():
            started = time.perf_counter()
            chosen = replace(options, channel=channel)
            transcript = self.recognizer.transcribe(audio, chosen)
            utterance.outputs[mode] = Output(transcript, time.perf_counter() - started)
            utterance.duration = transcript.duration
            frame_seconds = self.recognizer.network.frame_seconds
            utterance.frames = round(transcript.duration / frame_seconds)
            utterance.keyframes = round(utterance.frames * (1 - transcript.frame_reduction))

    def _check_language(self, manifest: str) -> None:
        """Warn if the model cannot write most letters of the references."""
        config = self.recognizer.config
        texts = [one.text for one in self.utterances]
        found = unknown_letters(texts, config.text_form, self.recognizer.tokenizer)
        if found.other_language:
            warnings.warn(
                f"{manifest}: model '{config.name}' ({config.language}) cannot write "
                f"{found.share:.0%} of the letters of the references, most of them "
                f"{found.script}; evaluate a model of their language",
                OtherLanguageWarning,
                stacklevel=2,
            )

    def _decoded(self) -> dict[str, Decoded]:
        found: dict[str, Decoded] = {}
        texts_of = self.hypotheses
        for mode, options in self._options.items():
            used = self.recognizer.search(options).used
            found[mode] = Decoded(
                texts_of[mode],
                sum(one.outputs[mode].seconds for one in self.scored),
                {
                    name: value.name if isinstance(value, Path) else value
                    for name, value in used.items()
                },
            )
        return found

    def _evaluated(self, manifest: str) -> Evaluated:
        normalise = normaliser(self.recognizer.config.text_form)
        scored = self.scored
        tokens = sum(
            len(self.recognizer.tokenizer.encode(normalise(utterance.text))) for utterance in scored
        )
        frames, keyframes = (
            sum(one.frames for one in scored),
            sum(one.keyframes for one in scored),
        )
        return Evaluated(
            model=self.recognizer.config.name,
            manifest=manifest,
            text_form=self.recognizer.config.text_form,
            ids=[one.name for one in scored],
            references=self.references,
            audio_seconds=sum(one.duration for one in scored),
            frame_reduction=1 - keyframes / max(1, frames),
            keyframes_per_token=keyframes / max(1, tokens),
            device=self.recognizer.device_name,
            threads=self.recognizer.network.threads,
        )


def _utterance(cut: Cut) -> Utterance:
    return Utterance(
        name=cut.id,
        speaker=speaker(cut),
        audio=Path(name_of(audio_of(cut))),
        channel=audio_channel(cut),
        start=cut.start,
        duration=cut.duration,
        text=text(cut),
    )


@dataclass(frozen=True)
class ReadCut:
    """A cut of a manifest, its index there, and its samples (S,) at 16 kHz."""

    place: int
    cut: Cut
    samples: Samples


@dataclass(frozen=True)
class UnreadCut:
    """The index of a cut whose recording cannot be read, and the reason."""

    place: int
    error: KeyframeError


def read_batches(
    manifest: str,
    cuts: Sequence[Cut],
    failed: list[KeyframeError],
    progress: Progress = lambda done, total: None,
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
    done = read = 0
    for batch in _batches(cuts, range(len(cuts))):
        failed += [one.error for one in batch if isinstance(one, UnreadCut)]
        found = [one for one in batch if isinstance(one, ReadCut)]
        if found:
            read += len(found)
            yield found
        done += len(batch)
        progress(done, len(cuts))
    if not read:
        raise _nothing_read(manifest, len(cuts))


def _batches(cuts: Sequence[Cut], places: Iterable[int]) -> Iterator[list[ReadCut | UnreadCut]]:
    """Read the cuts at some places in batches of similar length."""
    sizes = {place: round(cuts[place].duration * SAMPLE_RATE) for place in places}
    for batch in batches_by_length(sizes):
        found: list[ReadCut | UnreadCut] = []
        for place in batch:
            try:
                found.append(ReadCut(place, cuts[place], _read_cut(cuts[place])))
            except KeyframeError as error:
                found.append(UnreadCut(place, error))
        yield found


def _nothing_read(manifest: str, count: int) -> ManifestError:
    return ManifestError(f"{manifest}: none of {count} recordings can be read; check the paths")


def _read_cut(cut: Cut) -> Samples:
    """Samples (S,) of a cut, which may be part of a recording.

    Raises:
        KeyframeError: the recording cannot be read or is too long.
    """
    if is_part(cut) or cut.recording.transforms:
        return read_recording(read_samples(cut))
    return read_recording(audio_of(cut), audio_channel(cut))
