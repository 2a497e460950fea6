"""The scope of the panel: the view that the user chose, without the stages that the panel itself has added to it.

A click in a plot filters the grid. If the panel followed the grid then, the plot would shrink to the clicked cell. So
the server remembers, for each view that the panel has shown, how many of its last stages are the panel's own. As long
as the App shows one of these views, the scope is the view without those stages, and the next click replaces them.
Views are remembered by a fingerprint, because a view may name a million samples.

Nothing of this is kept in the panel's state: a change of the state makes the App reload its page, and with it the
sidebar loses its filters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import fiftyone.operators as foo

from fiftyone_learnability.dataset.internals import build_app_view, dataset_id, serialize_stages
from fiftyone_learnability.dataset.stages import check_stage_classes

from ..memory import Recent
from ..thumbnails import tick_fields

Stages = list[dict[str, Any]]
"""The stages of a view, serialized."""

_PLAIN_TYPES = {str, int, bool, type(None)}


@dataclass(frozen=True, eq=False)
class Scope:
    """The samples that the panel covers.

    Attributes:
        stages: the stages of their view, the filters of the App's sidebar among them
        fingerprint: differs for different stages
    """

    stages: Stages
    fingerprint: str

    @classmethod
    def of(cls, stages: Stages) -> Scope:
        """Return the scope of stages."""
        return cls(stages, fingerprint(stages))


@dataclass(frozen=True)
class Mark:
    """The part of a plot whose samples the grid shows.

    Attributes:
        plot: the name of the plot
        drawn_for: what the plot was drawn for; it is marked as long as this stays the same
        x: from where to where on the x axis
        y: from where to where on the y axis, None for its whole height
        points: the marked points, if the part is not a rectangle
    """

    plot: str
    drawn_for: Hashable
    x: tuple[float, float]
    y: tuple[float, float] | None
    points: tuple[int, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A view that the panel has shown in the grid.

    Attributes:
        what: what it holds, in words
        count: the number of its samples, None if it is not known
        added: the number of stages that the panel added
        own: the number of stages that the user had chosen; the filters of the sidebar are stages after them
        filters: these filters, as the App knows them
        mark: the part of a plot that it belongs to, None for a view that belongs to no plot
        view_name: the saved view that the panel has narrowed, None for none
        ticked: the fields that the panel has ticked in the sidebar for it
    """

    what: str
    count: int | None
    added: int
    own: int
    filters: dict[str, Any]
    mark: Mark | None
    view_name: str | None
    ticked: tuple[str, ...]


@dataclass(frozen=True)
class _Reset:
    """A view whose filters of the sidebar are to be restored.

    Attributes:
        fingerprint: the fingerprint of its stages
        filters: the filters
    """

    fingerprint: str
    filters: dict[str, Any]


_resets: Recent[tuple[Any, str], _Reset | None] = Recent(200)
"""What is to be restored, by dataset and panel."""

_shown: Recent[tuple[Any, str], Shown] = Recent(500)
"""The views that the panel has shown, by dataset and fingerprint."""


@dataclass(eq=False)
class _Position:
    """Where an event finds the App, and then where it moves it."""

    scope: Scope
    shown: Shown | None


_positions: WeakKeyDictionary[foo.ExecutionContext, _Position] = WeakKeyDictionary()
"""The position of each event: an event needs it several times, and hashing half a million ids takes a while."""


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
    """Build the view of stages, and of filters of the App's sidebar.

    Raises:
        ValueError: if a stage is not one of FiftyOne's
    """
    check_stage_classes(stages or [])
    return build_app_view(dataset, stages, filters)


def scope_of(ctx: foo.ExecutionContext) -> Scope:
    """Return the scope of the panel."""
    return _position_of(ctx).scope


def shown_by_panel(ctx: foo.ExecutionContext) -> Shown | None:
    """Return what the panel shows in the grid, None if the grid shows what the user chose."""
    return _position_of(ctx).shown


def _stages_of(ctx: foo.ExecutionContext) -> Stages:
    """Return the stages of the view that the App shows, without filters."""
    stages, name = ctx.request_params.get("view") or [], ctx.request_params.get("view_name")
    return serialize_stages(ctx.dataset.load_saved_view(name)) if name and not stages else stages


