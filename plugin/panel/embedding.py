"""The plot of embeddings that FiftyOne's brain has computed for a dataset, coloured by a score.

As in the data map, one marker stands for all samples of a cell, so the plot does not grow with the dataset.
"""

from __future__ import annotations

from typing import NamedTuple

import fiftyone as fo
import numpy as np

from fiftyone_learnability.dataset.arrays import Ids, find_ids, pack_ids
from fiftyone_learnability.dataset.internals import dataset_id

from ..memory import remember
from ..names import score_label
from .binning import FloatArray, rounded
from .data_map import DataMap, average_by_cell
from .figures import SCALE, Axis, Figure, format_samples, layout
from .table import ScoreTable

PLOT_WIDTH = 420
"""The width of the plot in a panel beside the grid, in pixels."""

MOST_CELLS = 80
"""The largest number of cells along each axis."""


def find_visualizations(dataset: fo.Dataset) -> list[str]:
    """Return the keys of the brain runs that have placed the images of a dataset in a plane, the latest first."""
    keys = dataset.list_brain_runs()
    return remember(("visualizations", str(dataset_id(dataset)), tuple(keys)), lambda: _find(dataset, keys))


def _find(dataset: fo.Dataset, keys: list[str]) -> list[str]:
    runs = {key: dataset.get_brain_info(key) for key in keys}
    images = [
        key
        for key, run in runs.items()
        if run.config.type == "visualization" and getattr(run.config, "patches_field", None) is None
    ]
    return sorted(images, key=lambda key: str(runs[key].timestamp), reverse=True)


class _Points(NamedTuple):
    """Where images lie.

    Attributes:
        ids: ``(N,)`` their ids, sorted
        places: ``(N, 2)`` the first two dimensions
    """

    ids: Ids
    places: FloatArray


def bin_points(dataset: fo.Dataset, table: ScoreTable, key: str, axis: Axis) -> DataMap | None:
    """Sort the samples of a table into cells of a visualization; None if it places none of them.

    Args:
        dataset: the dataset
        table: the scores
        key: the brain run
        axis: the network and the score whose mean each cell has; samples without it are left out
    """
    places, values = place_samples(dataset, table, key), table.values(*axis)
    known = np.isfinite(places).all(axis=1)
    if not known.any():
        return None
    bins = int(np.clip(np.sqrt(known.sum()), 12, MOST_CELLS))
    low, high = places[known].min(axis=0), places[known].max(axis=0)
    # one point alone, or a line, still needs cells of some size
    low, high = np.where(high > low, low, low - 0.5), np.where(high > low, high, high + 0.5)
    x, y = (np.linspace(start, end, bins + 1) for start, end in zip(low, high, strict=True))
    return average_by_cell(places[:, 0], np.where(np.isfinite(values), places[:, 1], np.nan), values, x, y)


def place_samples(dataset: fo.Dataset, table: ScoreTable, key: str) -> FloatArray:
    """Return ``(N, 2)`` places of the samples of a table, NaN for those that the visualization does not have."""
    points = _load(dataset, key)
    rows = find_ids(table.ids, points.ids)
    places = np.full((len(rows), 2), np.nan)
    places[rows >= 0] = points.places[rows[rows >= 0]]
    return places


def _load(dataset: fo.Dataset, key: str) -> _Points:
    version = str(dataset.get_brain_info(key).timestamp)

    def load() -> _Points:
        results = dataset.load_brain_results(key, cache=False, load_view=False)
        ids = pack_ids([str(id) for id in results.sample_ids])
        places = np.asarray(results.points, dtype=np.float64)[:, :2]
        order = np.argsort(ids)
        return _Points(ids[order], places[order])

    return remember(("points", str(dataset_id(dataset)), key, version), load)


def samples_in_cells(places: FloatArray, values: FloatArray, plot: DataMap, points: list[int]) -> np.ndarray:
    """Return ``(N,)`` which samples lie in some cells of a plot.

    Args:
        places: ``(N, 2)`` from :func:`place_samples`
        values: ``(N,)`` the score that the plot shows
        plot: the plot
        points: positions in its cells; positions that are too large, as of an outdated plot, are ignored
    """
    cells = plot.cells
    chosen = np.zeros(cells.counts.shape, dtype=bool)
    for column, row in cells.cells[[point for point in points if point < len(cells.cells)]].tolist():
        chosen[column, row] = True
    known = np.isfinite(places).all(axis=1) & np.isfinite(values)
    inside = np.zeros(len(places), dtype=bool)
    columns, rows = (
        # as NumPy counts: only the last bin includes its upper edge
        np.minimum(np.searchsorted(edges, places[known, axis], side="right") - 1, len(edges) - 2)
        for axis, edges in enumerate((cells.x, cells.y))
    )
    inside[known] = chosen[columns, rows]
    return inside


def draw_points(plot: DataMap, axis: Axis) -> Figure:
    """Draw a visualization.

    Args:
        plot: its cells
        axis: the network and the score that colours them
    """
    model, score = axis
    columns, rows = plot.cells.cells.T
    counts = plot.cells.counts[columns, rows]
    weight = np.log1p(counts) / np.log1p(counts.max(initial=1))
    centres = [(edges[:-1] + edges[1:]) / 2 for edges in (plot.cells.x, plot.cells.y)]
    title = score_label(score, model)
    # few cells are large, many small, so that neighbours almost touch
    size = float(np.clip(PLOT_WIDTH / plot.cells.counts.shape[0], 5, 16))
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(centres[0][columns]),
        "y": rounded(centres[1][rows]),
        "text": format_samples(counts),
        "hovertemplate": f"%{{text}}<br>mean {title} %{{marker.color:.4g}}<extra></extra>",
        "marker": {
            "symbol": "square",
            "size": [round(float(value), 1) for value in size * (0.7 + 0.3 * weight)],
            "opacity": 1,
            "line": {"width": 0},
            "color": rounded(plot.hits),
            "colorscale": SCALE,
            "colorbar": {"title": {"text": score_label(score)}, "thickness": 10, "len": 0.9},
        },
        "selected": {"marker": {"opacity": 1}},
        "unselected": {"marker": {"opacity": 0.25}},
    }
    plain = {"showgrid": False, "showticklabels": False}
    return [trace], layout(460, xaxis=plain, yaxis=plain, dragmode="lasso", hovermode="closest", clickmode="event")
