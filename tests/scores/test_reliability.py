from __future__ import annotations

import doctest
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm, pearsonr

from fiftyone_learnability.scores import reliability
from fiftyone_learnability.scores.reliability import (
    Interval,
    bootstrap_correlation,
    measure_reliability,
    reliability_of_mean,
)

NAN = float("nan")
SEEDS = st.integers(0, 2**32)


def correlated(rng: np.random.Generator, count: int, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal data with the true correlation rho."""
    x, noise = rng.standard_normal((2, count))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


def noisy_runs(rng: np.random.Generator, true: np.ndarray, runs: int, rho: float) -> np.ndarray:
    """Runs that measure standard normal true scores with independent errors; any two have the correlation rho."""
    return np.sqrt(rho) * true + np.sqrt(1 - rho) * rng.standard_normal((runs, len(true)))


def eq_2(values: np.ndarray) -> np.ndarray:
    return (values[:, None] <= values[None, :]).sum(axis=1)


def draws(count: int, num_resamples: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, count, count) for _ in range(num_resamples)]


# the bootstrap


@pytest.mark.parametrize(("count", "num_resamples"), [(12, 60), (5000, 900)], ids=["few samples", "several chunks"])
def test_the_interval_is_that_of_resampled_arrays(count: int, num_resamples: int, rng: np.random.Generator) -> None:
    x, y = correlated(rng, count, 0.6)
    # with this offset, raw moments would lose all precision
    result = bootstrap_correlation(x + 1e6, y, num_resamples, confidence=0.9, seed=7)
    resampled = [np.corrcoef(x[chosen], y[chosen])[0, 1] for chosen in draws(count, num_resamples, 7)]
    expected = [np.corrcoef(x, y)[0, 1], *np.quantile(resampled, [0.05, 0.95])]
    np.testing.assert_allclose(result, expected, atol=1e-8)


def test_the_interval_agrees_with_scipys_bootstrap(rng: np.random.Generator) -> None:
    x, y = rng.random(200) ** 3, rng.random(200)
    y = x + 0.2 * y
    result = bootstrap_correlation(x, y, num_resamples=5000)
    theirs = bootstrap(
        (x, y),
        lambda a, b, axis: pearsonr(a, b, axis=axis).statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
    ).confidence_interval
    # the quantiles of two sets of draws differ by a few percent of the width
    assert result.value == pytest.approx(pearsonr(x, y).statistic)
    width = theirs.high - theirs.low
    np.testing.assert_allclose([result.low, result.high], [theirs.low, theirs.high], atol=0.08 * width)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_interval_of_normal_data_is_fishers(confidence: float, rng: np.random.Generator) -> None:
    x, y = correlated(rng, 4000, 0.7)
    result = bootstrap_correlation(x, y, num_resamples=4000, confidence=confidence)
    half = norm.ppf((1 + confidence) / 2) / np.sqrt(len(x) - 3)
    low, high = np.tanh(np.arctanh(result.value) + np.array([-half, half]))
    np.testing.assert_allclose([result.low, result.high], [low, high], atol=0.1 * (high - low))


def test_the_interval_covers_the_truth_as_often_as_it_says(rng: np.random.Generator) -> None:
    covered = 0
    for seed in range(300):
        _, low, high = bootstrap_correlation(*correlated(rng, 150, 0.8), 300, confidence=0.8, seed=seed)
        covered += low <= 0.8 <= high
    # 240 are expected with a standard error of 7, and percentile intervals cover slightly less than they claim
    assert 210 <= covered <= 260


@given(SEEDS, st.integers(20, 80), st.floats(-0.95, 0.95))
@settings(deadline=None, max_examples=50)
def test_the_value_lies_in_its_interval(seed: int, count: int, rho: float) -> None:
    x, y = correlated(np.random.default_rng(seed), count, rho)
    value, low, high = bootstrap_correlation(x, y, 200)
    assert -1 <= low < value < high <= 1
    wider = bootstrap_correlation(x, y, 200, confidence=0.99)
    assert wider.low <= low < high <= wider.high


@given(SEEDS, st.integers(5, 40), st.floats(0.01, 100), st.floats(-100, 100))
@settings(deadline=None, max_examples=50)
def test_symmetry_and_affine_invariance(seed: int, count: int, scale: float, shift: float) -> None:
    x, y = correlated(np.random.default_rng(seed), count, 0.5)
    result = bootstrap_correlation(x, y, 50)
    np.testing.assert_allclose(bootstrap_correlation(y, x, 50), result, atol=1e-9)
    np.testing.assert_allclose(bootstrap_correlation(scale * x + shift, y, 50), result, atol=1e-9)
    turned = bootstrap_correlation(-scale * x + shift, y, 50)
    np.testing.assert_allclose(turned, [-result.value, -result.high, -result.low], atol=1e-9)
    order = np.random.default_rng(seed).permutation(count)
    assert bootstrap_correlation(x[order], y[order], 50).value == pytest.approx(result.value, abs=1e-9)


def test_samples_without_a_score_are_left_out(rng: np.random.Generator) -> None:
    x, y = correlated(rng, 40, 0.5)
    x[3] = y[5] = y[6] = np.nan
    kept = np.delete(np.arange(40), [3, 5, 6])
    assert bootstrap_correlation(x, y, 50) == bootstrap_correlation(x[kept], y[kept], 50)


def test_resamples_without_a_correlation_are_left_out() -> None:
    # with three samples, some resamples are constant
    x, y = np.array([0.1, 0.1, 0.9]), np.array([0.2, 0.4, 0.6])
    varied = [chosen for chosen in draws(3, 100, 0) if len(np.unique(x[chosen])) > 1]
    resampled = [np.corrcoef(x[chosen], y[chosen])[0, 1] for chosen in varied]
    assert 0 < len(resampled) < 100
    expected = [np.corrcoef(x, y)[0, 1], *np.quantile(resampled, [0.025, 0.975])]
    np.testing.assert_allclose(bootstrap_correlation(x, y, 100), expected, atol=1e-9)


def test_the_seed_chooses_the_draws(rng: np.random.Generator) -> None:
    x, y = correlated(rng, 40, 0.5)
    first, again, other = (bootstrap_correlation(x, y, 50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.value == other.value
    assert first.low != other.low


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("y", [[0.1] * 3, [NAN, 0.4, NAN], [NAN] * 3], ids=["constant", "one sample", "none"])
def test_an_undefined_correlation_is_nan_without_a_warning(y: list[float]) -> None:
    assert np.isnan(bootstrap_correlation([0.1, 0.5, 0.9], y)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": [0.1]}, "arrays of equal length"),
        ({"x": [[0.1, 0.2]], "y": [[0.1, 0.2]]}, "arrays of equal length"),
        ({"num_resamples": 0}, "num_resamples must be a whole number of at least 1, not 0"),
        ({"confidence": 1.0}, "confidence must be a number between 0 and 1"),
        ({"confidence": 0.0}, "confidence must be a number between 0 and 1"),
    ],
)
def test_bootstrap_checks_its_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_correlation(**{"x": [0.1, 0.2], "y": [0.3, 0.4], **arguments})


# seeds and networks


def by_definition(
    table: dict[str, np.ndarray], num_resamples: int, seed: int
) -> dict[tuple[str, str], list[np.ndarray]]:
    """For L and for R: the mean correlation of each pair over all samples, followed by those in each resample."""
    result: dict[tuple[str, str], list[np.ndarray]] = {}
    count = next(iter(table.values())).shape[1]
    for a, b in [*((model, model) for model in table), *combinations(table, 2)]:
        for quantity in (np.asarray, eq_2):
            first, second = ([quantity(run) for run in table[model]] for model in (a, b))
            pairs = list(combinations(first, 2) if a == b else product(first, second))
            if pairs:
                means = [
                    np.mean([np.corrcoef(x[chosen], y[chosen])[0, 1] for x, y in pairs])
                    for chosen in [np.arange(count), *draws(count, num_resamples, seed)]
                ]
                result.setdefault((a, b), []).append(np.array(means))
    return result


def interval_of(values: np.ndarray, confidence: float) -> list[float]:
    return [values[0], *np.quantile(values[1:], [(1 - confidence) / 2, (1 + confidence) / 2])]


@given(SEEDS, st.integers(12, 30), st.lists(st.integers(1, 4), min_size=2, max_size=4))
@settings(deadline=None, max_examples=15)
def test_all_values_agree_with_loops_over_pairs_of_single_runs(seed: int, count: int, runs: list[int]) -> None:
    rng = np.random.default_rng(seed)
    true = rng.standard_normal(count)
    # rounded, for ties
    table = {f"net{number}": noisy_runs(rng, true, size, 0.8).round(1) for number, size in enumerate(runs)}
    result = measure_reliability(table, 20, confidence=0.8, seed=3)
    expected = by_definition(table, 20, 3)
    assert result.runs == dict(zip(table, runs, strict=True))
    assert result.num_samples == count
    assert list(result.seeds) == [model for model in table if len(table[model]) > 1]
    assert list(result.models) == list(combinations(table, 2))
    assert list(result.corrected) == list(combinations(result.seeds, 2))
    for (a, b), quantities in expected.items():
        agreement = result.seeds[a] if a == b else result.models[a, b]
        for interval, values in zip(agreement, quantities, strict=True):
            np.testing.assert_allclose(interval, interval_of(values, 0.8), atol=1e-9)
    for (a, b), agreement in result.corrected.items():
        for interval, between, first, second in zip(
            agreement, expected[a, b], expected[a, a], expected[b, b], strict=True
        ):
            assume((first > 0).all() and (second > 0).all())
            np.testing.assert_allclose(interval, interval_of(between / np.sqrt(first * second), 0.8), atol=1e-9)


def test_a_correlation_of_two_single_runs_is_the_bootstrapped_one(rng: np.random.Generator) -> None:
    x, y = correlated(rng, 50, 0.6)
    expected = bootstrap_correlation(x, y, 100, seed=4)
    for table in ({"a": [x, y]}, {"a": [x], "b": [y]}):
        result = measure_reliability(table, 100, seed=4)
        (agreement,) = [*result.seeds.values(), *result.models.values()]
        np.testing.assert_allclose(agreement.learnability, expected, atol=1e-12)
        by_rank = bootstrap_correlation(eq_2(x), eq_2(y), 100, seed=4)
        np.testing.assert_allclose(agreement.rank, by_rank, atol=1e-12)


def test_attenuation_is_corrected_and_averaging_predicted(rng: np.random.Generator) -> None:
    first, second = correlated(rng, 20_000, 0.7)
    a, b = noisy_runs(rng, first, 6, 0.6), noisy_runs(rng, second, 6, 0.9)
    result = measure_reliability({"a": a, "b": b}, 100)
    assert result.seeds["a"].learnability.value == pytest.approx(0.6, abs=0.02)
    assert result.seeds["b"].learnability.value == pytest.approx(0.9, abs=0.02)
    assert result.models["a", "b"].learnability.value == pytest.approx(0.7 * np.sqrt(0.6 * 0.9), abs=0.02)
    assert result.corrected["a", "b"].learnability.value == pytest.approx(0.7, abs=0.02)
    low, high = result.corrected["a", "b"].learnability[1:]
    assert low < 0.7 < high
    assert high - low < 0.05
    # Spearman and Brown predict the correlation between the means of three runs and three other runs
    for runs, rho in ((a, 0.6), (b, 0.9)):
        means = pearsonr(runs[:3].mean(axis=0), runs[3:].mean(axis=0)).statistic
        assert reliability_of_mean(rho, 3) == pytest.approx(means, abs=0.015)


@given(SEEDS)
@settings(deadline=None, max_examples=15)
def test_the_order_of_runs_networks_and_samples_and_the_scale_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.standard_normal(15)
    table = {name: noisy_runs(rng, true, runs, 0.8) for name, runs in (("a", 3), ("b", 2), ("c", 1))}
    result = measure_reliability(table, 20)
    changed = measure_reliability({name: 3 * table[name][::-1] - 1 for name in reversed(table)}, 20)
    order = rng.permutation(15)
    permuted = measure_reliability({name: runs[:, order] for name, runs in table.items()}, 20)
    assert (len(result.seeds), len(result.models), len(result.corrected)) == (2, 3, 1)
    for kind in ("seeds", "models", "corrected"):
        for key, agreement in getattr(result, kind).items():
            turned = getattr(changed, kind)[key if kind == "seeds" else key[::-1]]
            np.testing.assert_allclose(turned, agreement, atol=1e-9)
            moved = getattr(permuted, kind)[key]
            np.testing.assert_allclose(
                [interval.value for interval in moved], [interval.value for interval in agreement], atol=1e-9
            )


def test_only_samples_that_all_runs_have_scored_count(rng: np.random.Generator) -> None:
    true = rng.standard_normal(30)
    table = {"a": noisy_runs(rng, true, 2, 0.8), "b": noisy_runs(rng, true, 2, 0.8)}
    kept = np.delete(np.arange(30), [4, 9])
    expected = measure_reliability({name: runs[:, kept] for name, runs in table.items()}, 20)
    table["a"][0, 4] = table["b"][1, 9] = np.nan
    result = measure_reliability(table, 20)
    assert result.num_samples == 28
    # the seeds of a are compared without the sample that b has not scored, too
    assert (result.seeds, result.models, result.corrected) == (expected.seeds, expected.models, expected.corrected)


@pytest.mark.filterwarnings("error")
def test_undefined_agreement_is_nan_without_a_warning(rng: np.random.Generator) -> None:
    values = rng.random((2, 10))
    result = measure_reliability({"a": values, "b": [values[0], np.full(10, 0.1)]}, 20)
    assert np.isfinite(result.seeds["a"]).all()
    assert np.isnan(result.seeds["b"]).all()
    assert np.isnan(result.models["a", "b"]).all()
    assert np.isnan(result.corrected["a", "b"]).all()
    none = measure_reliability({"a": [[0.1, NAN]], "b": [[NAN, 0.1]]}, 20)
    assert none.num_samples == 0
    assert np.isnan(none.models["a", "b"]).all()


def test_networks_may_agree_more_than_the_seeds_of_the_less_reliable_one(rng: np.random.Generator) -> None:
    """The bound of their correlation is the root of the product, which is larger than the smaller reliability."""
    truth, scale = rng.standard_normal(20_000), {"a": np.sqrt(1 / 0.80 - 1), "b": np.sqrt(1 / 0.97 - 1)}
    runs = {model: truth + noise * rng.standard_normal((3, 20_000)) for model, noise in scale.items()}
    result = measure_reliability(runs, 5)
    first, second = (result.seeds[model].learnability.value for model in runs)
    between = result.models["a", "b"].learnability.value
    assert first == pytest.approx(0.80, abs=0.01)
    assert between == pytest.approx(np.sqrt(first * second), abs=0.005)
    assert between > first + 0.05
    assert result.corrected["a", "b"].learnability.value == pytest.approx(1, abs=0.005)


@pytest.mark.filterwarnings("error")
def test_a_negative_reliability_corrects_nothing(rng: np.random.Generator) -> None:
    values = rng.random(30)
    result = measure_reliability({"a": [values, -values], "b": [values, 2 * values]}, 20)
    assert result.seeds["a"].learnability == pytest.approx((-1, -1, -1))
    assert result.seeds["b"].learnability == pytest.approx((1, 1, 1))
    assert np.isnan(result.corrected["a", "b"]).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "at least two runs"),
        ({"a": [[0.1, 0.2]]}, "at least two runs"),
        ({"a": [0.1, 0.2], "b": [0.1, 0.2]}, "shape"),
        ({"a": [[0.1, 0.2]], "b": [[0.1]]}, "shape"),
        ({"a": np.empty((0, 3)), "b": np.empty((2, 3))}, "shape"),
    ],
)
def test_reliability_checks_its_runs(table: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure_reliability(table)


@pytest.mark.parametrize("arguments", [{"num_resamples": 0}, {"confidence": 0}, {"confidence": 95}])
def test_the_resampling_is_checked(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        measure_reliability({"a": [[0.1, 0.2], [0.3, 0.4]]}, **arguments)


@pytest.fixture
def result() -> reliability.Reliability:
    """The last network has a single run, so its reliability is unknown."""
    up, bent = [0.1, 0.2, 0.3, 0.4], [0.1, 0.3, 0.2, 0.4]
    return measure_reliability({"resnet20": [up, bent], "vgg16": [up, up], "m": [bent]}, 5)


def test_the_table_shows_seeds_and_networks_alike(result: reliability.Reliability) -> None:
    # the correlation of up and bent is 0.8, in ranks too: there is one swap; 0.9 / sqrt(0.8) = 1.006
    lines = result.table().splitlines()
    assert lines[0] == "between             runs   Pearson of L [95 %]           of R [95 %]  corrected L (R)"
    assert [line.split()[:3] for line in lines[1:]] == [
        ["seeds", "of", "resnet20"],
        ["seeds", "of", "vgg16"],
        ["resnet20", "~", "vgg16"],
        ["resnet20", "~", "m"],
        ["vgg16", "~", "m"],
    ]
    seeds = result.seeds["resnet20"]
    assert lines[1] == f"seeds of resnet20      2  {seeds.learnability}  {seeds.rank}"
    assert seeds.learnability.value == pytest.approx(0.8)
    assert lines[2] == "seeds of vgg16         2  1.000 [1.000, 1.000]  1.000 [1.000, 1.000]"
    assert lines[3].startswith("resnet20 ~ vgg16   2 x 2  0.900 [")
    assert lines[3].endswith("]    1.006 (1.006)")
    assert lines[4].startswith("resnet20 ~ m       2 x 1  0.900 [")
    assert lines[4].endswith("]                -")
    assert lines[5].startswith("vgg16 ~ m          2 x 1  0.800 [")
    assert str(result) == result.table()
    eighty = measure_reliability({"a": [[0.1, 0.2], [0.1, 0.3]]}, 5, confidence=0.8).table()
    assert "Pearson of L [80 %]" in eighty


def test_to_pandas_has_a_row_for_each_correlation(result: reliability.Reliability) -> None:
    frame = result.to_pandas()
    names = ["pearson", "pearson_rank", "corrected", "corrected_rank"]
    columns = [name + end for name in names for end in ("", "_low", "_high")]
    assert list(frame.columns) == ["between", "model_a", "model_b", "runs_a", "runs_b", "num_samples", *columns]
    assert frame.between.tolist() == ["seeds"] * 2 + ["models"] * 3
    assert list(zip(frame.model_a, frame.model_b, frame.runs_a, frame.runs_b, strict=True)) == [
        ("resnet20", "resnet20", 2, 2),
        ("vgg16", "vgg16", 2, 2),
        ("resnet20", "vgg16", 2, 2),
        ("resnet20", "m", 2, 1),
        ("vgg16", "m", 2, 1),
    ]
    assert frame.num_samples.tolist() == [4] * 5
    agreements = [*result.seeds.values(), *result.models.values()]
    np.testing.assert_array_equal(frame[columns[:6]], np.reshape(agreements, (5, 6)))
    corrected = frame[columns[6:]].to_numpy()
    assert np.isnan(corrected[[0, 1, 3, 4]]).all()
    np.testing.assert_array_equal(corrected[2], np.ravel(result.corrected["resnet20", "vgg16"]))


def test_an_interval_is_printed_with_three_places() -> None:
    assert str(Interval(0.79561, 0.7, -0.00049)) == "0.796 [0.700, -0.000]"


# runs


@given(st.floats(0.001, 1), st.integers(1, 50))
def test_spearman_brown_is_signal_over_signal_and_noise(rho: float, runs: int) -> None:
    # averaging r runs keeps the variance rho of the true score and divides the variance of the errors by r
    assert reliability_of_mean(rho, runs) == pytest.approx(rho / (rho + (1 - rho) / runs))
    assert reliability_of_mean(rho, 1) == pytest.approx(rho)
    assert reliability_of_mean(rho, runs) <= reliability_of_mean(rho, runs + 1) + 1e-12 <= 1 + 1e-9


def test_spearman_brown_is_broadcast() -> None:
    result = reliability_of_mean(np.array([[0.0], [0.5], [1.0], [NAN], [-0.5]]), [1, 2, 3])
    half = [1 / 2, 2 / 3, 3 / 4]
    np.testing.assert_allclose(result, [[0] * 3, half, [1] * 3, [NAN] * 3, [NAN] * 3])


@pytest.mark.parametrize(("rho", "runs", "message"), [(1.1, 2, "-1, 1"), (-1.1, 2, "-1, 1"), (0.5, 0, "at least 1")])
def test_spearman_brown_checks_its_arguments(rho: float, runs: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability_of_mean(rho, runs)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(reliability)
    assert (result.attempted, result.failed) == (4, 0)
