"""How much a training contradicts labels, counted anew in plain Python, and what must hold whatever the predictions."""

from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_learnability.scores import label_errors as module
from fiftyone_learnability.scores.label_errors import contradiction, judge, suggest_labels

SMOOTHINGS = st.sampled_from([0.0, 0.01, 0.1, 1.0, 100.0])


@st.composite
def predictions(draw: st.DrawFn, most_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``(N, classes)`` in sixty-fourths, so that equal ones are equal, many of them 0, and labels."""
    count, classes = draw(st.integers(0, 12)), draw(st.integers(2, most_classes))
    cuts = draw(hnp.arrays(np.int64, (count, classes - 1), elements=st.integers(0, 64)))
    ends = np.hstack([np.zeros((count, 1), np.int64), np.sort(cuts, axis=1), np.full((count, 1), 64)])
    return np.diff(ends, axis=1) / 64, draw(hnp.arrays(np.int64, count, elements=st.integers(0, classes - 1)))


def best_other(row: list[float], label: int) -> tuple[int, float]:
    """The first of the classes with the largest probability other than the label, by looking at all."""
    best = (-1, -1.0)
    for k, value in enumerate(row):
        if k != label and value > best[1]:
            best = (k, value)
    return best


@given(predictions(), SMOOTHINGS)
def test_contradiction_by_its_formula(drawn: tuple[np.ndarray, np.ndarray], smoothing: float) -> None:
    p, labels = drawn
    expected = []
    for row, label in zip(p.tolist(), labels.tolist(), strict=True):
        other = best_other(row, label)[1]
        total = row[label] + other + 2 * smoothing
        expected.append((other + smoothing) / total if total else 0.5)
    found = contradiction(p, labels, smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.shape == labels.shape


@given(predictions(), SMOOTHINGS)
def test_it_is_above_a_half_where_another_class_is_preferred(
    drawn: tuple[np.ndarray, np.ndarray], smoothing: float
) -> None:
    p, labels = drawn
    found = contradiction(p, labels, smoothing)
    assert np.all((found >= 0) & (found <= 1))
    # all other classes against the label, without the function's own idea of the best one
    preferred = [any(value > row[label] for value in row) for row, label in zip(p, labels, strict=True)]
    assert (found > 0.5).tolist() == preferred


@given(predictions(), SMOOTHINGS, st.data())
def test_the_more_probable_the_label_the_less_is_it_contradicted(
    drawn: tuple[np.ndarray, np.ndarray], smoothing: float, data: st.DataObject
) -> None:
    p, labels = drawn
    raised = p.copy()
    rows = np.arange(len(labels))
    gain = data.draw(hnp.arrays(np.float64, len(labels), elements=st.floats(0.01, 1)))
    raised[rows, labels] += gain
    less, more = contradiction(raised, labels, smoothing), contradiction(p, labels, smoothing)
    assert np.all(less <= more)
    # without smoothing, a label that was never predicted or had no rival cannot be told apart
    other = np.array([best_other(row, label)[1] for row, label in zip(p.tolist(), labels.tolist(), strict=True)])
    strictly = (other > 0) | (smoothing > 0)
    assert np.all(less[strictly] < more[strictly])


@given(predictions())
def test_without_smoothing_it_is_the_share_of_the_other_class(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = drawn
    found = contradiction(p, labels, smoothing=0)
    # probabilities are compared in proportion: a tenth of them is the same share
    np.testing.assert_allclose(contradiction(p / 10, labels, smoothing=0), found, rtol=1e-12)
    if p.shape[1] == 2:
        np.testing.assert_allclose(found, 1 - p[np.arange(len(labels)), labels])


@given(predictions())
def test_with_much_smoothing_it_orders_like_the_margin(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = drawn
    rows = zip(p.tolist(), labels.tolist(), strict=True)
    margin = np.array([best_other(row, label)[1] - row[label] for row, label in rows])
    found = contradiction(p, labels, smoothing=1e4)
    larger = margin[:, None] > margin[None, :]
    assert np.all((found[:, None] > found[None, :])[larger])


def test_smoothing_weighs_share_against_margin() -> None:
    # a small but clear preference, and a large one that is less clear
    p = [[0.05, 0.25, 0.25, 0.25, 0.2], [0.2, 0.6, 0.1, 0.1, 0.0]]
    share, margin = (contradiction(p, [0, 0], smoothing) for smoothing in (0, 10))
    assert share[0] > share[1]
    assert margin[0] < margin[1]


@pytest.mark.filterwarnings("error")
def test_two_classes_that_were_never_predicted_are_even() -> None:
    p = np.array([[0.0, 0.0], [0.0, 0.0]])
    assert contradiction(p, [0, 1], smoothing=0).tolist() == [0.5, 0.5]
    assert contradiction(p, [0, 1]).tolist() == [0.5, 0.5]


@given(predictions(), st.integers(0, 2**32))
def test_the_order_of_samples_and_the_names_of_classes_do_not_matter(
    drawn: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    p, labels = drawn
    rng = np.random.default_rng(seed)
    rows, classes = rng.permutation(len(labels)), rng.permutation(p.shape[1])
    found = contradiction(p[rows][:, classes], np.argsort(classes)[labels[rows]])
    np.testing.assert_array_equal(found, contradiction(p, labels)[rows])


@given(predictions())
def test_the_suggested_class_is_the_best_other_one(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = drawn
    expected = [best_other(row, label) for row, label in zip(p.tolist(), labels.tolist(), strict=True)]
    suggested, confidence = suggest_labels(p, labels)
    assert suggested.tolist() == [k for k, _ in expected]
    assert confidence.tolist() == [value for _, value in expected]
    assert suggested.dtype == np.int64
    assert not np.any(suggested == labels)


def test_half_precision_is_taken_as_it_is() -> None:
    p = np.array([[0.1, 0.9], [0.7, 0.3]], np.float16)
    expected = contradiction(p.astype(np.float64), [0, 1])
    assert contradiction(p, [0, 1]).tolist() == expected.tolist()
    assert suggest_labels(p, [0, 1])[1].tolist() == [float(np.float16(0.9)), float(np.float16(0.7))]


@pytest.mark.parametrize("measure", [contradiction, suggest_labels])
def test_the_arguments_are_left_alone(measure: Callable[..., object]) -> None:
    p, labels = np.array([[0.1, 0.9], [0.7, 0.3]]), np.array([0, 1])
    measure(p, labels)
    assert p.tolist() == [[0.1, 0.9], [0.7, 0.3]]
    assert labels.tolist() == [0, 1]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1))), st.floats(0.5, 1, exclude_min=True))
def test_verdicts(values: list[tuple[float, float]], threshold: float) -> None:
    expected = [
        "mislabelled" if c >= threshold and sure >= 0.25 else "hard" if c > 0.5 else "learned" for c, sure in values
    ]
    found = judge([c for c, _ in values], [sure for _, sure in values], threshold)
    assert found.tolist() == expected


def test_one_of_many_small_probabilities_is_nothing_to_settle_on() -> None:
    # a hundred classes, of which none was taken for long: three times next to nothing is next to nothing
    p = np.full((1, 100), 0.88 / 98)
    p[0, :2] = 0.0, 0.12
    assert contradiction(p, [0])[0] > 0.75
    assert judge(contradiction(p, [0]), suggest_labels(p, [0])[1]).tolist() == ["hard"]


def test_verdicts_at_the_edges() -> None:
    below, above = np.nextafter([0.75, 0.5], [0, 1])
    assert judge([0.75, below], [0.9, 0.9]).tolist() == ["mislabelled", "hard"]
    # neither class is preferred at exactly a half
    assert judge([0.5, above], [0.4, 0.4]).tolist() == ["learned", "hard"]
    assert judge([1.0], [1.0], threshold=1).tolist() == ["mislabelled"]
    assert judge([0.9, 0.9], [0.25, np.nextafter(0.25, 0)]).tolist() == ["mislabelled", "hard"]
    assert judge([], []).tolist() == []


def test_without_smoothing_three_times_the_probability_is_mislabelled() -> None:
    p = [[0.1875, 0.5625, 0.25], [0.1875, 0.55, 0.2625]]
    assert judge(contradiction(p, [0, 0], smoothing=0), suggest_labels(p, [0, 0])[1]).tolist() == [
        "mislabelled",
        "hard",
    ]


@pytest.mark.parametrize("measure", [contradiction, suggest_labels])
@pytest.mark.parametrize(
    ("p", "labels", "message"),
    [
        ([0.1, 0.9], [0, 1], r"\(samples, classes\) of at least two classes, not \(2,\)"),
        ([[1.0], [1.0]], [0, 0], r"at least two classes, not \(2, 1\)"),
        ([[[0.1, 0.9]]], [0], r"at least two classes, not \(1, 1, 2\)"),
        ([[0.1, 0.9]], [0, 1], r"labels must have the shape \(1,\), not \(2,\)"),
        ([[0.1, 0.9]], 0, r"labels must have the shape \(1,\), not \(\)"),
        ([[0.1, 0.9], [0.1, 0.9]], [0, 2], r"labels must lie in 0\.\.1, not 0\.\.2"),
        ([[0.1, 0.9], [0.1, 0.9]], [-1, 1], r"labels must lie in 0\.\.1, not -1\.\.1"),
    ],
)
def test_shapes_that_do_not_fit(measure: Callable[..., object], p: object, labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(p, labels)


@pytest.mark.parametrize("smoothing", [-0.1, float("nan")])
def test_smoothing_is_not_negative(smoothing: float) -> None:
    with pytest.raises(ValueError, match=f"smoothing must be a number of at least 0, not {smoothing}"):
        contradiction([[0.1, 0.9]], [0], smoothing)


@pytest.mark.parametrize("threshold", [0.5, 0, 1.01, float("nan")])
def test_the_threshold_is_a_preference(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold must be a number above 0.5 and at most 1, not {threshold}"):
        judge([0.9], [0.9], threshold)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(module)
    assert (result.attempted, result.failed) == (3, 0)
