from __future__ import annotations

import doctest
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from fiftyone_learnability.scores import subsets
from fiftyone_learnability.scores.subsets import STRATEGIES, choose_subset, order_by_difficulty

# few distinct values for ties, or any values that can be ordered
TIED = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
ANY = st.floats(allow_nan=False)
SCORES = st.one_of(st.lists(TIED, min_size=1, max_size=40), st.lists(ANY, min_size=1, max_size=40))
DISTINCT = st.lists(st.floats(0, 1), min_size=1, max_size=40, unique=True)
FRACTIONS = st.floats(0.01, 1)
NAMES = st.sampled_from(STRATEGIES)
SEEDS = st.integers(0, 5)


def expected_order(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))


def expected_quotas(classes: list[int], size: int) -> dict[int, int]:
    """The quota of each class by largest remainders, with exact fractions."""
    quotas = {c: Fraction(size * classes.count(c), len(classes)) for c in set(classes)}
    shares = {c: int(quota) for c, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda c: (shares[c] - quotas[c], c))
    for c in by_remainder[: size - sum(shares.values())]:
        shares[c] += 1
    return shares


def draw_classes(data: st.DataObject, count: int) -> list[int]:
    return data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(subsets)
    assert result.attempted == 4
    assert result.failed == 0


@given(SCORES, FRACTIONS, NAMES, SEEDS, st.data())
def test_a_subset_has_its_size_and_is_in_order(
    scores: list[float], fraction: float, strategy: str, seed: int, data: st.DataObject
) -> None:
    classes = data.draw(st.one_of(st.none(), st.just(draw_classes(data, len(scores)))))
    chosen = choose_subset(scores, fraction, strategy, classes=classes, seed=seed)
    assert chosen.dtype == np.int64
    assert len(chosen) == max(1, round(fraction * len(scores)))
    # strictly ordered by difficulty, so that there are no duplicates
    place = {index: k for k, index in enumerate(expected_order(scores))}
    places = [place[index] for index in chosen.tolist()]
    assert places == sorted(set(places))
    again = choose_subset(scores, fraction, strategy, classes=classes, seed=seed)
    assert again.tolist() == chosen.tolist()


@given(SCORES, FRACTIONS, NAMES, SEEDS, st.data())
def test_a_subset_keeps_the_balance_of_classes(
    scores: list[float], fraction: float, strategy: str, seed: int, data: st.DataObject
) -> None:
    classes = draw_classes(data, len(scores))
    chosen = choose_subset(scores, fraction, strategy, classes=classes, seed=seed)
    quotas = expected_quotas(classes, len(chosen))
    for c in set(classes):
        assert sum(classes[index] == c for index in chosen) == quotas[c]


