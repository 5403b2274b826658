"""Text forms: how transcripts are written for training, and in which units they are scored.

A form is plain data; `keyframe_asr.text.forms` applies it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from keyframe_asr.config.strict import Strict
from keyframe_asr.config.text_choices import (
    TEXT_FORM_NAMES,
    Separation,
    TextFormName,
    default_form_name,
    language_tag,
)


class TextForm(Strict):
    """A form of text. Without `alphabet`, letters and marks of every script are kept.

    Default-ignorable characters (variation selectors, joiners, soft hyphens) are never kept.
    """

    unicode: Literal["NFC", "NFKC"] = "NFC"
    """Unicode normal form. `NFC` also folds variants of letters that say the same, such as full and
    half width, and drops signs that only stretch or stress a word."""
    accents: Literal["keep", "strip"] = "keep"
    """`strip`: é becomes e."""
    case: Literal["upper", "lower", "lower-dotless", "keep"] = "lower"
    """Case of letters; `lower-dotless` as in Turkish: I becomes ı, and İ becomes i."""
    alphabet: str | None = Field(default=None, min_length=1)
    """The only letters, marks and signs that are kept; `null`: all letters and marks."""
    inside_words: str = "'·״"
    """Signs that are kept between two letters: by default the apostrophe, the middle dot of Catalan
    and the sign of Hebrew abbreviations."""
    digits: bool = True
    """Keep digits; with an `alphabet`, only 0-9."""
    separation: Separation = "spaces"
    """What separates words. `mixed`: spaces, but none next to characters of scripts without spaces
    (Han, kana, Thai)."""
    unit: Literal["words", "characters", "mixed"] = "words"
    """Unit of the main error rate. `mixed`: words, and single characters of scripts without
    spaces."""

    @field_validator("alphabet", "inside_words")
    @classmethod
    def _no_spaces(cls, value: str | None) -> str | None:
        if value is not None and any(map(str.isspace, value)):
            raise ValueError("has a space; `separation` says what becomes of spaces")
        return value

    @property
    def name(self) -> str:
        """Name of the preset with these fields; `own` for any other form."""
        return next((name for name, form in TEXT_FORMS.items() if form == self), "own")

    @property
    def description(self) -> str:
        """What the form keeps, in one line, for reports."""
        kept = "letters and marks of all scripts"
        if self.alphabet is not None:
            kept = "only " + self.alphabet.replace("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A-Z")
        separation = {
            "spaces": "words separated by single spaces, which count as characters",
            "none": "no spaces",
            "mixed": "spaces, but none next to scripts without spaces",
        }
        cases = {
            "upper": "upper case",
            "lower": "lower case",
            "lower-dotless": "lower case, I to ı",
            "keep": "case as written",
        }
        parts = [
            self.unicode,
            cases[self.case],
            "without accents" if self.accents == "strip" else "",
            kept,
            f"{self.inside_words} inside words" if self.inside_words else "",
            "0-9" if self.digits and self.alphabet is not None else "",
            "" if self.digits else "no digits",
            separation[self.separation],
        ]
        return f"{self.name}: {', '.join(filter(None, parts))}"


_LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_ENGLISH = TextForm(
    unicode="NFKC",
    accents="strip",
    case="upper",
    alphabet=f"{_LATIN}'",
    inside_words="",
    digits=False,
)
_MANDARIN = TextForm(
    unicode="NFKC", case="upper", inside_words="", separation="none", unit="characters"
)

TEXT_FORMS: dict[TextFormName, TextForm] = {
    "english": _ENGLISH,
    "english-digits": _ENGLISH.model_copy(update={"digits": True}),
    "mandarin": _MANDARIN,
    "mandarin-english": _MANDARIN.model_copy(
        update={"inside_words": "'", "separation": "mixed", "unit": "mixed"}
    ),
    "generic": TextForm(),
    "turkish": TextForm(case="lower-dotless"),
    "characters": TextForm(inside_words="་", separation="none", unit="characters"),
    "mixed": TextForm(separation="mixed", unit="mixed"),
}
"""The forms that have a name."""


def default_form(language: str) -> TextForm:
    """Return the usual form for a language, given as a tag."""
    return TEXT_FORMS[default_form_name(language)]


def with_digits(form: TextForm) -> TextForm:
    """Return the form, but with digits kept."""
    return form.model_copy(update={"digits": True})


def _named(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in TEXT_FORM_NAMES:
        raise ValueError(
            f"'{value}' is not a text form; give one of {', '.join(TEXT_FORM_NAMES)}, or a mapping "
            "with the fields of a form"
        )
    return TEXT_FORMS[value]


def _stored(form: TextForm) -> Any:
    return form.model_dump() if form.name == "own" else form.name


def _tag(value: Any) -> Any:
    return language_tag(value) if isinstance(value, str) else value


NamedTextForm = Annotated[TextForm, BeforeValidator(_named), PlainSerializer(_stored)]
"""A field with a form: its name, or a mapping with its fields."""

LanguageTag = Annotated[str, BeforeValidator(_tag)]
"""A field with the tag of a language (BCP 47)."""
