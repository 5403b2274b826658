"""Recordings to text with a stored model, in any of its decode modes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from keyframe_asr.audio.features import front_end
from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.config.calibration import Confidences, SpeechCheckConfig
from keyframe_asr.decoding.confidence import with_scaling
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.timestamps import timed_tokens, words
from keyframe_asr.errors import AudioError, KeyframeError, ModelError
from keyframe_asr.inference.longform import (
    DEFAULT_LONG_FORM,
    LongForm,
    Progress,
    checked_samples,
    recognise_each,
)
from keyframe_asr.inference.modes import (
    DEFAULT_OPTIONS,
    DecodeOptions,
    Mode,
    available_modes,
    check_fusion,
    check_mode,
    decode,
    spiking,
)
from keyframe_asr.inference.segmentation import SILENT_PEAK
from keyframe_asr.inference.speech_check import keep_speech, speech_stretches, without_speech
from keyframe_asr.io.model_folder import StoredModel
from keyframe_asr.model.network import Encoded
from keyframe_asr.results import Alternative, Segment, Token, Transcript
from keyframe_asr.text.tokenizer import UNKNOWN, UNKNOWN_TEXT
from keyframe_asr.timing import SAMPLE_RATE, encoder_frame_seconds

LONGEST_SECONDS = 300.0
"""What is not cut into stretches is encoded whole, in memory that grows with its square."""


@dataclass(frozen=True)
class EncodedAudio:
    """A batch of recordings after both encoders, ready for any decode mode.

    Attributes:
        encoded: the network's output.
        seconds: duration of each recording.
        frames: encoder frames of each.
        keyframes: frames of each that encoder 2 saw.
        silent: recordings that hold no sound at all, or no speech.
        refused: ranges [first, stop) of each recording's frames that are no speech.
        levels: how loud each is over time, None where noise hides its speech; may be left out.
    """

    encoded: Encoded
    seconds: tuple[float, ...]
    frames: tuple[int, ...]
    keyframes: tuple[int, ...]
    silent: tuple[bool, ...]
    refused: tuple[tuple[tuple[int, int], ...], ...]
    levels: tuple[SpeechLevel | None, ...] = ()


@dataclass(frozen=True)
class SpeechEmbeddings:
    """A recording as a sequence about as long as its text.

    Attributes:
        vectors: (K, D) float32, encoder 2's output at each keyframe; K is 0 where nothing is said.
        times: (K,) seconds, those of token starts: of the keyframes, moved as the model says.
        duration: length of the recording in seconds.
    """

    vectors: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    duration: float


class Recognizer:
    """Text, token times and confidences of recordings; made by `keyframe_asr.load`.

    Attributes:
        speech_check: which sounds get no text; None believes every spike. May be set.
        confidences: how they are scaled, by decode mode. May be set.
    """

    def __init__(self, model: StoredModel, device: str | None = None) -> None:
        self.device = _device(device)
        self.config = model.config
        self.tokenizer = model.tokenizer
        self.network = model.network.float().to(self.device).eval()
        self.speech_check: SpeechCheckConfig | None = model.config.speech_check
        self.confidences: Confidences = dict(model.config.confidences)
        self._front_end = front_end(model.config.features, model.config.model.pretrained)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The decode modes this model has, the one it was made for first."""
        return available_modes(self.network)

    @property
    def device_name(self) -> str:
        """What computes: "cpu", or the name of the GPU."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return str(self.device)

    def transcribe(
        self,
        audio: str | Path | Samples,
        mode: Mode | None = None,
        options: DecodeOptions = DEFAULT_OPTIONS,
        long_form: LongForm = DEFAULT_LONG_FORM,
    ) -> Transcript:
        """Recognise one recording of any length.

        Args:
            audio: a file, or samples (S,) in [-1, 1] at 16 kHz.
            mode: `axe`, `ctc`, `attention`, `rescore` or `joint`; by default the first of `modes`.
            options: widths and weights of the search.
            long_form: how a recording of more than 30 s is cut into stretches.

        Raises:
            AudioError: the recording cannot be read, or is not mono 16 kHz floats.
            ModelError: the model cannot decode in this mode.
        """
        return self.transcribe_batch([audio], mode, options, long_form)[0]

    def transcribe_batch(
        self,
        audio: Sequence[str | Path | Samples],
        mode: Mode | None = None,
        options: DecodeOptions = DEFAULT_OPTIONS,
        long_form: LongForm = DEFAULT_LONG_FORM,
    ) -> list[Transcript]:
        """Recognise several recordings; the first bad one raises, as in `transcribe`."""
        found = []
        for result in self.transcribe_each(audio, mode, options, long_form):
            if isinstance(result, KeyframeError):
                raise result
            found.append(result)
        return found

    def transcribe_each(
        self,
        audio: Iterable[str | Path | Samples],
        mode: Mode | None = None,
        options: DecodeOptions = DEFAULT_OPTIONS,
        long_form: LongForm = DEFAULT_LONG_FORM,
        progress: Progress | None = None,
    ) -> Iterator[Transcript | KeyframeError]:
        """One result per recording, in order; a bad one gives its error and the others go on.

        Recordings may be of any length; `progress` is told the place of one and the share done.

        Raises:
            ModelError: the model cannot decode in this mode, or not with these options.
        """
        chosen = mode or self.modes[0]
        check_mode(self.network, chosen, self.config.name)
        check_fusion(chosen, options)

        def recognise(batch: Sequence[Samples]) -> list[Transcript]:
            return self.decode(self.encode(batch), chosen, options)

        return recognise_each(audio, recognise, long_form, progress)

    @torch.inference_mode()
    def embed(self, audio: str | Path | Samples) -> SpeechEmbeddings:
        """Embed one recording: a vector for each keyframe, about one a token.

        Raises:
            AudioError: the recording cannot be read, is not mono 16 kHz floats, or is too long.
            ModelError: the model keeps all frames.
        """
        if not self.network.keyframes_enabled:
            raise ModelError(
                f"model '{self.config.name}' keeps all frames, so it has no embeddings as long as "
                "the text; use a model of a stage with keyframes"
            )
        samples = read_recording(audio)
        if isinstance(samples, KeyframeError):
            raise samples
        found = self.encode([samples])
        heard = spiking(self.network, found.encoded)[0] and not found.silent[0]
        index = found.encoded.keyframes.index[0, : found.keyframes[0]].cpu().numpy()
        kept = np.full(len(index), heard)
        for first, stop in found.refused[0]:
            kept &= (index < first) | (index >= stop)
        spikes = index[kept] * encoder_frame_seconds(self.network.subsampling.factor)
        return SpeechEmbeddings(
            vectors=found.encoded.memory[0, : len(kept)].float().cpu().numpy()[kept],
            # as the starts of tokens
            times=np.clip(spikes - self.config.emission_delay_seconds, 0.0, found.seconds[0]),
            duration=found.seconds[0],
        )

    @torch.inference_mode()
    def encode(self, recordings: Sequence[Samples]) -> EncodedAudio:
        """Run the features and both encoders on recordings (S,), padded to one batch."""
        features = [torch.from_numpy(self._front_end(samples)) for samples in recordings]
        lengths = torch.tensor([len(one) for one in features])
        padded = pad_sequence(features, batch_first=True).to(self.device)
        encoded = self.network.encode(padded, lengths.to(self.device))
        if self.device.type == "cuda":  # whoever measures time wants the work done, not queued
            torch.cuda.synchronize(self.device)
        frames, keyframes = encoded.frame_lengths.tolist(), encoded.keyframes.lengths.tolist()
        refused = self._refused(encoded)
        return EncodedAudio(
            encoded=encoded,
            seconds=tuple(samples.size / SAMPLE_RATE for samples in recordings),
            frames=tuple(frames),
            keyframes=tuple(keyframes),
            silent=tuple(
                not np.any(np.abs(samples) > SILENT_PEAK)
                or sum(stop - first for first, stop in ranges) == size > 0
                for samples, ranges, size in zip(recordings, refused, frames, strict=True)
            ),
            refused=refused,
            levels=tuple(SpeechLevel.of_samples(samples) for samples in recordings),
        )

    @torch.inference_mode()
    def decode(
        self, audio: EncodedAudio, mode: Mode, options: DecodeOptions = DEFAULT_OPTIONS
    ) -> list[Transcript]:
        """Transcripts of encoded recordings. Raises `ModelError` for a mode the model lacks."""
        check_mode(self.network, mode, self.config.name)
        hypotheses, sources = decode(self.network, audio.encoded, audio.silent, mode, options)
        transcripts = []
        for row, (hypothesis, frames) in enumerate(zip(hypotheses, sources, strict=True)):
            found = keep_speech(hypothesis, frames, audio.refused[row])
            if hypothesis.alternatives and not found.alternatives:
                found = replace(found, alternatives=(found,))
            found = with_scaling(found, self.confidences.get(mode))
            transcripts.append(self.transcript(audio, row, found, frames))
        return transcripts

    def transcript(
        self, audio: EncodedAudio, row: int, found: Hypothesis, frames: Sequence[int]
    ) -> Transcript:
        """What was found in one recording of a batch, as plain values.

        Args:
            audio: the batch.
            row: which of its recordings.
            found: its text.
            frames: source frame of every column that the positions of `found` count in.
        """
        duration = audio.seconds[row]
        tokens: list[Token] = timed_tokens(
            found,
            frames,
            encoder_frame_seconds(self.network.subsampling.factor),
            duration,
            self._piece,
            self.config.emission_delay_seconds,
            audio.levels[row] if audio.levels else None,
        )
        text, said = self.tokenizer.decode(found.tokens), words(tokens)
        return Transcript(
            text=text,
            tokens=tokens,
            duration=duration,
            frame_reduction=(
                1 - audio.keyframes[row] / audio.frames[row] if audio.frames[row] else 0.0
            ),
            words=said,
            segments=[Segment(text, said[0].start, said[-1].end, tokens, said)] if said else [],
            alternatives=self._alternatives(found),
        )

    def _alternatives(self, found: Hypothesis) -> list[Alternative]:
        """Its different texts, each with its best score; only "" where nothing was said."""
        if found.alternatives and not found.tokens:
            return [Alternative("", 0.0)]
        scores: dict[str, float] = {}
        for one in found.alternatives:
            scores.setdefault(self.tokenizer.decode(one.tokens), one.score)
        return [Alternative(text, score) for text, score in scores.items()]

    def _refused(self, encoded: Encoded) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Ranges of frames without speech, of each recording of a batch."""
        check = self.speech_check
        if check is None:
            return ((),) * len(encoded.frame_lengths)
        frame_seconds = encoder_frame_seconds(self.network.subsampling.factor)
        found = speech_stretches(self.network, encoded, frame_seconds)
        return tuple(without_speech(stretches, check) for stretches in found)

    def _piece(self, token: int) -> str:
        return UNKNOWN_TEXT if token == UNKNOWN else self.tokenizer.piece(token)


def read_recording(audio: str | Path | Samples) -> Samples | KeyframeError:
    """Samples (S,) of a file or an array, or why they cannot be recognised."""
    try:
        samples = read_audio(audio) if isinstance(audio, str | Path) else checked_samples(audio)
    except KeyframeError as error:
        return error
    seconds = samples.size / SAMPLE_RATE
    if seconds > LONGEST_SECONDS:
        name = audio if isinstance(audio, str | Path) else "the samples"
        return AudioError(
            f"{name}: {seconds:.0f} s long; here recordings are taken whole, up to "
            f"{LONGEST_SECONDS:.0f} s: split it (keyframe transcribe takes any length)"
        )
    return samples


def _device(name: str | None) -> torch.device:
    """The device of that name, by default a GPU where there is one."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    try:
        device = torch.device(name or ("cuda" if gpus else "cpu"))
    except RuntimeError:
        raise ModelError(f"there is no device '{name}'; use cpu or cuda") from None
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ModelError(f"device '{name}' is not there: torch sees {gpus} GPUs; use cpu")
    return device
