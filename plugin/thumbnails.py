"""Which fields the grid shows on the samples: those that are ticked in the App's sidebar."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone.operators as foo


def tick_fields(ctx: foo.ExecutionContext, wanted: Sequence[str], instead_of: Sequence[str] = ()) -> tuple[str, ...]:
    """Tick fields in the sidebar. What the user has ticked stays.

    Args:
        ctx: the context of an event or an operator
        wanted: the fields; those that the dataset does not have are ignored
        instead_of (()): fields that were ticked by an earlier call, which are no longer wanted

    Returns:
        the fields that the user has not ticked, for ``instead_of`` of a later call
    """
    active = list(ctx.active_fields or [])
    kept = [name for name in active if name not in instead_of]
    added = [name for name in dict.fromkeys(wanted) if name not in kept and ctx.dataset.has_field(name)]
    fields = [*kept, *added]
    if any(name not in active for name in fields) or len(fields) < len(active):
        ctx.ops.set_active_fields(fields)
    return tuple(added)
