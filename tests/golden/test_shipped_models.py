"""The shipped models write what they always wrote, in every decode mode, short and long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kaldialign
import pytest

import keyframe_asr
from golden.shipped_models import CORPORA, GOLDEN, SYNTHESISED, long, recorded, synthesised, written
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.io.model_folder import shipped_models

WRITTEN: dict[str, dict[str, dict[str, Any]]] = json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", SYNTHESISED)
def test_texts_of_synthesised_speech(model: str) -> None:
    assert written(model, synthesised(model), None) == WRITTEN[model]["synthesised"]
    assert written(model, long(model), 1) == WRITTEN[model]["long"]


@pytest.mark.parametrize("model", SYNTHESISED)
def test_the_default_in_8_bits_writes_nearly_the_same(model: str) -> None:
    """Not the same: integers differ between processors, and texts that nothing speaks for, too."""
    assert isinstance(keyframe_asr.load(model, "cpu").network, OnnxNetwork)
    found = written(model, synthesised(model), None, "auto")
    known = WRITTEN[model]["synthesised"]
    modes = [mode for mode in found if mode != "names"]
    assert set(modes) == set(known) - {"names"}
    edits = sum(
        kaldialign.edit_distance(list(theirs), list(ours))["total"]
        for mode in modes
        for ours, theirs in zip(found[mode], known[mode], strict=True)
    )
    assert edits <= 0.05 * sum(len(text) for mode in modes for text in known[mode])


@pytest.mark.corpus
@pytest.mark.parametrize("model", CORPORA)
def test_texts_of_recorded_speech(model: str, corpus_root: Path) -> None:
    assert written(model, recorded(model, corpus_root), None) == WRITTEN[model]["recorded"]


def test_every_shipped_model_is_here_and_all_are_small_enough_to_ship() -> None:
    folders = shipped_models()
    assert set(folders) == set(SYNTHESISED)
    size = sum(path.stat().st_size for folder in folders.values() for path in folder.rglob("*"))
    assert size <= 95e6
