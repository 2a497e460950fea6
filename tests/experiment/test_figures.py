from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_learnability.experiment.figures import Example, draw_figure


class Loader:
    """Hands out images, and remembers which were asked for."""

    def __init__(self, folder: Path, labelled: bool = True) -> None:
        self.folder, self.labelled = folder, labelled
        self.asked: list[list[int]] = []

    def __call__(self, indices: np.ndarray) -> list[Example]:
        self.asked.append([int(index) for index in indices])
        examples = []
        for index in self.asked[-1]:
            file = self.folder / f"{index}.png"
            mode, colour = [("L", 200), ("RGB", (250, 40, 10)), ("RGBA", (10, 40, 250, 255)), ("P", 3)][index % 4]
            Image.new(mode, (8, 8), colour).save(file)
            examples.append(Example(str(file), f"class {index}" if self.labelled else None))
        return examples


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 2, 3, 300])
def test_the_picture_is_written_whatever_the_number_of_samples(
    count: int, tmp_path: Path, rng: np.random.Generator
) -> None:
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
    easiest, hardest = loader.asked
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


def test_a_constant_score_is_no_error(tmp_path: Path, rng: np.random.Generator) -> None:
    draw_figure(tmp_path / "figure.png", ("a", "b"), np.full(12, 0.5), rng.random(12), Loader(tmp_path))
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_ending_chooses_the_format(tmp_path: Path, rng: np.random.Generator) -> None:
    path = draw_figure(tmp_path / "figure.pdf", ("a", "b"), rng.random(12), rng.random(12), Loader(tmp_path))
    assert path.read_bytes().startswith(b"%PDF-")


def test_a_sample_without_a_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="NaN: leave out samples without a score"):
        draw_figure(
            tmp_path / "figure.png", ("a", "b"), np.array([0.1, np.nan]), np.array([0.1, 0.2]), Loader(tmp_path)
        )
    assert not (tmp_path / "figure.png").exists()
