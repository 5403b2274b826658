"""Everything before training: data, text units, the plan, and the folder of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from lhotse.cut import Cut

from keyframe_asr.config.fine_tuning import FineTuningPlan, plan_for
from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_json
from keyframe_asr.config.text_form import default_form
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus
from keyframe_asr.data.sources import load_source
from keyframe_asr.errors import TrainingError
from keyframe_asr.fine_tuning.language import in_its_language
from keyframe_asr.fine_tuning.options import FineTuneOptions
from keyframe_asr.fine_tuning.recipe import Manifests, fine_tuning_recipe
from keyframe_asr.fine_tuning.replay import (
    DEFAULT_SHARE,
    Replay,
    draw_replay,
    is_manifest,
    open_replay,
)
from keyframe_asr.fine_tuning.speech import (
    Speech,
    fitting,
    gather_speech,
    save_speech,
    texts_in_form,
)
from keyframe_asr.fine_tuning.vocabulary import (
    extended,
    new_tokenizer,
    start_with,
    without_alphabet,
)
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.model_folder import StoredModel, find_model, load_model_folder
from keyframe_asr.text.tokenizer import Tokenizer

ARGUMENTS_FILE = "arguments.json"
"""Marks the folder of a fine-tuning, and holds what it was started with."""

REPORT_FILE = "report.json"

_MAY_CHANGE = ("resume", "standalone", "keep_encodings")


@dataclass(frozen=True)
class Prepared:
    """A fine-tuning that can start.

    Attributes:
        folder: where it writes.
        source: folder of the model.
        stored: the model.
        config: configuration of the fine-tuned model.
        tokenizer: its tokenizer.
        speech: the recordings.
        replay: other speech to mix in; None without.
        also_measured: recordings on which the error is measured, too; None without.
        plan: what follows from the hours of data.
        options: what the user chose.
    """

    folder: Path
    source: Path
    stored: StoredModel
    config: ModelFolderConfig
    tokenizer: Tokenizer
    speech: Speech
    replay: list[Cut] | SyntheticCorpus | None
    also_measured: list[Cut] | None
    plan: FineTuningPlan
    options: FineTuneOptions

    @property
    def has_other_units(self) -> bool:
        """True if the text units are not those of the model."""
        return self.tokenizer.content() != self.stored.tokenizer.content()

    @property
    def start(self) -> Path:
        """Folder of the model from which training starts."""
        return self.folder / "start" if self.has_other_units else self.source

    def recipe(self, replay: Path | None = None) -> Recipe:
        """The recipe that is trained. Raises `RecipeError` for a wrong override."""
        data = self.folder / "data"
        manifests = Manifests(data / "train.jsonl.gz", data / "dev.jsonl.gz", replay)
        return fine_tuning_recipe(self.config, self.start, manifests, self.plan, self.options)


def prepare(
    model: str | Path,
    train: str,
    dev: str | None,
    out: Path,
    options: FineTuneOptions,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Read model and recordings, and plan; writes nothing.

    Raises:
        KeyframeError: the model or the recordings cannot be used.
    """
    source = find_model(model)
    stored = load_model_folder(source)
    form = stored.config.text_form
    heard = gather_speech(train, dev, say, progress)
    stored, heard, language = in_its_language(
        stored, heard, options.language, say, replays=is_manifest(options.replay)
    )
    if options.vocabulary == "new":
        form = default_form(language) if options.language else form
    elif options.vocabulary == "extend":
        form = without_alphabet(form)
    tokenizer = stored.tokenizer
    if options.vocabulary == "new":
        tokenizer = new_tokenizer(form, texts_in_form(heard.train, form))
    elif options.vocabulary == "extend":
        tokenizer = extended(tokenizer, texts_in_form(heard.train, form))
    names = train, dev or f"{train} (held out)"
    speech = fitting(heard, tokenizer, form, names, say)
    config = stored.config.model_copy(
        update={
            "name": out.name,
            "language": language,
            "text_form": form,
            "vocab_size": tokenizer.vocab_size,
            "base": None,
            "decoding": None,
        }
    )
    replay = open_replay(options.replay, language, form, tokenizer, [*speech.train, *speech.dev])
    others = None
    if options.also_measure is not None:
        others = list(load_source(options.also_measure, progress).cuts)
    plan = plan_for(speech.hours)
    prepared = Prepared(
        out, source, stored, config, tokenizer, speech, replay, others, plan, options
    )
    prepared.recipe()  # a wrong override is told before anything is written
    return prepared


def describe_plan(prepared: Prepared) -> str:
    """What would be trained, as the values of the recipe that `--set` changes."""
    recipe, speech = prepared.recipe(), prepared.speech
    minutes = sum(cut.duration for cut in speech.dev) / 60
    values = recipe.model_dump(mode="json", include={"seed", "augment", "training", "stages"})
    return (
        f"# {len(speech.train)} recordings ({60 * speech.hours:.1f} minutes) for training, "
        f"{len(speech.dev)} ({minutes:.1f} minutes) for development\n"
        + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    )


def claim_folder(prepared: Prepared, arguments: dict[str, Any]) -> None:
    """Mark the folder as one of this fine-tuning.

    Raises:
        TrainingError: it holds another one, or other files.
    """
    folder, options = prepared.folder, prepared.options
    marker = folder / ARGUMENTS_FILE
    chosen = {key: value for key, value in asdict(options).items() if key not in _MAY_CHANGE}
    given = json.loads(json.dumps(arguments | chosen))
    if marker.is_file():
        if not options.resume:
            raise TrainingError(
                f"{folder}: already holds a fine-tuning; add --resume to go on with it, or choose "
                "another --out"
            )
        before = parse_json(marker.read_text(encoding="utf-8"))
        if changed := [key for key in given if given[key] != before.get(key)]:
            raise TrainingError(
                f"{folder}: was started with another {changed[0].replace('_', '-')} "
                f"({before.get(changed[0])}, now {given[changed[0]]}); give the same again, or "
                "choose another --out"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TrainingError(f"{folder}: exists and is no fine-tuning; choose another --out")
    write_whole(marker, json.dumps(given, indent=1), "choose another --out", TrainingError)


def write_start(prepared: Prepared) -> None:
    """Write the manifests, and the model with other text units if it needs them."""
    data = prepared.folder / "data"
    save_speech(prepared.speech.train, data / "train.jsonl.gz")
    save_speech(prepared.speech.dev, data / "dev.jsonl.gz")
    if prepared.has_other_units:
        is_new = prepared.options.vocabulary == "new"
        config = prepared.config
        start_with(prepared.stored, prepared.tokenizer, config, prepared.start, new=is_new)


def prepare_replay(
    prepared: Prepared, progress: Callable[[str, int, int], None]
) -> tuple[Replay | None, Path | None]:
    """Choose or synthesise replay, and write the manifest of what is mixed in."""
    if prepared.replay is None:
        return None, None
    share = prepared.plan.replay or DEFAULT_SHARE
    data = prepared.folder / "data"
    replay = draw_replay(
        prepared.replay,
        share / (1 - share) * prepared.speech.hours * 3600,
        prepared.config.text_form,
        prepared.tokenizer,
        data / "synthetic",
        progress,
    )
    return replay, save_speech(replay.train, data / "replay.jsonl.gz")
