"""Keys, origins, limits, slow clients and the end of a server, seen from outside."""

from __future__ import annotations

import io
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fixtures.server import RunningServer, running_server
from fixtures.spoken import RATE, SENTENCES, spoken
from keyframe_asr.errors import KeyframeError, OptionError
from keyframe_asr.server.running import serve
from keyframe_asr.server.settings import ServerSettings

IDLE = 1.5
LARGEST = 200_000
KEY = {"authorization": "Bearer second"}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    options = {
        "--api-key": "first",
        "--max-upload": LARGEST / 1e6,
        "--max-requests": 2,
        "--max-streams": 1,
        "--max-audio": 60,
        "--idle-timeout": IDLE,
        "--cors-origin": "https://good.example",
    }
    flags = [str(part) for pair in options.items() for part in pair]
    keys = ("--api-key", "second", "--api-key", "clé")
    with running_server("demo", options=(*flags, *keys)) as running:
        yield running


def upload(server: RunningServer, content: bytes, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/audio/transcriptions",
        files={"file": ("a.wav", content)},
        headers={**KEY, **headers},
        timeout=30,
    )


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, spoken(SENTENCES[0])[: round(seconds * RATE)], RATE, format="WAV")
    return file.getvalue()


def body_of(content: bytes) -> tuple[bytes, str]:
    """A multipart body of one file, and its content type."""
    request = httpx.Request("POST", "http://a", files={"file": ("a.wav", content)})
    return request.read(), request.headers["content-type"]


class SlowUpload:
    """An upload whose body arrives as the test sends it."""

    def __init__(self, server: RunningServer, content: bytes) -> None:
        self._body, kind = body_of(content)
        host, port = server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        head = [
            "POST /v1/audio/transcriptions HTTP/1.1",
            "host: localhost",
            "authorization: Bearer first",
            f"content-type: {kind}",
            f"content-length: {len(self._body)}",
        ]
        self.socket.sendall("\r\n".join([*head, "", ""]).encode() + self._body[:20])

    def finish(self) -> str:
        """Send the rest, and return the status line."""
        self.socket.sendall(self._body[20:])
        return self.answer()

    def answer(self) -> str:
        line = self.socket.makefile("rb").readline().decode()
        self.socket.close()
        return line


def test_a_key_is_needed(server: RunningServer) -> None:
    content = wav(1.0)
    answer = upload(server, content, authorization="Bearer third")
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    for path in ("/v1/models", "/metrics"):
        assert httpx.get(server.url + path).status_code == 401
        assert httpx.get(server.url + path, headers=KEY).status_code == 200
    for path in ("/", "/health", "/ready", "/docs"):
        assert httpx.get(server.url + path).status_code == 200
    assert upload(server, content).status_code == 200
    accented = {"authorization": "Bearer clé".encode()}
    assert httpx.get(f"{server.url}/v1/models", headers=accented).status_code == 200
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.socket_url}/v1/stream")
    assert refused.value.response.status_code == 401


