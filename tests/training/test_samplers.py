from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from fiftyone_learnability.scores.pacing import PACINGS, importance_weights, pacing
from fiftyone_learnability.training.samplers import CurriculumSampler, ImportanceSampler

STARTS = st.floats(0.001, 1)


class Numbered(Dataset[tuple[torch.Tensor, int]]):
    """Returns the value of a sample and its position."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.values[index], index


def test_draws_follow_the_probabilities_and_corrections_make_them_unbiased(rng: np.random.Generator) -> None:
    difficulty, losses = rng.random(8), rng.random(8)
    draws = 40_000
    sampler = ImportanceSampler(difficulty, 0.3, num_samples=draws, seed=3)
    drawn = np.array(list(sampler))
    assert len(drawn) == len(sampler) == draws
    probabilities, corrections = importance_weights(difficulty, 0.3)
    np.testing.assert_array_equal(sampler.probabilities, probabilities)
    np.testing.assert_allclose(sampler.corrections.numpy(), corrections, rtol=1e-6)
    shares = np.bincount(drawn, minlength=8) / draws
    # five standard deviations
    assert (np.abs(shares - probabilities) < 5 * np.sqrt(probabilities * (1 - probabilities) / draws)).all()
    weighted = sampler.corrections.numpy()[drawn] * losses[drawn]
    margin = 5 * np.sqrt((probabilities * (corrections * losses - losses.mean()) ** 2).sum() / draws)
    assert abs(weighted.mean() - losses.mean()) < margin
    # without the corrections the mean is biased
    assert abs(losses[drawn].mean() - losses.mean()) > margin


def test_importance_sampling_in_a_loop() -> None:
    """Gradients of corrected batches average to the gradient over all samples."""
    torch.manual_seed(0)
    values = torch.randn(24, 3)
    targets = values @ torch.tensor([1.0, -2.0, 0.5]) + torch.randn(24)
    weight = torch.zeros(3, requires_grad=True)
    losses = (values @ weight - targets) ** 2
    (expected,) = torch.autograd.grad(losses.mean(), weight)
    sampler = ImportanceSampler(losses.detach().numpy(), 0.5, num_samples=4000, seed=1)
    loader = DataLoader(Numbered(values), batch_size=400, sampler=sampler)
    assert len(loader) == 10
    total = torch.zeros(3)
    for batch, positions in loader:
        loss = ((batch @ weight - targets[positions]) ** 2 * sampler.corrections[positions]).mean()
        assert loss.dtype == torch.float32
        total += torch.autograd.grad(loss, weight)[0] / len(loader)
    per_sample = (2 * (values @ weight - targets)[:, None] * values).detach()
    p = torch.from_numpy(sampler.probabilities).float()[:, None]
    deviation = ((p * (per_sample / (24 * p) - expected) ** 2).sum(0) / 4000).sqrt()
    assert (abs(total - expected) < 5 * deviation).all()


def test_importance_epochs_differ_and_repeat() -> None:
    sampler = ImportanceSampler(np.linspace(0, 1, 50), seed=2)
    assert len(sampler) == 50
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(ImportanceSampler(np.linspace(0, 1, 50), seed=3)) != first


@given(
    st.permutations(range(20)),
    st.sampled_from(PACINGS),
    st.integers(1, 12),
    STARTS,
    st.integers(0, 15),
    st.integers(0, 3),
)
def test_an_epoch_is_a_pass_over_the_easiest(
    order: list[int], name: str, epochs: int, start: float, epoch: int, seed: int
) -> None:
    sampler = CurriculumSampler(order, name, epochs=epochs, start=start, seed=seed)
    sampler.set_epoch(epoch)
    share = pacing(name, min(1, epoch / epochs), start)
    available = max(1, round(20 * share))
    shown = list(sampler)
    assert sorted(shown) == sorted(order[:available])
    assert len(sampler) == sampler.num_available == available
    assert all(type(index) is int for index in shown)
    twin = CurriculumSampler(order, name, epochs=epochs, start=start, seed=seed)
    twin.set_epoch(epoch)
    assert list(twin) == shown == list(sampler)


@given(st.integers(1, 70), st.integers(0, 12))
def test_epochs_of_a_fixed_length(num_samples: int, epoch: int) -> None:
    order = list(range(100, 130))
    sampler = CurriculumSampler(order, epochs=10, start=0.1, num_samples=num_samples)
    sampler.set_epoch(epoch)
    shown = list(sampler)
    assert len(shown) == len(sampler) == num_samples
    available = order[: sampler.num_available]
    counts = Counter(shown)
    assert set(counts) <= set(available)
    # equally often, plus or minus once
    assert {counts[index] for index in available} <= {num_samples // len(available), -(-num_samples // len(available))}


def test_epochs_and_seeds_shuffle_differently() -> None:
    def shown(seed: int, epoch: int) -> list[int]:
        sampler = CurriculumSampler(range(40), start=1, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    orders = {tuple(shown(seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert tuple(range(40)) not in orders


def test_shuffling_is_uniform() -> None:
    counts = np.zeros((5, 5))
    sampler = CurriculumSampler(range(5), start=1)
    for epoch in range(1000):
        sampler.set_epoch(epoch)
        counts[np.arange(5), list(sampler)] += 1
    # expected 200 with a deviation of 12.6
    assert np.abs(counts - 200).max() < 5 * 12.7


def test_the_random_state_does_not_change() -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    list(CurriculumSampler(range(9)))
    list(ImportanceSampler([0.5, 0.7]))
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 1])
def test_a_curriculum_in_a_loader(workers: int) -> None:
    order = [7, 3, 9, 1, 0, 2, 4, 8, 6, 5]
    data = Numbered(torch.arange(10.0))
    sampler = CurriculumSampler(order, epochs=4, start=0.2)
    loader = DataLoader(data, batch_size=3, sampler=sampler, num_workers=workers, persistent_workers=workers > 0)
    sizes = []
    for epoch in range(6):
        sampler.set_epoch(epoch)
        batches = [positions.tolist() for _, positions in loader]
        assert len(batches) == len(loader)
        shown = [position for batch in batches for position in batch]
        assert sorted(shown) == sorted(order[: len(shown)])
        sizes.append(len(shown))
    assert sizes == [2, 4, 6, 8, 10, 10]


def test_learning_by_curriculum(digits: tuple[list[str], list[str]]) -> None:
    """A linear network on digits: first on those that were easy in an earlier training, later on all."""
    from tests.training.small import read_digits

    images, labels = read_digits(digits, 300, 8)
    values = torch.from_numpy(images.reshape(300, -1)).float() / 255
    targets = torch.from_numpy(labels)

    def fit(loader: DataLoader[Any], sampler: CurriculumSampler) -> torch.nn.Linear:
        torch.manual_seed(0)
        network = torch.nn.Linear(64, 10)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
        for epoch in range(20):
            sampler.set_epoch(epoch)
            for batch, positions in loader:
                optimizer.zero_grad()
                functional.cross_entropy(network(batch), targets[positions]).backward()
                optimizer.step()
        return network

    data = Numbered(values)
    plain = CurriculumSampler(range(300), start=1)
    teacher = fit(DataLoader(data, batch_size=30, sampler=plain), plain)
    with torch.no_grad():
        learnability = teacher(values).softmax(1)[torch.arange(300), targets].numpy()
    sampler = CurriculumSampler(np.argsort(-learnability), "root", epochs=10)
    network = fit(DataLoader(data, batch_size=30, sampler=sampler), sampler)
    with torch.no_grad():
        accuracy = (network(values).argmax(1) == targets).float().mean().item()
    assert accuracy > 0.9


@pytest.mark.parametrize(
    ("order", "options", "message"),
    [
        ([], {}, r"at least one sample, not \(0,\)"),
        ([[0, 1]], {}, r"at least one sample, not \(1, 2\)"),
        ([0.0, 1.0], {}, "whole numbers, not float64"),
        ([0, -1], {}, "positions of at least 0, not -1"),
        ([0, 1, 0], {}, "more than once"),
        ([0, 1], {"pacing": "cubic"}, "not 'cubic'"),
        ([0, 1], {"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ([0, 1], {"epochs": 1.5}, "epochs must be a whole number of at least 1, not 1.5"),
        ([0, 1], {"start": 0}, "start must be a number above 0"),
        ([0, 1], {"pacing": "root", "power": 0}, "power must be"),
        ([0, 1], {"pacing": "step", "steps": 0}, "steps must be"),
        ([0, 1], {"num_samples": 0}, "num_samples must be a whole number of at least 1, not 0"),
        ([0, 1], {"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_arguments_of_the_curriculum_are_checked(order: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CurriculumSampler(order, **options)


@pytest.mark.parametrize("options", [{"num_samples": 0}, {"seed": -1}, {"smoothing": 0}])
def test_arguments_of_the_importance_sampler_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        ImportanceSampler([0.5], **options)


def test_epochs_count_from_zero() -> None:
    for sampler in (CurriculumSampler([0, 1]), ImportanceSampler([0.5])):
        with pytest.raises(ValueError, match="epoch must be a whole number of at least 0, not -1"):
            sampler.set_epoch(-1)
        sampler.set_epoch(0)
