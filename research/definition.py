"""Fields of a study's YAML file: one strict class per kind of study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from keyframe_asr.config.strict import Strict, apply_override, parse_config, read_yaml
from keyframe_asr.errors import RecipeError
from keyframe_asr.inference.options import DecodeMode

StressName = Literal["noise", "room", "speed", "telephone", "clipping"]


class StudyDefinition(Strict):
    """Fields of every study."""

    kind: str
    title: str
    question: str
    """The question of the study, as a sentence."""


class StressConfig(Strict):
    """One way to make speech harder, at several levels."""

    kind: StressName
    levels: list[float] = Field(min_length=1)
    """Noise: signal-to-noise ratio in dB. Room: decay time in seconds. Speed: factor. Clipping: dB
    below the peak. Telephone: highest frequency in Hz."""


class SystemConfig(Strict):
    """A model in one decode mode, optionally with another blank threshold than in training."""

    name: str
    model: str | None = None
    """Model folder or name."""
    variant: str | None = None
    """STUDY/VARIANT instead of a model: the trainings of this variant, run if they are missing.
    STUDY is a name in `studies`, or a YAML file."""
    decode: DecodeMode
    blank_threshold: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> SystemConfig:
        if (self.model is None) == (self.variant is None):
            raise ValueError(f"{self.name}: give either a model or a variant of a study")
        if self.variant is not None and not all(self.variant.rpartition("/")):
            raise ValueError(
                f"{self.name}: variant '{self.variant}' is not of the form STUDY/VARIANT, such as "
                "ablation_an4/all-frames"
            )
        return self


class StressDefinition(StudyDefinition):
    """A stress study: error rate and keyframes of several systems on degraded speech."""

    kind: Literal["stress"]
    manifest: str
    noise: str
    """Folder of noise recordings."""
    systems: list[SystemConfig] = Field(min_length=1)
    """The first system is the reference of the others."""
    stresses: list[StressConfig]

    @model_validator(mode="after")
    def _check(self) -> StressDefinition:
        _refuse_twins([system.name for system in self.systems], "systems")
        return self


class CostDefinition(StudyDefinition):
    """A cost study: time of a training step by component, and of the encoders by length."""

    kind: Literal["cost"]
    recipe: str
    """Recipe whose model is measured, with random weights."""
    vocabulary: int = Field(ge=8)
    tokens_per_second: float = Field(gt=0)
    batch_seconds: float = Field(gt=0)
    steps: int = Field(ge=1)
    seconds: list[float] = Field(min_length=2)
    """Durations of utterances."""
    rounds: int = Field(default=3, ge=1)
    threads: int = Field(default=1, ge=1)


class StartConfig(Strict):
    """What variants start from: a model, a stage that is trained once for all variants, or both."""

    initial: str | None = None
    """Model folder or name, or `.safetensors` weights."""
    reinitialise: list[str] = Field(default_factory=list)
    """Parts of the network to re-initialise, such as encoder2."""
    stage: str | None = None
    """Stage of the recipe that is trained once, with the first seed, for all variants. It starts
    from `initial`; without it, from random weights and after the recipe's earlier stages."""

    @model_validator(mode="after")
    def _check(self) -> StartConfig:
        if self.initial is None and self.stage is None:
            raise ValueError("give a model to start from (initial), a stage to train, or both")
        if self.reinitialise and self.initial is None:
            raise ValueError("reinitialise needs a model in initial; add one, or leave it out")
        return self


class VariantConfig(Strict):
    """A variant to train: stages of the recipe, and its differences."""

    name: str
    label: str
    stages: list[str] = Field(min_length=1)
    epochs: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Epochs of stages that differ from the study's."""
    set: list[str] = Field(default_factory=list)
    """KEY=VALUE; stages are numbered from 0 in the order of `stages`."""
    from_nothing: bool = False
    """Start from random weights instead of the study's."""

    @property
    def begins_alike(self) -> bool:
        """True if the variant starts from all weights of the study's start."""
        return not self.from_nothing and not any(".reinitialise=" in one for one in self.set)


class TrainingsDefinition(StudyDefinition):
    """A study that trains variants of a recipe in the same way."""

    recipe: str
    start: StartConfig | None = None
    """If None, every variant starts from random weights."""
    split: Literal["dev", "test"] = "test"
    epochs: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Epochs of stages that differ from the recipe's."""
    set: list[str] = Field(default_factory=list)
    """KEY=VALUE for every variant; not for stages, whose numbers differ between variants."""
    stage_set: list[str] = Field(default_factory=list)
    """KEY=VALUE for every stage of every variant and of the start."""
    reference: str
    variants: list[VariantConfig] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> TrainingsDefinition:
        names = [variant.name for variant in self.variants]
        _refuse_twins(names, "variants")
        if self.reference not in names:
            raise ValueError(
                f"reference '{self.reference}' is not a variant; use one of {', '.join(names)}"
            )
        return self


