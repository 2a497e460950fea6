"""Read the params of operators as strictly as their forms: a caller need not have used the form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability.scores.checks import short_repr

Params = Mapping[str, Any]


def read_integer(params: Params, name: str, default: int, low: int, high: int | None = None) -> int:
    """Return a whole number, or the default if it is not given.

    Raises:
        ValueError: if it is not a whole number, or out of range
    """
    value = params.get(name)
    value = default if value is None else value
    if not _is_number(value) or value != int(value) or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {limits}, not {short_repr(value)}")
    return int(value)


def read_bool(params: Params, name: str, default: bool = False) -> bool:
    """Return True or False, or the default if it is not given.

    Raises:
        ValueError: if it is anything else, such as the text "false"
    """
    value = params.get(name)
    value = default if value is None else value
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {short_repr(value)}")
    return value


def read_choice(params: Params, name: str, choices: Iterable[str], default: str) -> str:
    """Return one of the choices, or the default if it is not given.

    Raises:
        ValueError: if it is not one of them
    """
    value = params.get(name)
    value = default if value is None else value
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {short_repr(value)}")
    return value


def read_choices(params: Params, name: str, choices: Iterable[str], default: list[str], least: int = 1) -> list[str]:
    """Return several of the choices in their order, or the default if they are not given.

    Raises:
        ValueError: if they are not a list of choices, too few, or repeated
    """
    value, choices = params.get(name), list(choices)
    value = default if value is None else value
    if not isinstance(value, (list, tuple)) or not all(isinstance(chosen, str) for chosen in value):
        raise ValueError(f"{name} must be a list of names, not {short_repr(value)}")
    for chosen in value:
        if chosen not in choices:
            raise ValueError(f"{name} must be among {', '.join(choices) or 'none'}, not {short_repr(chosen)}")
    if len(value) < least or len(set(value)) < len(value):
        raise ValueError(f"{name} must name at least {least}, each once, not {short_repr(value)}")
    return [choice for choice in choices if choice in value]


def read_number(params: Params, name: str, default: float, low: float, high: float | None = None) -> float:
    """Return a number above ``low`` and at most ``high``, or the default if it is not given.

    Raises:
        ValueError: if it is not a number, or out of range
    """
    value = params.get(name)
    value = default if value is None else value
    if not _is_number(value) or value <= low or (high is not None and value > high):
        most = "" if high is None else f" and at most {high:g}"
        raise ValueError(f"{name} must be a number above {low:g}{most}, not {short_repr(value)}")
    return float(value)


def read_text(params: Params, name: str) -> str | None:
    """Return a text without surrounding spaces, None if it is not given or empty.

    Raises:
        ValueError: if it is not a text
    """
    value = params.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {short_repr(value)}")
    return (value or "").strip() or None


def warn_of_selection(inputs: types.Object, ctx: foo.ExecutionContext, count: int) -> None:
    """Warn in a form that it applies to the selected samples only, which the App targets as soon as there are any.

    Args:
        inputs: the inputs of the form
        ctx: its context
        count: the number of samples that the form applies to
    """
    if ctx.selected and count == len(ctx.selected):
        inputs.view(
            "selection",
            types.Warning(
                label="Only the selected sample" if count == 1 else f"Only the {count:,} selected samples",
                description="Choose another target above for more",
            ),
        )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    # math.isfinite() raises an error for an int that is too large for a float
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
