"""Variation selectors, joiners and fillers became tokens of Mandarin models."""

from __future__ import annotations

import pytest

from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.text.forms import normalise_text
from keyframe_asr.text.tokenizer import train_tokenizer


@pytest.mark.parametrize("mark", ["\ufe0f", "\u034f", "\u3164", "\u180b", "\u115f", "\U000e0100"])
def test_no_form_keeps_them(mark: str) -> None:
    for form in TEXT_FORMS.values():
        text = normalise_text(f"我❤{mark}你a{mark}b", form)
        assert mark not in text
        assert "ab" in text.lower()
        tokenizer = train_tokenizer([text], TokenizerConfig(kind="characters"))
        assert tokenizer.vocab_size <= 3 + len("我你ab ")
