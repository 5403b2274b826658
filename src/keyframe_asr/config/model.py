"""The network and what a model folder says of it, as strict data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from keyframe_asr.config.calibration import Confidences, SpeechCheckConfig
from keyframe_asr.config.strict import Renamed, Strict, parse_config, read_yaml

NormalisationName = Literal["english", "english-digits", "mandarin"]
"""Normal forms of transcripts, which `keyframe_asr.text.forms` describes."""


class FeaturesConfig(Strict):
    """Kaldi-compatible fbank."""

    num_mel_bins: int = Field(default=80, ge=8, le=128)
    """Mel filters of each 10 ms frame; Whisper and wav2vec 2.0 bring their own features."""


class PretrainedConfig(Strict):
    """An open pretrained encoder as the lower part of encoder 1, frozen unless a stage says else.

    It brings its own front end: log-mel of its own kind for `whisper`, the waveform for `wav2vec2`.
    """

    family: Literal["whisper", "wav2vec2"]
    """Which architecture the weights are of."""
    source: str
    """Folder with `config.json` and safetensors, or a Hugging Face name that is in the local cache;
    or a model of this project, by folder or name, whose encoder is taken as it was trained there.

    Read once, when training starts: a trained model folder holds these weights itself.
    """
    layers: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """Whose outputs are taken, 0 being what enters the first; none named: the last layer's.

    Of several, the learned weighted sum. Layers above the highest of them are not even built.
    """
    architecture: dict[str, Any] | None = None
    """The source's `config.json`; `null` in a recipe, filled in when training starts."""


class SubsamplingConfig(Strict):
    """Convolutional subsampling; `separable` splits each later convolution in two cheap ones."""

    factor: Literal[4, 8] = 4
    """Of 10 ms frames: 4 gives the encoder 25 frames a second, 8 gives 12.5."""
    channels: int = Field(default=256, ge=8)
    """Width of the convolutions."""
    separable: bool = False
    """Depthwise and pointwise convolutions instead of full ones: faster on a CPU."""


class EncoderConfig(Strict):
    """Conformer: `layers` in all, the inter-CTC and the keyframes after `keyframe_layer`."""

    layers: int = Field(default=12, ge=1)
    """Conformer layers of both encoders together."""
    keyframe_layer: int = Field(default=6, ge=1)
    """Layers below the keyframes (encoder 1); the rest see keyframes only (encoder 2)."""
    dim: int = Field(default=256, ge=8)
    """Width of the frames."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    feed_forward: int = Field(default=2048, ge=8)
    """Hidden width of the feed-forward modules."""
    kernel: int = Field(default=15, ge=1)
    """Taps of the convolution modules; odd."""
    attention_window: int | None = Field(default=None, ge=1)
    """Frames to each side that encoder 1 attends to; `null`: all of them.

    With all of them, CTC may put a token's spike anywhere in the utterance; a window keeps spikes,
    and with them keyframes and time stamps, near their sound.
    """
    self_conditioning: bool = False
    """Add the inter-CTC's posteriors, projected, to the frames that go on to encoder 2."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """After each module."""

    @model_validator(mode="after")
    def _check(self) -> EncoderConfig:
        if self.keyframe_layer > self.layers:
            raise ValueError(
                f"keyframe_layer ({self.keyframe_layer}) is larger than layers ({self.layers}); "
                "the keyframes are taken after one of the encoder's own layers"
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
    """Of a run of equal labels: its most probable frame, or its first."""
    blank_threshold: float | None = Field(default=None, gt=0, lt=1)
    """Blank where its probability exceeds this; `null`: where blank is the most probable label."""
    positions: Literal["source", "sequence"] = "source"
    """Positions in encoder 2: original frame times, or 0, 1, 2, ..."""


class FusionConfig(Strict):
    """Frame fusion: each keyframe becomes a weighted sum of `window` frames around it."""

    kind: Literal["attention", "static", "mean", "concat", "none"] = "attention"
    """Weights: from the frames, learned, equal, a projection of the window, or no fusion."""
    window: Literal[1, 2, 3, 5] = 3
    """Frames; of two, the keyframe and the one before it."""
    left_only: bool = False
    """End the window at the keyframe instead of centring it."""


class DecoderConfig(Strict):
    """Transformer attention decoder."""

    layers: int = Field(default=6, ge=1)
    """Transformer layers."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    feed_forward: int = Field(default=2048, ge=8)
    """Hidden width of the feed-forward modules."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """After each module."""


class ModelConfig(Strict):
    """The network; `decoder: null` builds it without the attention decoder."""

    pretrained: PretrainedConfig | None = None
    """Open encoder under the network; `null`: none, features are fbank."""
    subsampling: SubsamplingConfig = SubsamplingConfig()
    """Convolutions that shorten the features."""
    encoder: EncoderConfig = EncoderConfig()
    """Conformer layers below and above the keyframes."""
    keyframes: KeyframesConfig = KeyframesConfig()
    """Which frames go on to encoder 2."""
    fusion: FusionConfig = FusionConfig()
    """What a keyframe takes from its neighbours."""
    decoder: DecoderConfig | None = DecoderConfig()
    """Attention decoder; `null`: none."""


def _negative(number: Any) -> Any:
    # 0.0 stays without a sign; what is no number is refused with the other problems
    return 0.0 - number if type(number) in (int, float) else number


class ModelFolderConfig(Strict):
    """`config.yaml` of a model folder: what is needed to rebuild the network."""

    renamed_keys: ClassVar[Mapping[str, Renamed]] = {
        "spike_lead_seconds": Renamed("emission_delay_seconds", _negative)
    }

    name: str
    language: Literal["english", "mandarin"]
    normalisation: NormalisationName = "english"
    """Normal form of what it was trained on; older folders do not name it: that of `language`."""
    vocab_size: int = Field(ge=4)
    keyframes: bool
    fusion: bool
    """Whether keyframe selection and frame fusion are on in these weights."""
    emission_delay_seconds: float = 0.0
    """Median of (time of a CTC spike - start of its token), where that is known.

    Positive where spikes come after the starts of their tokens, negative where they come before.
    """
    confidences: Confidences = Field(default_factory=dict)
    """By decode mode: what makes confidences as high as the share of tokens that are right."""
    speech_check: SpeechCheckConfig | None = None
    """Which stretches of sound are no speech and get no text; null believes every spike."""
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig

    @model_validator(mode="before")
    @classmethod
    def _named_after_language(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("language") not in ("english", "mandarin"):
            return data  # refused with the other problems
        return {"normalisation": data["language"]} | data

    @model_validator(mode="after")
    def _check(self) -> ModelFolderConfig:
        check_normalisation(self.language, self.normalisation)
        return self


def load_model_folder_config(path: Path | str) -> ModelFolderConfig:
    """Read `config.yaml` of a model folder. Raises `RecipeError` if it is not valid."""
    return parse_config(ModelFolderConfig, read_yaml(Path(path)), str(path))


def check_normalisation(language: str, normalisation: NormalisationName | None) -> None:
    """Raise `ValueError` if the normal form is not one of the language."""
    if normalisation is not None and not normalisation.startswith(language):
        raise ValueError(f"normalisation '{normalisation}' is not one of {language} texts")
