"""Training recipes.

Every key is declared here with its default. Unknown keys, wrong types and contradictory values are
rejected when the recipe is read, with the name of the key and the nearest valid key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.config.model import FeaturesConfig, ModelConfig, check_level
from keyframe_asr.config.recipe_paths import absolute, from_folder
from keyframe_asr.config.strict import Renamed, Strict, parse_config, read_yaml
from keyframe_asr.config.text_form import LanguageTag, NamedTextForm, TextForm, default_form
from keyframe_asr.config.training import TrainingConfig


class DataConfig(Strict):
    """Manifests, relative to the folder of the recipe: lhotse's `.jsonl.gz`, `.tsv`, or a folder
    of lhotse Shar, also at a URI such as `s3://BUCKET/FOLDER`.

    Alternatively `prepared`, a folder written by `keyframe prepare`: it provides the manifests, the
    tokenizer, the feature statistics and the normal form of text.
    """

    prepared: str | None = None
    """Folder written by `keyframe prepare`; `train`, `dev` and `test` are then optional."""
    train: str
    """Training manifest."""
    more_train: list[str] = Field(default_factory=list)
    """Additional training manifests, combined with `train` or `prepared`."""
    dev: str
    """Development manifest, used to select checkpoints."""
    test: str | None = None
    """Test manifest; not used in training."""
    soft_targets: list[str] = Field(default_factory=list)
    """Files with soft targets of a teacher for the pretrained decoder (distillation)."""
    statistics: Literal["train", "initial"] = "train"
    """Feature statistics: measured on `train`, or those of the model that training starts from."""
    validate_batches_seconds: float = Field(default=120.0, gt=0)
    """Seconds of audio per batch of the development set."""

    @model_validator(mode="before")
    @classmethod
    def _manifests_of_prepared(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("prepared"), str):
            return data
        folder = data["prepared"].rstrip("/")
        return {name: f"{folder}/{name}.jsonl.gz" for name in ("train", "dev", "test")} | data


TokenizerKind = Literal["characters", "sentencepiece", "mixed"]


class TokenizerConfig(Strict):
    """Tokens: characters, sentencepiece units, or both."""

    of_model: str | None = None
    """Folder or name of a model whose tokenizer is used; `null`: one is trained on the texts."""
    kind: TokenizerKind = "characters"
    """`characters` for scripts without spaces, `sentencepiece` for others; `mixed`: every Han
    character, and sentencepiece units of the text between them."""
    vocab_size: int | None = Field(default=None, ge=8)
    """Maximum number of tokens, including special symbols; `null`: all characters of the training
    texts. Required by sentencepiece and mixed, where Han characters come on top."""
    model_type: Literal["unigram", "bpe", "word", "char"] = "unigram"
    """Type of the sentencepiece model."""


class LossConfig(Strict):
    """Losses and their weights."""

    inter_ctc: float = Field(default=0.2, ge=0)
    """Weight of the inter-CTC loss."""
    head: float = Field(default=0.1, ge=0)
    """Weight of the loss on the output of encoder 2."""
    head_loss: Literal["ctc", "axe", "til", "none"] = "axe"
    """Loss on the output of encoder 2: `ctc` without keyframes, `axe` or `til` with keyframes."""
    decoder: float = Field(default=0.7, ge=0)
    """Weight of the decoder's cross entropy."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Label smoothing of the decoder's cross entropy."""
    distillation: float = Field(default=0.5, ge=0, le=1)
    """Share of the soft targets, where there are some, in the decoder's cross entropy."""
    skip_target_penalty: float = Field(default=2.0, gt=0)
    """δ of AXE (arXiv 2004.01655)."""
    teacher: float = Field(default=0.0, ge=0)
    """Weight of the distances to the recipe's teacher on all frames."""


class EndsWhen(Strict):
    """End a stage early when the inter-CTC meets these bounds on the development set."""

    inter_error: float = Field(gt=0)
    """Maximum token error rate of the inter-CTC."""
    keyframes_per_token: tuple[float, float] = Field(default=(0.8, 1.5), strict=False)
    """Minimum and maximum number of inter-CTC spikes per target token."""


class CollapseConfig(Strict):
    """Stop a stage with keyframes whose error stays above a bound on the development set."""

    error: float = Field(default=0.8, gt=0)
    """Token error rate above which an evaluation counts as collapsed."""
    evaluations: int = Field(default=5, ge=1)
    """Number of consecutive collapsed evaluations after which the stage stops."""


PartAboveKeyframes = Literal["conditioning", "fusion", "encoder2", "head", "decoder"]
"""Parts of the network that a stage may re-initialise; they do not affect keyframe selection."""


_NAMES_OF_A_RUN = (
    "cmvn.json",
    "curves.png",
    "data.json",
    "decoder_tokenizer.json",
    "encodings",
    "log.jsonl",
    "recipe.yaml",
    "state.pt",
    "tensorboard",
    "tokenizer.mixed.model",
    "tokenizer.model",
    "tokenizer.txt",
)
"""Other files and folders in the folder of a run."""


