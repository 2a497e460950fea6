"""A database that is killed during a run: ``python -m tests.database_outage SCENARIO FOLDER``.

test_database_outage.py runs it in a process of its own, with image files and labels as JSON on standard input. It
prints the outcome as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo import monitoring

from scripts.database import find_free_port, start_mongod

_MERGE = ("aggregate", "learnability.staging")
MOMENTS: dict[str, tuple[list[tuple[str, str]], bool]] = {
    "before the values": ([_MERGE], False),
    "after the values": ([_MERGE], True),
    "before the fields are shown": ([_MERGE, ("update", "datasets")], False),
    "before the run has its key": ([_MERGE, ("update", "runs")], False),
    "while the old run is deleted": ([_MERGE, ("delete", "runs")], False),
    "after all is written": ([_MERGE, ("drop", "learnability")], False),
}
"""Moments of writing: the MongoDB commands that lead there, each with its collection; True if the last has ended."""


class Database:
    """A mongod that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.port = folder, find_free_port()
        self.start()

    def start(self) -> None:
        """Start it."""
        # it must outlive the timer's thread
        self.server = start_mongod(self.folder, self.port, die_with_parent=False)

    def kill(self, seconds: float | None = None) -> None:
        """Kill it; start it again after some seconds, if given."""
        self.server.kill()
        self.server.wait()
        if seconds is not None:
            threading.Timer(seconds, self.start).start()


class KillAtCommand(monitoring.CommandListener):
    """Kills the database for two seconds at a moment of writing.

    Attributes:
        armed: True while it looks at commands
    """

    def __init__(self, database: Database, moment: str) -> None:
        self._database = database
        commands, self._after = MOMENTS.get(moment, ([], False))
        self._commands = list(commands)
        self._request: int | None = None
        self.armed = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Kill the database before the last command."""
        if not self.armed or not self._commands:
            return
        command, collection = self._commands[0]
        if event.command_name == command and str(event.command[command]).startswith(collection):
            del self._commands[0]
            if not self._commands and self._after:
                self._request = event.request_id
            elif not self._commands:
                self._database.kill(2.0)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Kill the database after the last command."""
        if self._request == event.request_id:
            self._request = None
            self._database.kill(2.0)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing."""


def run(name: str, database: Database, killer: KillAtCommand, digits: list[tuple[str, str]]) -> dict[str, Any]:
    """Make a dataset with scores and replace them by a run with an outage; return the outcome."""

    import fiftyone_learnability as fol
    from fiftyone_learnability import ProgressEvent, delivery
    from fiftyone_learnability.dataset.recovery import recover

    from .dataset.helpers import learn, nothing_left_in, scratch_collections, state

    delivery.WRITE_PAUSE = 0.1
    dataset = make_dataset(digits)
    learn(dataset, "tiny", epochs=1, seed=9)
    before = state(dataset)
    notices: list[str] = []

    def progress(event: ProgressEvent) -> None:
        if event.stage == "notice":
            notices.append(event.message)
        if event.stage == "training" and event.epoch == 2 and event.loss is not None:
            if name in ("training", "stays away"):
                database.kill()
            elif name == "training and writing":
                database.kill(8.0)
        if event.stage == "training" and event.epoch == 4 and event.loss is not None and name == "training":
            database.start()
        if event.stage == "writing":
            killer.armed = True

    outcome: dict[str, Any] = {}
    if name == "stays away":
        delivery.WRITE_SECONDS = 2.0
    try:
        learn(dataset, "tiny", epochs=4, seed=3, overwrite=True, progress=progress)
    except fol.WriteError as error:
        outcome["error"] = str(error)
        if name != "stays away":
            raise
        folder = str(error).split("`")[1].split()[-1]
        outcome["again"] = error_of(lambda: delivery.write_run_directory(folder))
        database.start()
        outcome["untouched"] = state(dataset) == before
        report = delivery.write_run_directory(folder)
        outcome["written"] = [report.key, report.num_written]
        outcome["third"] = error_of(lambda: delivery.write_run_directory(folder))
    dataset.reload()
    if name == "after all is written":
        # the journal may be left; the next write would begin with this
        recover(dataset)
    values = dict(zip(dataset.values("filepath"), dataset.values("learnability_tiny"), strict=True))
    return outcome | {
        "notices": notices,
        "values": [values[file] for file, _ in digits],
        "ranks": sorted(dataset.values("learnability_rank_tiny"))[-1],
        "description": dataset.get_field("learnability_tiny").description,
        "runs": dataset.list_runs(),
        "epochs": dataset.get_run_info("learnability").config.epochs,
        "stored_results": state(dataset)["stored_results"],
        "indexes": sorted(set(dataset.list_indexes()) & {"learnability_tiny", "learnability_rank_tiny"}),
        "scratch": list(scratch_collections()),
        "cache": nothing_left_in(Path(os.environ["XDG_CACHE_HOME"])),
    }


def make_dataset(digits: list[tuple[str, str]]) -> Any:
    """Make a dataset of digits."""
    import fiftyone as fo

    dataset = fo.Dataset("outage", persistent=True)
    dataset.add_samples(
        [fo.Sample(file, ground_truth=fo.Classification(label=label)) for file, label in digits], progress=False
    )
    return dataset


def error_of(call: Callable[[], Any]) -> str | None:
    """Return the message of the error that a call raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return None


