"""Which pretrained speech encoder a model stands on, as strict data: part of `config`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from keyframe_asr.config.strict import Strict


class PretrainedConfig(Strict):
    """An open pretrained encoder as the lower part of encoder 1, frozen unless a stage says else.

    It brings its own front end: log-mel of its own kind for `whisper`, the waveform for `wav2vec2`.
    """

    family: Literal["whisper", "wav2vec2"]
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
