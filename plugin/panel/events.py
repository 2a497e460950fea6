"""Reads what events of the panel bring: positions in plots and ids, from a browser or from whoever plays one.

Nothing of an event is taken as it is: a position becomes an int, an id one of FiftyOne's; what is neither is no event.
"""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
from bson import ObjectId

MOST_POINTS = 100_000
"""More points than any plot of the panel draws."""


def clicked(ctx: foo.ExecutionContext) -> list[int]:
    """The point of a click, as a list that may be empty."""
    return _points([ctx.params.get("idx")])


def boxed(ctx: foo.ExecutionContext) -> list[int]:
    """The points in a box; a second, empty event follows each."""
    data = ctx.params.get("data")
    if not isinstance(data, list):
        return []
    return _points([point.get("idx") for point in data[:MOST_POINTS] if isinstance(point, dict)])


def cell(ctx: foo.ExecutionContext) -> tuple[int, int] | None:
    """Row and column of the cell of a heatmap that was clicked, None if the event does not say."""
    place = ctx.params.get("idx")
    if not isinstance(place, (list, tuple)) or len(place) != 2 or not all(map(_is_position, place)):
        return None
    return place[0], place[1]


def sample_id(ctx: foo.ExecutionContext) -> str | None:
    """The id of the sample that was clicked, None if the event does not say."""
    id = ctx.params.get("id")
    return id if is_id(id) else None


def is_id(value: Any) -> bool:
    """Whether something can be the id of a sample."""
    return isinstance(value, str) and ObjectId.is_valid(value)


def _points(values: list[Any]) -> list[int]:
    return [value for value in values if _is_position(value)]


def _is_position(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def selected(ctx: foo.ExecutionContext) -> list[str]:
    """The ids of the selected samples."""
    return [id for id in ctx.selected or [] if is_id(id)]


def check_event(ctx: foo.ExecutionContext) -> None:
    """Checks what the browser says happened, and drops what is not as the panel had put it into the state.

    FiftyOne calls whatever method of the panel an event names, and the state comes back with each event.

    Raises:
        ValueError: if the event is none of the panel's
    """
    method = ctx.params.get("__method__")
    if method is not None and not (isinstance(method, str) and method.startswith("on_")):
        raise ValueError(f"__method__ must name an event of the panel, not {method!r}")
    state = ctx.panel_state
    if not isinstance(state, dict):
        raise ValueError(f"panel_state must be an object, not {type(state).__name__}")
    for name, fits in _STATE.items():
        if name in state and not fits(state[name]):
            del state[name]


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(one is None or isinstance(one, str) for one in value.values())


def _is_own(value: Any) -> bool:
    wanted = {"now": str, "now_count": int, "before": str, "before_count": int}
    return value == {} or _is_record(value, wanted)


def _is_job(value: Any) -> bool:
    texts = dict.fromkeys(("id", "state", "title", "label", "error"), str)
    wanted = {**texts, "progress": (int, float), "in_background": bool, "remarks": list}
    return value == {} or (_is_record(value, wanted) and all(isinstance(one, str) for one in value["remarks"]))


def _is_record(value: Any, wanted: dict[str, Any]) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == wanted.keys()
        and all(isinstance(value[name], kind) for name, kind in wanted.items())
    )


def _are_examples(value: Any) -> bool:
    wanted = dict.fromkeys(("id", "label", "ranks"), str)
    return isinstance(value, list) and all(_is_record(one, wanted) for one in value)


def _are_pictures(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


_STATE = {
    "own": _is_own,
    "job": _is_job,
    "controls": _texts,
    "sorting": _texts,
    "tab": lambda value: isinstance(value, str),
    "shown_easiest": _are_examples,
    "shown_hardest": _are_examples,
    "easiest": _are_pictures,
    "hardest": _are_pictures,
}
"""What the panel has put into each part of its state."""
