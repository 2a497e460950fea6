"""What the scores on a dataset say: how far networks agree, and which samples are hardest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from .dataset.registry import INFO_KEY, rank_field, score_field
from .experiment.comparison import Comparison, compare_scores
from .experiment.results import ModelResults
from .science.catalog import SCORES
from .science.checks import shortened, shown, texts, whole
from .science.scores import FloatArray

if TYPE_CHECKING:
    import pandas as pd


def find_models(samples: foc.SampleCollection, derived: bool = False) -> list[str]:
    """The networks whose learnability a collection has, in the order in which they were written.

    Args:
        samples: a dataset or view
        derived (False): whether to name the consensus too, which can be sorted by like a network but is none
    """
    if not isinstance(samples, foc.SampleCollection):
        raise TypeError(f"samples must be a FiftyOne dataset or view, not {type(samples).__name__}")
    noted = [(field.info or {}).get(INFO_KEY, {}) for field in samples.get_field_schema().values()]
    return [
        note["model"] for note in noted if note.get("score") == "learnability" and (derived or not note.get("derived"))
    ]


def names_of(models: str | Sequence[str]) -> list[str]:
    """Networks as a list, whether one is named or several.

    Args:
        models: one name, or several
    """
    return texts("models", models)


def choose_models(
    samples: foc.SampleCollection, models: str | Sequence[str] | None, derived: bool = False
) -> list[str]:
    """The networks that are named, or all that :func:`find_models` finds where none is.

    Args:
        samples: a dataset or view
        models: one name, several, or None for all
        derived (False): see :func:`find_models`
    """
    return find_models(samples, derived) if models is None else names_of(models)


def find_scores(samples: foc.SampleCollection, model: str) -> list[str]:
    """The scores of a network that a collection has as fields, in the order of the catalog.

    Args:
        samples: a dataset or view
        model: the network
    """
    noted = [(field.info or {}).get(INFO_KEY, {}) for field in samples.get_field_schema().values()]
    present = {note.get("score") for note in noted if note.get("model") == model}
    return [name for name in SCORES if name in present]


def load_scores(
    samples: foc.SampleCollection, models: str | Sequence[str] | None = None
) -> tuple[NDArray[np.str_], dict[str, FloatArray]]:
    """Reads learnability from the fields of a collection.

    Args:
        samples: a dataset or view
        models (None): the networks, by default all that :func:`find_models` finds

    Returns:
        ``(N,)`` ids of all samples, and ``(N,)`` learnability by network, NaN where a sample has none

    Raises:
        ValueError: if a network has no scores in the collection
    """
    models = choose_models(samples, models)
    for model in models:
        check_scored(samples, model)
    if not models:
        return np.array(samples.values("id"), dtype=np.str_), {}
    ids, *columns = samples.values(["id", *map(score_field, models)])
    scores = {model: np.array(column, dtype=np.float64) for model, column in zip(models, columns, strict=True)}
    return np.array(ids, dtype=np.str_), scores


def compare_models(
    source: foc.SampleCollection | Mapping[str, ModelResults], models: str | Sequence[str] | None = None
) -> Comparison:
    """Correlates the learnability of networks pair by pair, as in the paper's Table 1.

    Example::

        print(fol.compare_models(dataset))

    Args:
        source: a dataset or view with scores, or the results of :func:`fiftyone_learnability.compute_learnability`
        models (None): the networks, by default all

    Returns:
        Pearson of learnability and of rank, and Spearman, over the samples that both networks of a pair have

    Raises:
        ValueError: if there are fewer than two networks, or one has no scores
    """
    if isinstance(source, Mapping):
        scores = _align(source if models is None else {model: source[model] for model in names_of(models)})
    else:
        scores = load_scores(source, models)[1]
    if len(scores) < 2:
        have = ", ".join(scores) or "none"
        raise ValueError(f"a comparison needs the scores of at least two networks; there are: {have}")
    return compare_scores(scores)


def hardest_samples(samples: foc.SampleCollection, model: str, k: int = 20, easiest: bool = False) -> pd.DataFrame:
    """The samples that a network finds hardest (or easiest).

    Args:
        samples: a dataset or view with scores
        model: the network
        k (20): how many samples
        easiest (False): whether to list the easiest ones, easiest first

    Returns:
        one row a sample, hardest first: id, filepath, label, learnability, rank. The label is None where the field
        that the run was computed with is gone

    Raises:
        ValueError: if the network has no scores in the collection, or k is not positive
    """
    import pandas as pd

    check_scored(samples, model)
    k = whole("k", k, 1)
    view = samples.exists(score_field(model)).sort_by(score_field(model), reverse=easiest).limit(k)
    label_path = label_path_of(samples, model)
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
    """Draws the paper's Figure 1 for two networks into a file.

    It shows the 2-D histogram of learnability (a) and of rank (b), and the images that are easiest and hardest for
    both, with their labels and both ranks (c).

    Args:
        samples: a dataset or view with scores of both networks
        path: the file to be written; its ending chooses the format: png, pdf or svg
        models (None): the two networks, by default the first two that the collection has
        num_examples (10): the images in each strip

    Returns:
        the path

    Raises:
        ValueError: if two networks with scores cannot be found, or share fewer than two samples
    """
    from .experiment.figure import Example, draw_figure

    if models is None:
        found = find_models(samples)
        if len(found) < 2:
            raise ValueError(f"the figure needs the scores of two networks; there are: {', '.join(found) or 'none'}")
        models = (found[0], found[1])
    ids, scores = load_scores(samples, models)
    first, second = (scores[model] for model in models)
    both = ~(np.isnan(first) | np.isnan(second))
    if both.sum() < 2:
        raise ValueError(f"{models[0]} and {models[1]} have fewer than two samples in common")
    label_path = label_path_of(samples, models[0])

    def load_examples(indices: NDArray[np.int64]) -> list[Example]:
        chosen = samples.select(ids[both][indices].tolist(), ordered=True)
        files = chosen.values("filepath")
        labels = chosen.values(label_path) if label_path else [None] * len(files)
        return [Example(file, None if label is None else str(label)) for file, label in zip(files, labels, strict=True)]

    return draw_figure(Path(path), models, first[both], second[both], load_examples, num_examples)


def _align(results: Mapping[str, ModelResults]) -> dict[str, FloatArray]:
    """The learnability of each network over all samples that any has, NaN where it has none."""
    ids = np.unique(np.concatenate([result.ids for result in results.values()] or [np.empty(0, np.str_)]))
    scores = {}
    for model, result in results.items():
        column = np.full(len(ids), np.nan)
        column[np.searchsorted(ids, result.ids)] = result.learnability
        scores[model] = column
    return scores


def check_scored(samples: foc.SampleCollection, model: str) -> None:
    """Checks that a network has scores in a collection.

    Raises:
        ValueError: if it has none; the message names those that have
    """
    models = find_models(samples, derived=True)
    if model not in models:
        have = shortened(", ".join(models), 300) or "none"
        raise ValueError(f"the network {shown(model)} has no scores; the networks that do: {have}")


def label_path_of(samples: foc.SampleCollection, model: str) -> str | None:
    """Where the labels stand that a network was trained with, None if they are gone."""
    from .dataset.samples import label_path

    key = samples.get_field(score_field(model)).info[INFO_KEY]["run"]
    try:
        label_field = samples.get_run_info(key).config.label_field
        # scores from elsewhere may come without labels
        return None if label_field is None else label_path(samples, label_field)
    except ValueError:
        return None
