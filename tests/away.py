"""A database that is killed and started again while a run goes on; run as ``python -m tests.away`` by
test_database_away.py, with the name of a scenario and a folder. Prints what became of it, as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from scripts.database import find_mongod


class Database:
    """A mongod that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        command = [find_mongod(), "--dbpath", self.folder, "--port", self.port, "--bind_ip", "127.0.0.1"]
        self.server = subprocess.Popen(
            [*map(str, command), "--nounixsocket", "--quiet", "--logpath", str(self.folder / "log")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("mongod does not start")

    def kill(self, seconds: float | None = None) -> None:
        """Kills it; starts it again after some seconds, if they are given."""
        self.server.kill()
        self.server.wait()
        if seconds is not None:
            threading.Timer(seconds, self.start).start()


def scenario(name: str, database: Database, digits: list[tuple[str, str]]) -> dict[str, Any]:
    """Makes a dataset, and a run during which the database goes away; tells what came of it."""
    import fiftyone as fo

    import fiftyone_learnability as fol
    from fiftyone_learnability import ProgressEvent, delivery
    from fiftyone_learnability.dataset import columns, recovery, registration

    from .dataset.helpers import learn, nothing_left_in, scratch_collections, state

    delivery.WRITE_PAUSE = 0.1
    dataset = fo.Dataset("away", persistent=True)
    dataset.add_samples(
        [fo.Sample(file, ground_truth=fo.Classification(label=label)) for file, label in digits], progress=False
    )
    learn(dataset, "tiny", epochs=1, seed=9)
    before = state(dataset)
    notices: list[str] = []

    def progress(event: ProgressEvent) -> None:
        if event.stage == "notice":
            notices.append(event.message)
        if event.stage == "training" and event.epoch == 2 and event.loss is not None:
            if name == "training":
                database.kill()
            elif name == "training and writing":
                database.kill(8.0)
            elif name == "away":
                database.kill()
        if event.stage == "training" and event.epoch == 4 and event.loss is not None and name == "training":
            database.start()

    def kill_at(target: Any, function: str, after: bool) -> None:
        """Kills the database at the first call of a function, for two seconds."""
        real, calls = getattr(target, function), []

        def first_kills(*args: Any, **kwargs: Any) -> Any:
            calls.append(None)
            if len(calls) > 1:
                return real(*args, **kwargs)
            if not after:
                database.kill(2.0)
                return real(*args, **kwargs)
            result = real(*args, **kwargs)
            database.kill(2.0)
            return result

        setattr(target, function, first_kills)

    if name == "before the values":
        kill_at(columns, "merge", after=False)
    elif name == "after the values":
        kill_at(columns, "merge", after=True)
    elif name == "before the fields are shown":
        kill_at(columns, "reveal", after=False)
    elif name == "before the run has its key":
        kill_at(registration.Registration, "finish", after=False)
    elif name == "after all is written":
        kill_at(columns.Journal, "__exit__", after=False)
    elif name == "while the old run is deleted":
        kill_at(registration.LearnabilityRun, "delete_run", after=False)

    said: dict[str, Any] = {}
    if name == "away":
        delivery.WRITE_SECONDS = 2.0
    try:
        learn(dataset, "tiny", epochs=4, seed=3, overwrite=True, progress=progress)
    except fol.WriteError as error:
        said["error"] = str(error)
        if name != "away":
            raise
        folder = str(error).split("`")[1].split()[-1]
        # it stays away, and then comes back
        try:
            delivery.write_run_directory(folder)
        except Exception as again:  # noqa: BLE001
            said["again"] = f"{type(again).__name__}: {again}"
        database.start()
        said["old"] = state(dataset) == before
        report = delivery.write_run_directory(folder)
        said["written"] = [report.key, report.num_written]
        try:
            delivery.write_run_directory(folder)
        except ValueError as error:
            said["third"] = str(error)
    dataset.reload()
    if name == "after all is written":
        # the journal may be left; the next write would begin with this
        recovery.recover(dataset)
    values = dict(zip(dataset.values("filepath"), dataset.values("learnability_tiny"), strict=True))
    said |= {
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
    return said


def job(database: Database, digits: list[tuple[str, str]]) -> dict[str, Any]:
    """A background job of the App's, at whose beginning the database goes away for longer than it trains."""
    import fiftyone as fo
    from bson import ObjectId

    import fiftyone_learnability as fol
    from plugin.jobs.job import latest_job

    from .plugin.harness import execute

    dataset = fo.Dataset("away", persistent=True)
    dataset.add_samples(
        [fo.Sample(file, ground_truth=fo.Classification(label=label)) for file, label in digits], progress=False
    )
    options = {"epochs": 12, "batch_size": 16, "device": "cpu", "horizontal_flip": False, "models": ["resnet20"]}
    form = {**options, "preset": "custom", "label_field": "ground_truth", "how": "background"}
    execute("compute_learnability", dataset, form)
    found = latest_job(dataset)
    assert found is not None
    operations = fo.core.odm.get_db_conn()["delegated_ops"]

    def look() -> dict[str, Any]:
        return operations.find_one({"_id": ObjectId(found.id)}) or {}

    deadline = time.monotonic() + 120
    while not (look().get("status") or {}).get("progress"):
        assert time.monotonic() < deadline, look()
        time.sleep(0.1)
    database.kill()
    began, results = time.monotonic(), Path(os.environ["XDG_CACHE_HOME"]) / "fiftyone-learnability" / "runs"
    # it trains to its end, without a database to ask
    while not list(results.glob("*/*/results/plan.json")):
        assert time.monotonic() < deadline, "the training does not go on"
        time.sleep(0.1)
    said: dict[str, Any] = {"trained_within": time.monotonic() - began}
    # and for longer than it is asked in vain, by the process that watches too
    time.sleep(max(0, 15 - said["trained_within"]))
    database.start()
    deadline = time.monotonic() + 120
    while look()["run_state"] == "running":
        assert time.monotonic() < deadline, look()
        time.sleep(0.5)
    dataset.reload()
    said |= {"state": look()["run_state"], "error": (look().get("result") or {}).get("error")}
    if dataset.has_field("learnability_resnet20"):
        said["values"] = dataset.values("learnability_resnet20")
        expected = fol.compute_learnability(dataset, progress=False, overwrite=True, resume=False, **options)
        said["expected"] = expected["resnet20"].learnability.tolist()
    return said


def main() -> None:
    """Runs a scenario."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    digits = json.load(sys.stdin)
    database = Database(folder / "db")
    os.environ.update(
        FIFTYONE_DATABASE_URI=f"mongodb://127.0.0.1:{database.port}/?serverSelectionTimeoutMS=5000",
        XDG_CACHE_HOME=str(folder / "cache"),
    )
    try:
        said = job(database, digits) if name == "job" else scenario(name, database, digits)
        print(json.dumps(said), flush=True)
    finally:
        database.server.kill()
        # FiftyOne would wait for the database to tidy up in it
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
