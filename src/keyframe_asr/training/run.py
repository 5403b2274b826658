"""Train a recipe: everything before and after the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from keyframe_asr.audio.features import front_end
from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.augment import Augmentation, check_folders
from keyframe_asr.data.encoded_store import EncodedStore
from keyframe_asr.data.feature_store import FeatureStore, Store
from keyframe_asr.data.statistics import Statistics
from keyframe_asr.errors import TrainingError
from keyframe_asr.io.architectures import with_architecture
from keyframe_asr.io.malloc import keep_freed_memory
from keyframe_asr.io.pretrained_decoder import load_decoder
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.training.checkpoint import STATE_FILE, Checkpoints, Progress, load_progress
from keyframe_asr.training.curves import draw_curves
from keyframe_asr.training.data_record import record_data
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.epoch_data import DataSource
from keyframe_asr.training.initial_weights import (
    find_weights,
    initial_statistics,
    load_encoder,
    load_initial,
    new_network,
    original_encoder,
)
from keyframe_asr.training.log import TrainingLog
from keyframe_asr.training.loop import Run, train_stages, write_missing_models
from keyframe_asr.training.resuming import Resumed, resume_recipe
from keyframe_asr.training.run_data import RunData, load_run_data
from keyframe_asr.training.run_recipe import (
    RECIPE_FILE,
    complete_recipe,
    store_recipe,
)
from keyframe_asr.training.stage_model import model_folder
from keyframe_asr.training.teacher import check_teacher, has_teacher, load_teacher
from keyframe_asr.training.validation import Validation

FEW_HOURS = 10.0
"""With fewer hours of speech, fine-tuning beats training from random weights."""

LOCK_FILE = ".lock"
"""Locked as long as a training writes to the folder."""


@dataclass(frozen=True)
class _Start:
    """Starting point of a run.

    Attributes:
        resumed: True if the folder contains a run, which is continued.
        weights: file of initial weights; loaded as far as they match.
        encoder: pretrained encoder of the recipe; None if it has none, or on resuming.
        reinitialise: parts of the network that are not loaded from `weights`.
        statistics: feature statistics of `weights`, if the recipe keeps them.
    """

    resumed: bool
    weights: Path | None
    encoder: PretrainedEncoder | None
    reinitialise: Sequence[str]
    statistics: Statistics | None = None


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training.

    Attributes:
        folder: folder of the run, with checkpoints, logs and a folder per stage.
        model: model folder of the last stage, for `keyframe_asr.load`.
        validations: evaluation of the averaged weights of each stage on the dev set, without the
            stages that were finished before a resume.
    """

    folder: Path
    model: Path
    validations: dict[str, Validation]


def train(
    recipe: Recipe | Path | str,
    out: Path | str | None = None,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    initial: Path | str | None = None,
    reinitialise: Sequence[str] = (),
    quiet: bool = False,
) -> TrainingResult:
    """Train all stages of a recipe and write a model folder for each.

    Args:
        recipe: recipe, or path of its YAML file.
        out: folder for checkpoints, logs and model folders; default `runs/NAME` of the recipe.
        overrides: `key=value`, for example "training.batch_seconds=60".
        resume: continue from the last checkpoint in `out`.
        initial: initial weights, a model (folder or name) or a `.safetensors` file; tensors of
            other shapes are not loaded.
        reinitialise: parts of the network, for example "encoder2", that are not loaded from
            `initial`.
        quiet: write no progress to standard error.

    Raises:
        TrainingError: `out` contains a run and `resume` is False, `reinitialise` is given without
            `initial`, or the training failed.
        ManifestError, AudioError, ModelError: the data, the tokenizer or a model cannot be used.
        RecipeError: the recipe is invalid or does not match its prepared corpus, or a folder of
            recordings is empty.
    """
    if reinitialise and initial is None:
        raise TrainingError("reinitialise needs a model to start from; give initial")
    recipe = _with_overrides(recipe, overrides)
    folder = Path("runs") / recipe.name if out is None else Path(out)
    check_folders(recipe.augment)
    resuming = _is_resumed(folder, resume)
    recipe = with_architecture(complete_recipe(recipe))
    check_teacher(recipe)
    start = _find_start(recipe, resuming, initial, reinitialise)
    processes = Processes()
    with (
        processes.failing_together(),
        _claimed(folder, processes),
        TrainingLog(folder, quiet, processes.writes) as log,
    ):
        if resume and not resuming:
            log.info(f"{folder}: there is no run to resume; a new one starts")
        if resuming and initial is not None:
            log.info(f"{folder}: resuming from its own weights; {initial} is ignored")
        progress = load_progress(folder)
        resumed = resume_recipe(recipe, folder, progress) if resuming else Resumed(recipe)
        processes.wait()  # until all have read the recipe of the run, which is written next
        run = _prepare_run(resumed, folder, start, processes, log)
        _tell_resumed(run, resumed, progress)
        write_missing_models(run, progress.finished)
        validations = train_stages(run)
        processes.write(lambda: draw_curves(folder))
    last = resumed.recipe.stages[-1].name
    return TrainingResult(folder, model_folder(folder / last), validations)


