"""Checks of what a call is given: the error names the argument, what it must be and what it is."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

LONGEST_NAME = 100
"""The most characters of a name that becomes part of fields, keys and files: file systems take 255 bytes."""

MOST = 2**53
"""The most samples that anything asks for: MongoDB takes larger numbers, JavaScript none exactly."""


def short_repr(value: object, most: int = 120) -> str:
    """A value as messages show it: on one line, and not longer than a line.

    Args:
        value: anything
        most (120): the most characters
    """
    return shorten(repr(value), most)


def shorten(text: str, most: int = 120) -> str:
    """A text for messages: on one line, whatever is in it, and cut in the middle if it is too long.

    Args:
        text: any text
        most (120): the most characters
    """
    # a file's name may hold line breaks, or signs that turn the writing around
    line = text if text.isprintable() else repr(text)[1:-1]
    if len(line) <= most:
        return line
    half = most // 2
    return f"{line[:half]}...{line[-half:]}"


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number, as Python's own: MongoDB and JSON know no others.

    Args:
        name: the argument
        value: what was given
        least: the least that it may be
        most (None): the most that it may be

    Raises:
        ValueError: if it is none, or out of range; True and False are none
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {short_repr(value)}")
    if most is not None and value > most:
        raise ValueError(f"{name} must be at most {most}, not {short_repr(value)}")
    return int(value)


def check_number(name: str, value: Any, what: str) -> float:
    """A finite number, as Python's own.

    Args:
        name: the argument
        value: what was given
        what: what it must be, such as "a positive number"

    Raises:
        ValueError: if it is none
    """
    fits = isinstance(value, Real) and not isinstance(value, bool)
    try:
        found = float(value) if fits else math.nan
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name} must be {what}, not {short_repr(value)}")
    return found


def check_bool(name: str, value: Any) -> bool:
    """True or False.

    Args:
        name: the argument
        value: what was given

    Raises:
        ValueError: if it is something else: the text "no" would count as True
    """
    # NumPy's own True and False, without importing NumPy: the command line reads its options before that is needed
    if not isinstance(value, bool) and type(value) is not getattr(sys.modules.get("numpy"), "bool_", bool):
        raise ValueError(f"{name} must be True or False, not {short_repr(value)}")
    return bool(value)


def check_names(name: str, value: Any) -> list[str]:
    """Several texts, or one.

    Args:
        name: the argument
        value: what was given

    Raises:
        TypeError: if it is something else
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, (Sequence, set, frozenset)) or not all(isinstance(one, str) for one in found):
        raise TypeError(f"{name} must be a name or a list of names, not {short_repr(value)}")
    return list(found)


def check_tag(value: Any) -> str:
    """A tag.

    Raises:
        TypeError: if it is no text
        ValueError: if it is empty
    """
    if not isinstance(value, str):
        raise TypeError(f"tag must be a text, not {short_repr(value)}")
    if not value.strip():
        raise ValueError("the tag must not be empty")
    return value
