"""Hot words of requests: keywords, which must be possible, and phrases of a prompt, which may be.

The words of a prompt are not known to be in the recording, nor that the model can write them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from keyframe_asr.errors import KeyframeError, OptionError
from keyframe_asr.inference.batch_recognizer import BatchRecognizer
from keyframe_asr.inference.options import LONGEST_PHRASE, RecognitionOptions
from keyframe_asr.inference.scorer_files import usable_hotwords

MOST_KEYWORDS = 200

MOST_LETTERS = 2000
"""Characters of all hot words of a request: a list of so many takes a tenth of a second to build,
in which others wait."""

_SEPARATORS = re.compile(r"[,;\t\r\n、，；]+")


def checked_keywords(given: Sequence[str]) -> tuple[str, ...]:
    """Return the keywords of a request; empty ones are left out.

    Raises:
        OptionError: there are too many.
    """
    keywords = tuple(dict.fromkeys(one for one in given if one.strip()))
    if len(keywords) > MOST_KEYWORDS or sum(map(len, keywords)) > MOST_LETTERS:
        raise OptionError(
            "keywords",
            f"are too many; give at most {MOST_KEYWORDS}, with {MOST_LETTERS} characters in all",
        )
    return keywords


def phrases_of(prompt: str) -> tuple[str, ...]:
    """Return the first phrases of a prompt: between commas, semicolons and line breaks."""
    phrases = dict.fromkeys(one.strip() for one in _SEPARATORS.split(prompt))
    return tuple(one for one in phrases if 0 < len(one) <= LONGEST_PHRASE)[:MOST_KEYWORDS]


def with_prompt(
    options: RecognitionOptions, phrases: Sequence[str], recognizer: BatchRecognizer
) -> RecognitionOptions:
    """Add the phrases of a prompt to the hot words, as far as the model can use them.

    Args:
        options: without a file of hot words.
        phrases: of the prompt; those with letters that the model does not write are left out.
        recognizer: of the model; in a mode that takes no hot words, all are left out.
    """
    keywords = options.hotwords if isinstance(options.hotwords, tuple) else ()
    left = MOST_LETTERS - sum(map(len, keywords))
    added: list[str] = []
    for phrase in usable_hotwords(phrases, recognizer.config, recognizer.tokenizer):
        left -= len(phrase)
        if left < 0 or len(keywords) + len(added) == MOST_KEYWORDS:
            break
        added.append(phrase)
    if not added:
        return options
    try:
        hinted = replace(options, hotwords=(*keywords, *added))
        recognizer.search(hinted)
    except KeyframeError:
        return options
    return hinted
