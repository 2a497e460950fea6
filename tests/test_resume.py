"""An interrupted run resumes where it was, and its results equal those of an uninterrupted run bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
import torch
from torch import nn

import fiftyone_learnability as fol
from fiftyone_learnability import ProgressEvent, TrainingDivergedError
from fiftyone_learnability.dataset.runs import load_results
from fiftyone_learnability.experiment import run_directory, units
from fiftyone_learnability.experiment.lock import RunLockedError
from fiftyone_learnability.experiment.results import ModelResults
from fiftyone_learnability.experiment.run_directory import RunMismatchError, open_run_directory
from fiftyone_learnability.experiment.unfinished import clean_run_directories, find_run_directories
from fiftyone_learnability.preparation import default_run_directory
from fiftyone_learnability.training import measuring

from .dataset.helpers import learn, nothing_left_in, same_results, state, tiny, values_of


class Stopped(Exception):
    """Ends a run in the middle."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test, and a checkpoint after every epoch."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(units, "CHECKPOINT_SECONDS", 0.0)
    return tmp_path / "cache"


def conv(num_classes: int, in_channels: int) -> nn.Module:
    """A network with everything a checkpoint must hold: buffers of batch norm, random numbers of dropout."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )


class Stopper:
    """A progress callback that collects notices and ends the run at the n-th epoch."""

    def __init__(self, after: int | None = None, error: BaseException | None = None) -> None:
        self.after, self.error = after, error or Stopped()
        self.epochs = 0
        self.notices: list[str] = []

    def __call__(self, event: ProgressEvent) -> None:
        if event.stage == "notice":
            self.notices.append(event.message)
        if event.stage == "training" and event.loss is not None:
            self.epochs += 1
            if self.epochs == self.after:
                raise self.error


def stop_after(count: int, dataset: fo.Dataset, *models: str, **options: Any) -> None:
    with pytest.raises(Stopped):
        learn(dataset, *models, **{"epochs": 4, "progress": Stopper(count), **options})


MODELS = {"conv": conv, "tiny": tiny}
FULL = {"models": MODELS, "epochs": 4, "runs": 2, "crop_padding": 2, "horizontal_flip": True, "scores": "all"}
"""Sixteen epochs in all."""


def test_a_resumed_run_equals_an_uninterrupted_one(digit_dataset: fo.Dataset, cache: Path) -> None:
    expected = learn(digit_dataset, **FULL)
    fields = [name for name in digit_dataset.get_field_schema() if name.startswith("learnability_")]
    assert len(fields) > 10
    written = {name: values_of(digit_dataset, name) for name in fields}
    assert expected["conv"].dynamics.shape == (4, 60)
    assert expected["conv"].prediction.shape == (60, 3)
    fol.delete_run(digit_dataset, "learnability")
    seen = 0
    # within a training, and at the end of a training, of a network and of the run
    for count in (2, 2, 1, 3, 5, 1, 2):
        before = state(digit_dataset)
        stopper = Stopper(count)
        with pytest.raises(Stopped):
            learn(digit_dataset, **FULL, progress=stopper)
        assert state(digit_dataset) == before
        assert any("continuing the unfinished run" in notice for notice in stopper.notices) == (seen > 0)
        seen += count
    last = Stopper()
    results = learn(digit_dataset, **FULL, progress=last)
    # no epoch was trained twice
    assert seen + last.epochs == 16
    assert same_results(results, expected)
    assert {name: values_of(digit_dataset, name) for name in fields} == written
    assert same_results(load_results(digit_dataset, "learnability"), expected)
    assert results["conv"].epoch_seconds.shape == (2, 4)
    assert nothing_left_in(cache)


def test_a_run_with_all_shortcuts_is_resumed_too(digit_dataset: fo.Dataset, cache: Path) -> None:
    options = {**FULL, "epochs": 12, "measure": "online", "measure_every": 2, "stop_when_stable": 0.85}
    expected = learn(digit_dataset, **options)
    epochs = np.concatenate([result.epochs_run for result in expected.values()])
    assert epochs.min() < 12
    fol.delete_run(digit_dataset, "learnability")
    for count in (3, 4, 1, int(epochs.sum()) - 11):
        with pytest.raises(Stopped):
            learn(digit_dataset, **options, progress=Stopper(count))
    last = Stopper()
    results = learn(digit_dataset, **options, progress=last)
    assert last.epochs == 3
    assert same_results(results, expected)
    assert nothing_left_in(cache)


def test_finished_trainings_are_reported_and_not_repeated(digit_dataset: fo.Dataset) -> None:
    stop_after(6, digit_dataset, "a", "b")
    stopper = Stopper()
    learn(digit_dataset, "a", "b", epochs=4, progress=stopper)
    assert stopper.epochs == 2
    assert "a: already trained" in stopper.notices
    assert "b: continuing after epoch 2 of 4" in stopper.notices


def test_the_time_left_of_a_resumed_training_counts_its_own_epochs(digit_dataset: fo.Dataset) -> None:
    stop_after(2, digit_dataset)
    events: list[ProgressEvent] = []
    learn(digit_dataset, epochs=4, progress=events.append)
    trained = [event for event in events if event.stage == "training"]
    assert [(event.epoch, event.fraction) for event in trained] == [(3, 0.75), (4, 1.0)]
    # the one remaining epoch takes as long as the one before
    assert trained[0].seconds_left == pytest.approx(60 / trained[0].samples_per_second)


def test_checkpoints_keep_their_interval(digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(
        run_directory.RunDirectory, "save_checkpoint", lambda self, unit, state: saved.append(len(state["reports"]))
    )
    learn(digit_dataset, epochs=3)
    assert saved == [1, 2, 3]
    monkeypatch.setattr(units, "CHECKPOINT_SECONDS", 1000.0)
    learn(digit_dataset, "other", epochs=3)
    assert saved == [1, 2, 3]


def test_an_interruption_keeps_every_complete_epoch(digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    # even long after the last checkpoint
    monkeypatch.setattr(units, "CHECKPOINT_SECONDS", 1000.0)
    for count, error in ((2, Stopped()), (1, KeyboardInterrupt()), (1, MemoryError())):
        with pytest.raises(type(error)):
            learn(digit_dataset, epochs=5, progress=Stopper(count, error))
    last = Stopper()
    learn(digit_dataset, epochs=5, progress=last)
    assert last.epochs == 1


def test_nothing_is_left_after_success_or_an_early_end(digit_dataset: fo.Dataset, cache: Path) -> None:
    learn(digit_dataset, "a")
    assert nothing_left_in(cache)
    with pytest.raises(ValueError, match="epochs"):
        learn(digit_dataset, "b", epochs=0)
    assert nothing_left_in(cache)

    def stop(event: ProgressEvent) -> None:
        if event.stage == "notice":
            raise Stopped

    with pytest.raises(Stopped):
        learn(digit_dataset, "b", progress=stop)
    assert nothing_left_in(cache)


def test_a_diverged_training_is_not_resumed(digit_dataset: fo.Dataset, cache: Path) -> None:
    with pytest.raises(TrainingDivergedError):
        learn(digit_dataset, epochs=20, lr=1e25)
    assert nothing_left_in(cache)
    # following the advice
    learn(digit_dataset, epochs=2)


class OfRate(nn.Module):
    """A network that diverges at high learning rates, when its weights have moved far."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.network = tiny(num_classes, in_channels)
        self.start = torch.nn.utils.parameters_to_vector(self.network.parameters()).detach().clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.nn.utils.parameters_to_vector(self.network.parameters()).detach()
        far = (weights - self.start).abs().max() > 6
        return self.network(x) * (torch.nan if far else 1.0)


