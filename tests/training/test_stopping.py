from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fiftyone_learnability.training.options import DEFAULT_BOUND
from fiftyone_learnability.training.stopping import RankingStability


def learning(rng: np.random.Generator, epochs: int, samples: int = 200) -> np.ndarray:
    """Probabilities that rise with the epochs, sooner for some samples, and waver."""
    ease, noise = rng.normal(0, 1, samples), rng.normal(0, 1, (epochs, samples))
    return (1 / (1 + np.exp(-(np.linspace(-2, 3, epochs)[:, None] + 2 * ease + noise)))).astype(np.float32)


@pytest.mark.parametrize(("epochs", "window"), [(1, 1), (14, 1), (20, 2), (60, 6), (200, 20)])
def test_a_ranking_is_stable_once_a_window_changes_it_little(
    epochs: int, window: int, rng: np.random.Generator
) -> None:
    probabilities = learning(rng, epochs)
    stability = RankingStability(200, epochs, 0.97)
    assert stability.window == window
    for epoch in range(1, epochs + 1):
        is_stable = stability.add(probabilities[epoch - 1])
        if epoch % window or epoch < 2 * window:
            assert not is_stable
        else:
            now, before = (probabilities[:end].mean(axis=0, dtype=np.float64) for end in (epoch, epoch - window))
            expected = spearmanr(now, before).statistic
            assert stability.correlation == pytest.approx(expected, abs=1e-9)
            assert is_stable == (expected >= 0.97)
    # at last it is: what comes is a small part of what has been
    assert epochs == 1 or is_stable


def test_it_says_how_stable(rng: np.random.Generator) -> None:
    stability = RankingStability(200, 20)
    assert stability.bound == DEFAULT_BOUND
    for row in learning(rng, 4):
        stability.add(row)
    text = f"it correlates to {stability.correlation:.3f} (Spearman) with that of 2 measured epochs before"
    assert stability.describe() == text


def test_what_nothing_can_be_said_of_is_not_stable() -> None:
    stability = RankingStability(3, 4)
    assert not any(stability.add(np.full(3, 0.5, np.float32)) for _ in range(4))


def test_samples_that_are_not_known_are_left_out(rng: np.random.Generator) -> None:
    probabilities = learning(rng, 30)
    some, all_of_them = RankingStability(201, 30), RankingStability(200, 30)
    for row in probabilities:
        assert some.add(np.append(row, np.float32(np.nan))) == all_of_them.add(row)
    assert some.correlation == all_of_them.correlation


def test_a_state_goes_on_where_it_was(rng: np.random.Generator) -> None:
    probabilities = learning(rng, 40)
    whole = RankingStability(200, 40)
    expected = [whole.add(row) for row in probabilities]
    for stop in range(40):
        first, second = RankingStability(200, 40), RankingStability(200, 40)
        found = [first.add(row) for row in probabilities[:stop]]
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second.load_state_dict(torch.load(buffer, weights_only=True))
        found += [second.add(row) for row in probabilities[stop:]]
        assert found == expected
        assert second.correlation == whole.correlation


@pytest.mark.parametrize(
    "change",
    [
        {"sum": torch.zeros(4, dtype=torch.float64)},
        {"sum": torch.zeros(3)},
        {"sum": None},
        {"before": torch.zeros((3, 1), dtype=torch.float64)},
        {"before": "yesterday"},
        {"epochs": 1.5},
        {"epochs": -1},
    ],
)
def test_a_state_of_something_else_is_refused(change: dict[str, Any]) -> None:
    stability = RankingStability(3, 10)
    stability.add(np.array([0.1, 0.2, 0.3], np.float32))
    with pytest.raises(ValueError, match="the state"):
        stability.load_state_dict({**stability.state_dict(), **change})
