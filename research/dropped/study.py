"""`dropped` studies: what kept frames say of their token, of its neighbours and of the sound.

The encoders are frozen. AXE's alignment of the length head assigns a keyframe to each reference
token. Probes read its vectors at several stages of the network. For comparison, they also read
encoder 1's nearest frame if as many frames were kept at random or evenly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyframe_asr.audio.features import front_end
from keyframe_asr.audio.reading import Samples
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.batch_recognizer import batches_by_length
from keyframe_asr.inference.network import EncodedBatch
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.losses import axe_align
from keyframe_asr.text.forms import normaliser
from research.definition import DroppedDefinition
from research.dropped.probes import classify, explained
from research.measurement import Measurement
from research.recognition import weights_digest

VIEWS = {
    "encoder 1": "encoder 1, at the keyframe",
    "keyframe": "keyframe, not fused",
    "fused": "keyframe, fused",
    "encoder 2": "encoder 2",
    "even": "encoder 1, nearest of as many even frames",
    "random": "encoder 1, nearest of as many random frames",
}
TARGETS = {"previous": -1, "own": 0, "following": 1}
OFFSETS = tuple(range(-40, 41, 4))
"""Offsets from the keyframe, in fbank frames, whose log-mel is predicted."""

_EDGE = -1
"""Label of a position outside the text; left out."""


@dataclass(frozen=True)
class Examples:
    """One row per reference token that has a keyframe.

    Attributes:
        vectors: view → (N, D).
        tokens: target → (N,) labels, -1 where there is none.
        sound: (N, O, F) log-mel at `OFFSETS`.
        utterance: (N,) index of the utterance.
    """

    vectors: dict[str, Tensor]
    tokens: dict[str, Tensor]
    sound: Tensor
    utterance: Tensor


class DroppedStudy:
    """A study of dropped information: one measurement per view."""

    def __init__(self, definition: DroppedDefinition, device: str | None = None) -> None:
        self.definition = definition
        self._examples = functools.cache(functools.partial(self._collect, device))

    def measurements(self, seeds: int) -> list[Measurement]:
        """Return one measurement per view."""
        del seeds  # only probes are trained, which have one solution
        setting = self.definition.model_dump(include={"model", "train", "test", "classes"})
        setting["weights"] = weights_digest(self.definition.model)
        return [
            Measurement(
                name=view,
                variant=view,
                setting={**setting, "view": view, "offsets": list(OFFSETS)},
                measure=functools.partial(self._measure, view),
            )
            for view in VIEWS
        ]

    def _measure(self, view: str) -> dict[str, Any]:
        train, test = (
            self._examples(part) for part in (self.definition.train, self.definition.test)
        )
        found: dict[str, Any] = {"examples": [len(train.sound), len(test.sound)]}
        counts = torch.bincount(train.tokens["own"])
        frequent = counts.argsort(descending=True)[: self.definition.classes]
        # labels of the frequent tokens; the last entry is for all tokens that are left out
        number = torch.full((len(counts) + 1,), _EDGE)
        number[frequent] = torch.arange(len(frequent))
        for target in TARGETS:
            pairs: list[tuple[Tensor, Tensor]] = []
            places: list[Tensor] = []
            for part in (train, test):
                tokens = part.tokens[target]
                labels = number[torch.where(tokens < len(counts), tokens, _EDGE)]
                kept = labels >= 0
                pairs.append((part.vectors[view][kept], labels[kept]))
                places.append(part.utterance[kept])
            result = classify(pairs[0], pairs[1], len(frequent))
            found[target] = {
                "bits": result.bits,
                "entropy": result.entropy,
                "errors": _by_utterance(places[1], ~result.correct),
                "lengths": _by_utterance(places[1], torch.ones_like(result.correct)),
            }
        sound = explained((train.vectors[view], train.sound), (test.vectors[view], test.sound))
        return found | {"explained": sound.tolist()}

    def _collect(self, device: str | None, manifest: str) -> Examples:
        recognizer = load(self.definition.model, device, backend="torch")
        network = module_of(recognizer.network)
        if not network.keyframes_enabled or not network.fusion_enabled:
            raise ModelError(
                f"model '{self.definition.model}' has no keyframes with fusion, which this study "
                "needs; use a model with both"
            )
        return collect(recognizer, manifest)


def collect(recognizer: Recognizer, manifest: str) -> Examples:
    """Collect vectors, labels and sound of every token of a manifest that has a keyframe."""
    cuts = list(load_manifest(manifest))
    recordings = [read_samples(cut) for cut in cuts]
    normalise = normaliser(recognizer.config.text_form)
    tokens = [recognizer.tokenizer.encode(normalise(text(cut))) for cut in cuts]
    rows: list[Examples] = []
    for batch in batches_by_length({place: one.size for place, one in enumerate(recordings)}):
        taken = [recordings[place] for place in batch]
        rows += _of_batch(recognizer, taken, [tokens[place] for place in batch], batch)
    return Examples(
        {view: torch.cat([row.vectors[view] for row in rows]) for view in VIEWS},
        {target: torch.cat([row.tokens[target] for row in rows]) for target in TARGETS},
        torch.cat([row.sound for row in rows]),
        torch.cat([row.utterance for row in rows]),
    )


@torch.inference_mode()
def _of_batch(
    recognizer: Recognizer, recordings: list[Samples], tokens: list[list[int]], places: list[int]
) -> list[Examples]:
    encoded, seen = _encoded(recognizer, recordings)
    targets = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(one, dtype=torch.long) for one in tokens], batch_first=True
    )
    sizes = torch.tensor([len(one) for one in tokens])
    head, kept_frames = map(torch.from_numpy, (encoded.head_log_probs, encoded.keyframe_lengths))
    aligned = axe_align(head, targets, kept_frames, sizes)
    position, skipped = aligned.position, aligned.skipped
    index, memory = map(torch.from_numpy, (encoded.keyframes, encoded.memory))
    factor = module_of(recognizer.network).subsampling.factor
    compute = front_end(recognizer.config.features, recognizer.config.model.pretrained)
    rows = []
    for row, place in enumerate(places):
        own = (position[row] >= 0) & ~skipped[row] & (torch.arange(position.size(1)) < sizes[row])
        chosen = position[row][own]
        frames, kept = int(encoded.frame_lengths[row]), int(kept_frames[row])
        at = index[row][chosen]
        first = seen["encoder 1"][row]
        generator = np.random.default_rng([place, 7])
        even = torch.linspace(0, frames - 1, kept + 2)[1:-1].round().long()
        random = torch.from_numpy(np.sort(generator.choice(frames, kept, replace=False)))
        rows.append(
            Examples(
                {
                    "encoder 1": first[at],
                    "keyframe": seen["frames"][row][at],
                    "fused": seen["fused"][row][chosen],
                    "encoder 2": memory[row][chosen],
                    "even": first[_nearest(even, at)],
                    "random": first[_nearest(random, at)],
                },
                {
                    target: _shifted(targets[row], int(sizes[row]), shift)[own]
                    for target, shift in TARGETS.items()
                },
                _sound(compute(recordings[row]), at * factor),
                torch.full((len(at),), place),
            )
        )
    return rows


def _encoded(
    recognizer: Recognizer, recordings: list[Samples]
) -> tuple[EncodedBatch, dict[str, Tensor]]:
    """Return the network's output, the output of encoder 1, and input and output of fusion."""
    network = module_of(recognizer.network)
    seen: dict[str, Tensor] = {}

    def encoder1(module: Any, given: Any, output: Tensor) -> None:
        seen["encoder 1"] = output.cpu()

    def fusion(module: Any, given: tuple[Tensor, ...], output: Tensor) -> None:
        seen["frames"], seen["fused"] = given[0].cpu(), output.cpu()

    hooks = [
        network.encoder1.register_forward_hook(encoder1),
        network.fusion.register_forward_hook(fusion),
    ]
    try:
        encoded = recognizer.encode(recordings).encoded
    finally:
        for hook in hooks:
            hook.remove()
    return encoded, seen


def _nearest(kept: Tensor, at: Tensor) -> Tensor:
    """Return the kept frame (of K) that is nearest to each of N frames."""
    return kept[(kept - at.unsqueeze(1)).abs().argmin(dim=1)] if len(at) else at


def _shifted(tokens: Tensor, size: int, shift: int) -> Tensor:
    """Shift tokens (L,) to the left by `shift`; -1 outside the text."""
    place = torch.arange(len(tokens)) + shift
    inside = (place >= 0) & (place < size)
    return torch.where(inside, tokens[place.clamp(0, max(0, len(tokens) - 1))], _EDGE)


def _sound(fbank: npt.NDArray[np.float32], centre: Tensor) -> Tensor:
    """Return log-mel (N, O, F) at the offsets from each centre (N,); the ends are repeated."""
    place = centre.unsqueeze(1) + torch.tensor(OFFSETS)
    return torch.from_numpy(fbank)[place.clamp(0, len(fbank) - 1)]


def _by_utterance(places: Tensor, counted: Tensor) -> list[int]:
    """Count how often `counted` (N,) is True in each utterance that has examples."""
    _, number = places.unique(return_inverse=True)
    found: list[int] = torch.bincount(number, weights=counted.double()).long().tolist()
    return found
