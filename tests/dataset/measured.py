"""Random results with every score that a training measures."""

from __future__ import annotations

from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd

from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.experiment.results import ModelResults, RunRecord

from .helpers import write_results

MEASURED = ("learnability", "hits", "variability", "forgetting", "learned_epoch", "aum", "el2n", "ambiguity")
ALL = [score_field("one", name) for name in ("learnability", "rank", *MEASURED[1:])]
ALL += [score_field("two", name) for name in ("learnability", "rank", *MEASURED[1:], "spread")]


def measured(samples: fo.Dataset | fo.DatasetView, model: str, runs: int = 1, prediction: bool = False) -> ModelResults:
    """Make results with all scores, some of them infinite, and optionally two-class predictions."""
    rng = np.random.default_rng(len(model) + runs)
    ids = np.array(sorted(samples.values("id")))
    count, curve = len(ids), np.linspace(0.2, 0.8, 4)
    records = []
    for number in range(runs):
        of_run = {name: rng.random(count) for name in MEASURED}
        of_run["forgetting"] = np.where(rng.random(count) < 0.4, np.inf, rng.integers(0, 4, count))
        p = rng.dirichlet([1, 1], count).astype(np.float32) if prediction else None
        records.append(RunRecord(model, number, of_run, curve, curve, curve, curve, prediction=p))
    files = np.array([f"{id}.png" for id in ids])
    return ModelResults.from_runs(records, ids, files, np.arange(count) % 2, ("a", "b"), {})


def write_measured(
    samples: fo.Dataset | fo.DatasetView, model: str, runs: int = 1, every: bool = False, prediction: bool = False
) -> ModelResults:
    """Write such results, with the default scores or all, as the run ``run_<model>``."""
    result = measured(samples, model, runs, prediction)
    settings = {"label_field": "ground_truth", "epochs": 4, "runs": runs}
    names = result.scores if every else ("learnability", "rank")
    write_results(samples, {model: result}, f"run_{model}", settings, scores=names)
    return result


def table_of(dataset: fo.Dataset, **scores: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": dataset.values("id"), **scores})
