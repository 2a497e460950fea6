from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fiftyone_learnability.scores import stability
from fiftyone_learnability.scores.stability import EpochStability, epoch_stability, epochs_enough

NAN = float("nan")
SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(1, 12), st.integers(2, 40), st.booleans())
@settings(deadline=None)
def test_the_correlation_of_the_epochs_so_far_agrees_with_scipy(seed: int, epochs: int, count: int, gaps: bool) -> None:
    rng = np.random.default_rng(seed)
    # few distinct values, for ties
    dynamics = rng.integers(0, 5, (epochs, count)).astype(np.float16) / 4
    if gaps:
        dynamics[rng.random(dynamics.shape) < 0.03] = np.nan
    seen = dynamics[:, np.isfinite(dynamics).all(axis=0)].astype(np.float64)
    result = epoch_stability(dynamics)
    assert result.epochs.tolist() == list(range(1, epochs + 1))
    for number, correlation in zip(*result, strict=True):
        first, last = seen[:number].sum(axis=0), seen.sum(axis=0)
        if len(np.unique(first)) < 2 or len(np.unique(last)) < 2:
            assert np.isnan(correlation)
        else:
            assert correlation == pytest.approx(spearmanr(first, last).statistic, abs=1e-10)
            assert -1 <= correlation <= 1
    if np.isfinite(result.correlation[-1]):
        assert result.correlation[-1] == 1
    order = rng.permutation(count)
    np.testing.assert_allclose(epoch_stability(dynamics[:, order]).correlation, result.correlation, atol=1e-12)
    np.testing.assert_allclose(epoch_stability(dynamics / 2).correlation, result.correlation, atol=1e-12)


@given(SEEDS, st.integers(1, 60), st.integers(2, 80))
@settings(deadline=None)
def test_the_points_of_a_long_training_are_evenly_spaced(seed: int, epochs: int, points: int) -> None:
    dynamics = np.random.default_rng(seed).random((epochs, 10))
    every, some = epoch_stability(dynamics), epoch_stability(dynamics, max_points=points)
    assert len(some.epochs) == len(some.correlation) == min(epochs, points)
    assert (some.epochs[0], some.epochs[-1]) == (1, epochs)
    if epochs > 1:
        steps = np.diff(some.epochs)
        assert steps.min() >= 1
        assert np.ptp(steps) <= 1
    np.testing.assert_array_equal(some.correlation, every.correlation[some.epochs - 1])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [[], [0.5], [NAN, 0.5], [0.5, 0.5, 0.5]])
def test_samples_without_an_order_have_no_stability(samples: list[float]) -> None:
    assert np.isnan(epoch_stability([samples, samples]).correlation).tolist() == [True, True]


@pytest.mark.parametrize(
    ("dynamics", "max_points", "message"),
    [
        ([0.1, 0.2], None, "shape"),
        (np.empty((0, 3)), None, "shape"),
        ([[0.1, 0.2]], 1, "max_points must be a whole number of at least 2"),
    ],
)
def test_stability_checks_its_arguments(dynamics: Any, max_points: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        epoch_stability(dynamics, max_points)


@given(st.lists(st.floats(0.9, 1) | st.just(NAN), max_size=12), st.floats(0.9, 1))
def test_enough_is_the_first_epoch_without_later_values_below_the_bound(values: list[float], bound: float) -> None:
    values = [*values, 1.0]
    epochs = np.arange(len(values)) * 3 + 1
    expected = next(epoch for index, epoch in enumerate(epochs) if all(value >= bound for value in values[index:]))
    result = epochs_enough(EpochStability(epochs, np.array(values)), bound)
    assert result == expected
    assert type(result) is int


def test_the_default_bound_is_097() -> None:
    curve = EpochStability(np.arange(1, 5), np.array([0.5, 0.969, 0.97, 1.0]))
    assert [epochs_enough(curve), epochs_enough(curve, 0.96), epochs_enough(curve, 1.0)] == [3, 2, 4]


@pytest.mark.parametrize(("last", "bound"), [(NAN, 0.5), (1.0, 1.1)])
def test_a_bound_that_is_never_reached(last: float, bound: float) -> None:
    with pytest.raises(ValueError, match="does not reach"):
        epochs_enough(EpochStability(np.array([1, 2]), np.array([0.9, last])), bound)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(stability)
    assert (result.attempted, result.failed) == (2, 0)
