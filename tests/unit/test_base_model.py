"""Model folders that hold only what differs from a base model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import noise, random_model, save_random_model
from keyframe_asr.config.decoding import DecodingConfig
from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.options import ComputeOptions
from keyframe_asr.inference.settings import model_settings
from keyframe_asr.io.model_folder import (
    WEIGHTS_FILE,
    Storage,
    StoredModel,
    copy_model_folder,
    load_model_folder,
    save_model_folder,
    shipped_models,
)
from keyframe_asr.io.quantisation import SCALE_SUFFIX, quantise
from keyframe_asr.io.weights_file import read_weights
from keyframe_asr.training.initial_weights import find_weights, load_matching


def fine_tuned(base: Path, *parts: str, by: float = 0.01) -> StoredModel:
    """The model in `base` with other weights in these parts of its network."""
    stored = load_model_folder(base)
    for name, weight in stored.network.named_parameters():
        if name.split(".")[0] in parts:
            weight.data += by * torch.randn(
                weight.shape, generator=torch.Generator().manual_seed(weight.numel())
            )
    return stored


def save(
    folder: Path, model: StoredModel, storage: Storage, language_model: Path | None = None
) -> Path:
    save_model_folder(
        folder, model.network, model.tokenizer, model.config, "# tuned\n", storage, language_model
    )
    return folder


def config_of(folder: Path) -> ModelFolderConfig:
    return load_model_folder_config(folder / "config.yaml")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base model with quantised weights in its decoder."""
    model = random_model()
    names = [name for name, _ in model.network.named_parameters() if name.startswith("decoder.")]
    return save(tmp_path / "base", model, Storage(quantised=names))


@pytest.fixture
def delta(tmp_path: Path, base: Path) -> Path:
    return save(tmp_path / "runs" / "delta", fine_tuned(base, "head"), Storage(base=base))


def equal_outputs(one: Path, other: Path) -> bool:
    """Whether two models give the same numbers and texts, bit by bit."""
    recognizers = [keyframe_asr.load(folder, "cpu") for folder in (one, other)]
    features = np.random.default_rng(2).normal(size=(120, 16)).astype(np.float32)
    encoded = [each.network.encode([features]) for each in recognizers]
    texts = [
        [each.transcribe(noise(2.0), mode).text for mode in ("axe", "ctc", "joint")]
        for each in recognizers
    ]
    return (
        np.array_equal(encoded[0].head_log_probs, encoded[1].head_log_probs)
        and np.array_equal(encoded[0].inter_log_probs, encoded[1].inter_log_probs)
        and texts[0] == texts[1]
    )


def test_only_what_differs_is_stored(tmp_path: Path, base: Path, delta: Path) -> None:
    assert set(load_file(delta / WEIGHTS_FILE)) == {"head.weight", "head.bias"}
    assert (delta / WEIGHTS_FILE).stat().st_size < 0.2 * (base / WEIGHTS_FILE).stat().st_size
    described = config_of(delta).base
    assert described is not None and described.model == "../../base"
    whole = save(tmp_path / "whole", fine_tuned(base, "head"), Storage())
    assert not torch.equal(
        load_model_folder(base).network.head.weight, load_model_folder(delta).network.head.weight
    )
    expected, found = (load_model_folder(folder).network.state_dict() for folder in (whole, delta))
    assert torch.equal(expected["head.weight"], found["head.weight"])
    assert torch.equal(expected["inter_ctc.weight"], found["inter_ctc.weight"])


def test_standalone_gives_the_same_bits_and_keeps_integers(
    tmp_path: Path, base: Path, delta: Path
) -> None:
    copied = tmp_path / "copied"
    copy_model_folder(delta, copied, config_of(delta), standalone=True)
    saved = save(tmp_path / "saved", fine_tuned(base, "head"), Storage(base=base, standalone=True))
    assert config_of(copied).base is None and config_of(saved).base is None
    for whole in (copied, saved):
        assert equal_outputs(whole, delta)
        stored, original = load_file(whole / WEIGHTS_FILE), load_file(base / WEIGHTS_FILE)
        assert stored.keys() == original.keys()
        unchanged = [name for name in stored if not name.startswith("head.")]
        for name in unchanged:
            assert stored[name].dtype == original[name].dtype
            assert torch.equal(stored[name], original[name])
        assert any(stored[name].dtype == torch.int8 for name in unchanged)


