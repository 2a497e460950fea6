from __future__ import annotations

import doctest
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fiftyone_learnability.scores import pacing as module
from fiftyone_learnability.scores.pacing import (
    KINDS,
    PACINGS,
    importance_weights,
    linear,
    pacing,
    root,
    self_paced_weights,
    step,
)

STARTS = st.floats(0.001, 1)
PROGRESS = st.floats(0, 1)
DIFFICULTIES = st.lists(st.floats(0, 1e3), min_size=1, max_size=30)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(module)
    assert (result.attempted, result.failed) == (7, 0)


# pacing


@given(STARTS, PROGRESS)
def test_linear_competence(start: float, progress: float) -> None:
    # Platanios et al. 2019, Eq. 3 with T = 1: min(1, t (1 - c0) / T + c0)
    assert linear(progress, start) == pytest.approx(min(1, progress * (1 - start) + start))


@given(STARTS, PROGRESS, st.floats(1, 10))
def test_root_competence(start: float, progress: float, power: float) -> None:
    # Platanios et al. 2019, Eq. 7 solved for t
    share = root(progress, start, power)
    assert (share**power - start**power) == pytest.approx(progress * (1 - start**power), abs=1e-12)
    assert root(progress, start, 1) == pytest.approx(linear(progress, start))


@given(STARTS, PROGRESS, st.integers(1, 20))
def test_fixed_exponential_pacing(start: float, progress: float, steps: int) -> None:
    # Hacohen and Weinshall 2019: min(starting_percent * inc ** floor(i / step_length), 1), counted one stair at a time
    # progress within rounding of a step is tested below
    assume(all(progress == stair / steps or abs(progress - stair / steps) > 1e-6 for stair in range(1, steps + 1)))
    increase, share = (1 / start) ** (1 / steps), start
    for stair in range(1, steps + 1):
        if progress >= stair / steps:
            share = min(share * increase, 1)
    assert step(progress, start, steps) == pytest.approx(share)


@pytest.mark.parametrize("epochs", [3, 7, 22, 26, 100])
@pytest.mark.parametrize("steps", [1, 2, 5, 22, 26])
def test_rounding_does_not_delay_a_step(epochs: int, steps: int) -> None:
    for epoch in range(epochs + 1):
        whole = epoch * steps // epochs
        assert step(epoch / epochs, 0.25, steps) == pytest.approx(0.25 ** (1 - whole / steps))


@given(st.sampled_from(PACINGS), STARTS, st.lists(PROGRESS, min_size=2, max_size=10))
def test_the_share_grows_from_start_to_all(name: str, start: float, progress: list[float]) -> None:
    assert pacing(name, 0, start) == pytest.approx(start)
    assert pacing(name, 1, start) == 1
    shares = [pacing(name, t, start) for t in sorted(progress)]
    assert all(0 < share <= 1 for share in shares)
    assert all(after >= before - 1e-15 for before, after in pairwise(shares))


