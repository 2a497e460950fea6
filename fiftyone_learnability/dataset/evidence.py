"""Leaves out networks that did not learn clearly more than chance, unless they are named."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import fiftyone as fo
import fiftyone.core.collections as foc

from ..experiment.results import ModelResults
from ..scores.evidence import Evidence
from .internals import root_dataset
from .notes import owning_run, score_field
from .runs import load_model_results

_logger = logging.getLogger(__name__)


class Chosen(NamedTuple):
    """The networks to use.

    Attributes:
        models: their names
        remarks: one sentence for each network that did not learn clearly more than chance
    """

    models: list[str]
    remarks: list[str]


def find_unlearned(dataset: fo.Dataset, models: Sequence[str]) -> dict[str, str]:
    """Find the networks that did not learn clearly more than chance.

    Args:
        dataset: the dataset
        models: the networks

    Returns:
        by network why it is no evidence. Networks of unknown accuracy, such as imported ones, are not among them
    """
    return describe_problems(find_evidence(dataset, models))


def find_evidence(dataset: fo.Dataset, models: Sequence[str]) -> dict[str, Evidence]:
    """Find the final accuracy of networks.

    Runs of early versions did not store it; for these it is computed from their results.

    Args:
        dataset: the dataset
        models: the networks

    Returns:
        the accuracy by network, without networks of unknown accuracy, such as imported ones
    """
    keys = dataset.list_runs()
    evidence: dict[str, Evidence | None] = {}
    older = []
    for model in models:
        key = owning_run(dataset, score_field(model))
        if key not in keys:
            continue
        stored = getattr(dataset.get_run_info(key).config, "evidence", None)
        if stored is None:
            older.append(model)
        elif model in stored:
            evidence[model] = Evidence.from_config(stored[model])
    if older:
        evidence |= {model: result.evidence for model, result in load_model_results(dataset, older).items()}
    return {model: known for model, known in evidence.items() if known is not None}


def problems_of(results: Mapping[str, ModelResults]) -> dict[str, str]:
    """Find the networks that did not learn clearly more than chance, like :func:`find_unlearned`, in results."""
    return describe_problems({model: result.evidence for model, result in results.items()})


def describe_problems(evidence: Mapping[str, Evidence | None]) -> dict[str, str]:
    """Return why networks are no evidence, by the networks that did not learn clearly more than chance."""
    problems = {model: known.problem for model, known in evidence.items() if known is not None}
    return {model: problem for model, problem in problems.items() if problem is not None}


def choose_learned(models: Iterable[str], problems: Mapping[str, str], named: bool) -> Chosen:
    """Leave out the networks that did not learn clearly more than chance, unless they were named.

    Nothing is logged: the caller hands the remarks to :func:`log`, or raises an error that holds them.

    Args:
        models: the networks
        problems: by network why it is no evidence
        named: True if the caller named the networks
    """
    models = list(models)
    outcome = "it is used because models names it" if named else "it is left out unless models names it"
    remarks = _describe({model: problems[model] for model in models if model in problems}, outcome)
    return Chosen(models if named else [model for model in models if model not in problems], remarks)


def first_learned(dataset: fo.Dataset, models: Sequence[str], count: int = 1) -> list[str]:
    """Return the first networks that learned something, then others, for calls that name no network.

    A warning names the networks that are passed over.

    Args:
        dataset: the dataset
        models: the networks, at least ``count``
        count (1): the number of networks to choose
    """
    problems = find_unlearned(dataset, models)
    chosen = sorted(models, key=lambda model: model in problems)[:count]
    last = max(models.index(model) for model in chosen)
    passed = {model: problems[model] for model in models[:last] if model not in chosen}
    warn(passed, f"used instead: {', '.join(chosen)}")
    return chosen


def warn_of_unlearned(samples: foc.SampleCollection, models: Sequence[str]) -> None:
    """Log a warning for each network that did not learn clearly more than chance, for calls that use it."""
    warn(find_unlearned(root_dataset(samples), models), "its scores may say nothing about the samples")


def warn(problems: Mapping[str, str], outcome: str) -> None:
    """Log a warning for each network that did not learn clearly more than chance.

    Args:
        problems: by network why it is no evidence
        outcome: what follows from it
    """
    log(_describe(problems, outcome))


def log(remarks: Iterable[str]) -> None:
    """Log a warning for each remark."""
    for remark in remarks:
        _logger.warning(remark)


def _describe(problems: Mapping[str, str], outcome: str) -> list[str]:
    return [f"{model} {problem}; {outcome}" for model, problem in problems.items()]
