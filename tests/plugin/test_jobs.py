"""Background jobs: real workers that train, are cancelled, die or fail; and the moments at which cancelling counts."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import psutil
import pytest
from bson import ObjectId
from fiftyone.operators.delegated import DelegatedOperationService

import fiftyone_learnability as fol
from fiftyone_learnability import delivery
from fiftyone_learnability.cli import main as command_line
from fiftyone_learnability.experiment.run_directory import RunDirectory
from plugin.jobs import job as jobs
from plugin.jobs.logs import log_path

from .harness import PanelHarness, execute, form, plugin_module

SMALL = {
    "preset": "custom",
    "epochs": 1,
    "batch_size": 32,
    "device": "cpu",
    "horizontal_flip": False,
    "models": ["resnet20"],
    "label_field": "ground_truth",
}
"""What takes a second to train."""

Start = Callable[..., str]


def operation(job: str) -> dict[str, Any]:
    found = fo.core.odm.get_db_conn()["delegated_ops"].find_one({"_id": ObjectId(job)})
    assert found is not None
    return found


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)
    return found


def wait_for_training(job: str) -> None:
    """Waits until a worker trains."""

    def trains() -> bool:
        found = operation(job)
        assert found["run_state"] in ("queued", "running"), found.get("result")
        return bool((found.get("status") or {}).get("progress"))

    wait_for(trains, "the training")


def processes_of(job: str) -> list[psutil.Process]:
    """The worker of a job and what it has started."""
    worker = psutil.Process(operation(job)["metadata"]["worker"]["pid"])
    return [worker, *worker.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def assert_untouched(dataset: fo.Dataset) -> None:
    dataset.reload()
    assert not fol.list_runs(dataset)
    assert not [name for name in dataset.get_field_schema() if name.startswith("learnability")]


@pytest.fixture
def start() -> Iterator[Start]:
    """Submits the form; whatever it has started is killed in the end."""
    started: list[str] = []

    def submit(dataset: fo.Dataset, how: str = "background", **params: Any) -> str:
        answer = execute("compute_learnability", dataset, {**SMALL, "how": how, **params})
        assert answer.called("open_panel")
        job = jobs.latest_job(dataset)
        assert job is not None
        assert job.state in ("queued", "running")
        started.append(job.id)
        return job.id

    yield submit
    for job in started:
        if "worker" in operation(job)["metadata"]:
            jobs.cancel_job(job)
            try:
                for process in processes_of(job):
                    process.kill()
            except psutil.Error:
                pass
            log_path(job).unlink(missing_ok=True)


def run_here(job: str) -> None:
    """Runs a scheduled job in this process, as `fiftyone delegated launch` does."""
    service = DelegatedOperationService()
    service.execute_operation(service.get(ObjectId(job)))


# real workers


def test_a_background_job_writes_its_scores(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, key="mine")
    panel = PanelHarness(digit_dataset)
    assert "Starting" in panel.open().text()
    processes = processes_of(job)
    # one that trains is not another's business: the server may stop meanwhile
    assert os.getsid(processes[0].pid) != os.getsid(0)
    wait_for(lambda: operation(job)["run_state"] not in ("queued", "running"), "the end")
    assert operation(job)["run_state"] == "completed", log_path(job).read_text()
    digit_dataset.reload()
    assert fol.list_runs(digit_dataset) == ["mine"]
    assert digit_dataset.count("learnability_resnet20") == 60
    answer = panel.event("on_timer")
    assert answer.called("reload_dataset")
    assert answer.drawn == ["histogram"]
    assert panel.state["job"]["state"] == "completed"
    wait_for(lambda: all_gone(processes), "the end of the worker", 20)
    # a worker that is gone after its work has not failed
    assert jobs.latest_job(digit_dataset).state == "completed", jobs.latest_job(digit_dataset).error


def test_cancelling_kills_the_training(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, epochs=10_000)
    panel = PanelHarness(digit_dataset)
    panel.open()
    wait_for_training(job)
    processes = processes_of(job)
    assert len(processes) > 1
    panel.event("on_timer")
    assert 0 < panel.state["job"]["progress"] < 1
    assert "resnet20" in panel.state["job"]["label"]
    panel.event("on_cancel")
    assert (panel.state["job"]["state"], panel.state["job"]["error"]) == ("failed", "Cancelled by user")
    wait_for(lambda: all_gone(processes), "the end of the processes", 30)
    panel.event("on_timer")
    # the worker has not put another end over it
    assert (panel.state["job"]["state"], panel.state["job"]["error"]) == ("failed", "Cancelled by user")
    assert_untouched(digit_dataset)


def test_a_killed_worker_is_noticed(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, epochs=10_000)
    panel = PanelHarness(digit_dataset)
    panel.open()
    wait_for_training(job)
    processes = processes_of(job)
    os.killpg(processes[0].pid, signal.SIGKILL)
    wait_for(lambda: all_gone(processes[:1]), "the end of the worker", 10)
    answer = panel.event("on_timer")
    assert panel.state["job"]["state"] == "failed"
    assert str(log_path(job)) in answer.layout["job_failed"]["view"]["description"]
    assert "Compute the same again to continue" in answer.layout["job_failed"]["view"]["description"]
    assert answer.layout["job_failed"]["view"]["severity"] == "error"
    # the training itself is in a group of its own: it finds that it is no longer wanted
    wait_for(lambda: all_gone(processes), "the end of the training", 30)
    panel.event("on_timer")
    assert panel.state["job"]["state"] == "failed"
    assert str(log_path(job)) in panel.state["job"]["error"]
    assert_untouched(digit_dataset)
    panel.event("on_dismiss")
    assert jobs.latest_job(digit_dataset) is None


def test_a_training_that_is_killed_is_told_by_its_worker(digit_dataset: fo.Dataset, start: Start) -> None:
    """As by a system that is out of memory."""
    job = start(digit_dataset, epochs=10_000)
    wait_for_training(job)
    worker, *children = processes_of(job)
    # the one that trains, not what Python has started beside it
    for child in children:
        child.kill()
    wait_for(lambda: all_gone([worker]), "the end of the worker", 30)
    assert operation(job)["run_state"] == "failed"
    panel = PanelHarness(digit_dataset)
    description = panel.open().layout["job_failed"]["view"]["description"]
    assert "ended unexpectedly. Compute the same again to continue" in description
    # what it has printed is there, where the message says
    assert str(log_path(job)) in description
    assert log_path(job).exists()
    assert_untouched(digit_dataset)


def test_what_runs_is_not_dismissed(digit_dataset: fo.Dataset, start: Start) -> None:
    failed = start(digit_dataset, "scheduled")
    jobs.fail_job(failed, "bad luck")
    panel = PanelHarness(digit_dataset)
    panel.open()
    # another page, meanwhile
    job = start(digit_dataset, "scheduled")
    panel.event("on_dismiss")
    assert jobs.latest_job(digit_dataset).id == job
    assert panel.state["job"]["state"] == "queued"


class Stopped(Exception):
    """Ends a job in the middle."""


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the next job fail after some epochs, each of which is kept."""
    monkeypatch.setattr("fiftyone_learnability.experiment.units.CHECKPOINT_SECONDS", 0.0)
    told = []

    def tell(self: Any, fraction: float, label: str) -> None:
        told.append(label)
        if sum("accuracy" in text for text in told) == epochs:
            raise Stopped("by a test")

    monkeypatch.setattr(plugin_module("jobs.progress_reporter").ProgressReporter, "report", tell)


