"""Recognise batches of short recordings: features, both encoders, decoding, transcripts.

Longer recordings are segmented by `inference.longform`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.arrays import checked_samples, refuse_rate
from keyframe_asr.audio.byte_source import AudioFile, is_audio_file, name_of
from keyframe_asr.audio.features import front_end
from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.config.calibration import Confidences, SpeechCheckConfig
from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.decoding.confidence import with_scaling
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.timestamps import segments_of, timed_tokens
from keyframe_asr.errors import AudioError
from keyframe_asr.inference.decoder_search import DecoderSearch
from keyframe_asr.inference.display_spelling import displayed_as
from keyframe_asr.inference.modes import available_modes, check_mode, decode
from keyframe_asr.inference.network import (
    EncodedBatch,
    FeatureStream,
    RecognitionNetwork,
    streamed_batch,
)
from keyframe_asr.inference.normal_texts import with_normal_texts
from keyframe_asr.inference.options import (
    DecodeMode,
    RecognitionOptions,
    RecognitionOptionsLike,
)
from keyframe_asr.inference.scorer_files import ScorerFiles
from keyframe_asr.inference.search import Search, default_mode, search_of
from keyframe_asr.inference.segmentation import SILENT_PEAK
from keyframe_asr.inference.speech_check import keep_speech, non_speech_frames, speech_regions
from keyframe_asr.results import Alternative, Token, Transcript
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
from keyframe_asr.text.tokenizer import UNKNOWN, UNKNOWN_TEXT, Tokenizer
from keyframe_asr.timing import SAMPLE_RATE

if TYPE_CHECKING:
    import torch

AudioInput: TypeAlias = (
    "AudioFile | npt.NDArray[np.floating[Any]] | npt.NDArray[np.int16] | torch.Tensor"
)
"""A recording: a file, or samples; see `Recognizer.transcribe`."""

LONGEST_SECONDS = 300.0
"""Longest recording that is encoded without segmentation; memory grows with its square."""


@dataclass(frozen=True)
class EncodedAudio:
    """A batch of recordings after both encoders, ready for any decode mode.

    Attributes:
        encoded: output of the network.
        seconds: duration of each recording.
        frames: number of encoder frames of each recording.
        keyframes: number of keyframes of each recording.
        silent: True for recordings without any sound or speech.
        non_speech: ranges [first, stop) of non-speech frames in each recording.
        levels: loudness of each recording over time, None where noise hides the speech; may be
            left out.
    """

    encoded: EncodedBatch
    seconds: tuple[float, ...]
    frames: tuple[int, ...]
    keyframes: tuple[int, ...]
    silent: tuple[bool, ...]
    non_speech: tuple[tuple[tuple[int, int], ...], ...]
    levels: tuple[SpeechLevel | None, ...] = ()


class RecognitionModel(Protocol):
    """What recognition needs of a model besides its network; `StoredModel` has it."""

    @property
    def config(self) -> ModelFolderConfig:
        """Content of `config.yaml`."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokens of CTC, length head, and a decoder of the model's own."""

    @property
    def language_model(self) -> Path | None:
        """File of the model's own language model, if it has one."""

    @property
    def decoder_tokenizer(self) -> DecoderTokenizer | None:
        """Tokens of a pretrained decoder, if it has one."""


