"""Configuration of the network and of model folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from keyframe_asr.config.calibration import Confidences, SpeechCheckConfig
from keyframe_asr.config.decoding import DecodingConfig
from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.config.strict import Renamed, Strict, parse_config, read_yaml
from keyframe_asr.config.text_choices import default_form_name, language_tag
from keyframe_asr.config.text_form import TEXT_FORMS, LanguageTag, NamedTextForm


class FeaturesConfig(Strict):
    """Kaldi-compatible fbank."""

    num_mel_bins: int = Field(default=80, ge=8, le=128)
    """Mel bins per 10 ms frame; not used with a pretrained encoder."""
    level: float | None = Field(default=-20.0, ge=-60, le=0)
    """Level to which every utterance is brought, in decibels relative to full scale; `null`: the
    level of the recording. Defined in `keyframe_asr.audio.level`."""
    band: float = Field(default=8000.0, gt=0, le=8000)
    """Highest frequency of the training recordings in hertz: 4000 for telephone speech. Recognition
    warns of recordings that hold much less."""


class PretrainedConfig(Strict):
    """A pretrained encoder below encoder 1, frozen unless a stage unfreezes it.

    It has its own front end: log-mel features for `whisper`, the waveform for `wav2vec2`.
    """

    family: Literal["whisper", "wav2vec2"]
    """Architecture of the pretrained encoder."""
    source: str
    """Folder with `config.json` and safetensors, or a Hugging Face name in the local cache; or the
    folder or name of a model of this project, whose fine-tuned encoder is used. Folders are
    relative to the recipe's folder.

    Read once, when training starts: a trained model folder contains these weights.
    """
    layers: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """Layers whose outputs are used; 0 is the input of the first layer. Empty: the last layer.

    With several layers, uses a learned weighted sum. Layers above the highest are not built, unless
    they run on keyframes.
    """
    keyframe_layer: int | None = Field(default=None, ge=1)
    """Layers above this one run on keyframes only; `null`: all layers run on all frames.

    The inter-CTC then hears the outputs of this layer, which must be the highest in `layers`.
    """
    keyframe_window: int = Field(default=4, ge=1, le=50)
    """With `keyframe_layer`: number of its outputs (50 per second) of which each keyframe is a
    learned mean."""
    architecture: dict[str, Any] | None = None
    """The source's `config.json`; `null` in a recipe, filled in when training starts."""

    @property
    def size(self) -> tuple[int, int]:
        """Number of layers and width of the source; 0 where `architecture` does not tell."""
        known = self.architecture or {}
        layers = known.get("encoder_layers") or known.get("num_hidden_layers") or 0
        return int(layers), int(known.get("d_model") or known.get("hidden_size") or 0)

    @model_validator(mode="after")
    def _check_keyframe_layer(self) -> PretrainedConfig:
        layer = self.keyframe_layer
        if layer is not None and self.layers and max(self.layers) != layer:
            raise ValueError(
                f"keyframe_layer is {layer}, but the highest of layers is {max(self.layers)}; "
                f"end layers with {layer}, or leave them out"
            )
        return self


class SubsamplingConfig(Strict):
    """Convolutional subsampling."""

    factor: Literal[4, 8] = 4
    """Subsampling of 10 ms frames: 4 yields 25 encoder frames per second, 8 yields 12.5."""
    channels: int = Field(default=256, ge=8)
    """Width of the convolutions."""
    separable: bool = False
    """Depthwise and pointwise convolutions instead of full ones: faster on a CPU."""


