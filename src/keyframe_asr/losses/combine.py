"""The weighted sum that training minimises, kept with its parts so that they can be logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from keyframe_asr.errors import LossInputError


@dataclass(frozen=True)
class LossParts:
    """Named scalar losses and their weights, `total` = Σ weight · value.

    The design's default is 0.2 · inter_ctc + 0.1 · head + 0.7 · decoder (arXiv 2510.10453).

    Attributes:
        values: name → scalar loss, not weighted.
        weights: name → weight, at least 0; names without a value are left out of the sum.

    Raises:
        LossInputError: a value has no weight, or none of the values weighs anything.
    """

    values: Mapping[str, Tensor]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        missing = [name for name in self.values if name not in self.weights]
        if missing:
            raise LossInputError(
                f"no weight for the loss {', '.join(missing)}; weights exist for "
                f"{', '.join(self.weights) or 'nothing'}"
            )
        if not any(self.weights[name] > 0 for name in self.values):
            raise LossInputError("no loss has a weight above 0; there is nothing to train on")

    @property
    def total(self) -> Tensor:
        """The weighted sum, a scalar that gradient flows through.

        Parts of weight 0 stay out of it: 0 · infinity would make the sum NaN.
        """
        weighted = [
            self.weights[name] * value
            for name, value in self.values.items()
            if self.weights[name] > 0
        ]
        total = weighted[0]
        for part in weighted[1:]:
            total = total + part
        return total

    def numbers(self) -> dict[str, float]:
        """Every part, not weighted, and `total`, as floats for logs (waits for the device)."""
        numbers = {name: float(value.detach()) for name, value in self.values.items()}
        return numbers | {"total": float(self.total.detach())}
