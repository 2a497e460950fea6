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

MOST_GIGABYTES = 6.0
"""The memory that this process may take with 1.3 million samples."""


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
    rng = np.random.default_rng(0)
    with step("make the dataset"):
        dataset = synthetic_dataset(count)
    try:
        with step("read_samples"):
            assert len(read_samples(dataset, "ground_truth")) == count
        write_all(dataset, rng, folder)
        read_all(dataset, folder)
        choose(dataset)
        correct_labels(dataset)
        with step("rename and delete"):
            fol.rename_run(dataset, "imported", "theirs")
            assert set(fol.delete_run(dataset, "theirs")) == {"learnability_tracked", "learnability_rank_tracked"}
    finally:
        dataset.delete()


def write_all(dataset: fo.Dataset, rng: np.random.Generator, folder: Path) -> None:
    """Write the scores of a tracker and those of a csv file, write them again from a parquet file, and a consensus."""
    count = len(dataset)
    with step("write_scores"):
        report = fol.write_scores(dataset, track(dataset, rng), "tracked", classes=class_names(), scores="learnability")
        assert (report.key, report.num_written) == ("imported", count)
    files, learnability = dataset.values("filepath"), rng.random(count)
    pd.DataFrame({"filepath": files, "learnability": learnability}).to_csv(folder / "other.csv", index=False)
    with step("import csv"):
        (report,) = fol.import_scores(dataset, folder / "other.csv", "other")
        assert report.num_written == count
    assert dataset.values("learnability_other") == learnability.tolist()
    with step("export parquet"):
        assert fol.export_scores(dataset, folder / "all.parquet") == count
    with step("import parquet"):
        (report,) = fol.import_scores(dataset, folder / "all.parquet", "other", overwrite=True)
        assert report.num_written == count
    assert dataset.values("learnability_other") == learnability.tolist()
    with step("write_consensus"):
        assert fol.write_consensus(dataset).num_written == count


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


def read_all(dataset: fo.Dataset, folder: Path) -> None:
    """Read and compare the scores."""
    count = len(dataset)
    with step("scores_table"):
        table = fol.scores_table(dataset, ["tracked", "other"])
        assert table["learnability_other"].tolist() == dataset.values("learnability_other")
    with step("compare_models"):
        assert fol.compare_models(dataset).num_samples[0, 1] == count
    with step("reliability"):
        assert fol.reliability(dataset, num_resamples=10).num_samples == count
    with step("hardest, disagreement"):
        assert len(fol.hardest_samples(dataset, "other", 5)) == len(fol.disagreement(dataset, "other", "tracked", 5))
    with step("curriculum"):
        assert len(fol.curriculum(dataset, model="other")) == count


def choose(dataset: fo.Dataset) -> None:
    """Select and tag subsets."""
    count = len(dataset)
    for fraction in (0.1, 0.9):
        with step(f"select {fraction}"):
            chosen = fol.select_subset(dataset, fraction, model="other", tag=f"chosen {fraction}")
            assert len(chosen) == round(fraction * count) == len(dataset.match_tags(f"chosen {fraction}"))
    with step("tag"):
        assert fol.tag_by_difficulty(dataset, "other", percent=80) == round(0.8 * count)
        assert len(dataset.match_tags("hard")) == round(0.8 * count)


def correct_labels(dataset: fo.Dataset) -> None:
    """Suggest labels and apply the suggestions."""
    wrong = -(-len(dataset) // 11)
    with step("suggest_label_fixes"):
        assert len(fol.suggest_label_fixes(dataset, "tracked")) == wrong
    with step("apply_label_fixes"):
        assert fol.apply_label_fixes(fol.label_problems(dataset)) == ("ground_truth_fixed", wrong)
    assert len(dataset.exists("ground_truth_fixed")) == len(dataset)
