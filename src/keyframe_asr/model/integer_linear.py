"""Linear layers on the CPU whose weights are 8-bit integers, for recognition.

A step of a decoder reads all of its weights for a few rows of input, so it takes less time if they
have a quarter of the bytes. Each row of the input is divided by its own largest magnitude (per
token, as in arXiv 2206.01861) and rounded to integers in [-63, 63]; sums of integers are exact, so
a row gives the same output in any batch. The range is that of 7 bits, because processors without
VNNI add pairs of products in 16 bits. What rounding leaves over becomes a second such integer: with
one alone, the log-probabilities of whisper-base's tokens change by 0.3, with both the product is
nearly that of float32. For many rows, as in an encoder, two integers are no faster than float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from keyframe_asr.errors import ModelError

IntegerWeight = tuple[Tensor, Tensor]
"""Integers (R, C) in [-127, 127], and the scale (R,) of each row."""

LARGEST = 63
"""Largest magnitude of an input in integers."""

_ZERO_POINT = 64  # the engine takes unsigned integers
_REST = 2 * LARGEST  # steps of the second integer in one of the first: it rounds by half at most
_TINY = torch.finfo(torch.float32).tiny


class IntegerLinear(nn.Module):
    """`nn.Linear` with a weight of integers.

    Args:
        weight: of R outputs and C inputs.
        bias: (R,) or None.
    """

    bias: Tensor | None

    def __init__(self, weight: IntegerWeight, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("bias", None if bias is None else bias.detach(), persistent=False)
        self._packed = _packed(*weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., C) to (..., R), float32."""
        unit = torch.add(_TINY, inputs.abs().amax(dim=-1, keepdim=True), alpha=1 / LARGEST)
        steps = inputs / unit
        whole = steps.round()
        rest = steps.sub_(whole).mul_(_REST)
        products: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            torch.cat((whole, rest)), 1.0, _ZERO_POINT, self._packed
        )
        first, second = products.chunk(2)
        product = torch.add(first, second, alpha=1 / _REST)
        if self.bias is None:
            return product.mul_(unit)
        return torch.addcmul(self.bias, product, unit)

    def _save_to_state_dict(self, *_: object) -> None:
        _refuse_saving()


class IntegerEmbedding(nn.Module):
    """`nn.Embedding` with a weight of integers, which is the output layer, too."""

    def __init__(self, weight: IntegerWeight) -> None:
        super().__init__()
        self._integers, self._scale = weight
        self.output = IntegerLinear(weight, None)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings (..., C) of tokens (...)."""
        return self._integers[tokens].float() * self._scale[tokens].unsqueeze(-1)


def integers_supported() -> bool:
    """True if this torch multiplies integers on the CPU."""
    try:
        probe = torch.ones(1, 1, dtype=torch.int8), torch.ones(1)
        return bool(IntegerLinear(probe, None)(torch.ones(1, 1)) == 1)
    except (AttributeError, RuntimeError):  # another processor, or a torch that has dropped it
        return False


def use_integers(module: nn.Module, weights: Mapping[str, IntegerWeight]) -> None:
    """Replace the linear layers of a module by those of integers.

    Args:
        module: for recognition; it cannot be trained or saved afterwards.
        weights: by their names in the module; layers without are left as they are.
    """
    for name, layer in list(module.named_modules()):
        weight = weights.get(f"{name}.weight")
        if isinstance(layer, nn.Linear) and weight is not None:
            module.set_submodule(name, IntegerLinear(weight, layer.bias))


def joined(weights: list[IntegerWeight]) -> IntegerWeight:
    """One weight with the rows of all."""
    return torch.cat([one for one, _ in weights]), torch.cat([one for _, one in weights])


def _packed(integers: Tensor, scale: Tensor) -> torch.ScriptObject:
    zeros = torch.zeros(len(scale), dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a later torch drops the type; then `integers_supported`
        weight = torch._make_per_channel_quantized_tensor(integers, scale.double(), zeros, 0)
    packed: torch.ScriptObject = torch.ops.quantized.linear_prepack(weight, None)
    return packed


def _refuse_saving() -> None:
    raise ModelError(
        "the model was loaded for recognition, with weights as integers, and cannot be saved; "
        "use load_model_folder, or a device other than the CPU"
    )