def run_job(database: Database, digits: list[tuple[str, str]]) -> dict[str, Any]:
    """Start a background job of the App; the database is down for longer than it trains."""
    from bson import ObjectId

    import fiftyone_learnability as fol
    from fiftyone_learnability.dataset.internals import get_database
    from plugin.jobs.job import latest_job

    from .plugin.harness import execute

    dataset = make_dataset(digits)
    options = {"epochs": 12, "batch_size": 16, "device": "cpu", "horizontal_flip": False, "models": ["resnet20"]}
    form = {**options, "preset": "custom", "label_field": "ground_truth", "how": "background"}
    execute("compute_learnability", dataset, form)
    job = latest_job(dataset)
    assert job is not None

    def operation() -> dict[str, Any]:
        return get_database()["delegated_ops"].find_one({"_id": ObjectId(job.id)}) or {}

    def wait_for(condition: Callable[[], Any], description: str) -> None:
        deadline = time.monotonic() + 150
        while not condition():
            assert time.monotonic() < deadline, f"waited for {description}"
            time.sleep(0.2)

    wait_for(lambda: (operation().get("status") or {}).get("progress"), "the training")
    database.kill()
    killed = time.monotonic()
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "fiftyone-learnability" / "runs"
    # without a database, it trains to its end
    wait_for(lambda: list(folder.glob("*/*/results/plan.json")), "the end of the training")
    # the process that watches it must have asked in vain too
    time.sleep(max(0, killed + 15 - time.monotonic()))
    database.start()
    wait_for(lambda: operation()["run_state"] != "running", "the end of the job")
    dataset.reload()
    outcome = {"state": operation()["run_state"], "error": (operation().get("result") or {}).get("error")}
    if dataset.has_field("learnability_resnet20"):
        outcome["values"] = dataset.values("learnability_resnet20")
        expected = fol.compute_learnability(dataset, progress=False, overwrite=True, resume=False, **options)
        outcome["expected"] = expected["resnet20"].learnability.tolist()
    return outcome


def main() -> None:
    """Run a scenario."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    digits = json.load(sys.stdin)
    database = Database(folder / "db")
    os.environ.update(
        FIFTYONE_DATABASE_URI=f"mongodb://127.0.0.1:{database.port}/?serverSelectionTimeoutMS=5000",
        XDG_CACHE_HOME=str(folder / "cache"),
    )
    killer = KillAtCommand(database, name)
    # before fiftyone connects
    monitoring.register(killer)
    try:
        outcome = run_job(database, digits) if name == "job" else run(name, database, killer, digits)
        print(json.dumps(outcome), flush=True)
    finally:
        database.server.kill()
        sys.stdout.flush()
        sys.stderr.flush()
    # FiftyOne's clean-up would wait for the database
    os._exit(0)


if __name__ == "__main__":
    main()
