"""The page of the server in Chromium: captions of a microphone, pictures, files, keyboard, and what
is told where something is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from websockets.sync.client import connect

from fixtures.server import RunningServer, running_server
from fixtures.spoken import RATE, spoken

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

KEY = "a-key"
SAID = ("打开三号灯", "五零一六五")
DISABLED = (
    "dev-shm-usage",
    "background-networking",
    "component-update",
    "sync",
    "gpu",
    "default-apps",
)

Page = Any  # playwright's; it is only imported where there is a browser


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server("demo", options=("--api-key", KEY, "--max-streams", "1")) as running:
        yield running


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "said.wav"
    soundfile.write(path, spoken(*SAID), RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def browser(recording: Path) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    flags = [f"--disable-{name}" for name in DISABLED] + [
        "--no-sandbox",
        "--no-first-run",
        "--headless=new",  # the old one has no microphone
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}%noloop",
    ]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@contextmanager
def opened(
    browser: Any, server: RunningServer, before: str = "", key: str = KEY, **options: Any
) -> Iterator[Page]:
    """The page with its key given; at the end, nothing may have gone wrong or elsewhere."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    told: list[str] = []
    elsewhere: list[str] = []
    own = (server.url, server.socket_url, "blob:", "data:")
    page.on("console", lambda one: told.append(one.text) if one.type in LOUD else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith(own) else elsewhere.append(one.url))
    if before:
        page.add_init_script(before)
    page.goto(server.url)
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#model:enabled")
    yield page
    context.close()
    assert elsewhere == []
    # Chromium itself notes every status of 400 and more, which the page expects
    assert [one for one in told if not re.search(r"\b4\d\d\b", one)] == []


LOUD = ("error", "warning")


def until_idle(page: Page) -> None:
    page.wait_for_selector("#speak:not(.on):enabled")


def lines(page: Page) -> list[str]:
    return page.locator("#log span").all_inner_texts()  # type: ignore[no-any-return]


def counted(page: Page) -> tuple[int, int]:
    kept, frames = re.findall(r"\d+", page.inner_text("#used"))
    return int(kept), int(frames)


def downloaded(page: Page, kind: str) -> str:
    with page.expect_download() as waiting:
        page.click(f"[data-format={kind}]")
    assert waiting.value.suggested_filename.endswith(f".{kind}")
    return Path(waiting.value.path()).read_text(encoding="utf-8")


def test_a_microphone_is_captioned(browser: Any, server: RunningServer) -> None:
    with opened(browser, server) as page:
        page.click("#speak")
        page.wait_for_selector("#tokens button")  # while it is being spoken
        assert page.locator("#speak.on").count() == 1
        page.wait_for_selector(f"#log li >> nth={len(SAID) - 1}")
        page.click("#speak")
        until_idle(page)
        assert lines(page) == [*SAID]
        assert page.inner_text("#committed") == SAID[-1]
        assert page.locator("#log span").last.get_attribute("lang") == "zh"
        kept, frames = counted(page)
        assert sum(map(len, SAID)) <= kept < frames / 3

        assert downloaded(page, "txt") == "".join(f"{one}\n" for one in SAID)
        blocks = re.findall(
            r"(\d+)\n(\S+) --> (\S+)\n(.+)\n", downloaded(page, "srt").replace(",", ".")
        )
        assert [text for *_, text in blocks] == [*SAID]
        times = [time for _, start, end, _ in blocks for time in (start, end)]
        assert times == sorted(times) and times[0].startswith("00:00:0")
        assert downloaded(page, "vtt").startswith("WEBVTT\n\n00:00:0")
        found = json.loads(downloaded(page, "json"))
        assert [one["text"] for one in found["utterances"]] == [*SAID]
        assert sum(len(one["keyframes"]) for one in found["utterances"]) == kept
        assert sum(one["frames"] for one in found["utterances"]) == frames


def test_examples_and_the_keyboard(browser: Any, server: RunningServer) -> None:
    with opened(browser, server, viewport={"width": 360, "height": 740}) as page:
        example = page.locator(".example").first
        reach(page, ".example")
        page.keyboard.press("Enter")
        page.wait_for_selector("#speak.on")
        until_idle(page)
        assert lines(page) == [example.inner_text()]
        assert page.locator("#tokens button").all_inner_texts() == list(example.inner_text())
        reach(page, "#tokens button")
        page.keyboard.press("Enter")
        page.wait_for_selector(".token.now")
        page.wait_for_selector("#head[hidden]", state="attached")  # played to its end
        reach(page, "#chart", backwards=True)
        page.keyboard.press("Enter")
        page.wait_for_selector("#head:not([hidden])")
        page.keyboard.press("Escape")
        page.wait_for_selector("#head[hidden]", state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        reach(page, "#clear")
        page.keyboard.press("Enter")
        assert lines(page) == []


def reach(page: Page, selector: str, backwards: bool = False) -> None:
    """Move the focus there with the tabulator."""
    for _ in range(30):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"{selector} is not reached")


@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_accessible_in_light_and_dark(
    browser: Any, server: RunningServer, recording: Path, width: int
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, server, viewport={"width": width, "height": 800}) as page:
        page.set_input_files("#file", recording)
        page.wait_for_selector(f"#log li >> nth={len(SAID) - 1}")
        until_idle(page)
        page.click("summary")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = Axe().run(page).response["violations"]
            bad = [one for one in found if one["impact"] in ("serious", "critical")]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in bad] == []


