"""What a curator does with the scores: sort, choose and tag by difficulty, find disagreement."""

from __future__ import annotations

import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import numpy as np
from fiftyone import ViewField as F

from .dataset.internals import root_dataset
from .dataset.notes import rank_field, score_field
from .dataset.scored import check_scored, label_path_of
from .scores.checks import MOST_SAMPLES, check_bool, check_integer, check_number, short_repr
from .scores.checks import check_tag as checked_tag

HARDEST, EASIEST = "hardest", "easiest"


def sort_by_learnability(samples: foc.SampleCollection, model: str, easiest_first: bool = False) -> fov.DatasetView:
    """The samples that a network has scored, hardest first.

    Args:
        samples: a dataset or view with scores
        model: the network
        easiest_first (False): whether to turn the order around

    Returns:
        the view; samples without a score are left out

    Raises:
        ValueError: if the network has no scores in the collection
    """
    check_scored(samples, model)
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
    """The ids of the hardest or easiest samples of a collection.

    Args:
        samples: a dataset or view with scores; only its samples are considered
        model: the network
        which ("hardest"): "hardest" or "easiest"
        count (None): how many samples, of each class if ``per_class``; all where there are fewer
        percent (None): in place of a count, the share of the samples in percent, rounded up
        per_class (False): whether to take them from each class alike

    Returns:
        the ids, hardest (or easiest) first; ties are broken by id, so that the same call gives the same samples

    Raises:
        ValueError: if the network has no scores, the options do not fit, or ``per_class`` is asked for and the labels
            that the run was computed with are gone
    """
    check_scored(samples, model)
    if which not in (HARDEST, EASIEST):
        raise ValueError(f"which must be {HARDEST!r} or {EASIEST!r}, not {short_repr(which)}")
    if (count is None) == (percent is None):
        raise ValueError("give either count or percent")
    count = None if count is None else check_integer("count", count, 1)
    percent = None if percent is None else check_number("percent", percent, above=0, at_most=100)
    per_class = check_bool("per_class", per_class)
    paths = ["id", score_field(model)]
    if per_class:
        label_path = label_path_of(samples, model)
        if label_path is None:
            raise ValueError(
                f"the labels that {model!r} was trained with are no longer in the dataset: take all classes"
            )
        paths.append(label_path)
    ids, scores, *labels = samples.exists(score_field(model)).values(paths)
    order = np.lexsort((ids, np.array(scores, np.float64) * (1 if which == HARDEST else -1)))
    groups: dict[object, list[int]] = {}
    for index in order.tolist():
        groups.setdefault(labels[0][index] if per_class else None, []).append(index)
    chosen = set()
    for members in groups.values():
        take = count if count is not None else int(np.ceil(len(members) * (percent or 0) / 100))
        chosen.update(members[:take])
    return [ids[index] for index in order.tolist() if index in chosen]


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
    """Tags the hardest or easiest samples of a collection.

    Args:
        samples: a dataset or view with scores; only its samples are considered
        model: the network
        which ("hardest"): "hardest" or "easiest"
        tag (None): the tag, by default "hard" or "easy"
        count (None): see :func:`select_by_difficulty`
        percent (None): likewise
        per_class (False): likewise

    Returns:
        the number of samples that now carry the tag because of this call or did before

    Raises:
        ValueError: see :func:`select_by_difficulty`; or if the tag is empty
    """
    if tag is None:
        tag = "hard" if which == HARDEST else "easy"
    tag = checked_tag(tag)
    ids = select_by_difficulty(samples, model, which, count=count, percent=percent, per_class=per_class)
    if ids:
        root_dataset(samples).select(ids).tag_samples(tag)
    return len(ids)


def disagreement(
    samples: foc.SampleCollection, easy_for: str, hard_for: str, limit: int | None = None
) -> fov.DatasetView:
    """The samples that one network finds easy and another hard, largest difference of ranks first.

    Args:
        samples: a dataset or view with scores of both networks
        easy_for: the network with the lower ranks
        hard_for: the network with the higher ranks
        limit (None): how many samples at most

    Returns:
        the view of the samples that are harder for ``hard_for``, among those that both have scored

    Raises:
        ValueError: if a network has no scores, both are the same, or the limit is not positive
    """
    check_scored(samples, easy_for)
    check_scored(samples, hard_for)
    if easy_for == hard_for:
        raise ValueError(f"a disagreement needs two networks, not {easy_for!r} twice")
    limit = None if limit is None else check_integer("limit", limit, 1, MOST_SAMPLES)
    low, high = rank_field(easy_for), rank_field(hard_for)
    both = samples.exists(low).exists(high)
    view = both.match(F(high) > F(low)).sort_by(F(high) - F(low), reverse=True)
    return view if limit is None else view.limit(limit)
