"""Configuration of encoders that can stream."""

from __future__ import annotations

from pydantic import Field, model_validator

from keyframe_asr.config.strict import Strict


class StreamingConfig(Strict):
    """Encoders that also work on chunks, so that they can recognise while somebody speaks.

    Encoder 1 sees the chunk of a frame and some chunks before it, encoder 2 the keyframes before a
    keyframe. In training, half of the utterances are whole; the others have chunks of random size.
    So one model serves every size of chunk, and whole recordings.
    """

    chunk: int = Field(default=8, ge=1)
    """Encoder frames per chunk in streaming, unless another size is asked for."""
    left_chunks: int = Field(default=12, ge=0)
    """Number of chunks before its own that a frame attends to in streaming, unless asked for."""
    largest_chunk: int = Field(default=25, ge=1)
    """Largest chunk in training, in encoder frames; at least `chunk`."""
    left_keyframes: int = Field(default=32, ge=0)
    """Number of keyframes before it that a keyframe attends to in encoder 2."""

    @model_validator(mode="after")
    def _check(self) -> StreamingConfig:
        if self.chunk > self.largest_chunk:
            raise ValueError(
                f"chunk ({self.chunk}) is larger than largest_chunk ({self.largest_chunk}), so "
                "training would never see it; lower chunk or raise largest_chunk"
            )
        return self