@contextmanager
def _claimed(folder: Path, processes: Processes) -> Iterator[None]:
    """Keep other trainings out of the folder; the system takes the lock back if this one is killed.

    Raises:
        TrainingError: another training is running in the folder.
    """
    lock = FileLock(folder / LOCK_FILE)

    def claim() -> None:
        _make_folder(folder)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise TrainingError(
                f"{folder}: another training is writing to it; wait for it, or choose another --out"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise TrainingError(f"{lock.lock_file}: cannot be locked ({error})") from None

    processes.write(claim)
    try:
        yield
    finally:
        lock.release()


def _with_overrides(recipe: Recipe | Path | str, overrides: Sequence[str]) -> Recipe:
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, overrides)
    if not overrides:
        return recipe
    return parse_config(
        Recipe, recipe.model_dump(mode="json", exclude_unset=True), recipe.name, overrides
    )


def _is_resumed(folder: Path, resume: bool) -> bool:
    """True if the folder contains a run to resume; raises `TrainingError` if not allowed."""
    resumed = (folder / STATE_FILE).exists()
    if resumed and not resume:
        raise TrainingError(
            f"{folder}: already contains a run; add --resume to continue, or choose another --out"
        )
    return resumed


def _find_start(
    recipe: Recipe, resumed: bool, initial: Path | str | None, reinitialise: Sequence[str]
) -> _Start:
    if resumed:  # the folder contains the weights, also of the encoder, and the statistics
        return _Start(True, None, None, ())
    weights = None if initial is None else find_weights(initial)
    statistics = None
    if recipe.data.statistics == "initial":
        statistics = initial_statistics(weights, recipe.features.level)
    encoder = original_encoder(recipe)
    if encoder is not None and weights is not None and "pretrained" not in reinitialise:
        load_encoder(encoder, weights)
    return _Start(False, weights, encoder, reinitialise, statistics)


def _tell_resumed(run: Run, resumed: Resumed, progress: Progress) -> None:
    """Say where a run goes on, and how its recipe and its data have changed."""
    recipe, state = run.recipe, progress.state
    if resumed.trains_on and progress.last is not None:
        state = progress.last
    stages = [stage.name for stage in recipe.stages]

    def write() -> None:
        if state.stage < len(stages):
            run.log.resume(stages[state.stage], state.epoch, resumed, state.updates)
        else:
            run.log.resume(stages[-1], recipe.stages[-1].epochs, resumed)
            run.log.info(f"{run.folder}: all stages are finished; nothing is trained")
        record_data(recipe, run.source.data, run.folder, state.stage, run.log)

    run.processes.write(write)


def _prepare_run(
    resumed: Resumed, folder: Path, start: _Start, processes: Processes, log: TrainingLog
) -> Run:
    """Prepare data, network and process for the first stage."""
    recipe = resumed.recipe
    keep = recipe.training.keep_features_in_memory
    features = FeatureStore(front_end(recipe.features, recipe.model.pretrained), keep)
    encodings = Path(recipe.training.encodings or folder / "encodings")
    store: Store = features
    if start.encoder is not None:
        store = EncodedStore(features, start.encoder.to(processes.device), encodings)
    data = _load_data(recipe, folder, store, log, processes, start)
    network = new_network(recipe, data.tokenizer.vocab_size)
    if network.pretrained is not None and start.encoder is not None:
        network.pretrained.load_state_dict(start.encoder.state_dict())
    decoder = recipe.model.pretrained_decoder
    if network.pretrained_decoder is not None and decoder is not None and not start.resumed:
        load_decoder(network.pretrained_decoder, decoder)
    if start.weights is not None:
        load_initial(network, start.weights, data.tokenizer, start.reinitialise, log)
    elif network.pretrained is None and not start.resumed:
        _warn_of_little_data(data, log)
    network.normalisation.mean.copy_(data.mean)
    network.normalisation.inverse_std.copy_(data.inverse_std)
    if processes.device.type == "cpu":
        keep_freed_memory()
    if recipe.training.threads is not None:
        torch.set_num_threads(recipe.training.threads)
    augmentation = Augmentation(recipe.augment, recipe.seed)
    source = DataSource(recipe, data, features, augmentation, processes, encodings)
    checkpoints = Checkpoints(folder, processes)
    teacher = None
    if has_teacher(recipe):
        teacher = load_teacher(recipe, data.tokenizer).to(processes.device)
    return Run(
        recipe,
        folder,
        network,
        source,
        checkpoints,
        processes,
        log,
        trains_on=resumed.trains_on,
        teacher=teacher,
    )


def _warn_of_little_data(data: RunData, log: TrainingLog) -> None:
    """Warn if random weights are trained on few hours."""
    hours = max(float(cuts.durations.sum()) for cuts in data.train) / 3600
    if hours < FEW_HOURS:
        log.warning(
            f"training starts from random weights with {hours:.1f} hours of speech; with less "
            f"than {FEW_HOURS:g}, keyframe fine-tune MODEL TRAIN --out DIR makes far fewer errors"
        )


def _load_data(
    recipe: Recipe,
    folder: Path,
    store: Store,
    log: TrainingLog,
    processes: Processes,
    start: _Start,
) -> RunData:
    """Load the data; the first process makes tokenizer and statistics, the others read them."""
    loaded: list[RunData] = []

    def load() -> None:
        loaded.append(
            load_run_data(
                recipe, folder, store, log, resume=start.resumed, statistics=start.statistics
            )
        )
        store_recipe(recipe, folder)

    processes.write(load)
    if not processes.writes:
        processes.check_shared(folder / RECIPE_FILE)
        loaded.append(load_run_data(recipe, folder, store, log, resume=True))
    return loaded[0]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder}: cannot be created ({error.strerror}); choose another --out"
        ) from None