def test_a_diverged_training_can_be_restarted_once(digit_dataset: fo.Dataset, cache: Path) -> None:
    models = {"calm": tiny, "touchy": OfRate}
    options: dict[str, Any] = {"models": models, "epochs": 4, "lr": 4.0}
    with pytest.raises(TrainingDivergedError, match=r"touchy: .* lr=4\.0; try a lower one, such as lr=1"):
        learn(digit_dataset, **options)
    stopper = Stopper()
    results = learn(digit_dataset, **options, restart_diverged=True, progress=stopper)
    # the finished training is not repeated
    assert "calm: already trained" in stopper.notices
    assert any("Restarting with lr=1" in notice for notice in stopper.notices)
    said = "seed 0: diverged at lr=4 and was restarted with lr=1"
    assert results["touchy"].config["incidents"] == [said]
    assert "incidents" not in results["calm"].config
    config = digit_dataset.get_run_info("learnability").config
    assert config.remarks == [f"touchy, {said}"]
    # the scores equal those of the lower rate
    expected = learn(digit_dataset, models={"other": OfRate}, epochs=4, lr=1.0)["other"]
    assert results["touchy"].learnability.tobytes() == expected.learnability.tobytes()
    assert nothing_left_in(cache)


def test_a_restarted_training_is_resumed_at_its_lower_rate(digit_dataset: fo.Dataset) -> None:
    options: dict[str, Any] = {"models": {"touchy": OfRate}, "epochs": 4, "lr": 4.0, "restart_diverged": True}
    expected = learn(digit_dataset, **options)
    fol.delete_run(digit_dataset, "learnability")
    with pytest.raises(Stopped):
        learn(digit_dataset, **options, progress=Stopper(2))
    last = Stopper()
    results = learn(digit_dataset, **options, progress=last)
    assert last.epochs == 2
    assert same_results(results, expected)
    assert results["touchy"].config["incidents"] == ["seed 0: diverged at lr=4 and was restarted with lr=1"]


