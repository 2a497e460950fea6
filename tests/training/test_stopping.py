from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from fiftyone_learnability.training.options import DEFAULT_BOUND
from fiftyone_learnability.training.stopping import RankingStability


def learning(rng: np.random.Generator, epochs: int, samples: int = 200) -> np.ndarray:
    """Probabilities that rise with the epochs, for some samples sooner, with noise."""
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
    # in the end it is stable: a window is a small part of the training by then
    assert epochs == 1 or is_stable


def test_the_description_says_how_stable(rng: np.random.Generator) -> None:
    stability = RankingStability(200, 20)
    assert stability.bound == DEFAULT_BOUND
    for row in learning(rng, 4):
        stability.add(row)
    text = f"its Spearman correlation with the ranking 2 measured epochs earlier is {stability.correlation:.3f}"
    assert stability.describe() == text


def test_equal_samples_have_no_stable_ranking() -> None:
    stability = RankingStability(3, 4)
    assert not any(stability.add(np.full(3, 0.5, np.float32)) for _ in range(4))


def test_samples_with_unknown_probability_are_left_out(rng: np.random.Generator) -> None:
    probabilities = learning(rng, 30)
    some, all_of_them = RankingStability(201, 30), RankingStability(200, 30)
    for row in probabilities:
        assert some.add(np.append(row, np.float32(np.nan))) == all_of_them.add(row)
    assert some.correlation == all_of_them.correlation


def test_a_resumed_state_continues_where_it_was(rng: np.random.Generator) -> None:
    probabilities = learning(rng, 40)
    whole = RankingStability(200, 40)
    expected = [whole.add(row) for row in probabilities]
    for stop in range(40):
        first, second = RankingStability(200, 40), RankingStability(200, 40)
        stable = [first.add(row) for row in probabilities[:stop]]
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        second.load_state_dict(torch.load(buffer, weights_only=True))
        stable += [second.add(row) for row in probabilities[stop:]]
        assert stable == expected
        assert second.correlation == whole.correlation
