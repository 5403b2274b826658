"""The runtime of exported models: what it imports, and folders that it cannot use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from fixtures.errors import refused
from fixtures.exported import exported
from fixtures.random_pretrained import random_pretrained
from fixtures.tiny_pretrained import byte_tokenizer
from keyframe_asr.config.decoding import DecodingConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.export.tracing import serialised
from keyframe_asr.io.exported_folder import load_exported
from keyframe_asr.io.model_folder import save_model_config
from keyframe_asr.runtime.network import open_network
from keyframe_asr.runtime.sessions import FORMAT_KEY, SOURCE_KEY, Sessions, onnx_runtime
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE

HEAVY = ("torch", "transformers", "lhotse", "scipy", "tensorboard", "accelerate")


def test_the_runtime_imports_nothing_that_only_training_needs() -> None:
    code = (
        "import sys, importlib, pkgutil, keyframe_asr.runtime as runtime\n"
        "for one in pkgutil.iter_modules(runtime.__path__, 'keyframe_asr.runtime.'):\n"
        "    importlib.import_module(one.name)\n"
        "import keyframe_asr.audio.features, keyframe_asr.audio.reading\n"
        "import keyframe_asr.text.tokenizer, keyframe_asr.text.decoder_tokenizer\n"
        "from keyframe_asr.config.model import FeaturesConfig\n"
        "import numpy\n"
        "keyframe_asr.audio.features.WhisperMel(80)(numpy.zeros(4000, 'f4'))\n"
        "print(*sorted(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = done.stdout.split()
    assert "numpy" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def graph(properties: dict[str, str] | None = None) -> bytes:
    """A small graph, with some of its properties changed."""
    model = onnx.load_from_string(exported("fbank").graph("decoder_memory"))
    for entry in model.metadata_props:
        entry.value = (properties or {}).get(entry.key, entry.value)
    return serialised(model)


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    with refused(ModelError, tmp_path, "config.yaml"):
        open_network(tmp_path)
    (tmp_path / "config.yaml").write_text("name: x\n")
    with refused(ModelError, tmp_path, "encoder.onnx"):
        open_network(tmp_path)


def test_a_graph_that_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    with refused(ModelError, tmp_path, "encoder.onnx"):
        Sessions(tmp_path).session("encoder")
    path = tmp_path / "encoder.onnx"
    path.write_bytes(graph()[:200])
    with refused(ModelError, path):
        Sessions(tmp_path).session("encoder")


def test_a_graph_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.onnx"
    path.write_bytes(graph({FORMAT_KEY: "99"}))
    with refused(ModelError, path, 99):
        Sessions(tmp_path).session("encoder")
    model = onnx.load_from_string(graph())
    del model.metadata_props[:]
    path.write_bytes(serialised(model))
    with refused(ModelError, path):
        Sessions(tmp_path).session("encoder")


def test_graphs_of_two_models_are_refused(tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(graph())
    (tmp_path / "keyframes.onnx").write_bytes(graph({SOURCE_KEY: "other"}))
    sessions = Sessions(tmp_path)
    sessions.session("encoder")
    with refused(ModelError, tmp_path / "keyframes.onnx"):
        sessions.session("keyframes")


def test_an_onnxruntime_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old: Any = SimpleNamespace(__version__="1.21.1")
    monkeypatch.setitem(sys.modules, "onnxruntime", old)
    with refused(ModelError, "1.21.1", "1.22"):
        onnx_runtime()


def test_an_export_without_its_tokenizers_or_language_model_is_refused(tmp_path: Path) -> None:
    with refused(ModelError, tmp_path, "config.yaml"):
        load_exported(tmp_path)
    model = random_pretrained()
    decoding = DecodingConfig(mode="ctc", greedy="ctc", language_model="words.ngram")
    for config, lacking_file in (
        (model.config, DECODER_TOKENIZER_FILE),
        (model.config.model_copy(update={"decoding": decoding}), "words.ngram"),
    ):
        save_model_config(tmp_path, config)
        with refused(ModelError, tmp_path, lacking_file):
            load_exported(tmp_path)
    save_model_config(tmp_path, model.config)
    (tmp_path / DECODER_TOKENIZER_FILE).write_bytes(byte_tokenizer())
    with refused(ModelError, tmp_path):
        load_exported(tmp_path)
    (tmp_path / model.tokenizer.file_name).write_bytes(model.tokenizer.content())
    found = load_exported(tmp_path)
    assert found.tokenizer.vocab_size == model.config.vocab_size
    assert found.decoder_tokenizer is not None
    assert found.decoder_tokenizer.decode(found.decoder_tokenizer.encode("ab")) == "ab"
