from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from bson import Int64

from fiftyone_learnability.scores import checks
from fiftyone_learnability.scores.checks import check_bool, check_integer, check_names, check_number, check_tag, shorten


@pytest.mark.parametrize("value", [3, np.int32(3), Int64(3)])
def test_integers_become_python_integers(value: Any) -> None:
    assert type(check_integer("k", value, 1, 3)) is int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "k must be a whole number of at least 1, not 0"),
        (True, "k must be a whole number of at least 1, not True"),
        (2.0, "k must be a whole number of at least 1, not 2.0"),
        ("2", "k must be a whole number of at least 1, not '2'"),
        (6, "k must be at most 5, not 6"),
    ],
)
def test_other_values_than_integers_in_the_range_are_refused(value: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{expected}$"):
        check_integer("k", value, 1, 5)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int64(1)])
def test_numbers_become_python_floats(value: Any) -> None:
    assert type(check_number("lr", value)) is float


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "expected"),
    [
        ({}, [-1e308, 0], [], "a finite number"),
        ({"above": 0}, [5e-324], [0, -1], "a number above 0"),
        ({"at_least": 0}, [0], [-5e-324], "a number of at least 0"),
        ({"below": 1}, [-9, 0.9], [1], "a number below 1"),
        ({"at_most": 1}, [-9, 1], [1.1], "a number at most 1"),
        ({"above": 0, "at_most": 1}, [0.1, 1], [0, 1.1], "a number above 0 and at most 1"),
        ({"above": 0, "below": 1}, [0.1], [0, 1], "a number between 0 and 1"),
        ({"at_least": 0, "at_most": 1}, [0, 1], [-0.1, 1.1], "a number from 0 to 1"),
        ({"at_least": 0.5, "below": 1}, [0.5], [0.4, 1], "a number of at least 0.5 and below 1"),
    ],
)
def test_the_bounds_of_a_number(
    bounds: dict[str, float], inside: list[float], outside: list[float], expected: str
) -> None:
    assert [check_number("lr", value, **bounds) for value in inside] == inside
    for value in [*outside, float("nan"), float("inf"), 10**400, True, "1", None]:
        with pytest.raises(ValueError, match=f"^lr must be {expected}, not "):
            check_number("lr", value, **bounds)


def test_the_message_shows_the_value() -> None:
    with pytest.raises(ValueError, match=r"^lr must be a number above 0, not 'fast'$"):
        check_number("lr", "fast", above=0)


@pytest.mark.parametrize("value", [True, np.True_])
def test_booleans_become_python_booleans(value: Any) -> None:
    assert check_bool("overwrite", value) is True


@pytest.mark.parametrize("value", ["no", 0, None])
def test_other_values_than_true_and_false_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=f"overwrite must be True or False, not {value!r}"):
        check_bool("overwrite", value)


def test_names() -> None:
    assert check_names("models", "a") == ["a"]
    assert check_names("models", ("a", "b")) == ["a", "b"]
    for value in (3, ["a", 3], {"a": 1}):
        with pytest.raises(TypeError, match="models must be a name or a list of names, not"):
            check_names("models", value)


def test_tags() -> None:
    assert check_tag("hard") == "hard"
    with pytest.raises(TypeError, match="tag must be a text, not 3"):
        check_tag(3)
    with pytest.raises(ValueError, match="must not be empty"):
        check_tag(" ")


def test_long_texts_are_shortened_to_one_line() -> None:
    assert shorten("a\nb") == "a\\nb"
    assert shorten("x" * 50 + "y" * 50, most=10) == "xxxxx...yyyyy"


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(checks)
    assert (result.attempted, result.failed) == (2, 0)