def test_pages_of_other_origins_are_refused(server: RunningServer) -> None:
    for origin, status in {
        "https://evil.example": 403,
        "null": 403,
        "http://named.example": 403,
        "http://[": 403,
        "https://good.example": 200,
        server.url: 200,
    }.items():
        headers = {**KEY, "origin": origin}
        if "named" in origin:  # a name of another, which leads to this machine
            headers["host"] = "named.example"
        answer = httpx.get(f"{server.url}/v1/models", headers=headers)
        assert answer.status_code == status
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == (origin if origin == "https://good.example" else None)
    preflight = httpx.options(
        f"{server.url}/v1/audio/transcriptions",
        headers={
            "origin": "https://good.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        },
    )
    assert preflight.status_code == 200
    for origin in ("https://evil.example", "https://good.example"):
        headers = {**KEY, "origin": origin}
        if "evil" in origin:
            with pytest.raises(InvalidStatus) as refused:
                connect(f"{server.socket_url}/v1/stream", additional_headers=headers)
            assert refused.value.response.status_code == 403
        else:
            connect(f"{server.socket_url}/v1/stream", additional_headers=headers).close()


def test_uploads_of_any_size_up_to_the_limit(server: RunningServer) -> None:
    content = wav(2.0)
    frame = len(body_of(content)[0]) - len(content)
    largest = content + bytes(LARGEST - frame - len(content))
    assert len(body_of(largest)[0]) == LARGEST
    assert upload(server, largest).status_code != 413
    for announced in (True, False):
        body, kind = body_of(largest + b"x")
        pieces = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
        answer = httpx.post(
            f"{server.url}/v1/audio/transcriptions",
            content=body if announced else pieces,
            headers={**KEY, "content-type": kind},
        )
        assert answer.status_code == 413 and answer.json()["error"]["message"]


def test_compressed_silence_is_not_decoded_for_hours(server: RunningServer) -> None:
    file = io.BytesIO()
    silence = np.zeros(300 * RATE, np.float32)
    soundfile.write(file, silence, RATE, format="OGG", subtype="OPUS")
    assert len(file.getvalue()) < LARGEST
    assert upload(server, file.getvalue()).status_code == 413


def test_slow_clients_are_let_go_and_keep_no_place(server: RunningServer) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    others = [socket.create_connection((host, int(port))) for _ in range(2)]
    for one in others:  # without a key
        one.sendall(b"POST /health HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n")
    time.sleep(0.2)
    assert upload(server, wav(1.0)).status_code == 200
    for one in others:
        one.close()
    slow = [SlowUpload(server, wav(1.0)) for _ in range(2)]
    time.sleep(0.2)
    busy = upload(server, wav(1.0))
    assert busy.status_code == 429 and int(busy.headers["retry-after"]) > 0
    assert slow[0].finish().split()[1] == "200"
    assert slow[1].answer().split()[1] == "408"
    assert upload(server, wav(1.0)).status_code == 200
    with socket.create_connection((host, int(port)), timeout=4 * IDLE) as half:
        half.sendall(b"GET /health HTTP/1.1\r\nhost:")
        assert half.recv(100) == b""


def test_what_is_logged_and_measured(server: RunningServer) -> None:
    for code in (3001, 4002):
        with connect(f"{server.socket_url}/v1/stream", additional_headers=KEY) as live:
            live.recv()
            live.close(code)
    text = upload(server, wav(3.0)).json()["text"]
    assert text
    for name in ("/no-such-page", "/v1/nothing?secret=words", "/v1/%0AINFO%20forged"):
        assert httpx.get(server.url + name, headers=KEY).status_code == 404
    measured = httpx.get(f"{server.url}/metrics", headers=KEY).text
    assert 'status="3000"' in measured
    assert 'status="3001"' not in measured and 'status="4002"' not in measured
    assert "no-such-page" not in measured and 'route="other",status="404"' in measured
    for name in ("audio_seconds", "real_time_factor", "queue_length", "streams_open", "memory"):
        assert any(line.startswith("keyframe_") and name in line for line in measured.splitlines())
    assert not [line for line in server.log if line.startswith("INFO forged")]
    log = "".join(server.log)
    assert "/v1/nothing" in log and "secret" not in log and text not in log


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    for origin in ("example.org", "https://example.org/"):
        with pytest.raises(OptionError):
            ServerSettings(cors_origins=(origin,))
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file in (empty, tmp_path / "none.pem"):
        with pytest.raises(KeyframeError, match=file.name):
            serve([], ServerSettings(certificate=file, private_key=file), print)
    with socket.create_server(("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(KeyframeError, match=str(port)):
            serve([], ServerSettings(port=port), print)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    options = ("--certificate", str(certificate), "--private-key", str(key))
    with running_server("demo", options=options) as server:
        trusted = ssl.create_default_context(cafile=certificate)
        answer = httpx.get(f"{server.url}/v1/models", verify=trusted)
        assert server.url.startswith("https:") and answer.status_code == 200
        with connect(f"{server.socket_url}/v1/stream", ssl=trusted) as live:
            assert json.loads(live.recv())["type"] == "ready"
        assert httpx.get(f"{server.url}/health", verify=trusted).status_code == 200
    assert not [line for line in server.log if "Traceback" in line]


def test_the_end_lets_work_finish() -> None:
    with running_server("demo") as server:
        slow = SlowUpload(server, wav(1.0))
        said = spoken(SENTENCES[1])
        pcm = (said[: said.size - RATE] * 32767).astype("<i2").tobytes()
        with connect(f"{server.socket_url}/v1/stream") as live:
            live.send(pcm)
            messages = [json.loads(live.recv())]
            while messages[-1]["type"] != "partial" or messages[-1]["seconds"] < 2:
                messages.append(json.loads(live.recv()))
            server.process.send_signal(signal.SIGTERM)
            messages += [json.loads(message) for message in live]
            assert live.protocol.close_code == 1001
        assert any(one["type"] == "final" for one in messages)
        assert httpx.get(f"{server.url}/ready").status_code == 503
        late = httpx.get(f"{server.url}/v1/models")
        assert late.status_code == 503 and int(late.headers["retry-after"]) > 0
        ended = threading.Thread(target=server.process.wait)
        ended.start()
        assert slow.finish().split()[1] == "200"
        ended.join(10)
        assert server.process.returncode == 0
