"""The scope of the panel: the view that the user chose, without the stages that the panel itself has added to it.

A click in a plot filters the grid. If the panel followed the grid then, the plot would shrink to the clicked cell. So
the panel's state records how many stages the panel added and a fingerprint of the view that resulted. As long as the
App shows that very view, the scope is the view without those stages, and the next click replaces them. The state
records the same for the view before, which the App still shows while it renders the event that changes it. The state
holds fingerprints instead of views, because a view may name a million samples.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import fiftyone.operators as foo

from fiftyone_learnability.dataset.internals import build_app_view, serialize_stages
from fiftyone_learnability.dataset.stages import check_stage_classes

Stages = list[dict[str, Any]]
"""The stages of a view, serialized."""

_PLAIN_TYPES = {str, int, bool, type(None)}


@dataclass(frozen=True, eq=False)
class Scope:
    """The samples that the panel shows.

    Attributes:
        stages: the stages of their view
        filters: the filters of the App's sidebar
        fingerprint: differs for different stages or filters
    """

    stages: Stages
    filters: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(cls, stages: Stages, filters: dict[str, Any]) -> Scope:
        """Return the scope of stages and filters."""
        return cls(stages, filters, fingerprint([stages, filters]))


def fingerprint(stages: Any) -> str:
    """Return a short hash of serialized stages that stays the same on their way to the browser and back."""
    text = json.dumps(_normalized(stages), sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _normalized(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _normalized(part) for name, part in value.items() if name != "_uuid"}
    if isinstance(value, (list, tuple)):
        # do not visit the ids of a million samples one by one
        return value if set(map(type, value)) <= _PLAIN_TYPES else [_normalized(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        # the browser sends 1.0 back as 1
        return int(value)
    return value


def build_view(dataset: fo.Dataset, stages: Stages, filters: dict[str, Any] | None = None) -> foc.SampleCollection:
    """Build the view of stages and filters.

    Raises:
        ValueError: if a stage is not one of FiftyOne's
    """
    check_stage_classes(stages or [])
    return build_app_view(dataset, stages, filters)


def shown_stages(ctx: foo.ExecutionContext) -> Stages:
    """Return the stages of the view that the App shows, without the sidebar's filters."""
    stages = ctx.request_params.get("view")
    if not stages and ctx.request_params.get("view_name"):
        stages = serialize_stages(ctx.dataset.load_saved_view(ctx.request_params["view_name"]))
    return stages or []


_scopes: WeakKeyDictionary[foo.ExecutionContext, tuple[dict[str, Any], Scope]] = WeakKeyDictionary()
"""The scope of each event: an event needs it several times, and hashing half a million ids takes a while."""


def scope_of(ctx: foo.ExecutionContext) -> Scope:
    """Return the scope of the panel."""
    own = dict(ctx.panel.get_state("own") or {})
    known = _scopes.get(ctx)
    if known is None or known[0] != own:
        scope = Scope.of(_without_own(shown_stages(ctx), own), ctx.request_params.get("filters") or {})
        known = _scopes[ctx] = own, scope
    return known[1]


def _without_own(stages: Stages, own: dict[str, Any]) -> Stages:
    """Return the stages without those that the panel added."""
    if not own or not stages:
        return stages
    shown = fingerprint(stages)
    for name in ("now", "before"):
        if own.get(name) == shown:
            return stages[: len(stages) - own[f"{name}_count"]]
    return stages


def show(ctx: foo.ExecutionContext, narrow: Callable[[foc.SampleCollection], fov.DatasetView]) -> None:
    """Show a part of the scope in the grid, or say why it cannot be shown.

    Args:
        ctx: the context of a panel event
        narrow: adds stages to the view of the scope; its ``ValueError`` is shown
    """
    scope = scope_of(ctx).stages
    try:
        view = narrow(build_view(ctx.dataset, scope))
    # a field that is needed may have been renamed or deleted
    except ValueError as error:
        ctx.ops.notify(str(error), variant="error")
        return
    _record_own(ctx, scope, serialize_stages(view))
    ctx.ops.set_view(view)


def reset(ctx: foo.ExecutionContext) -> None:
    """Remove the stages that the panel added; if there are none, clear the view."""
    scope = scope_of(ctx).stages
    if scope and len(scope) < len(shown_stages(ctx)):
        view = build_view(ctx.dataset, scope)
        _record_own(ctx, scope, serialize_stages(view))
        ctx.ops.set_view(view)
    else:
        _record_own(ctx, scope, [])
        ctx.ops.clear_view()


def _record_own(ctx: foo.ExecutionContext, scope: Stages, now: Stages) -> None:
    """Record how many stages are the panel's own, in the view to come and in the one that is shown until then."""
    before = shown_stages(ctx)
    own = {
        "now": fingerprint(now),
        "now_count": max(0, len(now) - len(scope)),
        "before": fingerprint(before),
        "before_count": len(before) - len(scope),
    }
    ctx.panel.set_state("own", own)