def test_the_same_job_goes_on_and_another_starts_over(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        job = start(digit_dataset, "scheduled", epochs=3)
        with monkeypatch.context() as patch:
            stop_after(1, patch)
            run_here(job)
        assert jobs.latest_job(digit_dataset).error == "by a test"
    assert "continuing the unfinished run in" in capfd.readouterr().out
    job = start(digit_dataset, "scheduled", epochs=2)
    run_here(job)
    said = capfd.readouterr().out
    assert "an unfinished run of other data or settings (epochs was 3 and is now 2) is given up" in said
    assert jobs.latest_job(digit_dataset).state == "completed"


def test_what_did_not_go_as_planned_is_said(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = digit_dataset.values("id")[4]
    save_results = RunDirectory.save_results

    def delete_first(*args: Any, **kwargs: Any) -> Any:
        digit_dataset.delete_samples([gone])
        return save_results(*args, **kwargs)

    job = start(digit_dataset, "scheduled")
    panel = PanelHarness(digit_dataset)
    panel.open()
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save_results", delete_first)
        run_here(job)
    said = f"samples that vanished from the dataset meanwhile: 1 ({gone})"
    assert any(said in remark for remark in jobs.latest_job(digit_dataset).remarks)
    answer = panel.event("on_timer")
    assert answer.called("notify")[-1]["variant"] == "warning"
    shown = panel.open().layout["job_remarks"]["view"]
    assert shown["severity"] == "warning"
    assert said in shown["description"]
    panel.event("on_dismiss")
    assert "job_remarks" not in panel.open().layout
    # and later
    assert said in form("manage_learnability_runs", digit_dataset).text
    assert command_line(["runs", digit_dataset.name]) == 0
    captured = capsys.readouterr()
    assert said in captured.out + captured.err


def test_a_dataset_that_is_renamed_meanwhile_fails_no_job(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, name = digit_dataset.values("id")[4], f"{digit_dataset.name}-anew"
    save_results = RunDirectory.save_results

    def rename_first(*args: Any, **kwargs: Any) -> Any:
        # another process, of which this one hears nothing
        digit_dataset._sample_collection.delete_one({"_id": ObjectId(gone)})
        digit_dataset._sample_collection.database.datasets.update_one(
            {"_id": digit_dataset._doc.id}, {"$set": {"name": name, "slug": name}}
        )
        return save_results(*args, **kwargs)

    job = start(digit_dataset, "scheduled")
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save_results", rename_first)
        run_here(job)
    done = jobs.latest_job(digit_dataset)
    assert done.state == "completed", done.error
    assert any(gone in remark for remark in done.remarks)
    assert fo.load_dataset(name).count("learnability_resnet20") == 59


def test_a_worker_leaves_a_cancelled_job_alone(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, "scheduled")
    assert jobs.cancel_job(job)
    worker = subprocess.run(
        [sys.executable, Path(jobs.__file__).with_name("worker.py"), job, log_path(job), "killed"], timeout=120
    )
    assert worker.returncode == 0
    assert jobs.latest_job(digit_dataset).error == jobs.CANCELLED
    assert_untouched(digit_dataset)


def test_a_worker_leaves_a_job_alone_that_another_process_has_taken(digit_dataset: fo.Dataset, start: Start) -> None:
    """As a ``fiftyone delegated launch`` does that happens to be faster."""
    job = start(digit_dataset, "scheduled")
    jobs._operations().update_one(
        {"_id": ObjectId(job)},
        {"$set": {"run_state": "running", "metadata.worker": {"pid": 2**22 + 1, "host": platform.node()}}},
    )
    worker = subprocess.run(
        [sys.executable, Path(jobs.__file__).with_name("worker.py"), job, log_path(job), "killed"], timeout=120
    )
    assert worker.returncode == 0
    assert jobs.latest_job(digit_dataset).state == "running"
    assert_untouched(digit_dataset)


# scheduled, in this process


def test_a_scheduled_job_waits_and_runs(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, "scheduled", models=["resnet20"])
    assert jobs.latest_job(digit_dataset).state == "queued"
    assert not jobs.latest_job(digit_dataset).in_background
    assert "worker" not in operation(job)["metadata"]
    run_here(job)
    assert jobs.latest_job(digit_dataset).state == "completed", jobs.latest_job(digit_dataset).error
    digit_dataset.reload()
    assert digit_dataset.count("learnability_rank_resnet20") == 60


def test_a_scheduled_job_keeps_to_its_target(digit_dataset: fo.Dataset) -> None:
    stages = digit_dataset.limit(30)._serialize()
    execute(
        "compute_learnability",
        digit_dataset,
        {**SMALL, "how": "scheduled"},
        view=stages,
        view_target="CURRENT_VIEW",
    )
    run_here(jobs.latest_job(digit_dataset).id)
    digit_dataset.reload()
    written = digit_dataset.exists("learnability_resnet20").values("id")
    assert sorted(written) == sorted(digit_dataset.limit(30).values("id"))


@pytest.mark.parametrize("what", ["file", "classes"])
def test_a_failed_job_says_why(digit_dataset: fo.Dataset, start: Start, what: str, tmp_path: Path) -> None:
    job = start(digit_dataset, "scheduled")
    if what == "file":
        sample = digit_dataset.first()
        sample.filepath = str(tmp_path / "vanished.png")
        sample.save()
    else:
        digit_dataset.set_values("ground_truth.label", ["one"] * 60)
    run_here(job)
    panel = PanelHarness(digit_dataset)
    alert = panel.open().layout["job_failed"]["view"]
    assert alert["severity"] == "error"
    said = alert["description"]
    assert ("vanished.png" if what == "file" else "only one class, 'one'") in said
    assert "\n" not in said
    assert not said.startswith("ValueError")
    assert_untouched(digit_dataset)
    panel.event("on_dismiss")
    assert "job_failed" not in panel.event("on_timer").layout
    # the next one is shown again
    start(digit_dataset, "scheduled")
    assert "job_title" in panel.event("on_timer").layout


# the moments of writing


def test_while_scores_are_written_nothing_is_cancelled(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(digit_dataset, "scheduled")
    cancelled = []
    write = delivery.write_results

    def write_while_cancelling(*args: Any, **kwargs: Any) -> Any:
        cancelled.append(jobs.cancel_job(job))
        report = write(*args, **kwargs)
        cancelled.append(jobs.cancel_job(job))
        return report

    monkeypatch.setattr(delivery, "write_results", write_while_cancelling)
    run_here(job)
    assert cancelled == [False, False]
    assert jobs.latest_job(digit_dataset).state == "completed", jobs.latest_job(digit_dataset).error
    digit_dataset.reload()
    assert digit_dataset.count("learnability_resnet20") == 60
    assert not jobs.cancel_job(job)


def test_once_scores_are_written_nothing_is_cancelled(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(digit_dataset, "scheduled")
    cancelled = []
    complete = DelegatedOperationService.set_completed

    def complete_while_cancelling(*args: Any, **kwargs: Any) -> Any:
        cancelled.append(jobs.cancel_job(job))
        return complete(*args, **kwargs)

    monkeypatch.setattr(DelegatedOperationService, "set_completed", complete_while_cancelling)
    run_here(job)
    assert cancelled == [False]
    assert jobs.latest_job(digit_dataset).state == "completed", jobs.latest_job(digit_dataset).error


def test_cancelling_right_before_the_writing_writes_nothing(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(digit_dataset, "scheduled")
    cancelled = []
    loaded = plugin_module("jobs.progress_reporter")
    begin = loaded.begin_writing

    def cancel_before(job_id: str) -> bool:
        cancelled.append(jobs.cancel_job(job))
        return begin(job_id)

    monkeypatch.setattr(loaded, "begin_writing", cancel_before)
    run_here(job)
    assert cancelled == [True]
    assert jobs.latest_job(digit_dataset).error == jobs.CANCELLED
    assert_untouched(digit_dataset)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("", ""),
        ("Traceback (most recent call last):\n  File x\nValueError: no: images\n", "no: images"),
        ("Traceback\nfiftyone_learnability.dataset.fields.WriteError: away", "away"),
        ("Cancelled by user", "Cancelled by user"),
        ("The process: has ended", "The process: has ended"),
    ],
)
def test_the_message_of_a_traceback(error: str, said: str) -> None:
    assert jobs.message_of_traceback(error) == said