@given(SCORES, FRACTIONS, st.data())
def test_the_ends_and_the_middle(scores: list[float], fraction: float, data: st.DataObject) -> None:
    classes = draw_classes(data, len(scores))
    order = expected_order(scores)
    for given_classes in (None, classes):
        labels = classes if given_classes else [0] * len(scores)
        quotas = expected_quotas(labels, max(1, round(fraction * len(scores))))
        expected: dict[str, set[int]] = {"easiest": set(), "hardest": set(), "mid": set()}
        for c, take in quotas.items():
            members = [index for index in order if labels[index] == c]
            left = len(members) - take
            expected["easiest"].update(members[:take])
            expected["hardest"].update(members[left:])
            # as many easier samples are omitted as harder ones, or one fewer
            expected["mid"].update(members[left // 2 : len(members) - (left - left // 2)])
        for strategy, indices in expected.items():
            chosen = choose_subset(scores, fraction, strategy, classes=given_classes)
            assert set(chosen.tolist()) == indices, strategy


@given(SCORES, FRACTIONS, SEEDS)
def test_stratified_takes_one_sample_from_each_stratum(scores: list[float], fraction: float, seed: int) -> None:
    order = expected_order(scores)
    chosen = choose_subset(scores, fraction, "stratified", seed=seed).tolist()
    places = [order.index(index) for index in chosen]
    count, take = len(scores), len(chosen)
    # stratum k ranges from k N/n to (k + 1) N/n; the bounds are rounded to integers, halves up
    bounds = [int(Fraction(k * count, take) + Fraction(1, 2)) for k in range(take + 1)]
    assert all(low <= place < high for place, low, high in zip(places, bounds[:-1], bounds[1:], strict=True))
    sizes = np.diff(bounds)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1


def test_within_a_stratum_all_samples_are_equally_likely() -> None:
    scores = np.linspace(1, 0, 12)
    counts = np.zeros(12)
    draws = 2000
    for seed in range(draws):
        counts[choose_subset(scores, 1 / 3, "stratified", seed=seed)] += 1
    assert counts.sum() == 4 * draws
    for count in counts:
        assert binomtest(int(count), draws, 1 / 3).pvalue > 1e-4


def test_random_takes_all_samples_equally_often() -> None:
    scores = [0.3, 0.9, 0.1, 0.9, 0.5]
    counts = np.zeros(5)
    draws = 2000
    for seed in range(draws):
        counts[choose_subset(scores, 0.4, "random", seed=seed)] += 1
    for count in counts:
        assert binomtest(int(count), draws, 0.4).pvalue > 1e-4


@given(DISTINCT, FRACTIONS, NAMES, SEEDS, st.data())
def test_without_ties_the_order_of_samples_does_not_matter(
    scores: list[float], fraction: float, strategy: str, seed: int, data: st.DataObject
) -> None:
    classes = data.draw(st.one_of(st.none(), st.just(np.array(draw_classes(data, len(scores))))))
    moved = np.array(data.draw(st.permutations(range(len(scores)))))
    chosen = choose_subset(scores, fraction, strategy, classes=classes, seed=seed)
    of_moved = choose_subset(
        np.array(scores)[moved], fraction, strategy, classes=None if classes is None else classes[moved], seed=seed
    )
    assert moved[of_moved].tolist() == chosen.tolist()


@pytest.mark.parametrize("strategy", ["stratified", "random"])
def test_seeds_differ(strategy: str) -> None:
    scores = np.linspace(0, 1, 50)
    subsets_drawn = {tuple(choose_subset(scores, 0.3, strategy, seed=seed)) for seed in range(10)}
    assert len(subsets_drawn) == 10


def test_a_fraction_of_one_chooses_all_samples() -> None:
    for strategy in STRATEGIES:
        assert choose_subset([0.1, 0.5, 0.3], 1, strategy).tolist() == [1, 2, 0]
        assert choose_subset([0.1, 0.5, 0.3], 1.0, strategy, classes=["b", "a", "b"]).tolist() == [1, 2, 0]


def test_a_small_class_may_get_no_sample() -> None:
    # 2 of 20: the quota of the class of one sample is 0.1
    classes = [0] * 19 + [1]
    assert choose_subset(np.linspace(1, 0, 20), 0.1, "hardest", classes=classes).tolist() == [17, 18]


@given(SCORES)
def test_the_order_is_from_easy_to_hard(scores: list[float]) -> None:
    assert order_by_difficulty(scores).tolist() == expected_order(scores)


@given(SCORES, st.data())
def test_each_part_of_a_balanced_order_is_balanced(scores: list[float], data: st.DataObject) -> None:
    classes = draw_classes(data, len(scores))
    order = order_by_difficulty(scores, classes).tolist()
    assert sorted(order) == list(range(len(scores)))
    number = dict.fromkeys(set(classes), 0)
    last = Fraction(0)
    for index in order:
        # places never decrease
        number[classes[index]] += 1
        place = Fraction(2 * number[classes[index]] - 1, 2 * classes.count(classes[index]))
        assert place >= last
        last = place
    for c in set(classes):
        assert [index for index in order if classes[index] == c] == [
            index for index in expected_order(scores) if classes[index] == c
        ]
    kinds = len(set(classes))
    for end in range(1, len(order) + 1):
        for c in set(classes):
            share = sum(classes[index] == c for index in order[:end]) - end * classes.count(c) / len(classes)
            # half a sample of this class, and the shift of the end by the rounding of all classes
            assert abs(share) <= 1 / 2 + kinds / 2 * classes.count(c) / len(classes) + 1e-9


def test_arguments_do_not_change() -> None:
    scores, classes = np.array([0.2, 0.9, 0.5]), np.array([1, 0, 1])
    choose_subset(scores, 0.7, classes=classes)
    order_by_difficulty(scores, classes)
    assert scores.tolist() == [0.2, 0.9, 0.5]
    assert classes.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([0.1, np.nan, np.nan], {}, "NaN for 2 of 3 samples: remove samples without a score"),
        ([], {}, "learnability is empty"),
        (0.5, {}, r"one dimension, not the shape \(\)"),
        ([[0.5]], {}, r"one dimension, not the shape \(1, 1\)"),
        ([0.5], {"fraction": 0}, "fraction must be a number above 0 and at most 1, not 0"),
        ([0.5], {"fraction": 1.01}, "fraction must be a number above 0 and at most 1, not 1.01"),
        ([0.5], {"fraction": np.nan}, "fraction must be a number above 0 and at most 1, not nan"),
        ([0.5], {"strategy": "middle"}, "hardest, easiest, mid, stratified, random, not 'middle'"),
        ([0.5], {"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ([0.5, 0.6], {"classes": [1]}, r"classes must have the shape \(2,\), not \(1,\)"),
        ([0.5, 0.6], {"classes": [[1, 2]]}, r"classes must have the shape \(2,\), not \(1, 2\)"),
    ],
)
def test_arguments_are_checked(scores: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_subset(scores, **{"fraction": 0.5, **options})
    if not options.keys() - {"classes"}:
        with pytest.raises(ValueError, match=message):
            order_by_difficulty(scores, **options)


def test_choosing_needs_no_torch() -> None:
    code = "import sys; from fiftyone_learnability.scores import subsets; print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert process.stdout.strip() == "False"