class DecoderTrainingConfig(Strict):
    """What a stage trains of a pretrained decoder. Its embeddings are never trained."""

    parts: Literal["nothing", "cross_attention", "layers"] = "cross_attention"
    """`cross_attention`: only what reads the memory; `layers`: whole layers; `nothing`: only the
    adapter of the memory, which every stage with a loss on the decoder trains."""
    from_layer: int = Field(default=1, ge=1)
    """First layer that is trained, counted from 1."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Peak learning rate of the decoder, with the stage's schedule."""
    memory_learning_rate: float = Field(default=5e-4, gt=0)
    """Peak learning rate of the memory: adapter and weights of the frames."""


class StageConfig(Strict):
    """A training stage; starts from the averaged weights of the previous stage."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {"forget": Renamed("reinitialise")}

    name: str
    """Name of the stage's folder in the run."""
    epochs: int = Field(ge=1)
    """Maximum number of epochs."""
    train: str | Annotated[list[str], Field(min_length=1)] | None = None
    """Training manifests of this stage instead of the recipe's, for instance to pre-train."""
    start_from: str | None = None
    """Earlier stage whose averaged weights are loaded; `null`: the previous stage."""
    reinitialise: list[PartAboveKeyframes] = Field(default_factory=list)
    """Parts to re-initialise at the start, as in a new network of the same seed."""
    keyframes: bool = False
    """Use keyframe selection before encoder 2."""
    fusion: bool = False
    """Use frame fusion before encoder 2."""
    losses: LossConfig
    """Losses and their weights."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate, reached after the warm-up."""
    warmup_steps: int = Field(default=500, ge=0)
    """Number of warm-up updates; 0: the full rate from the first update."""
    decay: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    """Learning rate schedule after the warm-up.

    `inverse_sqrt`: the peak rate times the square root of warm-up updates / updates so far; with
    `warmup_steps: 0`, the full rate for 500 updates, then relative to these.
    """
    final_learning_rate: float = Field(default=0.0, ge=0)
    """Learning rate at the end of a `cosine` decay."""
    average_best: int = Field(default=5, ge=1)
    """Number of best checkpoints whose weights are averaged."""
    select_by: Literal["error", "loss"] = "error"
    """Criterion for the best checkpoints: token error rate or loss on the development set."""
    start_counts: bool = False
    """Evaluate the weights at the start, and keep them if no epoch is better on the development
    set; only epochs that are better are averaged."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations in a row without an improvement after which the stage ends; `null`: it never
    ends for that."""
    ends_when: EndsWhen | None = None
    """End the stage before its last epoch when the inter-CTC meets these bounds."""
    collapse: CollapseConfig | None = CollapseConfig()
    """When to stop a stage with keyframes that does not converge; `null`: never."""
    unfreeze_from_layer: int | None = Field(default=None, ge=0)
    """Train the pretrained encoder from this layer on; 0: all of it; `null`: none of it."""
    pretrained_learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate of the pretrained encoder, with the stage's schedule."""
    pretrained_decoder: DecoderTrainingConfig = DecoderTrainingConfig()
    """What is trained of a pretrained decoder.

    In a stage with a loss on the decoder alone, all else but the pretrained encoder is frozen.
    """

    @field_validator("name")
    @classmethod
    def _is_folder_name(cls, name: str) -> str:
        is_path = "/" in name or "\\" in name or name.startswith(".") or name != name.strip()
        if not name or not name.isprintable() or is_path or name in _NAMES_OF_A_RUN:
            raise ValueError(
                f"{name!r} cannot be the name of a stage's folder; use another without slashes, "
                f"not starting with '.', and none of {', '.join(_NAMES_OF_A_RUN)}"
            )
        return name

    @property
    def manifests(self) -> list[str]:
        """Training manifests of this stage; empty if it uses those of the recipe."""
        return [self.train] if isinstance(self.train, str) else self.train or []

    @property
    def trains_decoder_alone(self) -> bool:
        """True if the decoder has the only loss."""
        losses = self.losses
        no_head = losses.head == 0 or losses.head_loss == "none"
        return losses.decoder > 0 and losses.inter_ctc == 0 and no_head

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        if self.keyframes and self.losses.head_loss == "ctc":
            raise ValueError(
                f"stage '{self.name}' has keyframes with head_loss 'ctc', which needs more frames; "
                "choose 'axe' or 'til'"
            )
        if not self.keyframes and self.losses.head_loss in ("axe", "til"):
            raise ValueError(
                f"stage '{self.name}' has head_loss '{self.losses.head_loss}' without keyframes; "
                "set keyframes: true or head_loss: ctc"
            )
        return self


