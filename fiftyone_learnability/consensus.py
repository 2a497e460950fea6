"""Combines networks into a consensus, and measures how reliable scores are and how many epochs suffice."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from ._version import __version__
from .dataset.columns import Column
from .dataset.epochs import differing_epochs, differing_epochs_of
from .dataset.evidence import choose_learned, find_unlearned, log, problems_of
from .dataset.fields import WriteReport, score_columns, write_run
from .dataset.internals import root_dataset
from .dataset.recovery import recover
from .dataset.registry import describe_no_run
from .dataset.runs import load_model_results
from .dataset.samples import check_images
from .dataset.scored import check_scored, choose_models, choose_results, describe_no_scores, label_field_of, load_scores
from .dataset.target import choose_target
from .experiment.figures import draw_stability
from .experiment.results import ModelResults
from .scores.catalog import SCORES
from .scores.consensus import consensus, score_disagreement
from .scores.reliability import Reliability, measure_reliability
from .scores.stability import EpochStability, epoch_stability

CONSENSUS = "consensus"
"""The name of the consensus where networks have theirs: its field is ``learnability_consensus``."""

_logger = logging.getLogger(__name__)

_SCORES = ("learnability", "rank", "disagreement")


def write_consensus(
    samples: foc.SampleCollection,
    models: str | Sequence[str] | None = None,
    *,
    key: str | None = None,
    overwrite: bool = False,
) -> WriteReport:
    """Write the consensus of several networks about each sample, and how far they disagree.

    ``learnability_consensus`` is the mean over networks of their standardized learnability (0 = average, high = easy),
    ``learnability_rank_consensus`` its rank, and ``learnability_disagreement`` the standard deviation over networks
    (0 = all agree). Standardized learnability is the distance from the network's mean in its standard deviations,
    because some networks learn more than others overall. A network that did not learn clearly more than chance
    (:func:`fiftyone_learnability.scores.evidence.exceeds_chance`) is left out with a warning, unless it is named.

    Args:
        samples: a dataset or view with the scores of at least two networks; only its samples are considered
        models (None): the networks, by default all that learned something
        key (None): the key of the run; chosen if not given
        overwrite (False): True replaces an existing consensus

    Returns:
        what was written, with remarks on networks that learned nothing or are scored over different numbers of epochs;
        samples without a score of one of the networks keep None

    Raises:
        ValueError: if there are fewer than two networks, or fields exist
        WriteError: if the database fails; the dataset is unchanged
    """
    check_images(samples)
    dataset = root_dataset(samples)
    recover(dataset)
    requested = choose_models(samples, models)
    for model in requested:
        check_scored(samples, model)
    chosen = choose_learned(requested, find_unlearned(dataset, requested), models is not None)
    if len(chosen.models) < 2:
        have = "; ".join([f"there are: {', '.join(chosen.models) or 'none'}", *chosen.remarks])
        raise ValueError(f"a consensus needs the scores of at least two networks; {have}")
    log(chosen.remarks)
    remarks = [*chosen.remarks, *differing_epochs(samples, chosen.models)]
    ids, scores = load_scores(samples, chosen.models)
    target = choose_target(samples, [CONSENSUS], key, overwrite, _SCORES, default=CONSENSUS)
    target.warn_of_lost_fields()
    mean, deviation = consensus(scores), score_disagreement(scores)
    rows = np.flatnonzero(~np.isnan(mean))
    if len(rows) < 2:
        raise ValueError(f"{', '.join(scores)} have scored fewer than two samples in common")
    rows = rows[np.argsort(ids[rows])]
    # a sample that was deleted since has no file; the write reports it
    file_of = dict(zip(*samples.values(["id", "filepath"]), strict=True))
    no_epochs = np.empty((1, 0))
    result = ModelResults(
        model=CONSENSUS,
        ids=ids[rows],
        filepaths=np.array([file_of.get(id, "") for id in ids[rows].tolist()], np.str_),
        labels=np.full(len(rows), -1, np.int64),
        classes=(),
        run_scores={"learnability": mean[rows][None], "disagreement": deviation[rows][None]},
        train_loss=no_epochs,
        train_accuracy=no_epochs,
        measured_accuracy=no_epochs,
        epoch_seconds=no_epochs,
        config={"seeds": [], "models": list(scores)},
    )
    settings = {
        "label_field": label_field_of(dataset, next(iter(scores))),
        "kind": CONSENSUS,
        "of": list(scores),
        "epochs": 0,
        "runs": len(scores),
        "num_samples": len(rows),
        "scores": list(_SCORES),
        "remarks": remarks,
        "package_version": __version__,
    }
    columns = _consensus_columns(result, list(scores))
    report = write_run(target, result.ids.tolist(), columns, settings, {CONSENSUS: result})
    return replace(report, remarks=remarks)


def reliability(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: str | Sequence[str] | None = None, **options: Any
) -> Reliability:
    """Measure how far the seeds of each network agree, and how far the networks agree with each other.

    The agreement of two networks is bounded by the root of the product of the agreements of their seeds.

    Runs that did not learn clearly more than chance are left out with a warning, unless their network is named.

    Example::

        fol.compute_learnability(dataset, models=["resnet20", "mobilenet"], runs=2)
        print(fol.reliability(dataset))

    Args:
        source: a dataset or view whose networks were computed with ``runs=2`` or more (a single run does not show it),
            or the results of :func:`compute_learnability`. Of a view, only its samples are considered
        models (None): the networks, by default all that were trained and learned something
        **options: see :func:`fiftyone_learnability.scores.reliability.measure_reliability`

    Returns:
        the correlations of learnability and rank with bootstrap confidence intervals; print it for a table

    Raises:
        ValueError: if there are fewer than two runs
    """
    results, remarks = _load_results(source, models)
    for remark in differing_epochs_of(results):
        _logger.warning(remark)
    ids = sorted(set.intersection(*(set(result.ids.tolist()) for result in results.values())))
    if isinstance(source, foc.SampleCollection):
        in_view = set(source.values("id"))
        ids = [id for id in ids if id in in_view]
    if len(ids) < 3:
        raise ValueError(f"{', '.join(results)} have fewer than three samples in common")
    runs = {model: result.run_learnability[:, _rows_of(result, ids)] for model, result in results.items()}
    if models is None:
        runs = {model: table[_learned_runs(results[model])] for model, table in runs.items()}
        remarks += filter(None, map(_describe_unlearned_runs, results.values()))
    if sum(map(len, runs.values())) < 2:
        have = "; ".join([f"there is one, of {', '.join(runs)}", *remarks])
        raise ValueError(f"reliability needs at least two runs, of one network or of two; {have}")
    log(remarks)
    return measure_reliability(runs, **options)


def stability(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: str | Sequence[str] | None = None
) -> dict[str, EpochStability]:
    """Measure how many epochs suffice: the rank correlation of the learnability after each epoch with the final one.

    For a network with several runs their mean is used, which settles sooner than a single run.

    Args:
        source: a dataset or view, or the results of :func:`compute_learnability`
        models (None): the networks, by default all with recorded dynamics

    Returns:
        the Spearman correlation by epoch for each network; see
        :func:`fiftyone_learnability.scores.stability.epoch_stability` for its limits

    Raises:
        ValueError: if no network has recorded dynamics
    """
    results, remarks = _load_results(source, models)
    log(remarks)
    in_view = list(set(source.values("id"))) if isinstance(source, foc.SampleCollection) else None
    curves = {}
    for model, result in results.items():
        if result.dynamics is not None:
            kept = np.ones(len(result.ids), np.bool_) if in_view is None else np.isin(result.ids, in_view)
            curves[model] = epoch_stability(result.dynamics[:, kept], epochs=result.measured_epochs)
    if not curves:
        raise ValueError(f"{', '.join(results)} have not kept their dynamics: compute with record_dynamics=True")
    return curves


def plot_stability(
    source: foc.SampleCollection | Mapping[str, ModelResults],
    path: str | Path,
    models: str | Sequence[str] | None = None,
) -> Path:
    """Draw how many epochs and how many runs suffice, and save the figure.

    Args:
        source: a dataset or view, or the results of :func:`compute_learnability`
        path: the file to write; its ending sets the format: png, pdf or svg
        models (None): the networks, by default all with recorded dynamics

    Returns:
        the path

    Raises:
        ValueError: if no network has recorded dynamics
    """
    ceilings = {
        model: measure_reliability({model: result.run_learnability}).seeds[model].learnability.value
        for model, result in _load_results(source, models)[0].items()
        if len(result.run_learnability) > 1
    }
    return draw_stability(Path(path), stability(source, models), ceilings)


def _consensus_columns(result: ModelResults, models: Sequence[str]) -> list[Column]:
    basis = f"{', '.join(models)}; {result.num_samples} samples"
    descriptions = {
        "learnability": f"Consensus: mean standardized learnability by {basis}; 0 = average, high = easy",
        "rank": f"Consensus rank by {basis}; 1 = easiest",
        "disagreement": f"Disagreement: {SCORES['disagreement'].description}, by {basis}",
    }
    columns = score_columns(result, CONSENSUS, _SCORES, derived=True)
    return [replace(column, description=descriptions[score]) for score, column in zip(_SCORES, columns, strict=True)]


def _load_results(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: str | Sequence[str] | None
) -> tuple[dict[str, ModelResults], list[str]]:
    """Return the results of the networks to use, and remarks on those that are left out."""
    if isinstance(source, Mapping):
        if not source:
            raise ValueError("there are no results: source is empty")
        return _without_unlearned(choose_results(source, models), models is not None)
    dataset = root_dataset(source)
    requested = choose_models(source, models)
    results = load_model_results(dataset, requested)
    missing = [model for model in requested if model not in results]
    if missing and (models is not None or not results):
        check_scored(source, missing[0])
        raise ValueError(describe_no_run(dataset, missing[0]))
    if not results:
        raise ValueError(describe_no_scores(source))
    return _without_unlearned(results, models is not None)


def _without_unlearned(results: dict[str, ModelResults], named: bool) -> tuple[dict[str, ModelResults], list[str]]:
    """Leave out networks that did not learn clearly more than chance, unless they were named."""
    chosen = choose_learned(results, problems_of(results), named)
    if not chosen.models:
        raise ValueError("; ".join(chosen.remarks))
    return {model: results[model] for model in chosen.models}, chosen.remarks


def _learned_runs(result: ModelResults) -> NDArray[np.bool_]:
    """``(R,)`` True for the runs that learned more than chance."""
    if result.evidence is None:
        return np.ones(len(result.run_learnability), np.bool_)
    return np.array(result.evidence.learned)


def _describe_unlearned_runs(result: ModelResults) -> str | None:
    """Say which runs of a network are left out; None if all learned."""
    learned = _learned_runs(result)
    if learned.all():
        return None
    seeds = ", ".join(str(seed) for seed, kept in zip(result.config["seeds"], learned, strict=True) if not kept)
    return (
        f"{result.model}: the runs of the seeds {seeds} did not learn clearly more than chance and are left "
        "out unless models names the network"
    )


def _rows_of(result: ModelResults, ids: list[str]) -> NDArray[np.int64]:
    """The rows of some samples in the results."""
    order = np.argsort(result.ids)
    return order[np.searchsorted(result.ids[order], ids)]
