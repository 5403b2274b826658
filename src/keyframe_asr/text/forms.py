"""Apply text forms: normalise transcripts, and tell what a form would lose.

Prepared corpora and models store their form, so that a model is scored on the form of text it was
trained on.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from keyframe_asr.config.text_form import TEXT_FORMS, TextForm
from keyframe_asr.text.scripts import clusters, is_unspaced, mixed_text, mixed_words
from keyframe_asr.text.spelling import in_one_spelling, with_plain_apostrophes, without_ignorable

_ASCII_DIGITS = frozenset("0123456789")

MAX_LOST = 0.01
"""Fraction of the tokens that a form may lose without being the wrong form."""


@dataclass
class Losses:
    """What a form drops although it is spoken, summed over transcripts.

    Attributes:
        tokens: words of the transcripts as they were, characters in scripts without spaces.
        tokens_lost: of them, those that lose anything, or are joined to their neighbour.
        characters: letters and digits that are dropped.
        accents: letters whose accents are dropped.
        spaces: spaces between words that are dropped.
    """

    tokens: int = 0
    tokens_lost: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    accents: Counter[str] = field(default_factory=Counter)
    spaces: int = 0

    @property
    def fraction(self) -> float:
        """Fraction of the tokens that are lost."""
        return self.tokens_lost / max(1, self.tokens)

    def add(self, other: Losses) -> None:
        """Add the losses of other transcripts."""
        self.tokens += other.tokens
        self.tokens_lost += other.tokens_lost
        self.characters += other.characters
        self.accents += other.accents
        self.spaces += other.spaces

    def named(self, most: int = 8) -> str:
        """Name the losses, the most frequent first; "" if there are none."""
        parts = []
        for what, counts in (("characters", self.characters), ("accents of", self.accents)):
            if counts:
                some = " ".join(one for one, _ in counts.most_common(most))
                more = " ..." if len(counts) > most else ""
                parts.append(f"{what} {some}{more} ({counts.total()} times)")
        if self.spaces:
            parts.append(f"{self.spaces} spaces between words")
        return ", ".join(parts)


class Normaliser:
    """Brings transcripts into a form."""

    def __init__(self, form: TextForm) -> None:
        self.form = form
        self._signs = {*form.inside_words, *(form.alphabet or "")}
        self._kept_characters = _Kept(form)

    def __call__(self, text: str) -> str:
        """Return the transcript in the form; "" if nothing is left."""
        kept = self._kept(self._folded(text))
        if self.form.separation == "none":
            # removing a space can put a combining accent next to a letter
            return unicodedata.normalize(self.form.unicode, "".join(kept.split()))
        words = unicodedata.normalize(self.form.unicode, kept).split()
        return " ".join(words) if self.form.separation == "spaces" else mixed_text(words)

    def lost(self, text: str) -> str:
        """Return the letters and digits of a transcript that the form drops."""
        folded = self._folded(text)
        kept = {*self._kept(folded)}
        return "".join(one for one in dict.fromkeys(folded) if one not in kept and _is_spoken(one))

    def losses(self, text: str) -> Losses:
        """Count what a transcript would lose in the form."""
        text = without_ignorable(text)
        words = _spoken_words(text)
        found = Losses(tokens=len(words))
        damaged = set(self._glued(text, found)) if self.form.separation == "none" else set()
        strips = self.form.accents == "strip" and not text.isascii()
        if strips or self.lost(text):
            for place, word in enumerate(words):
                characters = self.lost(word)
                # a letter that is dropped altogether does not count twice
                accents = [one for one in _accented(word) if not self.lost(one)] if strips else []
                found.characters.update(characters)
                found.accents.update(accents)
                if characters or accents:
                    damaged.add(place)
        found.tokens_lost = len(damaged)
        return found

    def _glued(self, text: str, found: Losses) -> Iterator[int]:
        """Yield the places of words that lose the space next to them."""
        place, before = 0, ""
        for part in text.split():
            words = _spoken_words(part)
            if words and before and not is_unspaced(before) and not is_unspaced(words[0]):
                found.spaces += 1
                yield from (place - 1, place)
            if words:
                before = words[-1]
                place += len(words)

    def _folded(self, text: str) -> str:
        """Return the text in the form's case and Unicode form, with accents stripped."""
        form = self.form
        text = in_one_spelling(text) if form.unicode == "NFC" else text
        text = without_ignorable(text)
        if "'" in self._signs:
            text = with_plain_apostrophes(text)
        text = unicodedata.normalize(form.unicode, text)
        if form.accents == "strip":
            decomposed = unicodedata.normalize("NFKD" if form.unicode == "NFKC" else "NFD", text)
            text = "".join(one for one in decomposed if not unicodedata.combining(one))
        if form.case == "lower-dotless":
            text = text.replace("I", "ı").replace("İ", "i")
        if form.case != "keep":
            text = text.upper() if form.case == "upper" else text.lower()
        return text

    def _kept(self, folded: str) -> str:
        """Return the text with a space instead of each character that is not kept."""
        kept = folded.translate(self._kept_characters)
        if not any(sign in folded for sign in self.form.inside_words):
            return kept
        return "".join(
            sign if sign in self.form.inside_words and _is_inside(folded, place) else one
            for place, (sign, one) in enumerate(zip(folded, kept, strict=True))
        )


