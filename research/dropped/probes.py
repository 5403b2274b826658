"""Linear probes: what can be read out of vectors, by logistic and by ridge regression.

A probe is fitted on one set of utterances and measured on another. H(Y) minus its cross entropy
there is a lower bound of the mutual information I(X; Y) (Barber and Agakov, 2003): the true
posterior would have a cross entropy no higher. Its biases: a linear probe, and one fitted on few
examples, misses what is there, so that the bound is loose from below; H(Y) is estimated from counts
of few examples, which is too low on average (by about (classes - 1) / (2 n) nats) and lowers it
further.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-2
"""Times the number of examples: L2 penalty on standardised inputs."""

DECAY = 1e-3
STEPS = 60


@dataclass(frozen=True)
class Classified:
    """How a classifier did on held-out examples.

    Attributes:
        correct: (N,) bool.
        cross_entropy: bits an example.
        entropy: bits of the labels there.
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
        test: the same of other utterances.
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
    shares = torch.bincount(test[1], minlength=classes) / len(test[1])
    entropy = torch.special.entr(shares).sum()
    return Classified(
        logits.argmax(dim=1) == test[1],
        float(cross_entropy) / math.log(2),
        float(entropy) / math.log(2),
    )


def explained(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Tensor:
    """Fit a ridge regression; share of the variance (O,) it explains on held-out examples.

    Args:
        train: vectors (N, D) and what is to be rebuilt (N, O, F).
        test: the same of other utterances. Variance is about the mean of `train`, over all F.
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
    shares: Tensor = 1 - error / actual.square().sum(dim=(0, 2)).clamp(min=1e-12)
    return shares


def _standard(inputs: Tensor) -> tuple[Tensor, Tensor]:
    return inputs.mean(dim=0), inputs.std(dim=0).clamp(min=1e-6)
