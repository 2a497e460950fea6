"""Sorts, selects and tags samples by difficulty, and finds the samples that two networks disagree on."""

from __future__ import annotations

from collections.abc import Sequence

import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import numpy as np
from fiftyone import ViewField as F

from .dataset.evidence import warn_of_unlearned
from .dataset.internals import root_dataset
from .dataset.notes import rank_field, score_field
from .dataset.scored import check_scored, describe_no_labels, label_path_of
from .dataset.selections import tag_samples
from .scores.checks import MOST_SAMPLES, check_bool, check_integer, check_number, check_tag, short_repr

HARDEST, EASIEST = "hardest", "easiest"


def sort_by_learnability(samples: foc.SampleCollection, model: str, easiest_first: bool = False) -> fov.DatasetView:
    """Sort samples by the learnability of a network, hardest first.

    Args:
        samples: a dataset or view with scores
        model: the network
        easiest_first (False): True reverses the order

    Returns:
        a view of the samples that have a score

    Raises:
        ValueError: if the network has no scores in the collection
    """
    model = check_scored(samples, model)
    warn_of_unlearned(samples, [model])
    return samples.exists(score_field(model)).sort_by(score_field(model), reverse=easiest_first)


def select_by_difficulty(
    samples: foc.SampleCollection,
    model: str,
    which: str = HARDEST,
    *,
    count: int | None = None,
    percent: float | None = None,
    per_class: bool = False,
) -> list[str]:
    """Return the ids of the hardest or easiest samples of a collection.

    Args:
        samples: a dataset or view with scores; only its samples are considered
        model: the network
        which ("hardest"): "hardest" or "easiest"
        count (None): the number of samples, for each class with ``per_class``. If there are fewer, all are returned
        percent (None): instead of a count, a percentage of the samples, rounded up to a whole sample
        per_class (False): True selects from each class separately

    Returns:
        the ids, hardest (or easiest) first. Ties are broken by id, so the same call returns the same samples

    Raises:
        ValueError: if the network has no scores, an option is out of range, not exactly one of ``count`` and
            ``percent`` is given, or ``per_class`` is set and the labels that the network was trained with are gone
    """
    model = check_scored(samples, model)
    warn_of_unlearned(samples, [model])
    if which not in (HARDEST, EASIEST):
        raise ValueError(f"which must be {HARDEST!r} or {EASIEST!r}, not {short_repr(which)}")
    if (count is None) == (percent is None):
        raise ValueError("give either count or percent")
    count = None if count is None else check_integer("count", count, 1)
    percent = None if percent is None else check_number("percent", percent, above=0, at_most=100)
    paths = ["id", score_field(model)]
    if check_bool("per_class", per_class):
        label_path = label_path_of(samples, model)
        if label_path is None:
            raise ValueError(describe_no_labels(samples, model, "use per_class=False"))
        paths.append(label_path)
    ids, scores, *labels = samples.exists(score_field(model)).values(paths)
    order = np.lexsort((ids, np.array(scores, np.float64) * (1 if which == HARDEST else -1))).tolist()
    classes = labels[0] if labels else [None] * len(ids)
    selected = set()
    for members in _group(order, classes):
        selected.update(members[: count if count is not None else int(np.ceil(len(members) * (percent or 0) / 100))])
    return [ids[row] for row in order if row in selected]


def tag_by_difficulty(
    samples: foc.SampleCollection,
    model: str,
    which: str = HARDEST,
    *,
    tag: str | None = None,
    count: int | None = None,
    percent: float | None = None,
    per_class: bool = False,
) -> int:
    """Tag the hardest or easiest samples of a collection.

    Args:
        samples: a dataset or view with scores; only its samples are considered
        model: the network
        which ("hardest"): "hardest" or "easiest"
        tag (None): the tag, by default "hard" or "easy"
        count (None): see :func:`select_by_difficulty`
        percent (None): see :func:`select_by_difficulty`
        per_class (False): see :func:`select_by_difficulty`

    Returns:
        the number of selected samples, including those that already had the tag

    Raises:
        ValueError: if the tag is empty; see also :func:`select_by_difficulty`
    """
    tag = check_tag(("hard" if which == HARDEST else "easy") if tag is None else tag)
    ids = select_by_difficulty(samples, model, which, count=count, percent=percent, per_class=per_class)
    if ids:
        tag_samples(root_dataset(samples), ids, tag)
    return len(ids)


def disagreement(
    samples: foc.SampleCollection, easy_for: str, hard_for: str, limit: int | None = None, either_way: bool = False
) -> fov.DatasetView:
    """Find the samples that are easy for one network and hard for another, the largest difference of ranks first.

    Args:
        samples: a dataset or view with scores of both networks
        easy_for: the network with the lower ranks
        hard_for: the network with the higher ranks
        limit (None): the maximum number of samples
        either_way (False): True also finds the samples that are easy for ``hard_for`` and hard for ``easy_for``

    Returns:
        a view of the samples with scores of both networks that are harder for ``hard_for``, or for either of them

    Raises:
        ValueError: if a network has no scores, both are the same, or the limit is not positive
    """
    easy_for, hard_for = check_scored(samples, easy_for, "rank"), check_scored(samples, hard_for, "rank")
    if easy_for == hard_for:
        raise ValueError(f"a disagreement needs two networks, not {easy_for!r} twice")
    limit = None if limit is None else check_integer("limit", limit, 1, MOST_SAMPLES)
    warn_of_unlearned(samples, [easy_for, hard_for])
    low, high = rank_field(easy_for), rank_field(hard_for)
    difference = F(high) - F(low)
    if check_bool("either_way", either_way):
        difference = difference.abs()
    view = samples.exists(low).exists(high).match(difference > 0).sort_by(difference, reverse=True)
    return view if limit is None else view.limit(limit)


def _group(order: Sequence[int], classes: Sequence[object]) -> list[list[int]]:
    """Split rows by class; within each class they keep their order."""
    groups: dict[object, list[int]] = {}
    for row in order:
        groups.setdefault(classes[row], []).append(row)
    return list(groups.values())
