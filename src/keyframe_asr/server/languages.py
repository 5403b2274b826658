"""Names and tags of languages that clients give."""

from __future__ import annotations

import re
from collections.abc import Sequence

from keyframe_asr.config.text_choices import language_tag
from keyframe_asr.errors import OptionError
from keyframe_asr.server.service import ModelFacts
from keyframe_asr.text.decoder_tokenizer import language_code

_NAMES = """
afrikaans af albanian sq amharic am arabic ar armenian hy assamese as azerbaijani az bashkir ba
basque eu belarusian be bengali bn bosnian bs breton br bulgarian bg burmese my cantonese yue
castilian es catalan ca chinese zh croatian hr czech cs danish da dutch nl english en estonian et
faroese fo finnish fi flemish nl french fr galician gl georgian ka german de greek el gujarati gu
haitian ht hausa ha hawaiian haw hebrew he hindi hi hungarian hu icelandic is indonesian id
italian it japanese ja javanese jw kannada kn kazakh kk khmer km korean ko lao lo latin la
latvian lv lingala ln lithuanian lt luxembourgish lb macedonian mk malagasy mg malay ms
malayalam ml maltese mt mandarin zh maori mi marathi mr mongolian mn nepali ne norwegian no
nynorsk nn occitan oc pashto ps persian fa polish pl portuguese pt punjabi pa romanian ro
russian ru sanskrit sa serbian sr shona sn sindhi sd sinhala si slovak sk slovenian sl somali so
spanish es sundanese su swahili sw swedish sv tagalog tl tajik tg tamil ta tatar tt telugu te
thai th tibetan bo turkish tr turkmen tk ukrainian uk urdu ur uzbek uz vietnamese vi welsh cy
yiddish yi yoruba yo
"""
_BY_NAME = dict(re.findall(r"(\w+) (\w+)", _NAMES))
"""Codes of languages by their English names, as Whisper has them."""


def written_by(model: ModelFacts) -> list[str]:
    """Return the tags of all languages that a model writes."""
    return [one for tag in model.languages for one in tag.split("+")]


def checked_language(given: str, model: ModelFacts, field: str = "language") -> str:
    """Return the model's tag of a language, which a client gives by its tag or English name.

    Raises:
        OptionError: the model does not write it; names those that it writes.
    """
    known = written_by(model)
    name = given.strip().lower()
    try:
        code = language_code(language_tag(_BY_NAME.get(name, name)))
    except ValueError:
        code = ""
    same = [one for one in known if language_code(one) == code]
    if not same:
        raise OptionError(
            field,
            f"'{given[:40]}' is not written by model '{model.name}'; give {' or '.join(known)}, or "
            "leave it out",
        )
    return same[0]


def only_possible(given: Sequence[str], model: ModelFacts) -> str | None:
    """Return the one language of several possible ones that the model writes; None for more.

    Raises:
        OptionError: it writes none of them.
    """
    found: list[str] = []
    error: OptionError | None = None
    for one in given:
        try:
            found.append(checked_language(one, model, "languages"))
        except OptionError as refused:
            error = refused
    if not found and error is not None:
        raise error
    return found[0] if len(set(found)) == 1 else None