class BatchRecognizer:
    """Recognises recordings without segmentation.

    Attributes:
        network: what computes the log-probabilities.
        front_end: what computes the features.
        speech_check: the check that suppresses text in non-speech; None turns it off. Settable.
        confidences: scaling of confidences by decode mode. Settable.
        language_model: file of the model's own language model, if it has one.
        pretrained: search with the model's pretrained decoder, if it has one.
    """

    def __init__(self, model: RecognitionModel, network: RecognitionNetwork) -> None:
        self.config = model.config
        self.tokenizer = model.tokenizer
        self.network = network
        self.speech_check: SpeechCheckConfig | None = model.config.speech_check
        self.confidences: Confidences = dict(model.config.confidences)
        self._streams: dict[tuple[float | None, float | None], FeatureStream] = {}
        self.front_end = front_end(model.config.features, model.config.model.pretrained)
        self.language_model = model.language_model
        self._scorers = ScorerFiles(model.config, model.tokenizer)
        self.pretrained: DecoderSearch | None = None
        if model.decoder_tokenizer is not None:
            self.pretrained = DecoderSearch(model.decoder_tokenizer, model.tokenizer, model.config)

    @property
    def modes(self) -> tuple[DecodeMode, ...]:
        """The model's decode modes, those of its top head first."""
        return available_modes(self.network)

    @property
    def default_mode(self) -> DecodeMode:
        """The decode mode that is used if none is chosen."""
        return default_mode(self.config)

    @property
    def device_name(self) -> str:
        """The name of the GPU, or "cpu"."""
        return self.network.device_name

    def prepare(self, options: RecognitionOptionsLike = None) -> RecognitionOptions:
        """Fill in the decode mode of the options, and read their files.

        Files that have changed are read again here, and not between the batches that follow.

        Raises:
            ModelError: the model does not have this decode mode or cannot stream, or the language
                model cannot be read or does not fit the model.
            KeyframeError: the hot words cannot be read or written with the model's tokens.
        """
        search = self.search(options)
        self._scorers.fusion(search, refresh=True)
        self.simulated(options)
        return replace(RecognitionOptions.of(options), decode=search.mode)

    def search(self, options: RecognitionOptionsLike = None) -> Search:
        """Return the search of these options: what they leave open is the model's own.

        Raises:
            ModelError: the model does not have this decode mode.
            OptionError: the model's default mode does not support what is given.
        """
        search = search_of(RecognitionOptions.of(options), self.config, self.language_model)
        check_mode(self.network, search.mode, self.config.name)
        return search

    def recognise(
        self, recordings: Sequence[Samples], options: RecognitionOptionsLike = None
    ) -> list[Transcript]:
        """Return the transcripts of recordings (S,). Raises the errors of `prepare`."""
        return self.decode(self.encode(recordings, stream=self.simulated(options)), options)

    def feature_stream(
        self, chunk: float | None = None, look_ahead: float | None = None
    ) -> FeatureStream:
        """Return the network on streams, with chunks and look-ahead of so many seconds.

        Default: the model's.

        Raises:
            ModelError: the model cannot stream.
        """
        if (chunk, look_ahead) not in self._streams:
            frame = self.network.frame_seconds
            self._streams[chunk, look_ahead] = self.network.stream(
                None if chunk is None else max(1, round(chunk / frame)),
                None if look_ahead is None else round(look_ahead / frame),
            )
        return self._streams[chunk, look_ahead]

    def simulated(self, options: RecognitionOptionsLike) -> FeatureStream | None:
        """Return the stream that the options simulate, if any; raises as `feature_stream`."""
        given = RecognitionOptions.of(options)
        if not given.simulate_streaming:
            return None
        return self.feature_stream(given.chunk, given.look_ahead)

    def encode(
        self,
        recordings: Sequence[Samples],
        outputs: Sequence[Floats] | None = None,
        stream: FeatureStream | None = None,
    ) -> EncodedAudio:
        """Run the features and both encoders on recordings (S,), padded to one batch.

        Args:
            recordings: samples (S,) of each.
            outputs: of the pretrained encoder for each recording (T, width), if they are known; it
                does not run then.
            stream: compute what it finds in each recording; the decoder has nothing to attend to,
                and there is no speech check, as in streams.
        """
        features = list(outputs or ()) or [self.front_end(one) for one in recordings]
        if stream is not None:
            encoded = streamed_batch(stream.simulated(features))
        else:
            encoded = self.network.encode(features, pre_encoded=outputs is not None)
        frames, keyframes = encoded.frame_lengths.tolist(), encoded.keyframe_lengths.tolist()
        non_speech = ((),) * len(recordings) if stream else self._non_speech(encoded)
        return EncodedAudio(
            encoded=encoded,
            seconds=tuple(samples.size / SAMPLE_RATE for samples in recordings),
            frames=tuple(frames),
            keyframes=tuple(keyframes),
            silent=tuple(
                not np.any(np.abs(samples) > SILENT_PEAK)
                or sum(stop - first for first, stop in ranges) == size > 0
                for samples, ranges, size in zip(recordings, non_speech, frames, strict=True)
            ),
            non_speech=non_speech,
            levels=tuple(SpeechLevel.of_samples(samples) for samples in recordings),
        )

    def decode(
        self, audio: EncodedAudio, options: RecognitionOptionsLike = None
    ) -> list[Transcript]:
        """Return the transcripts of encoded recordings. Raises the errors of `prepare`."""
        scaling = self.confidences.get(self.search(options).mode)
        hypotheses, sources = self.hypotheses(audio, options)
        transcripts = []
        for row, (hypothesis, frames) in enumerate(zip(hypotheses, sources, strict=True)):
            found = keep_speech(hypothesis, frames, audio.non_speech[row])
            if hypothesis.alternatives and not found.alternatives:
                found = replace(found, alternatives=(found,))
            found = with_scaling(found, scaling)
            transcripts.append(self.transcript(audio, row, found, frames))
        return transcripts

    def hypotheses(
        self, audio: EncodedAudio, options: RecognitionOptionsLike = None
    ) -> tuple[list[Hypothesis], list[Sequence[int]]]:
        """Return the hypotheses of encoded recordings, before speech check and calibration.

        With each come the source frames of the columns of its positions. Raises the errors of
        `prepare`.
        """
        search, fusion = self.search(options), self.fusion(options)
        return decode(self.network, audio.encoded, audio.silent, search, fusion, self.pretrained)

    def fusion(self, options: RecognitionOptionsLike = None) -> ShallowFusion:
        """Return what adds to the scores of the search. Raises the errors of `prepare`."""
        return self._scorers.fusion(self.search(options))

    def transcript(
        self, audio: EncodedAudio, row: int, found: Hypothesis, frames: Sequence[int]
    ) -> Transcript:
        """Convert the hypothesis of one recording to a transcript.

        Args:
            audio: the batch.
            row: index of the recording in the batch.
            found: the hypothesis.
            frames: source frame of each column that the positions of `found` refer to.
        """
        duration = audio.seconds[row]
        if found.of_decoder and self.pretrained is not None:
            shown, pieces = self.pretrained.shown(found)
        else:
            shown, pieces = found, [self.piece(token) for token in found.tokens]
        shown = replace(shown, tokens=tuple(range(len(pieces))))
        tokens: list[Token] = timed_tokens(
            shown,
            frames,
            self.network.frame_seconds,
            duration,
            pieces.__getitem__,
            self.config.emission_delay_seconds,
            audio.levels[row] if audio.levels else None,
        )
        text = self.text_of(found)
        segments = [replace(one, language=found.language) for one in segments_of(text, tokens)]
        transcript = Transcript(
            text=text,
            tokens=tokens,
            duration=duration,
            frame_reduction=(
                1 - audio.keyframes[row] / audio.frames[row] if audio.frames[row] else 0.0
            ),
            words=[word for segment in segments for word in segment.words],
            segments=segments,
            alternatives=self._alternatives(found),
            language=found.language,
            keyframes=(
                audio.encoded.keyframes[row, : audio.keyframes[row]] * self.network.frame_seconds
            ).tolist(),
        )
        form = self.config.text_form
        return with_normal_texts(transcript, form) if found.of_decoder else transcript

    def _alternatives(self, found: Hypothesis) -> list[Alternative]:
        """Return distinct texts, each with its best score; only "" if no speech was found."""
        if found.alternatives and not found.tokens:
            return [Alternative("", 0.0)]
        scores: dict[str, float] = {}
        for alternative in found.alternatives:
            scores.setdefault(self.text_of(alternative), alternative.score)
        return [Alternative(text, score) for text, score in scores.items()]

    def _non_speech(self, encoded: EncodedBatch) -> tuple[tuple[tuple[int, int], ...], ...]:
        """Return the ranges of non-speech frames in each recording of a batch."""
        check = self.speech_check
        if check is None:
            return ((),) * len(encoded.frame_lengths)
        found = speech_regions(self.network, encoded)
        return tuple(non_speech_frames(regions, check) for regions in found)

    def text_of(self, hypothesis: Hypothesis) -> str:
        """Return the text of a hypothesis."""
        if hypothesis.of_decoder and self.pretrained is not None:
            return self.pretrained.tokenizer.decode(hypothesis.tokens)
        return self.tokenizer.decode(hypothesis.tokens)

    def target_of(self, text: str, found: Hypothesis) -> tuple[int, ...]:
        """Return the tokens of a text in the model's form, to be compared with a hypothesis.

        What a pretrained decoder displays is compared as it spells it.
        """
        if not found.of_decoder or self.pretrained is None:
            return tuple(self.tokenizer.encode(text))
        spelled = displayed_as(text, self.text_of(found), self.config.text_form)
        return tuple(self.pretrained.tokenizer.encode(spelled))

    def piece(self, token: int) -> str:
        """Return the display form of a token id."""
        return UNKNOWN_TEXT if token == UNKNOWN else self.tokenizer.piece(token)


