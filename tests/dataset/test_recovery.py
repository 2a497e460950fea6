"""The unfinished write of a killed process is undone or completed, and nothing else changes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import fiftyone as fo
import psutil
import pytest
from pymongo.errors import AutoReconnect

import fiftyone_learnability as fol
from fiftyone_learnability.dataset import columns, journal, recovery
from fiftyone_learnability.dataset.columns import WriteError
from fiftyone_learnability.dataset.internals import get_database
from fiftyone_learnability.dataset.journal import Journal, find_abandoned
from fiftyone_learnability.dataset.recovery import recover

from .helpers import SETTINGS, make_results, scratch_collections, state, values_of, write, write_results


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    assert scratch_collections() == []


class Killed(BaseException):
    """Stands in for SIGKILL: nothing is cleaned up after it."""


def die(*args: Any, **kwargs: Any) -> None:
    raise Killed


def die_without_undo(dataset: fo.Dataset, journal: Journal, *args: Any, **kwargs: Any) -> None:
    with journal.kept():
        raise Killed


def leave_half_written(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, **process: Any) -> None:
    """Begin a write as some process that is killed after the values were moved."""
    this = journal.this_process()
    with monkeypatch.context() as patch:
        patch.setattr(columns, "create_indexes", die)
        patch.setattr(columns, "undo_write", die_without_undo)
        patch.setattr(journal, "this_process", lambda: {**this, **process})
        with pytest.raises(Killed):
            write_results(dataset, make_results(dataset, "a", seed=2), "mine", SETTINGS, overwrite=True)
    assert any("journal" in name for name in scratch_collections())


def recover_an_hour_later(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recover when a process on another machine counts as gone."""
    monkeypatch.setattr(journal, "GONE_AFTER", timedelta(0))
    recover(dataset)
    assert scratch_collections() == []


