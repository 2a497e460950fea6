from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

from fiftyone_learnability.science import scores
from fiftyone_learnability.science.scores import hits, learnability, learnability_rank

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
PROBABILITIES = hnp.arrays(np.float64, SHAPES, elements=st.floats(0, 1))
# few distinct values, so that most examples have ties, and any finite value
TIED = st.lists(st.sampled_from([0.0, 0.1, 0.1 + 1e-15, 0.5, 0.9, 1.0]), max_size=30)
ANY = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(scores)
    assert result.attempted == 3
    assert result.failed == 0


@given(PROBABILITIES)
def test_learnability_is_eq_1(p: np.ndarray) -> None:
    epochs, samples = p.shape
    expected = [sum(float(p[t, i]) for t in range(epochs)) / epochs for i in range(samples)]
    np.testing.assert_allclose(learnability(p), expected, rtol=1e-12)


def test_learnability_averages_float16_in_double_precision() -> None:
    p = np.full((4099, 1), 0.1, dtype=np.float16)
    assert learnability(p)[0] == pytest.approx(float(np.float16(0.1)), rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, -1e-9, 1 + 1e-9, np.inf])
def test_learnability_rejects_what_is_no_probability(value: float) -> None:
    with pytest.raises(ValueError, match=r"true_probabilities must lie in \[0, 1\]"):
        learnability([[0.5, 0.5], [0.5, value]])


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (2, 3, 4)])
def test_scores_reject_what_is_not_epochs_by_samples(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="true_probabilities must have the shape"):
        learnability(np.zeros(shape))
    with pytest.raises(ValueError, match="predictions must have the shape"):
        hits(np.zeros(shape, dtype=int), np.zeros(3, dtype=int))


@given(st.data())
def test_hits_is_the_share_of_epochs_with_the_true_class(data: st.DataObject) -> None:
    predictions = data.draw(hnp.arrays(np.int64, SHAPES, elements=st.integers(0, 3)))
    epochs, samples = predictions.shape
    labels = data.draw(hnp.arrays(np.int64, samples, elements=st.integers(0, 3)))
    expected = [sum(int(predictions[t, i] == labels[i]) for t in range(epochs)) / epochs for i in range(samples)]
    np.testing.assert_allclose(hits(predictions, labels), expected, rtol=1e-12)


@pytest.mark.parametrize("labels", [[0], [0, 1, 2, 3], [[0, 1, 2]], 0])
def test_hits_rejects_labels_of_another_shape(labels: object) -> None:
    with pytest.raises(ValueError, match=r"labels must have the shape \(3,\)"):
        hits([[0, 1, 2], [0, 1, 2]], labels)


@given(st.one_of(TIED, ANY))
def test_rank_is_eq_2(values: list[float]) -> None:
    expected = [sum(int(mine <= other) for other in values) for mine in values]
    ranks = learnability_rank(values)
    assert ranks.tolist() == expected
    assert ranks.dtype == np.int64


@given(TIED)
def test_rank_agrees_with_scipy(values: list[float]) -> None:
    np.testing.assert_array_equal(learnability_rank(values), rankdata(-np.array(values), method="max"))


def test_equal_samples_share_the_larger_number() -> None:
    assert learnability_rank([0.3, 0.3, 0.3]).tolist() == [3, 3, 3]
    assert learnability_rank([0.3, 0.7, 0.3]).tolist() == [3, 1, 3]


def test_rank_leaves_its_argument_alone() -> None:
    values = np.array([0.2, 0.9, 0.5])
    learnability_rank(values)
    assert values.tolist() == [0.2, 0.9, 0.5]


def test_rank_rejects_nan() -> None:
    with pytest.raises(ValueError, match="NaN: leave out samples without a score"):
        learnability_rank([0.1, np.nan])


@pytest.mark.parametrize("values", [0.5, [[0.5]]])
def test_rank_rejects_other_dimensions(values: object) -> None:
    with pytest.raises(ValueError, match="one dimension"):
        learnability_rank(values)
