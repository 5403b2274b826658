"""From a recipe to a model folder: inputs, training, saving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from keyframe_asr.audio.features import front_end
from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.config.recipe import Recipe, StageConfig, load_recipe
from keyframe_asr.data.augment import check_folders
from keyframe_asr.data.encoded_store import EncodedStore
from keyframe_asr.data.feature_store import FeatureStore, Store
from keyframe_asr.data.manifest import text
from keyframe_asr.errors import TrainingError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.model_folder import save_model_folder
from keyframe_asr.io.pretrained_source import load_original, with_architecture
from keyframe_asr.model.network import KeyframeNetwork, build_pretrained
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.training import checkpoint
from keyframe_asr.training.confidences import measure_confidences
from keyframe_asr.training.curves import draw_curves
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.emission_delay import measure_emission_delay
from keyframe_asr.training.initial import (
    initial_weights,
    load_encoder,
    load_matching,
    new_network,
    parts_of_other_units,
)
from keyframe_asr.training.loop import Trainer
from keyframe_asr.training.plan import StagePlan, TrainingPlan, count_parameters, estimate_memory
from keyframe_asr.training.recipe_defaults import complete_recipe
from keyframe_asr.training.report import TrainingReport
from keyframe_asr.training.run_data import Inputs, prepare_inputs
from keyframe_asr.training.stages import apply_stage

RECIPE_FILE = "recipe.yaml"
"""The recipe of a run, kept in its folder."""


def train_recipe(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    initial: str | Path | None = None,
    reinitialise: Sequence[str] = (),
    quiet: bool = False,
) -> Path:
    """Train all stages and write a model folder for each; returns the last one.

    Args:
        recipe: the run.
        folder: where checkpoints, logs and model folders go.
        resume: go on from the last checkpoint in `folder`.
        initial: what to start from, a model (by folder or name) or `.safetensors` weights; tensors
            of other shapes stay as they are.
        reinitialise: parts of the network, for instance "encoder2", that do not take the weights of
            `initial`.
        quiet: no progress on standard error.

    Raises:
        TrainingError: `folder` holds a run and `resume` is off, or training failed.
        ManifestError, AudioError, ModelError: the data or tokenizer cannot be used.
        RecipeError: the recipe does not fit its prepared corpus, or a folder lacks noise.
    """
    check_folders(recipe.augment)
    resumed = _is_resumed(folder, resume)
    recipe = with_architecture(complete_recipe(recipe))
    start = None if initial is None or resumed else initial_weights(initial)
    # a run that is resumed has the encoder's weights, and its statistics, in its own folder
    original = None if resumed else original_encoder(recipe)
    if original is not None and start is not None and "pretrained" not in reinitialise:
        load_encoder(original, start)
    _make_folder(folder)
    if resumed:
        check_recipe(recipe, folder)
    store = feature_store(recipe, recipe.training.keep_features_in_memory)
    processes = Processes()
    with TrainingReport(folder, quiet, processes.writes) as report:
        if resumed and initial is not None:
            report.say(f"{folder}: goes on from its own weights; those of {initial} are not read")
        measured = _measured_store(recipe, folder, store, original, processes)
        inputs = _inputs(recipe, folder, measured, processes, report, resumed)
        network = _network(recipe, inputs, original)
        if start is not None:
            _load_initial(network, start, inputs, reinitialise, report)
            _normalise(network, inputs)
        encodings = encodings_folder(recipe, folder)
        trainer = Trainer(recipe, network, inputs.tokenizer, store, folder, processes, encodings)
        trainer.run(inputs.train, inputs.dev, report)

    def write() -> None:
        for stage in recipe.stages:
            save_stage_model(recipe, stage, network, inputs, store, folder / stage.name)
        draw_curves(folder)

    processes.write(write)
    return folder / recipe.stages[-1].name / "model"


def _is_resumed(folder: Path, resume: bool) -> bool:
    """Whether the folder holds a run to go on with; raises `TrainingError` if it may not."""
    resumed = (folder / checkpoint.STATE_FILE).exists()
    if resumed and not resume:
        raise TrainingError(
            f"{folder}: holds a run already; add --resume to go on, or choose another --out"
        )
    return resumed


def feature_store(recipe: Recipe, keep: bool) -> FeatureStore:
    """Features by the front end of the recipe's model, kept in memory if asked."""
    return FeatureStore(front_end(recipe.features, recipe.model.pretrained), keep)


