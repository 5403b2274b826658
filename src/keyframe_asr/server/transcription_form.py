"""The form of `POST /v1/audio/transcriptions`: its fields, checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from starlette.datastructures import FormData, UploadFile

from keyframe_asr.errors import OptionError
from keyframe_asr.inference.options import RecognitionOptions, Segmentation
from keyframe_asr.server.hot_words import MOST_KEYWORDS, checked_keywords, phrases_of
from keyframe_asr.server.languages import checked_language, only_possible
from keyframe_asr.server.service import ModelFacts, UnknownModelError

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
RESPONSE_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
STREAMED: tuple[ResponseFormat, ...] = ("json", "text")
GRANULARITIES = ("word", "segment")

MOST_FIELDS = MOST_KEYWORDS + 50
LARGEST_FIELD = 16 * 1024
"""Bytes of a field other than the file."""

_LISTS = ("languages", "keywords", "timestamp_granularities", "include")
_SINGLE = ("model", "language", "prompt", "response_format", "temperature", "stream")
_CHUNKING = "chunking_strategy"
_SPEAKERS = ("known_speaker_names", "known_speaker_references")

PAUSE_MS, PADDING_MS = (100.0, 10_000.0), (0.0, 2_000.0)
"""Smallest and largest `silence_duration_ms` and `prefix_padding_ms`."""

_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True)
class TranscriptionRequest:
    """What a client asks for.

    Attributes:
        model: name of the model.
        options: how the recording is recognised.
        prompt: phrases that the model may use as hot words.
        response_format: of the answer.
        granularities: what `verbose_json` lists.
        stream: the answer is sent while the recording is recognised.
        logprobs: `json` lists the tokens.
    """

    model: str
    options: RecognitionOptions
    prompt: tuple[str, ...] = ()
    response_format: ResponseFormat = "json"
    granularities: frozenset[str] = frozenset({"segment"})
    stream: bool = False
    logprobs: bool = False


def file_of(form: FormData) -> UploadFile:
    """Return the recording. Raises `OptionError` if there is none."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise OptionError(
            "file", "is missing; send a recording as a file of a form (multipart/form-data)"
        )
    return file


def read_request(form: FormData, models: Mapping[str, ModelFacts]) -> TranscriptionRequest:
    """Return what a form asks for. A field without a value is as if it was not there.

    Args:
        form: of the request.
        models: those that are served; the first is the default.

    Raises:
        UnknownModelError: the model is not served.
        OptionError: a field is unknown, or has a value that is not possible here.
    """
    fields = _fields_of(form)
    name = fields.single("model") or next(iter(models))
    if name not in models:
        raise UnknownModelError.of(name, models)
    output = _choice("response_format", fields.single("response_format") or "json")
    stream = _flag("stream", fields.single("stream"))
    if stream and output not in STREAMED:
        raise OptionError("stream", f"is not possible with {output}; use {' or '.join(STREAMED)}")
    _check_temperature(fields.single("temperature"))
    return TranscriptionRequest(
        model=name,
        options=_options(fields, models[name]),
        prompt=phrases_of(fields.single("prompt")),
        response_format=output,
        granularities=_granularities(fields.lists["timestamp_granularities"], output),
        stream=stream,
        logprobs=_logprobs(fields.lists["include"], output),
    )


