"""Batches, optimiser and device of a training run: part of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from keyframe_asr.config.strict import Strict


class TrainingConfig(Strict):
    """Batches, optimiser and device of a run."""

    batch_seconds: float = Field(default=30.0, gt=0)
    """Seconds of audio per batch and device; memory use is proportional."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per update, in total over all devices."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of matrix products; `auto`: bfloat16 on a GPU that has it, else float32.

    CPUs without fast bfloat16 use float32 instead. On a GPU, float32 is rounded to TF32.
    """
    compile: bool = False
    """Compile encoders and decoder with torch.compile; the first updates take minutes."""
    sharding: Literal["none", "full"] = "none"
    """What several devices divide among them, beside batches: `full`: weights, gradients and state
    of the optimiser (FSDP2), for models that do not fit otherwise."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay of AdamW."""
    gradient_clip: float = Field(default=5.0, gt=0)
    """Maximum gradient norm."""
    validate_every_epochs: int = Field(default=1, ge=1)
    """Epochs between evaluations on the development set; the last epoch is always evaluated."""
    save_every_updates: int | None = Field(default=None, ge=1)
    """Updates between checkpoints within a long epoch; `null`: only after each epoch."""
    keep_features_in_memory: bool = False
    """Keep fbank features in memory between epochs, for corpora of a few hours.

    With augmentation of samples, keeps the samples instead: 230 MB per hour and speed.
    """
    workers: int | None = Field(default=None, ge=0, le=256)
    """Number of data loading processes; 0: load in the training process.

    `null`: for a GPU up to 8, as many as it has cores to itself; else 0.
    """
    threads: int | None = Field(default=None, ge=1, le=1024)
    """CPU threads; `null`: all."""
    encodings: str | None = None
    """Folder for stored outputs of a frozen pretrained encoder, relative to the recipe's folder;
    `null`: `encodings` in the run."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.keep_features_in_memory and self.workers:
            raise ValueError(
                f"keep_features_in_memory does not work with workers ({self.workers}), each of "
                "which would keep all features; set workers: 0 or keep_features_in_memory: false"
            )
        if self.compile and self.sharding != "none":
            raise ValueError(
                "compile does not work with sharding: full, whose weights change places; set "
                "compile: false or sharding: none"
            )
        return self
