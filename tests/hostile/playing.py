"""Plays a case through a door, and checks what all doors have in common."""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import pytest

from .cases import CASES, Case
from .world import World, differences, snapshot

SECONDS = 60
"""How long a case may take; most take less than one. What takes longer counts as a hang."""

LONGEST_MESSAGE = 900
"""The most characters of a message, however long the names are that it speaks of."""


@dataclass
class Outcome:
    """What a call came to: what it returned, or what it raised."""

    result: Any = None
    error: BaseException | None = None


def cases_of(door: str) -> list[Any]:
    """The cases of a door, as parameters of a test."""
    found = [case for case in CASES if door in case.call.doors]
    return [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in found]


def in_time(call: Callable[[], Any], seconds: float = SECONDS) -> Outcome:
    """Calls in a thread of its own, and fails if it does not come to an end."""
    outcome = Outcome()

    def work() -> None:
        try:
            outcome.result = call()
        # whatever it is, the test is to judge it
        except BaseException as error:  # noqa: BLE001
            outcome.error = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        faulthandler.dump_traceback(sys.__stderr__)
        raise AssertionError(f"no end after {seconds} s")
    return outcome


def begin(world: World, case: Case) -> tuple[Any, dict[str, Any]]:
    """Makes what a case needs, and remembers it as it is."""
    world.refused = bool(case.says)
    samples = case.build(world)
    world.watch(samples)
    return samples, world.files()


def check_error(error: BaseException, words: Sequence[str]) -> None:
    """Checks that an error is meant for people, and names the culprit."""
    own = type(error).__module__.startswith("fiftyone_learnability.")
    # the families that are caught and shown; what Python raises by itself besides is a defect
    meant = type(error) in (ValueError, TypeError, RuntimeError) or isinstance(error, OSError) or own
    assert meant, f"{type(error).__name__} is not meant for people: {error}"
    check_message(str(error), words)


def check_message(message: str, words: Sequence[str]) -> None:
    """Checks that a message is one line that has some words."""
    assert "\n" not in message
    assert len(message) <= LONGEST_MESSAGE, len(message)
    assert "Traceback" not in message
    missing = [word for word in words if word not in message]
    assert not missing, f"the message lacks {missing}: {message}"


def check_harm(world: World, case: Case, files: dict[str, Any]) -> None:
    """Checks that nothing was changed that should not have been: samples, fields, indexes, runs, files."""
    after = snapshot(world.dataset_id)
    if after != world.before:
        world.forget()
    if world.before is None or after is None:
        assert world.before == after
    elif case.says:
        assert after == world.before
    else:
        assert not (found := differences(world.before, after, case.written, case.changed)), found
    if case.name != "files vanish":
        there = world.files()
        assert {path: there.get(path) for path in files} == files
    if case.scored is not None:
        assert isinstance(world.dataset, fo.Dataset)
        world.dataset.reload()
        assert [world.dataset.count(name) for name in case.written] == [case.scored] * len(case.written)