class EncoderConfig(Strict):
    """Conformer layers of both encoders; inter-CTC and keyframes follow `keyframe_layer`."""

    layers: int = Field(default=12, ge=1)
    """Total number of Conformer layers."""
    keyframe_layer: int = Field(default=6, ge=1)
    """Number of layers before keyframe selection (encoder 1); the others are encoder 2."""
    dim: int = Field(default=256, ge=8)
    """Width of the frames."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    feed_forward: int = Field(default=2048, ge=8)
    """Hidden width of the feed-forward modules."""
    kernel: int = Field(default=15, ge=1)
    """Kernel size of the convolution modules; odd."""
    attention_window: int | None = Field(default=None, ge=1)
    """Number of frames on each side that encoder 1 attends to; `null`: all frames.

    Without a window, CTC may emit a token's spike anywhere in the utterance; a window keeps spikes,
    keyframes and timestamps near their sound.
    """
    self_conditioning: bool = False
    """Add the projected posteriors of the inter-CTC to the input of encoder 2."""
    streaming: StreamingConfig | None = None
    """Train the encoders for chunks, too, so that they can stream; `null`: for whole recordings."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout after each module."""

    @model_validator(mode="after")
    def _check(self) -> EncoderConfig:
        if self.keyframe_layer > self.layers:
            raise ValueError(
                f"keyframe_layer ({self.keyframe_layer}) is larger than layers ({self.layers}); "
                "choose one of the encoder's layers"
            )
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ValueError(
                f"dim ({self.dim}) must be an even multiple of heads ({self.heads}) "
                "for rotary positions"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel ({self.kernel}) must be odd")
        return self


class KeyframesConfig(Strict):
    """How keyframes are chosen from inter-CTC log-probabilities (KFDS)."""

    keep: Literal["peak", "first"] = "peak"
    """Frame kept of a run of equal labels: the most probable or the first."""
    blank_threshold: float | None = Field(default=None, gt=0, lt=1)
    """A frame is blank if P(blank) exceeds this; `null`: if blank is the most probable label."""
    positions: Literal["source", "sequence"] = "source"
    """Positions in encoder 2: original frame indices, or 0, 1, 2, ..."""


class FusionConfig(Strict):
    """Frame fusion: each keyframe becomes a weighted sum of `window` frames around it."""

    kind: Literal["attention", "static", "mean", "concat", "none"] = "attention"
    """Weights: content-dependent, learned, equal, a projection of the window, or no fusion."""
    window: Literal[1, 2, 3, 5] = 3
    """Number of frames; 2: the keyframe and the frame before it."""
    left_only: bool = False
    """End the window at the keyframe instead of centring it."""


class DecoderConfig(Strict):
    """Transformer attention decoder over the model's own tokens."""

    kind: Literal["transformer"] = "transformer"
    """A decoder that is trained with the model."""
    layers: int = Field(default=6, ge=1)
    """Transformer layers."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    feed_forward: int = Field(default=2048, ge=8)
    """Hidden width of the feed-forward modules."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout after each module."""


class PretrainedDecoderConfig(Strict):
    """Whisper's decoder, which attends to keyframes and has tokens of its own.

    The other heads keep the model's tokens.
    """

    kind: Literal["pretrained"]
    """A decoder that another training has made."""
    source: str
    """Folder of a whole Whisper (`config.json`, safetensors, `tokenizer.json`), or its Hugging Face
    name in the local cache; or the folder or name of a model of this project with such a decoder.
    Folders are relative to the recipe's folder.

    Read once, when training starts: a trained model folder contains weights and tokenizer.
    """
    memory: Literal["fused", "neighbours", "encoder2"] = "fused"
    """What the decoder attends to: one learned mean per keyframe of the pretrained encoder's
    outputs around it, these outputs themselves, or the output of encoder 2. If the encoder's upper
    layers run on keyframes, `fused` is their output."""
    memory_frames: int = Field(default=4, ge=1, le=50)
    """Number of the pretrained encoder's outputs (50 per second) around each keyframe; not used if
    its upper layers run on keyframes."""
    positions: bool = False
    """Add the times of the memory's vectors, in sinusoids of a learned scale that starts at 0."""
    language: LanguageTag | None = None
    """Language of the prompt; `null`: that of the utterance in training, else that of the model."""
    languages: list[LanguageTag] = Field(default_factory=list)
    """Languages of the training utterances, the model's own first. If there are several and
    `language` is `null`, the decoder tells in recognition which one it hears. Empty: only that of
    the model."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after each module, in training."""
    architecture: dict[str, Any] | None = None
    """The source's `config.json`; `null` in a recipe, filled in when training starts."""


def _decoder_kind(value: Any) -> Any:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind or "transformer"  # other types are rejected by the validation that follows


AnyDecoderConfig = Annotated[
    Annotated[DecoderConfig, Tag("transformer")]
    | Annotated[PretrainedDecoderConfig, Tag("pretrained")],
    Discriminator(
        _decoder_kind,
        custom_error_type="decoder_kind",
        custom_error_message="kind must be 'transformer' or 'pretrained'",
    ),
]
"""Either decoder, by its `kind`; without one, `transformer`."""


class ModelConfig(Strict):
    """Architecture of the network."""

    pretrained: PretrainedConfig | None = None
    """Pretrained encoder below the network; `null`: none, the input is fbank."""
    subsampling: SubsamplingConfig = SubsamplingConfig()
    """Convolutional subsampling of the features."""
    encoder: EncoderConfig = EncoderConfig()
    """Conformer layers before and after keyframe selection."""
    keyframes: KeyframesConfig = KeyframesConfig()
    """Selection of the input frames of encoder 2."""
    fusion: FusionConfig = FusionConfig()
    """Fusion of keyframes with neighbouring frames."""
    decoder: AnyDecoderConfig | None = DecoderConfig()
    """Attention decoder; `null`: none."""

    @model_validator(mode="after")
    def _check_streaming(self) -> ModelConfig:
        """What streams may not wait for the end of the utterance."""
        if self.encoder.streaming is None:
            return self
        if self.pretrained is not None:
            raise ValueError(
                "encoder.streaming needs encoders that see chunks only, but model.pretrained sees "
                "the whole recording; remove one of them"
            )
        fusion = self.fusion
        if fusion.kind != "none" and fusion.window == 5 and not fusion.left_only:
            raise ValueError(
                "encoder.streaming needs a fusion.window with at most one frame after the keyframe "
                "(5 has two); set 3 or left_only: true"
            )
        return self

    @property
    def pretrained_decoder(self) -> PretrainedDecoderConfig | None:
        """The decoder, if it is pretrained."""
        return self.decoder if isinstance(self.decoder, PretrainedDecoderConfig) else None

    @model_validator(mode="after")
    def _check_memory(self) -> ModelConfig:
        """The decoder knows one kind of vectors: the last outputs of its own encoder."""
        decoder, encoder = self.pretrained_decoder, self.pretrained
        if decoder is None or decoder.memory == "encoder2":
            return self
        needs = f"decoder.memory '{decoder.memory}' needs"
        if encoder is None or encoder.family != "whisper":
            raise ValueError(
                f"{needs} model.pretrained of family 'whisper'; add that encoder, or set "
                "decoder.memory: encoder2"
            )
        if encoder.keyframe_layer is not None and decoder.memory == "neighbours":
            raise ValueError(
                "decoder.memory 'neighbours' needs the encoder's last layer on all frames, but "
                f"pretrained.keyframe_layer is {encoder.keyframe_layer}; set decoder.memory: fused"
            )
        if encoder.architecture is None:
            return self
        last = encoder.architecture.get("encoder_layers")
        if encoder.keyframe_layer is None and encoder.layers and max(encoder.layers) != last:
            raise ValueError(
                f"{needs} the encoder's last layer, but pretrained.layers is {encoder.layers}; "
                f"add {last}"
            )
        widths = [
            None if one is None else one.get("d_model")
            for one in (encoder.architecture, decoder.architecture)
        ]
        if None not in widths and widths[0] != widths[1]:
            raise ValueError(
                f"{needs} a decoder as wide as the encoder ({widths[0]}), but '{decoder.source}' "
                f"has {widths[1]}; give encoder and decoder of the same Whisper"
            )
        return self


def check_level(model: ModelConfig, features: FeaturesConfig) -> None:
    """Raise `ValueError` if the model can stream, but its features need the whole recording."""
    if model.encoder.streaming is not None and features.level is not None:
        raise ValueError(
            f"features.level is {features.level}, which needs the whole recording, but "
            "model.encoder.streaming is set; set features.level: null"
        )


def _negative(number: Any) -> Any:
    # keeps 0.0 unsigned; other types are rejected by the validation that follows
    return 0.0 - number if type(number) in (int, float) else number


class BaseModelConfig(Strict):
    """The model from which a fine-tuned model takes the weights that its own folder lacks."""

    model: str
    """Name of a shipped model, or path of its folder, relative to the fine-tuned one's."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the base's `model.safetensors`."""


class ModelFolderConfig(Strict):
    """`config.yaml` of a model folder: everything needed to rebuild the network."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {
        "spike_lead_seconds": Renamed("emission_delay_seconds", _negative),
        "normalisation": Renamed("text_form"),
    }

    name: str
    language: LanguageTag
    text_form: NamedTextForm = TEXT_FORMS["english"]
    """Form of the training transcripts; default: that of `language`."""
    vocab_size: int = Field(ge=4)
    keyframes: bool
    fusion: bool
    """True if keyframe selection and frame fusion are on in these weights."""
    emission_delay_seconds: float = 0.0
    """Median of (time of a CTC spike - start of its token), if measured.

    Positive if spikes come after the starts of their tokens, negative if they come before.
    """
    confidences: Confidences = Field(default_factory=dict)
    """Calibration of confidences, by decode mode."""
    speech_check: SpeechCheckConfig | None = None
    """Classifier that rejects the text of non-speech regions; null: no check."""
    decoding: DecodingConfig | None = None
    """How the model is best decoded; `null`: greedily."""
    base: BaseModelConfig | None = None
    """Model that holds the weights missing here; `null`: this folder holds all."""
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that can be chosen; more than one only with a pretrained decoder."""
        decoder = self.model.pretrained_decoder
        if decoder is None:
            return (self.language,)
        several = () if decoder.language else tuple(dict.fromkeys(decoder.languages))
        return several or (decoder.language or self.language,)

    @model_validator(mode="after")
    def _check_level(self) -> ModelFolderConfig:
        check_level(self.model, self.features)
        return self

    @model_validator(mode="before")
    @classmethod
    def _level_of_older_models(cls, data: Any) -> Any:
        """Models from before there was `features.level` were trained without it."""
        if not isinstance(data, dict) or not isinstance(data.get("features", {}), dict):
            return data  # rejected by the validation that follows
        return data | {"features": {"level": None} | data.get("features", {})}

    @model_validator(mode="before")
    @classmethod
    def _usual_form(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("language"), str):
            return data  # rejected by the validation that follows
        try:
            return {"text_form": default_form_name(language_tag(data["language"]))} | data
        except ValueError:
            return data


def load_model_folder_config(path: Path | str) -> ModelFolderConfig:
    """Read `config.yaml` of a model folder. Raises `RecipeError` if it is invalid."""
    return parse_config(ModelFolderConfig, read_yaml(Path(path)), str(path))