def _measured_store(
    recipe: Recipe,
    folder: Path,
    store: FeatureStore,
    original: PretrainedEncoder | None,
    processes: Processes,
) -> Store:
    """What the statistics are of: the network's input, which a pretrained encoder gives."""
    if original is None:
        return store
    encoder = original.to(processes.device)
    return EncodedStore(store, encoder, encodings_folder(recipe, folder))


def original_encoder(recipe: Recipe) -> PretrainedEncoder | None:
    """The pretrained encoder that a recipe starts from, if it has one.

    Raises:
        ModelError: its source cannot be read, or `transformers` is not installed.
    """
    pretrained = recipe.model.pretrained
    if pretrained is None:
        return None
    encoder = build_pretrained(pretrained)
    load_original(encoder, pretrained)
    return encoder


def encodings_folder(recipe: Recipe, folder: Path) -> Path:
    """Where the outputs of a frozen encoder are kept."""
    named = recipe.training.encodings
    return folder / "encodings" if named is None else Path(named)


def _network(recipe: Recipe, inputs: Inputs, original: PretrainedEncoder | None) -> KeyframeNetwork:
    """With random weights but for those of the original encoder, if it is at hand."""
    network = new_network(recipe, inputs.tokenizer.vocab_size)
    if network.pretrained is not None and original is not None:
        network.pretrained.load_state_dict(original.state_dict())
    _normalise(network, inputs)
    return network


def _load_initial(
    network: KeyframeNetwork,
    start: Path,
    inputs: Inputs,
    reinitialise: Sequence[str],
    report: TrainingReport,
) -> None:
    """Load what fits of the weights to start from, and say what does not."""
    strangers = parts_of_other_units(network, start, inputs.tokenizer)
    if strangers:
        report.warn(f"{start.parent}: has other units; {', '.join(strangers)} begin at random")
    if others := load_matching(network, start, [*reinitialise, *strangers]):
        every = len(network.state_dict())
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in others))
        report.warn(
            f"{start}: has no fitting weights for {len(others)} of {every} tensors, of {parts}"
        )


def _normalise(network: KeyframeNetwork, inputs: Inputs) -> None:
    """Normalise features by the statistics of this run's corpus."""
    network.normalisation.mean.copy_(inputs.mean)
    network.normalisation.inverse_std.copy_(inputs.inverse_std)


def _inputs(
    recipe: Recipe,
    folder: Path,
    store: Store,
    processes: Processes,
    report: TrainingReport,
    resumed: bool,
) -> Inputs:
    """The first process makes tokenizer and statistics; the others read them."""
    if not processes.writes:
        processes.accelerator.wait_for_everyone()
        processes.check_shared(folder / RECIPE_FILE)
    resume = resumed or not processes.writes
    inputs = prepare_inputs(recipe, folder, store, resume=resume, report=report)
    if processes.writes:
        store_recipe(recipe, folder)
        processes.accelerator.wait_for_everyone()
    return inputs


