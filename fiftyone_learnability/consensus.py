"""What several networks say together: their consensus, how reliable scores are, how many epochs and runs suffice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from ._version import __version__
from .dataset.fields import WriteReport, score_columns, write_run
from .dataset.internals import root_dataset
from .dataset.notes import owning_run, score_field
from .dataset.recovery import recover
from .dataset.runs import load_model_results
from .dataset.samples import check_images
from .dataset.scored import choose_models, load_scores, names_of
from .dataset.target import choose_field_target
from .experiment.figures import draw_stability
from .experiment.results import ModelResults
from .scores.catalog import SCORES
from .scores.consensus import consensus, score_disagreement
from .scores.reliability import Reliability, measure_reliability
from .scores.stability import EpochStability, epoch_stability

CONSENSUS = "consensus"
"""What the consensus is called where networks have their names: the field is ``learnability_consensus``."""


def write_consensus(
    samples: foc.SampleCollection,
    models: str | Sequence[str] | None = None,
    *,
    key: str | None = None,
    overwrite: bool = False,
) -> WriteReport:
    """Writes what several networks say together of each sample.

    ``learnability_consensus`` is the mean over networks of their standardized learnability (0 = average, high = easy),
    ``learnability_rank_consensus`` its rank, and ``learnability_disagreement`` the standard deviation over networks
    (0 = all agree). Standardized means: as the distance from the network's mean, in its standard deviations, since
    networks differ in how much they learn over all.

    Args:
        samples: a dataset or view with the scores of at least two networks; only its samples are considered
        models (None): the networks, by default all
        key (None): the key of the run; chosen if not given
        overwrite (False): whether an existing consensus may be replaced

    Returns:
        what was written; samples that any of the networks has not scored keep None

    Raises:
        ValueError: if there are fewer than two networks, or fields exist
        WriteError: if the database fails; the dataset is as it was before
    """
    check_images(samples)
    root = root_dataset(samples)
    recover(root)
    ids, scores = load_scores(samples, models)
    if len(scores) < 2:
        have = ", ".join(scores) or "none"
        raise ValueError(f"a consensus needs the scores of at least two networks; there are: {have}")
    types = {score_field(CONSENSUS): fo.FloatField, score_field(CONSENSUS, "rank"): fo.IntField}
    types[score_field(CONSENSUS, "disagreement")] = fo.FloatField
    target = choose_field_target(samples, types, key, overwrite, [CONSENSUS], default=CONSENSUS)
    together, apart = consensus(scores), score_disagreement(scores)
    known = np.flatnonzero(~np.isnan(together))
    if len(known) < 2:
        raise ValueError(f"{', '.join(scores)} have scored fewer than two samples in common")
    known = known[np.argsort(ids[known])]
    nothing = np.empty((1, 0))
    result = ModelResults(
        model=CONSENSUS,
        ids=ids[known],
        filepaths=np.array(samples.select(ids[known].tolist(), ordered=True).values("filepath"), np.str_),
        labels=np.full(len(known), -1, np.int64),
        classes=(),
        run_scores={"learnability": together[known][None], "disagreement": apart[known][None]},
        train_loss=nothing,
        train_accuracy=nothing,
        measured_accuracy=nothing,
        epoch_seconds=nothing,
        config={"seeds": [], "models": list(scores)},
    )
    over = f"{', '.join(scores)}; {len(known)} samples"
    texts = {
        "learnability": f"Consensus: mean standardized learnability by {over}; 0 = average, high = easy",
        "rank": f"Consensus rank by {over}; 1 = easiest",
        "disagreement": f"Disagreement: {SCORES['disagreement'].description}, by {over}",
    }
    columns = [
        replace(column, description=texts[score])
        for score, column in zip(
            texts, score_columns(result, CONSENSUS, target.key, list(texts), derived=True), strict=True
        )
    ]
    settings = {
        "label_field": _label_field(root, next(iter(scores))),
        "kind": CONSENSUS,
        "of": list(scores),
        "epochs": 0,
        "runs": len(scores),
        "num_samples": len(known),
        "scores": list(texts),
        "package_version": __version__,
    }
    return write_run(target, ids[known].tolist(), columns, settings, {CONSENSUS: result})


def reliability(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: str | Sequence[str] | None = None, **options: Any
) -> Reliability:
    """How far the seeds of one network agree, which is the ceiling, beside how far networks agree with each other.

    Example::

        fol.compute_learnability(dataset, models=["resnet20", "mobilenet"], runs=2)
        print(fol.reliability(dataset))

    Args:
        source: a dataset or view whose networks were computed with ``runs=2`` or more (a single run has no ceiling),
            or the results of :func:`compute_learnability`; of a view, only its samples are considered
        models (None): the networks, by default all that were trained
        **options: see :func:`fiftyone_learnability.scores.reliability.measure_reliability`

    Returns:
        the correlations of learnability and rank with bootstrap confidence intervals; print it for a table

    Raises:
        ValueError: if no two runs are there to be compared
    """
    results = _results(source, models)
    ids = sorted(set.intersection(*(set(result.ids.tolist()) for result in results.values())))
    if isinstance(source, foc.SampleCollection):
        here = set(source.values("id"))
        ids = [id for id in ids if id in here]
    if len(ids) < 3:
        raise ValueError(f"{', '.join(results)} have fewer than three samples in common")
    runs = {model: result.run_learnability[:, _rows(result, ids)] for model, result in results.items()}
    return measure_reliability(runs, **options)


def stability(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: str | Sequence[str] | None = None
) -> dict[str, EpochStability]:
    """How many epochs are enough: the rank correlation of the learnability over the first epochs with that over all.

    Of several runs of a network the mean is looked at, which settles sooner than a single run does.

    Args:
        source: a dataset or view, or the results of :func:`compute_learnability`
        models (None): the networks, by default all that have kept their dynamics

    Returns:
        the Spearman correlation by epoch, for each network; see
        :func:`fiftyone_learnability.scores.stability.epoch_stability` for what it does not say

    Raises:
        ValueError: if no network has kept its dynamics
    """
    results = _results(source, models)
    here = set(source.values("id")) if isinstance(source, foc.SampleCollection) else None
    curves = {}
    for model, result in results.items():
        if result.dynamics is not None:
            kept = np.ones(len(result.ids), np.bool_) if here is None else np.isin(result.ids, list(here))
            curves[model] = epoch_stability(result.dynamics[:, kept], epochs=result.measured_epochs)
    if not curves:
        raise ValueError(f"{', '.join(results)} have not kept their dynamics: compute with record_dynamics=True")
    return curves


def plot_stability(
    source: foc.SampleCollection | Mapping[str, ModelResults],
    path: str | Path,
    models: str | Sequence[str] | None = None,
) -> Path:
    """Draws how many epochs and how many runs are enough into a file.

    Args:
        source: a dataset or view, or the results of :func:`compute_learnability`
        path: the file to be written; its ending chooses the format: png, pdf or svg
        models (None): the networks, by default all that have kept their dynamics

    Returns:
        the path

    Raises:
        ValueError: if no network has kept its dynamics
    """
    results = _results(source, models)
    several = {model: result for model, result in results.items() if len(result.run_learnability) > 1}
    ceilings = {
        model: measure_reliability({model: result.run_learnability}).seeds[model].learnability.value
        for model, result in several.items()
    }
    return draw_stability(Path(path), stability(source, models), ceilings)


def _results(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: Sequence[str] | None
) -> dict[str, ModelResults]:
    if isinstance(source, Mapping):
        if not source:
            raise ValueError("there are no results to look at")
        return dict(source) if models is None else {model: source[model] for model in names_of(models)}
    dataset = root_dataset(source)
    asked = choose_models(source, models)
    found = load_model_results(dataset, asked)
    gone = [model for model in asked if model not in found] if models is not None else []
    if gone or not found:
        raise ValueError(
            f"the dataset {dataset.name!r} has no run of {', '.join(gone) or 'any network'}: compute learnability first"
        )
    return found


def _rows(result: ModelResults, ids: list[str]) -> NDArray[np.int64]:
    order = np.argsort(result.ids)
    return order[np.searchsorted(result.ids[order], ids)]


def _label_field(dataset: fo.Dataset, model: str) -> str | None:
    key = owning_run(dataset, score_field(model))
    return dataset.get_run_info(key).config.label_field if key in dataset.list_runs() else None
