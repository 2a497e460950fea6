"""What a killed process has left of a write is taken back or completed, and nothing else."""

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
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

import fiftyone_learnability as fol
from fiftyone_learnability.dataset import columns, registration
from fiftyone_learnability.dataset.columns import WriteError
from fiftyone_learnability.dataset.fields import write_results

from .helpers import SETTINGS, make_results, scratch_collections, state, values_of, write


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    assert scratch_collections() == []


class Killed(BaseException):
    """Stands in for SIGKILL: nothing tidies up after it."""


def leave_half_written(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, **process: Any) -> None:
    """A write that was killed after the values had been moved, by some process."""
    with monkeypatch.context() as patch:
        merge = columns._merge

        def merge_then_die(source: Collection, target: Collection) -> None:
            merge(source, target)
            raise Killed

        patch.setattr(columns, "_merge", merge_then_die)
        patch.setattr(columns, "roll_back", lambda dataset, journal: (_ for _ in ()).throw(Killed()))
        patch.setattr(registration.Registration, "undo", lambda self: None)
        mine = columns._this_process()
        patch.setattr(columns, "_this_process", lambda: {**mine, **process})
        with pytest.raises(Killed):
            write_results(dataset, make_results(dataset, "a", seed=2), "mine", SETTINGS, overwrite=True)
    assert any("journal" in name for name in scratch_collections())


