"""Which pretrained speech encoder a model stands on, as strict data: part of `config`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LayerNumber = Annotated[int, Field(ge=0)]


class PretrainedConfig(BaseModel):
    """An open pretrained encoder as the lower part of encoder 1, frozen unless a stage says else.

    It brings its own front end: log-mel of its own kind for `whisper`, the waveform for `wav2vec2`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    family: Literal["whisper", "wav2vec2"]
    source: str
    """Folder with `config.json` and safetensors, or a Hugging Face name that is in the local cache.

    Read once, when training starts: a trained model folder holds these weights itself.
    """
    layers: (
        LayerNumber | Annotated[list[LayerNumber], Field(min_length=1)] | Literal["last", "all"]
    ) = "last"
    """Whose outputs are taken: one layer (0: what enters the first), or the learned weighted sum of
    several. Layers above the highest of them are not even built."""
    architecture: dict[str, Any] | None = None
    """The source's `config.json`; `null` in a recipe, filled in when training starts."""
