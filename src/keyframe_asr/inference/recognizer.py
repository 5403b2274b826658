"""`Recognizer`, the Python interface: recordings of any length to text or embeddings.

It combines `BatchRecognizer`, for short recordings, with the segmentation of long ones in
`inference.longform`, and with streams in `inference.streaming`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.arrays import checked_block, checked_rate
from keyframe_asr.audio.resampling import Resampler
from keyframe_asr.audio.voice_activity import SpeechDetector
from keyframe_asr.errors import ModelError, OptionError
from keyframe_asr.inference.alignment import align
from keyframe_asr.inference.backends import fitting_backend
from keyframe_asr.inference.batch_recognizer import (
    AudioInput,
    BatchRecognizer,
    read_recording,
)
from keyframe_asr.inference.chunk_reading import ChunkReader
from keyframe_asr.inference.longform import RecordingProgress, recognise_each
from keyframe_asr.inference.modes import has_spikes
from keyframe_asr.inference.options import (
    FRAME_MODES,
    Backend,
    ComputeOptions,
    DecodeMode,
    RecognitionOptionsLike,
    StreamOptions,
    VoiceActivity,
)
from keyframe_asr.inference.segmentation import speech_detector
from keyframe_asr.inference.stream_requests import Steps, run_together
from keyframe_asr.inference.streaming import (
    Means,
    StreamState,
    StreamUpdate,
    advance,
    last_update,
    prepared,
)
from keyframe_asr.io.exported_folder import ExportedModel, load_exported
from keyframe_asr.io.model_location import find_model
from keyframe_asr.results import RecognitionResult, Transcript

if TYPE_CHECKING:
    import torch

    from keyframe_asr.io.model_folder import StoredModel

AudioBlock: TypeAlias = "npt.NDArray[np.floating[Any]] | npt.NDArray[np.int16] | torch.Tensor"
"""Samples of a stream; see `Recognizer.accept`."""


def load(
    model: str | Path,
    device: str | None = None,
    *,
    backend: Backend = "auto",
    threads: int | None = None,
) -> Recognizer:
    """Load a recogniser from a folder, a shipped model, or the Hugging Face Hub.

    Args:
        model: the path of a folder written by `keyframe train` or `keyframe export`; a name such as
            "demo" or "an4"; or "owner/name" or "hf://owner/name@revision" on the Hub, fetched into
            its cache.
        device: such as "cpu" or "cuda:1". Default: a GPU if there is one. Exports run on the CPU.
        backend: "onnx" is ONNX Runtime, without torch, for models that have graphs: shipped ones,
            and those for which `keyframe export` wrote some. "torch" runs every model folder.
            "auto" is ONNX Runtime on a CPU, if the model has graphs.
        threads: CPU threads of the back end; torch has one number for the whole process. Default:
            `OMP_NUM_THREADS`, else all cores.

    Raises:
        ModelError: there is no such model, it is incomplete or damaged or cannot be fetched, or it
            does not run on this back end or device.
        RecipeError: its `config.yaml` is not valid.
        OptionError: there is no such back end, or the number of threads is out of range.
        PackageError: it runs on torch, which is not installed.
    """
    compute = ComputeOptions(device, threads=threads, backend=backend)
    return load_for(model, compute)


def load_for(model: str | Path, compute: ComputeOptions) -> Recognizer:
    """Load a recogniser as `load` does; raises the same."""
    folder = find_model(model)
    if fitting_backend(folder, compute.backend, compute.device) == "onnx":
        return Recognizer(load_exported(folder), compute.device, compute.threads)
    # torch takes seconds to import
    from keyframe_asr.inference.torch_network import usable_device
    from keyframe_asr.io.model_folder import load_model_folder

    on_cpu = usable_device(compute.device).type == "cpu"
    stored = load_model_folder(folder, integers=on_cpu)
    return Recognizer(stored, compute.device, compute.threads)


@dataclass(frozen=True)
class SpeechEmbeddings:
    """A recording as a sequence about as long as its text.

    Attributes:
        vectors: (K, D) float32, output of encoder 2 at each keyframe; K is 0 without speech.
        times: (K,) seconds: keyframe times corrected by the model's emission delay, as token
            starts are.
        duration: duration of the recording in seconds.
    """

    vectors: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    duration: float


class Recognizer(BatchRecognizer):
    """Recognises recordings of any length; created by `load`.

    Attributes:
        speech_check: the check that suppresses text in non-speech; None turns it off. Settable.
        confidences: scaling of confidences by decode mode. Settable.
    """

    def __init__(
        self,
        model: StoredModel | ExportedModel,
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self._detectors: dict[VoiceActivity, SpeechDetector] = {}
        self._readers: dict[tuple[float | None, float | None, DecodeMode], ChunkReader] = {}
        if isinstance(model, ExportedModel):
            from keyframe_asr.inference.onnx_network import open_onnx

            super().__init__(model, open_onnx(model.folder, device, threads))
            return
        import torch

        from keyframe_asr.inference.torch_network import TorchNetwork

        if threads is not None:
            torch.set_num_threads(threads)
        super().__init__(model, TorchNetwork(model.network, device))

    def transcribe(
        self,
        audio: AudioInput,
        options: RecognitionOptionsLike = None,
        *,
        sample_rate: int | None = None,
    ) -> Transcript:
        """Recognise one recording.

        Args:
            audio: a path, `-` for standard input, the bytes of a file, or a binary file object
                (read from its position); or samples, a NumPy array or torch tensor of floats in
                [-1, 1] or of int16: mono (S,), or with channels (S, C) as soundfile gives them or
                (C, S) as lhotse and torchaudio do, of which `RecognitionOptions.channel` selects
                one. The mean of all channels is recognised by default.
            options: recognition options, or only a decode mode such as "ctc".
            sample_rate: of samples in hertz; default 16000. Others are resampled. A file knows its
                own.

        Raises:
            AudioError: the recording cannot be read, or is none of these; or a file is given with a
                sample rate.
            ModelError: the model cannot decode in this mode, or the language model does not fit.
            KeyframeError: the hot words cannot be read or written with the model's tokens.
        """
        return self.transcribe_batch([audio], options, sample_rate=sample_rate)[0]

    def transcribe_batch(
        self,
        audio: Sequence[AudioInput],
        options: RecognitionOptionsLike = None,
        *,
        sample_rate: int | None = None,
    ) -> list[Transcript]:
        """Recognise several recordings; the first bad one raises, as in `transcribe`."""
        found = self.transcribe_each(audio, options, sample_rate=sample_rate)
        return [result.unwrap() for result in found]

    def transcribe_each(
        self,
        audio: Iterable[AudioInput],
        options: RecognitionOptionsLike = None,
        progress: RecordingProgress | None = None,
        *,
        sample_rate: int | None = None,
    ) -> Iterator[RecognitionResult]:
        """Yield one result per recording, in order; an error in one does not stop the others.

        `progress` is called with the index of a recording and the fraction of it that is done.

        Raises:
            ModelError: as in `transcribe`.
            KeyframeError: as in `transcribe`.
        """
        return recognise_each(self, audio, self.prepare(options), progress, sample_rate)

    def start_stream(
        self, options: StreamOptions | None = None, sample_rate: int | None = None
    ) -> StreamState:
        """Return the state of a stream of which nothing has been heard.

        Args:
            options: how it is recognised.
            sample_rate: of the stream in hertz; default 16000. Others are resampled.

        Raises:
            AudioError: there is no such rate.
            ModelError: the model cannot decode in this mode, or the options give a chunk and the
                model cannot stream.
            KeyframeError: as in `transcribe`.
            PackageError: the options ask for silero-vad, which is not installed.
        """
        if not isinstance(options, StreamOptions | None):
            raise OptionError("options", f"{options!r} is not a StreamOptions")
        options = prepared(self, options or StreamOptions())
        resampler = Resampler(checked_rate(sample_rate))
        memory = self._means(options).detector.memory
        return StreamState(self.config.name, options, resampler, memory)

    def accept(self, state: StreamState, samples: AudioBlock) -> tuple[StreamState, StreamUpdate]:
        """Recognise the next samples of a stream while it is spoken.

        A pure function: `state` stays as it is, and can be continued again. The updates of a stream
        do not depend on its division into blocks, except for when they come: their `committed` and
        `final`, put together, are the same.

        Args:
            state: of the stream so far.
            samples: (S,) mono, floats in [-1, 1] or int16, any number of them.

        Returns:
            The state after these samples, and what is new.

        Raises:
            AudioError: the samples are none of these, or not finite.
            ModelError: the state is of another model.
        """
        return self.accept_batch([state], [samples])[0]

    def accept_batch(
        self, states: Sequence[StreamState], blocks: Sequence[AudioBlock]
    ) -> list[tuple[StreamState, StreamUpdate]]:
        """Continue several streams at once, each as `accept` does; a GPU then computes batches.

        Raises:
            AudioError: as `accept`, before any stream is continued.
            ModelError: a state is of another model.
        """
        self._check_states(states)
        checked = [checked_block(block) for block in blocks]
        return run_together(
            self,
            [
                advance(state, block, self._means(state.options))
                for state, block in zip(states, checked, strict=True)
            ],
        )

    def accepting(
        self, state: StreamState, samples: AudioBlock
    ) -> Steps[tuple[StreamState, StreamUpdate]]:
        """Return the steps of `accept`, for `StreamScheduler`. Raises the same."""
        self._check_states([state])
        return advance(state, checked_block(samples), self._means(state.options))

    def finishing(self, state: StreamState) -> Steps[StreamUpdate]:
        """Return the steps of `last_update`, for `StreamScheduler`. Raises the same."""
        self._check_states([state])
        return last_update(state, self._means(state.options))

    def finish(self, state: StreamState) -> Transcript:
        """Recognise what is left at the end of a stream.

        Returns:
            The transcript of the utterance that had not ended, such as those of
            `StreamUpdate.final`: it replaces what was shown of that utterance. Earlier utterances
            are not in it. Its text is "" if the stream ends in silence. `last_update` also gives
            the tokens that it commits.
        """
        final = self.last_update(state).final
        return final[0] if final else Transcript("")

    def last_update(self, state: StreamState) -> StreamUpdate:
        """Recognise what is left at the end of a stream, as `finish` does, and commit its tokens.

        Returns:
            The tokens of the utterance that had not ended, as far as they were not committed, and
            its transcript in `final`.

        Raises:
            ModelError: the state is of another model.
        """
        return run_together(self, [self.finishing(state)])[0]

    def _check_states(self, states: Sequence[StreamState]) -> None:
        for state in states:
            if state.model != self.config.name:
                raise ModelError(
                    f"the stream was begun with model '{state.model}', and this is "
                    f"'{self.config.name}'; go on with the same model, or start another stream"
                )

    def _means(self, options: StreamOptions) -> Means:
        """Return what streams of these options are recognised with."""
        kind, mode = options.recognition.voice_activity, options.partial_decode
        if kind not in self._detectors:
            self._detectors[kind] = speech_detector(kind)
        reader, sizes = None, (options.chunk, options.look_ahead)
        streams = self.network.streaming is not None and mode in FRAME_MODES
        if mode is not None and (streams or sizes != (None, None)):
            if (*sizes, mode) not in self._readers:
                self._readers[*sizes, mode] = ChunkReader(self, self.feature_stream(*sizes), mode)
            reader = self._readers[*sizes, mode]
        return Means(self._detectors[kind], reader, self.config.text_form.separation)

    def align(
        self,
        audio: AudioInput,
        text: str,
        *,
        channel: int | None = None,
        sample_rate: int | None = None,
    ) -> Transcript:
        """Find when each token and word of a known text is spoken (forced alignment).

        The confidence of a token is its highest probability within the alignment. It is low where
        the text is not what was said.

        Args:
            audio: as `transcribe` takes it.
            text: the words spoken in the recording; brought into the model's form.
            channel: channel of the recording, counted from 0; None is the mean of all.
            sample_rate: of samples in hertz, as in `transcribe`.

        Raises:
            AudioError: the recording cannot be read, or is too long.
            TextError: the text is empty, has symbols that the model does not know, or is too long
                for the recording.
        """
        return align(self, audio, text, channel, sample_rate)

    def embed(self, audio: AudioInput, *, sample_rate: int | None = None) -> SpeechEmbeddings:
        """Embed one recording: one vector per keyframe, about one per token.

        `audio` and `sample_rate` are as in `transcribe`.

        Raises:
            AudioError: the recording cannot be read, or is too long.
            ModelError: the model keeps all frames.
        """
        if not self.network.keyframes_enabled:
            raise ModelError(
                f"model '{self.config.name}' keeps all frames, so its embeddings are not as long "
                "as the text; use a model with keyframes"
            )
        found = self.encode([read_recording(audio, sample_rate=sample_rate)])
        has_speech = has_spikes(self.network, found.encoded)[0] and not found.silent[0]
        index = found.encoded.keyframes[0, : found.keyframes[0]]
        kept = np.full(len(index), has_speech)
        for first, stop in found.non_speech[0]:
            kept &= (index < first) | (index >= stop)
        spikes = index[kept] * self.network.frame_seconds
        return SpeechEmbeddings(
            vectors=found.encoded.memory[0, : len(kept)][kept],
            # the same correction as for token starts
            times=np.clip(spikes - self.config.emission_delay_seconds, 0.0, found.seconds[0]),
            duration=found.seconds[0],
        )
