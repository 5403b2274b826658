"""Text forms: the usual one of a language, what each keeps, and what it would lose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import refused
from keyframe_asr.config.strict import Strict, parse_config
from keyframe_asr.config.text_choices import TEXT_FORM_NAMES, TextFormName, language_tag
from keyframe_asr.config.text_form import (
    TEXT_FORMS,
    NamedTextForm,
    TextForm,
    default_form,
)
from keyframe_asr.errors import RecipeError
from keyframe_asr.text.forms import guess_form, losses_of, normalise_text, normaliser
from keyframe_asr.text.numbers import changed_number, has_digits
from keyframe_asr.text.scripts import mixed_words
from reference import text_forms as twin

LINES = {
    "german": "Übermut tut selten gut, große Straße",
    "mixed": "我 really love you 好",
    "japanese": "日本語の、テスト。ﾃｽﾄ",
    "thai": "น้ำใจ กับ\u200bคน",
    "arabic": "السَّلامُ عليكم",
    "hindi": "क्षेत्र में नमस्ते",
    "korean": "안녕하세요 여러분",
    "turkish": "ISPARTA İzmir’de Işık",
    "catalan": "l’amic d'en Pere",
    "emoji": "我❤\ufe0f你",
}
SCRIPTS = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from([one for line in LINES.values() for one in line]),
        st.sampled_from("\u00ad\u200b\u200c\u200d\ufe0f\u3164\u115f\ufeff\u034f '’"),
    ),
    max_size=40,
)


class Section(Strict):
    """A configuration with a form."""

    text_form: NamedTextForm


def in_form(name: TextFormName, line: str) -> str:
    return normalise_text(LINES[line], TEXT_FORMS[name])


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("en", "english"),
        ("en-GB", "english"),
        ("zh-CN", "mandarin"),
        ("cmn-Hans", "mandarin"),
        ("yue", "mandarin"),
        ("ja", "characters"),
        ("th", "characters"),
        ("lo-LA", "characters"),
        ("km", "characters"),
        ("my", "characters"),
        ("zh+en", "mandarin-english"),
        ("en+zh", "mandarin-english"),
        ("zh-en", "mandarin-english"),
        ("tr", "turkish"),
        ("de", "generic"),
        ("ar-EG", "generic"),
        ("en+de", "generic"),
        ("sr_Latn", "generic"),
        ("th+en", "mixed"),
        ("en+ja", "mixed"),
    ],
)
def test_usual_form_of_a_language(tag: str, name: TextFormName) -> None:
    assert language_tag(tag).lower() == tag.replace("_", "-").lower()
    assert default_form(tag) == TEXT_FORMS[name]
    assert default_form(tag).name == name


def test_old_names_of_languages_stand_for_tags() -> None:
    assert (language_tag("english"), language_tag("mandarin")) == ("en", "zh")


@pytest.mark.parametrize("given", ["french", "", "e", "en us", "zh+", "../en", "日本"])
def test_what_is_no_tag(given: str) -> None:
    with refused(ValueError, repr(given)):
        language_tag(given)


def test_every_name_is_a_form_of_its_own() -> None:
    assert set(TEXT_FORMS) == set(TEXT_FORM_NAMES)
    assert len(set(TEXT_FORMS.values())) == len(TEXT_FORMS)
    assert all(form.description.startswith(f"{name}: ") for name, form in TEXT_FORMS.items())


def test_a_form_is_stored_by_its_name_or_by_its_fields() -> None:
    named = parse_config(Section, {"text_form": "mandarin"}, "file")
    assert named.text_form == TEXT_FORMS["mandarin"]
    assert named.model_dump() == {"text_form": "mandarin"}
    own = parse_config(Section, {"text_form": {"case": "upper", "alphabet": "AÄ"}}, "file")
    assert own.text_form == TextForm(case="upper", alphabet="AÄ")
    assert own.text_form.name == "own"
    assert parse_config(Section, own.model_dump(), "file") == own


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("german", "generic"),
        ({"caes": "upper"}, "'case'"),
        ({"case": "title"}, "title"),
        ({"alphabet": "A B"}, "alphabet"),
    ],
)
def test_a_form_that_is_none(given: object, expected: str) -> None:
    with refused(RecipeError, "text_form", expected):
        parse_config(Section, {"text_form": given}, "file")


@given(SCRIPTS)
def test_named_forms_write_as_they_always_did(text: str) -> None:
    """But default-ignorable characters are gone, and a zero width space is a space."""
    cleaned = "".join(" " if one == "\u200b" else one for one in text if not _ignorable(one))
    assert normalise_text(text, TEXT_FORMS["english"]) == twin.english(cleaned)
    assert normalise_text(text, TEXT_FORMS["english-digits"]) == twin.english(cleaned, True)
    assert normalise_text(text, TEXT_FORMS["mandarin"]) == twin.mandarin(cleaned)


def _ignorable(character: str) -> bool:
    code = ord(character)
    return code != 0x200B and any(
        first <= code <= last
        for first, last in (
            (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
            (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F),
            (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
            (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
        )
    )  # fmt: skip


@given(SCRIPTS, st.sampled_from(TEXT_FORM_NAMES))
def test_a_text_in_its_form_stays_as_it_is(text: str, name: TextFormName) -> None:
    normal = normalise_text(text, TEXT_FORMS[name])
    assert normalise_text(normal, TEXT_FORMS[name]) == normal
    assert not any(map(_ignorable, normal)) and "\u200b" not in normal
    assert normal == " ".join(normal.split())
    lost = losses_of([normal], TEXT_FORMS[name])
    assert not lost.characters and not lost.accents


@given(SCRIPTS)
def test_mandarin_loses_no_letters_and_no_digits(text: str) -> None:
    normal = normaliser(TEXT_FORMS["mandarin"])
    assert normal.lost(text) == ""
    assert has_digits(normal(text)) == has_digits(text)


def test_english() -> None:
    assert normalise_text("Room ４2-b, №5 don’t", TEXT_FORMS["english-digits"]) == (
        "ROOM 42 B NO5 DON'T"
    )
    assert normalise_text("Room 42", TEXT_FORMS["english"]) == "ROOM"


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("generic", "german", "übermut tut selten gut große straße"),
        ("generic", "arabic", "السَّلامُ عليكم"),
        ("generic", "hindi", "क्षेत्र में नमस्ते"),
        ("generic", "korean", "안녕하세요 여러분"),
        ("generic", "catalan", "l'amic d'en pere"),
        ("generic", "thai", "น้ำใจ กับ คน"),
        ("turkish", "turkish", "ısparta izmir'de ışık"),
        ("characters", "japanese", "日本語のテストテスト"),
        ("characters", "thai", "น้ำใจกับคน"),
        ("mandarin-english", "mixed", "我REALLY LOVE YOU好"),
        ("mandarin", "emoji", "我你"),
    ],
)
def test_every_script_is_written_as_its_readers_write_it(
    name: TextFormName, line: str, expected: str
) -> None:
    assert in_form(name, line) == expected


def test_joiners_and_presentation_forms() -> None:
    generic = TEXT_FORMS["generic"]
    assert normalise_text("می\u200cخواهم", generic) == "میخواهم"
    assert normalise_text("co\u00adoperate", TEXT_FORMS["english"]) == "COOPERATE"
    assert normalise_text("ﻣﺮﺣﺒﺎ Ａｂ", generic) == "مرحبا ab"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ո՞ւր, բարև՛", "ուր բարև"),
        ('צה״ל ארה"ב "שלום" ג׳ירפה', "צה״ל ארה״ב שלום ג'ירפה"),
        ("مـــرحبا", "مرحبا"),
        ("COL·LEGI coŀlegi · fi", "col·legi col·legi fi"),
        ("അവന്\u200d", "അവൻ"),
        ("উত্\u200d", "উৎ"),
        ("ﬁn ⼈", "fin 人"),
    ],
)
def test_one_spelling_of_what_sounds_the_same(text: str, expected: str) -> None:
    assert normalise_text(text, TEXT_FORMS["generic"]) == expected


def test_tibetan_keeps_the_signs_between_syllables() -> None:
    assert normalise_text("བོད་སྐད།", TEXT_FORMS["characters"]) == "བོད་སྐད"
    assert mixed_words("བོད་སྐད") == ["བོ", "ད་", "སྐ", "ད"]


def test_apostrophes_stand_inside_words_only() -> None:
    said = "'tis the dogs' l’or, 1990's 5'10"
    assert normalise_text(said, TEXT_FORMS["generic"]) == "tis the dogs l'or 1990's 5 10"


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("Café, ﬁne! (naïve) 50 € – ß", "50"),
        ("Łódź", "Ł"),
        ("а я", "АЯ"),
        ("once upon a time...", ""),
        ("42 42", "42"),
    ],
)
def test_what_english_drops(text: str, lost: str) -> None:
    assert normaliser(TEXT_FORMS["english"]).lost(text) == lost


@pytest.mark.parametrize(
    ("name", "line", "tokens", "lost", "named"),
    [
        ("mandarin", "mixed", 5, 3, ["2"]),
        ("mandarin-english", "mixed", 5, 0, []),
        ("english", "mixed", 5, 2, ["我", "好"]),
        ("english", "german", 6, 1, ["Ü"]),
        ("english", "japanese", 10, 10, ["日", "本", "テ"]),
        ("characters", "japanese", 10, 0, []),
        ("mandarin", "arabic", 2, 2, ["1"]),
        ("generic", "arabic", 2, 0, []),
        ("characters", "korean", 2, 2, ["1"]),
    ],
)
def test_losses_are_counted_and_named(
    name: TextFormName, line: str, tokens: int, lost: int, named: list[str]
) -> None:
    found = losses_of([LINES[line]], TEXT_FORMS[name])
    assert (found.tokens, found.tokens_lost) == (tokens, lost)
    assert bool(found.named()) is bool(lost)
    assert all(one in found.named() for one in named)


@given(SCRIPTS, st.sampled_from(TEXT_FORM_NAMES))
def test_nothing_is_lost_without_a_word(text: str, name: TextFormName) -> None:
    """Letters that the form does not write are named, or only their accents or case are gone."""
    form = TEXT_FORMS[name]
    found = normaliser(form).losses(text)
    assert 0 <= found.tokens_lost <= found.tokens
    assert bool(found.tokens_lost) is bool(found.named())


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["打开灯 A", "打开KTV"], "mandarin"),
        (["我 really love you 好", "没有 any idea"], "mandarin-english"),
        (["打开灯 A", "KTV"], "mandarin-english"),
        (["turn on the lights", "a café"], "generic"),
        (["turn on the lights " * 60, "a café"], "english"),
        (["", "12"], "english"),
        ([LINES["japanese"]], "characters"),
        ([LINES["thai"]], "characters"),
        (["ผมมี meeting very early ตอนเช้า"], "mixed"),
        (["we eat sushi です every day"], "mixed"),
        ([LINES["german"]], "generic"),
        ([LINES["korean"]], "generic"),
    ],
)
def test_form_of_texts_by_their_scripts(texts: list[str], name: TextFormName) -> None:
    assert guess_form(texts).name == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("room 42", True),
        ("２６度", True),
        ("①", True),
        ("½", True),
        ("٣", True),
        ("二〇二六年", False),
        ("十五", False),
        ("Ⅳ", False),
        ("", False),
    ],
)
def test_digits_are_found_however_they_are_written(text: str, expected: bool) -> None:
    assert has_digits(text) is expected


@given(st.text(st.characters(exclude_characters="-:/.,'"), max_size=8), st.integers(0, 10**6))
def test_whole_numbers_between_letters_are_kept(word: str, number: int) -> None:
    letters = "".join(filter(str.isalpha, word))
    text = f"{letters} {number} {letters}."
    for form in TEXT_FORMS.values():
        assert changed_number(text, form) == ""


def test_words_are_a_character_with_its_marks_or_a_run_of_others() -> None:
    assert mixed_words("打开ABC 灯𠀀") == ["打", "开", "ABC", "灯", "𠀀"]
    assert mixed_words("น้ำใจok") == ["น้ำ", "ใ", "จ", "ok"]
    assert mixed_words("ស្រី") == ["ស្រី"]
    assert mixed_words("がぎ क्षे\u0301") == ["が", "ぎ", "क्षे\u0301"]


@given(SCRIPTS)
def test_words_lose_nothing_but_spaces(text: str) -> None:
    words = mixed_words(text)
    assert "".join(words) == "".join(text.split())
    assert all(words)
