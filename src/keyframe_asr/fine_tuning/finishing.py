"""After training: how the model is best decoded, its calibration, its folder, and its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from lhotse.cut import Cut

from keyframe_asr.data.manifest import text, written_text
from keyframe_asr.decoding.confidence import fit_scaling
from keyframe_asr.decoding.lm.building import build_language_model
from keyframe_asr.decoding.lm.packed import write_packed
from keyframe_asr.decoding.lm.scoring import Unit
from keyframe_asr.evaluation.calibration import TOLERANCE
from keyframe_asr.evaluation.speech_check_fit import loosened_speech_check
from keyframe_asr.evaluation.tuning import TUNED_MODES, tune
from keyframe_asr.fine_tuning.measuring import Measurement, Recognised, say
from keyframe_asr.fine_tuning.preparing import Prepared
from keyframe_asr.inference.recognizer import load
from keyframe_asr.inference.scorer_files import separates_words
from keyframe_asr.io.model_folder import (
    Storage,
    StoredModel,
    load_model_folder,
    save_model_config,
    save_model_folder,
    store_decoding,
)
from keyframe_asr.training.checkpoint import averaged_weights, load_weights
from keyframe_asr.training.initial_weights import new_network
from keyframe_asr.training.objective import apply_stage
from keyframe_asr.training.stage_model import model_folder

ENCODINGS = "encodings"
"""Folder of the stored outputs of the frozen encoder."""

LANGUAGE_MODEL = "training_texts.ngram"
"""Language model of the training texts, in the folder of the fine-tuning while it lasts."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (step, done, total)."""


@dataclass(frozen=True)
class Finished:
    """A model folder that is written, and what it recognises.

    Attributes:
        recognised: by name of the recordings.
        is_start: True if the model is kept as it was.
        decoding: of the model folder; None if it stores none.
    """

    recognised: dict[str, Recognised]
    is_start: bool
    decoding: dict[str, Any] | None


def finish(
    prepared: Prepared,
    model: str,
    is_start: bool,
    before: Recognised,
    sets: dict[str, Sequence[Cut]],
    progress: Progress,
) -> Finished:
    """Write the model folder: of the trained model, or of the start if that is not better.

    Args:
        prepared: the fine-tuning, which is trained.
        model: the model as it was named.
        is_start: no epoch was better than the start.
        before: what the model recognised of the development set.
        sets: recordings to recognise: `dev`, and others.
        progress: called while they are recognised.
    """
    folder = model_folder(prepared.folder)
    if not is_start:
        _save(prepared, _trained(prepared), model)
        _tune(prepared, folder, sets["dev"], progress)
        found = _calibrated(prepared, folder, sets, progress)
        if found["dev"].error() <= before.error():
            return _finished(folder, found, False)
    say("the development set did not improve; the model is kept as it was")
    _save(prepared, prepared.stored, model)
    form = prepared.config.text_form
    measurement = Measurement(load(folder, backend="torch"), prepared.folder / ENCODINGS, form)
    return _finished(folder, recognise_sets(measurement, sets, "after", progress), True)


def recognise_sets(
    measurement: Measurement, sets: dict[str, Sequence[Cut]], step: str, progress: Progress
) -> dict[str, Recognised]:
    """Recognise several sets of recordings; empty ones are left out."""

    def shown(done: int, total: int) -> None:
        progress(f"measuring the error {step}", done, total)

    return {name: measurement.recognise(cuts, name, shown) for name, cuts in sets.items() if cuts}


def _finished(folder: Path, found: dict[str, Recognised], is_start: bool) -> Finished:
    decoding = load_model_folder(folder).config.decoding
    return Finished(found, is_start, None if decoding is None else decoding.model_dump(mode="json"))


def _trained(prepared: Prepared) -> StoredModel:
    """The model with the weights of the last stage, and the delay that was measured for it."""
    recipe = prepared.recipe()
    stage = recipe.stages[-1]
    folder = prepared.folder / stage.name
    network = new_network(recipe, prepared.tokenizer.vocab_size)
    network.load_state_dict(load_weights(averaged_weights(folder)))
    apply_stage(network, stage)
    measured = load_model_folder(model_folder(folder)).config
    delay = measured.emission_delay_seconds or prepared.config.emission_delay_seconds
    config = prepared.config.model_copy(
        update={"confidences": measured.confidences, "emission_delay_seconds": delay}
    )
    of_decoder = prepared.stored.decoder_tokenizer
    return StoredModel(network.eval(), prepared.tokenizer, config, decoder_tokenizer=of_decoder)


