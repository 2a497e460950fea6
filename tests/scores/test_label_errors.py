from __future__ import annotations

import doctest
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fiftyone_learnability.scores import label_errors as module
from fiftyone_learnability.scores.label_errors import contradiction, correct_prior, judge, suggest_labels

SMOOTHINGS = st.sampled_from([0.0, 0.01, 0.1, 1.0, 100.0])


@st.composite
def predictions(draw: st.DrawFn, most_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities ``(N, classes)``: multiples of 1/64, so that ties are exact and zeros frequent."""
    count, classes = draw(st.integers(0, 12)), draw(st.integers(2, most_classes))
    cuts = draw(hnp.arrays(np.int64, (count, classes - 1), elements=st.integers(0, 64)))
    ends = np.hstack([np.zeros((count, 1), np.int64), np.sort(cuts, axis=1), np.full((count, 1), 64)])
    return np.diff(ends, axis=1) / 64, draw(hnp.arrays(np.int64, count, elements=st.integers(0, classes - 1)))


def best_other(row: list[float], label: int) -> tuple[int, float]:
    """The first class with the largest probability except for the label, and this probability."""
    best = (-1, -1.0)
    for k, value in enumerate(row):
        if k != label and value > best[1]:
            best = (k, value)
    return best


@given(predictions(), SMOOTHINGS)
def test_contradiction_follows_its_formula(drawn: tuple[np.ndarray, np.ndarray], smoothing: float) -> None:
    p, labels = drawn
    expected = []
    for row, label in zip(p.tolist(), labels.tolist(), strict=True):
        other = best_other(row, label)[1]
        total = row[label] + other + 2 * smoothing
        expected.append((other + smoothing) / total if total else 0.5)
    result = contradiction(p, labels, smoothing)
    np.testing.assert_allclose(result, expected, rtol=1e-12)
    assert result.shape == labels.shape


@given(predictions(), SMOOTHINGS)
def test_it_is_above_a_half_where_another_class_is_preferred(
    drawn: tuple[np.ndarray, np.ndarray], smoothing: float
) -> None:
    p, labels = drawn
    result = contradiction(p, labels, smoothing)
    assert np.all((result >= 0) & (result <= 1))
    preferred = [any(value > row[label] for value in row) for row, label in zip(p, labels, strict=True)]
    assert (result > 0.5).tolist() == preferred


@given(predictions(), SMOOTHINGS, st.data())
def test_a_more_probable_label_is_contradicted_less(
    drawn: tuple[np.ndarray, np.ndarray], smoothing: float, data: st.DataObject
) -> None:
    p, labels = drawn
    raised = p.copy()
    rows = np.arange(len(labels))
    gain = data.draw(hnp.arrays(np.float64, len(labels), elements=st.floats(0.01, 1)))
    raised[rows, labels] += gain
    less, more = contradiction(raised, labels, smoothing), contradiction(p, labels, smoothing)
    assert np.all(less <= more)
    # without smoothing and without a rival, the probability of the label makes no difference
    other = np.array([best_other(row, label)[1] for row, label in zip(p.tolist(), labels.tolist(), strict=True)])
    strictly = (other > 0) | (smoothing > 0)
    assert np.all(less[strictly] < more[strictly])


@given(predictions())
def test_without_smoothing_it_is_the_share_of_the_other_class(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = drawn
    result = contradiction(p, labels, smoothing=0)
    # only the ratio of the probabilities matters
    np.testing.assert_allclose(contradiction(p / 10, labels, smoothing=0), result, rtol=1e-12)
    if p.shape[1] == 2:
        np.testing.assert_allclose(result, 1 - p[np.arange(len(labels)), labels])


@given(predictions())
def test_with_much_smoothing_it_orders_like_the_margin(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = drawn
    rows = zip(p.tolist(), labels.tolist(), strict=True)
    margin = np.array([best_other(row, label)[1] - row[label] for row, label in rows])
    result = contradiction(p, labels, smoothing=1e4)
    larger = margin[:, None] > margin[None, :]
    assert np.all((result[:, None] > result[None, :])[larger])


def test_smoothing_chooses_between_share_and_margin() -> None:
    # the first sample has the larger share, the second the larger margin
    p = [[0.05, 0.25, 0.25, 0.25, 0.2], [0.2, 0.6, 0.1, 0.1, 0.0]]
    share, margin = (contradiction(p, [0, 0], smoothing) for smoothing in (0, 10))
    assert share[0] > share[1]
    assert margin[0] < margin[1]


@pytest.mark.filterwarnings("error")
def test_neither_of_two_classes_of_probability_zero_is_preferred() -> None:
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
    result = contradiction(p[rows][:, classes], np.argsort(classes)[labels[rows]])
    np.testing.assert_array_equal(result, contradiction(p, labels)[rows])


@given(predictions())
def test_the_suggested_class_is_the_best_other_one(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = drawn
    expected = [best_other(row, label) for row, label in zip(p.tolist(), labels.tolist(), strict=True)]
    suggested, confidence = suggest_labels(p, labels)
    assert suggested.tolist() == [k for k, _ in expected]
    assert confidence.tolist() == [value for _, value in expected]
    assert suggested.dtype == np.int64
    assert not np.any(suggested == labels)


def test_half_precision_is_converted_exactly() -> None:
    p = np.array([[0.1, 0.9], [0.7, 0.3]], np.float16)
    expected = contradiction(p.astype(np.float64), [0, 1])
    assert contradiction(p, [0, 1]).tolist() == expected.tolist()
    assert suggest_labels(p, [0, 1])[1].tolist() == [float(np.float16(0.9)), float(np.float16(0.7))]


@pytest.mark.parametrize("measure", [contradiction, suggest_labels])
def test_the_arguments_do_not_change(measure: Callable[..., object]) -> None:
    p, labels = np.array([[0.1, 0.9], [0.7, 0.3]]), np.array([0, 1])
    measure(p, labels)
    assert p.tolist() == [[0.1, 0.9], [0.7, 0.3]]
    assert labels.tolist() == [0, 1]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1))), st.floats(0.5, 1, exclude_min=True))
def test_verdicts(values: list[tuple[float, float]], threshold: float) -> None:
    expected = [
        "mislabelled" if c >= threshold and sure >= 0.25 else "hard" if c > 0.5 else "learned" for c, sure in values
    ]
    result = judge([c for c, _ in values], [sure for _, sure in values], threshold)
    assert result.tolist() == expected


def test_a_small_probability_does_not_make_a_label_mislabelled() -> None:
    # of a hundred classes, none was predicted for long
    p = np.full((1, 100), 0.88 / 98)
    p[0, :2] = 0.0, 0.12
    assert contradiction(p, [0])[0] > 0.75
    assert judge(contradiction(p, [0]), suggest_labels(p, [0])[1]).tolist() == ["hard"]


def test_verdicts_at_the_edges() -> None:
    below, above = np.nextafter([0.75, 0.5], [0, 1])
    assert judge([0.75, below], [0.9, 0.9]).tolist() == ["mislabelled", "hard"]
    # at exactly 0.5 neither class is preferred
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
def test_shapes_and_labels_are_checked(measure: Callable[..., object], p: object, labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(p, labels)


@pytest.mark.parametrize("smoothing", [-0.1, float("nan")])
def test_the_smoothing_is_checked(smoothing: float) -> None:
    with pytest.raises(ValueError, match=f"smoothing must be a number of at least 0, not {smoothing}"):
        contradiction([[0.1, 0.9]], [0], smoothing)


@pytest.mark.parametrize("threshold", [0.5, 0, 1.01, float("nan")])
def test_the_threshold_is_checked(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"threshold must be a number above 0.5 and at most 1, not {threshold}"):
        judge([0.9], [0.9], threshold)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(module)
    assert (result.attempted, result.failed) == (4, 0)


def bayes(likelihood: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """The probabilities of the classes by Bayes' rule."""
    joint = likelihood * prior
    return joint / joint.sum(axis=1, keepdims=True)


@given(predictions())
def test_the_correction_follows_its_formula(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, _ = drawn
    result = correct_prior(p)
    means = [sum(column) / len(p) for column in p.T.tolist()] if len(p) else []
    for row, corrected in zip(p.tolist(), result.tolist(), strict=True):
        ratios = [value / mean if mean else 0 for value, mean in zip(row, means, strict=True)]
        assert corrected == pytest.approx([ratio / sum(ratios) for ratio in ratios])


def test_the_correction_removes_the_prior_of_a_classifier(rng: np.random.Generator) -> None:
    # a calibrated classifier of two Gaussian classes, nine to one: its mean prediction is the prior
    count = 40_000
    prior = np.array([0.9, 0.1])
    labels = (rng.random(count) < prior[1]).astype(np.int64)
    x = rng.normal(labels * 2.0, 1.0)
    likelihood = np.exp(-0.5 * (x[:, None] - np.array([0.0, 2.0])) ** 2)
    calibrated, equal = bayes(likelihood, prior), bayes(likelihood, np.array([0.5, 0.5]))
    np.testing.assert_allclose(correct_prior(calibrated), equal, atol=0.02)
    # a third of the clean rare samples is contradicted before the correction; after it, as many as of the others
    rare = labels == 1
    before, after = (contradiction(p, labels) > 0.5 for p in (calibrated, correct_prior(calibrated)))
    assert before[rare].mean() > 0.4
    assert before[~rare].mean() < 0.05
    assert after[rare].mean() == pytest.approx(after[~rare].mean(), abs=0.03)


def test_planted_errors_in_rare_classes_are_found_more_precisely(rng: np.random.Generator) -> None:
    # a classifier that has learned the classes only in part, so it leans towards frequent ones
    sizes = [120, 120, 120, 40, 40, 40]
    true = np.repeat(np.arange(6), sizes)
    wrong = rng.random(len(true)) < 0.1
    labels = np.where(wrong, (true + rng.integers(1, 6, len(true))) % 6, true)
    logits = rng.normal(0, 0.6, (len(true), 6)) + np.log(np.array(sizes) / sum(sizes))
    logits[np.arange(len(true)), true] += 1.2
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)

    def flagged(prediction: np.ndarray) -> np.ndarray:
        return judge(contradiction(prediction, labels), suggest_labels(prediction, labels)[1]) == "mislabelled"

    clean_rare = ~wrong & (true >= 3)
    before, after = flagged(p), flagged(correct_prior(p))
    assert after[clean_rare].mean() < before[clean_rare].mean() / 2
    assert wrong[after].mean() > wrong[before].mean()


@given(predictions())
def test_equally_frequent_classes_need_no_correction(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    p, _ = drawn
    # each row with all rotations of its classes: every class is predicted equally often
    balanced = np.concatenate([np.roll(p, shift, axis=1) for shift in range(p.shape[1])])
    np.testing.assert_allclose(correct_prior(balanced), balanced, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_class_that_is_never_predicted_keeps_zero() -> None:
    result = correct_prior([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]])
    assert result[:, 2].tolist() == [0, 0]
    np.testing.assert_allclose(result.sum(axis=1), 1)
    assert correct_prior([[0.0, 0.0]]).tolist() == [[0, 0]]
    with pytest.raises(ValueError, match=r"shape \(samples, classes\), not \(2,\)"):
        correct_prior([0.5, 0.5])
