"""What a study may hold, as strict data: one class for each kind of study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from keyframe_asr.config.strict import Strict, apply_override, parse_config, read_yaml
from keyframe_asr.errors import RecipeError
from keyframe_asr.inference.options import DecodeMode

StressName = Literal["noise", "room", "speed", "telephone", "clipping"]


class StudyDefinition(Strict):
    """What all studies have."""

    kind: str
    title: str
    question: str
    """What is asked, in a sentence."""


class StressConfig(Strict):
    """One way to make speech harder, at several levels."""

    kind: StressName
    levels: list[float] = Field(min_length=1)
    """dB of signal to noise; seconds of decay; times as fast; dB below the peak that is clipped;
    of the telephone, the highest hertz."""


class SystemConfig(Strict):
    """A model in one decode mode, selecting keyframes as trained or with another threshold."""

    name: str
    model: str | None = None
    """By folder or name."""
    variant: str | None = None
    """STUDY/VARIANT instead of a model: its trainings, made now if they are not there; STUDY is
    the name of a study that the package holds, or a YAML file."""
    decode: DecodeMode
    blank_threshold: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> SystemConfig:
        if (self.model is None) == (self.variant is None):
            raise ValueError(f"{self.name}: name a model or the variant of a study, one of the two")
        if self.variant is not None and not all(self.variant.rpartition("/")):
            raise ValueError(
                f"{self.name}: variant '{self.variant}' is no STUDY/VARIANT, for example "
                "ablation_an4/all-frames"
            )
        return self


class StressDefinition(StudyDefinition):
    """Error and keyframes of several systems on speech under stress."""

    kind: Literal["stress"]
    manifest: str
    noise: str
    """Folder of noise recordings."""
    systems: list[SystemConfig] = Field(min_length=1)
    """The first is what the others are compared with."""
    stresses: list[StressConfig]

    @model_validator(mode="after")
    def _check(self) -> StressDefinition:
        _refuse_twins([system.name for system in self.systems], "systems")
        return self


class CostDefinition(StudyDefinition):
    """Where the time of a training step goes, and how that of the encoder grows with length."""

    kind: Literal["cost"]
    recipe: str
    """Whose model is measured, with random weights."""
    vocabulary: int = Field(ge=8)
    tokens_per_second: float = Field(gt=0)
    batch_seconds: float = Field(gt=0)
    steps: int = Field(ge=1)
    seconds: list[float] = Field(min_length=2)
    """Lengths of utterances."""
    rounds: int = Field(default=3, ge=1)
    threads: int = Field(default=1, ge=1)


class StartConfig(Strict):
    """What variants start from: a model, a stage that is trained once for all, or both."""

    initial: str | None = None
    """Model, by folder or name, or `.safetensors` weights."""
    reinitialise: list[str] = Field(default_factory=list)
    """Parts of the network, for instance encoder2, that `initial` leaves at random weights."""
    stage: str | None = None
    """Stage of the recipe that is trained once, with the first seed, for all variants: from
    `initial`, or else from random weights after those before it in the recipe."""

    @model_validator(mode="after")
    def _check(self) -> StartConfig:
        if self.initial is None and self.stage is None:
            raise ValueError("name a model to start from (initial), a stage to train, or both")
        if self.reinitialise and self.initial is None:
            raise ValueError(
                "reinitialise names parts of initial; name a model there, or leave it out"
            )
        return self


class VariantConfig(Strict):
    """One training: stages of the recipe, and what differs in them."""

    name: str
    label: str
    stages: list[str] = Field(min_length=1)
    epochs: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Of stages, where they differ from the study's."""
    set: list[str] = Field(default_factory=list)
    """key=value; stages are numbered from 0 in the order of `stages`."""
    from_nothing: bool = False
    """Start from random weights instead of the study's."""

    @property
    def begins_alike(self) -> bool:
        """Whether it goes on with all the weights of the study's start."""
        return not self.from_nothing and not any(".reinitialise=" in one for one in self.set)


class TrainingDefinition(StudyDefinition):
    """Variants of a recipe, trained alike and measured alike."""

    kind: Literal["training"]
    recipe: str
    start: StartConfig | None = None
    """Without it every variant starts from random weights."""
    split: Literal["dev", "test"] = "test"
    epochs: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Of stages, where they differ from the recipe's."""
    set: list[str] = Field(default_factory=list)
    """key=value for every variant; not of stages, which variants number differently."""
    stage_set: list[str] = Field(default_factory=list)
    """key=value for every stage of every variant and of the start."""
    compare: DecodeMode = "axe"
    """The decode mode of a model with keyframes by which variants are compared."""
    picture: Literal["variant", "tokens_per_second", "latency"] = "variant"
    """What the picture shows the error against."""
    reference: str
    variants: list[VariantConfig] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> TrainingDefinition:
        names = [variant.name for variant in self.variants]
        _refuse_twins(names, "variants")
        if self.reference not in names:
            raise ValueError(
                f"reference '{self.reference}' is none of the variants: {', '.join(names)}"
            )
        return self


class DroppedDefinition(StudyDefinition):
    """What is lost with the dropped frames: probes on frozen encoders."""

    kind: Literal["dropped"]
    model: str
    train: str
    test: str
    classes: int = Field(default=30, ge=2)
    """The most frequent tokens of the training part; positions of others are left out."""


def _refuse_twins(names: list[str], what: str) -> None:
    if len(set(names)) != len(names):
        raise ValueError(f"two {what} have the same name: {', '.join(names)}")


KINDS: dict[str, type[StudyDefinition]] = {
    "stress": StressDefinition,
    "cost": CostDefinition,
    "training": TrainingDefinition,
    "dropped": DroppedDefinition,
}


def shipped_studies() -> dict[str, Path]:
    """File of each study inside the package, by name."""
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
            f"{name}: no such study; use one of {', '.join(shipped)}, or give a YAML file"
        )
    data = read_yaml(path)
    for override in overrides or []:
        apply_override(data, override)
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecipeError(f"{path}: kind {kind!r} is none of {', '.join(KINDS)}")
    return parse_config(KINDS[kind], data, str(path))
