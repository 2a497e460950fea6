from __future__ import annotations

import numpy as np
import pytest

from .small import random_images


@pytest.fixture
def noise(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """50 random images of 12 pixels and their classes."""
    return random_images(rng, 50, 12, 3), rng.integers(0, 3, 50)
