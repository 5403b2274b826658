"""What the page of the server is made of: files, their policy, and examples that are recognised."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile
from fastapi import FastAPI
from starlette.testclient import TestClient

import keyframe_asr
from fixtures.command_line import lacking
from keyframe_asr.inference.options import StreamOptions
from keyframe_asr.server import pages
from keyframe_asr.server.examples import EXAMPLES, Examples
from keyframe_asr.server.service import ModelFacts, RecognitionService

LANGUAGES = {
    "demo": ("zh",),
    "demo-streaming": ("zh",),
    "an4": ("en",),
    "an4-small": ("en",),
    "an4-streaming": ("en",),
    "english-mandarin": ("zh", "en"),
}


def facts(*names: str) -> Mapping[str, ModelFacts]:
    return {name: ModelFacts(name, 0, LANGUAGES[name], False, 16_000, 0.04, 0.1) for name in names}


def client(*names: str, ready: bool = True) -> TestClient:
    service = cast(RecognitionService, SimpleNamespace(models=facts(*names), ready=ready))
    app = FastAPI()
    app.include_router(pages.router(service))
    return TestClient(app)


def test_all_that_the_page_names_is_there_and_allowed() -> None:
    with client("demo") as server:
        page = server.get("/")
        names = re.findall(r"(?:src|href)=\"(page/.+?)\"", page.text)
        seen = {"page/recorder.js", *names}  # the worklet is loaded by its name
        waiting = list(names)
        while waiting:
            found = server.get("/" + waiting.pop())
            assert found.status_code == 200 and found.headers["x-content-type-options"] == "nosniff"
            for name in re.findall(r"from \"\./(.+?)\"", found.text):
                if f"page/{name}" not in seen:
                    seen.add(f"page/{name}")
                    waiting.append(f"page/{name}")
        assert {f"page/{name}" for name in pages.read_files()} == seen | {"page/index.html"}
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert not re.search(r"<script>|<style|\son\w+=|style=|https?://", page.text)
        again = server.get("/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert server.get("/page/pages.py").status_code == 404
        assert server.get("/page/..%2fpages.py").status_code == 404


def test_examples_are_those_of_the_models_that_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with client("demo", "an4") as server:
        listed = server.get("/examples").json()["data"]
        assert {(one["language"], *one["models"]) for one in listed} == {
            ("zh", "demo"),
            ("en", "an4"),
        }
        content = server.get("/" + listed[0]["address"]).content
        assert content == server.get("/" + listed[0]["address"]).content
        assert soundfile.info(io.BytesIO(content)).samplerate == 16_000
        assert server.get("/examples/999.wav").status_code == 404
    with client("demo", ready=False) as server:
        assert server.get("/examples").json() == {"data": []}
        assert server.get("/examples/5.wav").status_code == 404
    lacking("espeakng_loader", monkeypatch)
    with client("demo") as server:
        assert server.get("/examples").json() == {"data": []}


@pytest.mark.parametrize("name", [name for name in LANGUAGES if name != "english-mandarin"])
def test_a_model_recognises_its_examples(name: str) -> None:
    examples = Examples(facts(name))
    recognizer = keyframe_asr.load(name)
    assert len(examples.models) >= 3
    for number in examples.models:
        content = asyncio.run(examples.recording(number))
        assert content is not None
        samples: Any = soundfile.read(io.BytesIO(content), dtype="float32")[0]
        state, found = recognizer.start_stream(StreamOptions(), 16_000), []
        for block in np.split(samples, range(16_000, samples.size, 16_000)):
            [(state, update)] = recognizer.accept_batch([state], [block])
            found += update.final
        found += recognizer.last_update(state).final
        text = " ".join(one.text for one in found)
        assert text.lower() == EXAMPLES[number].text.lower()
