"""Once, `warmup_steps: 0` made the rate of `inverse_sqrt` fall relative to the first update: to a
hundredth after 10,000."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.tone_corpus import stage
from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.training.optimiser import UPDATES_AT_FULL_RATE, learning_rate


def rate(step: int, **changes: Any) -> float:
    one = stage("one", learning_rate=0.1, decay="inverse_sqrt", **changes)
    return learning_rate(parse_config(StageConfig, one, "stage"), step, 20_000)


def test_the_rate_is_full_at_first() -> None:
    assert [rate(step, warmup_steps=0) for step in (1, 2, UPDATES_AT_FULL_RATE)] == [0.1] * 3


def test_it_then_decays_from_there() -> None:
    assert rate(4 * UPDATES_AT_FULL_RATE, warmup_steps=0) == pytest.approx(0.05)
    assert rate(10_000, warmup_steps=0) > 0.02


def test_after_the_default_warmup_the_rate_is_the_same() -> None:
    default = StageConfig.model_fields["warmup_steps"].default
    assert rate(10_000, warmup_steps=0) == rate(10_000, warmup_steps=default)
