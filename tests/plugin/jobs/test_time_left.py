"""The time left of a job: of all of it, and steady."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from plugin.jobs.time_left import TimeLeft, round_duration


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def follow(
    weights: list[float], seconds: list[float], noise: float = 0.0, done: float = 0.0
) -> list[tuple[float, float]]:
    """Play trainings of such durations; return the estimates beside the seconds that are really left."""
    clock, rng = Clock(), random.Random(1)
    left = TimeLeft(weights, clock)
    pairs = []
    total = sum(seconds) * (1 - done)
    elapsed = 0.0
    while elapsed < total:
        at = elapsed + sum(seconds) * done
        index = next(i for i in range(len(seconds)) if at < sum(seconds[: i + 1]) or i == len(seconds) - 1)
        inner = (at - sum(seconds[:index])) / seconds[index]
        estimate = left.update((index + inner) / len(seconds))
        if estimate is not None:
            pairs.append((estimate, total - elapsed))
        elapsed += 1
        clock.now += 1 + rng.uniform(-noise, noise)
    return pairs


def test_the_time_left_is_that_of_the_whole_job() -> None:
    # the second network is four times as slow, which the weights know
    for estimate, really in follow([1.0, 4.0], [100, 400]):
        assert estimate == pytest.approx(really, abs=1)


def test_weights_that_are_wrong_are_corrected_without_jumps() -> None:
    estimates = follow([1.0, 1.0], [100, 400])
    for (before, _), (after, _) in pairwise(estimates):
        assert abs(after - before) < 12
    assert estimates[-1][0] < 10


def test_unequal_epochs_do_not_make_it_jump() -> None:
    estimates = [round_duration(estimate) for estimate, _ in follow([1.0], [200], noise=0.5)]
    rising = [after - before for before, after in pairwise(estimates) if after > before]
    assert len(rising) <= 3
    assert max(rising, default=0) <= 5 or estimates[0] > 90


def test_a_resumed_job_counts_only_its_own_work() -> None:
    for estimate, really in follow([1.0], [200], done=0.5):
        assert estimate == pytest.approx(really, abs=1)


@pytest.mark.parametrize(
    ("seconds", "rounded"), [(0.0, 5), (7.0, 5), (22.0, 20), (89.0, 90), (100.0, 120), (3700.0, 3600), (4000.0, 3900)]
)
def test_durations_are_rounded(seconds: float, rounded: float) -> None:
    assert round_duration(seconds) == rounded
