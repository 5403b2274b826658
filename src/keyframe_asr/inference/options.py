"""What is asked of a recogniser: one object for Python, the command line and config files.

No tensors are needed here, so that the command line takes names and defaults from it at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from keyframe_asr.errors import OptionError

DecodeMode = Literal["axe", "ctc", "attention", "rescore", "joint"]
DECODE_MODES: tuple[DecodeMode, ...] = get_args(DecodeMode)

VoiceActivity = Literal["auto", "silero", "loudness"]

DEFAULT_BEAM = 10
"""Width of a search for which none is given."""

_LIMITS: dict[str, tuple[float, float]] = {
    "beam": (1, math.inf),
    "nbest": (1, math.inf),
    "language_model_weight": (0.0, math.inf),
    "token_bonus": (-math.inf, math.inf),
    "hotword_weight": (0.0, math.inf),
    "ctc_weight": (0.0, 1.0),
    "decoder_weight": (0.0, 1.0),
    "batch_seconds": (1.0, math.inf),
}
"""Least and greatest value of each number."""


def _check_choice(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        names = ", ".join(str(one) for one in allowed if one is not None)
        raise OptionError(name, f"there is no '{value}'; use one of {names}")


def _check_number(name: str, value: Any, limits: tuple[float, float]) -> None:
    """Finite, between the limits, and whole where the least value is."""
    least, most = limits
    whole = isinstance(least, int)
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind):
        raise OptionError(name, f"{value!r} is no {'whole ' * whole}number; give one")
    if not math.isfinite(value) or not least <= value <= most:
        upper = f" and at most {most:g}" if math.isfinite(most) else ""
        lower = f"at least {least:g}" if math.isfinite(least) else "finite"
        raise OptionError(name, f"{value} is out of range; give a number {lower}{upper}")


def _check_names(kind: type[Any], values: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(kind)]
    for name in values:
        if name not in known:
            (near,) = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
            raise OptionError(str(name), f"there is no such option; did you mean '{near}'?")


@dataclass(frozen=True)
class Segmentation:
    """Where a long recording is cut, in seconds.

    Attributes:
        longest: speech is cut before it lasts longer; the last segment of a recording, and one
            that a pause follows, may be longer by `overlap` or `padding`.
        search: speech without a pause is cut within the last so many seconds of `longest`.
        pause: silence that ends a segment.
        padding: silence kept at both ends of speech.
        overlap: what is heard beyond a cut within speech.
    """

    longest: float = 20.0
    search: float = 8.0
    pause: float = 0.5
    padding: float = 0.3
    overlap: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            name = f"segmentation.{field.name}"
            _check_number(name, getattr(self, field.name), (0.0, math.inf))


@dataclass(frozen=True)
class RecognitionOptions:
    """How recordings are recognised; the defaults are greedy decoding.

    Attributes:
        decode: decode mode; None is the model's greedy one, `axe` or `ctc`.
        beam: width of the search. None is greedy in `axe` and `ctc`, unless there is something to
            choose from (`nbest`, or something added to the scores), and 10 otherwise.
        nbest: texts wanted of each recording, in `Transcript.alternatives` if more than one.
        language_model: an ARPA file of words, characters or the model's tokens.
        language_model_weight: of its natural log-probabilities, at least 0.
        token_bonus: added to the score for every token; makes up for what a language model costs.
        hotwords: a file with a word or phrase per line and, after a tab, its own weight if any.
        hotword_weight: bonus for each token of a hot word (natural log), at least 0.
        ctc_weight: of CTC against the decoder in `joint`, in [0, 1].
        decoder_weight: of the decoder against the first pass in `rescore`, in [0, 1].
        length_normalised: compare scores per token instead of summed, in `attention`.
        voice_activity: what finds the pauses of a long recording: `silero` (silero-vad),
            `loudness`, or `auto`, the first where it is installed.
        batch_seconds: audio that is recognised at once, padding included; less saves memory.
        segmentation: where recordings of more than 30 s are cut.

    Raises:
        OptionError: a value is out of its range, or two contradict each other.
    """

    decode: DecodeMode | None = None
    beam: int | None = None
    nbest: int = 1
    language_model: Path | None = None
    language_model_weight: float = 0.3
    token_bonus: float = 0.0
    hotwords: Path | None = None
    hotword_weight: float = 1.0
    ctc_weight: float = 0.6
    decoder_weight: float = 0.5
    length_normalised: bool = False
    voice_activity: VoiceActivity = "auto"
    batch_seconds: float = 30.0
    segmentation: Segmentation = Segmentation()

    def __post_init__(self) -> None:
        for name in ("language_model", "hotwords"):
            given: Any = getattr(self, name)
            if given is None:
                continue
            if not isinstance(given, str | Path):
                raise OptionError(name, f"{given!r} is no path; give that of a file")
            object.__setattr__(self, name, Path(given))
        _check_choice("decode", self.decode, (None, *DECODE_MODES))
        _check_choice("voice_activity", self.voice_activity, get_args(VoiceActivity))
        _check_choice("length_normalised", self.length_normalised, (False, True))
        for name, limits in _LIMITS.items():
            if name != "beam" or self.beam is not None:
                _check_number(name, getattr(self, name), limits)
        self._check_agreement()

    @classmethod
    def of(cls, given: RecognitionOptionsLike) -> RecognitionOptions:
        """The options themselves; a decode mode stands for options that are default otherwise."""
        return given if isinstance(given, RecognitionOptions) else cls(decode=given)

    @classmethod
    def from_config(cls, data: Mapping[str, Any]) -> RecognitionOptions:
        """Options as a config file has them, keys named like the fields.

        Raises:
            OptionError: a key is unknown, a value is out of its range, or two contradict.
        """
        values = dict(data)
        _check_names(cls, values)
        if "segmentation" in values:
            inner = values["segmentation"]
            if not isinstance(inner, Mapping):
                raise OptionError("segmentation", f"{inner!r} is no mapping of names to seconds")
            _check_names(Segmentation, inner)
            values["segmentation"] = Segmentation(**inner)
        return cls(**values)

    @property
    def fused(self) -> tuple[str, ...]:
        """Names of the fields that add something to the scores of a search (shallow fusion)."""
        given = {
            "language_model": self.language_model is not None,
            "hotwords": self.hotwords is not None,
            "token_bonus": self.token_bonus != 0.0,
        }
        return tuple(name for name, is_given in given.items() if is_given)

    @property
    def first_pass_beam(self) -> int:
        """Width of the search in `axe` and `ctc`; 1 is greedy."""
        if self.beam is not None:
            return self.beam
        return self.second_pass_beam if self.nbest > 1 or self.fused else 1

    @property
    def second_pass_beam(self) -> int:
        """Width of the search where the decoder takes part."""
        return self.beam or max(DEFAULT_BEAM, self.nbest)

    def _check_agreement(self) -> None:
        if self.beam is not None and self.nbest > self.beam:
            raise OptionError(
                "nbest",
                f"{self.nbest} texts need a beam as wide; give a beam of {self.nbest} or more",
            )
        for name in self.fused:
            if self.decode == "attention":
                raise OptionError(
                    name,
                    "decode mode 'attention' has no place for it; use joint, rescore, ctc or axe",
                )
            if self.beam == 1:
                raise OptionError(
                    name,
                    "a beam of 1 has nothing to choose from; give a beam of 2 or more, or none",
                )


RecognitionOptionsLike: TypeAlias = RecognitionOptions | DecodeMode | None


@dataclass(frozen=True)
class ComputeOptions:
    """What computes.

    Attributes:
        device: as in `keyframe_asr.load`; several processes take turns at several GPUs.
        workers: processes that recognise at the same time.
        threads: CPU threads of each; None is what torch takes, or a share for each of several.

    Raises:
        OptionError: a number is below 1.
    """

    device: str | None = None
    workers: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        _check_number("workers", self.workers, (1, math.inf))
        if self.threads is not None:
            _check_number("threads", self.threads, (1, math.inf))
