"""8-bit weights: what is stored, how far it is off, and the command that makes such a model."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from fixtures.command_line import keyframe
from keyframe_asr.io.model_folder import WEIGHTS_FILE, find_model, load_model_folder
from keyframe_asr.io.quantisation import dequantise, quantise


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 9),
    size=st.floats(1e-6, 1e6),
    seed=st.integers(0, 10_000),
)
def test_a_value_is_off_by_half_a_step_of_its_row(
    rows: int, columns: int, size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = size * torch.randn(rows, columns, 2, generator=generator)
    integers, scale = quantise(weight)
    assert integers.dtype == torch.int8
    assert integers.flatten(1).abs().amax(dim=1).eq(127).all()
    off = (dequantise(integers, scale) - weight).abs().flatten(1).amax(dim=1)
    assert (off <= scale * 0.5001).all()


def test_zeros_stay_zeros() -> None:
    integers, scale = quantise(torch.zeros(3, 4))
    assert dequantise(integers, scale).eq(0).all()


def test_every_weight_of_a_shipped_model(tmp_path: Path) -> None:
    out = tmp_path / "small"
    assert keyframe("quantise", "demo", "--out", out, "--every-weight").exit_code == 0
    assert (out / WEIGHTS_FILE).stat().st_size < 0.65 * (
        find_model("demo") / WEIGHTS_FILE
    ).stat().st_size
    stored = load_file(out / WEIGHTS_FILE)
    assert stored["inter_ctc.weight"].dtype == torch.int8
    assert stored["inter_ctc.bias"].dtype == torch.float16
    whole, small = load_model_folder(find_model("demo")), load_model_folder(out)
    features = torch.randn(1, 200, 80, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([200])
    with torch.inference_mode():
        expected = whole.network.encode(features, lengths).inter_log_probs
        found = small.network.encode(features, lengths).inter_log_probs
    assert 0 < (found.exp() - expected.exp()).abs().mean() < 0.01


def test_a_model_of_its_own_weights_only_is_told_so(tmp_path: Path) -> None:
    assert "--every-weight" in keyframe("quantise", "demo", "--out", tmp_path / "x").error
    assert not (tmp_path / "x").exists()


def test_a_model_is_not_written_over_itself(tmp_path: Path) -> None:
    folder = find_model("demo")
    said = keyframe("quantise", folder, "--every-weight", "--out", folder).error
    assert said.startswith(f"{folder}: ")
