"""Random crop and horizontal flip of a whole batch at once, with random numbers of its own for each image.

All random numbers of an epoch are drawn together, on the CPU, from (seed, epoch) alone: they are the same on every
device, take one transfer per epoch, and leave no generator state to save.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def epoch_seed(seed: int, epoch: int) -> int:
    """A 63-bit seed for the randomness of one epoch of one run.

    Args:
        seed: seed of the run, not negative
        epoch: the epoch, counted from 1; 0 for the initialisation of the network
    """
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1)


@dataclass(frozen=True)
class EpochDraws:
    """The random numbers of one epoch over N images.

    Attributes:
        order: ``(N,)`` permutation in which the images are shown
        rows: ``(N,)`` vertical offset of each image's crop in the padded image, 0..2*padding
        columns: ``(N,)`` horizontal offset of each image's crop, 0..2*padding
        flips: ``(N,)`` True for the images to flip
    """

    order: Tensor
    rows: Tensor
    columns: Tensor
    flips: Tensor

    @classmethod
    def draw(cls, num_images: int, padding: int, flip: bool, seed: int, epoch: int, device: torch.device) -> EpochDraws:
        """Draw the order of one epoch, and crop and flip of each image.

        Args:
            num_images: N
            padding: pixels of padding on each side; 0 for no crop
            flip: True flips half of the images
            seed: seed of the run
            epoch: the epoch, counted from 1
            device: where the numbers are needed
        """
        generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
        order = torch.randperm(num_images, generator=generator)
        rows, columns = torch.randint(2 * padding + 1, (2, num_images), generator=generator)
        flips = torch.randint(2, (num_images,), generator=generator, dtype=torch.bool)
        if not flip:
            flips.zero_()
        return cls(*(numbers.to(device, non_blocking=True) for numbers in (order, rows, columns, flips)))


def crop_and_flip(images: Tensor, rows: Tensor, columns: Tensor, flips: Tensor, padding: int) -> Tensor:
    """Cut a crop out of each zero-padded image, and mirror some of the crops.

    Args:
        images: ``(B, C, H, W)``, normalised, so that the zeros of the padding are the mean colour
        rows: ``(B,)`` vertical offset of the crop in the padded image, 0..2*padding; ``padding`` is the image itself
        columns: ``(B,)`` horizontal offset of the crop, 0..2*padding
        flips: ``(B,)`` bool, True mirrors the crop
        padding: pixels of padding on each side

    Returns:
        ``(B, C, H, W)``, channels last in memory
    """
    batch, _, height, width = images.shape
    device = images.device
    y = torch.arange(height, device=device) + rows[:, None]
    x = torch.arange(width, device=device)
    x = torch.where(flips[:, None], width - 1 - x, x) + columns[:, None]
    padded = F.pad(images, (padding,) * 4).permute(0, 2, 3, 1)
    index = torch.arange(batch, device=device)[:, None, None]
    # one gather does both; with channels last each pixel is one contiguous read
    return padded[index, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
