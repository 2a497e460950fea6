from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import zscore

from fiftyone_learnability.scores import consensus as module
from fiftyone_learnability.scores.consensus import consensus, score_disagreement, standardize

BOTH = pytest.mark.parametrize("measure", [consensus, score_disagreement])
Measure = Callable[[dict[str, np.ndarray]], np.ndarray]


@st.composite
def score_tables(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Learnability of 2 to 30 samples by two to five networks, with gaps; sometimes one network is constant."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, models = draw(st.integers(2, 30)), draw(st.integers(2, 5))
    table = rng.random((models, count)) + rng.random(count)
    table[rng.random((models, count)) < draw(st.sampled_from([0, 0.1, 0.6]))] = np.nan
    if draw(st.booleans()):
        table[0] = 0.1
    return {f"net{number}": values for number, values in enumerate(table)}


def z_scores(table: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The samples that all networks have scored, and their z-scores by definition; zeros for a constant."""
    stacked = np.stack(list(table.values()))
    common = np.isfinite(stacked).all(axis=0)
    chosen = stacked[:, common]
    z = np.zeros_like(chosen)
    for row, values in zip(z, chosen, strict=True):
        if len(np.unique(values)) > 1:
            row[:] = (values - values.mean()) / np.sqrt(((values - values.mean()) ** 2).mean())
    return common, z


@given(st.integers(0, 2**32), st.integers(2, 40), st.sampled_from([0, 0.3, 0.8]))
def test_standardize_agrees_with_scipy(seed: int, count: int, gaps: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random(count)
    values[rng.random(count) < gaps] = np.nan
    # scipy returns NaN for a single value, standardize returns 0
    expected = zscore(values, nan_policy="omit") if np.isfinite(values).sum() > 1 else values * 0
    np.testing.assert_allclose(standardize(values), expected, atol=1e-10)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[0.1] * 7, [0.3, np.nan, 0.3, 0.3], [0.4], [np.nan, np.nan], []])
def test_z_scores_of_a_constant_are_zero_without_a_warning(values: list[float]) -> None:
    expected = np.where(np.isnan(values), np.nan, 0.0)
    np.testing.assert_array_equal(standardize(values), expected)


def test_tiny_differences_are_standardized() -> None:
    np.testing.assert_allclose(standardize([0.0, 1e-300]), [-1, 1])
    np.testing.assert_allclose(standardize([1.0, 1 + 2**-52]), [-1, 1])


def test_standardize_does_not_change_its_argument() -> None:
    values = np.array([1.0, 2.0, np.nan])
    standardize(values)
    np.testing.assert_array_equal(values, [1.0, 2.0, np.nan])


@given(
    arrays(np.float64, st.integers(2, 20), elements=st.floats(-100, 100).map(lambda x: round(x, 3))),
    st.floats(0.01, 100),
    st.floats(-100, 100),
)
def test_standardize_is_invariant_under_affine_maps(values: np.ndarray, scale: float, shift: float) -> None:
    z = standardize(values)
    # rounding may make a constant vary after the map
    moved = scale * values + shift
    if np.ptp(values) > 0:
        np.testing.assert_allclose(standardize(moved), z, atol=1e-6)
        np.testing.assert_allclose(standardize(-moved), -z, atol=1e-6)
        np.testing.assert_allclose([z.mean(), z.std()], [0, 1], atol=1e-9)
    else:
        assert not z.any()


@given(score_tables())
@settings(deadline=None)
def test_consensus_and_disagreement_are_mean_and_deviation(table: dict[str, np.ndarray]) -> None:
    common, z = z_scores(table)
    for result, expected in (
        (consensus(table), z.sum(axis=0) / len(z)),
        (score_disagreement(table), np.std(z, axis=0)),
    ):
        assert result.shape == common.shape
        assert np.isnan(result).tolist() == (~common).tolist()
        np.testing.assert_allclose(result[common], expected, atol=1e-10)


@given(score_tables())
def test_bounds(table: dict[str, np.ndarray]) -> None:
    common, z = z_scores(table)
    mean, deviation = consensus(table)[common], score_disagreement(table)[common]
    # no z-score of n samples exceeds sqrt(n - 1), and deviations are not negative
    assert np.all(np.abs(mean) <= np.sqrt(max(common.sum() - 1, 0)) + 1e-9)
    assert np.all(deviation >= 0)
    np.testing.assert_allclose(mean**2 + deviation**2, (z**2).mean(axis=0), atol=1e-9)
    if common.any():
        assert mean.mean() == pytest.approx(0, abs=1e-9)


@given(score_tables(), st.integers(0, 2**32))
def test_order_of_networks_and_of_samples_and_scale_do_not_matter(table: dict[str, np.ndarray], seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table["net0"]))
    shuffled = {name: table[name][order] for name in rng.permutation(list(table)).tolist()}
    # powers of two keep a constant constant
    scaled = {name: 2.0 ** (number - 1) * values for number, (name, values) in enumerate(table.items())}
    for measure in (consensus, score_disagreement):
        np.testing.assert_allclose(measure(shuffled), measure(table)[order], atol=1e-10)
        np.testing.assert_allclose(measure(scaled), measure(table), atol=1e-10)


def test_the_disagreement_of_two_is_half_their_distance(rng: np.random.Generator) -> None:
    a, b = rng.random(20), rng.random(20)
    np.testing.assert_allclose(score_disagreement({"a": a, "b": b}), np.abs(zscore(a) - zscore(b)) / 2)


def test_networks_that_differ_in_scale_alone_do_not_disagree(rng: np.random.Generator) -> None:
    scores = rng.random(30)
    table = {"strong": 0.5 + scores / 2, "weak": scores / 10, "as it is": scores}
    np.testing.assert_allclose(consensus(table), zscore(scores), atol=1e-10)
    np.testing.assert_allclose(score_disagreement(table), 0, atol=1e-7)


@BOTH
def test_the_scores_are_standardized_among_the_common_samples(measure: Measure, rng: np.random.Generator) -> None:
    table = {"a": rng.random(10), "b": rng.random(10)}
    gapped = {"a": table["a"], "b": np.where(np.arange(10) < 3, np.nan, table["b"])}
    shortened = {name: values[3:] for name, values in table.items()}
    assert np.isnan(measure(gapped)[:3]).all()
    np.testing.assert_allclose(measure(gapped)[3:], measure(shortened))
    assert not np.allclose(measure(gapped)[3:], measure(table)[3:])


@BOTH
@pytest.mark.filterwarnings("error")
def test_without_common_samples_everything_is_nan(measure: Measure) -> None:
    result = measure({"a": [0.1, np.nan], "b": [np.nan, 0.3]})
    np.testing.assert_array_equal(result, [np.nan, np.nan])


@BOTH
@pytest.mark.parametrize("scores", [{}, {"a": [0.1, 0.2]}])
def test_two_networks_are_needed(measure: Measure, scores: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=f"at least two networks, not {len(scores)}"):
        measure(scores)


@BOTH
@pytest.mark.parametrize("second", [[0.1], [[0.1, 0.2]], 0.1])
def test_the_scores_must_have_equal_length(measure: Measure, second: object) -> None:
    with pytest.raises(ValueError, match="must be one-dimensional arrays of equal length"):
        measure({"a": [0.1, 0.2], "b": second})


@pytest.mark.parametrize(
    ("values", "message"), [([[0.1, 0.2]], "one dimension"), (0.1, "one dimension"), ([0.1, np.inf], "infinite values")]
)
def test_scores_that_cannot_be_standardized_are_refused(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        standardize(values)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(module)
    assert (result.attempted, result.failed) == (3, 0)
