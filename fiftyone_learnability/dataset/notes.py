"""What the info of a field says about the run that wrote it, and the names of the fields."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone as fo

from ..scores.catalog import DEFAULT_SCORES, SCORES

INFO_KEY = "learnability"
"""The entry of ``field.info`` that marks a field of this package."""


def score_field(model: str, score: str = "learnability") -> str:
    """The field of a network's score: ``learnability_<model>``, or ``learnability_<model>_<score>`` for others.

    Args:
        model: the network
        score ("learnability"): the score; the rank has its own form, see :func:`rank_field`
    """
    if score == "rank":
        return rank_field(model)
    if SCORES[score].derived:
        return f"learnability_{score}"
    return f"learnability_{model}" if score == "learnability" else f"learnability_{model}_{score}"


def rank_field(model: str) -> str:
    """The field of a network's learnability rank, ``learnability_rank_<model>``."""
    return f"learnability_rank_{model}"


def fields_of(models: Sequence[str], scores: Sequence[str] = DEFAULT_SCORES) -> list[str]:
    """The fields of some networks: for each its scores, in their order."""
    return [score_field(model, score) for model in models for score in scores]


def owning_run(dataset: fo.Dataset, field_name: str) -> str | None:
    """The key of the run that wrote a field, None if the field does not exist or is not of this package."""
    field = dataset.get_field(field_name)
    if field is None or not field.info or INFO_KEY not in field.info:
        return None
    return field.info[INFO_KEY].get("run")