class _Fields:
    """The fields of a form by name, without the file."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {name: [] for name in _LISTS}
        self.chunking: dict[str, str] = {}

    def single(self, name: str) -> str:
        """Return the value of a field, or ""."""
        return self.values.get(name, "")

    def add(self, name: str, value: str) -> None:
        """Add a field. Raises `OptionError` if there is no such field, or it was given before."""
        listed = name.removesuffix("[]")
        if listed in _SPEAKERS:
            raise OptionError(listed, "speakers are not told apart here; leave it out")
        if listed in _LISTS:
            self.lists[listed] += [value] if value.strip() else []
            return
        into, key = self.values, name
        if name.startswith(f"{_CHUNKING}[") and name.endswith("]"):
            into, key = self.chunking, name.removeprefix(f"{_CHUNKING}[")[:-1]
        elif name not in (*_SINGLE, _CHUNKING):
            raise OptionError(name, "is not a field of this request; see /docs for those there are")
        if key in into:
            raise OptionError(name, "is there twice; give it once")
        if value.strip():
            into[key] = value


def _fields_of(form: FormData) -> _Fields:
    fields = _Fields()
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != "file":
                raise OptionError(name, "is a file; send the recording as the field 'file'")
        elif name == "file":
            raise OptionError("file", "is a text; send the recording as a file, with a file name")
        else:
            fields.add(name, value)
    return fields


def _options(fields: _Fields, model: ModelFacts) -> RecognitionOptions:
    language = None
    if given := fields.single("language"):
        language = checked_language(given, model)
    elif several := fields.lists["languages"]:
        language = only_possible(several, model)
    return RecognitionOptions(
        hotwords=checked_keywords(fields.lists["keywords"]) or None,
        language=language,
        segmentation=_segmentation(fields),
    )


def _segmentation(fields: _Fields) -> Segmentation:
    """Return how a long recording is cut."""
    given: dict[str, Any] = dict(fields.chunking)
    text = fields.single(_CHUNKING)
    if text.startswith("{"):
        try:
            given = json.loads(text) | given
        except (ValueError, RecursionError):
            raise OptionError(_CHUNKING, "is not valid JSON; give auto, or an object") from None
    elif text and (text != "auto" or given):
        raise OptionError(_CHUNKING, f"'{text[:40]}' is not a choice; use auto or server_vad")
    if not given:
        return Segmentation()
    if given.pop("type", None) != "server_vad":
        raise OptionError(_CHUNKING, "its type must be server_vad; or give auto")
    values = {
        "prefix_padding_ms": (1000 * Segmentation.padding, PADDING_MS),
        "silence_duration_ms": (1000 * Segmentation.pause, PAUSE_MS),
        "threshold": (0.5, (0.0, 1.0)),
    }
    found = {
        name: _number(f"{_CHUNKING}.{name}", given.pop(name, usual), limits)
        for name, (usual, limits) in values.items()
    }
    if given:
        raise OptionError(_CHUNKING, f"'{next(iter(given))[:40]}' is not a field of server_vad")
    return Segmentation(
        pause=found["silence_duration_ms"] / 1000, padding=found["prefix_padding_ms"] / 1000
    )


def _number(name: str, given: object, limits: tuple[float, float]) -> float:
    """Return a number of a form, or of JSON."""
    try:
        value = math.nan if isinstance(given, bool) else float(cast(Any, given))
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not limits[0] <= value <= limits[1]:
        option, _, part = name.partition(".")
        raise OptionError(
            option,
            f"{part}{' ' * bool(part)}'{str(given)[:40]}' is out of range; give a number from "
            f"{limits[0]:g} to {limits[1]:g}",
        )
    return value


def _check_temperature(given: str) -> None:
    if given and _number("temperature", given, (0.0, 1.0)) > 0:
        raise OptionError("temperature", "nothing is sampled here; give 0, or leave it out")


def _choice(name: str, given: str) -> ResponseFormat:
    if given == "diarized_json":
        raise OptionError(name, "speakers are not told apart here; use json or verbose_json")
    if given not in RESPONSE_FORMATS:
        raise OptionError(
            name, f"'{given[:40]}' is not a choice; use one of {', '.join(RESPONSE_FORMATS)}"
        )
    return given


def _flag(name: str, given: str) -> bool:
    if given.lower() not in (*_TRUE, *_FALSE, ""):
        raise OptionError(name, f"'{given[:40]}' is not a choice; use true or false")
    return given.lower() in _TRUE


def _granularities(given: Sequence[str], output: ResponseFormat) -> frozenset[str]:
    name = "timestamp_granularities"
    for one in given:
        if one not in GRANULARITIES:
            raise OptionError(name, f"'{one[:40]}' is not a choice; use word or segment")
    if given and output != "verbose_json":
        raise OptionError(name, "are only possible with response_format verbose_json")
    return frozenset(given or ("segment",))


def _logprobs(given: Sequence[str], output: ResponseFormat) -> bool:
    for one in given:
        if one != "logprobs":
            raise OptionError("include", f"'{one[:40]}' is not a choice; use logprobs")
    if given and output != "json":
        raise OptionError("include", "is only possible with response_format json")
    return bool(given)
