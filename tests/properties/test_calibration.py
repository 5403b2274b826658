"""Calibration error and scaling of confidences, for all kinds of confidences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from keyframe_asr.config.calibration import ConfidenceConfig
from keyframe_asr.decoding.confidence import fit_scaling, scaled
from keyframe_asr.evaluation.reliability import ScoredConfidences, reliability

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, sharpness: float, count: int = 20_000) -> ScoredConfidences:
    """Confidences of any shape, each right as often as it says."""
    generator = np.random.default_rng(seed)
    truth = expit(sharpness * generator.normal(size=count) + generator.normal())
    return ScoredConfidences(truth, generator.random(count) < truth)


@given(SEEDS, st.floats(0.1, 4.0))
def test_what_is_right_as_often_as_it_says_has_no_calibration_error(
    seed: int, sharpness: float
) -> None:
    found = reliability(drawn(seed, sharpness))
    assert found.error < 0.03
    assert found.count.sum() == 20_000


@given(SEEDS, st.floats(0.3, 5.0), st.floats(-2.0, 2.0))
def test_a_known_scaling_is_found_again(seed: int, temperature: float, offset: float) -> None:
    """Confidences spoilt by the inverse of a scaling get that scaling."""
    truth = drawn(seed, 2.0)
    odds = (logit(truth.confidences) - offset) * temperature
    spoilt = expit(odds)
    inside = (spoilt > 1e-5) & (spoilt < 1 - 1e-5)  # beyond, they are clipped
    found = fit_scaling(spoilt[inside], truth.right[inside])
    assert found.temperature == pytest.approx(temperature, rel=0.15)
    assert found.offset == pytest.approx(offset, abs=0.2)
    after = ScoredConfidences(scaled(spoilt[inside], found), truth.right[inside])
    assert reliability(after).error < 0.03


@given(
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20),
    st.floats(0.05, 20.0),
    st.floats(-10.0, 10.0),
)
def test_scaling_keeps_the_order_and_the_range(
    confidences: list[float], temperature: float, offset: float
) -> None:
    found = scaled(sorted(confidences), ConfidenceConfig(temperature=temperature, offset=offset))
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found <= 1)).all()


@given(SEEDS, st.integers(0, 200), st.floats(0.0, 1.0))
def test_a_fit_never_makes_what_it_was_fitted_to_much_less_probable(
    seed: int, count: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    judged = ScoredConfidences(generator.random(count), generator.random(count) < share)
    found = fit_scaling(judged.confidences, judged.right)
    after = ScoredConfidences(scaled(judged.confidences, found), judged.right)
    # the targets are smoothed, so not exactly never
    assert reliability(after).nats <= reliability(judged).nats + 0.03
