"""Bounded memories that the events of all open panels and forms share.

FiftyOne runs the plugin's ``__init__`` again on every registry call, but keeps this module, and the values in it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """A mapping that keeps the most recently used keys. FiftyOne runs events in threads, which may share it.

    Args:
        size: the number of keys to keep
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: _Key) -> _Value | None:
        """Return the value of a key, None if it has none."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: _Key, value: _Value) -> None:
        """Set the value of a key."""
        with self._lock:
            self._values[key] = value
            self._trim(key)

    def setdefault(self, key: _Key, value: _Value) -> _Value:
        """Return the value of a key, after setting it if it has none."""
        with self._lock:
            value = self._values.setdefault(key, value)
            self._trim(key)
        return value

    def _trim(self, key: _Key) -> None:
        self._values.move_to_end(key)
        while len(self._values) > self._size:
            self._values.popitem(last=False)


class Memory:
    """Keeps computed values of the most recently used keys.

    Args:
        size: the number of values to keep
    """

    def __init__(self, size: int) -> None:
        self._entries: Recent[Hashable, _Entry] = Recent(size)

    def remember(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """Return the value of a key. Threads that ask for the same key at the same time compute it once.

        Args:
            key: everything that the value depends on
            make: computes the value if the memory does not have it
        """
        entry = self._entries.setdefault(key, _Entry())
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
"""The plugin's memory of computed values."""
