"""What the panel speaks of: the view that the user chose, without the stages that the panel itself has added to it.

A click in a plot filters the grid. If the panel then followed the grid, the plot would shrink to the clicked cell. So
it remembers how many stages it has added, and a mark of the view that resulted: as long as the App shows that very
view, the panel still speaks of what was there before, and the next click replaces its own stages. It remembers the same
of the view before, which the App still shows while it renders the event that changes it. State holds no stages, which
may name thousands of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import fiftyone.operators as foo

from fiftyone_learnability.dataset.internals import serialize_stages

from .marks import fingerprint
from .review import Review, load_review
from .table import Scope, ScoreTable, Stages, build_view, load_scores


def shown_stages(ctx: foo.ExecutionContext) -> Stages:
    """The stages of the view that the App shows, without the sidebar's filters."""
    stages = ctx.request_params.get("view")
    if not stages and ctx.request_params.get("view_name"):
        stages = serialize_stages(ctx.dataset.load_saved_view(ctx.request_params["view_name"]))
    return stages or []


_scopes: WeakKeyDictionary[foo.ExecutionContext, tuple[dict[str, Any], Scope]] = WeakKeyDictionary()
"""What each event speaks of: it is asked for several times, and a view of half a million samples takes a while."""


def scope_of(ctx: foo.ExecutionContext) -> Scope:
    """What the panel speaks of."""
    own = dict(ctx.panel.get_state("own") or {})
    known = _scopes.get(ctx)
    if known is None or known[0] != own:
        stages, filters = _without_own(shown_stages(ctx), own), ctx.request_params.get("filters") or {}
        known = _scopes[ctx] = own, Scope(stages, filters, fingerprint([stages, filters]))
    return known[1]


def _without_own(stages: Stages, own: dict[str, Any]) -> Stages:
    if not own or not stages:
        return stages
    shown = fingerprint(stages)
    for name in ("now", "before"):
        if own.get(name) == shown:
            return stages[: len(stages) - own[f"{name}_count"]]
    return stages


def scope_table(ctx: foo.ExecutionContext) -> ScoreTable:
    """The scores of the samples that the panel speaks of."""
    return load_scores(ctx.dataset, scope_of(ctx))


def scope_review(ctx: foo.ExecutionContext) -> Review | None:
    """The suggested labels of the samples that the panel speaks of, None if nothing was suggested."""
    return load_review(ctx.dataset, scope_of(ctx))


def show(ctx: foo.ExecutionContext, narrow: Callable[[foc.SampleCollection], fov.DatasetView]) -> None:
    """Shows a part of what the panel speaks of in the grid.

    Args:
        ctx: the context of a panel event
        narrow: adds stages to the view that the panel speaks of
    """
    scope = scope_of(ctx).stages
    view = narrow(build_view(ctx.dataset, scope))
    _remember_own(ctx, scope, serialize_stages(view))
    ctx.ops.set_view(view)


def reset(ctx: foo.ExecutionContext) -> None:
    """Takes the panel's own stages off the grid; without any, clears the view."""
    scope = scope_of(ctx).stages
    if scope and len(scope) < len(shown_stages(ctx)):
        view = build_view(ctx.dataset, scope)
        _remember_own(ctx, scope, serialize_stages(view))
        ctx.ops.set_view(view)
    else:
        _remember_own(ctx, scope, [])
        ctx.ops.clear_view()


def _remember_own(ctx: foo.ExecutionContext, scope: Stages, now: Stages) -> None:
    """Notes how many stages of the view to come are the panel's own, and of the view that is shown until it comes."""
    before = shown_stages(ctx)
    own = {
        "now": fingerprint(now),
        "now_count": max(0, len(now) - len(scope)),
        "before": fingerprint(before),
        "before_count": len(before) - len(scope),
    }
    ctx.panel.set_state("own", own)
