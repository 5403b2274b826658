"""What a pretrained decoder writes, and the same text as it is scored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import srt
import tgt

from fixtures.random_model import RATE, noise
from fixtures.random_pretrained import random_pretrained
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.decoding.timestamps import segments_of, words
from keyframe_asr.evaluation.scoring import Scoring
from keyframe_asr.evaluation.times import TimeErrors
from keyframe_asr.formats import render
from keyframe_asr.inference.display_spelling import displayed_as
from keyframe_asr.inference.joining import RecognisedSegment, join_segments
from keyframe_asr.inference.normal_texts import with_normal_texts
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.segmentation import SegmentBounds
from keyframe_asr.results import Token, Transcript, Word
from keyframe_asr.text.forms import normalise_text

SOUNDS = [noise(0.5 + 0.25 * place, place) for place in range(5)]
MODES: tuple[DecodeMode, ...] = ("attention", "rescore")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return random_pretrained()


def found_in(recognizer: Recognizer, mode: DecodeMode) -> list[Transcript]:
    return recognizer.recognise(SOUNDS, RecognitionOptions(mode, decoder_weight=1.0))


def tokens_of(*pieces: str) -> list[Token]:
    return [Token(piece, n / 2, (n + 1) / 2, 1 - n / 100) for n, piece in enumerate(pieces)]


def displayed(*pieces: str, form: str = "mandarin-english") -> Transcript:
    """A transcript of tokens of half a second each."""
    tokens = tokens_of(*pieces)
    text = " ".join("".join(pieces).replace("▁", " ").split())
    segments = segments_of(text, tokens)
    whole = Transcript(text, tokens, len(pieces) / 2, 0.5, segments[0].words, segments)
    return with_normal_texts(whole, TEXT_FORMS[form])  # type: ignore[index]


@pytest.mark.parametrize("mode", MODES)
def test_both_texts_are_there(recognizer: Recognizer, mode: DecodeMode) -> None:
    form = recognizer.config.text_form
    found = found_in(recognizer, mode)
    for one in found:
        assert one.normal_text == normalise_text(one.text, form)
        assert one.normal_text == " ".join(word.text for word in one.normal_words)
        for segment in one.segments:
            assert segment.normal_text == normalise_text(segment.text, form)
        assert "".join(one.text.split()) == "".join(word.text for word in one.words)
    assert any(one.normal_text != one.text and one.normal_text for one in found)
    assert any("!" in one.text for one in found)


@pytest.mark.parametrize("mode", ["ctc", "axe"])
def test_texts_of_other_heads_have_one_form(recognizer: Recognizer, mode: DecodeMode) -> None:
    for one in found_in(recognizer, mode):
        assert one.normal is None and one.normal_text == one.text
        assert one.normal_words == one.words
        written: Any = one.to_dict()
        assert not {"normal_text", "language"} & {*written, *written["segments"][0]}
        assert {*written["segments"][0]["words"][0]} == {"text", "start", "end", "confidence"}


@pytest.mark.parametrize("mode", MODES)
def test_silence_has_neither(recognizer: Recognizer, mode: DecodeMode) -> None:
    found = recognizer.transcribe(0 * SOUNDS[0], mode)
    assert (found.text, found.normal, found.words, found.language) == ("", "", [], None)


@pytest.mark.parametrize(
    ("pieces", "shown", "scored"),
    [
        (("▁Hello", ",", "▁world", "."), ["Hello,", "world."], ["HELLO", "WORLD"]),
        (("▁Well", "▁-", "▁go"), ["Well", "-", "go"], ["WELL", "GO"]),
        (("你", "好", "，", "世界", "。"), ["你", "好，", "世", "界。"], ["你", "好", "世", "界"]),
        (("看", "《", "红", "楼", "》"), ["看", "《红", "楼》"], ["看", "红", "楼"]),
        (("好", "，", "OK", "！", "走"), ["好，", "OK！", "走"], ["好", "OK", "走"]),
        (("▁twenty", "-", "one"), ["twenty-one"], ["TWENTY", "ONE"]),
        (("▁don", "'", "t"), ["don't"], ["DON'T"]),
        (("花", "2", "0", "元"), ["花", "20", "元"], ["花", "20", "元"]),
        (("。", "好"), ["。", "好"], ["好"]),
    ],
)
def test_words(pieces: tuple[str, ...], shown: list[str], scored: list[str]) -> None:
    found = displayed(*pieces)
    assert [word.text for word in found.words] == shown
    assert [word.text for word in found.normal_words] == scored


def test_times_stay() -> None:
    found = displayed("▁Yes", ",", "▁-", "▁twenty", "-", "one")
    assert [(one.text, one.start, one.end) for one in found.normal_words] == [
        ("YES", 0.0, 1.0),
        ("TWENTY", 1.5, pytest.approx(2.5)),
        ("ONE", pytest.approx(2.5), 3.0),
    ]
    assert [one.start for one in found.words] == [0.0, 1.0, 1.5]
    # punctuation takes none of the time of a token of several characters
    halves = words([Token("你好。", 0.0, 1.0, 1.0)])
    assert halves == [Word("你", 0.0, 0.5, 1.0), Word("好。", 0.5, 1.0, 1.0)]


def test_outputs_for_scoring_hold_the_normal_words(tmp_path: Path) -> None:
    found = displayed("▁Hello", ",", "▁-", "▁you", "!", "你", "好", "。")
    scored = ["HELLO", "YOU", "你", "好"]
    ctm = [line.split() for line in render(found, "ctm", "a.wav").splitlines()]
    assert [line[4] for line in ctm] == scored
    assert [float(line[2]) for line in ctm] == [0.0, 1.5, 2.5, 3.0]
    (tmp_path / "a.TextGrid").write_text(render(found, "textgrid", "a.wav"), encoding="utf-8")
    grid = tgt.io.read_textgrid(tmp_path / "a.TextGrid", encoding="utf-8")
    assert [one.text for one in grid.get_tier_by_name("words") if one.text] == scored
    (cue,) = srt.parse(render(found, "srt", "a.wav"))
    assert cue.content == "Hello, - you!你好。"
    assert render(found, "text", "a.wav") == "Hello, - you!你好。\n"
    read = json.loads(render(found, "json", "a.wav"))
    assert (read["text"], read["normal_text"]) == ("Hello, - you!你好。", "HELLO YOU你好")
    (segment,) = read["segments"]
    assert (segment["text"], segment["normal_text"]) == (read["text"], read["normal_text"])
    assert [(one["text"], one["normal_text"]) for one in segment["words"]] == [
        ("Hello,", "HELLO"),
        ("-", ""),
        ("you!", "YOU"),
        ("你", "你"),
        ("好。", "好"),
    ]


def test_a_language_that_is_found_replaces_that_of_the_model() -> None:
    found = replace(displayed("▁Hi"), language="en")
    source = render(found, "json", "a.wav")
    assert json.loads(source)["language"] == "en"


def test_punctuation_has_neither_time_nor_confidence(recognizer: Recognizer) -> None:
    search = recognizer.pretrained
    assert search is not None
    mark = set(search.tokenizer.encode("x!")) - set(search.tokenizer.encode("x"))
    seen = 0
    for one in found_in(recognizer, "attention"):
        assert not [token.text for token in one.tokens[1:] if token.text.strip("▁!") == ""]
        assert all(0 <= token.start <= token.end <= one.duration for token in one.tokens)
        seen += sum(token.text.endswith("!") for token in one.tokens)
    assert seen and len(mark) == 1
    audio = recognizer.encode(SOUNDS)
    for whole in recognizer.hypotheses(audio, "attention")[0]:
        letters = [
            sure
            for token, sure in zip(whole.tokens, whole.confidences, strict=True)
            if token not in mark
        ]
        shown, pieces = search.shown(whole)
        alone = [sure for sure, text in zip(shown.confidences, pieces, strict=True) if text != "!"]
        own = [text for text in pieces if text != "!"]
        if own and not own[0].startswith("▁"):
            assert alone == letters


def test_segments_of_long_recordings_have_both(recognizer: Recognizer) -> None:
    pause = np.zeros(2 * RATE, dtype=np.float32)
    parts = [part for _ in range(5) for sound in SOUNDS for part in (sound, pause)]
    found = recognizer.transcribe(np.concatenate(parts), "attention")
    form = recognizer.config.text_form
    assert len(found.segments) > 1
    assert found.normal_text == normalise_text(found.text, form) != found.text
    assert [one.normal_text for one in found.segments] == [
        normalise_text(one.text, form) for one in found.segments
    ]
    assert found.words == [word for one in found.segments for word in one.words]
    assert " ".join(word.text for word in found.normal_words) == found.normal_text


def test_a_cut_within_speech_is_not_seen_in_the_text() -> None:
    """One side ends a sentence where the other goes on, and writes another case."""

    def part(start: float, cut: bool, *pieces: tuple[str, float]) -> RecognisedSegment:
        tokens = [Token(text, at - start, at - start + 0.2, 0.9) for text, at in pieces]
        bounds = SegmentBounds(
            round((10 if cut else 0) * RATE), 20 * RATE, round(start * RATE), continued=cut
        )
        return RecognisedSegment(bounds, Transcript("".join(one.text for one in tokens), tokens))

    left = part(0, False, ("▁We", 9.0), ("▁see", 9.5), ("▁it.", 10.1))
    right = part(9, True, ("▁It", 9.9), ("▁again,", 10.5))
    found = join_segments([left, right], 30.0)
    assert found.text in ("We see It again,", "We see it. again,")
    assert join_segments([left, part(9, True, ("▁again,", 10.5))], 30.0).text == "We see again,"


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_scores_the_normal_text(
    recognizer: Recognizer, mode: DecodeMode, tmp_path: Path
) -> None:
    """References are what was recognised, in another case and with other punctuation."""
    found = found_in(recognizer, mode)
    lines = ["path\ttext"]
    for place, (sound, one) in enumerate(zip(SOUNDS, found, strict=True)):
        soundfile.write(tmp_path / f"{place}.wav", sound, RATE, subtype="FLOAT")
        lines.append(f"{place}.wav\t{one.text.swapcase().replace('!', ' ')}.")
    (tmp_path / "all.tsv").write_text("\n".join(lines), encoding="utf-8")
    scoring = Scoring(recognizer, [mode], RecognitionOptions(decoder_weight=1.0))
    report = scoring.run(str(tmp_path / "all.tsv"))
    assert report["decode"][mode]["wer"] == 0.0
    assert report["decode"][mode]["reference_length"] > 0
    for details, one in zip(scoring.details, found, strict=True):
        written = details["decode"][mode]
        assert (written["text"], written["hypothesis"]) == (one.text, one.normal_text)
        assert [word["text"] for word in written["words"]] == written["hypothesis"].split()


def test_times_of_words_are_compared_in_the_normal_form() -> None:
    found = displayed("▁Hello", ",", "▁you", ".")
    errors = TimeErrors()
    errors.count([Word("HELLO", 0.0, 1.0, 1.0), Word("YOU", 1.0, 2.0, 1.0)], found.normal_words)
    assert len(errors.starts) == 2


@pytest.mark.parametrize(
    ("text", "example", "form", "wanted"),
    [
        ("WE SEE IT", "We see it.", "english", "We see it."),
        ("WE SEE BOB TOO", "We see it, too.", "english", "We see bob, too."),
        ("HE SAW IT", "We see, it.", "english", "He saw, it."),
        ("TWENTY TWO", "Twenty-one.", "english", "Twenty-two."),
        ("IT IS", "IT WAS!", "english", "IT IS!"),
        ("I SEE IT", "I see.", "english", "I see. it"),
        ("SEE IT", "I see it - now.", "english", "see it"),
        ("TWENTY ONE", "Twenty-one.", "english", "Twenty-one."),
        ("", "We see.", "english", ""),
        ("WE SEE", "", "english", "WE SEE"),
        ("今天下雪", "今天，下雨。", "mandarin-english", "今天，下雪。"),
        ("我用IPHONE打", "我用iPhone 打。", "mandarin-english", "我用iPhone打。"),
    ],
)
def test_spelling(text: str, example: str, form: str, wanted: str) -> None:
    assert displayed_as(text, example, TEXT_FORMS[form]) == wanted  # type: ignore[index]


def test_hot_words_choose_among_displayed_texts(recognizer: Recognizer, tmp_path: Path) -> None:
    plain = [one.normal_text for one in recognizer.recognise(SOUNDS, "rescore")]
    file = tmp_path / "hot.txt"
    file.write_text("CA\n", encoding="utf-8")
    options = RecognitionOptions("rescore", hotwords=file, hotword_weight=20.0)
    found = recognizer.recognise(SOUNDS, options)
    assert not any("CA" in one for one in plain)
    assert sum("CA" in one.normal_text for one in found) > 1
    for one in found:
        assert one.normal_text == normalise_text(one.text, recognizer.config.text_form)
