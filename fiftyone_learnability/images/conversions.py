"""What decoding changes in an image besides its size: transparency, more than 8 bits, colour spaces, frames.

Each change is counted, and a run says each once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRANSPARENT = "transparent"
"""Transparent pixels are drawn on white."""

BLANK = "blank"
"""On white, the transparent image has a single colour."""

DEEP = "deep"
"""Values of more than 8 bits are scaled to 8."""

OTHER_COLOURS = "other_colours"
"""The image is converted to RGB from CMYK, YCbCr, LAB or HSV."""

MORE_FRAMES = "more_frames"
"""Only the first frame or page is used."""

_PIXELS_AT_ONCE = 2**18
"""Pixels that are drawn on white at a time: large images must not need several times their memory."""


@dataclass
class DeepImages:
    """Images of more than 8 bits, which wait until the range of values of all of them is known.

    Attributes:
        values: ``(S, S, 1)`` or ``(S, S, 3)`` values as in the file, resized, by the position of the file
        low: the smallest value of all original images, inf without images
        high: the largest one, -inf without images
    """

    values: dict[int, NDArray[Any]] = field(default_factory=dict)
    low: float = np.inf
    high: float = -np.inf

    def add(self, index: int, values: NDArray[Any], low: float, high: float) -> None:
        """Add an image.

        Args:
            index: the position of its file
            values: ``(S, S, C)``
            low: the smallest value of the original image
            high: the largest one
        """
        self.values[index] = values
        self.low, self.high = min(self.low, low), max(self.high, high)

    def extend(self, others: DeepImages, offset: int) -> None:
        """Add the images of files that begin at the position ``offset``."""
        for index, values in others.values.items():
            self.add(offset + index, values, others.low, others.high)

    def write_to(self, pixels: NDArray[np.uint8]) -> tuple[float, float] | None:
        """Scale the values to 0..255 and write them to the rows of their files.

        Args:
            pixels: ``(M, S, S, 3)``

        Returns:
            the smallest and the largest value, None without images
        """
        for index, values in self.values.items():
            pixels[index] = scale(values, self.low, self.high)
        return (self.low, self.high) if self.values else None


def scale(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Scale values linearly so that ``low`` becomes 0 and ``high`` 255; all become 0 if both are equal.

    Args:
        values: values from ``low`` to ``high``, of any shape
        low: the value that becomes 0
        high: the value that becomes 255

    Returns:
        the nearest of the 256 levels, in the shape of ``values``
    """
    if high == low:
        return np.zeros(values.shape, np.uint8)
    return np.rint((values.astype(np.float64) - low) * 255 / (high - low)).astype(np.uint8)


def draw_on_white(colours: NDArray[Any], alpha: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Draw an image with transparency on white.

    The value is ``colour * a + white * (1 - a)`` with ``a = alpha / white``, rounded to the nearest level, where white
    is 255 for 8 bits and 65535 for 16. Opaque images stay as they are.

    Args:
        colours: ``(H, W, C)`` uint8 or uint16
        alpha: ``(H, W)`` of the same type

    Returns:
        the drawn image, and what was done: nothing if the image is opaque
    """
    white = int(np.iinfo(colours.dtype).max)
    if alpha.min() == white:
        return colours, ()
    # holds the square of white
    wider = np.dtype(np.uint16 if white == 255 else np.uint32)
    drawn = np.empty_like(colours)
    length = max(1, _PIXELS_AT_ONCE // colours.shape[1])
    for start in range(0, len(colours), length):
        rows = slice(start, start + length)
        weight = alpha[rows, :, None].astype(wider)
        drawn[rows] = (colours[rows] * weight + white * (white - weight) + white // 2) // white
    blank = (drawn == drawn[:1, :1]).all()
    return drawn, (TRANSPARENT, BLANK) if blank else (TRANSPARENT,)


def describe_conversions(counts: Mapping[str, int], value_range: Sequence[float] | None) -> list[str]:
    """Describe what was done to the images, each in one sentence.

    Args:
        counts: the number of images by what was done to them
        value_range: the values that became 0 and 255 in images of more than 8 bits

    Returns:
        the sentences, empty if only sizes changed
    """
    count = Counter(counts)
    sentences = []
    if count[TRANSPARENT]:
        blank = f"; of these, {count[BLANK]} are then of a single colour" if count[BLANK] else ""
        sentences.append(f"images with transparency: {count[TRANSPARENT]}; they are drawn on white{blank}")
    if count[DEEP] and value_range is not None:
        low, high = value_range
        sentences.append(
            f"images of more than 8 bits: {count[DEEP]}; their values from {low:.0f} to {high:.0f}, the smallest and "
            "the largest of all, are scaled to 0 to 255"
        )
    if count[OTHER_COLOURS]:
        sentences.append(
            f"images in CMYK or another colour space: {count[OTHER_COLOURS]}; they are converted to RGB without their "
            "colour profile"
        )
    if count[MORE_FRAMES]:
        sentences.append(f"images of several frames or pages: {count[MORE_FRAMES]}; only the first is used")
    return sentences
