"""Writes the scores of a model that you trained yourself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import fiftyone.core.collections as foc

from .dataset.fields import WriteReport
from .dataset.imported import prepare_scores
from .experiment.results import ModelResults

if TYPE_CHECKING:
    import pandas as pd

    from .training.tracker import LearnabilityTracker


def write_scores(
    samples: foc.SampleCollection,
    source: LearnabilityTracker | ModelResults | pd.DataFrame | Mapping[str, Any],
    name: str,
    *,
    label_field: str | None = None,
    classes: Sequence[str] | None = None,
    learnability: str = "learnability",
    scores: str | Sequence[str] = "all",
    key: str | None = None,
    overwrite: bool = False,
) -> WriteReport:
    """Write the scores of your own model into the same fields that :func:`compute_learnability` writes.

    The panel and all comparisons then treat the model like any other.

    Example::

        tracker = fol.LearnabilityTracker(ids=dataset.values("id"))
        ...  # train, with tracker.update(ids, logits, labels) and tracker.end_epoch()
        fol.write_scores(dataset, tracker, name="my_model")

    Args:
        samples: a dataset or view
        source: a tracker; the results of a run; or a table with a column ``id`` or ``filepath`` and one column for each
            score, named as in :data:`fiftyone_learnability.scores.catalog.SCORES`. A table with both is matched by
            file if the collection has none of its ids. The ids of a tracker may be sample ids or file paths; a tracker
            without ids has its samples in the order of the collection
        name: the name of the model, an identifier. The fields are ``learnability_<name>`` and so on
        label_field (None): the field of the labels that the model was trained with, by default ``ground_truth`` if it
            exists. Tables and the panel show these labels beside the scores
        classes (None): the names of the classes in the order of the model's outputs. If given, the mean predictions of
            a tracker are kept, which :func:`suggest_label_fixes` needs. The order is checked against the labels of
            the tracker
        learnability ("learnability"): the column of a table that serves as learnability. High must mean easy
        scores ("all"): the scores to write besides learnability and rank; "all": every score of the source
        key (None): the key of the run; chosen if not given
        overwrite (False): True replaces existing fields of that name

    Returns:
        what was written; its ``vanished`` are the ids or files that are not in the collection

    Raises:
        TypeError: if the source has another type
        ValueError: if the name is not allowed, no sample is found, a file of the source fits several samples, a score
            is not a number, or ``classes`` is in another order than the model's outputs
        WriteError: if the database fails; the dataset is unchanged
    """
    return prepare_scores(
        samples,
        source,
        name,
        label_field=label_field,
        classes=classes,
        learnability=learnability,
        scores=scores,
        key=key,
        overwrite=overwrite,
    ).write()
