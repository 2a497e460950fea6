from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from fiftyone_learnability.experiment.figures import Example, draw_figure, draw_stability, stability_figure
from fiftyone_learnability.scores.reliability import reliability_of_mean
from fiftyone_learnability.scores.stability import EpochStability


class Loader:
    """Creates images on request and records the requested indices."""

    def __init__(self, folder: Path, labelled: bool = True) -> None:
        self.folder, self.labelled = folder, labelled
        self.requests: list[list[int]] = []

    def __call__(self, indices: np.ndarray) -> list[Example]:
        self.requests.append([int(index) for index in indices])
        examples = []
        for index in self.requests[-1]:
            file = self.folder / f"{index}.png"
            mode, colour = [("L", 200), ("RGB", (250, 40, 10)), ("RGBA", (10, 40, 250, 255)), ("P", 3)][index % 4]
            Image.new(mode, (8, 8), colour).save(file)
            examples.append(Example(str(file), f"class {index}" if self.labelled else None))
        return examples


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 2, 3, 300])
def test_the_picture_of_any_number_of_samples(count: int, tmp_path: Path, rng: np.random.Generator) -> None:
    first = rng.random(count)
    second = np.clip(first + rng.normal(0, 0.1, count), 0, 1)
    path = tmp_path / "new" / "figure.png"
    loader = Loader(tmp_path, labelled=count != 3)
    assert draw_figure(path, ("resnet20", "vgg16"), first, second, loader) == path
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        assert picture.size == (1430, 1118)
        assert np.asarray(picture.convert("L")).std() > 10
    ranks = sum((scores[:, None] <= scores).sum(axis=1) for scores in (first, second))
    easiest, hardest = loader.requests
    shown = min(10, count)
    assert len(easiest) == len(hardest) == shown
    assert [ranks[index] for index in easiest] == sorted(ranks)[:shown]
    assert [ranks[index] for index in hardest] == sorted(ranks, reverse=True)[:shown]


def test_the_examples_are_in_the_picture(tmp_path: Path) -> None:
    scores = np.linspace(0, 1, 20)

    def load(indices: np.ndarray) -> list[Example]:
        file = tmp_path / "magenta.png"
        Image.new("RGB", (8, 8), (255, 0, 255)).save(file)
        return [Example(str(file), "a")] * len(indices)

    draw_figure(tmp_path / "figure.png", ("a", "b"), scores, scores, load, num_examples=3)
    with Image.open(tmp_path / "figure.png") as picture:
        magenta = (np.asarray(picture.convert("RGB")) == (255, 0, 255)).all(axis=2)
    # two strips of three images
    assert magenta.sum() > 6 * 50**2
    inside = magenta.any(axis=0).astype(int)
    assert (np.diff(inside) == 1).sum() == 3
    assert (np.diff(magenta.any(axis=1).astype(int)) == 1).sum() == 2


def test_a_constant_score_can_be_drawn(tmp_path: Path, rng: np.random.Generator) -> None:
    draw_figure(tmp_path / "figure.png", ("a", "b"), np.full(12, 0.5), rng.random(12), Loader(tmp_path))
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_ending_chooses_the_format(tmp_path: Path, rng: np.random.Generator) -> None:
    path = draw_figure(tmp_path / "figure.pdf", ("a", "b"), rng.random(12), rng.random(12), Loader(tmp_path))
    assert path.read_bytes().startswith(b"%PDF-")


def test_a_sample_without_a_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN: remove samples without a score"):
        draw_figure(
            tmp_path / "figure.png", ("a", "b"), np.array([0.1, np.nan]), np.array([0.1, 0.2]), Loader(tmp_path)
        )
    assert not (tmp_path / "figure.png").exists()


# epochs and runs


@pytest.mark.filterwarnings("error")
def test_the_picture_shows_epochs_and_runs(tmp_path: Path) -> None:
    curves = {
        "resnet20": EpochStability(np.array([1, 2, 3]), np.array([0.5, 0.9, 1.0])),
        "vgg16": EpochStability(np.array([1, 3]), np.array([0.7, 1.0])),
        "one epoch": EpochStability(np.array([1]), np.array([1.0])),
    }
    seed_correlations = {"vgg16": 0.8, "other": 0.5, "unlucky": -0.1}
    path = tmp_path / "new" / "stability.png"
    assert draw_stability(path, curves, seed_correlations, max_runs=4, bound=0.9) == path
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1430, 572))
        assert np.asarray(picture.convert("L")).std() > 10
    figure = stability_figure(curves, seed_correlations, max_runs=4, bound=0.9)
    left, right = ({line.get_label(): line for line in panel.get_lines()} for panel in figure.axes)
    assert list(left) == [*curves, "0.9"]
    assert list(right) == [*seed_correlations, "0.9"]
    for model, curve in curves.items():
        np.testing.assert_array_equal(left[model].get_data(), curve)
    for model, rho in seed_correlations.items():
        np.testing.assert_array_equal(right[model].get_data(), [[1, 2, 3, 4], reliability_of_mean(rho, [1, 2, 3, 4])])
    for lines in (left, right):
        assert set(lines["0.9"].get_ydata()) == {0.9}
    colours = {name: to_hex(line.get_color()) for name, line in (left | right).items()}
    assert len(set(colours.values())) == 6
    assert to_hex(left["vgg16"].get_color()) == colours["vgg16"]


@pytest.mark.parametrize("empty", [0, 1])
def test_a_panel_without_curves_explains_why(empty: int) -> None:
    curve = EpochStability(np.array([1, 2]), np.array([0.9, 1.0]))
    panels = stability_figure({} if empty == 0 else {"a": curve}, {} if empty == 1 else {"a": 0.9}).axes
    reasons = [[text.get_text() for text in panel.texts] for panel in panels]
    assert reasons[empty] == [["no learning dynamics were recorded"], ["no network has two runs"]][empty]
    assert reasons[1 - empty] == []
    assert not panels[empty].get_lines()


def test_no_file_is_written_if_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is nothing to draw"):
        draw_stability(tmp_path / "stability.png", {}, {})
    assert not list(tmp_path.iterdir())
