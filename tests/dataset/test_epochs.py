"""Networks that are scored over different numbers of epochs are named where they are compared."""

from __future__ import annotations

import logging
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.epochs import differing_epochs
from fiftyone_learnability.experiment.results import ModelResults, RunRecord

from .helpers import write_results

REMARK = "learnability is a mean over different numbers of epochs: one over 40, two over 70."


def results_over(dataset: fo.Dataset, model: str, epochs: int) -> ModelResults:
    """Results of two runs over this many epochs."""
    rng = np.random.default_rng(epochs)
    ids = np.array(sorted(dataset.values("id")))
    records = [
        RunRecord(model, seed, {"learnability": rng.random(len(ids))}, *[np.ones(epochs)] * 4) for seed in range(2)
    ]
    files = np.array([f"{id}.png" for id in ids])
    return ModelResults.from_runs(records, ids, files, np.arange(len(ids)) % 2, ("a", "b"), {"epochs": 100})


def write_over(dataset: fo.Dataset, **epochs: int) -> dict[str, ModelResults]:
    """Write the results of networks over these numbers of epochs."""
    results = {model: results_over(dataset, model, count) for model, count in epochs.items()}
    for model, result in results.items():
        write_results(dataset, {model: result}, f"run_{model}", {"label_field": "ground_truth", "epochs": 100})
    return results


def test_calls_that_compare_networks_name_their_epochs(
    digit_dataset: fo.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = write_over(digit_dataset, one=40, two=70)
    for call in (
        lambda: fol.compare_models(digit_dataset),
        lambda: fol.compare_models(results),
        lambda: fol.reliability(digit_dataset, num_resamples=10),
        lambda: fol.reliability(results, num_resamples=10),
        lambda: fol.plot_comparison(digit_dataset, tmp_path / "figure.png"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            call()
        assert [text for text in caplog.messages if text.startswith(REMARK)] == caplog.messages != []
    (remark,) = fol.write_consensus(digit_dataset).remarks
    assert remark.startswith(REMARK)
    assert digit_dataset.get_run_info("consensus").config.remarks == [remark]


def test_the_fields_say_after_how_many_epochs(digit_dataset: fo.Dataset) -> None:
    write_over(digit_dataset, one=40, two=100)
    one, two = (digit_dataset.get_field(f"learnability_{model}") for model in ("one", "two"))
    assert [field.info["learnability"]["epochs"] for field in (one, two)] == [40, 100]
    assert "(60 samples, stopped after 40 of 100 epochs, mean of 2 runs)" in one.description
    assert "(60 samples, 100 epochs, mean of 2 runs)" in two.description


def test_networks_of_one_length_and_imported_scores_are_not_named(
    digit_dataset: fo.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    write_over(digit_dataset, one=40, two=40)
    scores = {"id": digit_dataset.values("id"), "learnability": np.linspace(0, 1, 60)}
    fol.write_scores(digit_dataset, scores, "imported")
    assert differing_epochs(digit_dataset, ["one", "two", "imported"]) == []
    with caplog.at_level(logging.WARNING):
        fol.compare_models(digit_dataset)
    assert caplog.messages == []
