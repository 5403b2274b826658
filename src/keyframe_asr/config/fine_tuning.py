"""How a model is fine-tuned, by the hours of training speech: the table `PLANS`.

The values up to an hour were chosen on held-out speakers of AN4 (docs/results/fine_tuning.md); the
others are those with which the shipped models were trained on 1 to 6 hours.
"""

from __future__ import annotations

from pydantic import Field

from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.config.recipe import LossConfig
from keyframe_asr.config.strict import Strict


class FineTuningPlan(Strict):
    """Training of one stage with keyframes that starts from a trained model."""

    up_to_hours: float | None = Field(gt=0)
    """Most hours of training speech that this plan is for; `null`: any number."""
    epochs: int = Field(ge=1)
    """Most epochs."""
    patience: int = Field(default=3, ge=1)
    """Epochs without a better dev error after which training stops."""
    learning_rate: float = Field(gt=0)
    """Peak rate of everything but the pretrained encoder, reached after the warm-up."""
    final_learning_rate: float = Field(default=1e-5, ge=0)
    """Rate at the end of the cosine decay."""
    warmup_steps: int = Field(ge=0)
    """Updates until the peak rate."""
    trained_layers: int = Field(default=0, ge=0)
    """Upper layers of the pretrained encoder that are trained too; 0: it is frozen, and its outputs
    are computed once."""
    pretrained_learning_rate: float = Field(default=5e-5, gt=0)
    """Peak rate of these layers."""
    losses: LossConfig = LossConfig(inter_ctc=0.5, head=0.3, head_loss="axe", decoder=0.2)
    """Losses of the stage; a pretrained decoder has none, and stays as it is."""
    batch_seconds: float = Field(gt=0)
    """Seconds of audio per batch."""
    accumulate: int = Field(default=1, ge=1)
    """Batches per update."""
    average_best: int = Field(default=3, ge=1)
    """Best epochs whose weights are averaged."""
    replay: float = Field(default=0.0, ge=0, lt=1)
    """Share of replayed speech in an epoch, if there is any."""
    augment: AugmentConfig = AugmentConfig(
        speeds=[1.0],
        spec_augment=0.5,
        time_mask_frames=15,
        frequency_masks=1,
        frequency_mask_bins=64,
    )
    """Augmentation; SpecAugment masks the outputs of a frozen encoder."""


PLANS: tuple[FineTuningPlan, ...] = (
    FineTuningPlan(
        up_to_hours=0.15, epochs=12, learning_rate=1e-3, warmup_steps=20, batch_seconds=12
    ),
    FineTuningPlan(
        up_to_hours=0.4, epochs=8, learning_rate=1e-3, warmup_steps=20, batch_seconds=16
    ),
    FineTuningPlan(
        up_to_hours=1.0, epochs=6, learning_rate=1e-3, warmup_steps=20, batch_seconds=24
    ),
    FineTuningPlan(
        up_to_hours=10.0,
        epochs=5,
        learning_rate=5e-4,
        warmup_steps=50,
        batch_seconds=24,
        trained_layers=3,
    ),
    FineTuningPlan(
        up_to_hours=None,
        epochs=3,
        learning_rate=5e-4,
        warmup_steps=200,
        batch_seconds=60,
        trained_layers=3,
        average_best=2,
    ),
)
"""The plans, from little speech to much. Little speech takes more epochs and smaller batches, so
that there are enough updates, and leaves the pretrained encoder frozen."""


def plan_for(hours: float) -> FineTuningPlan:
    """Return the plan for `hours` of training speech, without the development set.

    Raises:
        ValueError: `hours` is not a positive number.
    """
    if not hours > 0:
        raise ValueError(f"{hours} hours of speech cannot be trained on; give more than 0")
    return next(plan for plan in PLANS if plan.up_to_hours is None or hours <= plan.up_to_hours)
