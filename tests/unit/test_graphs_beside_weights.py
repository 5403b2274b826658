"""Graphs that lie beside a model's weights: they take all of them from there."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.torch import save_file

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.exported import BINS, KINDS, exported, small_network, traced_graph
from fixtures.random_model import noise, random_model, save_random_model
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.errors import ModelError
from keyframe_asr.export.folder import add_graphs
from keyframe_asr.export.graphs import graphs_of
from keyframe_asr.export.integers import matrices_of, with_integers
from keyframe_asr.export.shared_weights import take_weights, with_distinct_weights
from keyframe_asr.export.tracing import serialised
from keyframe_asr.export.verification import Verification
from keyframe_asr.inference import backends
from keyframe_asr.inference.backends import fitting_backend
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.inference.options import ComputeOptions
from keyframe_asr.inference.settings import model_settings
from keyframe_asr.inference.torch_network import TorchNetwork
from keyframe_asr.io.model_folder import (
    Storage,
    load_model_folder,
    quantise_model_folder,
    save_model_config,
    save_model_folder,
)
from keyframe_asr.io.model_location import architecture_digest, has_graphs
from keyframe_asr.io.quantisation import quantise as quantise_tensor
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.runtime import stored_weights
from keyframe_asr.runtime.network import EncodedArrays, ExportedNetwork, open_network
from keyframe_asr.runtime.stored_weights import StoredWeights, in_blocks


@functools.cache
def distinct_network(name: str) -> KeyframeNetwork:
    return with_distinct_weights(exported(name).network)


@functools.cache
def distinct_graph(name: str, part: str) -> bytes:
    return traced_graph(distinct_network(name), part)


def with_graphs_beside(
    folder: Path, name: str, network: KeyframeNetwork, integers: bool
) -> ExportedNetwork:
    """Write the graphs of a kind, without weights, and the weights of a network of this kind."""
    pair, distinct, constants = exported(name), distinct_network(name), {}
    (folder / "graphs").mkdir(parents=True)
    for part, graph in graphs_of(distinct).items():
        model = onnx.load_from_string(distinct_graph(name, part))
        if integers:
            scheme = "blocks" if part.startswith("decoder") else "dynamic"
            with_integers(model, dict.fromkeys(matrices_of(model), scheme))
        constants[part] = take_weights(model, graph.module, distinct)
        assert all(
            one.data_location == onnx.TensorProto.EXTERNAL or np.prod(one.dims) <= BINS
            for one in model.graph.initializer
        )
        (folder / "graphs" / f"{part}.onnx").write_bytes(serialised(model))
    whole = {"architecture": architecture_digest(pair.exported.config), "graphs": constants}
    (folder / "graphs" / "weights.json").write_text(json.dumps(whole))
    save_model_config(folder, pair.exported.config)
    weights = {key: one.clone().contiguous() for key, one in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    return open_network(folder, threads=1)


def sound(name: str) -> np.ndarray:
    pretrained = KINDS[name].pretrained
    samples = np.random.default_rng(3).normal(size=(12_000 if pretrained else 150, 1))
    if pretrained is None or pretrained == "whisper":
        samples = np.random.default_rng(3).normal(size=(150, BINS))
    return samples.astype(np.float32)


SHARING = ("fbank", "whisper", "stable, keyframes inside")


@pytest.mark.parametrize("name", SHARING)
def test_graphs_without_weights_compute_with_those_of_any_such_model(
    name: str, tmp_path: Path
) -> None:
    pair = exported(name)
    features = sound(name)
    found = with_graphs_beside(tmp_path / "same", name, pair.network, integers=False)
    ours, theirs = (one.encode([features]) for one in (found, pair.exported))
    np.testing.assert_array_equal(ours.inter_log_probs, theirs.inter_log_probs)
    np.testing.assert_array_equal(ours.head_log_probs, theirs.head_log_probs)

    other, _ = small_network(KINDS[name])
    generator = torch.Generator().manual_seed(1)
    for weight in other.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    changed = with_graphs_beside(tmp_path / "other", name, other, integers=False)
    with torch.inference_mode():
        expected = other.encode(torch.from_numpy(features)[None], torch.tensor([len(features)]))
    ours = changed.encode([features])
    np.testing.assert_allclose(ours.inter_log_probs, expected.inter_log_probs.numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.head_log_probs, expected.head_log_probs.numpy(), atol=1e-4)
    assert np.abs(ours.inter_log_probs - theirs.inter_log_probs).max() > 1e-3
    if other.decoder is not None:
        with torch.inference_mode():
            state = other.decoder.start(*expected.attended)
            for token in TOKENS:
                following, state = other.decoder.step(torch.tensor([token]), state)
        written = written_by(changed, ours)[:, -1]
        np.testing.assert_allclose(written, following.numpy(), atol=1e-4)


TOKENS = (2, 3, 4, 5)


def written_by(network: ExportedNetwork, encoded: EncodedArrays) -> np.ndarray:
    """Log-probabilities (1, P, V) of the decoder after each of `TOKENS`."""
    assert network.decoder is not None
    state = network.decoder.start(encoded.attended, encoded.attended_lengths)
    return np.asarray(network.decoder.read(np.array([TOKENS]), state)[0])


def test_integers_are_made_from_the_weights(tmp_path: Path) -> None:
    name = "whisper"
    pair, features = exported(name), sound(name)
    found = with_graphs_beside(tmp_path, name, pair.network, integers=True)
    ours, theirs = (one.encode([features]) for one in (found, pair.exported))
    difference = np.abs(ours.inter_log_probs - theirs.inter_log_probs).max()
    assert 0 < difference < 0.5
    written, expected = (written_by(one, theirs) for one in (found, pair.exported))
    assert 0 < np.abs(written - expected).max() < 0.2 * np.abs(expected - expected.mean()).max()


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, max_side=40),
        elements=st.floats(-1e4, 1e4, width=32),
    )
)
def test_integers_are_those_of_model_folders(weight: np.ndarray) -> None:
    integers, scale = stored_weights.quantise(weight)
    expected, of_rows = quantise_tensor(torch.from_numpy(weight))
    np.testing.assert_array_equal(integers, expected.numpy())
    np.testing.assert_array_equal(scale, of_rows.numpy())
    blocks = in_blocks(integers).reshape(len(weight), -1).astype(int) - 128
    np.testing.assert_array_equal(blocks[:, : weight.shape[1]], integers)
    assert not blocks[:, weight.shape[1] :].any()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random model with graphs in 8 bits."""
    folder = save_random_model(tmp_path_factory.mktemp("model") / "random")
    done = keyframe("export", folder, "--int8", "--verify")
    assert done.exit_code == 0, done
    assert "Verified." in (folder / "graphs" / "README.md").read_text()
    return folder


