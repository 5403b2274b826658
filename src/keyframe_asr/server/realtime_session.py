"""What a client of `/v1/realtime` asks for: its events, and the configuration of its session."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from keyframe_asr.inference.options import RecognitionOptions, Segmentation, StreamOptions
from keyframe_asr.server.hot_words import checked_keywords, phrases_of
from keyframe_asr.server.languages import checked_language, only_possible
from keyframe_asr.server.service import ModelFacts, UnknownModelError
from keyframe_asr.server.sockets import MessageError

LARGEST_APPEND = 15 * 2**20
"""Bytes of audio in one event."""

SHORTEST_SILENCE, LONGEST_SILENCE = 100, 3_600_000
"""Milliseconds of silence that can end an utterance."""

MOST_VALUES = 10_000
"""Values in one event: megabytes of tiny ones take twenty times as much memory, and seconds."""

LONGEST_PADDING = 2_000
"""Milliseconds of sound that can be kept before an utterance."""

LOGPROBS = "item.input_audio_transcription.logprobs"


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Format(_Fields):
    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000, 16000] = 24000


class _Transcription(_Fields):
    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: str | None = None


class _TurnDetection(_Fields):
    type: Literal["server_vad"]
    threshold: float | None = Field(None, ge=0, le=1)
    prefix_padding_ms: int | None = Field(None, ge=0)
    silence_duration_ms: int | None = Field(None, ge=0)
    create_response: bool | None = None
    interrupt_response: bool | None = None
    idle_timeout_ms: int | None = None


class _Input(_Fields):
    format: _Format | None = None
    noise_reduction: dict[str, Any] | None = None
    transcription: _Transcription | None = None
    turn_detection: _TurnDetection | None = None


class _Audio(_Fields):
    input: _Input | None = None


class _Session(_Fields):
    type: Literal["transcription"]
    audio: _Audio | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None


class _BetaTranscription(_Fields):
    model: str | None = None
    language: str | None = None
    prompt: str | None = None


class _BetaSession(_Fields):
    input_audio_format: Literal["pcm16"] = "pcm16"
    input_audio_noise_reduction: dict[str, Any] | None = None
    input_audio_transcription: _BetaTranscription | None = None
    turn_detection: _TurnDetection | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None
    modalities: list[str] | None = None


@dataclass(frozen=True)
class TurnDetection:
    """Items end where there is silence. `threshold` has no effect; all else is within limits."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    type: str = "server_vad"


@dataclass(frozen=True)
class Transcription:
    """How audio is recognised; fields as in OpenAI's `AudioTranscription`."""

    model: str
    language: str | None = None
    prompt: str | None = None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Configuration:
    """The configuration of a session.

    Attributes:
        transcription: how audio is recognised.
        rate: samples a second.
        turns: where items end; None: where the client commits them.
        probabilities: log-probabilities of tokens are sent.
    """

    transcription: Transcription
    rate: int = 24_000
    turns: TurnDetection | None = field(default_factory=TurnDetection)
    probabilities: bool = False

    def updated(self, session: object, models: Mapping[str, ModelFacts]) -> Configuration:
        """Return the configuration after a `session.update`.

        Raises:
            MessageError: a field is wrong.
            UnknownModelError: the server does not serve the model.
            OptionError: the model does not write the language, or there are too many keywords.
        """
        given = _checked(_Session, session)
        found = self
        if "include" in given.model_fields_set:
            found = replace(found, probabilities=LOGPROBS in (given.include or ()))
        if given.audio is None or given.audio.input is None:
            return found
        audio = given.audio.input
        if audio.format is not None:
            found = replace(found, rate=audio.format.rate)
        if "turn_detection" in audio.model_fields_set:
            found = replace(found, turns=_turns(audio.turn_detection))
        if audio.transcription is not None:
            asked = _asked(found.transcription, audio.transcription, models)
            found = replace(found, transcription=asked)
        return found

    def updated_by_beta(self, session: object, models: Mapping[str, ModelFacts]) -> Configuration:
        """Return the configuration after a `transcription_session.update` of the beta API.

        Raises the same as `updated`.
        """
        given = _checked(_BetaSession, session)
        audio: dict[str, object] = {"format": {"type": "audio/pcm"}}
        for name, value in (
            ("transcription", given.input_audio_transcription),
            ("turn_detection", given.turn_detection),
        ):
            if value is not None:
                audio[name] = value.model_dump(exclude_unset=True)
        if "turn_detection" in given.model_fields_set:
            audio.setdefault("turn_detection", None)
        changed: dict[str, object] = {"type": "transcription", "audio": {"input": audio}}
        if "include" in given.model_fields_set:
            changed["include"] = given.include
        return self.updated(changed, models)

    def to_dict(self, identifier: str) -> dict[str, object]:
        """Return the session as its events hold it."""
        audio = {
            "format": {"type": "audio/pcm", "rate": self.rate},
            "noise_reduction": None,
            "transcription": asdict(self.transcription),
            "turn_detection": None if self.turns is None else asdict(self.turns),
        }
        return {
            "id": identifier,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {"input": audio},
            "include": [LOGPROBS] if self.probabilities else None,
        }

    def to_beta_dict(self, identifier: str) -> dict[str, object]:
        """Return the session as the events of the beta API hold it."""
        asked = self.transcription
        return {
            "id": identifier,
            "object": "realtime.transcription_session",
            "input_audio_format": "pcm16",
            "input_audio_noise_reduction": None,
            "input_audio_transcription": {
                "model": asked.model,
                "language": asked.language,
                "prompt": asked.prompt,
            },
            "turn_detection": None if self.turns is None else asdict(self.turns),
            "include": [LOGPROBS] if self.probabilities else None,
        }

    @property
    def prompt(self) -> tuple[str, ...]:
        """Phrases that items may hold."""
        return phrases_of(self.transcription.prompt or "")

    @property
    def recognition(self) -> RecognitionOptions:
        """How items are recognised."""
        padding = 0.3 if self.turns is None else self.turns.prefix_padding_ms / 1000
        return RecognitionOptions(
            language=self.transcription.language,
            hotwords=self.transcription.keywords or None,
            segmentation=Segmentation(padding=padding),
        )

    @property
    def stream(self) -> StreamOptions:
        """How a stream is recognised; `turns` must not be None."""
        assert self.turns is not None
        silence = self.turns.silence_duration_ms / 1000
        return StreamOptions(
            silence=max(silence, StreamOptions.silence),
            silence_after_text=silence,
            recognition=self.recognition,
        )


