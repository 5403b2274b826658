"""Layers of 8-bit integers against integer arithmetic in NumPy, and models that use them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.random_pretrained import random_pretrained
from fixtures.tone_corpus import tones
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.model_folder import StoredModel, load_model_folder, save_model_folder
from keyframe_asr.io.quantisation import dequantise, quantise
from keyframe_asr.model import integer_linear
from keyframe_asr.model.integer_linear import (
    IntegerEmbedding,
    IntegerLinear,
    integers_supported,
    use_integers,
)

pytestmark = pytest.mark.skipif(not integers_supported(), reason="torch cannot multiply integers")


def weight_of(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(outputs * inputs)
    return quantise(torch.randn(outputs, inputs, generator=generator))


def rows_of(count: int, width: int) -> Tensor:
    """Rows of very different magnitudes, one of zeros, some with outliers."""
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(count))
    rows[::3] *= 1000.0
    rows[1::3, 0] = 50.0
    rows[count // 2] = 0.0
    return rows


def by_hand(row: Tensor, integers: Tensor, scale: Tensor, bias: Tensor | None) -> list[float]:
    """Output for one row (C,): whole numbers are multiplied and added as Python's integers."""
    unit = np.float32(max(abs(float(one)) for one in row)) * np.float32(1 / 63)
    unit = unit if unit else np.float32(1.0)
    steps = [np.float32(one) / unit for one in row.numpy()]
    whole = [int(np.rint(one)) for one in steps]
    rest = [
        int(np.rint((one - np.float32(w)) * np.float32(126)))
        for one, w in zip(steps, whole, strict=True)
    ]
    found = []
    for number, weights in enumerate(integers.tolist()):
        total = sum(a * b for a, b in zip(whole, weights, strict=True))
        left = sum(a * b for a, b in zip(rest, weights, strict=True))
        added = 0.0 if bias is None else float(bias[number])
        found.append((total + left / 126) * float(scale[number]) * float(unit) + added)
    return found


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 8), (5, 33), (40, 64)])
def test_integers_are_multiplied_and_added(rows: int, width: int, biased: bool) -> None:
    integers, scale = weight_of(12, width)
    bias = torch.linspace(-2, 2, 12) if biased else None
    inputs = rows_of(rows, width)
    found = IntegerLinear((integers, scale), bias)(inputs)
    assert found.dtype == torch.float32
    for one, row in zip(found, inputs, strict=True):
        expected = torch.tensor(by_hand(row, integers, scale, bias))
        torch.testing.assert_close(one, expected, rtol=1e-5, atol=1e-6 * float(row.abs().max()))


def test_largest_sums_do_not_saturate() -> None:
    """Pairs of products are added in 16 bits by processors without VNNI."""
    integers = torch.tensor([[127] * 64, [-127] * 64], dtype=torch.int8)
    layer = IntegerLinear((integers, torch.ones(2)), None)
    expected = 64 * 127 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    torch.testing.assert_close(layer(torch.tensor([[1.0], [-1.0]]).expand(2, 64)), expected)


def test_two_integers_are_as_good_as_float32() -> None:
    weight, inputs = weight_of(64, 256), rows_of(30, 256)
    exact = nn.functional.linear(inputs.double(), dequantise(*weight).double())
    error = (IntegerLinear(weight, None)(inputs) - exact).norm() / exact.norm()
    assert float(error) < 5e-4


def test_row_is_the_same_alone_and_in_any_batch() -> None:
    layer = IntegerLinear(weight_of(70, 48), torch.ones(70))
    inputs = rows_of(48, 48)
    together = layer(inputs)
    for count in (1, 2, 5, 17):
        assert torch.equal(layer(inputs[3 : 3 + count]), together[3 : 3 + count])
    assert torch.equal(layer(inputs.view(6, 8, 48)), together.view(6, 8, 70))
    assert layer(inputs[:0]).shape == (0, 70)


