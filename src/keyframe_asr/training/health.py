"""Whether the keyframe stage may begin, and whether it has collapsed."""

from __future__ import annotations

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.errors import TrainingError
from keyframe_asr.training.checkpoint import Progress
from keyframe_asr.training.validation import Validation


def inter_ctc_is_ready(stage: StageConfig, validation: Validation) -> bool:
    """Whether the inter-CTC is good enough for the stage to end, as its `ends_when` says."""
    bounds = stage.ends_when
    if bounds is None:
        return False
    low, high = bounds.keyframes_per_token
    return (
        validation.inter_error <= bounds.inter_error
        and low <= validation.keyframes_per_token <= high
    )


def check_collapse(stage: StageConfig, progress: Progress) -> None:
    """Stop once too many evaluations in a row were those of a collapse.

    Without a loss on encoder 2's output the keyframe stage collapses (arXiv 2510.10453: CER above
    80 %), and so it may when the inter-CTC is not ready.

    Raises:
        TrainingError: says what to try.
    """
    bound = stage.collapse
    if not stage.keyframes or bound is None:
        return
    if progress.bad >= bound.evaluations:
        raise TrainingError(
            f"stage '{stage.name}' has collapsed: its dev error was above {bound.error:.0%} in "
            f"{progress.bad} evaluations in a row; train the stage before it for longer, keep a "
            "loss on the head, lower the learning rate, or set collapse: null to go on regardless"
        )


def count_collapse(stage: StageConfig, progress: Progress, validation: Validation) -> None:
    """Note in `progress`, before it is stored, whether this evaluation was that of a collapse."""
    bound = stage.collapse
    if stage.keyframes and bound is not None:
        progress.bad = progress.bad + 1 if validation.error > bound.error else 0
