from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_learnability.training.schedule import learning_rate


@given(epochs=st.integers(1, 50), steps=st.integers(1, 50), peak=st.floats(1e-4, 10))
def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine(epochs: int, steps: int, peak: float) -> None:
    total = epochs * steps
    warmup = max(1.0, min(2 * steps, total / 10))
    rates = np.array([learning_rate(step, total, steps, peak) for step in range(total)])
    rise = np.arange(1, math.ceil(warmup) + 1) / (warmup + 1) * peak
    np.testing.assert_allclose(rates[: len(rise)], rise, rtol=1e-9)
    # cos^2 of the half angle
    along = (np.arange(len(rise), total) - warmup) / (total - warmup) if total > len(rise) else np.array([])
    np.testing.assert_allclose(rates[len(rise) :], peak * np.cos(np.pi / 2 * along) ** 2, rtol=1e-9, atol=1e-12)
    assert (rates > 0).all()
    assert (rates <= peak * (1 + 1e-12)).all()


def test_the_learning_rate_of_the_papers_run() -> None:
    steps = 391
    rates = [learning_rate(step, 200 * steps, steps, 0.1) for step in range(200 * steps)]
    assert rates[2 * steps] == 0.1 == max(rates)
    assert rates[0] == pytest.approx(0.1 / 783)
    assert rates[101 * steps] == pytest.approx(0.05)  # halfway down
    assert rates[-1] < 1e-10 * 10
    assert learning_rate(200 * steps, 200 * steps, steps, 0.1) == pytest.approx(0, abs=1e-15)
