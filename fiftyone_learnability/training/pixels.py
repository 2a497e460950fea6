"""The images of a training, resident on the device."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class ResidentImages:
    """The images on the device, as uint8 in channels-last order, and their batches as normalised floats.

    Args:
        images: ``(N, H, W, C)`` uint8
        mean: ``(C,)`` mean of each channel, of values in [0, 1]
        std: ``(C,)`` standard deviation, likewise
        device: where they are kept
        layout (torch.channels_last): how batches lie in memory
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        mean: NDArray[np.float32],
        std: NDArray[np.float32],
        device: torch.device,
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        self.layout = layout
        self.pixels = torch.as_tensor(images).to(device).permute(0, 3, 1, 2)
        means, stds = torch.from_numpy(mean), torch.from_numpy(std)
        self.scale = (1 / (255 * stds)).view(1, -1, 1, 1).to(device)
        self.shift = (means / stds).view(1, -1, 1, 1).to(device)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, index: Tensor) -> Tensor:
        """``(B, C, H, W)`` normalised float32 images, in the layout that was asked for.

        Args:
            index: ``(B,)`` which images
        """
        floats = self.pixels[index].to(torch.float32, memory_format=self.layout)
        return floats.mul_(self.scale).sub_(self.shift)


def channel_statistics(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel, exact, from the histogram of its 256 values.

    Args:
        images: ``(N, H, W, C)`` uint8

    Returns:
        ``(C,)`` mean and ``(C,)`` population standard deviation, of values scaled to [0, 1]
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[3]):
        # in parts, since bincount widens what it is given to 64 bits
        parts = np.array_split(images[..., channel], 16)
        counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
        share = counts / counts.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(math.sqrt(float(share @ (values - mean) ** 2)))
    # a constant channel has no spread to scale by
    return np.array(means, np.float32), np.array([std or 1.0 for std in stds], np.float32)