def test_embedding_is_the_output_layer_too() -> None:
    weight = weight_of(20, 16)
    found, whole = IntegerEmbedding(weight), dequantise(*weight)
    tokens = torch.tensor([[3, 19], [0, 3]])
    assert torch.equal(found(tokens), whole[tokens])
    inputs = rows_of(4, 16)
    torch.testing.assert_close(found.output(inputs), inputs @ whole.T, rtol=1e-3, atol=0.5)


def test_only_layers_with_integers_are_replaced() -> None:
    module = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 5)))
    use_integers(module, {"2.0.weight": weight_of(5, 6), "1.weight": weight_of(5, 6)})
    kinds = [type(one) for one in (module[0], module[1], module[2][0])]
    assert kinds == [nn.Linear, nn.ReLU, IntegerLinear]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = random_pretrained()
    assert made.pretrained is not None
    folder = tmp_path_factory.mktemp("models")
    stored = StoredModel(
        module_of(made.network),
        made.tokenizer,
        made.config,
        decoder_tokenizer=made.pretrained.tokenizer,
    )
    save(stored, folder / "whole")
    done = keyframe("quantise", folder / "whole", "--out", folder / "small")
    assert done.exit_code == 0, done.stderr
    return folder / "small"


def save(stored: StoredModel, folder: Path) -> None:
    save_model_folder(
        folder,
        stored.network,
        stored.tokenizer,
        stored.config,
        "# model\n",
        decoder_tokenizer=stored.decoder_tokenizer,
    )


def integer_layers(module: nn.Module) -> int:
    return sum(isinstance(one, IntegerLinear) for one in module.modules())


@torch.inference_mode()
def test_decoder_agrees_with_float32(quantised: Path) -> None:
    whole = load_model_folder(quantised).network.pretrained_decoder
    small = load_model_folder(quantised, integers=True).network.pretrained_decoder
    assert whole is not None and small is not None
    assert integer_layers(whole) == 0 and integer_layers(small) > 0
    assert isinstance(small.embed_tokens, IntegerEmbedding)
    memory = torch.randn(3, 6, whole.dim, generator=torch.Generator().manual_seed(0))
    lengths, prefix = torch.tensor([6, 2, 4]), torch.randint(0, 200, (3, 7))
    expected, found = (one(prefix, lengths, memory, lengths) for one in (whole, small))
    assert float((found - expected).norm() / expected.norm()) < 2e-3


def test_texts_are_those_of_float32(quantised: Path) -> None:
    options = [RecognitionOptions("attention", beam=1), RecognitionOptions("rescore", beam=3)]
    models = (
        keyframe_asr.load(quantised, "cpu"),
        keyframe_asr.Recognizer(load_model_folder(quantised), "cpu"),
    )
    assert [integer_layers(module_of(one.network)) > 0 for one in models] == [True, False]
    sounds = [tones("BAD"), tones("CAFE"), tones("A")]
    for one in options:
        together, whole = (model.transcribe_batch(sounds, one) for model in models)
        assert [found.text for found in together] == [found.text for found in whole]
        assert any(found.text for found in together)
        alone = [models[0].transcribe(sound, one).text for sound in sounds]
        assert [found.text for found in together] == alone


def test_without_the_engine_floats_are_used(
    quantised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dropped:
        def __getattr__(self, name: str) -> object:
            raise AttributeError(name)

    monkeypatch.setattr(integer_linear.torch.ops, "quantized", Dropped())
    assert not integers_supported()
    found = keyframe_asr.load(quantised, "cpu")
    assert integer_layers(module_of(found.network)) == 0
    assert found.transcribe(tones("BAD"), RecognitionOptions("attention", beam=1)).text


def test_integers_are_neither_saved_nor_trained(quantised: Path, tmp_path: Path) -> None:
    stored = load_model_folder(quantised, integers=True)
    with pytest.raises(ModelError):
        save(stored, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    floats = load_model_folder(quantised)
    save(floats, tmp_path / "copy")
    again = load_model_folder(tmp_path / "copy").network.state_dict()
    for name, weight in floats.network.state_dict().items():
        torch.testing.assert_close(again[name], weight, rtol=1e-3, atol=1e-4)
    assert all(one.requires_grad for one in floats.network.head.parameters())
