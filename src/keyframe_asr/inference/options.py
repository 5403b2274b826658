"""Options of recognition, for Python and the command line.

Free of torch, so that the command line can import it quickly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from keyframe_asr.config.text_choices import language_tag
from keyframe_asr.errors import OptionError

DecodeMode = Literal["axe", "ctc", "attention", "rescore", "joint"]
DECODE_MODES: tuple[DecodeMode, ...] = get_args(DecodeMode)

VoiceActivity = Literal["auto", "silero", "loudness"]

Backend = Literal["auto", "torch", "onnx"]
"""What computes; auto is the one that fits the model."""

FRAME_MODES: tuple[DecodeMode, ...] = ("axe", "ctc")
"""Modes that choose one token per frame or keyframe; a beam is only needed for a language model."""

GREEDY_MODES: tuple[DecodeMode, ...] = (*FRAME_MODES, "attention")
"""Modes that can decode without a search."""

SHORTEST_LIMIT = 1.0
"""Smallest `Segmentation.longest` in seconds; the search for a quiet cut needs some audio."""

WIDEST_BEAM = 500
"""The memory of a search grows with the square of the beam."""

LARGEST_WEIGHT = 1000.0
"""Weights and bonuses beyond this leave no precision for the scores of the model."""

LONGEST_BATCH = 3600.0
"""Largest `batch_seconds`; an hour fills any processor and takes gigabytes."""

MOST_WORKERS, MOST_THREADS = 256, 1024

MOST_PHRASES, LONGEST_PHRASE = 1000, 200
"""Most hot words that are given without a file, and most characters of each."""

LONGEST_CHUNK = 10.0
"""Longest chunk and look-ahead of a stream in seconds."""

_LIMITS: dict[str, tuple[float, float]] = {
    "beam": (1, WIDEST_BEAM),
    "nbest": (1, WIDEST_BEAM),
    "language_model_weight": (0.0, LARGEST_WEIGHT),
    "token_bonus": (-LARGEST_WEIGHT, LARGEST_WEIGHT),
    "hotword_weight": (0.0, LARGEST_WEIGHT),
    "ctc_weight": (0.0, 1.0),
    "decoder_weight": (0.0, 1.0),
    "batch_seconds": (1.0, LONGEST_BATCH),
    "channel": (0, math.inf),
    "chunk": (0.01, LONGEST_CHUNK),
    "look_ahead": (0.0, LONGEST_CHUNK),
}
"""Smallest and largest value of each number."""

_STREAM_LIMITS: dict[str, tuple[float, float]] = {
    "step": (0.1, 10.0),
    "silence": (0.1, 3600.0),
    "silence_after_text": (0.1, 3600.0),
    "longest": (2.0, 29.0),
    "chunk": (0.01, LONGEST_CHUNK),
    "look_ahead": (0.0, LONGEST_CHUNK),
}
"""The same for streams; `Recognizer.transcribe` segments what is longer than 30 s."""


_MAY_BE_NONE = (
    "beam",
    "language_model_weight",
    "token_bonus",
    "ctc_weight",
    "decoder_weight",
    "channel",
    "chunk",
    "look_ahead",
)


def _check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        names = ", ".join(str(choice) for choice in allowed if choice is not None)
        raise OptionError(name, f"'{value}' is not a choice; use one of {names}")


def _tag(given: object) -> str:
    if not isinstance(given, str):
        raise OptionError("language", f"{given!r} is not a language tag; give one such as en")
    try:
        return language_tag(given)
    except ValueError as error:
        raise OptionError("language", str(error)) from None


def _phrases(given: list[object] | tuple[object, ...]) -> tuple[str, ...] | None:
    """Check hot words that are given without a file; none are as if the option was not given."""
    phrases = tuple(phrase for phrase in given if isinstance(phrase, str) and phrase.strip())
    if len(phrases) < len(given):
        raise OptionError("hotwords", "has an entry that is no phrase; give words or phrases")
    if len(phrases) > MOST_PHRASES:
        raise OptionError("hotwords", f"has {len(phrases)} phrases; give at most {MOST_PHRASES}")
    for phrase in phrases:
        if len(phrase) > LONGEST_PHRASE:
            raise OptionError(
                "hotwords",
                f"'{phrase[:20]}...' has {len(phrase)} characters; give at most {LONGEST_PHRASE}",
            )
    return phrases or None


def _check_number(name: str, value: Any, limits: tuple[float, float]) -> None:
    """Check that a number is finite, within the limits, and an integer if the lower limit is."""
    least, most = limits
    whole = isinstance(least, int)
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "an integer" if whole else "a number"
        raise OptionError(name, f"{value!r} is not {wanted}; give one")
    if not least <= value <= most or value == math.inf:
        upper = f" and at most {most:g}" if math.isfinite(most) else ""
        raise OptionError(name, f"{value} is out of range; give a number at least {least:g}{upper}")


@dataclass(frozen=True)
class Segmentation:
    """How long recordings are segmented; all values are in seconds.

    Attributes:
        longest: longest segment; the last segment of a recording, and one that ends at a pause, may
            be longer by `overlap` or `padding`.
        search: speech without a pause is cut in this last part of `longest`.
        pause: shortest silence that ends a segment.
        padding: silence kept before and after speech.
        overlap: audio that segments share before and after a cut within speech.
    """

    longest: float = 20.0
    search: float = 8.0
    pause: float = 0.5
    padding: float = 0.3
    overlap: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            name = f"segmentation.{field.name}"
            least = SHORTEST_LIMIT if field.name == "longest" else 0.0
            _check_number(name, getattr(self, field.name), (least, math.inf))


@dataclass(frozen=True)
class RecognitionOptions:
    """How recordings are recognised. The default is the way that is stored with the model.

    `decode`, `beam`, `language_model`, `language_model_weight`, `token_bonus`, `ctc_weight` and
    `decoder_weight` are the model's own where they are None: the mode that the model is best
    decoded with, and the search stored for that mode (`keyframe tune` chooses both). Where the
    model stores nothing, they are as said below.

    Attributes:
        decode: decode mode; without a stored one, the model's greedy mode.
        greedy: decode without search and language model: in the model's greedy mode, `axe`, `ctc`
            or `attention`, or in `decode` if that is given.
        beam: beam width, at most 500; 1 is greedy in these modes, and leaves the model's own
            language model out. Without a stored one, `axe` and `ctc` decode greedily unless
            `nbest`, language model, hot words or token bonus need a search, and searches use 10;
            always at least `nbest`.
        nbest: number of texts per recording, in `Transcript.alternatives` if more than one.
        language_model: a file of words, characters or the model's tokens that replaces the model's
            own language model.
        no_language_model: leave the model's own language model out, and the token bonus that is
            stored with it.
        language_model_weight: weight of its natural log-probabilities, 0 to 1000; else 0.3.
        token_bonus: score added per token; compensates for the cost of a language model; -1000 to
            1000; else 0.
        hotwords: a file with one word or phrase per line, optionally a tab and its weight; or a
            list of such lines, at most 1000 of 200 characters.
        hotword_weight: score added per token of a hot word (natural log), 0 to 1000.
        ctc_weight: weight of CTC against the decoder in `joint`, in [0, 1]; else 0.6.
        decoder_weight: weight of the decoder against the first pass in `rescore`, in [0, 1]; else
            0.5.
        length_normalised: compare scores per token instead of summed, in `attention`.
        voice_activity: detector of pauses in long recordings: `silero` (silero-vad), `loudness`,
            or `auto`, which is `loudness`.
        batch_seconds: seconds of audio per batch, including padding, 1 to 3600; less saves memory.
        channel: channel of each file that is recognised, counted from 0; None is the mean of all.
        segmentation: how recordings of more than 30 s are segmented.
        language: what a pretrained decoder writes, as a tag such as `en`: one of the languages that
            the model was trained on. None: the one that the decoder hears in each recording, or
            in each segment of a long one. Other decoders write only the model's language.
        simulate_streaming: recognise as a stream does before an utterance has ended: in chunks, and
            greedily. For models that stream.
        chunk: seconds per chunk of `simulate_streaming`, 0.01 to 10. Default: the model's.
        look_ahead: seconds after it that a chunk of `simulate_streaming` sees, 0 to 10. Default:
            the model's.

    Raises:
        OptionError: a value is out of range, or two options contradict each other.
    """

    decode: DecodeMode | None = None
    greedy: bool = False
    beam: int | None = None
    nbest: int = 1
    language_model: Path | None = None
    no_language_model: bool = False
    language_model_weight: float | None = None
    token_bonus: float | None = None
    hotwords: Path | tuple[str, ...] | None = None
    hotword_weight: float = 1.0
    ctc_weight: float | None = None
    decoder_weight: float | None = None
    length_normalised: bool = False
    voice_activity: VoiceActivity = "auto"
    batch_seconds: float = 30.0
    channel: int | None = None
    segmentation: Segmentation = Segmentation()
    language: str | None = None
    simulate_streaming: bool = False
    chunk: float | None = None
    look_ahead: float | None = None

    def __post_init__(self) -> None:
        for name in ("language_model", "hotwords"):
            given: Any = getattr(self, name)
            if given is None:
                continue
            if name == "hotwords" and isinstance(given, list | tuple):
                object.__setattr__(self, name, _phrases(given))
                continue
            if not isinstance(given, str | Path):
                raise OptionError(name, f"{given!r} is not a path; give the path of a file")
            object.__setattr__(self, name, Path(given))
        if self.language is not None:
            object.__setattr__(self, "language", _tag(self.language))
        _check_choice("decode", self.decode, (None, *DECODE_MODES))
        _check_choice("voice_activity", self.voice_activity, get_args(VoiceActivity))
        for name in ("greedy", "no_language_model", "length_normalised", "simulate_streaming"):
            _check_choice(name, getattr(self, name), (False, True))
        if not isinstance(self.segmentation, Segmentation):
            raise OptionError("segmentation", f"{self.segmentation!r} is not a Segmentation")
        for name, limits in _LIMITS.items():
            if getattr(self, name) is not None or name not in _MAY_BE_NONE:
                _check_number(name, getattr(self, name), limits)
        self._check_agreement()

    @classmethod
    def of(cls, given: RecognitionOptionsLike) -> RecognitionOptions:
        """Return options unchanged; a decode mode becomes options with defaults otherwise."""
        return given if isinstance(given, RecognitionOptions) else cls(decode=given)

    @property
    def fused(self) -> tuple[str, ...]:
        """Names of the given fields that add to the scores of a search (shallow fusion)."""
        given = {
            "language_model": self.language_model is not None,
            "hotwords": self.hotwords is not None,
            "token_bonus": bool(self.token_bonus),
        }
        return tuple(name for name, is_given in given.items() if is_given)

    def _check_agreement(self) -> None:
        if self.language_model is not None and self.no_language_model:
            raise OptionError(
                "no_language_model", "contradicts language_model; leave out one of them"
            )
        if self.beam is not None and self.nbest > self.beam:
            raise OptionError(
                "nbest",
                f"{self.nbest} is more than the beam; give a beam of {self.nbest} or more",
            )
        for name in self.fused:
            if self.decode == "attention":
                raise unsupported_by_attention(name)
            if self.beam == 1:
                raise OptionError(
                    name,
                    "has no effect with a beam of 1; give a beam of 2 or more, or none",
                )
        for name in ("chunk", "look_ahead"):
            if getattr(self, name) is not None and not self.simulate_streaming:
                raise OptionError(name, "has no effect without simulate_streaming; give both")
        if self.greedy or self.simulate_streaming:
            self._check_greedy("greedy" if self.greedy else "simulate_streaming")

    def _check_greedy(self, option: str) -> None:
        modes = GREEDY_MODES if option == "greedy" else FRAME_MODES
        if self.decode is not None and self.decode not in modes:
            raise OptionError(
                option, f"not supported by decode mode '{self.decode}'; use {' or '.join(modes)}"
            )
        needing_search = [
            *(["beam"] if (self.beam or 1) > 1 else []),
            *(["nbest"] if self.nbest > 1 else []),
            *self.fused,
        ]
        if needing_search:
            raise OptionError(
                option, f"has no search, which {needing_search[0]} needs; leave out one of them"
            )


def unsupported_by_attention(name: str) -> OptionError:
    """Return the error of a field of `fused` with decode mode `attention`."""
    return OptionError(name, "not supported by decode mode 'attention'; use rescore, ctc or axe")


RecognitionOptionsLike: TypeAlias = RecognitionOptions | DecodeMode | None


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is recognised while it is spoken; durations are in seconds of the stream.

    Attributes:
        step: the current utterance is recognised again after so much more of it, 0.1 to 10.
        silence: silence that ends an utterance in which nothing was recognised.
        silence_after_text: silence that ends an utterance in which something was.
        longest: an utterance that is longer is cut at its quietest place, 2 to 29.
        chunk: seconds that a model that streams reads at a time, instead of reading again, 0.01 to
            10. Default: the model's.
        look_ahead: seconds after it that such a chunk sees, 0 to 10. Default: the model's.
        partial_decode: greedy decode mode while an utterance is spoken: axe, ctc or attention.
            Default: the model's greedy mode.
        recognition: how an utterance that has ended is recognised. Its `voice_activity` also
            detects where utterances begin and end.

    Raises:
        OptionError: a value is out of range.
    """

    step: float = 0.4
    silence: float = 2.4
    silence_after_text: float = 1.2
    longest: float = 15.0
    chunk: float | None = None
    look_ahead: float | None = None
    partial_decode: DecodeMode | None = None
    recognition: RecognitionOptions = RecognitionOptions()

    def __post_init__(self) -> None:
        for name, limits in _STREAM_LIMITS.items():
            if getattr(self, name) is not None or name not in _MAY_BE_NONE:
                _check_number(name, getattr(self, name), limits)
        _check_choice("partial_decode", self.partial_decode, (None, *GREEDY_MODES))
        for name in ("chunk", "look_ahead"):
            if getattr(self, name) is not None and self.partial_decode == "attention":
                raise OptionError(name, "has no effect with partial_decode attention; leave it out")
        if not isinstance(self.recognition, RecognitionOptions):
            raise OptionError("recognition", f"{self.recognition!r} is not a RecognitionOptions")
        if self.recognition.simulate_streaming:
            raise OptionError(
                "recognition", "is of utterances that have ended; leave out simulate_streaming"
            )


@dataclass(frozen=True)
class ComputeOptions:
    """Back end, device, processes and threads.

    Attributes:
        device: as in `keyframe_asr.load`; several processes are distributed over the GPUs.
        workers: number of processes that recognise in parallel.
        threads: CPU threads per process; None is the back end's default for one process, and an
            equal part of that for several.
        backend: as in `keyframe_asr.load`.

    Raises:
        OptionError: a number is out of range, or there is no such back end.
    """

    device: str | None = None
    workers: int = 1
    threads: int | None = None
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        _check_choice("backend", self.backend, get_args(Backend))
        _check_number("workers", self.workers, (1, MOST_WORKERS))
        if self.threads is not None:
            _check_number("threads", self.threads, (1, MOST_THREADS))
