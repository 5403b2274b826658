"""Plan of a run without training: stages, parameters, batches and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console, Group
from rich.table import Table
from torch import Tensor

from keyframe_asr.audio.features import front_end
from keyframe_asr.config.recipe import Recipe, StageConfig
from keyframe_asr.data.augment import Augmentation
from keyframe_asr.data.dataset import Batch
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.io.architectures import with_architecture
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.timing import SAMPLE_RATE
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.epoch_data import DataSource, StageData
from keyframe_asr.training.initial_weights import find_weights, load_initial, new_network
from keyframe_asr.training.log import TrainingLog
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.run_data import load_run_data
from keyframe_asr.training.run_recipe import complete_recipe
from keyframe_asr.training.teacher import check_teacher

PROBE_SECONDS = (4, 8)
"""Durations of the two noise utterances used to measure memory."""

DECODER_TOKENS_PER_TOKEN = 2
"""Tokens of a pretrained decoder per token of the model; Whisper's Han characters have up to 3."""

BYTES_PER_PARAMETER = 16
"""float32 weight, gradient and two moments of Adam."""

BYTES_PER_FROZEN = 4
"""float32 weight only, for a frozen pretrained encoder."""


@dataclass(frozen=True)
class StagePlan:
    """Plan of a stage.

    Attributes:
        name: name of the stage.
        epochs: maximum number of epochs.
        utterances: utterances in the training set.
        hours: hours of the training set, without speed perturbation.
        batches: batches per epoch.
        updates: updates per epoch.
        memory: bytes of weights, optimiser and the activations of the largest batch.
    """

    name: str
    epochs: int
    utterances: int
    hours: float
    batches: int
    updates: int
    memory: int


@dataclass(frozen=True)
class TrainingPlan:
    """Plan of a run: vocabulary size, parameters of each part of the network, and stages."""

    vocab_size: int
    parameters: dict[str, int]
    stages: list[StagePlan]


def plan_recipe(
    recipe: Recipe,
    scratch: Path,
    initial: str | Path | None = None,
    reinitialise: Sequence[str] = (),
) -> TrainingPlan:
    """Plan what `train` would do with the same inputs, without training.

    Args:
        recipe: recipe of the run.
        scratch: empty folder for the tokenizer.
        initial, reinitialise: as in `train`; weights that do not match are logged.

    Raises:
        ManifestError, AudioError, RecipeError: the data or tokenizer cannot be used.
        TrainingError: `initial` cannot be used.
        ModelError: the teacher cannot be used.
    """
    start = None if initial is None else find_weights(initial)
    recipe = with_architecture(complete_recipe(recipe))
    check_teacher(recipe)
    features = FeatureStore(front_end(recipe.features, recipe.model.pretrained), keep=False)
    with TrainingLog(scratch, quiet=True) as log:
        data = load_run_data(recipe, scratch, None, log, resume=False)
    network = new_network(recipe, data.tokenizer.vocab_size)
    if start is not None:
        with TrainingLog(scratch) as log:
            load_initial(network, start, data.tokenizer, reinitialise, log)
    augmentation = Augmentation(recipe.augment, recipe.seed)
    source = DataSource(recipe, data, features, augmentation, Processes(), scratch)
    stages = []
    for number, (stage, cuts) in enumerate(zip(recipe.stages, data.train, strict=True)):
        seconds = sum(cuts.durations.tolist())
        tokens = sum(len(data.tokenizer.encode(one)) for one in cuts.texts)
        batches = StageData(source, number)
        stages.append(
            StagePlan(
                name=stage.name,
                epochs=stage.epochs,
                utterances=len(cuts),
                hours=seconds / 3600,
                batches=batches.batch_count,
                updates=batches.update_count,
                memory=estimate_memory(network, stage, recipe, tokens / max(1e-9, seconds)),
            )
        )
    return TrainingPlan(data.tokenizer.vocab_size, count_parameters(network), stages)


def count_parameters(network: KeyframeNetwork) -> dict[str, int]:
    """Count the parameters of each part of the network, in the order of the forward pass."""
    return {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in network.named_children()
        if any(True for _ in part.parameters())
    }


def estimate_memory(
    network: KeyframeNetwork, stage: StageConfig, recipe: Recipe, tokens_per_second: float
) -> int:
    """Estimate the bytes that a stage needs for its largest batch, without torch's own overhead.

    Measures the activations kept for the backward pass on a noise utterance, and on one twice as
    long, to separate fixed and growing memory. Assumes that a batch consists of utterances of the
    second length; ignores half precision.
    """
    objective = StageObjective(network, stage).train()
    kept = [
        _activations(objective, recipe, seconds, tokens_per_second) for seconds in PROBE_SECONDS
    ]
    longest = PROBE_SECONDS[-1]
    utterances = max(1.0, recipe.training.batch_seconds / longest)
    weights = sum(
        parameter.numel() * (BYTES_PER_PARAMETER if parameter.requires_grad else BYTES_PER_FROZEN)
        for parameter in network.parameters()
    )
    fixed = max(0, 2 * kept[0] - kept[1])
    return int(weights + fixed + utterances * (kept[1] - fixed))


def show(plan: TrainingPlan, console: Console) -> None:
    """Print the plan as two tables."""
    parts = Table(title="network")
    parts.add_column("part")
    parts.add_column("parameters", justify="right")
    for name, count in plan.parameters.items():
        parts.add_row(name.replace("_", " "), f"{count:,}")
    parts.add_row("all", f"{sum(plan.parameters.values()):,}", style="bold")
    stages = Table(title=f"stages (batches and updates per epoch), vocabulary of {plan.vocab_size}")
    stages.add_column("stage")
    headings = ("epochs", "utterances", "hours", "batches", "updates", "memory")
    for heading in headings:
        stages.add_column(heading, justify="right")
    for one in plan.stages:
        stages.add_row(
            one.name,
            str(one.epochs),
            f"{one.utterances:,}",
            f"{one.hours:.2f}",
            f"{one.batches:,}",
            f"{one.updates:,}",
            f"{one.memory / 2**30:.2f} GiB",
        )
    console.print(Group(parts, stages))


def _activations(
    objective: StageObjective, recipe: Recipe, seconds: int, tokens_per_second: float
) -> int:
    """Measure the bytes kept for the backward pass on one utterance, without weights."""
    compute = front_end(recipe.features, recipe.model.pretrained)
    frames = len(compute(np.zeros(seconds * SAMPLE_RATE, np.float32)))
    tokens = max(1, round(seconds * tokens_per_second))
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, frames, compute.width, generator=generator)
    targets = torch.randint(3, objective.network.vocab_size, (1, tokens), generator=generator)
    decoder, decoder_tokens = objective.network.pretrained_decoder, None
    if decoder is not None:
        length = min(decoder.longest, DECODER_TOKENS_PER_TOKEN * tokens)
        decoder_tokens = torch.zeros(1, 2, length, dtype=torch.long)
    with _counting(objective) as kept:
        objective(
            Batch(
                ("noise",),
                features,
                torch.tensor([frames]),
                targets,
                torch.tensor([tokens]),
                float(seconds),
                decoder_tokens=decoder_tokens,
            )
        )
    return sum(kept.values())


@contextmanager
def _counting(objective: StageObjective) -> Iterator[dict[int, int]]:
    """Collect the bytes of each storage that is kept for the backward pass."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # prevents that a freed address is reused for another tensor

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept
