"""The test of a final accuracy against chance, with scipy as the oracle of the binomial probability."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fiftyone_learnability.scores import evidence as module
from fiftyone_learnability.scores.evidence import Evidence, binomial_tail, chance_accuracy, exceeds_chance


@given(st.data(), st.integers(1, 3000), st.floats(0.001, 0.999))
def test_the_binomial_probability(data: st.DataObject, trials: int, probability: float) -> None:
    hits = data.draw(st.integers(0, trials))
    expected = stats.binom.sf(hits - 1, trials, probability)
    assert binomial_tail(hits, trials, probability) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_a_million_samples_are_tested_exactly() -> None:
    expected = stats.binom.sf(1_399, 1_281_167, 0.001)
    assert binomial_tail(1_400, 1_281_167, 0.001) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.integers(-1, 4), min_size=1))
def test_chance_is_the_share_of_the_largest_class(labels: list[int]) -> None:
    known = [label for label in labels if label >= 0]
    if not known:
        assert np.isnan(chance_accuracy(labels))
        return
    assert chance_accuracy(labels) == max(known.count(label) for label in known) / len(known)
    assert chance_accuracy(labels) >= 1 / len(set(known))


@pytest.mark.parametrize(
    ("accuracy", "num_samples", "chance", "expected"),
    [
        # VGG-16 that never left its start, on 2,300 images of ten classes
        (0.098, 2300, 0.1, False),
        (0.25, 2300, 0.1, True),
        # always the largest class of an imbalanced data set
        (0.75, 2000, 0.75, False),
        (0.755, 100_000, 0.75, False),
        (0.80, 2000, 0.75, True),
        # significant, but next to nothing
        (0.11, 100_000, 0.1, False),
        # of 1,000 classes .04 is much
        (0.04, 50_000, 0.001, True),
        (0.0011, 50_000, 0.001, False),
        # too few images to tell: 2 ** -6 is not below .01
        (1.0, 6, 0.5, False),
        (1.0, 7, 0.5, True),
    ],
)
def test_what_exceeds_chance(accuracy: float, num_samples: int, chance: float, expected: bool) -> None:
    assert exceeds_chance(accuracy, num_samples, chance) is expected


def test_one_run_that_learned_is_evidence() -> None:
    both = Evidence((0.1, 0.9), 0.1, 500)
    assert both.learned == (False, True)
    assert both.problem is None
    none = Evidence((0.1, 0.12), 0.1, 500)
    assert none.problem == (
        "did not learn clearly more than chance: its final accuracy on the 500 training images is 0.100, 0.120, and "
        "the largest class alone gives 0.100"
    )
    assert Evidence.from_config(none.to_config()) == none


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(module)
    assert (result.attempted, result.failed) == (3, 0)
