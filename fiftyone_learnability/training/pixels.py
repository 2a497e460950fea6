"""The images of a training run: checked, kept on the device, and turned into normalised batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Labelled images to train on.

    Attributes:
        images: ``(N, H, W, C)`` uint8, N >= 2, H = W, C = 1 or 3
        labels: ``(N,)`` class of each image, in 0..num_classes-1
        num_classes: number of classes

    Raises:
        ValueError: if shapes, types or labels do not fit together
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_classes: int

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[3] not in (1, 3) or len(images) < 2:
            raise ValueError(
                f"images must be at least two, (N, H, W, 1 or 3) in uint8, not {images.shape} in {images.dtype}"
            )
        if labels.shape != images.shape[:1]:
            raise ValueError(f"labels must have the shape {images.shape[:1]}, not {labels.shape}")
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise ValueError(f"labels must lie in 0..{self.num_classes - 1}, not {labels.min()}..{labels.max()}")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of each channel; computed once for all trainings on these images."""
        return channel_statistics(self.images)


class ResidentImages:
    """Images on the device, as uint8 in channels-last order, with their batches as normalised floats.

    Args:
        images: ``(N, H, W, C)`` uint8
        mean: ``(C,)`` mean of each channel, for values in [0, 1]
        std: ``(C,)`` standard deviation of each channel, for values in [0, 1]
        device: where the images are kept
        layout (None): memory layout of the batches, by default channels last
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        device: torch.device,
        layout: torch.memory_format | None = None,
    ) -> None:
        self.layout = layout or torch.channels_last
        self.pixels = torch.as_tensor(images).to(device).permute(0, 3, 1, 2)
        means, stds = torch.from_numpy(mean), torch.from_numpy(std)
        self.scale = (1 / (255 * stds)).view(1, -1, 1, 1).to(device)
        self.shift = (means / stds).view(1, -1, 1, 1).to(device)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def size(self) -> int:
        """Height and width of the images in pixels."""
        return self.pixels.shape[-1]

    def batch(self, index: Tensor) -> Tensor:
        """``(B, C, H, W)`` normalised float32 images, in this object's layout.

        Args:
            index: ``(B,)`` indices of the images
        """
        floats = self.pixels[index].to(torch.float32, memory_format=self.layout)
        return self.in_layout(floats.mul_(self.scale).sub_(self.shift))

    def in_layout(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` images in this object's layout."""
        images = images.contiguous(memory_format=self.layout)
        if images.shape[1] == 1 and self.layout == torch.contiguous_format:
            # a single channel fits both layouts, and torch goes by its stride, which is new here
            images = images.squeeze(1).unsqueeze(1)
        return images


def channel_statistics(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel, exact, from the histogram of its 256 values.

    Args:
        images: ``(N, H, W, C)`` uint8

    Returns:
        ``(C,)`` mean and ``(C,)`` population standard deviation, for values scaled to [0, 1]; a constant channel gets
        the standard deviation 1
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[3]):
        # in parts, since bincount widens its input to 64 bits
        parts = np.array_split(images[..., channel], 16)
        counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
        share = counts / counts.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(math.sqrt(float(share @ (values - mean) ** 2)))
    return np.array(means, np.float32), np.array([std or 1.0 for std in stds], np.float32)
