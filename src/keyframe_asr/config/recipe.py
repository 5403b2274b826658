"""Recipes: everything that defines a run, as strict data.

Every key is declared here with its default; an unknown key, a wrong type or values that
contradict each other are refused before any work, naming the key and the nearest valid one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.config.model import (
    FeaturesConfig,
    ModelConfig,
    NormalisationName,
    check_normalisation,
)
from keyframe_asr.config.strict import Renamed, Strict, parse_config, read_yaml


class DataConfig(Strict):
    """Manifests (lhotse `.jsonl.gz` or `.tsv`), relative to the recipe's working folder.

    Instead of them, the folder that `keyframe prepare` wrote: `prepared` stands for its manifests,
    and brings its tokenizer, feature statistics and normal form of text.
    """

    prepared: str | None = None
    """Folder that `keyframe prepare` wrote; then `train`, `dev` and `test` may be left out."""
    train: str
    """Training manifest."""
    more_train: list[str] = Field(default_factory=list)
    """Further training manifests, taken together with `train` or `prepared`."""
    dev: str
    """Development manifest: checkpoints are chosen by it."""
    test: str | None = None
    """Test manifest; training does not read it."""
    validate_batches_seconds: float = Field(default=120.0, gt=0)
    """Seconds of audio in one batch of the dev set."""

    @model_validator(mode="before")
    @classmethod
    def _manifests_of_prepared(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("prepared"), str):
            return data
        folder = data["prepared"].rstrip("/")
        return {name: f"{folder}/{name}.jsonl.gz" for name in ("train", "dev", "test")} | data


class TokenizerConfig(Strict):
    """Units of text: characters, or sentencepiece pieces of `vocab_size` (its own symbols in)."""

    kind: Literal["characters", "sentencepiece"] = "characters"
    """Characters for Mandarin, pieces for other languages."""
    vocab_size: int | None = Field(default=None, ge=8)
    """Most units; `null`: all characters of the training texts. Pieces need a number."""
    model_type: Literal["unigram", "bpe", "word", "char"] = "unigram"
    """How sentencepiece finds its pieces."""


class LossConfig(Strict):
    """Weights of the summed losses; `head` says which loss is on encoder 2's output."""

    inter_ctc: float = Field(default=0.2, ge=0)
    """Weight of CTC on the inter-CTC."""
    head: float = Field(default=0.1, ge=0)
    """Weight of the loss on encoder 2's output."""
    head_loss: Literal["ctc", "axe", "til", "none"] = "axe"
    """`ctc` needs all frames, `axe` and `til` need keyframes."""
    decoder: float = Field(default=0.7, ge=0)
    """Weight of the decoder's cross entropy."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Of the decoder's cross entropy."""
    skip_target_penalty: float = Field(default=2.0, gt=0)
    """δ of AXE (arXiv 2004.01655)."""


class EndsWhen(Strict):
    """Bounds on the dev set that tell that the inter-CTC is ready for keyframes."""

    inter_error: float = Field(gt=0)
    """At most so many token errors of the inter-CTC per target token."""
    keyframes_per_token: tuple[float, float] = Field(default=(0.8, 1.5), strict=False)
    """At least and at most so many spikes of the inter-CTC per target token."""


class CollapseConfig(Strict):
    """A stage with keyframes stops when its dev error exceeds a bound again and again."""

    error: float = Field(default=0.8, gt=0)
    """Token errors per target token on the dev set, above which a stage counts as collapsed."""
    evaluations: int = Field(default=5, ge=1)
    """In a row."""


PartAboveKeyframes = Literal["conditioning", "fusion", "encoder2", "head", "decoder"]
"""Parts of the network that a stage may re-initialise; those below them choose the keyframes."""


class StageConfig(Strict):
    """One stage of training; it starts from the averaged weights of the one before."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {"forget": Renamed("reinitialise")}

    name: str
    """Names the stage's folder in the run."""
    epochs: int = Field(ge=1)
    """At most so many."""
    train: str | Annotated[list[str], Field(min_length=1)] | None = None
    """Other training manifests than the recipe's, for instance to warm up on other speech."""
    start_from: str | None = None
    """Earlier stage whose averaged weights this one starts from; `null`: the one before."""
    reinitialise: list[PartAboveKeyframes] = Field(default_factory=list)
    """Parts that start this stage with random weights, those of a new network of the seed."""
    keyframes: bool = False
    """Drop all frames but keyframes before encoder 2."""
    fusion: bool = False
    """Fuse each frame that goes on with its neighbours."""
    losses: LossConfig
    """Losses and their weights."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Highest learning rate, reached after the warm-up."""
    warmup_steps: int = Field(default=500, ge=0)
    """Updates over which the learning rate rises."""
    decay: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    """How the learning rate falls after the warm-up."""
    final_learning_rate: float = Field(default=0.0, ge=0)
    """Learning rate at the end of a `cosine` decay."""
    average_best: int = Field(default=5, ge=1)
    """How many best checkpoints the weights of the stage are averaged over."""
    select_by: Literal["error", "loss"] = "error"
    """What makes a checkpoint the best: token errors or loss on the dev set."""
    ends_when: EndsWhen | None = None
    """End the stage before its last epoch once the inter-CTC is good enough."""
    collapse: CollapseConfig | None = CollapseConfig()
    """When to stop a stage with keyframes whose error does not come down; `null`: never."""
    unfreeze_from_layer: int | None = Field(default=None, ge=0)
    """Train the pretrained encoder's layers from this one on, 0: all of it; `null`: none."""
    pretrained_learning_rate: float = Field(default=1e-5, gt=0)
    """Highest learning rate of those layers; it rises and decays with the stage's own."""

    @property
    def manifests(self) -> list[str]:
        """Training manifests of its own; none where it is trained on those of the recipe."""
        return [self.train] if isinstance(self.train, str) else self.train or []

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        if self.keyframes and self.losses.head_loss == "ctc":
            raise ValueError(
                f"stage '{self.name}' has keyframes on with head_loss 'ctc': there are too few "
                "keyframes for CTC; choose 'axe' or 'til'"
            )
        if not self.keyframes and self.losses.head_loss in ("axe", "til"):
            raise ValueError(
                f"stage '{self.name}' has head_loss '{self.losses.head_loss}' without keyframes; "
                "set keyframes: true or head_loss: ctc"
            )
        return self


