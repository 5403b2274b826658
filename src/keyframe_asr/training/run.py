"""From a recipe to a model folder: manifests, tokenizer, statistics, training, saving."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from safetensors.torch import load_file
from torch import Tensor

from keyframe_asr.config import ModelFolderConfig, Recipe, StageConfig
from keyframe_asr.data.dataset import FeatureStore
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.data.model_folder import save_model_folder
from keyframe_asr.errors import TrainingError
from keyframe_asr.features import Fbank
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.timing import encoder_frame_seconds
from keyframe_asr.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from keyframe_asr.training import checkpoint
from keyframe_asr.training.checkpoint import STATE_FILE
from keyframe_asr.training.report import TrainingReport
from keyframe_asr.training.trainer import Trainer

STATISTICS_CUTS = 2000
"""CMVN is estimated on at most so many utterances."""


@dataclass(frozen=True)
class Inputs:
    """What a run starts from, besides its recipe."""

    train: CutSet
    dev: CutSet
    tokenizer: Tokenizer
    mean: Tensor
    inverse_std: Tensor


def train_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    initial: Path | None = None,
    quiet: bool = False,
) -> Path:
    """Train all stages and write a model folder for each; returns the last one.

    Args:
        recipe: the run.
        folder: where checkpoints, logs and model folders go.
        resume: go on from the last checkpoint in `folder`.
        initial: `.safetensors` weights to start from; tensors of other shapes stay as they are.
        quiet: no progress on standard error.

    Raises:
        TrainingError: `folder` holds a run and `resume` is off, or training failed.
        ManifestError, ModelError: the data or tokenizer cannot be used.
    """
    if (folder / STATE_FILE).exists() and not resume:
        raise TrainingError(
            f"{folder}: holds a run already; add --resume to go on, or choose another --out"
        )
    store = FeatureStore(Fbank(recipe.features), recipe.training.keep_features_in_memory)
    inputs = prepare_inputs(recipe, folder, store)
    torch.manual_seed(recipe.seed)
    network = KeyframeNetwork(
        recipe.model, recipe.features.num_mel_bins, inputs.tokenizer.vocab_size
    )
    if initial is not None:
        load_matching(network, initial)
    network.normalisation.mean.copy_(inputs.mean)
    network.normalisation.inverse_std.copy_(inputs.inverse_std)
    trainer = Trainer(recipe, network, inputs.tokenizer, store, folder)
    with TrainingReport(folder, quiet) as report:
        train = alignable(inputs, network.subsampling.factor, recipe)
        if left_out := len(inputs.train) - len(train):
            report.warn(f"{left_out} utterances have more tokens than frames and are left out")
        trainer.run(train, inputs.dev, report)
    for stage in recipe.stages:
        save_stage_model(recipe, stage, network, inputs.tokenizer, folder / stage.name)
    return folder / recipe.stages[-1].name / "model"


def prepare_inputs(recipe: Recipe, folder: Path, store: FeatureStore) -> Inputs:
    """Load manifests; make tokenizer and statistics, or take those that `folder` has already."""
    train, dev = load_manifest(recipe.data.train), load_manifest(recipe.data.dev)
    folder.mkdir(parents=True, exist_ok=True)
    statistics = folder / "cmvn.json"
    if not statistics.exists():
        tokenizer = train_tokenizer((text(cut) for cut in train), recipe.tokenizer)
        tokenizer.save(folder)
        values = json.dumps(measure_statistics(train, store))
        checkpoint.write_atomically(statistics, lambda path: path.write_text(values))
    measured = json.loads(statistics.read_text())
    return Inputs(
        train,
        dev,
        load_tokenizer(folder),
        torch.tensor(measured["mean"]),
        torch.tensor(measured["inverse_std"]),
    )


def measure_statistics(cuts: CutSet, store: FeatureStore) -> dict[str, list[float]]:
    """Mean and inverse standard deviation of each mel bin over (some of) the cuts."""
    every = max(1, len(cuts) // STATISTICS_CUTS)
    total, squares, frames = 0.0, 0.0, 0
    for cut in list(cuts)[::every]:
        features = store(cut).double().numpy()
        total = total + features.sum(axis=0)
        squares = squares + (features**2).sum(axis=0)
        frames += len(features)
    mean = np.asarray(total) / max(1, frames)
    deviation = np.sqrt(np.maximum(np.asarray(squares) / max(1, frames) - mean**2, 1e-4))
    return {"mean": mean.tolist(), "inverse_std": (1 / deviation).tolist()}


def alignable(inputs: Inputs, factor: int, recipe: Recipe) -> CutSet:
    """The training cuts that CTC can align at every speed: at least as many frames as tokens."""
    shortest = 1 / max(recipe.augment.speeds)

    def fits(cut: Cut) -> bool:
        tokens = inputs.tokenizer.encode(text(cut))
        repeats = sum(a == b for a, b in zip(tokens, tokens[1:], strict=False))
        frames = cut.duration * shortest / encoder_frame_seconds(factor)
        return len(tokens) + repeats <= frames

    return CutSet.from_cuts(cut for cut in inputs.train if fits(cut))


def load_matching(network: KeyframeNetwork, path: Path) -> list[str]:
    """Load the tensors of a file that fit the network; returns the names that did not."""
    if not path.is_file():
        raise TrainingError(f"{path}: no such weights; give a .safetensors file of a model folder")
    own = network.state_dict()
    weights = load_file(path)
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(own | {k: v.to(own[k].dtype) for k, v in fitting.items()})
    return sorted(set(own) - set(fitting))


def save_stage_model(
    recipe: Recipe, stage: StageConfig, network: KeyframeNetwork, tokenizer: Tokenizer, folder: Path
) -> None:
    """Write the model folder of a stage from its averaged weights."""
    network.load_state_dict(load_file(folder / "averaged.safetensors"))
    config = ModelFolderConfig(
        name=f"{recipe.name}-{stage.name}",
        language=recipe.language,
        vocab_size=tokenizer.vocab_size,
        keyframes=stage.keyframes,
        fusion=stage.fusion,
        features=recipe.features,
        model=recipe.model,
    )
    stages = recipe.stages[: recipe.stages.index(stage) + 1]
    card = (
        f"# {config.name}\n\nTrained by `keyframe train` on `{Path(recipe.data.train).name}`: "
        + ", ".join(f"{one.name} ({one.epochs} epochs)" for one in stages)
        + ".\n\nNot evaluated yet: run `keyframe evaluate` on a held-out manifest.\n"
    )
    save_model_folder(folder / "model", network, tokenizer, config, card)
