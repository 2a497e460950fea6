"""Values remembered between events, by a key that changes when what they rest on does."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

_REMEMBERED = 16
_Value = TypeVar("_Value")


@dataclass(eq=False)
class _Entry:
    """A value that is remembered, or is being made; FiftyOne runs events in several threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: bool = False
    value: Any = None
    alive: tuple[object, ...] = ()


_memory: OrderedDict[Hashable, _Entry] = OrderedDict()


_lock = threading.Lock()


def remember(key: Hashable, make: Callable[[], _Value], *alive: object) -> _Value:
    """What ``make`` gives, kept for the next calls with the same key; the oldest is forgotten.

    Args:
        key: names the value
        make: makes it
        *alive: objects to be kept as long, so that an ``id()`` in the key is not taken by others
    """
    with _lock:
        entry = _memory.setdefault(key, _Entry())
        _memory.move_to_end(key)
        while len(_memory) > _REMEMBERED:
            _memory.popitem(last=False)
    # one event makes it, others that ask for it meanwhile wait
    with entry.lock:
        if not entry.made:
            entry.value, entry.alive, entry.made = make(), alive, True
    return entry.value
