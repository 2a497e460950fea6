"""Keeps what an event writes apart from the other events of the same moment.

FiftyOne has one object for each dataset, shared by the threads in which the server runs events, and every event loads
that object anew. A field that one thread is adding meanwhile is added to what the object was before, or will be after,
and is lost, mostly without an error. So what writes works on an object that no other event has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fiftyone.operators as foo

from fiftyone_learnability.dataset.internals import set_dataset, unshared_dataset


@contextmanager
def private_dataset(ctx: foo.ExecutionContext) -> Iterator[None]:
    """Gives an event a dataset of its own, of which its views are made as well; in the end all see what was written.

    Args:
        ctx: the context of the event; what is written to is to be asked of it within
    """
    shared = ctx.dataset
    own = unshared_dataset(shared.name)
    if own.media_type == "group":
        own.group_slice = shared.group_slice
    set_dataset(ctx, own)
    try:
        yield
    finally:
        set_dataset(ctx, shared)
    shared.reload()
