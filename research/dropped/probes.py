"""Linear probes: logistic and ridge regression on vectors of frozen encoders.

A probe is fitted on one set of utterances and measured on another. H(Y) minus its cross entropy
there is a lower bound of the mutual information I(X; Y) (Barber and Agakov, 2003), because the true
posterior has the lowest cross entropy. The bound is biased downwards in two ways: a linear probe
fitted on few examples misses information, and H(Y), estimated from the counts of few examples, is
too low on average (by about (classes - 1) / (2 n) nats).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-2
"""L2 penalty on standardised inputs, per example."""

DECAY = 1e-3
STEPS = 60


@dataclass(frozen=True)
class Classified:
    """Result of a classifier on held-out examples.

    Attributes:
        correct: (N,) bool.
        cross_entropy: bits per example.
        entropy: entropy of the labels in bits.
    """

    correct: Tensor
    cross_entropy: float
    entropy: float

    @property
    def bits(self) -> float:
        """Lower bound of the mutual information in bits, at least 0."""
        return max(0.0, self.entropy - self.cross_entropy)


def classify(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int) -> Classified:
    """Fit a multinomial logistic regression and measure it.

    Args:
        train: vectors (N, D) and labels (N,), 0 to `classes` - 1.
        test: the same for other utterances.
        classes: number of labels.
    """
    inputs, labels = train
    mean, scale = _standard(inputs)
    weight = torch.zeros(inputs.size(1), classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )
    standardised = (inputs - mean) / scale

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(standardised @ weight + bias, labels)
        penalised: Tensor = loss + DECAY * weight.square().sum() / 2
        penalised.backward()
        return penalised

    optimiser.step(closure)
    with torch.no_grad():
        logits = (test[0] - mean) / scale @ weight + bias
        cross_entropy = torch.nn.functional.cross_entropy(logits, test[1])
    frequencies = torch.bincount(test[1], minlength=classes) / len(test[1])
    entropy = torch.special.entr(frequencies).sum()
    return Classified(
        logits.argmax(dim=1) == test[1],
        float(cross_entropy) / math.log(2),
        float(entropy) / math.log(2),
    )


def explained(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Tensor:
    """Fit a ridge regression; return the fraction of variance (O,) explained on held-out examples.

    Args:
        train: vectors (N, D) and targets (N, O, F).
        test: the same for other utterances. Variance is about the mean of `train`, over all F.
    """
    inputs, targets = train
    mean, scale = _standard(inputs)
    x = ((inputs - mean) / scale).double()
    centre = targets.mean(dim=0)
    y = (targets - centre).flatten(1).double()
    penalty = RIDGE * len(x) * torch.eye(x.size(1), dtype=x.dtype)
    weight = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    rebuilt = (((test[0] - mean) / scale).double() @ weight).view(-1, *centre.shape)
    actual = (test[1] - centre).double()
    error = (actual - rebuilt).square().sum(dim=(0, 2))
    fractions: Tensor = 1 - error / actual.square().sum(dim=(0, 2)).clamp(min=1e-12)
    return fractions


def _standard(inputs: Tensor) -> tuple[Tensor, Tensor]:
    return inputs.mean(dim=0), inputs.std(dim=0).clamp(min=1e-6)