def test_a_model_that_equals_its_base(tmp_path: Path, base: Path) -> None:
    same = save(tmp_path / "same", load_model_folder(base), Storage(base=base))
    assert load_file(same / WEIGHTS_FILE) == {}
    assert equal_outputs(same, base)


def test_what_differs_may_be_quantised(tmp_path: Path, base: Path) -> None:
    model = fine_tuned(base, "head", "inter_ctc")
    out = save(tmp_path / "out", model, Storage(quantised=["head.weight"], base=base))
    stored = load_file(out / WEIGHTS_FILE)
    assert stored["head.weight"].dtype == torch.int8
    assert stored["inter_ctc.weight"].dtype == torch.float16
    integers, _ = quantise(model.network.head.weight.half())
    assert torch.equal(stored["head.weight"], integers)


def test_weights_of_another_shape_are_stored(tmp_path: Path, base: Path) -> None:
    other = random_model(decoder=False, seed=5)
    out = save(tmp_path / "out", other, Storage(base=base))
    found = load_model_folder(out).network.state_dict()
    assert found.keys() == other.network.state_dict().keys()


def test_bases_of_bases(tmp_path: Path, base: Path, delta: Path) -> None:
    second = save(tmp_path / "second", fine_tuned(delta, "inter_ctc"), Storage(base=delta))
    assert set(load_file(second / WEIGHTS_FILE)) == {"inter_ctc.weight", "inter_ctc.bias"}
    found = load_model_folder(second).network.state_dict()
    middle, first = (load_model_folder(folder).network.state_dict() for folder in (delta, base))
    assert torch.equal(found["head.weight"], middle["head.weight"])
    assert torch.equal(found["decoder.output.weight"], first["decoder.output.weight"])
    third = save(tmp_path / "third", fine_tuned(second, "head", by=0.1), Storage(base=second))
    assert set(load_file(third / WEIGHTS_FILE)) == {"head.weight", "head.bias"}
    copy_model_folder(third, tmp_path / "standalone", config_of(third), standalone=True)
    assert equal_outputs(third, tmp_path / "standalone")
    # a base that is quantised below one that is not must not lend its scales
    tuned = save(tmp_path / "fourth", fine_tuned(base, "decoder"), Storage(base=base))
    stored = {name for name in load_file(tuned / WEIGHTS_FILE) if name.startswith("decoder.")}
    assert stored and not any(name.endswith(SCALE_SUFFIX) for name in stored)
    copy_model_folder(tuned, tmp_path / "fifth", config_of(tuned), standalone=True)
    assert equal_outputs(tuned, tmp_path / "fifth")


