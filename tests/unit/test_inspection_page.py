"""The page of `keyframe inspect`: whole, self-contained, escaped, with the sound that was given."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe, lacking
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.inspection import InspectionView
from keyframe_asr.evaluation.inspection_page import render_page, write_page
from keyframe_asr.results import Token, Transcript

FRAME_SECONDS = 0.04
PIECES = ("<blank>", "<unk>", "<sos/eos>", "▁ONE", "<b>&", "▁TWO")
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """The elements of a page with their text; elements that are not closed are problems."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[int, str] = {}
        self.open: list[tuple[str, int]] = []
        self.problems: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"{tag} is not closed" for tag, _ in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1][0] != tag:
            self.problems.append(f"unexpected end of {tag}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1][1]] = self.texts.get(self.open[-1][1], "") + data

    def all(self, tag: str, **wanted: str) -> list[tuple[dict[str, str], str]]:
        return [
            (attributes, self.texts.get(number, ""))
            for number, (name, attributes) in enumerate(self.elements)
            if name == tag and wanted.items() <= attributes.items()
        ]


def view_of(tokens: list[Token], text: str, frames: int = 50) -> InspectionView:
    probabilities = np.full((frames, len(PIECES)), 0.001, dtype=np.float32)
    probabilities[:, 0] = 0.9
    kept = []
    for token in tokens:
        frame = round(token.start / FRAME_SECONDS)
        probabilities[frame, [0, PIECES.index(token.text)]] = 0.001, 0.9
        kept.append(frame)
    fbank = np.random.default_rng(0).normal(size=(4 * frames, 16)).astype(np.float32)
    return InspectionView(
        fbank, probabilities, tuple(kept), Transcript(text, tokens), PIECES, FRAME_SECONDS
    )


TOKENS = [
    Token("▁ONE", 0.4, 0.8, 0.91),
    Token("<b>&", 0.8, 1.0, 0.5),
    Token("▁TWO", 1.2, 1.5, 0.25),
]
VIEW = view_of(TOKENS, "ONE<b>& TWO {{audio}}")
SOUND = (np.random.default_rng(1).integers(-30000, 30000, 2 * RATE) / 32768).astype(np.float32)


@pytest.fixture(scope="module")
def text() -> str:
    return render_page(VIEW, SOUND, "</script><script>alert('x')</script>.wav")


def test_the_page_is_well_formed_and_tells_the_counts(text: str) -> None:
    page = Page(text)
    assert page.problems == []
    values = dict(zip([t for _, t in page.all("dt")], [t for _, t in page.all("dd")], strict=True))
    assert values == {
        "length": "2.00 s",
        "encoder frames": "50",
        "keyframes": "3",
        "dropped": "94.0 %",
    }


def test_the_embedded_sound_is_the_one_that_was_given(text: str) -> None:
    ((attributes, _),) = Page(text).all("audio")
    start, content = attributes["src"].split(",")
    assert start == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(samples, SOUND)


def test_every_token_has_an_element_with_its_times(text: str) -> None:
    found = Page(text).all("button")
    assert [shown for _, shown in found] == ["ONE", "<b>&", "TWO"]
    for (attributes, _), token in zip(found, TOKENS, strict=True):
        assert attributes["class"] == "token"
        assert float(attributes["data-start"]) == pytest.approx(token.start)
        assert float(attributes["data-end"]) == pytest.approx(token.end)
        assert f"--sure:{token.confidence:.3f}" in attributes["style"]
    colours = [attributes["data-colour"] for attributes, _ in found]
    assert len(set(colours)) == 3 and "-1" not in colours


def test_nothing_is_loaded_from_elsewhere(text: str) -> None:
    assert "http" not in text and "@import" not in text and "import(" not in text
    page = Page(text)
    sources = [a[key] for _, a in page.elements for key in ("src", "href") if key in a]
    assert sources and all(source.startswith("data:") for source in sources)
    assert re.findall(r"url\((?!\"data:)|fetch\(|XMLHttpRequest|WebSocket", text) == []


def test_text_from_outside_stays_text(text: str) -> None:
    page = Page(text)
    assert page.all("h1")[0][1] == "</script><script>alert('x')</script>.wav"
    assert page.all("p", **{"class": "text"})[0][1] == "ONE<b>& TWO {{audio}}"
    assert len(page.all("script")) == 2 and not page.all("b")


def test_the_data_is_what_there_is_to_see(text: str) -> None:
    ((_, content),) = Page(text).all("script", id="data")
    data = json.loads(content)
    assert [spike["frame"] for spike in data["spikes"]] == [10, 20, 30]
    assert [spike["text"] for spike in data["spikes"]] == ["ONE", "<b>&", "TWO"]
    blank = np.frombuffer(base64.b64decode(data["blank"]), dtype=np.uint8) / 255
    np.testing.assert_allclose(blank, VIEW.inter_probabilities[:, 0], atol=0.003)
    spectrogram = base64.b64decode(data["spectrogram"])
    assert len(spectrogram) == VIEW.fbank.size and len(set(spectrogram)) > 100


def test_no_text_and_no_frames(tmp_path: Path) -> None:
    assert "<em>no text</em>" in render_page(view_of([], ""), SOUND, "noise.wav")
    with refused(KeyframeError, "page.html: "):
        write_page(view_of([], "", frames=0), SOUND[:10], "a.wav", tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_page_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_random_model(tmp_path / "random")
    soundfile.write(tmp_path / "noise.wav", noise(1.5), RATE)
    lacking("matplotlib", monkeypatch)
    words = ("inspect", "random", "noise.wav", "--out", "new/page.html")
    result = keyframe(*words, folder=tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("new/page.html: ")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    page = Page((tmp_path / "new" / "page.html").read_text(encoding="utf-8"))
    assert page.problems == [] and page.all("button") and model.is_dir()
