"""Texts of real scripts through tokenizers, words with times, and output formats."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import refused
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.config.text_choices import TextFormName
from keyframe_asr.config.text_form import TEXT_FORMS, TextForm
from keyframe_asr.decoding.hotwords import HotwordScorer
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.timestamps import words
from keyframe_asr.errors import RecipeError
from keyframe_asr.evaluation.report import Decoded, Evaluated, build_report, render
from keyframe_asr.formats import render as render_as
from keyframe_asr.formats.subtitles import cues_of
from keyframe_asr.inference.scorer_files import separates_words
from keyframe_asr.results import Segment, Token, Transcript
from keyframe_asr.text.forms import normalise_text, words_of_form
from keyframe_asr.text.scripts import clusters, mixed_words
from keyframe_asr.text.tokenizer import END, MixedTokenizer, Tokenizer, train_tokenizer

# sentences without digits, as prepared corpora have them
LINES: dict[TextFormName, str] = {
    "english": "turn on the lights, don't wait for it; a lazy dog barks, the quick brown fox jumps",
    "mandarin": "打开空调，今天天气很好，播放一首歌，KTV好吗",
    "mandarin-english": "我 really love you 好，没有 any idea 吗，打开 the light，OK 我知道了，"
    "it's 好 的",
    "generic": "Übermut tut selten gut, große Straße; здравствуй мир, السَّلامُ عليكم, "
    "क्षेत्र में नमस्ते, 안녕하세요 여러분, l'amico d'oro, ሰላም ለዓለም, գարուն է",
    "turkish": "ISPARTA'da ılık bir gün, İzmir'e gidiyoruz, şeker ve çay",
    "mixed": "ผมมี meeting ตอนเช้า, 日本語で very good でした, l'amic",
    "characters": "བོད་སྐད་, 日本語のテストです、ありがとう、"
    "กำลังเรียนที่นี่ น้ำใจ, ສະບາຍດີ, ស្រុកខ្មែរ, မြန်မာစာ",
}
FORMS = st.sampled_from(sorted(LINES))


@cache
def tokenizer_of(name: TextFormName, kind: str) -> Tokenizer:
    config = TokenizerConfig(
        kind=kind,
        vocab_size=None if kind == "characters" else 200,  # type: ignore[arg-type]
    )
    form = TEXT_FORMS[name]
    return train_tokenizer([normalise_text(LINES[name], form)] * 3, config)


def usual(name: TextFormName) -> str:
    kinds = {"spaces": "sentencepiece", "none": "characters", "mixed": "mixed"}
    return kinds[TEXT_FORMS[name].separation]


@st.composite
def sentences(draw: st.DrawFn, name: TextFormName) -> str:
    """Words of the form's lines in any order, in the form."""
    form = TEXT_FORMS[name]
    known = words_of_form(normalise_text(LINES[name], form), form)
    drawn = draw(st.lists(st.sampled_from(known), max_size=12))
    return normalise_text(" ".join(drawn), form)


@given(FORMS, st.data())
def test_round_trip_in_every_form(name: TextFormName, data: st.DataObject) -> None:
    text = data.draw(sentences(name))
    for kind in {usual(name), "characters"}:
        tokenizer = tokenizer_of(name, kind)
        ids = tokenizer.encode(text)
        assert all(END < token < tokenizer.vocab_size for token in ids)
        assert tokenizer.decode(ids) == text
        assert tokenizer.unknown(text) == []


def recognised(text: str, tokenizer: Tokenizer) -> Transcript:
    """A transcript of the tokens of a text, a fifth of a second each."""
    ids = tokenizer.encode(text)
    tokens = [
        Token(tokenizer.piece(token), place / 5, (place + 1) / 5, 0.9)
        for place, token in enumerate(ids)
    ]
    spoken, end = words(tokens), len(tokens) / 5
    segments = [Segment(text, 0.0, end, tokens, spoken)] if tokens else []
    return Transcript(tokenizer.decode(ids), tokens, end, 0.0, spoken, segments)