def test_a_circle_of_bases_is_refused(tmp_path: Path, base: Path, delta: Path) -> None:
    described = config_of(base).model_dump(mode="json")
    digest = config_of(save(tmp_path / "x", load_model_folder(delta), Storage(base=delta))).base
    assert digest is not None
    described["base"] = {"model": "../runs/delta", "sha256": digest.sha256}
    (base / "config.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    with refused(ModelError, f"{delta}: ", "base"):
        load_model_folder(delta)


def test_a_missing_or_other_base_is_refused(tmp_path: Path, base: Path, delta: Path) -> None:
    described = config_of(delta).base
    assert described is not None
    base.rename(tmp_path / "moved")
    with refused(
        ModelError, f"{delta}: ", "'../../base'", described.sha256[:12], "--standalone --out"
    ):
        load_model_folder(delta)
    save_random_model(base, seed=12)
    with refused(ModelError, f"{delta}: ", "'../../base'", described.sha256[:12], base):
        load_model_folder(delta)
    with refused(ModelError, "'../../base'"):
        model_settings(str(delta), ComputeOptions())


def test_a_delta_folder_that_was_moved_is_refused_and_a_copy_works(
    tmp_path: Path, base: Path, delta: Path
) -> None:
    there = tmp_path / "some" / "where" / "else"
    ran = keyframe("copy", delta, "--out", there)
    assert ran.exit_code == 0 and str(there) in ran.stdout and "base" in ran.stdout
    described = config_of(there).base
    assert described is not None and described.model == "../../../base"
    assert equal_outputs(there, delta)
    shutil.copytree(delta, tmp_path / "moved" / "too" / "far" / "delta")
    with refused(ModelError, "'../../base'", "copy"):
        load_model_folder(tmp_path / "moved" / "too" / "far" / "delta")
    ran = keyframe("copy", delta, "--out", tmp_path / "alone", "--standalone")
    assert ran.exit_code == 0
    expected = keyframe_asr.load(delta, "cpu").transcribe(noise(2.0)).text
    shutil.rmtree(base)
    assert keyframe_asr.load(tmp_path / "alone", "cpu").transcribe(noise(2.0)).text == expected


def test_a_base_is_not_replaced_by_what_needs_it(base: Path, delta: Path) -> None:
    for model in (base, delta):
        with refused(ModelError, f"{base}: "):
            save(base, fine_tuned(base, "head"), Storage(base=model))
    assert config_of(base).base is None


def test_shipped_bases_are_named(tmp_path: Path) -> None:
    for given in ("an4-small", shipped_models()["an4-small"]):
        out = save(
            tmp_path / "tuned",
            fine_tuned(shipped_models()["an4-small"], "head"),
            Storage(base=given),
        )
        described = config_of(out).base
        assert described is not None and described.model == "an4-small"
        size = (shipped_models()["an4-small"] / WEIGHTS_FILE).stat().st_size
        assert (out / WEIGHTS_FILE).stat().st_size < 0.02 * size
    (tmp_path / "an4-small").mkdir()  # a folder of that name is not the base
    shutil.copytree(shipped_models()["demo"], tmp_path / "an4-small", dirs_exist_ok=True)
    ran = keyframe("copy", tmp_path / "tuned", "--out", "copied", "--standalone", folder=tmp_path)
    assert ran.exit_code == 0, ran


def test_the_digest_of_a_model_follows_its_base(tmp_path: Path, base: Path) -> None:
    def digest() -> object:
        out = save(tmp_path / "same", load_model_folder(base), Storage(base=base))
        return model_settings(str(out), ComputeOptions())["model_sha256"]

    first = digest()
    assert digest() == first
    save(base, fine_tuned(base, "encoder1"), Storage())
    assert digest() != first


def test_training_starts_from_a_delta_folder(base: Path, delta: Path) -> None:
    network = random_model(seed=99).network
    assert load_matching(network, find_weights(delta)) == []
    expected = load_model_folder(delta).network.state_dict()
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, expected[name])


def test_quantising_leaves_the_base_where_it_is(tmp_path: Path, base: Path, delta: Path) -> None:
    ran = keyframe("quantise", delta, "--every-weight", "--out", tmp_path / "small")
    assert ran.exit_code == 0
    stored = load_file(tmp_path / "small" / WEIGHTS_FILE)
    assert set(stored) == {"head.weight", "head.weight.row_scale", "head.bias"}
    found, expected = (
        read_weights(tmp_path / "small" / WEIGHTS_FILE),
        read_weights(delta / WEIGHTS_FILE),
    )
    assert found.keys() == expected.keys()


def test_a_weights_file_alone_is_refused(tmp_path: Path, delta: Path) -> None:
    shutil.copy(delta / WEIGHTS_FILE, tmp_path / "alone.safetensors")
    with refused(ModelError, "alone.safetensors: ", "config.yaml"):
        read_weights(tmp_path / "alone.safetensors")


def with_language_model(model: StoredModel, name: str) -> StoredModel:
    decoding = DecodingConfig(mode="axe", greedy="axe", language_model=name)
    return replace(model, config=model.config.model_copy(update={"decoding": decoding}))


def test_a_language_model_goes_with_its_model(tmp_path: Path) -> None:
    model = with_language_model(random_model(), "language_model.ngram")
    with refused(ModelError, "language_model.ngram"):
        save(tmp_path / "model", model, Storage())
    (tmp_path / "given").write_bytes(b"n-grams")
    folder = save(tmp_path / "model", model, Storage(), tmp_path / "given")
    save(folder, model, Storage())  # replaced, and kept
    out = tmp_path / "out"
    assert keyframe("copy", folder, "--out", out).exit_code == 0
    small = tmp_path / "small"
    assert keyframe("quantise", folder, "--every-weight", "--out", small).exit_code == 0
    for each in (folder, out, small):
        assert load_model_folder(each).language_model == each / "language_model.ngram"
        assert (each / "language_model.ngram").read_bytes() == b"n-grams"
    (folder / "language_model.ngram").unlink()
    with refused(ModelError, f"{folder}: ", "language_model.ngram"):
        load_model_folder(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", ""])
def test_a_language_model_is_a_file_of_the_folder(tmp_path: Path, name: str) -> None:
    with refused(ModelError, f"'{name}'"):
        save(tmp_path / "model", with_language_model(random_model(), name), Storage())
