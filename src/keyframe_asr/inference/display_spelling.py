"""Write a normal text as another text is displayed.

A decoder that has learnt case and punctuation finds texts without them improbable. So the texts of
CTC, which has neither, are written as the decoder writes about the same text.
"""

from __future__ import annotations

import re

from kaldialign import align

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.decoding.timestamps import WORD_BOUNDARY, words
from keyframe_asr.results import Token
from keyframe_asr.text.forms import normaliser, words_of_form
from keyframe_asr.text.scripts import mixed_text

_GAP = ""
_HYPHEN = re.compile(r"(?<=\w-)(?=\w)")
_AFTER_HYPHEN = re.compile(r"(?<=\w-) (?=\w)")


def displayed_as(text: str, example: str, form: TextForm) -> str:
    """Return a text with the case and punctuation of a text that shares most of its words.

    Words that only the text has are in small letters, with punctuation and capital of the word in
    their place, if there is one.

    Args:
        text: in the form.
        example: as it is displayed. If it has no small letters, capitals stay.
        form: of the text.
    """
    normalise = normaliser(form)
    joined = Token(example.replace(" ", WORD_BOUNDARY), 0.0, 0.0, 1.0)
    # "twenty-one" may be two words of the form
    shown = [part for word in words([joined]) for part in _HYPHEN.split(word.text)]
    scored = [normalise(word) or word for word in shown]
    keeps_capitals = not any(map(str.islower, example))
    found: list[str] = []
    place = 0
    for own, other in align(words_of_form(text, form), scored, _GAP):
        model = shown[place] if other != _GAP else ""
        place += other != _GAP
        if own == other:
            found.append(model)
        elif own != _GAP:
            found.append(_dressed(own if keeps_capitals else own.lower(), model))
    spelled = " ".join(found) if form.separation == "spaces" else mixed_text(found)
    return _AFTER_HYPHEN.sub("", spelled)


def _dressed(word: str, model: str) -> str:
    """Give a word the punctuation and the capital of another."""
    letters = [place for place, one in enumerate(model) if one.isalnum()]
    if not letters:
        return word
    first, last = letters[0], letters[-1]
    capital = model[first].isupper() and not model[first : last + 1].isupper()
    return model[:first] + (word[:1].upper() + word[1:] if capital else word) + model[last + 1 :]
