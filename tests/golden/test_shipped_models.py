"""The shipped models write what they always wrote, in every decode mode, short and long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from golden.shipped_models import CORPORA, GOLDEN, SYNTHESISED, long, recorded, synthesised, written
from keyframe_asr.io.model_folder import shipped_models

WRITTEN: dict[str, dict[str, dict[str, Any]]] = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", SYNTHESISED)
def test_texts_of_synthesised_speech(model: str) -> None:
    assert written(model, synthesised(model), None) == WRITTEN[model]["synthesised"]
    assert written(model, long(model), 1) == WRITTEN[model]["long"]


@pytest.mark.corpus
@pytest.mark.parametrize("model", CORPORA)
def test_texts_of_recorded_speech(model: str, corpus_root: Path) -> None:
    assert written(model, recorded(model, corpus_root), None) == WRITTEN[model]["recorded"]


def test_every_shipped_model_is_here_and_all_are_small_enough_to_ship() -> None:
    folders = shipped_models()
    assert set(folders) == set(SYNTHESISED)
    size = sum(path.stat().st_size for folder in folders.values() for path in folder.iterdir())
    assert size <= 95e6
