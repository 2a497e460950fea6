"""Datasets whose runs were written by version 0.1.0 still load, list, rename and delete them.

data/runs_of_0_1.zip is FiftyOne's own export (no images) of a dataset of 24 samples on which 0.1.0 trained two networks
and wrote a consensus, label suggestions and imported scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol

EXPORT = Path(__file__).parent / "data" / "runs_of_0_1.zip"
RUNS = ["consensus", "imported", "label_fixes", "learnability"]


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[fo.Dataset]:
    with ZipFile(EXPORT) as archive:
        archive.extractall(tmp_path)
    loaded = fo.Dataset.from_dir(str(tmp_path), dataset_type=fo.types.FiftyOneDataset, progress=False)
    yield loaded
    loaded.delete()


def test_runs_and_scores_are_listed(dataset: fo.Dataset) -> None:
    assert sorted(fol.list_runs(dataset)) == RUNS
    assert fol.find_models(dataset) == ["resnet20", "mobilenet", "mine"]
    assert fol.find_scores(dataset, "resnet20") == ["learnability", "rank", "hits", "aum"]


def test_results_equal_the_fields(dataset: fo.Dataset) -> None:
    results = fol.load_results(dataset, "learnability")
    assert list(results) == ["resnet20", "mobilenet"]
    for model, result in results.items():
        names = (f"learnability_{model}", f"learnability_rank_{model}", f"learnability_{model}_hits")
        view = dataset.select(result.ids.tolist(), ordered=True)
        for values, name in zip((result.learnability, result.rank, result.score("hits")), names, strict=True):
            np.testing.assert_array_equal(values, view.values(name))
        assert result.dynamics is not None
        assert result.dynamics.shape == (2, 24)
        assert result.config["epochs"] == 2
    np.testing.assert_array_equal(np.sort(results["resnet20"].ids), np.sort(dataset.values("id")))


def test_further_scores_of_an_old_run_can_be_written(dataset: fo.Dataset) -> None:
    fol.add_scores(dataset, ["variability"], ["mobilenet"])
    result = fol.load_results(dataset, "learnability")["mobilenet"]
    view = dataset.select(result.ids.tolist(), ordered=True)
    np.testing.assert_array_equal(view.values("learnability_mobilenet_variability"), result.score("variability"))


def test_a_renamed_run_keeps_its_fields(dataset: fo.Dataset) -> None:
    fields = set(dataset.get_field_schema())
    fol.rename_run(dataset, "learnability", "first")
    assert sorted(fol.list_runs(dataset)) == ["consensus", "first", "imported", "label_fixes"]
    assert set(dataset.get_field_schema()) == fields
    deleted = fol.delete_run(dataset, "first")
    assert "learnability_resnet20" in deleted
    assert fol.find_models(dataset) == ["mine"]


def test_copies_of_the_fields_of_an_old_run_stay(dataset: fo.Dataset) -> None:
    dataset.clone_sample_field("learnability_resnet20", "backup")
    dataset.rename_sample_field("learnability_rank_resnet20", "my_rank")
    assert fol.find_models(dataset) == ["resnet20", "mobilenet", "mine"]
    fol.rename_run(dataset, "learnability", "first")
    deleted = fol.delete_run(dataset, "first")
    assert "learnability_mobilenet" in deleted
    assert dataset.count("backup") == dataset.count("my_rank") == 24


def test_added_scores_belong_to_the_old_run(dataset: fo.Dataset) -> None:
    added = fol.add_scores(dataset, ["variability"], ["resnet20", "mobilenet"])
    assert len(added) == 2
    assert set(added) < set(fol.delete_run(dataset, "learnability"))


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("consensus", {"learnability_consensus", "learnability_rank_consensus", "learnability_disagreement"}),
        ("imported", {"learnability_mine", "learnability_rank_mine"}),
        ("label_fixes", {"learnability_suggestion", "learnability_contradiction", "learnability_verdict"}),
    ],
)
def test_a_deleted_run_takes_its_own_fields_along(dataset: fo.Dataset, key: str, fields: set[str]) -> None:
    before = set(dataset.get_field_schema())
    assert set(fol.delete_run(dataset, key)) == fields
    assert before - set(dataset.get_field_schema()) == fields
    assert sorted(fol.list_runs(dataset)) == [run for run in RUNS if run != key]