def test_diverging_again_at_the_lower_rate_is_an_error(digit_dataset: fo.Dataset, cache: Path) -> None:
    stopper = Stopper()
    with pytest.raises(TrainingDivergedError, match=r"lr=2\.5e\+29; try a lower one"):
        learn(digit_dataset, epochs=20, lr=1e30, restart_diverged=True, progress=stopper)
    assert sum("Restarting with" in notice for notice in stopper.notices) == 1
    assert nothing_left_in(cache)


class Cramped(nn.Module):
    """A network that runs out of memory above eight images."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.network = conv(num_classes, in_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 8:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB")
        return self.network(x)


def test_smaller_parts_after_out_of_memory_are_recorded_and_resumed(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "CPU_BATCH", 16)
    options: dict[str, Any] = {"models": {"cramped": Cramped}, "epochs": 4}
    stopper = Stopper()
    expected = learn(digit_dataset, **options, progress=stopper)
    said = "cpu ran out of memory in epoch 1 of 4: from there on each batch of 16 is split into 2 parts"
    assert any(f"cramped: {said}" in notice for notice in stopper.notices)
    (incident,) = expected["cramped"].config["incidents"]
    assert incident.startswith(f"seed 0: {said}")
    assert digit_dataset.get_run_info("learnability").config.remarks == [f"cramped, {incident}"]
    fol.delete_run(digit_dataset, "learnability")
    with pytest.raises(Stopped):
        learn(digit_dataset, **options, progress=Stopper(2))
    assert same_results(learn(digit_dataset, **options), expected)


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "epochs": ({"epochs": 5}, "epochs was 4 and is now 5"),
    "seed": ({"seed": 1}, "seed was 0 and is now 1"),
    "rate": ({"lr": 0.5}, r"lr was 0\.0125 and is now 0\.5"),
    "network": ({"models": {"tiny": conv}}, "networks was"),
    "image size": ({"image_size": 16}, "image_size was 32 and is now 16; the images have changed"),
    "dynamics": ({"record_dynamics": False}, "record_dynamics was true and is now false"),
    "measurement": ({"measure": "online"}, "measure was .exact. and is now .online."),
    "pace": ({"measure_every": 2}, "measure_every was 1 and is now 2"),
    "end": ({"stop_when_stable": 0.9}, r"stop_when_stable was null and is now 0\.9"),
}


@pytest.mark.parametrize(("options", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_other_settings_are_refused(
    digit_dataset: fo.Dataset, options: dict[str, Any], message: str, cache: Path
) -> None:
    stop_after(2, digit_dataset)
    with pytest.raises(RunMismatchError, match=rf"{message}.*resume=False"):
        learn(digit_dataset, **{"epochs": 4, **options})
    # nothing is lost
    stopper = Stopper()
    learn(digit_dataset, epochs=4, progress=stopper)
    assert stopper.epochs == 2


def test_another_label_or_image_is_refused(digits: Any, digit_dataset: fo.Dataset) -> None:
    stop_after(1, digit_dataset)
    sample = digit_dataset.first()
    label = sample["ground_truth"].label
    sample["ground_truth"] = fo.Classification(label="1" if label != "1" else "4")
    sample.save()
    with pytest.raises(RunMismatchError, match="the labels have changed"):
        learn(digit_dataset, epochs=4)
    sample["ground_truth"] = fo.Classification(label=label)
    sample.filepath = digits[0][-1]
    sample.save()
    with pytest.raises(RunMismatchError, match="the images have changed"):
        learn(digit_dataset, epochs=4)


@pytest.mark.parametrize("resume", [False, "if_same"])
def test_starting_over(digit_dataset: fo.Dataset, resume: Any, cache: Path) -> None:
    stop_after(2, digit_dataset, resume=resume)
    stopper = Stopper()
    learn(digit_dataset, epochs=3, resume=resume, progress=stopper)
    assert stopper.epochs == 3
    assert nothing_left_in(cache)
    # only resume=False discards a run of the same data and settings
    stop_after(2, digit_dataset, "other")
    stopper = Stopper()
    learn(digit_dataset, "other", epochs=4, resume=resume, progress=stopper)
    assert stopper.epochs == (2 if resume else 4)


def test_if_same_discards_only_its_own_unfinished_runs(digit_dataset: fo.Dataset) -> None:
    # the run of a script
    stop_after(2, digit_dataset)
    with pytest.raises(RunMismatchError, match=r"epochs was 4 and is now 3.*choose another key"):
        learn(digit_dataset, epochs=3, resume="if_same")
    stopper = Stopper()
    learn(digit_dataset, epochs=4, progress=stopper)
    assert stopper.epochs == 2

    # a run started by the App and continued by a script
    fol.delete_run(digit_dataset, "learnability")
    stop_after(1, digit_dataset, resume="if_same")
    stop_after(1, digit_dataset)
    with pytest.raises(RunMismatchError, match="epochs was 4 and is now 3"):
        learn(digit_dataset, epochs=3, resume="if_same")
    learn(digit_dataset, epochs=4)

    # a trained run whose scores wait to be written
    def stop_before_writing(event: ProgressEvent) -> None:
        if event.stage == "writing":
            raise Stopped

    with pytest.raises(Stopped):
        learn(digit_dataset, "other", epochs=2, resume="if_same", progress=stop_before_writing)
    with pytest.raises(RunMismatchError, match=r"not written yet: .*`fiftyone-learnability write "):
        learn(digit_dataset, "other", epochs=3, resume="if_same")
    learn(digit_dataset, "other", epochs=3, resume=False)
    assert digit_dataset.count("learnability_other") == 60


@pytest.mark.parametrize("of_a_view", [False, True])
def test_a_renamed_dataset_is_found(
    digit_dataset: fo.Dataset, of_a_view: bool, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = digit_dataset.limit(40) if of_a_view else digit_dataset
    name = f"{digit_dataset.name}-anew"

    def rename_elsewhere() -> None:
        # by another process, unnoticed by this one
        digit_dataset._sample_collection.database.datasets.update_one(
            {"_id": digit_dataset._doc.id}, {"$set": {"name": name, "slug": name}}
        )

    class Renaming(Stopper):
        def __call__(self, event: ProgressEvent) -> None:
            super().__call__(event)
            if event.stage == "writing" and event.fraction == 0:
                rename_elsewhere()

    learn(samples, progress=Renaming())
    renamed = fo.load_dataset(name)
    assert renamed.count("learnability_tiny") == (40 if of_a_view else 60)
    assert nothing_left_in(cache)


def test_an_unfinished_run_of_a_renamed_dataset_is_resumed(digit_dataset: fo.Dataset, cache: Path) -> None:
    stop_after(2, digit_dataset)
    digit_dataset.name += "-anew"
    stopper = Stopper()
    learn(digit_dataset, epochs=4, progress=stopper)
    assert stopper.epochs == 2
    assert nothing_left_in(cache)


def test_images_without_labels_do_not_change_a_run(digits: Any, digit_dataset: fo.Dataset) -> None:
    stop_after(2, digit_dataset)
    digit_dataset.add_sample(fo.Sample(digits[0][0]))
    stopper = Stopper()
    learn(digit_dataset, epochs=4, progress=stopper)
    assert stopper.epochs == 2


def test_a_written_run_is_not_repeated_after_a_kill_before_tidying_up(
    digit_dataset: fo.Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_directory.RunDirectory, "remove", lambda self: (_ for _ in ()).throw(Stopped()))
        with pytest.raises(Stopped):
            learn(digit_dataset, epochs=2)
    folder = default_run_directory(digit_dataset, "learnability")
    # only run.json is left
    for path in (folder / "tiny-0.npz", folder / "results" / "plan.json"):
        path.unlink()
    stopper = Stopper()
    # the second call asks for one more score
    results = learn(digit_dataset, epochs=2, scores=["hits"], progress=stopper)
    assert stopper.epochs == 0
    assert results["tiny"].learnability.tolist() == list(values_of(digit_dataset, "learnability_tiny").values())
    assert digit_dataset.count("learnability_tiny_hits") == 60
    assert nothing_left_in(cache)


def test_a_damaged_directory_does_not_hide_the_others(digit_dataset: fo.Dataset, cache: Path) -> None:
    stop_after(2, digit_dataset)
    found = default_run_directory(digit_dataset, "learnability")
    other = found.parent / "theirs"
    other.mkdir()
    (other / "lock").symlink_to(other / "nowhere")
    assert {run.path for run in find_run_directories()} == {found, other}
    assert found in [run.path for run in clean_run_directories()]
    assert not found.exists()


def test_a_chosen_run_directory(digit_dataset: fo.Dataset, tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "new" / "run 1"
    stop_after(2, digit_dataset, run_dir=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "run.json", "tiny-0.pt"]
    meta = json.loads((folder / "run.json").read_text())
    assert (meta["dataset"], meta["key"]) == (digit_dataset.name, "learnability")
    assert meta["fingerprint"]["torch_version"] == torch.__version__
    assert not cache.exists()
    stopper = Stopper()
    learn(digit_dataset, epochs=4, run_dir=str(folder), progress=stopper)
    assert stopper.epochs == 2
    assert not folder.exists()
    assert folder.parent.exists()


def test_other_files_are_left_alone(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "weights.pt").write_text("precious")
    for resume in (True, False, "if_same"):
        with pytest.raises(ValueError, match="is not empty and not a run directory"):
            learn(digit_dataset, run_dir=folder, resume=resume)
    assert (folder / "weights.pt").read_text() == "precious"
    other = tmp_path / "other"
    stop_after(1, digit_dataset, run_dir=other)
    (other / "notes.txt").write_text("precious")
    learn(digit_dataset, epochs=4, run_dir=other)
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


def never_trained(num_classes: int, in_channels: int) -> nn.Module:
    class Never(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = tiny(num_classes, in_channels)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            # its trial shows it two images
            assert not torch.is_grad_enabled() or len(x) == 2, "the training has started"
            return self.network(x)

    return Never()


def test_an_unwritable_directory_is_reported_before_any_training(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"the run directory .* cannot be written.*run_dir="):
        learn(digit_dataset, models={"tiny": never_trained}, run_dir=tmp_path / "file" / "run")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no /proc, a folder that cannot be written to")
def test_a_read_only_directory_is_reported_before_any_training(digit_dataset: fo.Dataset) -> None:
    # root ignores the mode of a folder, but not this one
    with pytest.raises(ValueError, match="cannot be written"):
        learn(digit_dataset, models={"tiny": never_trained}, run_dir="/proc/self/net/run")


def _position_in_data(path: Path) -> int:
    """Return the position of a byte that matters: in the largest array of an archive, or the end of a JSON file."""
    content = path.read_bytes()
    if path.suffix == ".json":
        return len(content) - 1
    with zipfile.ZipFile(path) as archive:
        data = max((archive.read(member) for member in archive.infolist()), key=len)
    return content.index(data) + len(data) - 1


@pytest.mark.parametrize("damage", ["truncated", "one bit", "noise", "pickle"])
@pytest.mark.parametrize("file", ["a-0.npz", "b-0.pt", "run.json"])
def test_a_damaged_file_is_reported_and_its_training_repeated(
    digit_dataset: fo.Dataset, file: str, damage: str, rng: np.random.Generator, tmp_path: Path
) -> None:
    expected = learn(digit_dataset, "a", "b", epochs=4)
    fol.delete_run(digit_dataset, "learnability")
    stop_after(6, digit_dataset, "a", "b")
    path = default_run_directory(digit_dataset, "learnability") / file
    content, executed = path.read_bytes(), tmp_path / "executed"
    middle = _position_in_data(path)
    path.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "noise": rng.bytes(len(content)),
            # unpickling this runs a command
            "pickle": b"cos\nsystem\n(S'touch %s'\ntR." % str(executed).encode(),
        }[damage]
    )
    stopper = Stopper()
    results = learn(digit_dataset, "a", "b", epochs=4, progress=stopper)
    assert any(f"{path} is damaged" in notice for notice in stopper.notices)
    # the other training is kept, but not without the description of the run
    assert stopper.epochs == {"a-0.npz": 6, "b-0.pt": 4, "run.json": 8}[file]
    assert same_results(results, expected)
    assert not executed.exists()


UNFIT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "weights of another network": lambda state: state["network"].update({"weight": torch.zeros(7)}),
    "another rate": lambda state: state.update(lr=50.0),
    "scores of other samples": lambda state: state["tracker"].update(probability_sum=torch.zeros(3)),
}


@pytest.mark.parametrize("damage", UNFIT)
def test_a_checkpoint_that_does_not_fit_is_reported_and_its_training_repeated(
    digit_dataset: fo.Dataset, damage: str
) -> None:
    stop_after(2, digit_dataset, models={"conv": conv})
    path = default_run_directory(digit_dataset, "learnability") / "conv-0.pt"
    state = torch.load(path, weights_only=True)
    UNFIT[damage](state)
    torch.save(state, path)
    stopper = Stopper()
    learn(digit_dataset, models={"conv": conv}, epochs=4, progress=stopper)
    assert any("damaged" in notice for notice in stopper.notices), stopper.notices
    assert stopper.epochs == 4


def test_a_full_disk_ends_no_training(digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    write = run_directory.write_atomically

    def full(path: Path, content: Callable[..., Any]) -> None:
        if path.suffix in (".pt", ".npz"):
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(run_directory, "write_atomically", full)
    stopper = Stopper()
    learn(digit_dataset, epochs=2, progress=stopper)
    assert any("the checkpoint of tiny could not be saved" in notice for notice in stopper.notices)
    assert digit_dataset.count("learnability_tiny") == 60
    assert nothing_left_in(cache)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def bulky(num_classes: int, in_channels: int) -> nn.Module:
    """A network whose weights exceed a megabyte."""
    hidden = nn.Linear(in_channels * 1024, 512)
    return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(512, num_classes))


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_disk_that_fills_up_costs_only_the_checkpoints(digit_dataset: fo.Dataset, small_disk: Path) -> None:
    expected = learn(digit_dataset, models={"bulky": bulky, "tiny": tiny})
    fol.delete_run(digit_dataset, "learnability")
    stopper = Stopper()
    results = learn(digit_dataset, models={"bulky": bulky, "tiny": tiny}, run_dir=small_disk / "run", progress=stopper)
    (said,) = {notice for notice in stopper.notices if "could not be saved" in notice}
    assert said.startswith("the checkpoint of bulky could not be saved: [Errno 28] No space left on device")
    assert same_results(results, expected)
    assert digit_dataset.count("learnability_bulky") == 60
    assert list(small_disk.iterdir()) == []
    # a disk that is full from the start is reported before any training
    (small_disk / "full").write_bytes(bytes(1024 * 1024 - 4096))
    with pytest.raises(ValueError, match=r"the run directory .* cannot be written: .*No space left on device"):
        learn(digit_dataset, models={"never": never_trained}, run_dir=small_disk / "run")
    assert [path.name for path in small_disk.rglob("*.partial")] == []


@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs is Linux's")
def test_a_disk_that_is_full_in_the_end_does_not_stop_the_scores(digit_dataset: fo.Dataset, small_disk: Path) -> None:
    def fill(event: ProgressEvent) -> None:
        if event.loss is not None and event.epoch == event.epochs:
            with suppress(OSError), (small_disk / "full").open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()

    results = learn(digit_dataset, run_dir=small_disk / "run", progress=fill)
    assert values_of(digit_dataset, "learnability_tiny") == dict(
        zip(results["tiny"].ids.tolist(), results["tiny"].learnability.tolist(), strict=True)
    )
    assert [path.name for path in small_disk.iterdir()] == ["full"]


HOLD = """
import sys
from pathlib import Path
from fiftyone_learnability.experiment.run_directory import open_run_directory
with open_run_directory(Path(sys.argv[1]), {}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_work_on_one_run(digit_dataset: fo.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        before = {path: path.read_bytes() for path in folder.iterdir()}
        for resume in (True, False, "if_same"):
            with pytest.raises(RunLockedError, match=rf"another process \(pid {other.pid}\) is working on"):
                learn(digit_dataset, models={"tiny": never_trained}, run_dir=folder, resume=resume)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
        other.kill()
    # the lock ends with its process
    learn(digit_dataset, run_dir=folder, resume=False)


def test_runs_of_other_networks_at_once_get_keys_of_their_own(digit_dataset: fo.Dataset, cache: Path) -> None:
    def train_another(event: ProgressEvent) -> None:
        if event.stage == "training" and not digit_dataset.has_sample_field("learnability_second"):
            learn(digit_dataset, name="second")
            # the same network is trained once
            with pytest.raises(RunLockedError, match="is working on the run"):
                learn(digit_dataset, name="first")

    learn(digit_dataset, name="first", progress=train_another)
    assert fol.list_runs(digit_dataset) == ["learnability", "learnability_2"]
    assert digit_dataset.get_run_info("learnability_2").config.models == ["second"]
    assert nothing_left_in(cache)


def test_two_calls_in_one_process_do_not_work_on_one_run(tmp_path: Path) -> None:
    with (
        open_run_directory(tmp_path / "run", {}),
        pytest.raises(RunLockedError, match=f"pid {os.getpid()}"),
        open_run_directory(tmp_path / "run", {}),
    ):
        pass


def test_a_written_run_with_a_leftover_directory_is_not_repeated(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    with monkeypatch.context() as patch:
        # killed after writing the scores, before deleting the directory
        patch.setattr(run_directory.RunDirectory, "remove", lambda self: (_ for _ in ()).throw(Stopped()))
        with pytest.raises(Stopped):
            learn(digit_dataset, epochs=4)
    written = state(digit_dataset)
    # another run of these fields is refused as always
    with pytest.raises(ValueError, match="overwrite=True"):
        learn(digit_dataset, epochs=3)
    with pytest.raises(ValueError, match="overwrite=True"):
        learn(digit_dataset, epochs=4, resume=False)
    stopper = Stopper()
    results = learn(digit_dataset, epochs=4, progress=stopper)
    assert stopper.epochs == 0
    assert isinstance(results["tiny"], ModelResults)
    assert state(digit_dataset) == written
    assert nothing_left_in(cache)
    # now it is a run like any other
    with pytest.raises(ValueError, match="overwrite=True"):
        learn(digit_dataset, epochs=4)


def test_ctrl_c_says_how_to_continue(digit_dataset: fo.Dataset) -> None:
    with pytest.raises(
        KeyboardInterrupt, match="nothing was written; the same command continues after epoch 3 of tiny"
    ):
        learn(digit_dataset, epochs=4, progress=Stopper(3, KeyboardInterrupt()))