def test_pacing_by_name() -> None:
    assert pacing("linear", 0.3, 0.1) == linear(0.3, 0.1)
    assert pacing("root", 0.3, 0.1, power=3) == root(0.3, 0.1, 3)
    assert pacing("step", 0.3, 0.1, steps=4) == step(0.3, 0.1, 4)
    assert len({pacing(name, 0.3) for name in PACINGS}) == 3


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cubic", {}, "pacing must be one of linear, root, step, not 'cubic'"),
        *[(name, {"progress": -0.1}, "progress must be a number from 0 to 1, not -0.1") for name in PACINGS],
        *[(name, {"progress": math.nan}, "progress must be a number from 0 to 1, not nan") for name in PACINGS],
        ("linear", {"progress": 1.1}, "progress must be a number from 0 to 1, not 1.1"),
        *[(name, {"start": 0}, "start must be a number above 0 and at most 1, not 0") for name in PACINGS],
        ("linear", {"start": 1.5}, "start must be a number above 0 and at most 1, not 1.5"),
        ("root", {"power": 0.5}, "power must be a number of at least 1, not 0.5"),
        ("root", {"power": math.inf}, "power must be a number of at least 1, not inf"),
        ("step", {"steps": 0}, "steps must be a whole number of at least 1, not 0"),
    ],
)
def test_pacing_checks_its_arguments(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pacing(name, **{"progress": 0.5, **options})


# self-paced weights


def regulariser(v: np.ndarray, threshold: float, kind: str) -> np.ndarray:
    if kind == "hard":
        return -threshold * v
    if kind == "linear":
        return threshold * (v**2 / 2 - v)
    zeta = 1 - threshold
    return zeta * v - zeta**v / math.log(zeta)


@given(st.floats(0, 2), st.floats(0.05, 0.95), st.sampled_from(KINDS))
def test_self_paced_weights_minimise_their_objective(difficulty: float, threshold: float, kind: str) -> None:
    v = np.linspace(0, 1, 1001)
    objective = v * difficulty + regulariser(v, threshold, kind)
    weight = self_paced_weights([difficulty], threshold, kind)
    assert 0 <= weight[0] <= 1
    mine = weight * difficulty + regulariser(weight, threshold, kind)
    # no weight on the grid does better
    assert mine[0] <= objective.min() + 1e-12
    if kind != "hard":
        # the objective is strictly convex: its smallest value on the grid lies beside its minimum
        assert abs(v[objective.argmin()] - weight[0]) <= 0.001 + 1e-6


@given(st.floats(1e-6, 1 - 1e-6))
def test_the_easiest_sample_counts_fully_and_no_more(threshold: float) -> None:
    for kind in KINDS:
        weight = self_paced_weights([0.0], threshold, kind)[0]
        assert 1 - 1e-9 <= weight <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_where_self_paced_weights_begin_and_end(kind: str) -> None:
    weights = self_paced_weights([0.0, 0.1, 0.2, 0.4, 0.400001, 7.0], 0.4, kind)
    assert weights[0] == pytest.approx(1, abs=1e-15)
    assert weights[3:].tolist() == [0, 0, 0]
    assert (weights[1:3] > 0).all()
    if kind != "hard":
        assert (np.diff(weights[:4]) < 0).all()
    else:
        assert weights[:3].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("difficulty", "options", "message"),
    [
        ([0.5], {"kind": "soft"}, "kind must be one of hard, linear, logarithmic, not 'soft'"),
        ([0.5], {"threshold": 0}, "threshold must be a number above 0, not 0"),
        ([0.5], {"threshold": math.nan}, "threshold must be a number above 0, not nan"),
        ([0.5], {"threshold": 1, "kind": "logarithmic"}, "threshold must be below 1 for logarithmic weights, not 1"),
        ([0.5, -0.1], {}, r"not negative, but lies in -0.1\.\.0.5"),
        ([0.5, math.inf], {}, "difficulty must be finite"),
        ([0.5, math.nan], {}, "NaN for 1 of 2 samples: remove"),
        ([], {}, r"at least one sample, not \(0,\)"),
        ([[0.5]], {}, r"at least one sample, not \(1, 1\)"),
    ],
)
def test_self_paced_weights_refuse_what_does_not_fit(difficulty: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        self_paced_weights(difficulty, **{"threshold": 0.5, **options})
    if not options:
        with pytest.raises(ValueError, match=message):
            importance_weights(difficulty)


# importance sampling


@given(DIFFICULTIES, st.floats(0.01, 1), st.data())
def test_corrected_means_are_unbiased(difficulty: list[float], smoothing: float, data: st.DataObject) -> None:
    count = len(difficulty)
    losses = np.array(data.draw(st.lists(st.floats(-1e3, 1e3), min_size=count, max_size=count)))
    probabilities, corrections = importance_weights(difficulty, smoothing)
    assert (probabilities * corrections * losses).sum() == pytest.approx(losses.mean(), abs=1e-9)
    total = math.fsum(difficulty)
    if total > 0:
        expected = [(1 - smoothing) * (d / total) + smoothing / count for d in difficulty]
        np.testing.assert_allclose(probabilities, expected, rtol=1e-9)
    assert probabilities.sum() == pytest.approx(1)
    assert corrections.max() <= 1 / smoothing * (1 + 1e-12)


@given(DIFFICULTIES, st.floats(0.01, 1), st.data())
def test_the_bound_on_the_second_moment(difficulty: list[float], smoothing: float, data: st.DataObject) -> None:
    count = len(difficulty)
    losses = np.array(data.draw(st.lists(st.floats(0, 1e3), min_size=count, max_size=count)))
    probabilities, corrections = importance_weights(difficulty, smoothing)
    second_moment = (probabilities * (corrections * losses) ** 2).sum()
    assert second_moment <= (losses**2).mean() / smoothing * (1 + 1e-9)


def test_less_smoothing_is_less_variance_where_the_difficulty_is_right(rng: np.random.Generator) -> None:
    losses = rng.gamma(0.5, size=200)
    variances = []
    for smoothing in (1e-6, 0.1, 0.5, 1.0):
        probabilities, corrections = importance_weights(losses, smoothing)
        variances.append((probabilities * (corrections * losses - losses.mean()) ** 2).sum())
    assert variances == sorted(variances)
    assert variances[0] == pytest.approx(0, abs=1e-5)
    assert variances[-1] == pytest.approx(losses.var())


@pytest.mark.parametrize("difficulty", [[0.0] * 4, [3.0] * 4, [1e308] * 4, [5e-324] * 4])
def test_equal_difficulties_have_equal_probabilities(difficulty: list[float]) -> None:
    probabilities, corrections = importance_weights(difficulty, 0.3)
    np.testing.assert_allclose(probabilities, [0.25] * 4)
    np.testing.assert_allclose(corrections, [1.0] * 4)


@pytest.mark.parametrize("smoothing", [0, -0.1, 1.1, math.nan])
def test_the_smoothing_is_checked(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing must be a number above 0 and at most 1, not"):
        importance_weights([0.5], smoothing)
