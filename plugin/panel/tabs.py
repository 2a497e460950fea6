"""The plots and pictures of each tab."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np

from fiftyone_learnability import compare_scores
from fiftyone_learnability.dataset.arrays import find_ids, pack_ids, unpack_ids
from fiftyone_learnability.dataset.suggestions import SUGGESTION, VERDICT, describe_no_suggestions
from fiftyone_learnability.scores.comparison import Comparison
from fiftyone_learnability.scores.label_errors import HARD, MISLABELLED

from ..archives import Dynamics, load_dynamics, load_training_curves
from ..memory import remember
from . import figures
from .binning import FloatArray, Histogram2D, bin_two, score_edges
from .choices import OVERVIEW, Choice
from .classes import FIRST_CLASSES, draw_classes, scope_classes
from .data_map import MAP_SCORES, DataMap, draw_map, make_map
from .embedding import bin_points, draw_points
from .events import selected
from .review import draw_changes, scope_review
from .table import ScoreTable, dataset_state

FIRST_EXAMPLES, MOST_EXAMPLES = 12, 48
"""The number of easiest, and of hardest, examples at first and at most."""

MOST_CURVES = 6

Plots = dict[str, figures.Figure]
"""Plots by name."""


def draw_plots(ctx: foo.ExecutionContext, table: ScoreTable, choice: Choice) -> Plots:
    """Draw the plots of the open tab.

    Args:
        ctx: the context of the event
        table: the scores of the samples in the panel's scope
        choice: the user's choices
    """
    if choice.tab == "curves":
        return _curve_plots(ctx.dataset, table, selected(ctx))
    if choice.tab == "classes" and table.label_path:
        return {"classes": draw_classes(scope_classes(ctx, table, choice), num_classes(choice), choice.first)}
    if choice.tab == "labels":
        review = scope_review(ctx)
        if review is None or not review.changes or (choice.review != OVERVIEW and review.target is not None):
            return {}
        return {"changes": draw_changes(review)}
    if choice.tab == "embeddings":
        plot = embedding_map(ctx.dataset, table, choice)
        return {} if plot is None else {"embeddings": draw_points(plot, choice.x)}
    # an event needs the plots twice: once to send their data, once to lay them out
    return remember(("plots", table.version, choice), lambda: _score_plots(table, choice))


def _score_plots(table: ScoreTable, choice: Choice) -> Plots:
    if choice.tab == "compare":
        plots: Plots = {}
        if len(table.models) > 1:
            plots["matrix"] = figures.correlation_matrix(comparison(table), choice.pair)
        if choice.x != choice.y:
            plots["pair"] = figures.pair_histogram(pair_histogram(table, choice), choice.x, choice.y)
        values, edges = table.values(*choice.x), histogram_edges(table, choice)
        plots["histogram"] = figures.score_histogram(values, edges, choice.x)
        return plots
    if choice.tab == "map" and not missing_for_map(table, choice.first):
        return {"map": draw_map(bin_map(table, choice), choice.first)}
    return {}


def _curve_plots(dataset: fo.Dataset, table: ScoreTable, chosen: list[str]) -> Plots:
    plots: Plots = {}
    curves = selected_curves(dataset, table, chosen).curves
    if curves:
        plots["samples"] = figures.sample_curves(curves)
    trainings = ((model, load_training_curves(dataset, model)) for model in table.models)
    plots["trainings"] = figures.training_curves({model: arrays for model, arrays in trainings if arrays is not None})
    return plots


def comparison(table: ScoreTable) -> Comparison:
    """Return the correlations of all networks."""
    return remember(("comparison", table.version), lambda: compare_scores(table.learnability))


def pair_histogram(table: ScoreTable, choice: Choice) -> Histogram2D:
    """Count the samples by both axes; two axes of the same score have the same edges, so equals lie on the diagonal."""
    first, second = table.values(*choice.x), table.values(*choice.y)
    bins = int(np.clip(np.sqrt((np.isfinite(first) & np.isfinite(second)).sum() / 3), 8, 40))
    if choice.x[1] == choice.y[1]:
        x = y = score_edges(choice.x[1], bins, np.concatenate([first, second]), table.num_ranks)
    else:
        x, y = (
            score_edges(score, bins, values, table.num_ranks)
            for (_, score), values in ((choice.x, first), (choice.y, second))
        )
    return bin_two(first, second, x, y)


def histogram_edges(table: ScoreTable, choice: Choice) -> FloatArray:
    """Return the edges of the bars of the x axis's score."""
    return score_edges(choice.quantity, figures.HISTOGRAM_BINS, table.values(*choice.x), table.num_ranks)


def missing_for_map(table: ScoreTable, model: str) -> list[str]:
    """Return the scores that the data map of a network needs and that were not measured."""
    return [score for score in MAP_SCORES if score not in table.scores.get(model, ())]


def bin_map(table: ScoreTable, choice: Choice) -> DataMap:
    """Compute the data map of the first network."""
    return make_map(*(table.values(choice.first, score) for score in MAP_SCORES))


def embedding_map(dataset: fo.Dataset, table: ScoreTable, choice: Choice) -> DataMap | None:
    """Compute the cells of the chosen visualization; None if it places no sample that has the score."""
    return bin_points(dataset, table, choice.embedding, choice.x) if choice.embedding else None


