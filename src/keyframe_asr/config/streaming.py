"""Configuration of encoders that can stream."""

from __future__ import annotations

from pydantic import Field, model_validator

from keyframe_asr.config.strict import Strict


class StreamingConfig(Strict):
    """Encoders that also work on chunks, so that they can recognise while somebody speaks.

    Encoder 1 sees the chunk of a frame, a few frames after it and some chunks before it; encoder 2
    the keyframes of this chunk and some before it. In training, half of the utterances are whole;
    the others have chunks of random size. So one model serves every size of chunk, and whole
    recordings.
    """

    chunk: int = Field(default=8, ge=1)
    """Encoder frames per chunk in streaming, unless another size is asked for."""
    look_ahead: int = Field(default=4, ge=0)
    """Encoder frames after its chunk that a frame sees in streaming. They are computed again with
    their own chunk. Training has none: there, the first frames of large chunks see about as many,
    and whole utterances everything."""
    left_chunks: int = Field(default=12, ge=0)
    """Number of chunks before its own that a frame attends to in streaming, unless asked for."""
    largest_chunk: int = Field(default=25, ge=1)
    """Largest chunk in training, in encoder frames; at least `chunk`."""
    left_keyframes: int = Field(default=32, ge=0)
    """Number of keyframes before it that a keyframe attends to in encoder 2, besides those of its
    own chunk."""

    @model_validator(mode="after")
    def _check(self) -> StreamingConfig:
        if self.chunk > self.largest_chunk:
            raise ValueError(
                f"chunk ({self.chunk}) is larger than largest_chunk ({self.largest_chunk}), so "
                "training would never see it; lower chunk or raise largest_chunk"
            )
        return self
