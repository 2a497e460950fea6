"""Reads the panel's events: positions in plots and ids.

Requests may come from anyone who can reach the server, so every value is checked. Functions here ignore positions and
ids that are malformed, as if nothing had been clicked.
"""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from bson import ObjectId

MOST_POINTS = 100_000
"""Points of a box beyond these are ignored; no plot of the panel has as many."""


def clicked(ctx: foo.ExecutionContext) -> list[int]:
    """Return the clicked point of a plot, as a list of one; empty if there is none."""
    return _points([ctx.params.get("idx")])


def boxed(ctx: foo.ExecutionContext) -> list[int]:
    """Return the points in a box. FiftyOne sends a second, empty event after each box."""
    data = ctx.params.get("data")
    if not isinstance(data, list):
        return []
    return _points([point.get("idx") for point in data[:MOST_POINTS] if isinstance(point, dict)])


def cell(ctx: foo.ExecutionContext) -> tuple[int, int] | None:
    """Return row and column of the clicked cell of a heatmap, None if there is none."""
    position = ctx.params.get("idx")
    if not isinstance(position, (list, tuple)) or len(position) != 2 or not all(map(_is_index, position)):
        return None
    return position[0], position[1]


def table_cell(ctx: foo.ExecutionContext) -> tuple[int, int] | None:
    """Return row and column of the clicked cell of a table, None if there is none, as for its head."""
    row, column = ctx.params.get("row"), ctx.params.get("column")
    return (row, column) if _is_index(row) and _is_index(column) else None


def sample_id(ctx: foo.ExecutionContext) -> str | None:
    """Return the id of the clicked sample, None if there is none."""
    id = ctx.params.get("id")
    return id if is_id(id) else None


def is_id(value: Any) -> bool:
    """True if a value can be the id of a sample."""
    return isinstance(value, str) and ObjectId.is_valid(value)


def _points(values: list[Any]) -> list[int]:
    return [value for value in values if _is_index(value)]


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def selected(ctx: foo.ExecutionContext) -> list[str]:
    """Return the ids of the selected samples."""
    return [id for id in ctx.selected or [] if is_id(id)]


def check_event(ctx: foo.ExecutionContext) -> None:
    """Check which method an event calls: FiftyOne would call any method that an event names.

    Raises:
        ValueError: if the method is not an event handler
    """
    method = ctx.params.get("__method__")
    if method is not None and not (isinstance(method, str) and method.startswith("on_")):
        raise ValueError(f"__method__ must name an event of the panel, not {method!r}")