def num_classes(choice: Choice) -> int:
    """Return how many classes are shown."""
    return int(FIRST_CLASSES * 4**choice.more)


def num_examples(choice: Choice) -> int:
    """Return how many of the easiest, and of the hardest, examples are shown."""
    return int(min(FIRST_EXAMPLES * 2**choice.more, MOST_EXAMPLES))


def picture_of(filepath: str) -> str:
    """Return the address of an image on the App's server."""
    return f"/media?filepath={quote(filepath)}"


@dataclass(frozen=True)
class Picture:
    """The image of a sample.

    Attributes:
        file: the name of its file
        address: the address of its thumbnail if the dataset has one, else of the image
        suggested: its suggested label, None if its label is not contradicted
    """

    file: str
    address: str
    suggested: str | None


def read_pictures(dataset: fo.Dataset, ids: list[str]) -> dict[str, Picture]:
    """Return the images of samples by id, with one question to the database.

    Args:
        dataset: the dataset
        ids: the samples; those that are gone are left out
    """
    # the field that the grid shows in place of large images
    thumbnails = dataset.app_config.grid_media_field
    paths = ["id", "filepath", thumbnails if dataset.has_field(thumbnails) else "filepath"]
    has_suggestions = describe_no_suggestions(dataset, applied=False) is None
    paths += [VERDICT, f"{SUGGESTION}.label"] if has_suggestions else []
    pictures = {}
    for id, file, thumbnail, *suggestion in zip(*dataset.select(ids).values(paths), strict=True):
        verdict, suggested = suggestion or (None, None)
        suggested = suggested if verdict in (MISLABELLED, HARD) else None
        pictures[id] = Picture(Path(file).name, picture_of(thumbnail or file), suggested)
    return pictures


@dataclass(frozen=True)
class Example:
    """An easy or hard sample.

    Attributes:
        id: its id
        label: its label, "" for none
        ranks: its rank by each of the two networks, in words
        picture: its image, None if the sample is gone
    """

    id: str
    label: str
    ranks: str
    picture: Picture | None


def find_examples(dataset: fo.Dataset, table: ScoreTable, choice: Choice) -> dict[str, list[Example]]:
    """Return the "easiest" and "hardest" samples by the sum of both networks' ranks, as in Figure 1c."""
    # an image may be moved while its scores stay
    key = ("examples", table.version, choice.pair, num_examples(choice), dataset_state(dataset))
    return remember(key, lambda: _read_examples(dataset, table, choice))


def _read_examples(dataset: fo.Dataset, table: ScoreTable, choice: Choice) -> dict[str, list[Example]]:
    models, count = list(dict.fromkeys(choice.pair)), num_examples(choice)
    ranks = np.sum([table.values(model, "rank") for model in models], axis=0)
    known = np.flatnonzero(~np.isnan(ranks))
    order = known[np.argsort(ranks[known], kind="stable")]
    extremes = {"easiest": order[:count], "hardest": order[::-1][:count]}
    pictures = read_pictures(dataset, unpack_ids(table.ids[np.concatenate(list(extremes.values()))]))

    def example(index: int) -> Example:
        (id,) = unpack_ids(table.ids[index : index + 1])
        words = [f"{int(table.values(model, 'rank')[index]):,}" for model in models]
        return Example(id, label_of(table, index), " / ".join(words), pictures.get(id))

    return {name: [example(index) for index in indices.tolist()] for name, indices in extremes.items()}


def label_of(table: ScoreTable, row: int) -> str:
    """Return the label of a sample for users, "" for none.

    Args:
        table: the scores
        row: its row in the table, -1 for none
    """
    return str(table.classes[table.labels[row]]) if row >= 0 and table.labels[row] >= 0 else ""


@dataclass(frozen=True, eq=False)
class SelectedCurves:
    """The curves of the first selected samples.

    Attributes:
        curves: a curve per network of each sample
        pictures: the images of the samples that have curves, by id
        labels: their labels
    """

    curves: list[figures.Curve]
    pictures: dict[str, Picture]
    labels: dict[str, str]


def selected_curves(dataset: fo.Dataset, table: ScoreTable, chosen: list[str]) -> SelectedCurves:
    """Return the curves of the first selected samples."""
    chosen = chosen[:MOST_CURVES]
    key = ("selected", table.version, tuple(chosen), dataset_state(dataset))
    return remember(key, lambda: _read_curves(dataset, table, chosen))


def _read_curves(dataset: fo.Dataset, table: ScoreTable, chosen: list[str]) -> SelectedCurves:
    rows = dict(zip(chosen, find_ids(pack_ids(chosen), table.ids).tolist(), strict=True))
    found: list[tuple[str, str, Dynamics, int]] = []
    for model in table.models if chosen else ():
        dynamics = load_dynamics(dataset, model)
        if dynamics is None:
            continue
        for sample in chosen:
            column = dynamics.find(sample)
            if column >= 0:
                found.append((sample, model, dynamics, column))
    labels = {sample: label_of(table, rows[sample]) for sample, *_ in found}
    pictures = read_pictures(dataset, list(labels)) if found else {}
    names = {id: ", ".join(filter(None, (labels[id], picture.file))) for id, picture in pictures.items()}
    curves = [
        figures.Curve(sample, names.get(sample, ""), model, dynamics.epochs, dynamics.probabilities[:, column])
        for sample, model, dynamics, column in found
    ]
    return SelectedCurves(curves, pictures, labels)