NO_PROCESS = {"pid": 2**22 + 1}
HOURS_AGO = datetime.now(timezone.utc) - timedelta(hours=2)
GONE: dict[str, dict[str, Any]] = {
    "this process, in another write": {},
    "a process that is gone": NO_PROCESS,
    "an older process with the same id": {"pid": os.getppid(), "started": 1.0},
    "another machine, long ago": {"host": "elsewhere", "at": HOURS_AGO},
}
ZONES = [None, "America/Los_Angeles", "Asia/Kolkata"]
ALIVE: dict[str, dict[str, Any]] = {
    "a running process": {"pid": os.getppid(), "started": psutil.Process(os.getppid()).create_time()},
    "another machine, just now": {"host": "elsewhere"},
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("process", GONE.values(), ids=GONE)
def test_the_write_of_a_killed_process_is_undone(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, process: dict[str, Any], zone: str | None
) -> None:
    monkeypatch.setattr(fo.config, "timezone", zone)
    write(dataset, "a", key="mine")
    before = state(dataset)
    leave_half_written(dataset, monkeypatch, **process)
    assert state(dataset) != before
    assert fol.find_models(dataset) == []
    recover(dataset)
    assert state(dataset) == before
    assert scratch_collections() == []
    assert fol.find_models(dataset) == ["a"]
    recover(dataset)
    assert state(dataset) == before


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("process", ALIVE.values(), ids=ALIVE)
def test_a_process_that_still_writes_is_left_alone(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, process: dict[str, Any], zone: str | None
) -> None:
    monkeypatch.setattr(fo.config, "timezone", zone)
    leave_half_written(dataset, monkeypatch, **process)
    before = state(dataset)
    recover(dataset)
    assert state(dataset) == before
    for name in scratch_collections():
        get_database().drop_collection(name)


def test_later_writes_are_not_undone(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write(dataset, "a", key="mine")
    # on another machine, so it counts as alive for an hour
    leave_half_written(dataset, monkeypatch, host="elsewhere")
    with pytest.raises(ValueError, match="which another process is writing, or was writing when it was killed"):
        write(dataset, "a", key="other")
    write(dataset, "a", "b", key="mine", seed=3, overwrite=True)
    after = state(dataset)
    recover_an_hour_later(dataset, monkeypatch)
    assert fol.find_models(dataset) == ["a", "b"]
    found = state(dataset)
    assert found["fields"] == after["fields"]
    assert found["samples"] == after["samples"]
    assert fol.list_runs(dataset) == ["mine"]
    assert fol.load_results(dataset, "mine").keys() == {"a", "b"}


def test_a_field_that_was_written_again_is_not_undone(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_half_written(dataset, monkeypatch, host="elsewhere")
    write(dataset, "a", key="other", seed=3, overwrite=True)
    values = values_of(dataset, "learnability_a")
    recover_an_hour_later(dataset, monkeypatch)
    assert values_of(dataset, "learnability_a") == values
    assert fol.list_runs(dataset) == ["other"]


@pytest.mark.parametrize("change", ["delete", "rename"])
def test_runs_are_changed_after_the_recovery(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    write(dataset, "a", key="mine")
    before = state(dataset)
    leave_half_written(dataset, monkeypatch)
    if change == "delete":
        assert fol.delete_run(dataset, "mine") == ["learnability_a", "learnability_rank_a"]
        assert fol.list_runs(dataset) == []
    else:
        fol.rename_run(dataset, "mine", "yours")
        assert fol.list_runs(dataset) == ["yours"]
        assert state(dataset)["samples"] == before["samples"]
    assert scratch_collections() == []


def test_half_added_scores_of_a_deleted_run_are_removed(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write(dataset, "a", key="mine")
    with monkeypatch.context() as patch:
        patch.setattr(columns, "reveal", die)
        patch.setattr(columns, "undo_write", die_without_undo)
        with pytest.raises(Killed):
            fol.add_scores(dataset, ["hits"])
    # FiftyOne's own method knows nothing about journals
    dataset.delete_run("mine")
    write(dataset, "a", key="anew", overwrite=True)
    assert fol.list_runs(dataset) == ["anew"]
    assert not dataset.has_field("learnability_a_hits")
    assert scratch_collections() == []


def test_another_process_that_recovers_is_waited_for(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write(dataset, "a", key="mine")
    before = state(dataset)
    leave_half_written(dataset, monkeypatch)
    (abandoned,) = find_abandoned(dataset)
    claimed = threading.Event()

    def recover_slowly() -> None:
        with abandoned.claimed():
            claimed.set()
            time.sleep(1)
            recovery.settle(dataset, abandoned)

    other = threading.Thread(target=recover_slowly)
    other.start()
    claimed.wait()
    recover(dataset)
    assert state(dataset) == before
    other.join()
    assert scratch_collections() == []


def test_nothing_is_written_while_another_process_recovers(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half_written(dataset, monkeypatch)
    before = state(dataset)
    monkeypatch.setattr(recovery, "RECOVERY_SECONDS", 0.3)
    (abandoned,) = find_abandoned(dataset)
    with suppress(Killed), abandoned.claimed():
        with pytest.raises(WriteError, match="another process is undoing an interrupted write"):
            write_results(dataset, make_results(dataset, "a", seed=3), "other", SETTINGS, overwrite=True)
        assert state(dataset) == before
        raise Killed
    # the other process is gone now
    recover(dataset)
    assert fol.list_runs(dataset) == []


def test_a_committed_write_is_not_undone_by_an_older_journal(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half_written(dataset, monkeypatch, host="elsewhere")
    with monkeypatch.context() as patch:
        # killed after the commit, before the older journal is updated
        patch.setattr(Journal, "supersede_others", die)
        with pytest.raises(Killed):
            write(dataset, "a", key="mine", seed=3, overwrite=True)
    values = values_of(dataset, "learnability_a")
    recover_an_hour_later(dataset, monkeypatch)
    assert values_of(dataset, "learnability_a") == values
    assert fol.find_models(dataset) == ["a"]


def test_only_one_process_claims_a_journal(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_half_written(dataset, monkeypatch)
    (abandoned,), (same,) = find_abandoned(dataset), find_abandoned(dataset)
    with abandoned.claimed() as first, same.claimed() as second:
        assert (first, second) == (True, False)
        assert find_abandoned(dataset) == []
    assert scratch_collections() == []


def test_a_restart_of_the_server_is_noticed(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(dataset)
    with monkeypatch.context() as patch:
        numbers = iter([1, 1, 1, 2, 2, 2])
        patch.setattr(journal, "server_process", lambda client: next(numbers))
        with pytest.raises(WriteError, match="the database restarted in the meantime") as caught:
            write_results(dataset, make_results(dataset, "a"), "mine", SETTINGS)
    assert isinstance(caught.value.__cause__, AutoReconnect)
    assert state(dataset) == before
    assert scratch_collections() == []