class TrainingDefinition(TrainingsDefinition):
    """A training study: variants of a recipe that are trained and measured in the same way."""

    kind: Literal["training"]
    compare: DecodeMode = "axe"
    """Decode mode in which models are compared; one that lacks it is compared in `ctc`."""
    modes: list[DecodeMode] = Field(default_factory=list)
    """Decode modes that are measured, of those that a model has; empty: all of them."""
    beam: int | None = Field(default=None, ge=1)
    """Beam width of the decode modes; `null`: the usual one of each."""
    picture: Literal["variant", "tokens_per_second", "latency"] = "variant"
    """What the picture plots the error rate against."""


class LatencyDefinition(TrainingsDefinition):
    """A study of error against latency: variants that stream, with several sizes of chunks."""

    kind: Literal["latency"]
    chunks: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    """Encoder frames of chunks without look-ahead; the whole recording is measured, too."""
    chunk: int
    """The size that the summary tells of."""
    look_ahead: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    """Encoder frames after chunks of this size that its frames see."""

    @model_validator(mode="after")
    def _check_chunk(self) -> LatencyDefinition:
        if self.chunk not in self.chunks:
            raise ValueError(f"chunk {self.chunk} is not measured; use one of {self.chunks}")
        return self

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Sizes of chunks, each with its look-ahead."""
        ahead = [(self.chunk, frames) for frames in self.look_ahead]
        return [*((size, 0) for size in self.chunks), *ahead]


class DroppedDefinition(StudyDefinition):
    """A study of the information lost with the dropped frames: probes on frozen encoders."""

    kind: Literal["dropped"]
    model: str
    train: str
    test: str
    classes: int = Field(default=30, ge=2)
    """Number of classes: the most frequent training tokens. Other tokens are left out."""


class SpeechConfig(Strict):
    """Recordings of a manifest."""

    manifest: str
    speakers: list[str] = Field(default_factory=list)
    """Only these speakers; empty: all."""
    of: int = Field(default=1, ge=1)
    """Only some of every `of` recordings of a speaker, in the order of their names: those at
    `takes`."""
    takes: list[Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: [0], min_length=1)
    minutes: float | None = Field(default=None, gt=0)
    """Draw recordings up to this many minutes, with the seed of the measurement; `null`: all. Those
    of fewer minutes are among those of more."""


class FineTuningCaseConfig(Strict):
    """A model that is fine-tuned on some speech."""

    name: str
    label: str
    group: str
    """Heading of its table."""
    model: str
    """Folder or name."""
    train: SpeechConfig
    """What is given to fine-tuning."""
    dev: SpeechConfig | None = None
    """Its development set; `null`: fine-tuning takes it from `train`."""
    test: SpeechConfig
    forgetting: SpeechConfig | None = None
    """Speech like that on which the model was trained before; measured with the first seed."""
    replay: str | None = None
    """Other speech that is mixed in: a manifest or `synthetic`."""
    set: list[str] = Field(default_factory=list)
    """KEY=VALUE for the recipe of the fine-tuning."""


class FineTuningDefinition(StudyDefinition):
    """A study of how much speech gives which error."""

    kind: Literal["fine-tuning"]
    cases: list[FineTuningCaseConfig] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> FineTuningDefinition:
        _refuse_twins([case.name for case in self.cases], "cases")
        return self


def _refuse_twins(names: list[str], what: str) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"two {what} have the same name: {', '.join(names)}")


KINDS: dict[str, type[StudyDefinition]] = {
    "stress": StressDefinition,
    "cost": CostDefinition,
    "training": TrainingDefinition,
    "dropped": DroppedDefinition,
    "latency": LatencyDefinition,
    "fine-tuning": FineTuningDefinition,
}


def shipped_studies() -> dict[str, Path]:
    """Return the YAML file of each study in `studies`, by name."""
    folder = Path(__file__).parent / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_study(name: str, overrides: list[str] | None = None) -> StudyDefinition:
    """Read a study by its name, or the path of a YAML file, and apply `key.sub=value` overrides.

    Raises:
        RecipeError: there is no such study, or a key or value is not valid.
    """
    shipped = shipped_studies()
    path = shipped.get(name, Path(name))
    if not path.is_file():
        raise RecipeError(
            f"{name}: unknown study; use one of {', '.join(shipped)}, or give a YAML file"
        )
    data = read_yaml(path)
    for override in overrides or []:
        apply_override(data, override)
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecipeError(f"{path}: unknown kind {kind!r}; use one of {', '.join(KINDS)}")
    return parse_config(KINDS[kind], data, str(path))
