"""What a server answers, without a server: formats, events, hot words, languages and errors."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any
from unittest.mock import create_autospec

import pytest
from starlette.datastructures import FormData

from fixtures.errors import refused
from fixtures.random_model import random_model
from keyframe_asr.audio import suffixes
from keyframe_asr.errors import (
    AudioError,
    FormatError,
    KeyframeError,
    ModelError,
    OptionError,
)
from keyframe_asr.inference.options import RecognitionOptions, Segmentation
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.results import Segment, Token, Transcript, Word
from keyframe_asr.server.activity import Activity
from keyframe_asr.server.errors import envelope
from keyframe_asr.server.gate import Gate
from keyframe_asr.server.hot_words import MOST_KEYWORDS, MOST_LETTERS, phrases_of, with_prompt
from keyframe_asr.server.languages import checked_language, only_possible
from keyframe_asr.server.metrics import Metrics
from keyframe_asr.server.response_formats import StreamedText, token_logprobs, verbose
from keyframe_asr.server.service import (
    AccessError,
    ModelFacts,
    OriginError,
    PartOfTranscript,
    RecognitionService,
    ServerBusyError,
    ServerFullError,
    SlowClientError,
    TooLongError,
    UnknownModelError,
    WorkerError,
)
from keyframe_asr.server.settings import ServerSettings
from keyframe_asr.server.transcription_form import TranscriptionRequest, read_request

BOTH = ModelFacts("both", 0, ("zh", "en"), False, 16_000, 0.04, 0.1)
MIXED = ModelFacts("mixed", 0, ("zh+en",), False, 16_000, 0.04, 0.1)
TOKENS = [Token("▁SO", 0.5, 1.0, 1.0), Token("▁NÖ", 1.0, 1.5, 0.0)]
WORDS = [Word("SO", 0.5, 1.0, 1.0), Word("NÖ", 1.0, 1.23456, 0.0)]
SEGMENTS = [Segment("SO NÖ", 0.5, 1.23456, TOKENS, WORDS), Segment("", 2.0, 3.0)]
FOUND = Transcript("SO NÖ", TOKENS, 3.0, 0.5, WORDS, SEGMENTS)


def request_of(*fields: tuple[str, str]) -> TranscriptionRequest:
    return read_request(FormData(list(fields)), {"both": BOTH})


def test_numbers_of_a_segment_are_known_or_neutral() -> None:
    request = TranscriptionRequest("both", RecognitionOptions(), granularities=frozenset("segment"))
    assert set(verbose(FOUND, request, BOTH)) == {"task", "language", "duration", "text", "usage"}
    request = TranscriptionRequest("both", RecognitionOptions())
    content: Any = verbose(FOUND, request, BOTH)
    first, second = content["segments"]
    assert (first["id"], second["id"], first["seek"], second["seek"]) == (0, 1, 50, 200)
    assert (first["start"], first["end"], first["text"]) == (0.5, 1.235, "SO NÖ")
    assert first["avg_logprob"] == pytest.approx(math.log(1e-6) / 2)
    assert second["avg_logprob"] == second["compression_ratio"] == first["no_speech_prob"] == 0
    assert content["language"] == "zh+en"
    told = TranscriptionRequest("both", RecognitionOptions(language="en"))
    assert verbose(FOUND, told, BOTH)["language"] == "en"
    json.dumps(content, allow_nan=False)


def test_tokens_join_to_the_text() -> None:
    found: Any = token_logprobs(TOKENS)
    assert "".join(one["token"] for one in found).strip() == FOUND.text
    assert b"".join(bytes(one["bytes"]) for one in found).decode().strip() == FOUND.text
    assert [one["logprob"] for one in found] == [0.0, pytest.approx(math.log(1e-6))]


def events_of(content: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in content.decode().split("\n\n")[:-1]]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("end", ["SO NÖ", "SO NÖ WHAT", "SO NO"])
def test_events_of_a_streamed_text(end: str) -> None:
    text = StreamedText(logprobs=True)
    sent = [text.part(PartOfTranscript("SO", (Segment("SO", 0, 1, TOKENS[:1]),)))]
    sent.append(text.part(PartOfTranscript("SO", ())))
    sent.append(text.part(PartOfTranscript("SO NÖ", (Segment("NÖ", 1, 2, TOKENS[1:]),))))
    last = text.last(Transcript(end, [*TOKENS, Token("▁WHAT", 2, 3, 0.5)]))
    assert last.endswith(b"data: [DONE]\n\n")
    *deltas, done = events_of(b"".join([*sent, last]))
    joined = "".join(one["delta"] for one in deltas)
    assert done["text"] == end and joined == (end if end.startswith("SO NÖ") else "SO NÖ")
    assert len(deltas[0]["logprobs"]) == len(deltas[1]["logprobs"]) == 1
    assert len(done["logprobs"]) == 3


def test_how_long_recordings_are_cut() -> None:
    assert request_of().options == request_of(("chunking_strategy", "auto")).options
    given = {"type": "server_vad", "silence_duration_ms": "300", "prefix_padding_ms": 200}
    expected = Segmentation(pause=0.3, padding=0.2)
    as_json = request_of(("chunking_strategy", json.dumps(given)))
    fields = [(f"chunking_strategy[{name}]", str(value)) for name, value in given.items()]
    assert request_of(*fields).options.segmentation == expected == as_json.options.segmentation
    for wrong in (
        {"type": "near_field"},
        {"silence_duration_ms": 300},
        given | {"prefix_padding_ms": True},
        given | {"silence_duration_ms": "nan"},
        given | {"threshold": 2},
        given | {"silence_duration_ms": [300]},
        given | {"create_response": True},
    ):
        with refused(OptionError, "chunking_strategy: "):
            request_of(("chunking_strategy", json.dumps(wrong)))


@pytest.mark.parametrize("given", ["en", "EN", "English", " english ", "en-GB"])
def test_languages_have_several_names(given: str) -> None:
    for model in (BOTH, MIXED):
        assert checked_language(given, model) == "en"


def test_other_languages_are_refused() -> None:
    for wrong in ("fr", "french", "klingon", "e", "en en", "../en", "+"):
        with refused(OptionError, "zh", "en", "'both'"):
            checked_language(wrong, BOTH)
    assert only_possible(["fr", "Mandarin"], BOTH) == "zh"
    assert only_possible(["en", "zh"], BOTH) is None
    with refused(OptionError, "languages: ", "'de'"):
        only_possible(["fr", "de"], BOTH)


def test_phrases_of_a_prompt() -> None:
    prompt = "Ada Lovelace, Bo;\tCy\r\n\n，迪；Bo , \n" + "long" * 60
    assert phrases_of(prompt) == ("Ada Lovelace", "Bo", "Cy", "迪")
    assert phrases_of(" ,; ") == ()
    assert len(phrases_of(",".join(map(str, range(9000))))) == MOST_KEYWORDS


def test_a_prompt_only_helps() -> None:
    recognizer = Recognizer(random_model(), "cpu")
    given = RecognitionOptions("ctc", hotwords=("fade",))
    found = with_prompt(given, ("cab", "zoo", "bad"), recognizer)
    assert found == RecognitionOptions("ctc", hotwords=("fade", "cab", "bad"))
    assert with_prompt(given, ("zoo", " "), recognizer) == with_prompt(given, (), recognizer)
    attention = RecognitionOptions("attention")
    assert with_prompt(attention, ("cab",), recognizer) == attention, "it takes no hot words"
    many = [f"cab{'ab' * n}" for n in range(90)]
    limited = with_prompt(given, many, recognizer).hotwords
    assert isinstance(limited, tuple) and 2 < len(limited) < 91
    assert MOST_LETTERS - 200 < sum(map(len, limited)) <= MOST_LETTERS


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        (AccessError("a"), 401, "invalid_api_key", None),
        (OriginError("a"), 403, "origin_not_allowed", None),
        (UnknownModelError("a"), 404, "model_not_found", "model"),
        (SlowClientError("a"), 408, "request_timeout", None),
        (TooLongError("a"), 413, "file_too_large", "file"),
        (FormatError("a"), 415, "unsupported_format", "file"),
        (AudioError("a"), 400, "invalid_audio", "file"),
        (OptionError("hotwords", "a"), 400, "invalid_value", "keywords"),
        (OptionError("segmentation.pause", "a"), 400, "invalid_value", "chunking_strategy"),
        (KeyframeError("a"), 400, None, None),
        (ServerBusyError("a"), 429, "rate_limit_exceeded", None),
        (ServerFullError("a"), 503, "server_full", None),
        (WorkerError("a"), 500, "recognition_failed", None),
        (ModelError("/models/a"), 500, None, None),
        (ZeroDivisionError("/models/a"), 500, None, None),
    ],
)
def test_errors_have_a_status_and_a_code(error, status, code, param) -> None:
    found, content, headers = envelope(error)
    told: Any = content["error"]
    assert (found, told["code"], told["param"]) == (status, code, param)
    assert told["message"] and "/models/a" not in told["message"]
    assert ("retry-after" in headers) == (status in (429, 503))
    kinds = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}
    assert told["type"] == kinds.get(status, "invalid_request_error")


def test_who_does_not_read_keeps_no_place() -> None:
    """The answer ends, and the application is told that the client has left."""
    told: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        finally:
            told.append((await receive())["type"])

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        return {"type": "http.request"}

    activity = Activity(Metrics())
    gate = Gate(
        app, create_autospec(RecognitionService), ServerSettings(idle_timeout=0.1), activity
    )
    asyncio.run(gate({"type": "http", "path": "/", "headers": []}, receive, send))
    assert told == ["http.disconnect"] and activity.open == 0


def test_messages_are_short_and_on_one_line() -> None:
    told: Any = envelope(UnknownModelError("a\r\nb\x1b[0m\u2028" + "c" * 9000))[1]["error"]
    assert len(told["message"]) <= 500 and told["message"].isprintable()


def test_formats_that_are_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def formats() -> str:
        told: Any = envelope(FormatError("a"))[1]["error"]
        return str(told["message"])

    assert "flac" in formats() and "m4a" in formats()
    libsndfile = frozenset(one for names in suffixes.BY_LIBSNDFILE.values() for one in names)
    monkeypatch.setattr("keyframe_asr.server.errors.readable_suffixes", lambda: libsndfile)
    assert "flac" in formats() and "m4a" not in formats()