def test_a_model_with_graphs_runs_on_either_back_end(model: Path) -> None:
    assert isinstance(keyframe_asr.load(model, "cpu").network, OnnxNetwork)
    assert isinstance(keyframe_asr.load(model, backend="onnx").network, OnnxNetwork)
    torch_one = keyframe_asr.load(model, "cpu", backend="torch")
    assert isinstance(torch_one.network, TorchNetwork)
    assert fitting_backend(model, "auto", "cuda:0") == "torch"
    sound = noise(2.0)
    heard = keyframe_asr.load(model).transcribe(sound, "ctc").text
    assert heard and heard == torch_one.transcribe(sound, "ctc").text
    digests = {
        model_settings(str(model), ComputeOptions(backend=backend))["model_sha256"]
        for backend in ("onnx", "torch")
    }
    assert len(digests) == 2


def test_the_same_model_gives_the_same_graphs(model: Path, tmp_path: Path) -> None:
    """What an export that was killed has left is neither copied nor kept."""
    again = save_random_model(tmp_path / "random")
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], **CAPTURED)
    left = again / f".graphs.{ended.stdout.strip()}.new"
    left.mkdir()
    (left / "encoder.onnx").write_bytes(b"half")
    assert keyframe("copy", again, "--out", tmp_path / "copy").exit_code == 0
    assert not list((tmp_path / "copy").glob(".*"))
    add_graphs(again, integers=True)
    assert not left.exists()
    written = sorted((model / "graphs").iterdir())
    assert len(written) == 6
    for path in written:
        if path.name != "README.md":  # where the comparison was added
            assert path.read_bytes() == (again / "graphs" / path.name).read_bytes()