def plan_recipe(
    recipe: Recipe,
    scratch: Path,
    initial: str | Path | None = None,
    reinitialise: Sequence[str] = (),
) -> TrainingPlan:
    """What `train_recipe` would do, from the same inputs; trains nothing.

    Args:
        recipe: the run.
        scratch: an empty folder for the tokenizer and the statistics, which are made on the way.
        initial, reinitialise: as in `train_recipe`; what does not fit is said on standard error.

    Raises:
        ManifestError, AudioError, RecipeError: the data or tokenizer cannot be used.
        TrainingError: `initial` cannot be used.
    """
    start = None if initial is None else initial_weights(initial)
    recipe = with_architecture(complete_recipe(recipe))
    # its statistics are not used, so that a pretrained encoder need not run
    store = feature_store(recipe, keep=False)
    processes = Processes()
    with TrainingReport(scratch, quiet=True) as report:
        inputs = prepare_inputs(recipe, scratch, store, resume=False, report=report)
    network = new_network(recipe, inputs.tokenizer.vocab_size)
    if start is not None:
        with TrainingReport(scratch) as report:
            _load_initial(network, start, inputs, reinitialise, report)
    trainer = Trainer(recipe, network, inputs.tokenizer, store, scratch, processes)
    stages = []
    for index, (stage, cuts) in enumerate(zip(recipe.stages, inputs.train, strict=True)):
        seconds = sum(cut.duration for cut in cuts)
        tokens = sum(len(inputs.tokenizer.encode(text(cut))) for cut in cuts)
        batches = trainer.count_batches(cuts, index)
        stages.append(
            StagePlan(
                name=stage.name,
                epochs=stage.epochs,
                utterances=len(cuts),
                hours=seconds / 3600,
                batches=batches,
                updates=-(-batches // recipe.training.accumulate),
                memory=estimate_memory(network, stage, recipe, tokens / max(1e-9, seconds)),
            )
        )
    return TrainingPlan(inputs.tokenizer.vocab_size, count_parameters(network), stages)


def store_recipe(recipe: Recipe, folder: Path) -> None:
    """Write `recipe.yaml`, every default spelled out, into the folder of a run."""
    described = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_whole(folder / RECIPE_FILE, described, checkpoint.NO_ROOM, TrainingError)


def check_recipe(recipe: Recipe, folder: Path) -> None:
    """Refuse to resume a run with a recipe that its weights or its stages do not fit.

    Epochs, learning rates, batches and data may change, and stages may be added at the end; what
    the stages are called, start from and re-initialise may not.

    Raises:
        TrainingError: names what differs.
    """
    if not (folder / RECIPE_FILE).exists():
        return
    before = load_recipe(folder / RECIPE_FILE)
    fixed = ("language", "tokenizer", "features", "model")
    differing = [name for name in fixed if getattr(before, name) != getattr(recipe, name)]
    # recipes stored by version 0.1 name no normal form
    if (before.normalisation or before.language) != (recipe.normalisation or recipe.language):
        differing.append("normalisation")
    for key, what in (
        ("name", "the names of the stages"),
        ("start_from", "what the stages start from"),
        ("reinitialise", "what the stages re-initialise"),
    ):
        then = [getattr(stage, key) for stage in before.stages]
        if [getattr(stage, key) for stage in recipe.stages][: len(then)] != then:
            differing.append(what)
    if differing:
        raise TrainingError(
            f"{folder}: was trained with another recipe, which differs in {', '.join(differing)}; "
            f"resume with {folder / RECIPE_FILE}, or choose another --out"
        )


def save_stage_model(
    recipe: Recipe,
    stage: StageConfig,
    network: KeyframeNetwork,
    inputs: Inputs,
    store: FeatureStore,
    folder: Path,
) -> None:
    """Write the model folder of a stage from its averaged weights."""
    network.load_state_dict(checkpoint.load_weights(folder / "averaged.safetensors"))
    apply_stage(network, stage)
    config = ModelFolderConfig(
        name=f"{recipe.name}-{stage.name}",
        language=recipe.language,
        normalisation=recipe.normalisation or recipe.language,
        vocab_size=inputs.tokenizer.vocab_size,
        keyframes=stage.keyframes,
        fusion=stage.fusion,
        emission_delay_seconds=measure_emission_delay(network, inputs.tokenizer, store, inputs.dev),
        confidences=measure_confidences(network, inputs.tokenizer, store, inputs.dev),
        features=recipe.features,
        model=recipe.model,
    )
    stages = _ancestry(recipe, stage)
    common = [recipe.data.prepared or recipe.data.train, *recipe.data.more_train]
    heard = dict.fromkeys(name for one in stages for name in one.manifests or common)
    corpora = [Path(name).name for name in heard]
    card = (
        f"# {config.name}\n\nTrained by `keyframe train` on `{'`, `'.join(corpora)}`: "
        + ", then ".join(_as_words(one) for one in stages)
        + ".\n\nNot evaluated yet: run `keyframe evaluate` on a held-out manifest.\n"
    )
    save_model_folder(folder / "model", network, inputs.tokenizer, config, card)


def _as_words(stage: StageConfig) -> str:
    parts = f", {' and '.join(stage.reinitialise)} re-initialised" if stage.reinitialise else ""
    return f"{stage.name} (at most {stage.epochs} epochs{parts})"


def _ancestry(recipe: Recipe, stage: StageConfig) -> list[StageConfig]:
    """The stage and those whose weights it goes back to, the first one first."""
    names = [one.name for one in recipe.stages]
    place = names.index(stage.name)
    found = [stage]
    while place > 0:
        start = recipe.stages[place].start_from
        place = names.index(start) if start is not None else place - 1
        found.insert(0, recipe.stages[place])
    return found


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder}: cannot be made a folder ({error.strerror}); choose another --out"
        ) from None
