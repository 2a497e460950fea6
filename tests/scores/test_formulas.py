from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax
from scipy.stats import entropy, rankdata

from fiftyone_learnability.scores import formulas as scores
from fiftyone_learnability.scores.formulas import (
    ambiguity,
    aum,
    deviation_over_epochs,
    el2n,
    forgetting,
    forgetting_of_counts,
    hits,
    learnability,
    learnability_rank,
    learned_epoch,
    learned_epoch_of_streak,
    mean_over_epochs,
    mean_prediction,
    variability,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
PROBABILITIES = hnp.arrays(np.float64, SHAPES, elements=st.floats(0, 1))
# few distinct values for ties, or any finite values
TIED = st.lists(st.sampled_from([0.0, 0.1, 0.1 + 1e-15, 0.5, 0.9, 1.0]), max_size=30)
ANY = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)
HITS = hnp.arrays(np.bool_, SHAPES)


@st.composite
def logits_and_labels(draw: st.DrawFn, fewest_classes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Logits ``(T, N, classes)``, with ties, and labels ``(N,)``."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(fewest_classes, 5)))
    values = st.one_of(st.sampled_from([-1.0, 0.0, 2.0]), st.floats(-50, 50))
    logits = draw(hnp.arrays(np.float64, shape, elements=values))
    return logits, draw(hnp.arrays(np.int64, shape[1], elements=st.integers(0, shape[2] - 1)))


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(scores)
    assert result.attempted == 9
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
def test_learnability_rejects_values_that_are_not_probabilities(value: float) -> None:
    with pytest.raises(ValueError, match=r"true_probabilities must lie in \[0, 1\]"):
        learnability([[0.5, 0.5], [0.5, value]])


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (2, 3, 4)])
def test_learnability_and_hits_reject_other_shapes(shape: tuple[int, ...]) -> None:
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


def test_equal_samples_share_the_larger_rank() -> None:
    assert learnability_rank([0.3, 0.3, 0.3]).tolist() == [3, 3, 3]
    assert learnability_rank([0.3, 0.7, 0.3]).tolist() == [3, 1, 3]


def test_rank_does_not_change_its_argument() -> None:
    values = np.array([0.2, 0.9, 0.5])
    learnability_rank(values)
    assert values.tolist() == [0.2, 0.9, 0.5]


def test_rank_rejects_nan() -> None:
    with pytest.raises(ValueError, match="NaN: remove samples without a score"):
        learnability_rank([0.1, np.nan])


@pytest.mark.parametrize("values", [0.5, [[0.5]]])
def test_rank_rejects_other_dimensions(values: object) -> None:
    with pytest.raises(ValueError, match="one dimension"):
        learnability_rank(values)


@given(PROBABILITIES)
def test_variability_is_the_population_deviation(p: np.ndarray) -> None:
    expected = []
    for column in p.T:
        mean = math.fsum(column) / len(column)
        expected.append(math.sqrt(math.fsum((value - mean) ** 2 for value in column) / len(column)))
    result = variability(p)
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)
    assert np.all(result <= 0.5 + 1e-12)


def test_variability_is_largest_between_certain_and_impossible() -> None:
    assert variability([[0.0, 0.3], [1.0, 0.3]]).tolist() == [0.5, 0.0]
    assert variability([[0.7]]).tolist() == [0.0]


def count_forgotten(column: list[bool]) -> float:
    if not any(column):
        return math.inf
    return float(sum(before and not after for before, after in pairwise(column)))


def find_learned(column: list[bool]) -> int:
    for epoch in range(1, len(column) + 1):
        if all(column[epoch - 1 :]):
            return epoch
    return len(column) + 1


@given(HITS)
def test_forgetting_counts_misses_right_after_a_hit(correct: np.ndarray) -> None:
    assert forgetting(correct).tolist() == [count_forgotten(column) for column in correct.T.tolist()]


@given(HITS)
def test_learned_epoch_is_the_first_without_later_misses(correct: np.ndarray) -> None:
    result = learned_epoch(correct)
    assert result.tolist() == [find_learned(column) for column in correct.T.tolist()]
    assert result.dtype == np.int64


@given(HITS)
def test_forgetting_and_learned_epoch_agree(correct: np.ndarray) -> None:
    epochs = len(correct)
    forgotten, learned = forgetting(correct), learned_epoch(correct)
    # a forgotten sample is learned later than it is forgotten, and every event needs a hit and a miss
    assert np.all((forgotten < learned) | np.isinf(forgotten))
    assert np.all((forgotten <= epochs / 2) | np.isinf(forgotten))
    np.testing.assert_array_equal(np.isinf(forgotten), ~correct.any(axis=0))
    np.testing.assert_array_equal(learned == epochs + 1, ~correct[-1])