def test_files_with_and_without_a_picture(
    browser: Any, server: RunningServer, recording: Path, tmp_path: Path
) -> None:
    long = tmp_path / "long.flac"
    soundfile.write(long, np.pad(spoken(SAID[0]), (0, 601 * RATE)), RATE, subtype="PCM_16")
    with opened(browser, server) as page:
        page.set_input_files("#file", recording)
        page.wait_for_selector("#speak.on")
        until_idle(page)
        assert lines(page) == [*SAID] and counted(page)
        page.set_input_files("#file", long)
        page.wait_for_selector("#speak.on")
        until_idle(page)
        assert lines(page) == [SAID[0]]
        assert page.inner_text("#used") == "" and not page.locator("#tokens button").count()
        page.set_input_files("#file", {"name": "a.wav", "mimeType": "audio/wav", "buffer": b"?"})
        page.wait_for_selector("[data-problem=refused]")


REFUSED = """navigator.mediaDevices.getUserMedia = async () => {
    throw new DOMException("", "NotAllowedError");
};"""
INSECURE = "Object.defineProperty(window, 'isSecureContext', { value: false });"


def test_microphones_that_are_refused_or_not_there(browser: Any, server: RunningServer) -> None:
    with opened(browser, server, before=REFUSED) as page:
        page.click("#speak")
        page.wait_for_selector("[data-problem=source]")
        until_idle(page)
    with opened(browser, server, before=INSECURE) as page:
        page.wait_for_selector("[data-problem=source]")
        assert page.is_disabled("#speak") and page.is_enabled("#choose")


def test_a_server_that_is_full(browser: Any, server: RunningServer) -> None:
    address = f"{server.socket_url}/v1/stream"
    with opened(browser, server) as page:
        with connect(address, additional_headers={"Authorization": f"Bearer {KEY}"}) as other:
            assert json.loads(other.recv())["type"] == "ready"
            page.locator(".example").first.click()
            page.wait_for_selector("[data-problem=full]")
        page.click("#retry")
        page.wait_for_selector("#log li")


def test_a_connection_that_is_lost(browser: Any, server: RunningServer) -> None:
    with opened(browser, server) as page:
        routes: list[Any] = []

        def pass_on(route: Any) -> None:
            route.connect_to_server()
            routes.append(route)

        page.route_web_socket("**/v1/stream*", pass_on)
        page.reload()
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        page.click("#speak:enabled")
        page.wait_for_selector("#log li")
        routes[0].close(code=4000)
        page.wait_for_selector("[data-problem=lost]")
        assert lines(page)[0] == SAID[0]
        page.click("#retry")
        page.wait_for_selector("#speak.on")
        page.wait_for_selector("[data-problem='']")
        assert lines(page)[0] == SAID[0]
        page.click("#speak")
        until_idle(page)


def test_a_wrong_key_is_asked_for_again(browser: Any, server: RunningServer) -> None:
    page = browser.new_page()
    page.goto(server.url)
    page.fill("#key", "another")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-problem=key]")
    assert page.is_visible("#access") and page.is_disabled("#speak")
    page.close()


TONES = (
    *((rate, hertz) for rate in (44_100, 48_000) for hertz in (440, 6800, 8300, 12_000, 20_000)),
    (8000, 440),
    (8000, 3300),
    (16_000, 6800),
)


def test_resampling_keeps_speech_and_lets_nothing_fold(browser: Any, server: RunningServer) -> None:
    program = """async ([rate, hertz]) => {
        const { Resampler } = await import("/page/signal.js"), resampler = new Resampler(rate);
        const tone = Float32Array.from({ length: rate }, (_, k) => Math.sin(2 * Math.PI * hertz * k / rate));
        const found = [];
        for (let k = 0; k < rate; k += 1111) found.push(...resampler.push(tone.subarray(k, k + 1111)));
        return [...found, ...resampler.finish()];
    }"""  # noqa: E501
    with opened(browser, server) as page:
        for rate, hertz in TONES:
            found = np.array(page.evaluate(program, [rate, hertz]))
            assert abs(found.size - RATE) <= 2
            expected = np.sin(2 * np.pi * hertz * np.arange(found.size) / RATE) * (hertz < 8000)
            np.testing.assert_allclose(found[400:-400], expected[400:-400], atol=1e-3)


def test_subtitles_fit_the_screen(browser: Any, server: RunningServer) -> None:
    program = """async text => {
        const { cues } = await import("/page/formats.js");
        const words = text.split(" ").map((word, k) => ({ text: word, start: .3 * k, end: .3 * k + .25 }));
        return cues([{ text, words, tokens: [], start: 0, end: .3 * words.length }]);
    }"""  # noqa: E501
    text = " ".join(f"{number}-{number * 7919 % 1000}" for number in range(100))
    with opened(browser, server) as page:
        found = page.evaluate(program, text)
    lines = [line for cue in found for line in cue["lines"]]
    assert max(map(len, lines)) <= 42 and max(len(cue["lines"]) for cue in found) == 2
    assert " ".join(line.strip() for line in lines) == text
    times = [time for cue in found for time in (cue["start"], cue["end"])]
    assert times == sorted(times)
    assert all(cue["end"] - cue["start"] <= 7 for cue in found)


def test_what_is_kept_is_bounded(browser: Any, server: RunningServer) -> None:
    program = """async () => {
        const { Ring } = await import("/page/history.js"), ring = new Ring(Int16Array, 10);
        for (let k = 0; k < 28; k += 4) ring.push(Int16Array.of(k, k + 1, k + 2, k + 3));
        return [ring.values.length, ring.first, [...ring.slice(0, 20)], [...ring.slice(25, 99)]];
    }"""
    with opened(browser, server) as page:
        assert page.evaluate(program) == [10, 18, [18, 19], [25, 26, 27]]