def test_copies_and_fine_tuned_models_keep_the_graphs_that_fit(model: Path, tmp_path: Path) -> None:
    assert keyframe("copy", model, "--out", tmp_path / "copy").exit_code == 0
    heard = keyframe_asr.load(model).transcribe(noise(2.0), "ctc").text
    copy = keyframe_asr.load(tmp_path / "copy")
    assert isinstance(copy.network, OnnxNetwork)
    assert copy.transcribe(noise(2.0), "ctc").text == heard

    stored = load_model_folder(model)
    stored.network.head.weight.data *= 1.5
    delta = tmp_path / "delta"
    save_model_folder(
        delta, stored.network, stored.tokenizer, stored.config, "# tuned\n", Storage(base=model)
    )
    ours, torch_one = (keyframe_asr.load(delta, "cpu", backend=one) for one in ("onnx", "torch"))
    features = np.random.default_rng(2).normal(size=(120, 16)).astype(np.float32)
    tuned, expected, before = (
        one.network.encode([features]).head_log_probs for one in (ours, torch_one, copy)
    )
    assert 4 * np.abs(tuned - expected).max() < np.abs(tuned - before).max()

    others = random_model(decoder=False)
    save_model_folder(
        tmp_path / "smaller",
        others.network,
        others.tokenizer,
        others.config,
        "# other\n",
        Storage(base=model),
    )
    assert not (tmp_path / "smaller" / "graphs").exists()
    quantise_model_folder(model, tmp_path / "quantised", ["encoder1.layers.0.norm.weight"])
    assert (tmp_path / "quantised" / "graphs" / "weights.json").is_file()


def test_damaged_folders_are_refused_in_one_line(model: Path, tmp_path: Path) -> None:
    def broken(change: str, content: str) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(model, folder)
        (folder / change).write_text(content)
        return folder

    whole = json.loads((model / "graphs" / "weights.json").read_text())
    table = whole["graphs"]
    table["encoder"]["network.inter_ctc.bias"] = ["inter_ctc.other", "floats"]
    with refused(ModelError, "inter_ctc.other"):
        open_network(broken("graphs/weights.json", json.dumps(whole))).sessions.session("encoder")
    table["encoder"]["network.inter_ctc.bias"] = ["inter_ctc.weight", "floats"]
    with refused(ModelError, "encoder.onnx"):
        open_network(broken("graphs/weights.json", json.dumps(whole))).sessions.session("encoder")
    table["encoder"]["network.inter_ctc.bias"] = ["inter_ctc.bias", "4 bits"]
    for content in (json.dumps(whole), "[]", "{"):
        with refused(ModelError, "weights.json"):
            open_network(broken("graphs/weights.json", content))
    with refused(ModelError, "model"):
        StoredWeights(broken("model.safetensors", "nothing")).constants("encoder")
    config = (model / "config.yaml").read_text().replace("heads: 2", "heads: 4")
    with refused(ModelError, "architecture", "keyframe export"):
        open_network(broken("config.yaml", config))
    lacking = broken("README.md", "")
    (lacking / "graphs" / "encoder.onnx").unlink()
    with refused(ModelError, "encoder.onnx"):
        open_network(lacking)


def test_graphs_that_are_unlike_the_model_are_removed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_random_model(tmp_path / "random")
    monkeypatch.setattr(Verification, "problems", lambda self: ["everything differs"])
    done = keyframe("export", folder, "--verify")
    assert done.exit_code == 1 and "everything differs" in done.stderr
    assert not (folder / "graphs").exists()
    assert isinstance(keyframe_asr.load(folder, "cpu").network, TorchNetwork)


CAPTURED: Any = {"capture_output": True, "text": True, "check": True}


@pytest.mark.parametrize("driver", [True, False])
def test_torch_is_asked_for_a_gpu_only_where_a_driver_is(
    driver: bool, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)
    monkeypatch.setattr(backends, "DRIVERS", (os.devnull if driver else "/nothing",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert fitting_backend(model) == ("torch" if driver else "onnx")


def test_graphs_are_not_added_to_what_is_not_the_users_own(tmp_path: Path, model: Path) -> None:
    done = keyframe("export", "demo")
    assert done.exit_code == 2 and "--out" in done.stderr
    export = tmp_path / "export"
    assert keyframe("export", model, "--out", export).exit_code == 0
    assert "export" in keyframe("export", export).error


def test_a_model_with_graphs_is_fine_tuned_on_torch(tmp_path: Path) -> None:
    corpus = SyntheticCorpus("mandarin", train=30, dev=8, test=0, seed=4)
    train, dev = (make_corpus(tmp_path / "corpus", corpus)[name] for name in ("train", "dev"))
    done = keyframe("fine-tune", "demo", train, dev, "--out", tmp_path / "run", "--epochs", 1)
    assert done.exit_code == 0, done
    assert has_graphs(tmp_path / "run" / "model")
    tuned = keyframe_asr.load(tmp_path / "run" / "model", "cpu")
    assert isinstance(tuned.network, OnnxNetwork)
