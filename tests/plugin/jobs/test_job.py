"""Jobs run in this process: their end, their remarks, and the moments at which cancelling counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import pytest
from bson import ObjectId
from fiftyone.operators.delegated import DelegatedOperationService

from fiftyone_learnability import delivery
from fiftyone_learnability.cli import main as command_line
from fiftyone_learnability.dataset.internals import dataset_id, get_database, sample_collection
from fiftyone_learnability.experiment import units
from fiftyone_learnability.experiment.run_directory import RunDirectory
from plugin.jobs.job import cancel_job, fail_job, latest_job
from plugin.jobs.remedies import CANCELLED, message_of_traceback

from ..harness import PanelHarness, execute, form, plugin_module
from ..operators.helpers import in_view
from .helpers import SMALL, assert_untouched, count_jobs, operation, run_here

Start = Callable[..., str]


def test_an_active_job_is_not_dismissed(digit_dataset: fo.Dataset, start: Start) -> None:
    failed = start(digit_dataset, "scheduled")
    fail_job(failed, "an error")
    panel = PanelHarness(digit_dataset)
    panel.open()
    # another page starts a job meanwhile
    job = start(digit_dataset, "scheduled")
    panel.event("on_dismiss")
    assert latest_job(digit_dataset).id == job
    assert latest_job(digit_dataset).state == "queued"


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the next job fail after some epochs, with a checkpoint after each."""
    monkeypatch.setattr(units, "CHECKPOINT_SECONDS", 0.0)
    labels: list[str] = []

    def report(self: Any, fraction: float, label: str) -> None:
        labels.append(label)
        if sum("accuracy" in text for text in labels) == epochs:
            raise RuntimeError("stopped by a test")

    monkeypatch.setattr(plugin_module("jobs.progress_reporter").ProgressReporter, "report", report)