@given(logits_and_labels(fewest_classes=2))
def test_aum_is_the_mean_margin(recorded: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = recorded
    expected = []
    for sample, label in enumerate(labels):
        margins = [z[sample, label] - max(np.delete(z[sample], label)) for z in logits]
        expected.append(math.fsum(margins) / len(margins))
    result = aum(logits, labels)
    np.testing.assert_allclose(result, np.array(expected).reshape(result.shape), rtol=0, atol=1e-12)


@given(logits_and_labels(fewest_classes=2), st.floats(-9, 9))
def test_aum_is_invariant_to_a_shift_of_all_logits(recorded: tuple[np.ndarray, np.ndarray], shift: float) -> None:
    logits, labels = recorded
    before = logits.copy()
    np.testing.assert_allclose(aum(logits + shift, labels), aum(logits, labels), rtol=0, atol=1e-10)
    np.testing.assert_array_equal(logits, before)


@given(logits_and_labels())
def test_el2n_is_the_length_of_the_error(recorded: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = recorded
    p = softmax(logits[0], axis=1)
    expected = [
        math.hypot(*(value - (k == label) for k, value in enumerate(row))) for row, label in zip(p, labels, strict=True)
    ]
    result = el2n(p, labels)
    np.testing.assert_allclose(result, np.array(expected).reshape(result.shape), rtol=0, atol=1e-12)
    assert np.all((result >= 0) & (result <= math.sqrt(2) + 1e-12))


@given(logits_and_labels())
def test_mean_prediction_is_the_mean_over_epochs(recorded: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = recorded
    p = softmax(logits, axis=2)
    result = mean_prediction(p)
    np.testing.assert_allclose(result, sum(p) / len(p), rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    # the entry of the label is the learnability
    true = np.take_along_axis(p, labels[None, :, None], axis=2)[..., 0]
    np.testing.assert_allclose(result[np.arange(len(labels)), labels], learnability(true), rtol=0, atol=1e-12)


@given(logits_and_labels())
def test_ambiguity_is_scipys_entropy(recorded: tuple[np.ndarray, np.ndarray]) -> None:
    p = mean_prediction(softmax(recorded[0], axis=2))
    result = ambiguity(p)
    np.testing.assert_allclose(result, entropy(p, axis=1), rtol=0, atol=1e-10)
    assert np.all((result >= 0) & (result <= math.log(p.shape[1]) + 1e-12))


def test_ambiguity_is_zero_for_a_certain_prediction() -> None:
    certain = ambiguity([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert certain.tolist() == [0.0, 0.0]
    assert not np.signbit(certain).any()
    # sums of float32 may be rounded to above 1
    assert ambiguity(np.array([[1 + 1e-7, 0.0]])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("score", "name"), [(variability, "true_probabilities"), (forgetting, "correct"), (learned_epoch, "correct")]
)
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (2, 3, 4)])
def test_scores_over_epochs_reject_other_shapes(
    score: Callable[..., np.ndarray], name: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=rf"{name} must have the shape \(epochs, samples\) with at least one"):
        score(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3, 2)])
def test_scores_over_epochs_and_classes_reject_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits must have the shape \(epochs, samples, classes\) with at least one"):
        aum(np.zeros(shape), [0, 0, 0])
    with pytest.raises(ValueError, match=r"probabilities must have the shape \(epochs, samples, classes\)"):
        mean_prediction(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (3,), (1, 3, 2)])
def test_scores_of_one_epoch_reject_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"probabilities must have the shape \(samples, classes\), not"):
        el2n(np.zeros(shape), [0, 0, 0])
    with pytest.raises(ValueError, match=r"mean_prediction must have the shape \(samples, classes\), not"):
        ambiguity(np.zeros(shape))


@pytest.mark.parametrize("labels", [[0], [0, 1, 1, 1], [[0, 1, 1]], 0])
def test_aum_and_el2n_reject_labels_of_another_shape(labels: object) -> None:
    with pytest.raises(ValueError, match=r"labels must have the shape \(3,\), not"):
        aum(np.zeros((2, 3, 2)), labels)
    with pytest.raises(ValueError, match=r"labels must have the shape \(3,\), not"):
        el2n(np.zeros((3, 2)), labels)


@pytest.mark.parametrize("label", [-1, 2])
def test_aum_and_el2n_reject_labels_that_are_not_classes(label: int) -> None:
    with pytest.raises(ValueError, match=rf"labels must lie in 0\.\.1, not {min(0, label)}\.\.{max(0, label)}"):
        aum(np.zeros((2, 2, 2)), [0, label])
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1, not"):
        el2n(np.zeros((2, 2)), [0, label])


@pytest.mark.filterwarnings("error")
def test_sums_over_epochs_that_differ_by_sample() -> None:
    epochs = np.array([4, 2, 0])
    np.testing.assert_array_equal(mean_over_epochs([3.0, 1.0, 0.0], epochs), [0.75, 0.5, np.nan])
    # rounding may leave a sum of squares below zero
    np.testing.assert_array_equal(deviation_over_epochs([1.0, -1e-18, 0.0], epochs), [0.5, 0.0, np.nan])
    np.testing.assert_array_equal(forgetting_of_counts([1, 0, 0], [2, 0, 0], epochs), [1.0, np.inf, np.nan])
    np.testing.assert_array_equal(learned_epoch_of_streak([4, 0, 0], epochs), [1.0, 3.0, np.nan])


def test_a_margin_needs_two_classes() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        aum(np.zeros((2, 3, 1)), [0, 0, 0])
