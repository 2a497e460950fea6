"""Image files and labels for the demo, the benchmarks and the tests: a class tree, or scikit-learn's digits."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np


def read_tree(folder: Path, split: str = "train") -> tuple[list[str], list[str]]:
    """Return files and labels of ``folder/split/<class>/*``, sorted by class."""
    files = sorted(path for path in (folder / split).glob("*/*") if path.is_file())
    if not files:
        sys.exit(f"CIFAR10={folder}: there are no images at {folder}/{split}/<class>/*")
    return [str(path.resolve()) for path in files], [path.parent.name for path in files]


def write_digits(folder: Path) -> tuple[list[str], list[str]]:
    """Write scikit-learn's 1,797 digits of 8x8 pixels as PNG files; return files and labels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, image in enumerate(digits.images):
        files.append(str((folder / f"{number:04}.png").resolve()))
        # from 17 shades to 256, and four times as large, so that the App shows more than a few pixels
        pixels = np.rint(image * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(files[-1])
    return files, [str(label) for label in digits.target]


def stratified(labels: list[str], count: int) -> list[int]:
    """Return the indices of the first items of each class: equally many of each, at most ``count`` in all."""
    of_class: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        of_class[label].append(index)
    each = max(1, count // len(of_class))
    return sorted(index for indices in of_class.values() for index in indices[:each])
