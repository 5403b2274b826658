"""The weighted sum of losses that training minimises, with its parts for logging."""

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
        values: name → scalar loss, unweighted.
        weights: name → weight, at least 0; names without a value are ignored.

    Raises:
        LossInputError: a value has no weight, or no value has a weight above 0.
    """

    values: Mapping[str, Tensor]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        missing = [name for name in self.values if name not in self.weights]
        if missing:
            raise LossInputError(
                f"no weight for the loss {', '.join(missing)}; weights are given for "
                f"{', '.join(self.weights) or 'no loss'}"
            )
        if not any(self.weights[name] > 0 for name in self.values):
            raise LossInputError("no loss has a weight above 0; set at least one weight")

    @property
    def total(self) -> Tensor:
        """The weighted sum, a differentiable scalar.

        Parts of weight 0 are excluded: 0 · infinity would make the sum NaN.
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
        """All unweighted parts and `total` as floats for logging (synchronises with the device)."""
        numbers = {name: float(value.detach()) for name, value in self.values.items()}
        return numbers | {"total": float(self.total.detach())}