class TrainingConfig(Strict):
    """Batches, optimiser and device of a run."""

    batch_seconds: float = Field(default=30.0, gt=0)
    """Seconds of audio that a device computes at a time: the memory it needs grows with them."""
    accumulate: int = Field(default=1, ge=1)
    """Batches of one update, on however many devices: they share the batches out."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of matrix products; a CPU for which torch has no fast bfloat16 takes float32 instead."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Of AdamW."""
    gradient_clip: float = Field(default=5.0, gt=0)
    """Largest norm of an update's gradient."""
    validate_every_epochs: int = Field(default=1, ge=1)
    """Measure the dev set so often; the last epoch always."""
    keep_features_in_memory: bool = False
    """Keep computed fbank in memory between epochs: for corpora of a few hours.

    Where the samples themselves are augmented, they are kept instead: 230 MB an hour and speed.
    """
    workers: int = Field(default=0, ge=0)
    """Processes that load data beside the training process."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; `null`: all."""
    encodings: str | None = None
    """Folder for the outputs of a frozen pretrained encoder; `null`: `encodings` in the run's."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.keep_features_in_memory and self.workers:
            raise ValueError(
                f"keep_features_in_memory with workers ({self.workers}): the loading processes end "
                "with each epoch and what they keep is lost; set workers: 0, or keep nothing"
            )
        return self


class Recipe(Strict):
    """A whole run."""

    name: str
    """Names the run's default folder, `runs/NAME`, and its models."""
    seed: int = 1
    """Of initial weights, order of batches and augmentation."""
    language: Literal["english", "mandarin"] = "english"
    """Language of the transcripts: how text is normalised and whether words are counted."""
    normalisation: NormalisationName | None = None
    """Normal form of the transcripts; `null`: that of `data.prepared`, or else of `language`."""
    data: DataConfig
    """Manifests."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Units of text; `data.prepared` brings its own."""
    features: FeaturesConfig = FeaturesConfig()
    """Input of the network."""
    model: ModelConfig = ModelConfig()
    """The network."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes of training data."""
    training: TrainingConfig = TrainingConfig()
    """Batches, optimiser and device."""
    stages: list[StageConfig] = Field(min_length=1)
    """What is trained, in order."""

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        check_normalisation(self.language, self.normalisation)
        for stage in self.stages:
            if self.model.decoder is None and stage.losses.decoder > 0:
                raise ValueError(
                    f"stage '{stage.name}' weighs the decoder loss by {stage.losses.decoder}, but "
                    "model.decoder is null; set losses.decoder: 0 or give the model a decoder"
                )
            if self.model.pretrained is None and stage.unfreeze_from_layer is not None:
                raise ValueError(
                    f"stage '{stage.name}' unfreezes layers of a pretrained encoder, but "
                    "model.pretrained is null; remove unfreeze_from_layer or name an encoder"
                )
            _check_reinitialised(stage, self.model)
        names = [stage.name for stage in self.stages]
        for index, stage in enumerate(self.stages):
            if stage.start_from is not None and stage.start_from not in names[:index]:
                raise ValueError(
                    f"stage '{stage.name}' starts from '{stage.start_from}', which is no earlier "
                    f"stage; earlier ones: {', '.join(names[:index]) or 'none'}"
                )
        if len(set(names)) != len(names):
            raise ValueError(f"two stages have the same name: {', '.join(names)}")
        return self


def _check_reinitialised(stage: StageConfig, model: ModelConfig) -> None:
    absent = {
        "conditioning": "" if model.encoder.self_conditioning else "self_conditioning is false",
        "decoder": "model.decoder is null" if model.decoder is None else "",
    }
    for part in stage.reinitialise:
        if why := absent.get(part):
            raise ValueError(
                f"stage '{stage.name}' re-initialises '{part}', but {why}; leave it out"
            )


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply `key.sub=value` overrides (list entries by their number).

    Raises:
        RecipeError: the file cannot be read, or a key or value is not valid.
    """
    return parse_config(Recipe, read_yaml(Path(path)), str(path), overrides)