def parsed(content: str | bytes) -> dict[str, Any]:
    """Return an event of a client.

    Raises:
        MessageError: it is no JSON object, or has too many values.
    """
    if isinstance(content, bytes):
        content = content.decode(errors="replace")
    if sum(map(content.count, ",[{")) > MOST_VALUES:
        raise MessageError(
            f"the message has more than {MOST_VALUES} values; send less at once", "invalid_json"
        )
    try:
        found = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MessageError(
            "the message is not JSON; send events as JSON objects", "invalid_json"
        ) from None
    if not isinstance(found, dict):
        raise MessageError("the message is no JSON object; send events as such", "invalid_json")
    return found


def kind_of(event: Mapping[str, Any], known: Collection[str]) -> str:
    """Return the type of an event.

    Raises:
        MessageError: it has none, or one that is not known.
    """
    kind = event.get("type")
    if not isinstance(kind, str):
        raise MessageError("the event has no type; give one", "missing_type", "type")
    if kind not in known:
        raise MessageError(
            f"there is no event '{kind[:50]}' in transcription sessions; use {', '.join(known)}",
            param="type",
        )
    return kind


def audio_of(event: Mapping[str, Any]) -> bytes:
    """Return the audio of an `input_audio_buffer.append`: samples of 16 bits.

    Raises:
        MessageError: it is not base64, too long, or ends within a sample.
    """
    given = event.get("audio")
    if not isinstance(given, str):
        raise MessageError("audio is missing; send it as base64", "invalid_audio", "audio")
    if len(given) > 4 * (LARGEST_APPEND // 3 + 1):
        _refuse_length()
    try:
        found = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise MessageError("audio is not base64; encode it", "invalid_audio", "audio") from None
    if len(found) > LARGEST_APPEND:
        _refuse_length()
    if len(found) % 2:
        raise MessageError(
            "audio ends within a sample; send mono samples of 16 bits, two bytes each",
            "invalid_audio",
            "audio",
        )
    return found


def _refuse_length() -> NoReturn:
    raise MessageError(
        "audio has more than 15 MiB; send it in several events", "audio_too_large", "audio"
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_Checked = TypeVar("_Checked", bound=_Fields)


def _checked(kind: type[_Checked], session: object) -> _Checked:
    """Return a session of a client, checked. Raises `MessageError`."""
    try:
        return kind.model_validate(session)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(str(part)[:50] for part in ("session", *first["loc"]))
        codes = {"extra_forbidden": "unknown_parameter", "missing": "missing_required_parameter"}
        code = codes.get(first["type"], "invalid_value")
        message = first["msg"][:1].lower() + first["msg"][1:]
        raise MessageError(f"{param}: {message}", code, param) from None


def _turns(given: _TurnDetection | None) -> TurnDetection | None:
    if given is None:
        return None
    fields = given.model_dump(include={"threshold", "prefix_padding_ms", "silence_duration_ms"})
    found = TurnDetection(**{name: value for name, value in fields.items() if value is not None})
    silence = min(max(found.silence_duration_ms, SHORTEST_SILENCE), LONGEST_SILENCE)
    padding = min(found.prefix_padding_ms, LONGEST_PADDING)
    return replace(found, prefix_padding_ms=padding, silence_duration_ms=silence)


def _asked(
    before: Transcription, given: _Transcription, models: Mapping[str, ModelFacts]
) -> Transcription:
    """Return what is asked for once the given fields are changed.

    Raises:
        UnknownModelError: the server does not serve the model.
        OptionError: the model does not write the language, or there are too many keywords.
    """
    fields, found = given.model_fields_set, before
    if given.model is not None:
        found = replace(found, model=given.model)
    model = models.get(found.model)
    if model is None:
        raise UnknownModelError.of(found.model, models)
    language = found.language
    if fields & {"language", "languages"}:
        language = given.language or only_possible(given.languages or (), model)
    found = replace(found, language=language and checked_language(language, model))
    if "prompt" in fields:
        found = replace(found, prompt=given.prompt or None)
    if "keywords" in fields:
        found = replace(found, keywords=checked_keywords(given.keywords or ()))
    return found