@given(FORMS, st.data())
def test_words_and_subtitles_write_the_text_again(name: TextFormName, data: st.DataObject) -> None:
    text = data.draw(sentences(name))
    found = recognised(text, tokenizer_of(name, usual(name)))
    assert [word.text for word in found.words] == mixed_words(text)
    assert len(render_as(found, "ctm", "a.wav").splitlines()) == len(found.words)
    lines = [line for cue in cues_of(found) for line in cue.lines]
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(line in text for line in lines), "no space comes in or goes"
    at_line_ends = {line[0] for line in lines} & {"้", "ำ", "ั", "ี", "្", "ြ", "\u0301", "ّ"}
    assert not at_line_ends, "no line begins with a mark"


def test_subtitles_keep_the_spaces_between_thai_phrases() -> None:
    form = TEXT_FORMS["generic"]
    text = normalise_text("สวัสดีครับ ยินดีต้อนรับ", form)
    tokenizer = train_tokenizer([text], TokenizerConfig(kind="characters"))
    assert " ".join(cues_of(recognised(text, tokenizer))[0].lines) == text


def test_long_words_are_not_cut_before_a_mark() -> None:
    text = "ก" + "นี้" * 60
    spoken = Transcript(text, [], 6.0)
    lines = [line for cue in cues_of(spoken) for line in cue.lines]
    assert "".join(lines) == text
    assert [one for line in lines for one in clusters(line)] == clusters(text)


def test_han_characters_are_tokens_and_other_text_is_pieces() -> None:
    tokenizer = tokenizer_of("mandarin-english", "mixed")
    assert isinstance(tokenizer, MixedTokenizer)
    pieces = [tokenizer.piece(token) for token in tokenizer.encode("我LOVE YOU好")]
    assert pieces[0] == "我" and pieces[-1] == "好"
    assert "".join(pieces) == "我▁LOVE▁YOU好"
    assert tokenizer.encode("我 LOVE YOU 好") == tokenizer.encode("我LOVE YOU好")
    assert tokenizer.unknown("龘LOVEя") == ["龘", "я"]
    assert tokenizer.decode(tokenizer.encode("龘OK")) == "⁇ OK"


def test_text_of_han_characters_needs_no_pieces() -> None:
    with refused(RecipeError, "tokenizer.kind", "characters"):
        train_tokenizer(["打开"], TokenizerConfig(kind="mixed", vocab_size=20))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("english", "sentencepiece", True),
        ("english", "characters", True),
        ("mandarin", "characters", False),
        ("mandarin-english", "mixed", True),
        ("mandarin-english", "characters", False),
        ("characters", "characters", False),
        ("generic", "sentencepiece", True),
    ],
)
def test_which_tokens_tell_where_words_begin(name: TextFormName, kind: str, expected: bool) -> None:
    assert separates_words(TEXT_FORMS[name], tokenizer_of(name, kind)) is expected


@pytest.mark.parametrize(
    ("text", "times"), [("我LOVE YOU好", 1), ("好LOVE YOU", 1), ("LOVELOVE YOU", 0), ("我好", 0)]
)
def test_hot_words_of_two_languages(text: str, times: int) -> None:
    tokenizer = tokenizer_of("mandarin-english", "mixed")
    phrase = "LOVE YOU"
    scorer = HotwordScorer({phrase: 2.0}, tokenizer, True)
    score = ShallowFusion((scorer,)).score([tokenizer.encode(text)])
    assert float(score[0]) == pytest.approx(2.0 * times * len(tokenizer.encode(phrase)))


@pytest.mark.parametrize(
    ("form", "unit", "rate", "length"),
    [
        (TEXT_FORMS["mandarin-english"], "mixed", "wer", 5),
        (TEXT_FORMS["mandarin"], "characters", "cer", 15),
        (TEXT_FORMS["generic"], "words", "wer", 5),
        (TextForm(unit="characters"), "characters", "cer", 19),
    ],
)
def test_the_form_says_what_is_counted(form: TextForm, unit: str, rate: str, length: int) -> None:
    evaluated = Evaluated(
        "m", "t.tsv", form, ["one"], ["我 really love you 好"], 2.0, 0.5, 1.0, "cpu", 1
    )
    report = build_report(evaluated, {"ctc": Decoded(["我 really love 好"], 1.0)})
    row = report["decode"]["ctc"]
    assert (report["text_form"], report["unit"]) == (form.name, unit)
    assert row["reference_length"] == length
    assert row[rate] == pytest.approx(
        (row["substitutions"] + row["deletions"] + row["insertions"]) / length
    )
    headers = [str(column.header) for column in render(report).columns]
    assert any("MER" in header for header in headers) is (unit == "mixed")
