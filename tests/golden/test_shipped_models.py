"""The shipped models write what they always wrote, in every decode mode, short and long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from golden.shipped_models import CORPORA, GOLDEN, SYNTHESISED, recorded, synthesised, texts

WRITTEN: dict[str, dict[str, dict[str, Any]]] = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", SYNTHESISED)
def test_texts_of_synthesised_speech(model: str) -> None:
    named = dict(synthesised(model))
    assert {"names": list(named), **texts(model, list(named.values()))} == (
        WRITTEN[model]["synthesised"]
    )


@pytest.mark.corpus
@pytest.mark.parametrize("model", CORPORA)
def test_texts_of_recorded_speech(model: str, corpus_root: Path) -> None:
    named = dict(recorded(model, corpus_root))
    assert {"names": list(named), **texts(model, list(named.values()))} == (
        WRITTEN[model]["recorded"]
    )