class _Kept(dict[int, str]):
    """Maps a character to itself if a form keeps it, else to a space."""

    def __init__(self, form: TextForm) -> None:
        super().__init__()
        self._form = form

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = self[code] = character if self._keeps(character) else " "
        return kept

    def _keeps(self, character: str) -> bool:
        if self._form.alphabet is not None:
            digit = self._form.digits and character in _ASCII_DIGITS
            return digit or character in self._form.alphabet
        category = unicodedata.category(character)
        return category[0] in "LM" or category == "Nl" or (self._form.digits and category[0] == "N")


def _is_inside(text: str, place: int) -> bool:
    """True if the sign at a place stands after a letter, mark or digit and before a letter."""
    if not 0 < place < len(text) - 1:
        return False
    before, after = (unicodedata.category(text[at])[0] for at in (place - 1, place + 1))
    return before in "LMN" and after == "L"


@functools.lru_cache(maxsize=16)
def normaliser(form: TextForm) -> Normaliser:
    """Return what brings transcripts into a form."""
    return Normaliser(form)


def normalise_text(text: str, form: TextForm) -> str:
    """Bring a transcript into a form."""
    return normaliser(form)(text)


def words_of_form(text: str, form: TextForm) -> list[str]:
    """Split a text that is in a form into the words that are scored."""
    return text.split() if form.separation == "spaces" else mixed_words(text)


def losses_of(texts: Iterable[str], form: TextForm) -> Losses:
    """Sum what transcripts would lose in a form."""
    found = Losses()
    for text in texts:
        found.add(normaliser(form).losses(text))
    return found


def guess_form(texts: Iterable[str]) -> TextForm:
    """Guess the form of texts from their scripts.

    Most letters Han: Mandarin, or Mandarin with English if spaces between words would be lost. Most
    letters kana, Thai or another script without spaces: characters, or mixed if spaces would be
    lost. Otherwise English, if it loses at most `MAX_LOST` of the words, or mixed or Mandarin with
    English if characters of such scripts are there, or generic.
    """
    lines = list(texts)
    letters = Counter(
        name.split(" ")[0].split("-")[0]
        for line in lines
        for name in (unicodedata.name(one, "") for one in line if one.isalpha())
    )
    han, kana = letters["CJK"], letters["HIRAGANA"] + letters["KATAKANA"]
    unspaced = kana + sum(letters[name] for name in ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"))
    total = letters.total()
    if 2 * (han + unspaced) > total:
        alone = TEXT_FORMS["characters" if 20 * unspaced > han else "mandarin"]
        if losses_of(lines, alone).fraction <= MAX_LOST:
            return alone
    elif losses_of(lines, TEXT_FORMS["english-digits"]).fraction <= MAX_LOST:
        return TEXT_FORMS["english"]
    if 20 * unspaced > han:
        return TEXT_FORMS["mixed"]
    return TEXT_FORMS["mandarin-english" if han else "generic"]


def keeping_form(texts: Iterable[str]) -> TextForm:
    """Return a named form that loses at most `MAX_LOST` of the words of transcripts, if any does.

    That is the form of `guess_form`, or generic.
    """
    lines = list(texts)
    guessed = guess_form(lines)
    kept = losses_of(lines, guessed).fraction <= MAX_LOST
    return guessed if kept else TEXT_FORMS["generic"]


def _spoken_words(text: str) -> list[str]:
    return [one for one in mixed_words(text) if any(map(_is_spoken, one))]


@functools.lru_cache(maxsize=65536)
def _is_spoken(character: str) -> bool:
    """True if a character is a letter or digit, or stands for some, such as ㎏."""
    return any(map(str.isalnum, unicodedata.normalize("NFKC", character)))


def _accented(word: str) -> list[str]:
    """Return the letters of a word that have accents."""
    return [
        one
        for one in clusters(unicodedata.normalize("NFC", word))
        if any(map(unicodedata.combining, unicodedata.normalize("NFD", one)))
        and any(map(str.isalpha, one))
    ]
