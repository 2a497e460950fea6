"""A bounded memory of computed values, shared by the events of all open panels and forms.

FiftyOne runs the plugin's ``__init__`` again on every registry call, but keeps this module, and the values in it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class Memory:
    """Keeps the values of the most recently used keys. FiftyOne runs events in threads, which may share it.

    Args:
        size: the number of values to keep
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """Return the value of a key. Threads that ask for the same key at the same time compute it once.

        Args:
            key: everything that the value depends on
            make: computes the value if the memory does not have it
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        with entry.lock:
            if not entry.made:
                entry.value, entry.made = make(), True
        return entry.value


@dataclass(eq=False)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: bool = False
    value: Any = None


remember = Memory(16).remember
"""The plugin's memory."""
