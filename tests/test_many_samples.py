"""Every call works with more samples than MongoDB takes ids in one command: ImageNet has 1.28 million.

The same calls run twice: on a thousand samples with a small limit for commands, and on 1.3 million.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pymongo.collection import Collection
from pymongo.errors import DocumentTooLarge

import fiftyone_learnability as fol
from benchmarks.synthetic import NUM_CLASSES, synthetic_dataset
from fiftyone_learnability.dataset import selections
from fiftyone_learnability.dataset.samples import read_samples

FEW, MANY = 1_000, 1_300_000
MOST_BYTES = 8_000
"""The limit for commands where there are few samples; their ids take 19,000."""

MOST_GIGABYTES = 5.0
"""The memory that this process may take with 1.3 million samples; it took 3.4."""


@pytest.fixture
def small_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aggregations are refused above a small size, as MongoDB refuses those above 16 MiB."""
    aggregate = Collection.aggregate

    def limited(self: Collection, pipeline: Any, *args: Any, **kwargs: Any) -> Any:
        if len(bson.encode({"pipeline": list(pipeline)})) > MOST_BYTES:
            raise DocumentTooLarge("'aggregate' command document too large")
        return aggregate(self, pipeline, *args, **kwargs)

    monkeypatch.setattr(Collection, "aggregate", limited)
    monkeypatch.setattr(selections, "MOST_BYTES", MOST_BYTES)
    monkeypatch.setattr(selections, "TAG_BATCH", 150)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the seconds that a step takes, and the memory that the process has taken so far."""
    start = time.perf_counter()
    yield
    print(f"{name:20} {time.perf_counter() - start:6.1f} s, {gigabytes():.2f} GB", flush=True)


def gigabytes() -> float:
    """The most memory that this process has taken."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@pytest.mark.usefixtures("small_commands")
def test_every_call_with_small_commands(tmp_path: Path) -> None:
    use_every_call(FEW, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_call_with_the_samples_of_imagenet(tmp_path: Path) -> None:
    use_every_call(MANY, tmp_path)
    assert gigabytes() < MOST_GIGABYTES


def use_every_call(count: int, folder: Path) -> None:
    """Write scores, import and export them, compare, select, tag, correct labels, and delete."""
    with step("make the dataset"):
        dataset = synthetic_dataset(count)
    try:
        with step("read_samples"):
            assert len(read_samples(dataset, "ground_truth")) == count
        write_and_export(dataset, folder)
        compare(dataset)
        choose(dataset)
        correct_labels(dataset)
        with step("rename and delete"):
            fol.rename_run(dataset, "imported_3", "theirs")
            assert set(fol.delete_run(dataset, "theirs")) == {"learnability_part", "learnability_rank_part"}
    finally:
        dataset.delete()


def write_and_export(dataset: fo.Dataset, folder: Path) -> None:
    """Write the scores of a tracker, of a parquet and of a csv file, and a consensus; export all."""
    count, rng = len(dataset), np.random.default_rng(0)
    with step("write_scores"):
        report = fol.write_scores(dataset, track(dataset, rng), "tracked", classes=class_names(), scores="learnability")
        assert (report.key, report.num_written) == ("imported", count)
    ids, files = dataset.values(["id", "filepath"])
    table = pd.DataFrame({"id": ids, "filepath": files, "learnability": rng.random(count)})
    table[["id", "learnability"]].to_parquet(folder / "other.parquet")
    with step("import parquet"):
        (report,) = fol.import_scores(dataset, folder / "other.parquet", "other")
        assert report.num_written == count
    table[["filepath", "learnability"]].to_csv(folder / "part.csv")
    with step("import csv"):
        # read whole; to write all of it again would test nothing more
        (report,) = fol.import_scores(part_of(dataset), folder / "part.csv", "part")
        assert (report.num_written, len(report.vanished)) == (len(part_of(dataset)), count - len(part_of(dataset)))
    with step("write_consensus"):
        assert fol.write_consensus(dataset, ["tracked", "other"]).num_written == count
    with step("export parquet"):
        assert fol.export_scores(dataset, folder / "all.parquet", ["tracked", "other"]) == count
    with step("export csv"):
        assert fol.export_scores(part_of(dataset), folder / "exported.csv") == len(part_of(dataset))
    exported = pd.read_parquet(folder / "all.parquet")
    assert exported["learnability_other"].tolist() == table["learnability"].tolist()
    assert (
        pd.read_csv(folder / "exported.csv")["learnability_other"].tolist()
        == exported["learnability_other"].tolist()[: len(part_of(dataset))]
    )


def part_of(dataset: fo.Dataset) -> fo.DatasetView:
    """The first of thirteen parts."""
    return dataset.limit(len(dataset) // 13)


def track(dataset: fo.Dataset, rng: np.random.Generator) -> fol.LearnabilityTracker:
    """Track one epoch of a network that is wrong about every eleventh sample."""
    tracker = fol.LearnabilityTracker(ids=dataset.values("id"))
    ids, labels = np.array(tracker.ids), class_numbers(dataset)
    for rows in np.array_split(np.arange(len(ids)), -(-len(ids) // 10_000)):
        logits = rng.normal(0, 0.1, (len(rows), NUM_CLASSES)).astype(np.float32)
        logits[np.arange(len(rows)), (labels[rows] + (rows % 11 == 0)) % NUM_CLASSES] += 5
        tracker.update(ids[rows].tolist(), logits, labels[rows])
    tracker.end_epoch()
    return tracker


def class_names() -> list[str]:
    """The classes of a synthetic dataset."""
    return [f"class {number}" for number in range(NUM_CLASSES)]


def class_numbers(dataset: fo.Dataset) -> NDArray[np.int64]:
    """``(N,)`` class of each sample as a number."""
    return np.array([int(label.removeprefix("class ")) for label in dataset.values("ground_truth.label")])


def compare(dataset: fo.Dataset) -> None:
    """Compare and order the scores."""
    models = ["tracked", "other"]
    with step("compare_models"):
        assert fol.compare_models(dataset, models).num_samples[0, 1] == len(dataset)
    with step("reliability"):
        assert fol.reliability(dataset, models, num_resamples=20).num_samples == len(dataset)
    with step("hardest, disagreement"):
        assert len(fol.hardest_samples(dataset, "other", 5)) == len(fol.disagreement(dataset, "other", "tracked", 5))
    with step("curriculum"):
        assert len(fol.curriculum(dataset, model="other")) == len(dataset)


def choose(dataset: fo.Dataset) -> None:
    """Select and tag more samples than a view holds ids."""
    count = len(dataset)
    with step("select_subset"):
        assert len(fol.select_subset(dataset, 0.9, model="other")) == round(0.9 * count)
    with step("tag_by_difficulty"):
        assert fol.tag_by_difficulty(dataset, "other", percent=70) == round(0.7 * count)
    assert len(dataset.match_tags("hard")) == round(0.7 * count)


def correct_labels(dataset: fo.Dataset) -> None:
    """Suggest labels and apply the suggestions, for a part of the samples among the predictions for all."""
    wrong = -(-len(part_of(dataset)) // 11)
    with step("suggest_label_fixes"):
        assert len(fol.suggest_label_fixes(part_of(dataset), "tracked")) == wrong
    with step("apply_label_fixes"):
        assert fol.apply_label_fixes(fol.label_problems(dataset), in_place=True) == ("ground_truth", wrong)
    assert len(dataset.exists("ground_truth_original")) == wrong