def test_the_same_job_resumes_and_another_starts_over(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        job = start(digit_dataset, "scheduled", epochs=3)
        with monkeypatch.context() as patch:
            stop_after(1, patch)
            run_here(job)
        assert latest_job(digit_dataset).error == "stopped by a test"
    assert "continuing the unfinished run in" in capfd.readouterr().out
    job = start(digit_dataset, "scheduled", epochs=2)
    run_here(job)
    printed = capfd.readouterr().out
    assert "an unfinished run of other data or settings (epochs was 3 and is now 2) is given up" in printed
    assert latest_job(digit_dataset).state == "completed"


def test_remarks_are_shown(
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
    remark = f"samples deleted during the run: 1 ({gone})"
    assert any(remark in text for text in latest_job(digit_dataset).remarks)
    answer = panel.tick()
    assert answer.called("notify")[-1]["variant"] == "warning"
    shown = panel.open().layout["job_remarks"]["view"]
    assert shown["severity"] == "warning"
    assert remark in shown["description"]
    panel.event("on_dismiss")
    assert "job_remarks" not in panel.open().layout
    # the run keeps them
    assert remark in form("manage_learnability_runs", digit_dataset).text
    assert command_line(["runs", digit_dataset.name]) == 0
    captured = capsys.readouterr()
    assert remark in captured.out + captured.err


def test_renaming_the_dataset_during_a_job_does_not_fail_it(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, name = digit_dataset.values("id")[4], f"{digit_dataset.name}-renamed"
    save_results = RunDirectory.save_results

    def rename_first(*args: Any, **kwargs: Any) -> Any:
        # in the database alone, as another process does
        sample_collection(digit_dataset).delete_one({"_id": ObjectId(gone)})
        get_database().datasets.update_one({"_id": dataset_id(digit_dataset)}, {"$set": {"name": name, "slug": name}})
        return save_results(*args, **kwargs)

    job = start(digit_dataset, "scheduled")
    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save_results", rename_first)
        run_here(job)
    done = latest_job(digit_dataset)
    assert done.state == "completed", done.error
    assert any(gone in remark for remark in done.remarks)
    assert fo.load_dataset(name).count("learnability_resnet20") == 59


def test_a_scheduled_job_waits_and_runs(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, "scheduled", models=["resnet20"])
    assert latest_job(digit_dataset).state == "queued"
    assert not latest_job(digit_dataset).in_background
    assert "worker" not in operation(job)["metadata"]
    run_here(job)
    assert latest_job(digit_dataset).state == "completed", latest_job(digit_dataset).error
    digit_dataset.reload()
    assert digit_dataset.count("learnability_rank_resnet20") == 60


def test_a_scheduled_job_keeps_to_its_target(digit_dataset: fo.Dataset) -> None:
    params = {**SMALL, "how": "scheduled"}
    execute("compute_learnability", digit_dataset, params, **in_view(digit_dataset.limit(30)))
    run_here(latest_job(digit_dataset).id)
    digit_dataset.reload()
    written = digit_dataset.exists("learnability_resnet20").values("id")
    assert sorted(written) == sorted(digit_dataset.limit(30).values("id"))


def test_a_job_without_readable_images_offers_what_helps(
    digit_dataset: fo.Dataset, start: Start, tmp_path: Path
) -> None:
    job = start(digit_dataset, "scheduled")
    gone = digit_dataset.skip(7).first()
    gone.filepath = str(tmp_path / "vanished.png")
    gone.save()
    run_here(job)
    failed = latest_job(digit_dataset)
    assert "1 of 60 images cannot be read" in failed.sentence
    assert "run again without them" in failed.sentence
    assert "skip_failures" not in failed.sentence, "the words of Python"
    assert [action.label for action in failed.actions] == ["Show these images", "Run again without them"]
    panel = PanelHarness(digit_dataset)
    panel.open()
    panel.event("on_job_action", action="show", job=job)
    assert panel.ids == [gone.id]
    panel.event("on_reset")
    # twice, as by a double click
    for _ in range(2):
        panel.event("on_job_action", action="without", job=job)
    again = latest_job(digit_dataset)
    assert again.state == "queued"
    assert count_jobs(digit_dataset) == 2
    run_here(again.id)
    assert latest_job(digit_dataset).state == "completed", latest_job(digit_dataset).error
    digit_dataset.reload()
    assert digit_dataset.count("learnability_resnet20") == 59


def test_without_any_readable_image_nothing_is_left_to_run(
    digit_dataset: fo.Dataset, start: Start, tmp_path: Path
) -> None:
    job = start(digit_dataset, "scheduled")
    digit_dataset.set_values("filepath", [str(tmp_path / f"{index}.png") for index in range(60)])
    run_here(job)
    assert [action.label for action in latest_job(digit_dataset).actions] == ["Show these images"]


def test_a_cancelled_job_is_resumed(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job = start(digit_dataset, "scheduled", epochs=3, name="mine")
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        run_here(job)
    get_database()["delegated_ops"].update_one({"_id": ObjectId(job)}, {"$set": {"result.error": CANCELLED}})
    panel = PanelHarness(digit_dataset)
    shown = panel.open()
    assert shown.layout["job_failed"]["view"]["severity"] == "info"
    assert "Nothing was written" in shown.text()
    assert [action.label for action in latest_job(digit_dataset).actions] == ["Resume"]
    # not one that the message does not offer, nor that of another job
    for action, of in (("without", job), ("resume", "0" * 24), ("os:system", job), ({"$ne": 1}, job), (None, None)):
        panel.event("on_job_action", action=action, job=of)
        assert latest_job(digit_dataset).id == job
    panel.event("on_job_action", action="resume", job=job)
    run_here(latest_job(digit_dataset).id)
    assert "continuing the unfinished run in" in capfd.readouterr().out
    digit_dataset.reload()
    assert digit_dataset.count("learnability_mine") == 60


def test_other_failures_lead_back_to_the_form(digit_dataset: fo.Dataset, start: Start) -> None:
    job = start(digit_dataset, "scheduled", epochs=7)
    fail_job(job, "Traceback\nfiftyone_learnability.training.run.TrainingMemoryError: a smaller image_size, lr=0.1")
    failed = latest_job(digit_dataset)
    assert failed.sentence == "A smaller “Image size in pixels”, “Learning rate” 0.1"
    panel = PanelHarness(digit_dataset)
    panel.open()
    (prompt,) = panel.event("on_job_action", action="change", job=job).called("prompt_user_for_operation")
    assert prompt["params"]["epochs"] == 7


@pytest.mark.parametrize("what", ["file", "classes"])
def test_a_failed_job_says_why(digit_dataset: fo.Dataset, start: Start, what: str, tmp_path: Path) -> None:
    job = start(digit_dataset, "scheduled")
    if what == "file":
        sample = digit_dataset.first()
        sample.filepath = str(tmp_path / "vanished.png")
        sample.save()
    else:
        labels = digit_dataset.values("ground_truth.label")
        digit_dataset.set_values("ground_truth.label", ["one"] * 60)
    run_here(job)
    panel = PanelHarness(digit_dataset)
    alert = panel.open().layout["job_failed"]["view"]
    assert alert["severity"] == "error"
    message = alert["description"]
    assert ("vanished.png" if what == "file" else "only one class, 'one'") in message
    assert "\n" not in message
    assert not message.startswith("ValueError")
    assert_untouched(digit_dataset)
    panel.event("on_dismiss")
    assert "job_failed" not in panel.layout
    # the next one is shown again
    if what == "classes":
        digit_dataset.set_values("ground_truth.label", labels)
    start(digit_dataset, "scheduled")
    assert "job_title" in panel.tick().layout


def test_a_job_that_writes_cannot_be_cancelled(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(digit_dataset, "scheduled")
    cancelled = []
    write = delivery.write_results

    def write_while_cancelling(*args: Any, **kwargs: Any) -> Any:
        cancelled.append(cancel_job(job))
        report = write(*args, **kwargs)
        cancelled.append(cancel_job(job))
        return report

    monkeypatch.setattr(delivery, "write_results", write_while_cancelling)
    run_here(job)
    assert cancelled == [False, False]
    assert latest_job(digit_dataset).state == "completed", latest_job(digit_dataset).error
    digit_dataset.reload()
    assert digit_dataset.count("learnability_resnet20") == 60
    assert not cancel_job(job)


def test_a_job_that_has_written_cannot_be_cancelled(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(digit_dataset, "scheduled")
    cancelled = []
    complete = DelegatedOperationService.set_completed

    def complete_while_cancelling(*args: Any, **kwargs: Any) -> Any:
        cancelled.append(cancel_job(job))
        return complete(*args, **kwargs)

    monkeypatch.setattr(DelegatedOperationService, "set_completed", complete_while_cancelling)
    run_here(job)
    assert cancelled == [False]
    assert latest_job(digit_dataset).state == "completed", latest_job(digit_dataset).error


def test_cancelling_right_before_the_writing_writes_nothing(
    digit_dataset: fo.Dataset, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = start(digit_dataset, "scheduled")
    cancelled = []
    reporter = plugin_module("jobs.progress_reporter")
    begin = reporter.begin_writing

    def cancel_before(job_id: str) -> bool:
        cancelled.append(cancel_job(job))
        return begin(job_id)

    monkeypatch.setattr(reporter, "begin_writing", cancel_before)
    run_here(job)
    assert cancelled == [True]
    assert latest_job(digit_dataset).error == CANCELLED
    assert_untouched(digit_dataset)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("", ""),
        ("Traceback (most recent call last):\n  File x\nValueError: no: images\n", "no: images"),
        ("Traceback\nfiftyone_learnability.dataset.fields.WriteError: away", "away"),
        ("Cancelled by user", "Cancelled by user"),
        ("The process: has ended", "The process: has ended"),
    ],
)
def test_the_message_of_a_traceback(error: str, message: str) -> None:
    assert message_of_traceback(error) == message
