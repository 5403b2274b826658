"""Recordings over HTTP, sent by OpenAI's own client, which is not changed."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile
import srt
import webvtt

import keyframe_asr
from architecture.source_tree import REPOSITORY
from fixtures.server import RunningServer, running_server
from fixtures.spoken import RATE, SENTENCES, spoken
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer

LONG = np.concatenate([spoken(*SENTENCES, voice=voice) for voice in ("cmn", "cmn+f2", "cmn+m3")])
HALF_AN_HOUR = np.tile(LONG, 1 + 1800 * RATE // LONG.size)
KEY = "secret"
HEADERS = {"authorization": f"Bearer {KEY}"}
NAMES = (
    "../../../etc/passwd",
    "a\r\nset-cookie: b=c.wav",
    "x" * 2000,
    "a\0b.wav",
    "../",
    "声音.wav",
)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server("demo", "an4", options=("--api-key", KEY, "--max-requests", "4")) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return keyframe_asr.load("demo")


def recording(
    samples: Any = None, kind: str = "WAV", subtype: str | None = None, name: str = "a.wav"
) -> tuple[str, bytes]:
    """A recording as the client takes it."""
    file = io.BytesIO()
    given = spoken(SENTENCES[4]) if samples is None else samples
    soundfile.write(file, given, RATE, format=kind, subtype=subtype)
    return name, file.getvalue()


def english() -> Any:
    """Words that `an4` knows, as spoken by espeak-ng."""
    from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser

    return SpeechSynthesiser().say("one two three four five", "en-us+f2")[0]


def post(server: RunningServer, fields: Any = None, files: Any = None) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/audio/transcriptions",
        data=fields or {},
        files={"file": recording()} if files is None else files,
        headers=HEADERS,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", None), ("FLAC", None), ("MP3", None), ("OGG", "OPUS")]
)
def test_the_text_is_that_of_a_recognizer(client, recognizer, kind, subtype) -> None:
    for samples in (spoken(SENTENCES[1]), LONG):
        file = recording(samples, kind, subtype)
        found = client.audio.transcriptions.create(file=file, model="demo")
        assert found.text == recognizer.transcribe(file[1]).text != ""
    assert found.usage.seconds == pytest.approx(LONG.size / RATE, abs=0.1)


def test_sound_of_a_telephone(client: openai.OpenAI, recognizer: Recognizer) -> None:
    """An m4a file, which PyAV decodes."""
    av: Any = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=RATE, layout="mono")
        samples = spoken(SENTENCES[4])[None]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = RATE
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    found = client.audio.transcriptions.create(file=("a.m4a", file.getvalue()), model="demo")
    assert found.text == recognizer.transcribe(file.getvalue()).text != ""


def test_every_format(client: openai.OpenAI) -> None:
    file = recording(english())
    create: Any = client.audio.transcriptions.create
    expected = keyframe_asr.load("an4").transcribe(file[1])
    assert create(file=file, model="an4", response_format="text") == f"{expected.text}\n"
    cues = list(srt.parse(create(file=file, model="an4", response_format="srt")))
    assert " ".join(cue.content for cue in cues).split() == expected.text.split()
    captions = webvtt.from_string(create(file=file, model="an4", response_format="vtt"))
    assert " ".join(one.text for one in captions).split() == expected.text.split()
    both = ["word", "segment"]
    found = create(
        file=file, model="an4", response_format="verbose_json", timestamp_granularities=both
    )
    assert found.text == expected.text and found.language == "en"
    assert found.duration == pytest.approx(expected.duration, abs=1e-3)
    words = [(one.word, one.start, one.end) for one in found.words]
    assert words == [(w.text, round(w.start, 3), round(w.end, 3)) for w in expected.words]
    assert [one.text for one in found.segments] == [one.text for one in expected.segments]
    assert -5 < found.segments[0].avg_logprob < 0 < found.segments[0].compression_ratio
    plain = create(file=file, model="an4", response_format="verbose_json")
    assert plain.segments == found.segments and plain.words is None
    words = create(
        file=file, model="an4", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert words.words == found.words and words.segments is None


def test_text_arrives_while_it_is_recognised(client: openai.OpenAI, recognizer) -> None:
    expected = recognizer.transcribe(LONG)
    events = list(
        client.audio.transcriptions.create(
            file=recording(LONG), model="demo", stream=True, include=["logprobs"]
        )
    )
    *deltas, done = events
    assert [one.type for one in events[:2]] == ["transcript.text.delta"] * 2
    assert done.type == "transcript.text.done" and done.text == expected.text
    assert "".join(one.delta for one in deltas) == expected.text
    tokens = [(one.token, one.logprob) for delta in deltas for one in delta.logprobs]
    assert tokens == [(one.token, one.logprob) for one in done.logprobs]
    confidences = [one.confidence for one in expected.tokens]
    np.testing.assert_allclose(np.exp([one for _, one in tokens]), confidences, rtol=0.02)
    raw = post_stream(client)
    assert raw.endswith("data: [DONE]\n\n") and '"logprobs"' not in raw


def test_a_fault_that_comes_late_is_an_event(client: openai.OpenAI) -> None:
    """A recording that was damaged on the way: its text up to there, then an error."""
    _, content = recording(np.tile(LONG, 4), "FLAC")
    damaged = content[: len(content) // 2] + bytes(4000) + content[len(content) // 2 :]
    file, text = ("a.flac", damaged), ""
    with pytest.raises(openai.APIError) as caught:
        for event in client.audio.transcriptions.create(file=file, model="demo", stream=True):
            assert event.type == "transcript.text.delta"
            text += event.delta
    assert text and caught.value.code == "invalid_audio"
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(file=file, model="demo")


def post_stream(client: openai.OpenAI) -> str:
    """The body of an answer that is streamed."""
    answer: Any = client.audio.transcriptions.with_raw_response.create(
        file=recording(), model="demo", stream=True
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    return "".join(answer.http_response.iter_text())


def test_hot_words_change_the_text(client: openai.OpenAI, recognizer) -> None:
    file = recording(spoken(SENTENCES[0]))

    def text(**fields: Any) -> str:
        return client.audio.transcriptions.create(file=file, model="demo", **fields).text

    options = RecognitionOptions(hotwords=("八号灯\t3", "三"))
    plain, hot = (recognizer.transcribe(file[1], one).text for one in (None, options))
    assert hot != plain == text() and "八号灯" in hot
    assert text(keywords=["八号灯\t3", "三"]) == hot
    # a prompt may name what the model cannot write, and has no weights
    weight_of_one = recognizer.transcribe(file[1], RecognitionOptions(hotwords=("八号灯",))).text
    assert text(prompt="Hello, 八号灯, don't know") == weight_of_one != plain
    assert text(prompt="Hello, don't know; " + "long " * 100) == plain


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"model": "../demo"}, openai.NotFoundError, "model"),
        ({"temperature": 0.4}, openai.BadRequestError, "temperature"),
        ({"temperature": float("nan")}, openai.BadRequestError, "temperature"),
        ({"language": "fr"}, openai.BadRequestError, "language"),
        ({"language": "no language"}, openai.BadRequestError, "language"),
        ({"languages": ["fr", "de"]}, openai.BadRequestError, "languages"),
        ({"keywords": ["灯", "zoo"]}, openai.BadRequestError, "keywords"),
        ({"keywords": ["灯\theavy"]}, openai.BadRequestError, "keywords"),
        ({"keywords": ["灯" * n for n in range(150, 170)]}, openai.BadRequestError, "keywords"),
        ({"keywords": ["灯" * 199, "灯" * 201]}, openai.BadRequestError, "keywords"),
        ({"response_format": "diarized_json"}, openai.BadRequestError, "response_format"),
        ({"response_format": "docx"}, openai.BadRequestError, "response_format"),
        ({"include": ["moods"]}, openai.BadRequestError, "include"),
        ({"include": ["logprobs"], "response_format": "srt"}, openai.BadRequestError, "include"),
        ({"response_format": "srt", "stream": True}, openai.BadRequestError, "stream"),
        (
            {"timestamp_granularities": ["word"], "response_format": "json"},
            openai.BadRequestError,
            "timestamp_granularities",
        ),
        ({"known_speaker_names": ["Ann"]}, openai.BadRequestError, "known_speaker_names"),
        ({"chunking_strategy": "never"}, openai.BadRequestError, "chunking_strategy"),
        (
            {"chunking_strategy": {"type": "server_vad", "silence_duration_ms": 1}},
            openai.BadRequestError,
            "chunking_strategy",
        ),
        ({"extra_body": {"vad_filter": "true"}}, openai.BadRequestError, "vad_filter"),
        ({"file": ("a.wav", b"")}, openai.BadRequestError, "file"),
        ({"file": ("a.wav", recording()[1][:1000])}, openai.BadRequestError, "file"),
        ({"file": ("a.wav", b"no recording" * 99)}, openai.APIStatusError, "file"),
    ],
)
def test_errors_are_those_of_the_client(client: openai.OpenAI, fields, error, param) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(**{"file": recording(), "model": "demo", **fields})
    assert type(caught.value) is error and caught.value.param == param
    assert caught.value.type == "invalid_request_error" and caught.value.code
    assert param in str(caught.value) or param == "file"


def test_other_errors_of_the_client(client: openai.OpenAI) -> None:
    other = client.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError):
        other.audio.transcriptions.create(file=recording(), model="demo")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/model")
    with pytest.raises(openai.BadRequestError):
        client.audio.translations.create(file=recording(HALF_AN_HOUR), model="demo")
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(file=("a.m4a", b"no recording" * 99), model="demo")
    assert caught.value.status_code == 415 and "flac" in caught.value.message


def test_models(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["demo", "an4"]
    found = client.models.retrieve("an4")
    assert (found.id, found.object) == ("an4", "model") and found.created > 1_500_000_000


def test_forms_of_other_clients(server: RunningServer) -> None:
    """Names of lists without brackets, JSON for the strategy, empty fields, no model."""
    several = {"timestamp_granularities": ["word", "segment"], "response_format": "verbose_json"}
    found = post(server, several).json()
    assert found["words"] and found["segments"] and found["language"] == "zh"
    empty = dict.fromkeys(("model", "prompt", "language", "temperature", "stream"), "")
    strategy = '{"type": "server_vad", "threshold": 0.5}'
    options = {"language": "Chinese", "temperature": "0.0", "chunking_strategy": strategy}
    for fields in ({}, empty, options, {"languages[]": ["zh", "en"]}, {"keywords[]": ["", " "]}):
        assert post(server, fields).json()["text"] == found["text"], fields
    for fields in ({"model": ["demo", "an4"]}, {"chunking_strategy": "{" * 9000}, {"file": "a"}):
        assert post(server, fields).status_code == 400
    for body in (b"{}", b"--x\r\n\r\n\r\n--x--", b"--x\r\ncontent-disposition: form-data\r\n\r\n"):
        for kind in ("application/json", "multipart/form-data; boundary=x", "multipart/form-data"):
            answer = httpx.post(
                f"{server.url}/v1/audio/transcriptions",
                content=body,
                headers={**HEADERS, "content-type": kind},
            )
            assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_fields_are_limited(server: RunningServer) -> None:
    megabytes = "word, " * 4_000_000
    for fields in ({"prompt": megabytes}, {"keywords": ["灯"] * 1000}, {"x" * 5000: "a"}):
        answer = post(server, fields)
        assert answer.status_code == 400 and len(answer.content) < 1000
    two = [("file", recording()), ("file", recording())]
    assert post(server, files=two).status_code == 400
    assert post(server, files={"other": recording()}).status_code == 400


def test_names_of_files_mean_nothing(server: RunningServer) -> None:
    expected = post(server).json()["text"]
    for name in NAMES:
        answer = post(server, files={"file": (name, recording()[1])})
        assert answer.json()["text"] == expected
        refused = post(server, files={"file": (name, b"no recording")})
        assert refused.status_code == 415 and name not in refused.text
    assert not any("passwd" in line or "cookie" in line for line in server.log)


def test_who_leaves_makes_room_within_a_second(server: RunningServer, client) -> None:
    """Four are in progress, so that a fifth is refused; then all leave."""
    file = recording(HALF_AN_HOUR)

    def impatient() -> None:
        hasty = client.with_options(timeout=httpx.Timeout(60, read=2.5))
        with pytest.raises(openai.APITimeoutError):
            hasty.audio.transcriptions.create(file=file, model="demo")

    with ThreadPoolExecutor(3) as pool:
        leaving = [pool.submit(impatient) for _ in range(3)]
        deadline = time.monotonic() + 10
        while in_progress(server) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        events = client.audio.transcriptions.create(file=file, model="demo", stream=True)
        assert next(events).delta
        with pytest.raises(openai.RateLimitError) as refused:
            client.audio.transcriptions.create(file=recording(), model="demo")
        assert int(refused.value.response.headers["retry-after"]) > 0
        events.close()
        for one in leaving:
            one.result()
    left = time.monotonic()
    while in_progress(server) and time.monotonic() < left + 5:
        time.sleep(0.02)
    assert in_progress(server) == 0 and time.monotonic() < left + 1


def in_progress(server: RunningServer) -> float:
    text = httpx.get(f"{server.url}/metrics", headers=HEADERS).text
    lines = [one for one in text.splitlines() if one.startswith("keyframe_queue_length ")]
    return float(lines[0].split()[1])


def test_the_example_of_the_guide(server, tmp_path, monkeypatch, capsys) -> None:
    page = (REPOSITORY / "docs" / "guides" / "server_api.md").read_text(encoding="utf-8")
    example = re.findall(r"^```text\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    for name in ("speech.wav", "lecture.mp3"):
        soundfile.write(name, english(), RATE)
    for shown, real in {"http://127.0.0.1:8000": server.url, '"none"': repr(KEY)}.items():
        assert shown in example
        example = example.replace(shown, real)
    exec(compile(example, "example", "exec"), {})
    *words, text = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in words] == text.split()
    assert text == "ONE TWO THREE FOUR FIVE"


def test_reference_needs_nothing_from_elsewhere(server: RunningServer) -> None:
    page = httpx.get(f"{server.url}/docs")
    assert "//" not in page.text.replace("<!DOCTYPE html>", "") and "<script" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha")
    schema = httpx.get(f"{server.url}/openapi.json").json()
    route = schema["paths"]["/v1/audio/transcriptions"]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]
    for name in [*form["properties"], *route["responses"], *schema["paths"], "/v1/stream"]:
        assert f"<code>{name}</code>" in page.text.replace("POST ", "").replace("GET ", "")
    wrong = httpx.put(f"{server.url}/docs")
    assert wrong.status_code == 405 and wrong.json()["error"]["code"] == "unknown_method"
    lost = httpx.get(f"{server.url}/v1/chat", headers=HEADERS)
    assert lost.status_code == 404 and lost.json()["error"]["code"] == "unknown_url"
