"""Argument checks. Each error names the argument, what it must be, and the value it got."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

LONGEST_NAME = 100
"""Characters allowed in a name that becomes part of fields, run keys and files: file systems allow 255 bytes."""

MOST_SAMPLES = 2**53
"""Upper limit of arguments that count samples: larger integers are not exact in JavaScript."""

MOST_SEED = 2**62
"""Upper limit of seeds: MongoDB stores integers below 2**63, and each further run adds 1 to the seed."""


def short_repr(value: object, most: int = 120) -> str:
    """Format a value for a message, on one line of limited length.

    Args:
        value: anything
        most (120): the number of characters from which on it is shortened
    """
    return shorten(repr(value), most)


def shorten(text: str, most: int = 120) -> str:
    """Put a text on one line and cut its middle out if it is too long.

    Args:
        text: any text
        most (120): the number of characters from which on it is shortened
    """
    # file names may hold line breaks, and characters that reverse the writing direction
    line = text if text.isprintable() else repr(text)[1:-1]
    if len(line) <= most:
        return line
    half = most // 2
    return f"{line[:half]}...{line[-half:]}"


def check_integer(name: str, value: Any, at_least: int, at_most: int | None = None) -> int:
    """Return an integer as a Python int, which MongoDB and JSON can store, if it lies in a range.

    Args:
        name: the argument
        value: its value, a Python or NumPy integer
        at_least: the lower limit
        at_most (None): the upper limit

    Raises:
        ValueError: if the value is not an integer (True and False are not) or lies outside the range
    """
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or value < at_least:
        raise ValueError(f"{name} must be a whole number of at least {at_least}, not {short_repr(value)}")
    if at_most is not None and value > at_most:
        raise ValueError(f"{name} must be at most {at_most}, not {short_repr(value)}")
    return int(value)


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """Return a finite number as a Python float, if it lies in a range.

    Args:
        name: the argument
        value: its value, a Python or NumPy number
        above (None): the lower limit, itself excluded
        at_least (None): the lower limit, itself included
        below (None): the upper limit, itself excluded
        at_most (None): the upper limit, itself included

    Raises:
        ValueError: if the value is not a finite number (True and False are not) or lies outside the range

    Example::

        >>> check_number("fraction", 1.5, above=0, at_most=1)
        Traceback (most recent call last):
        ValueError: fraction must be a number above 0 and at most 1, not 1.5
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan
    except OverflowError:
        number = math.inf
    if not (
        math.isfinite(number)
        and (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (below is None or number < below)
        and (at_most is None or number <= at_most)
    ):
        expected = _describe_range(above, at_least, below, at_most)
        raise ValueError(f"{name} must be {expected}, not {short_repr(value)}")
    return number


def _describe_range(above: float | None, at_least: float | None, below: float | None, at_most: float | None) -> str:
    if at_least is not None and at_most is not None:
        return f"a number from {at_least:g} to {at_most:g}"
    if above is not None and below is not None:
        return f"a number between {above:g} and {below:g}"
    limits = {"above": above, "of at least": at_least, "below": below, "at most": at_most}
    bounds = " and ".join(f"{words} {limit:g}" for words, limit in limits.items() if limit is not None)
    return f"a number {bounds}" if bounds else "a finite number"


def check_bool(name: str, value: Any) -> bool:
    """Return True or False as a Python bool.

    Args:
        name: the argument
        value: its value, a Python or NumPy bool

    Raises:
        ValueError: if the value is anything else: the text "no" would count as True
    """
    # NumPy is not imported to recognise its bool: the command line checks its options before it needs NumPy
    if not isinstance(value, bool) and type(value) is not getattr(sys.modules.get("numpy"), "bool_", bool):
        raise ValueError(f"{name} must be True or False, not {short_repr(value)}")
    return bool(value)


def check_names(name: str, value: Any) -> list[str]:
    """Return one name or several as a list.

    Args:
        name: the argument
        value: a text, or a list, tuple or set of texts

    Raises:
        TypeError: if the value is anything else
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (Sequence, set, frozenset)) or not all(isinstance(text, str) for text in names):
        raise TypeError(f"{name} must be a name or a list of names, not {short_repr(value)}")
    return list(names)


def plain_name(name: str) -> str:
    """Return a name as it is compared: "ResNet-20", "resnet_20" and "resnet20" are the same."""
    return re.sub(r"[\s_-]", "", name).lower()


def check_tag(value: Any) -> str:
    """Return the argument ``tag`` if it is a text that is not blank.

    Raises:
        TypeError: if it is not a text
        ValueError: if it is blank
    """
    if not isinstance(value, str):
        raise TypeError(f"tag must be a text, not {short_repr(value)}")
    if not value.strip():
        raise ValueError("the tag must not be empty")
    return value


def are_probabilities(values: ArrayLike) -> bool:
    """True if values that should be logits are probabilities: no row has a negative value, and each sums to 1.

    Args:
        values: ``(B, classes)``, of single precision or better; with one class there is nothing to tell apart

    Example::

        >>> are_probabilities([[0.2, 0.8], [0.5, 0.5]]), are_probabilities([[0.2, 0.7], [0.5, 0.5]])
        (True, False)
    """
    rows = np.asarray(values, np.float64)
    is_table = rows.ndim == 2 and len(rows) > 0 and rows.shape[1] > 1
    return bool(is_table and (rows >= 0).all() and (np.abs(rows.sum(axis=1) - 1) < 1e-3).all())
