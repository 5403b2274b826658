"""Transcripts as OpenAI's API gives them, and the events of a transcription that is streamed."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence

from fastapi.responses import JSONResponse, PlainTextResponse, Response

from keyframe_asr.results import Segment, Token, Transcript
from keyframe_asr.server.languages import written_by
from keyframe_asr.server.service import ModelFacts, PartOfTranscript
from keyframe_asr.server.transcription_form import ResponseFormat, TranscriptionRequest

PLAIN, VTT = "text/plain", "text/vtt"

LEAST_CONFIDENCE = 1e-6
"""Stands for lower ones, whose logarithm may be infinite."""

DONE = b"data: [DONE]\n\n"


def answer(transcript: Transcript, request: TranscriptionRequest, model: ModelFacts) -> Response:
    """Return a transcript in the format that was asked for."""
    texts: Mapping[ResponseFormat, Callable[[], Response]] = {
        "text": lambda: PlainTextResponse(f"{transcript.text}\n"),
        "srt": lambda: PlainTextResponse(transcript.to_srt(), media_type=PLAIN),
        "vtt": lambda: PlainTextResponse(transcript.to_vtt(), media_type=VTT),
        "json": lambda: JSONResponse(brief(transcript, request.logprobs)),
        "verbose_json": lambda: JSONResponse(verbose(transcript, request, model)),
    }
    return texts[request.response_format]()


def brief(transcript: Transcript, logprobs: bool) -> dict[str, object]:
    """Return the content of `json`."""
    content: dict[str, object] = {"text": transcript.text, "usage": _usage(transcript)}
    if logprobs:
        content["logprobs"] = token_logprobs(transcript.tokens)
    return content


def verbose(
    transcript: Transcript, request: TranscriptionRequest, model: ModelFacts
) -> dict[str, object]:
    """Return the content of `verbose_json`."""
    heard = transcript.language or request.options.language
    content: dict[str, object] = {
        "task": "transcribe",
        "language": heard or "+".join(written_by(model)),
        "duration": _seconds(transcript.duration),
        "text": transcript.text,
        "usage": _usage(transcript),
    }
    if "segment" in request.granularities:
        content["segments"] = [
            _segment(number, one) for number, one in enumerate(transcript.segments)
        ]
    if "word" in request.granularities:
        content["words"] = [
            {"word": one.text, "start": _seconds(one.start), "end": _seconds(one.end)}
            for one in transcript.words
        ]
    return content


def token_logprobs(tokens: Sequence[Token]) -> list[dict[str, object]]:
    """Return the tokens with the natural logarithms of their confidences."""
    texts = [token.text.replace("▁", " ") for token in tokens]
    return [
        {"token": text, "bytes": list(text.encode()), "logprob": _logprob(token)}
        for text, token in zip(texts, tokens, strict=True)
    ]


class StreamedText:
    """The events of a transcription that is streamed.

    Args:
        logprobs: list the tokens.
    """

    def __init__(self, logprobs: bool) -> None:
        self._logprobs = logprobs
        self._sent, self._tokens = "", 0

    def part(self, part: PartOfTranscript) -> bytes:
        """Return the event of new text."""
        tokens = [token for segment in part.segments for token in segment.tokens]
        return self._delta(part.text, tokens)

    def last(self, transcript: Transcript) -> bytes:
        """Return the events after which nothing follows."""
        rest = self._delta(transcript.text, transcript.tokens[self._tokens :])
        done: dict[str, object] = {"type": "transcript.text.done", "text": transcript.text}
        if self._logprobs:
            done["logprobs"] = token_logprobs(transcript.tokens)
        return rest + _event(done) + DONE

    def _delta(self, text: str, tokens: Sequence[Token]) -> bytes:
        """Return the event of what a text adds to that before; nothing if it adds nothing."""
        added = text.removeprefix(self._sent) if text.startswith(self._sent) else ""
        self._tokens += len(tokens)
        if not added:
            return b""
        self._sent = text
        delta: dict[str, object] = {"type": "transcript.text.delta", "delta": added}
        if self._logprobs:
            delta["logprobs"] = token_logprobs(tokens)
        return _event(delta)


def error_event(content: Mapping[str, object]) -> bytes:
    """Return the event of an error, after which nothing follows."""
    return _event(content)


def _event(content: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _segment(number: int, segment: Segment) -> dict[str, object]:
    logprobs = [_logprob(token) for token in segment.tokens]
    text = segment.text.encode()
    return {
        "id": number,
        "seek": round(100 * segment.start),
        "start": _seconds(segment.start),
        "end": _seconds(segment.end),
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": sum(logprobs) / max(1, len(logprobs)),
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "no_speech_prob": 0.0,
    }


def _logprob(token: Token) -> float:
    return math.log(max(token.confidence, LEAST_CONFIDENCE))


def _usage(transcript: Transcript) -> dict[str, object]:
    return {"type": "duration", "seconds": _seconds(transcript.duration)}


def _seconds(seconds: float) -> float:
    return round(seconds, 3)
