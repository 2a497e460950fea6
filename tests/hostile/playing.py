"""Run a case through a door, and check what all doors have in common."""

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
"""The time limit of a case, which then counts as a hang; most cases take less than a second."""

LONGEST_MESSAGE = 900
"""The most characters of a message, even about very long names."""


@dataclass
class Outcome:
    """The result of a call, or its error."""

    result: Any = None
    error: BaseException | None = None


def cases_of(door: str) -> list[Any]:
    """Return the cases of a door as parameters of a test."""
    cases = [case for case in CASES if door in case.call.doors]
    return [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.slow else []) for case in cases]


def in_time(call: Callable[[], Any], seconds: float = SECONDS) -> Outcome:
    """Call in a thread of its own, and fail if the call does not end in time."""
    outcome = Outcome()

    def work() -> None:
        try:
            outcome.result = call()
        # the test judges every error
        except BaseException as error:  # noqa: BLE001
            outcome.error = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        faulthandler.dump_traceback(sys.__stderr__)
        raise AssertionError(f"the call did not end within {seconds} s")
    return outcome


def begin(world: World, case: Case) -> tuple[Any, dict[str, Any]]:
    """Make the samples of a case, and remember their state."""
    world.refused = bool(case.says)
    samples = case.build(world)
    world.watch(samples)
    return samples, world.files()


def check_error(error: BaseException, words: Sequence[str]) -> None:
    """Check that an error is meant for users and names the culprit."""
    own = type(error).__module__.startswith("fiftyone_learnability.")
    # errors of other types, raised by Python itself, would be defects
    meant = type(error) in (ValueError, TypeError, RuntimeError) or isinstance(error, OSError) or own
    assert meant, f"{type(error).__name__} is not meant for users: {error}"
    check_message(str(error), words)


def check_message(message: str, words: Sequence[str]) -> None:
    """Check that a message is one line and contains some words."""
    assert "\n" not in message
    assert len(message) <= LONGEST_MESSAGE, len(message)
    assert "Traceback" not in message
    missing = [word for word in words if word not in message]
    assert not missing, f"the message lacks {missing}: {message}"


def check_harm(world: World, case: Case, files: dict[str, Any]) -> None:
    """Check that samples, fields, indexes, runs and files changed only as the case allows."""
    after = snapshot(world.dataset_id)
    if after != world.before:
        world.forget()
    if world.before is None or after is None:
        assert world.before == after
    elif case.says:
        assert after == world.before
    else:
        assert differences(world.before, after, case.written, case.changed) == ""
    if case.name != "files vanish":
        now = world.files()
        assert {path: now.get(path) for path in files} == files
    if case.scored is not None:
        assert isinstance(world.dataset, fo.Dataset)
        world.dataset.reload()
        assert [world.dataset.count(name) for name in case.written] == [case.scored] * len(case.written)
