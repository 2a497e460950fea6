from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from .harness import plugin_module


def test_a_value_is_computed_once_and_the_least_recently_used_is_forgotten() -> None:
    memory = plugin_module("memory").Memory(2)
    computed: list[str] = []

    def get(key: str) -> str:
        return memory.remember(key, lambda: computed.append(key) or key.upper())

    assert [get(key) for key in "abab"] == ["A", "B", "A", "B"]
    assert computed == ["a", "b"]
    get("a")
    get("c")
    # "b" was used before "a"
    get("a")
    assert computed == ["a", "b", "c"]
    get("b")
    assert computed == ["a", "b", "c", "b"]


def test_threads_that_ask_for_the_same_key_wait_for_one_of_them() -> None:
    memory = plugin_module("memory").Memory(2)
    asking, computed = threading.Barrier(4), []

    def get(_: int) -> int:
        asking.wait(30)
        return memory.remember("key", lambda: computed.append(1) or len(computed))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(get, range(4))) == [1] * 4


def test_a_failed_computation_is_tried_again() -> None:
    memory = plugin_module("memory").Memory(2)
    with pytest.raises(ZeroDivisionError):
        memory.remember("key", lambda: 1 // 0)
    assert memory.remember("key", lambda: 5) == 5
