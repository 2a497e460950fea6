"""Reads what operators are called with as strictly as their forms do: not every caller has filled in a form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability.scores.checks import short_repr

Params = Mapping[str, Any]


def read_integer(params: Params, name: str, default: int, low: int, high: int | None = None) -> int:
    """A whole number, the default where it is not given.

    Raises:
        ValueError: if it is none, or out of range
    """
    value = params.get(name)
    value = default if value is None else value
    if not _is_number(value) or value != int(value) or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {limits}, not {short_repr(value)}")
    return int(value)


def read_positive(params: Params, name: str, default: float, high: float) -> float:
    """A number above 0, the default where it is not given.

    Raises:
        ValueError: if it is none, or out of range
    """
    return read_number(params, name, default, 0, high)


def read_bool(params: Params, name: str, default: bool = False) -> bool:
    """True or False, the default where it is not given.

    Raises:
        ValueError: if it is something else: the text "false" is not False
    """
    value = params.get(name)
    value = default if value is None else value
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {short_repr(value)}")
    return value


def read_choice(params: Params, name: str, choices: Iterable[str], default: str) -> str:
    """One of some texts, the default where it is not given.

    Raises:
        ValueError: if it is another one
    """
    value = params.get(name)
    value = default if value is None else value
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {short_repr(value)}")
    return value


def read_choices(params: Params, name: str, choices: Iterable[str], default: list[str], least: int = 1) -> list[str]:
    """Some of several texts, each once, in the order of the choices; the default where they are not given.

    Raises:
        ValueError: if they are no list, too few, or not among the choices
    """
    value, choices = params.get(name), list(choices)
    value = default if value is None else value
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{name} must be a list of names, not {short_repr(value)}")
    for one in value:
        if one not in choices:
            raise ValueError(f"{name} must be among {', '.join(choices) or 'none'}, not {short_repr(one)}")
    if len(value) < least or len(set(value)) < len(value):
        raise ValueError(f"{name} must name at least {least}, each once, not {short_repr(value)}")
    return [one for one in choices if one in value]


def read_number(params: Params, name: str, default: float, low: float, high: float) -> float:
    """A number above a limit and at most another, the default where it is not given.

    Raises:
        ValueError: if it is none, or out of range
    """
    value = params.get(name)
    value = default if value is None else value
    if not _is_number(value) or not low < value <= high:
        raise ValueError(f"{name} must be a number above {low:g} and at most {high:g}, not {short_repr(value)}")
    return float(value)


def read_text(params: Params, name: str) -> str | None:
    """A text without blanks around it, None where there is none.

    Raises:
        ValueError: if it is something else
    """
    value = params.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {short_repr(value)}")
    return (value or "").strip() or None


def warn_of_selection(inputs: types.Object, ctx: foo.ExecutionContext, count: int) -> None:
    """Says in a form that only the selected samples are meant: the App chooses them by itself once any is selected.

    Args:
        inputs: the form
        ctx: its context
        count: the samples that the form is about
    """
    if ctx.selected and count == len(ctx.selected):
        inputs.view(
            "selection",
            types.Warning(
                label="Only the selected sample" if count == 1 else f"Only the {count:,} selected samples",
                description="Choose another target above to take more",
            ),
        )


def _is_number(value: Any) -> bool:
    # a whole number too large for a float is one all the same, which math.isfinite() would not look at
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    return fits and (isinstance(value, int) or math.isfinite(value))
