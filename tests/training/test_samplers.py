from __future__ import annotations

import doctest
import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from fiftyone_learnability.scores.pacing import (
    KINDS,
    PACINGS,
    importance_weights,
    linear,
    pacing,
    root,
    self_paced_weights,
    step,
)
from fiftyone_learnability.training import samplers as curriculum
from fiftyone_learnability.training.samplers import CurriculumSampler, ImportanceSampler

STARTS = st.floats(0.001, 1)
PROGRESS = st.floats(0, 1)
DIFFICULTIES = st.lists(st.floats(0, 1e3), min_size=1, max_size=30)


class Numbered(Dataset[tuple[torch.Tensor, int]]):
    """Sample i is the vector of its value, and comes with its position."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.values[index], index


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(curriculum)
    assert result.attempted == 7
    assert result.failed == 0


# pacing


@given(STARTS, PROGRESS)
def test_linear_competence(start: float, progress: float) -> None:
    # Platanios et al. 2019, Eq. 3 with T = 1: min(1, t (1 - c0) / T + c0)
    assert linear(progress, start) == pytest.approx(min(1, progress * (1 - start) + start))


@given(STARTS, PROGRESS, st.floats(1, 10))
def test_root_competence(start: float, progress: float, power: float) -> None:
    # Platanios et al. 2019, Eq. 7 solved for t
    share = root(progress, start, power)
    assert (share**power - start**power) == pytest.approx(progress * (1 - start**power), abs=1e-12)
    assert root(progress, start, 1) == pytest.approx(linear(progress, start))


@given(STARTS, PROGRESS, st.integers(1, 20))
def test_fixed_exponential_pacing(start: float, progress: float, steps: int) -> None:
    # Hacohen and Weinshall 2019: min(starting_percent * inc ** floor(i / step_length), 1), counted one stair at a time
    # what is within rounding of a stair is tested below
    assume(all(progress == stair / steps or abs(progress - stair / steps) > 1e-6 for stair in range(1, steps + 1)))
    increase, share = (1 / start) ** (1 / steps), start
    for stair in range(1, steps + 1):
        if progress >= stair / steps:
            share = min(share * increase, 1)
    assert step(progress, start, steps) == pytest.approx(share)


@pytest.mark.parametrize("epochs", [3, 7, 22, 26, 100])
@pytest.mark.parametrize("steps", [1, 2, 5, 22, 26])
def test_no_stair_comes_late_by_rounding(epochs: int, steps: int) -> None:
    for epoch in range(epochs + 1):
        whole = epoch * steps // epochs
        assert step(epoch / epochs, 0.25, steps) == pytest.approx(0.25 ** (1 - whole / steps))


@given(st.sampled_from(PACINGS), STARTS, st.lists(PROGRESS, min_size=2, max_size=10))
def test_the_share_grows_from_start_to_all(name: str, start: float, progress: list[float]) -> None:
    assert pacing(name, 0, start) == pytest.approx(start)
    assert pacing(name, 1, start) == 1
    shares = [pacing(name, t, start) for t in sorted(progress)]
    assert all(0 < share <= 1 for share in shares)
    assert all(after >= before - 1e-15 for before, after in pairwise(shares))


def test_pacing_by_name() -> None:
    assert pacing("linear", 0.3, 0.1) == linear(0.3, 0.1)
    assert pacing("root", 0.3, 0.1, power=3) == root(0.3, 0.1, 3)
    assert pacing("step", 0.3, 0.1, steps=4) == step(0.3, 0.1, 4)
    assert len({pacing(name, 0.3) for name in PACINGS}) == 3


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cubic", {}, "pacing must be one of linear, root, step, not 'cubic'"),
        *[(name, {"progress": -0.1}, r"progress must lie in \[0, 1\], not -0.1") for name in PACINGS],
        *[(name, {"progress": math.nan}, r"progress must lie in \[0, 1\], not nan") for name in PACINGS],
        ("linear", {"progress": 1.1}, r"progress must lie in \[0, 1\], not 1.1"),
        *[(name, {"start": 0}, "start must be above 0 and at most 1, not 0") for name in PACINGS],
        ("linear", {"start": 1.5}, "start must be above 0 and at most 1, not 1.5"),
        ("root", {"power": 0.5}, "power must be a number of at least 1, not 0.5"),
        ("root", {"power": math.inf}, "power must be a number of at least 1, not inf"),
        ("step", {"steps": 0}, "steps must be at least 1, not 0"),
    ],
)
def test_pacing_refuses_what_does_not_fit(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pacing(name, **{"progress": 0.5, **options})


# self-paced weights


def regulariser(v: np.ndarray, threshold: float, kind: str) -> np.ndarray:
    if kind == "hard":
        return -threshold * v
    if kind == "linear":
        return threshold * (v**2 / 2 - v)
    zeta = 1 - threshold
    return zeta * v - zeta**v / math.log(zeta)


@given(st.floats(0, 2), st.floats(0.05, 0.95), st.sampled_from(KINDS))
def test_self_paced_weights_minimise_their_objective(difficulty: float, threshold: float, kind: str) -> None:
    v = np.linspace(0, 1, 1001)
    objective = v * difficulty + regulariser(v, threshold, kind)
    weight = self_paced_weights([difficulty], threshold, kind)
    assert 0 <= weight[0] <= 1
    mine = weight * difficulty + regulariser(weight, threshold, kind)
    # no weight on the grid does better
    assert mine[0] <= objective.min() + 1e-12
    if kind != "hard":
        # the objective is strictly convex: its smallest value on the grid lies beside its minimum
        assert abs(v[objective.argmin()] - weight[0]) <= 0.001 + 1e-6


@given(st.floats(1e-6, 1 - 1e-6))
def test_the_easiest_sample_counts_fully_and_no_more(threshold: float) -> None:
    for kind in KINDS:
        weight = self_paced_weights([0.0], threshold, kind)[0]
        assert 1 - 1e-9 <= weight <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_where_self_paced_weights_begin_and_end(kind: str) -> None:
    weights = self_paced_weights([0.0, 0.1, 0.2, 0.4, 0.400001, 7.0], 0.4, kind)
    assert weights[0] == pytest.approx(1, abs=1e-15)
    assert weights[3:].tolist() == [0, 0, 0]
    assert (weights[1:3] > 0).all()
    if kind != "hard":
        assert (np.diff(weights[:4]) < 0).all()
    else:
        assert weights[:3].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("difficulty", "options", "said"),
    [
        ([0.5], {"kind": "soft"}, "kind must be one of hard, linear, logarithmic, not 'soft'"),
        ([0.5], {"threshold": 0}, "threshold must be a positive number, not 0"),
        ([0.5], {"threshold": math.nan}, "threshold must be a positive number, not nan"),
        ([0.5], {"threshold": 1, "kind": "logarithmic"}, "threshold must be below 1 for logarithmic weights, not 1"),
        ([0.5, -0.1], {}, r"not negative, but lies in -0.1\.\.0.5"),
        ([0.5, math.inf], {}, "difficulty must be finite"),
        ([0.5, math.nan], {}, "NaN for 1 of 2 samples: leave out"),
        ([], {}, r"at least one sample, not \(0,\)"),
        ([[0.5]], {}, r"at least one sample, not \(1, 1\)"),
    ],
)
def test_self_paced_weights_refuse_what_does_not_fit(difficulty: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        self_paced_weights(difficulty, **{"threshold": 0.5, **options})
    if not options:
        with pytest.raises(ValueError, match=said):
            importance_weights(difficulty)


# importance sampling


@given(DIFFICULTIES, st.floats(0.01, 1), st.data())
def test_corrected_means_are_unbiased(difficulty: list[float], smoothing: float, data: st.DataObject) -> None:
    count = len(difficulty)
    losses = np.array(data.draw(st.lists(st.floats(-1e3, 1e3), min_size=count, max_size=count)))
    probabilities, corrections = importance_weights(difficulty, smoothing)
    assert (probabilities * corrections * losses).sum() == pytest.approx(losses.mean(), abs=1e-9)
    total = math.fsum(difficulty)
    if total > 0:
        expected = [(1 - smoothing) * (d / total) + smoothing / count for d in difficulty]
        np.testing.assert_allclose(probabilities, expected, rtol=1e-9)
    assert probabilities.sum() == pytest.approx(1)
    assert corrections.max() <= 1 / smoothing * (1 + 1e-12)


@given(DIFFICULTIES, st.floats(0.01, 1), st.data())
def test_the_bound_on_the_second_moment(difficulty: list[float], smoothing: float, data: st.DataObject) -> None:
    count = len(difficulty)
    losses = np.array(data.draw(st.lists(st.floats(0, 1e3), min_size=count, max_size=count)))
    probabilities, corrections = importance_weights(difficulty, smoothing)
    second_moment = (probabilities * (corrections * losses) ** 2).sum()
    assert second_moment <= (losses**2).mean() / smoothing * (1 + 1e-9)


def test_less_smoothing_is_less_variance_where_the_difficulty_is_right(rng: np.random.Generator) -> None:
    losses = rng.gamma(0.5, size=200)
    variances = []
    for smoothing in (1e-6, 0.1, 0.5, 1.0):
        probabilities, corrections = importance_weights(losses, smoothing)
        variances.append((probabilities * (corrections * losses - losses.mean()) ** 2).sum())
    assert variances == sorted(variances)
    assert variances[0] == pytest.approx(0, abs=1e-5)
    assert variances[-1] == pytest.approx(losses.var())


@pytest.mark.parametrize("difficulty", [[0.0] * 4, [3.0] * 4, [1e308] * 4, [5e-324] * 4])
def test_equal_difficulties_are_drawn_alike(difficulty: list[float]) -> None:
    probabilities, corrections = importance_weights(difficulty, 0.3)
    np.testing.assert_allclose(probabilities, [0.25] * 4)
    np.testing.assert_allclose(corrections, [1.0] * 4)


@pytest.mark.parametrize("smoothing", [0, -0.1, 1.1, math.nan])
def test_smoothing_must_fit(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing must be above 0 and at most 1, not"):
        importance_weights([0.5], smoothing)


def test_what_is_drawn_follows_the_probabilities_and_averages_right(rng: np.random.Generator) -> None:
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
    # without the corrections it is not the mean
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


# the curriculum


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
    # each equally often, give or take once
    assert {counts[index] for index in available} <= {num_samples // len(available), -(-num_samples // len(available))}


def test_epochs_and_seeds_shuffle_differently() -> None:
    def shown(seed: int, epoch: int) -> list[int]:
        sampler = CurriculumSampler(range(40), start=1, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    orders = {tuple(shown(seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert tuple(range(40)) not in orders


def test_shuffling_is_even() -> None:
    counts = np.zeros((5, 5))
    sampler = CurriculumSampler(range(5), start=1)
    for epoch in range(1000):
        sampler.set_epoch(epoch)
        counts[np.arange(5), list(sampler)] += 1
    # expected 200 with a deviation of 12.6
    assert np.abs(counts - 200).max() < 5 * 12.7


def test_the_random_state_is_left_alone() -> None:
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
    """A linear network on digits, first on the easy ones of an earlier training, later on all."""
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
    ("order", "options", "said"),
    [
        ([], {}, r"at least one sample, not \(0,\)"),
        ([[0, 1]], {}, r"at least one sample, not \(1, 2\)"),
        ([0.0, 1.0], {}, "whole numbers, not float64"),
        ([0, -1], {}, "positions of at least 0, not -1"),
        ([0, 1, 0], {}, "more than once"),
        ([0, 1], {"pacing": "cubic"}, "not 'cubic'"),
        ([0, 1], {"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ([0, 1], {"epochs": 1.5}, "epochs must be a whole number of at least 1, not 1.5"),
        ([0, 1], {"start": 0}, "start must be above 0"),
        ([0, 1], {"pacing": "root", "power": 0}, "power must be"),
        ([0, 1], {"pacing": "step", "steps": 0}, "steps must be"),
        ([0, 1], {"num_samples": 0}, "num_samples must be a whole number of at least 1, not 0"),
        ([0, 1], {"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_the_sampler_refuses_what_does_not_fit(order: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CurriculumSampler(order, **options)


@pytest.mark.parametrize("options", [{"num_samples": 0}, {"seed": -1}, {"smoothing": 0}])
def test_the_importance_sampler_refuses_what_does_not_fit(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        ImportanceSampler([0.5], **options)


def test_epochs_count_from_zero() -> None:
    for sampler in (CurriculumSampler([0, 1]), ImportanceSampler([0.5])):
        with pytest.raises(ValueError, match="epoch must be a whole number of at least 0, not -1"):
            sampler.set_epoch(-1)
        sampler.set_epoch(0)