def read_recording(
    audio: AudioInput, channel: int | None = None, sample_rate: int | None = None
) -> Samples:
    """Return the samples (S,) of a recording that is recognised without segmentation.

    Args:
        audio: as `Recognizer.transcribe` takes it.
        channel: its channel, counted from 0; None is the mean of all.
        sample_rate: of samples in hertz; None for a file, and for samples at 16 kHz.

    Raises:
        AudioError: the recording cannot be read or is too long, or a file has a `sample_rate`.
    """
    name = "the samples"
    if is_audio_file(audio):
        refuse_rate(audio, sample_rate)
        samples, name = read_audio(audio, channel=channel), name_of(audio)
    else:
        samples = checked_samples(audio, sample_rate, channel)
    seconds = samples.size / SAMPLE_RATE
    if seconds > LONGEST_SECONDS:
        raise AudioError(
            f"{name}: {seconds:.0f} s is longer than {LONGEST_SECONDS:.0f} s, the limit without "
            "segmentation; split it (keyframe transcribe takes any length)"
        )
    return samples


def batches_by_length(
    sizes: dict[int, int], seconds: float = RecognitionOptions.batch_seconds
) -> list[list[int]]:
    """Group keys by size in samples, with at most `seconds` of audio per group.

    Padding counts. A recording longer than `seconds` forms a group alone.
    """
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(sizes, key=lambda key: (-sizes[key], key)):
        if not batches or (len(batches[-1]) + 1) * longest > seconds * SAMPLE_RATE:
            batches.append([])
            longest = sizes[index]
        batches[-1].append(index)
    return batches
