"""Memory that runs out is told with the batch that was computed, and the setting to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from keyframe_asr.config.training import TrainingConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.errors import TrainingError

SMALLER_DEV_BATCHES = "lower data.validate_batches_seconds"

_LISTED = 8


def smaller_batches(training: TrainingConfig) -> str:
    """Advice that keeps the updates as they are."""
    return (
        f"lower training.batch_seconds ({training.batch_seconds:g}) and raise training.accumulate "
        f"({training.accumulate}) by the same factor, which keeps the updates as they are"
    )


@contextmanager
def naming_batch(batch: Batch, stage: str, advice: str) -> Iterator[None]:
    """Tell the size of a batch, and what to do, if memory runs out.

    Raises:
        TrainingError: the batch does not fit into memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        utterances, frames, *_ = batch.features.shape
        named = ", ".join(batch.ids[:_LISTED]) + (", ..." if utterances > _LISTED else "")
        if utterances == 1:
            advice = "cut this recording, or leave it out"
        raise TrainingError(
            f"stage '{stage}': out of memory ({batch.features.device.type}) in a batch of "
            f"{utterances} utterances x {frames} frames, {batch.audio_seconds:.0f} s ({named}); "
            f"{advice}"
        ) from error


@contextmanager
def naming_optimiser(stage: str) -> Iterator[None]:
    """Tell what to do if there is no memory for the state of the optimiser.

    Raises:
        TrainingError: the state does not fit.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"stage '{stage}': out of memory while the weights are updated; "
            "training.sharding: full divides the optimiser's state among several devices, and "
            "fewer training.batch_seconds leave it more"
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """True if memory could not be allocated, by torch, a library that it calls, or Python."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return any(sign in text for sign in ("can't allocate memory", "out of memory", "alloc_failed"))
