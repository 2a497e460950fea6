from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from fiftyone_learnability.training.augmentation import EpochDraws, crop_and_flip, epoch_seed

CPU = torch.device("cpu")


def one_by_one(
    images: np.ndarray, rows: np.ndarray, columns: np.ndarray, flips: np.ndarray, padding: int
) -> np.ndarray:
    """Crop and flip image by image."""
    _, height, width = images.shape[1:]
    results = []
    for image, row, column, flip in zip(images, rows, columns, flips, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        crop = padded[:, row : row + height, column : column + width]
        results.append(crop[:, :, ::-1] if flip else crop)
    return np.stack(results)


@given(
    batch=st.integers(1, 6),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    padding=st.integers(0, 4),
    seed=st.integers(0, 2**32),
    channels_last=st.booleans(),
)
@settings(deadline=None)
def test_each_image_gets_its_own_crop_and_flip(
    batch: int, channels: int, height: int, width: int, padding: int, seed: int, channels_last: bool
) -> None:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(batch, channels, height, width)).astype(np.float32)
    rows, columns = rng.integers(0, 2 * padding + 1, (2, batch))
    flips = rng.random(batch) < 0.5
    given_images = torch.from_numpy(images.copy())
    if channels_last:
        given_images = given_images.to(memory_format=torch.channels_last)
    found = crop_and_flip(
        given_images, torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(flips), padding
    )
    np.testing.assert_array_equal(found.numpy(), one_by_one(images, rows, columns, flips, padding))
    np.testing.assert_array_equal(given_images.numpy(), images)


def test_the_result_is_channels_last() -> None:
    offsets = torch.full((4,), 2)
    images = torch.rand(4, 3, 8, 8).to(memory_format=torch.channels_last)
    found = crop_and_flip(images, offsets, offsets, torch.zeros(4, dtype=torch.bool), 2)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, images, rtol=0, atol=0)


def as_lists(draws: EpochDraws) -> list[list[int]]:
    return [getattr(draws, name).tolist() for name in ("order", "rows", "columns", "flips")]


@given(seed=st.integers(0, 2**40), epoch=st.integers(1, 1000), state=st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_draws_depend_on_seed_and_epoch_alone(seed: int, epoch: int, state: int) -> None:
    first = as_lists(EpochDraws.draw(50, 4, True, seed, epoch, CPU))
    torch.manual_seed(state)
    np.random.seed(state)  # noqa: NPY002  the draws must not depend on it
    before = torch.get_rng_state()
    assert as_lists(EpochDraws.draw(50, 4, True, seed, epoch, CPU)) == first
    assert torch.equal(torch.get_rng_state(), before)
    for other in ((seed + 1, epoch), (seed, epoch + 1)):
        for mine, theirs in zip(first, as_lists(EpochDraws.draw(50, 4, True, *other, CPU)), strict=True):
            assert mine != theirs


def test_epoch_seeds_are_distinct_and_fit_into_63_bits() -> None:
    seeds = [epoch_seed(seed, epoch) for seed in range(60) for epoch in range(60)]
    assert len(set(seeds)) == 3600  # (1, 2) differs from (2, 1), so the seed is not their sum
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_all_offsets_and_both_flips_are_equally_likely() -> None:
    count, padding = 40_000, 4
    draws = EpochDraws.draw(count, padding, True, 51, 1, CPU)
    rows, columns, flips = draws.rows.numpy(), draws.columns.numpy(), draws.flips.numpy()
    cells = np.bincount(rows * 9 + columns, minlength=81)
    assert len(cells) == 81
    # the seed fixes the draws, so this cannot fail by chance
    assert chisquare(cells).pvalue > 0.001
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
    table = np.stack([np.bincount(rows[flips], minlength=9), np.bincount(rows[~flips], minlength=9)])
    assert chi2_contingency(table).pvalue > 0.001


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_the_order_is_a_permutation(count: int) -> None:
    draws = EpochDraws.draw(count, 4, True, 51, 3, CPU)
    assert sorted(draws.order.tolist()) == list(range(count))
    assert draws.rows.shape == draws.columns.shape == draws.flips.shape == (count,)
    if count == 1000:
        # uncorrelated with the order of the images
        assert abs(np.corrcoef(draws.order.numpy(), np.arange(count))[0, 1]) < 0.15


def test_without_flips_nothing_else_changes() -> None:
    with_flips, without = (EpochDraws.draw(100, 4, flip, 51, 3, CPU) for flip in (True, False))
    assert not without.flips.any()
    assert with_flips.flips.any()
    assert as_lists(with_flips)[:3] == as_lists(without)[:3]


def test_without_padding_the_crop_is_the_image() -> None:
    draws = EpochDraws.draw(100, 0, False, 51, 3, CPU)
    images = torch.rand(100, 3, 5, 5)
    assert torch.equal(crop_and_flip(images, draws.rows, draws.columns, draws.flips, 0), images)
