from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import pearsonr, rankdata, spearmanr

from fiftyone_learnability.scores import comparison
from fiftyone_learnability.scores.comparison import compare_scores, spearman

VALUES = st.floats(-1, 1, width=16) | st.just(np.nan)


def eq_2(values: np.ndarray) -> np.ndarray:
    return (values[:, None] <= values[None, :]).sum(axis=1)


@st.composite
def score_tables(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Correlated learnability by two to four networks, with ties and gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, models = draw(st.integers(2, 40)), draw(st.integers(2, 4))
    common = rng.random(count)
    table = {}
    for number in range(models):
        values = (common + rng.random(count)) / 2
        if draw(st.booleans()):
            values = values.round(1)
        values[rng.random(count) < draw(st.sampled_from([0, 0.3, 0.95]))] = np.nan
        table[f"net{number}"] = values
    return table


@given(score_tables())
@settings(deadline=None)
def test_every_pair_agrees_with_scipy(table: dict[str, np.ndarray]) -> None:
    result = compare_scores(table)
    assert result.models == tuple(table)
    for a, x in enumerate(table.values()):
        for b, y in enumerate(table.values()):
            both = np.isfinite(x) & np.isfinite(y)
            assert result.num_samples[a, b] == both.sum()
            mine, theirs = x[both], y[both]
            if len(np.unique(mine)) < 2 or len(np.unique(theirs)) < 2:
                expected = (np.nan, np.nan, np.nan)
            else:
                expected = (
                    pearsonr(mine, theirs).statistic,
                    pearsonr(eq_2(mine), eq_2(theirs)).statistic,
                    spearmanr(mine, theirs).statistic,
                )
            pair = (result.pearson[a, b], result.pearson_rank[a, b], result.spearman[a, b])
            np.testing.assert_allclose(pair, expected, atol=1e-10)


@pytest.mark.filterwarnings("error")
@given(st.integers(0, 30).flatmap(lambda n: hnp.arrays(np.float64, (2, n), elements=VALUES)))
def test_spearman_agrees_with_scipy(pair: np.ndarray) -> None:
    first, second = pair
    known = ~np.isnan(first + second)
    if len(np.unique(first[known])) < 2 or len(np.unique(second[known])) < 2:
        assert np.isnan(spearman(first, second))
    else:
        expected = spearmanr(first[known], second[known]).statistic
        assert spearman(first, second) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    rng = np.random.default_rng(0)
    plain = {name: rng.random(50) for name in "ab"}
    plain["b"][:5] = np.nan
    scaled = compare_scores({name: scale * values for name, values in plain.items()})
    np.testing.assert_allclose(scaled.pearson, compare_scores(plain).pearson, rtol=1e-12)


def test_ranks_are_taken_among_the_samples_that_both_have() -> None:
    nan = np.nan
    first = np.array([0.1, 0.2, nan, 0.3, 0.15, 0.16, 0.17])
    second = np.array([0.2, 0.9, 0.5, 0.1, nan, nan, nan])
    result = compare_scores({"a": first, "b": second})
    # three samples are common, with ranks 3, 2, 1 and 2, 1, 3
    assert result.num_samples.tolist() == [[6, 3], [3, 4]]
    assert result.pearson_rank[0, 1] == pytest.approx(pearsonr([3, 2, 1], [2, 1, 3]).statistic)
    among_all = pearsonr(rankdata(-first, nan_policy="omit")[[0, 1, 3]], [2, 1, 3]).statistic
    assert result.pearson_rank[0, 1] != pytest.approx(among_all)


def test_a_network_agrees_with_itself_and_not_with_its_opposite(rng: np.random.Generator) -> None:
    values = rng.random(50)
    result = compare_scores({"a": values, "b": 1 - values})
    for matrix in (result.pearson, result.pearson_rank, result.spearman):
        np.testing.assert_allclose(matrix, [[1, -1], [-1, 1]], atol=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "second", [[0.5, 0.5, 0.5], [np.nan, 0.4, np.nan], [np.nan] * 3], ids=["constant", "one sample", "no sample"]
)
def test_undefined_correlations_are_nan_without_a_warning(second: list[float]) -> None:
    result = compare_scores({"a": [0.1, 0.5, 0.9], "b": second})
    for matrix in (result.pearson, result.pearson_rank, result.spearman):
        assert np.isnan(matrix).tolist() == [[False, True], [True, True]]
    assert result.num_samples[0, 1] == np.isfinite(second).sum()
    assert "nan (nan)" in result.table()
    turned = compare_scores({"b": second, "a": [0.1, 0.5, 0.9]})
    for matrix in (turned.pearson, turned.pearson_rank, turned.spearman):
        assert np.isnan(matrix).tolist() == [[True, True], [True, False]]


def test_the_table_is_the_papers_table_1() -> None:
    scores = {"resnet20": [0.1, 0.5, 0.9, 0.7], "vgg16": [0.2, 0.6, 0.7, 0.8], "m": [0.9, 0.5, 0.1, np.nan]}
    result = compare_scores(scores)
    x, y = scores["resnet20"], scores["vgg16"]
    assert result.table().splitlines() == [
        "pair              Pearson of L (of R)  Spearman  samples",
        f"resnet20 ~ vgg16        {pearsonr(x, y).statistic:.3f} (0.800)     0.800        4",
        "resnet20 ~ m          -1.000 (-1.000)    -1.000        3",
        f"vgg16 ~ m             {pearsonr(y[:3], [0.9, 0.5, 0.1]).statistic:.3f} (-1.000)    -1.000        3",
    ]
    assert str(result) == result.table()


def test_to_pandas_has_a_row_per_pair(rng: np.random.Generator) -> None:
    result = compare_scores({name: rng.random(20) for name in "abc"})
    frame = result.to_pandas()
    assert list(frame.columns) == ["model_a", "model_b", "pearson", "pearson_rank", "spearman", "num_samples"]
    assert list(zip(frame.model_a, frame.model_b, strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    upper = np.triu_indices(3, 1)
    for name in ("pearson", "pearson_rank", "spearman", "num_samples"):
        np.testing.assert_array_equal(frame[name], getattr(result, name)[upper])


@pytest.mark.parametrize("scores", [{}, {"a": [0.1, 0.2]}])
def test_a_comparison_needs_two_networks(scores: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match=f"at least two networks, not {len(scores)}"):
        compare_scores(scores)


@pytest.mark.parametrize("second", [[0.1], [[0.1, 0.2]], 0.1])
def test_the_scores_must_have_equal_length(second: object) -> None:
    with pytest.raises(ValueError, match="must be one-dimensional arrays of equal length"):
        compare_scores({"a": [0.1, 0.2], "b": second})
    with pytest.raises(ValueError, match="must be one-dimensional arrays of equal length"):
        compare_scores({"a": [[0.1, 0.2]], "b": [[0.1, 0.2]]})


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(comparison)
    assert (result.attempted, result.failed) == (2, 0)
