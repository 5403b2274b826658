"""Soft targets of a pretrained decoder: the most probable tokens of a teacher at each step.

A safetensors file holds of each utterance `NAME.tokens` (N, K), integers, and `NAME.probabilities`
(N, K), for the N tokens that the decoder writes after its prompt, the end included. Steps of which
the teacher says nothing have probabilities of 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from lhotse.cut import Cut
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from keyframe_asr.errors import ManifestError

Distributions = tuple[Tensor, Tensor]
"""Tokens and probabilities, (B, N, K)."""


_AT_SPEED = re.compile(r"_sp\d[\d.]*$")
"""What lhotse adds to the name of an utterance whose speed it changes."""


class SoftTargets:
    """Reads the soft targets of cuts from files.

    Args:
        files: their paths.
        vocab_size: number of the decoder's tokens.

    Raises:
        ManifestError: a file cannot be read, or has other tokens.
    """

    def __init__(self, files: Sequence[str], vocab_size: int) -> None:
        self._stored: dict[str, Tensor] = {}
        for file in files:
            try:
                stored = load_file(file)
            except (OSError, SafetensorError) as error:
                raise ManifestError(
                    f"data.soft_targets: {file}: cannot be read: {error}; write it again"
                ) from None
            tokens = [one for name, one in stored.items() if name.endswith(".tokens")]
            largest = max((int(one.max()) for one in tokens if one.numel()), default=0)
            if largest >= vocab_size:
                raise ManifestError(
                    f"data.soft_targets: {file}: has token {largest}, but the recipe's decoder has "
                    f"{vocab_size} tokens; write it for the tokens of that decoder"
                )
            self._stored |= stored

    def batch(self, cuts: Sequence[Cut], targets: Tensor, ignored: int) -> Distributions:
        """Return the distributions of the steps of several cuts.

        Args:
            cuts: B cuts; those without soft targets get probabilities of 0.
            targets: (B, N) what the decoder should write at each step, or `ignored`.
            ignored: target of the steps of the prompt and of padding.

        Raises:
            ManifestError: an utterance has another number of steps.
        """
        rows = [
            self._row(cut, target != ignored) for cut, target in zip(cuts, targets, strict=True)
        ]
        most = max(tokens.size(1) for tokens, _ in rows)
        wide = [[pad(part, (0, most - part.size(1))) for part in row] for row in rows]
        return torch.stack([row[0] for row in wide]), torch.stack([row[1] for row in wide])

    def _row(self, cut: Cut, known: Tensor) -> Distributions:
        name = cut.supervisions[0].id
        if f"{name}.tokens" not in self._stored:
            name = _AT_SPEED.sub("", name)
        tokens = self._stored.get(f"{name}.tokens")
        probabilities = self._stored.get(f"{name}.probabilities")
        if tokens is None or probabilities is None:
            return torch.zeros(len(known), 1).long(), torch.zeros(len(known), 1)
        if len(tokens) != int(known.sum()):
            raise ManifestError(
                f"data.soft_targets: utterance '{name}' has {len(tokens)} steps, its text "
                f"{int(known.sum())}; write the soft targets of these texts again"
            )
        wide = torch.zeros(len(known), tokens.size(1)).long()
        sure = torch.zeros(len(known), tokens.size(1))
        wide[known], sure[known] = tokens.long(), probabilities.float()
        return wide, sure
