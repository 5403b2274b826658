"""Once, the page of `keyframe inspect` showed Han characters as boxes where no font has them, and a
long recording put its whole text into the headline."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from fontTools.ttLib import TTFont

from fixtures.command_line import lacking
from keyframe_asr.evaluation.font_package import font_face
from keyframe_asr.evaluation.inspection import LONGEST_HEADLINE, InspectionView, headline
from keyframe_asr.evaluation.inspection_page import render_page
from keyframe_asr.results import Token, Transcript

PIECES = ("<blank>", "<unk>", "<sos/eos>", "打", "开", "灯", "A")
SAMPLES = np.zeros(16_000, np.float32)


def view_of(text: str) -> InspectionView:
    probabilities = np.full((25, len(PIECES)), 0.01)
    probabilities[:, 0] = 0.9
    probabilities[5, 3:5] = (0.9, 0.05)
    tokens = [Token(text[0], 0.2, 0.3, 1.0)]
    return InspectionView(
        fbank=np.random.default_rng(0).normal(size=(100, 8)),
        inter_probabilities=probabilities,
        keyframes=(5,),
        transcript=Transcript(text, tokens, 1.0, 0.9),
        pieces=PIECES,
        frame_seconds=0.04,
    )


def embedded(css: str) -> set[str]:
    """The characters of the font in a page."""
    found = re.search(r'src: url\("data:font/woff;base64,([^"]+)"\)', css)
    assert found is not None
    return set(map(chr, TTFont(io.BytesIO(base64.b64decode(found[1]))).getBestCmap()))


def test_a_page_brings_its_characters() -> None:
    page = render_page(view_of("灯开A"), SAMPLES, "我.wav")
    assert embedded(page) == set("灯开我打")
    assert len(page) < 100_000
    for family in re.findall(r"font: 1rem.*?;", page):
        assert "embedded" in family


def test_a_page_without_han_characters_brings_no_font() -> None:
    latin = replace(view_of("AÉ"), pieces=("<blank>", "<unk>", "<sos/eos>", "A", "B", "C", "D"))
    assert "@font-face" not in render_page(latin, SAMPLES, "a.wav")
    assert font_face("") == font_face("\ue000") == ""


@pytest.mark.parametrize("package", ["zhplot", "fontTools"])
def test_the_page_is_written_without_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking(package, monkeypatch)
    assert "灯开" in render_page(view_of("灯开"), SAMPLES, "a.wav")


def test_a_long_text_is_shortened_in_headlines() -> None:
    for text in ("打开灯" * 99, "A " * 200):
        view = view_of(text.strip())
        assert len(headline(view)) < LONGEST_HEADLINE + 60
        page = render_page(view, SAMPLES, "a.wav")
        (summary,) = re.findall('<summary class="text">(.*?)</summary>', page)
        assert len(summary) <= LONGEST_HEADLINE + 1 and text.startswith(summary[:-1])
        assert f"<p>{text.strip()}</p>" in page
    assert "<details>" not in render_page(view_of("打" * LONGEST_HEADLINE), SAMPLES, "a.wav")