def _save(prepared: Prepared, stored: StoredModel, model: str) -> None:
    """Write the model folder, with new matrices as 8-bit integers: they change no more errors than
    chance (docs/adr/0022-base-models.md)."""
    matrices = [name for name, _ in stored.network.named_parameters()]
    config = stored.config.model_copy(update={"name": prepared.config.name})
    save_model_folder(
        model_folder(prepared.folder),
        stored.network,
        stored.tokenizer,
        config,
        f"# {config.name}\n",  # until the errors are known
        Storage(matrices, base=model, standalone=prepared.options.standalone),
        stored.language_model,
        stored.decoder_tokenizer,
    )


def _tune(prepared: Prepared, folder: Path, dev: Sequence[Cut], progress: Progress) -> None:
    """Choose how the model is decoded, with or without a language model.

    That of the training texts and that of the model before are tried.
    """
    recognizer = load(folder, backend="torch")
    form, tokenizer = recognizer.config.text_form, recognizer.tokenizer
    path = prepared.folder / LANGUAGE_MODEL
    texts = [text(cut) for cut in prepared.speech.train]
    unit: Unit = "word" if separates_words(form, tokenizer) else "character"
    write_packed(build_language_model(texts, tokenizer, form, unit=unit), path)
    choose = partial(
        tune,
        recognizer,
        dev,
        name="the development set",
        progress=lambda done, total: progress("choosing how to decode", done, total),
        encode=Measurement(recognizer, prepared.folder / ENCODINGS).encode,
        modes=[mode for mode in TUNED_MODES if mode in recognizer.modes],
        favoured="rescore" if _learns_to_display(prepared) else None,
    )
    tuned = choose(language_model=path)
    earlier = prepared.stored.language_model
    if earlier is not None and not prepared.has_other_units:
        mode = tuned.decoding.mode
        if choose(language_model=earlier, modes=[mode]).chosen.rate < tuned.chosen.rate:
            tuned = min(tuned, choose(language_model=earlier), key=lambda one: one.chosen.rate)
    store_decoding(folder, tuned.decoding, tuned.language_model)


def _learns_to_display(prepared: Prepared) -> bool:
    """True if most texts have case or punctuation, which only a pretrained decoder writes."""
    if prepared.config.model.pretrained_decoder is None:
        return False
    shown = [written_text(cut) for cut in prepared.speech.train]
    plain = [text(cut) for cut in prepared.speech.train]
    displayed = [
        one not in (one.lower(), one.upper())
        or "".join(one.lower().split()) != "".join(other.lower().split())
        for one, other in zip(shown, plain, strict=True)
    ]
    return 2 * sum(displayed) > len(displayed)


def _calibrated(
    prepared: Prepared, folder: Path, sets: dict[str, Sequence[Cut]], progress: Progress
) -> dict[str, Recognised]:
    """Recognise all sets; calibrate the model on the development set."""
    measurement = Measurement(load(folder, backend="torch"), prepared.folder / ENCODINGS)
    config = measurement.recognizer.config
    found = recognise_sets(measurement, {"dev": sets["dev"]}, "after", progress)
    confidences = {
        mode: fit_scaling(*(np.array(column) for column in zip(*rows, strict=True)))
        for mode, rows in measurement.confidences.items()
        if rows
    }
    check = config.speech_check
    if check is not None:
        check = loosened_speech_check(check, measurement.speech, TOLERANCE)
    changed = check != config.speech_check
    save_model_config(
        folder,
        config.model_copy(update={"confidences": confidences, "speech_check": check}),
    )
    if changed:  # the texts may be others
        measurement = Measurement(load(folder, backend="torch"), prepared.folder / ENCODINGS)
        found = recognise_sets(measurement, {"dev": sets["dev"]}, "after", progress)
    rest = {name: cuts for name, cuts in sets.items() if name != "dev"}
    return found | recognise_sets(measurement, rest, "after", progress)
