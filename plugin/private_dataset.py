"""Gives an event that writes a dataset object of its own.

FiftyOne keeps one object per dataset. All threads in which its server runs events share it, and every event reloads it.
A field that one thread adds while another one reloads is lost, mostly without an error. An event that writes therefore
works on an object that no other event has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fiftyone.operators as foo

from fiftyone_learnability.dataset.internals import set_dataset, unshared_dataset


@contextmanager
def private_dataset(ctx: foo.ExecutionContext) -> Iterator[None]:
    """Give an event a dataset object of its own; afterwards, the shared object shows what was written.

    Args:
        ctx: the context of the event; inside, take the dataset and its views from it again
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
