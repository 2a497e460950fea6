"""Pictures for files: the paper's Figure 1, and how many epochs and runs are enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..scores.comparison import compare_scores
from ..scores.formulas import FloatArray, IntArray, learnability_rank
from ..scores.reliability import reliability_of_mean
from ..scores.stability import EpochStability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class Example(NamedTuple):
    """A sample in a strip of images: its file and its label."""

    filepath: str
    label: str | None


def draw_figure(
    path: Path,
    models: tuple[str, str],
    first: FloatArray,
    second: FloatArray,
    load_examples: Callable[[IntArray], list[Example]],
    num_examples: int = 10,
) -> Path:
    """Draw Figure 1 of "Sample-wise learnability" (arXiv 1901.02347) for two networks.

    It has 2-D histograms of learnability and of rank, and strips of the easiest and the hardest images.

    Args:
        path: the file to write; its suffix determines the format
        models: the names of the networks
        first: ``(N,)`` learnability by the first network
        second: ``(N,)`` learnability by the second network
        load_examples: takes indices of samples and returns their files and labels
        num_examples (10): the number of images in each strip

    Returns:
        the path

    Raises:
        ValueError: if a sample has no score
    """
    from matplotlib.figure import Figure

    ranks = learnability_rank(first), learnability_rank(second)
    agreement = compare_scores({"first": first, "second": second})
    num_examples = min(num_examples, len(first))
    figure = Figure(figsize=(11, 8.6), layout="constrained")
    (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.45, 1))
    left, right = top.subplots(1, 2)
    _draw_histogram(left, models, (first, second), "learnability", (0.0, 1.0))
    left.set_title(f"(a) learnability: Pearson {agreement.pearson[0, 1]:.3f}")
    _draw_histogram(right, models, ranks, "rank", (1.0, float(len(first))))
    right.set_title(f"(b) learnability rank: Pearson {agreement.pearson_rank[0, 1]:.3f}")

    # the sum of ranks orders samples by their difficulty for both networks
    order = np.argsort(ranks[0] + ranks[1], kind="stable")
    strips = {"easiest": order[:num_examples], "hardest": order[::-1][:num_examples]}
    rows = bottom.subfigures(2, 1, squeeze=False)
    for row, (name, indices) in zip(rows[:, 0], strips.items(), strict=True):
        _draw_strip(row, name, indices, load_examples(indices), ranks)
    bottom.suptitle(f"(c) easiest and hardest for both: label, rank by {models[0]} / {models[1]} of {len(first)}")
    return _save(figure, path)


def _draw_histogram(
    axes: Axes,
    models: tuple[str, str],
    values: tuple[NDArray[np.generic], NDArray[np.generic]],
    quantity: str,
    limits: tuple[float, float],
) -> None:
    from matplotlib.colors import LogNorm

    # about four samples per bin if they were spread evenly
    bins = int(np.clip(np.sqrt(len(values[0]) / 4), 10, 60))
    counts = axes.hist2d(*values, bins=bins, range=(limits, limits), norm=LogNorm(), cmap="viridis")
    axes.figure.colorbar(counts[3], ax=axes, label="samples")
    axes.set_xlabel(f"{quantity} by {models[0]}")
    axes.set_ylabel(f"{quantity} by {models[1]}")
    axes.set_aspect("equal")


def _draw_strip(
    row: SubFigure, name: str, indices: IntArray, examples: list[Example], ranks: tuple[IntArray, IntArray]
) -> None:
    from PIL import Image, ImageOps

    panels = np.atleast_1d(row.subplots(1, len(indices)))
    for panel, index, example in zip(panels, indices, examples, strict=True):
        with Image.open(example.filepath) as image:
            panel.imshow(ImageOps.exif_transpose(image).convert("RGB"), interpolation="nearest")
        panel.set_title(example.label or "", fontsize=8, pad=3)
        panel.set_xlabel(f"{ranks[0][index]} / {ranks[1][index]}", fontsize=7, labelpad=2)
        panel.set_xticks([])
        panel.set_yticks([])
    panels[0].set_ylabel(name)


def draw_stability(
    path: Path,
    curves: Mapping[str, EpochStability],
    seed_correlations: Mapping[str, float],
    max_runs: int = 10,
    bound: float = 0.97,
) -> Path:
    """Draw how many epochs and how many runs are enough, see :func:`stability_figure`.

    Args:
        path: the file to write; its suffix determines the format
        curves: for each network, how the order of the samples settles over epochs
        seed_correlations: the correlation between seeds of each network that has at least two runs
        max_runs (10): the largest number of runs in the picture
        bound (0.97): the value at which to draw a horizontal line

    Returns:
        the path

    Raises:
        ValueError: if there are no curves and no correlations
    """
    return _save(stability_figure(curves, seed_correlations, max_runs, bound), path)


def stability_figure(
    curves: Mapping[str, EpochStability],
    seed_correlations: Mapping[str, float],
    max_runs: int = 10,
    bound: float = 0.97,
) -> Figure:
    """Make the figure of :func:`draw_stability`: epochs on the left, runs on the right; same arguments and errors."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not curves and not seed_correlations:
        raise ValueError("there is nothing to draw: no network has learning dynamics or a correlation between seeds")
    # a network has the same colour in both panels
    colours = {model: f"C{number}" for number, model in enumerate(dict.fromkeys([*curves, *seed_correlations]))}
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for model, (epochs, correlation) in curves.items():
        marker = "o" if len(epochs) == 1 else None
        left.plot(epochs, correlation, color=colours[model], marker=marker, label=model)
    left.set_title("(a) how many epochs are enough")
    left.set_xlabel("epochs t")
    left.set_ylabel("Spearman with the learnability over all epochs")
    runs = np.arange(1, max_runs + 1)
    for model, rho in seed_correlations.items():
        right.plot(runs, reliability_of_mean(rho, runs), color=colours[model], marker="o", markersize=4, label=model)
    right.set_title("(b) how many runs are enough")
    right.set_xlabel("runs r")
    right.set_ylabel("reliability of their mean (Spearman-Brown)")
    for panel, lines, reason in (
        (left, curves, "no learning dynamics were recorded"),
        (right, seed_correlations, "no network has two runs"),
    ):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not lines:
            panel.text(0.5, 0.5, reason, ha="center", va="center", transform=panel.transAxes)
            continue
        panel.axhline(bound, color="0.5", linewidth=1, linestyle="--", label=f"{bound:g}")
        panel.set_ylim(top=1.005)
        panel.grid(alpha=0.3)
        panel.legend(loc="lower right")
    return figure


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