def _position_of(ctx: foo.ExecutionContext) -> _Position:
    position = _positions.get(ctx)
    if position is None:
        position = _positions[ctx] = _find_position(ctx)
    return position


def _find_position(ctx: foo.ExecutionContext) -> _Position:
    request = ctx.request_params
    name, filters = request.get("view_name"), request.get("filters")
    stages = _stages_of(ctx)
    scope = Scope.of(stages)
    # a saved view is the user's, even if the panel has shown the same samples before
    shown = _shown.get((dataset_id(ctx.dataset), scope.fingerprint)) if stages and not name else None
    if shown is not None:
        scope = Scope.of(stages[: len(stages) - shown.added])
    if filters:
        scope = Scope.of(serialize_stages(build_view(ctx.dataset, scope.stages, filters).view()))
        if shown is not None:
            shown = replace(shown, count=None)
    return _Position(scope, shown)


def show(
    ctx: foo.ExecutionContext,
    what: str,
    narrow: Callable[[foc.SampleCollection], fov.DatasetView],
    mark: Mark | None = None,
    count: int | None = None,
    fields: Sequence[str] = (),
) -> None:
    """Show a part of the scope in the grid, or say why it cannot be shown.

    Args:
        ctx: the context of a panel event
        what: what the grid then shows, in words
        narrow: adds stages to the view of the scope; its ``ValueError`` is shown
        mark (None): the part of a plot that it belongs to
        count (None): the number of its samples. The database would take long to count those of an unknown number
        fields (()): the fields that the grid then shows on its samples
    """
    position, request = _position_of(ctx), ctx.request_params
    before, filters = position.shown, request.get("filters") or {}
    try:
        view = narrow(build_view(ctx.dataset, position.scope.stages))
    # a field that is needed may have been renamed or deleted
    except ValueError as error:
        ctx.ops.notify(str(error), variant="error")
        return
    stages = serialize_stages(view)
    shown = Shown(
        what,
        count,
        added=len(stages) - len(position.scope.stages),
        own=len(_stages_of(ctx)) if before is None else before.own,
        filters=filters if before is None else {**before.filters, **filters},
        mark=mark,
        view_name=request.get("view_name") if before is None else before.view_name,
        ticked=tick_fields(ctx, fields, () if before is None else before.ticked),
    )
    _shown.put((dataset_id(ctx.dataset), fingerprint(stages)), shown)
    position.shown = shown
    ctx.ops.set_view(view)


def reset(ctx: foo.ExecutionContext) -> None:
    """Take back what the panel shows in the grid: show what the user had chosen."""
    position = _position_of(ctx)
    shown = position.shown
    if shown is None:
        return
    position.shown = None
    tick_fields(ctx, (), instead_of=shown.ticked)
    stages = position.scope.stages[: shown.own]
    if shown.view_name in ctx.dataset.list_saved_views():
        ctx.ops.set_view(name=shown.view_name)
    elif stages:
        ctx.ops.set_view(build_view(ctx.dataset, stages))
    else:
        ctx.ops.clear_view()
    filters = {**shown.filters, **(ctx.request_params.get("filters") or {})}
    # the App drops filters together with a view: :func:`restore_filters` waits until it has done so
    _resets.put(panel_key(ctx), _Reset(fingerprint(stages), filters) if filters else None)


def restore_filters(ctx: foo.ExecutionContext) -> None:
    """Restore the filters of the sidebar after a reset, once the App shows its view."""
    pending = _resets.get(panel_key(ctx))
    if pending is None:
        return
    if ctx.request_params.get("filters") or _position_of(ctx).scope.fingerprint != pending.fingerprint:
        _resets.put(panel_key(ctx), None)
    else:
        ctx.trigger("set_filters", params=pending.filters)


def panel_key(ctx: foo.ExecutionContext) -> tuple[Any, str]:
    """Return the dataset and the panel, for which the server keeps something between events."""
    return dataset_id(ctx.dataset), str(ctx.panel_id)[:100]
