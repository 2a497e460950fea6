"""Compares networks by their scores, and lists the hardest samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from .dataset.epochs import differing_epochs, differing_epochs_of
from .dataset.evidence import find_unlearned, first_learned, problems_of, warn, warn_of_unlearned
from .dataset.internals import root_dataset
from .dataset.notes import rank_field, score_field
from .dataset.scored import check_scored, choose_results, find_models, label_path_of, load_scores, warn_of_no_labels
from .experiment.results import ModelResults
from .scores.checks import check_integer
from .scores.comparison import Comparison, compare_scores
from .scores.formulas import FloatArray

if TYPE_CHECKING:
    import pandas as pd

_logger = logging.getLogger(__name__)


def compare_models(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: str | Sequence[str] | None = None
) -> Comparison:
    """Correlate the learnability of each pair of networks, as in the paper's Table 1.

    A warning names networks that did not learn clearly more than chance: their correlations may say nothing about
    the samples. Another says so if the networks are scored over different numbers of epochs.

    Example::

        print(fol.compare_models(dataset))

    Args:
        source: a dataset or view with scores, or the results of :func:`fiftyone_learnability.compute_learnability`
        models (None): the networks, by default all

    Returns:
        the Pearson correlation of learnability and of rank, and the Spearman correlation, over the samples that have
        scores of both networks

    Raises:
        ValueError: if there are fewer than two networks, or one has no scores
    """
    if isinstance(source, Mapping):
        results = choose_results(source, models)
        scores, problems, remarks = _align(results), problems_of(results), differing_epochs_of(results)
    else:
        _, scores = load_scores(source, models)
        problems = find_unlearned(root_dataset(source), list(scores))
        remarks = differing_epochs(source, list(scores))
    warn(problems, "its correlations may say nothing about the samples")
    for remark in remarks:
        _logger.warning(remark)
    if len(scores) < 2:
        raise ValueError(
            f"a comparison needs the scores of at least two networks; there are: {', '.join(scores) or 'none'}"
        )
    return compare_scores(scores)


def hardest_samples(samples: foc.SampleCollection, model: str, k: int = 20, easiest: bool = False) -> pd.DataFrame:
    """List the samples that are hardest (or easiest) for a network.

    Args:
        samples: a dataset or view with scores
        model: the network
        k (20): the number of samples
        easiest (False): True lists the easiest samples instead, easiest first

    Returns:
        one row per sample, hardest first: id, filepath, label, learnability, rank. The label is None if the label
        field that the network was trained with is gone

    Raises:
        ValueError: if the network has no scores in the collection, or k is not positive
    """
    import pandas as pd

    model = check_scored(samples, model, "rank")
    warn_of_unlearned(samples, [model])
    k = check_integer("k", k, 1)
    view = samples.exists(score_field(model)).sort_by(score_field(model), reverse=easiest).limit(k)
    label_path = label_path_of(samples, model)
    warn_of_no_labels(samples, model)
    paths = ["id", "filepath", score_field(model), rank_field(model)]
    ids, files, learnability, rank = view.values(paths)
    labels = view.values(label_path) if label_path else [None] * len(ids)
    return pd.DataFrame({"id": ids, "filepath": files, "label": labels, "learnability": learnability, "rank": rank})


def plot_comparison(
    samples: foc.SampleCollection,
    path: str | Path,
    models: tuple[str, str] | None = None,
    num_examples: int = 10,
) -> Path:
    """Draw the paper's Figure 1 for two networks and save it.

    It shows 2-D histograms of learnability (a) and of rank (b), and the images that are easiest and hardest for both,
    with their labels and both ranks (c).

    Args:
        samples: a dataset or view with scores of both networks
        path: the file to write; its ending sets the format: png, pdf or svg
        models (None): the two networks, by default the first two that learned something
        num_examples (10): the number of images in each strip

    Returns:
        the path

    Raises:
        ValueError: if fewer than two networks have scores, or they share fewer than two samples
    """
    from .experiment.figures import Example, draw_figure

    if models is None:
        scored = find_models(samples)
        if len(scored) < 2:
            raise ValueError(f"the figure needs the scores of two networks; there are: {', '.join(scored) or 'none'}")
        chosen = first_learned(root_dataset(samples), scored, 2)
        models = (chosen[0], chosen[1])
    ids, scores = load_scores(samples, models)
    if len(scores) < 2:
        raise ValueError(f"the figure needs two different networks, not {models[0]!r} twice")
    (name, first), (other_name, second) = scores.items()
    models = (name, other_name)
    warn_of_unlearned(samples, models)
    for remark in differing_epochs(samples, models):
        _logger.warning(remark)
    both = ~(np.isnan(first) | np.isnan(second))
    if both.sum() < 2:
        raise ValueError(f"{models[0]} and {models[1]} have fewer than two samples in common")
    label_path = label_path_of(samples, models[0])

    def load_examples(indices: NDArray[np.int64]) -> list[Example]:
        examples = samples.select(ids[both][indices].tolist(), ordered=True)
        files = examples.values("filepath")
        labels = examples.values(label_path) if label_path else [None] * len(files)
        return [Example(file, None if label is None else str(label)) for file, label in zip(files, labels, strict=True)]

    return draw_figure(Path(path), models, first[both], second[both], load_examples, num_examples)


def _align(results: Mapping[str, ModelResults]) -> dict[str, FloatArray]:
    """The learnability of each network over the samples of all networks, NaN where it has none."""
    ids = np.unique(np.concatenate([result.ids for result in results.values()] or [np.empty(0, np.str_)]))
    scores = {}
    for model, result in results.items():
        column = np.full(len(ids), np.nan)
        column[np.searchsorted(ids, result.ids)] = result.learnability
        scores[model] = column
    return scores
