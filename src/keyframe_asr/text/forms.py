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

_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt; none of them is heard. The
# zero width space is there too, but separates words, in Khmer and Thai for instance.
_IGNORABLE = str.maketrans(
    {
        chr(code): None
        for first, last in (
            (0x00AD, 0x00AD),
            (0x034F, 0x034F),
            (0x061C, 0x061C),
            (0x115F, 0x1160),
            (0x17B4, 0x17B5),
            (0x180B, 0x180F),
            (0x200C, 0x200F),
            (0x202A, 0x202E),
            (0x2060, 0x206F),
            (0x3164, 0x3164),
            (0xFE00, 0xFE0F),
            (0xFEFF, 0xFEFF),
            (0xFFA0, 0xFFA0),
            (0xFFF0, 0xFFF8),
            (0x1BCA0, 0x1BCA3),
            (0x1D173, 0x1D17A),
            (0xE0000, 0xE0FFF),
        )
        for code in range(first, last + 1)
    }
    | {"\u200b": " "}
)

_PRESENTATION = frozenset(("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>"))
"""Compatibility variants that differ in nothing but how they are drawn."""

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

    def __call__(self, text: str) -> str:
        """Return the transcript in the form; "" if nothing is left."""
        kept = "".join(self._kept(self._folded(text)))
        if self.form.separation == "none":
            # removing a space can put a combining accent next to a letter
            return unicodedata.normalize(self.form.unicode, "".join(kept.split()))
        words = unicodedata.normalize(self.form.unicode, kept).split()
        return " ".join(words) if self.form.separation == "spaces" else mixed_text(words)

    def lost(self, text: str) -> str:
        """Return the letters and digits of a transcript that the form drops."""
        folded = self._folded(text)
        pairs = zip(folded, self._kept(folded), strict=True)
        return "".join(dict.fromkeys(one for one, kept in pairs if kept == " " and _is_spoken(one)))

    def losses(self, text: str) -> Losses:
        """Count what a transcript would lose in the form."""
        words = [one for one in mixed_words(without_ignorable(text)) if any(map(_is_spoken, one))]
        found = Losses(tokens=len(words))
        damaged = set(self._glued(text, found)) if self.form.separation == "none" else set()
        for place, word in enumerate(words):
            characters = self.lost(word)
            accents = _accented(word) if self.form.accents == "strip" else []
            found.characters.update(characters)
            # a letter that is dropped altogether does not count twice
            found.accents.update(one for one in accents if not self.lost(one))
            if characters or accents:
                damaged.add(place)
        found.tokens_lost = len(damaged)
        return found

    def _glued(self, text: str, found: Losses) -> Iterator[int]:
        """Yield the places of words that lose the space next to them."""
        place, before = 0, ""
        for part in without_ignorable(text).split():
            words = [one for one in mixed_words(part) if any(map(_is_spoken, one))]
            if words and before and not is_unspaced(before) and not is_unspaced(words[0]):
                found.spaces += 1
                yield from (place - 1, place)
            if words:
                before = words[-1]
                place += len(words)

    def _folded(self, text: str) -> str:
        """Return the text in the form's case and Unicode form, with accents stripped."""
        form = self.form
        text = without_ignorable(text)
        if "'" in self._signs:
            text = text.translate(_APOSTROPHES)
        text = _fold_presentation(text) if form.unicode == "NFC" else text
        text = unicodedata.normalize(form.unicode, text)
        if form.accents == "strip":
            decomposed = unicodedata.normalize("NFKD" if form.unicode == "NFKC" else "NFD", text)
            text = "".join(one for one in decomposed if not unicodedata.combining(one))
        if form.case == "lower-dotless":
            text = text.replace("I", "ı").replace("İ", "i")
        if form.case != "keep":
            text = text.upper() if form.case == "upper" else text.lower()
        return text

    def _kept(self, folded: str) -> list[str]:
        """Return each character, or a space instead of one that is not kept."""
        kinds = [unicodedata.category(one)[0] for one in folded]
        found = []
        for place, one in enumerate(folded):
            kept = self._keeps(one) or (
                one in self.form.inside_words
                and 0 < place < len(folded) - 1
                and kinds[place - 1] in "LMN"
                and kinds[place + 1] == "L"
            )
            found.append(one if kept else " ")
        return found

    def _keeps(self, character: str) -> bool:
        if self.form.alphabet is not None:
            digit = self.form.digits and character in _ASCII_DIGITS
            return digit or character in self.form.alphabet
        category = unicodedata.category(character)
        return category[0] in "LM" or category == "Nl" or (self.form.digits and category[0] == "N")


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
    letters kana, Thai or another script without spaces: characters. Otherwise English, if it loses
    at most `MAX_LOST` of the words, or Mandarin with English if a Han character is there, or
    generic.
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
        if 20 * unspaced > han:
            return TEXT_FORMS["characters"]
        alone = losses_of(lines, TEXT_FORMS["mandarin"]).fraction <= MAX_LOST
        return TEXT_FORMS["mandarin" if alone else "mandarin-english"]
    if losses_of(lines, TEXT_FORMS["english-digits"]).fraction <= MAX_LOST:
        return TEXT_FORMS["english"]
    return TEXT_FORMS["mandarin-english" if han else "generic"]


def without_ignorable(text: str) -> str:
    """Remove the characters that Unicode lets every program ignore; ZERO WIDTH SPACE is a space."""
    return text.translate(_IGNORABLE)


def _fold_presentation(text: str) -> str:
    if text.isascii():
        return text
    return "".join(
        unicodedata.normalize("NFKC", one)
        if unicodedata.decomposition(one).partition(" ")[0] in _PRESENTATION
        else one
        for one in text
    )


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