class Recipe(Strict):
    """A training recipe."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {"normalisation": Renamed("text_form")}

    name: str
    """Name of the models and of the default run folder, `runs/NAME`."""
    seed: int = Field(default=1, ge=-(2**31), lt=2**31)
    """Random seed of initial weights, order of batches and augmentation."""
    language: LanguageTag = "en"
    """Language of the transcripts, as a BCP 47 tag."""
    text_form: NamedTextForm | None = None
    """Form of the transcripts, and their error unit: a name, or the fields of a form; `null`: that
    of `data.prepared`, else of `language`."""
    data: DataConfig
    """Manifests."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Tokens; not used with `data.prepared`, which has its own."""
    features: FeaturesConfig = FeaturesConfig()
    """Features."""
    model: ModelConfig = ModelConfig()
    """The network."""
    teacher: str | None = None
    """Folder or name of a model with the same pretrained encoder and tokenizer, but without
    `keyframe_layer`; `losses.teacher` pulls inter-CTC and upper layers towards its outputs."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation of training data."""
    training: TrainingConfig = TrainingConfig()
    """Batches, optimiser and device."""
    stages: list[StageConfig] = Field(min_length=1)
    """Training stages, in order."""

    @property
    def form(self) -> TextForm:
        """The form of the transcripts, that of the language if there is no other."""
        return self.text_form or default_form(self.language)

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        check_level(self.model, self.features)
        for stage in self.stages:
            if self.model.decoder is None and stage.losses.decoder > 0:
                raise ValueError(
                    f"stage '{stage.name}' has losses.decoder: {stage.losses.decoder}, but "
                    "model.decoder is null; set losses.decoder: 0 or add a decoder"
                )
            if self.model.pretrained is None and stage.unfreeze_from_layer is not None:
                raise ValueError(
                    f"stage '{stage.name}' has unfreeze_from_layer, but model.pretrained is null; "
                    "remove unfreeze_from_layer or add a pretrained encoder"
                )
            encoder = self.model.pretrained
            has_upper = encoder is not None and encoder.keyframe_layer is not None
            if stage.losses.teacher > 0 and not (has_upper and self.teacher):
                raise ValueError(
                    f"stage '{stage.name}' has losses.teacher, which needs teacher and "
                    "model.pretrained.keyframe_layer; set both, or losses.teacher: 0"
                )
            _check_reinitialised(stage, self.model)
            pretrained = self.model.pretrained_decoder
            if pretrained and pretrained.positions and self.training.sharding == "full":
                raise ValueError(
                    "training.sharding: full does not work with model.decoder.positions, a single "
                    "number that cannot be divided; set one of them otherwise"
                )
            if pretrained and stage.trains_decoder_alone and stage.select_by == "error":
                raise ValueError(
                    f"stage '{stage.name}' trains the pretrained decoder alone, whose error "
                    "is measured on some of the utterances only; set select_by: loss"
                )
        names = [stage.name for stage in self.stages]
        for index, stage in enumerate(self.stages):
            if stage.start_from is not None and stage.start_from not in names[:index]:
                raise ValueError(
                    f"stage '{stage.name}' starts from '{stage.start_from}', which is not an "
                    f"earlier stage; earlier stages: {', '.join(names[:index]) or 'none'}"
                )
        if len(set(names)) != len(names):
            raise ValueError(f"stages have duplicate names: {', '.join(names)}; rename one")
        return self


def _check_reinitialised(stage: StageConfig, model: ModelConfig) -> None:
    absent = {
        "conditioning": "" if model.encoder.self_conditioning else "self_conditioning is false",
        "decoder": "model.decoder is null" if model.decoder is None else "",
    }
    if model.pretrained_decoder is not None:
        absent["decoder"] = "it is pretrained"
    for part in stage.reinitialise:
        if why := absent.get(part):
            raise ValueError(f"stage '{stage.name}' re-initialises '{part}', but {why}; remove it")


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply `key.sub=value` overrides (list items by index).

    Paths in the file are relative to its folder; those in overrides and in the recipe that is
    returned are relative to the working folder.

    Raises:
        RecipeError: the file cannot be read, or a key or value is invalid.
    """
    replaced = [one.partition("=")[0].strip() for one in overrides]
    return parse_config(Recipe, read_recipe(path, replaced), str(path), overrides)


def read_recipe(path: Path | str, replaced: Collection[str] = ()) -> Any:
    """Read a YAML recipe without validation, with paths relative to the working folder.

    Args:
        path: the file.
        replaced: keys that overrides will replace.

    Raises:
        RecipeError: the file cannot be read.
    """
    return from_folder(read_yaml(Path(path)), str(Path(path).parent), str(path), replaced)


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """Return the recipe with absolute paths, which hold in any working folder."""
    return parse_config(Recipe, absolute(recipe.model_dump(mode="json")), recipe.name)