def recover_an_hour_later(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a process of another machine is taken to be gone."""
    monkeypatch.setattr(columns, "_GONE_AFTER", timedelta(0))
    registration.recover(dataset)
    assert scratch_collections() == []


NOBODY = {"pid": 2**22 + 1}
HOUR_AGO = datetime.now(timezone.utc) - timedelta(hours=2)
GONE: dict[str, dict[str, Any]] = {
    "this process, in another write": {},
    "a process that is gone": NOBODY,
    "an older process of the same number": {"pid": os.getppid(), "started": 1.0},
    "another machine, long ago": {"host": "elsewhere", "at": HOUR_AGO},
}
ALIVE: dict[str, dict[str, Any]] = {
    "a process that goes on": {"pid": os.getppid(), "started": psutil.Process(os.getppid()).create_time()},
    "another machine, just now": {"host": "elsewhere"},
}


@pytest.mark.parametrize("process", GONE.values(), ids=GONE)
def test_what_a_killed_process_had_begun_is_taken_back(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, process: dict[str, Any]
) -> None:
    write(dataset, "a", key="mine")
    before = state(dataset)
    leave_half_written(dataset, monkeypatch, **process)
    assert state(dataset) != before
    assert fol.find_models(dataset) == []
    registration.recover(dataset)
    assert state(dataset) == before
    assert scratch_collections() == []
    assert fol.find_models(dataset) == ["a"]
    # once more changes nothing
    registration.recover(dataset)
    assert state(dataset) == before


@pytest.mark.parametrize("process", ALIVE.values(), ids=ALIVE)
def test_a_process_that_still_writes_is_left_alone(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, process: dict[str, Any]
) -> None:
    leave_half_written(dataset, monkeypatch, **process)
    before = state(dataset)
    registration.recover(dataset)
    assert state(dataset) == before
    for name in scratch_collections():
        dataset._sample_collection.database.drop_collection(name)


def test_what_was_written_since_is_not_taken_back(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write(dataset, "a", key="mine")
    # another machine, of which nobody knows for an hour whether it goes on
    leave_half_written(dataset, monkeypatch, host="elsewhere")
    with pytest.raises(ValueError, match="which another process is writing, or was when it was ended"):
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


def test_a_field_made_anew_since_is_not_taken_back(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_half_written(dataset, monkeypatch, host="elsewhere")
    write(dataset, "a", key="other", seed=3, overwrite=True)
    values = values_of(dataset, "learnability_a")
    recover_an_hour_later(dataset, monkeypatch)
    assert values_of(dataset, "learnability_a") == values
    assert fol.list_runs(dataset) == ["other"]


@pytest.mark.parametrize("change", ["delete", "rename"])
def test_a_run_is_changed_after_what_was_half_done(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
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


def test_scores_half_added_to_a_run_that_is_gone_stand_in_nobodys_way(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(dataset, "a", key="mine")
    with monkeypatch.context() as patch:
        patch.setattr(columns, "_reveal", lambda *args: (_ for _ in ()).throw(Killed()))
        patch.setattr(columns, "roll_back", lambda *args: (_ for _ in ()).throw(Killed()))
        patch.setattr(registration.NotingScores, "undo", lambda self: None)
        with pytest.raises(Killed):
            fol.add_scores(dataset, ["hits"])
    # with FiftyOne's own, which knows of no journals
    dataset.delete_run("mine")
    write(dataset, "a", key="anew", overwrite=True)
    assert fol.list_runs(dataset) == ["anew"]
    assert not dataset.has_field("learnability_a_hits")
    assert scratch_collections() == []


def test_what_another_process_takes_back_is_waited_for(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write(dataset, "a", key="mine")
    before = state(dataset)
    leave_half_written(dataset, monkeypatch)
    monkeypatch.setattr(registration, "RECOVERY_SECONDS", 20.0)
    (journal,) = columns.left_journals(dataset)
    began = threading.Event()

    def take_back() -> None:
        with journal.claimed():
            began.set()
            time.sleep(1)
            registration._finish(dataset, journal)

    other = threading.Thread(target=take_back)
    other.start()
    began.wait()
    registration.recover(dataset)
    assert state(dataset) == before
    other.join()
    assert scratch_collections() == []


def test_nothing_is_written_while_another_process_does_not_come_to_an_end(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half_written(dataset, monkeypatch)
    before = state(dataset)
    monkeypatch.setattr(registration, "RECOVERY_SECONDS", 0.3)
    (journal,) = columns.left_journals(dataset)
    with suppress(Killed), journal.claimed():
        with pytest.raises(WriteError, match="another process is taking back what a killed one has left"):
            write_results(dataset, make_results(dataset, "a", seed=3), "other", SETTINGS, overwrite=True)
        assert state(dataset) == before
        raise Killed
    # which is gone now
    registration.recover(dataset)
    assert fol.list_runs(dataset) == []


def test_what_is_committed_is_not_taken_back_by_an_older_journal(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half_written(dataset, monkeypatch, host="elsewhere")
    with monkeypatch.context() as patch:
        # killed between the two
        patch.setattr(columns.Journal, "supersede_others", lambda self: (_ for _ in ()).throw(Killed()))
        patch.setattr(columns, "roll_back", lambda *args: (_ for _ in ()).throw(Killed()))
        patch.setattr(registration.Registration, "undo", lambda self: None)
        with pytest.raises(Killed):
            write(dataset, "a", key="mine", seed=3, overwrite=True)
    values = values_of(dataset, "learnability_a")
    recover_an_hour_later(dataset, monkeypatch)
    assert values_of(dataset, "learnability_a") == values
    assert fol.find_models(dataset) == ["a"]


def test_a_journal_is_claimed_by_one(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_half_written(dataset, monkeypatch)
    (journal,), (same,) = columns.left_journals(dataset), columns.left_journals(dataset)
    with journal.claimed() as first, same.claimed() as second:
        assert (first, second) == (True, False)
        assert columns.left_journals(dataset) == []
    assert scratch_collections() == []


def test_a_server_that_was_started_anew_is_noticed(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(dataset)
    with monkeypatch.context() as patch:
        numbers = iter([1, 1, 1, 2, 2, 2])
        patch.setattr(columns, "_server", lambda client: next(numbers))
        with pytest.raises(WriteError, match="the database was started anew meanwhile") as caught:
            write_results(dataset, make_results(dataset, "a"), "mine", SETTINGS)
    assert isinstance(caught.value.__cause__, AutoReconnect)
    assert state(dataset) == before
    assert scratch_collections() == []
