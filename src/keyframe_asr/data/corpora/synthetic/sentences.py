"""Sentences of a text file, for a synthetic corpus to say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from keyframe_asr.errors import ManifestError
from keyframe_asr.text.forms import NORMALISATIONS
from keyframe_asr.text.scripts import is_han


def read_sentences(path: Path, language: Literal["mandarin", "english"]) -> tuple[str, ...]:
    """The different lines of a file in the language's normal form, in its order.

    Lines with digits or letters of other scripts are left out, as what is said for them would not
    be what stands there.

    Raises:
        ManifestError: the file cannot be read, or no line can be said.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ManifestError(
            f"{path}: cannot be read: {reason}; give a text file with one sentence a line"
        ) from None
    normal = NORMALISATIONS[language]
    found = dict.fromkeys(normal(line) for line in lines if not normal.lost(line))
    # English has apostrophes and spaces besides letters
    letters = all if language == "mandarin" else any
    letter = is_han if language == "mandarin" else str.isalpha
    said = tuple(one for one in found if one and letters(map(letter, one)))
    if not said:
        raise ManifestError(f"{path}: holds no sentence that can be said in {language}")
    return said
