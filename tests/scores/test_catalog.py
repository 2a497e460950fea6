from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from fiftyone_learnability.scores import formulas as scores
from fiftyone_learnability.scores.catalog import DEFAULT_SCORES, MEASURED_SCORES, OPTIONAL_SCORES, SCORES, choose_scores

IN_A_RUN = tuple(name for name in MEASURED_SCORES if name != "spread")


def score_all(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Every score of one run from its logits ``(T, N, classes)``."""
    p = softmax(logits, axis=2)
    true = np.take_along_axis(p, labels[None, :, None], axis=2)[..., 0]
    correct = p.argmax(axis=2) == labels
    easy = scores.learnability(true)
    return {
        "learnability": easy,
        "rank": scores.learnability_rank(easy),
        "hits": scores.hits(p.argmax(axis=2), labels),
        "variability": scores.variability(true),
        "forgetting": scores.forgetting(correct),
        "learned_epoch": scores.learned_epoch(correct),
        "aum": scores.aum(logits, labels),
        "el2n": scores.el2n(p[0], labels),
        "ambiguity": scores.ambiguity(scores.mean_prediction(p)),
    }


def test_each_score_has_its_name_as_key() -> None:
    assert all(name == score.name for name, score in SCORES.items())
    assert len({score.title for score in SCORES.values()}) == len(SCORES)
    assert all(score.description for score in SCORES.values())


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(2, 6), st.sampled_from([0.01, 1.0, 30.0]))
def test_the_values_lie_within_the_limits(seed: int, epochs: int, classes: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    result = score_all(rng.normal(0, scale, (epochs, 9, classes)), rng.integers(0, classes, 9))
    assert tuple(result) == IN_A_RUN
    for name, values in result.items():
        least, most = SCORES[name].limits
        assert least is None or values.min() >= least, name
        assert most is None or values.max() <= most + 1e-12, name
        if SCORES[name].is_integer:
            finite = values[np.isfinite(values)]
            np.testing.assert_array_equal(finite, np.round(finite), err_msg=name)


def test_the_limits_are_reached() -> None:
    sure, wrong = [60.0, 0.0], [0.0, 60.0]
    result = score_all(np.array([[sure, wrong, sure], [sure, wrong, wrong]]), np.array([0, 0, 0]))
    for name, score in SCORES.items():
        if name in result:
            for limit in score.limits:
                assert limit is None or np.isclose(result[name], limit, atol=1e-12).any(), name
    assert result["forgetting"].tolist() == [0.0, np.inf, 1.0]


def test_the_hard_end_is_that_of_a_contradicted_sample() -> None:
    """The first sample is learned at once. The label of the second is wrong, and the network ends up against it."""
    clean = [[2.0, 0.0, 0.0], [5.0, 0.0, 0.0], [9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]
    contradicted = [[0.1, 0.0, 0.3], [1.0, 0.9, 0.0], [0.0, 3.0, 0.0], [0.0, 3.0, 0.0]]
    result = score_all(np.stack([clean, contradicted], axis=1), np.array([0, 0]))
    for name, (easy, hard) in result.items():
        assert hard != easy, name
        assert (hard < easy) == SCORES[name].hard_when_low, name


def test_the_default_is_learnability_and_rank() -> None:
    assert choose_scores(None) == choose_scores([]) == DEFAULT_SCORES == ("learnability", "rank")


def test_the_optional_scores_are_the_others_that_training_measures() -> None:
    assert {*DEFAULT_SCORES, *OPTIONAL_SCORES} == set(MEASURED_SCORES) == SCORES.keys() - {"disagreement"}
    assert not set(DEFAULT_SCORES) & set(OPTIONAL_SCORES)


def test_all_omits_the_spread_of_a_single_run() -> None:
    assert choose_scores("all") == IN_A_RUN
    assert choose_scores("all", runs=2) == MEASURED_SCORES


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_the_order_is_that_of_the_catalog(kind: type) -> None:
    assert choose_scores(kind(["ambiguity", "hits"])) == ("learnability", "rank", "hits", "ambiguity")


def test_a_single_name_is_a_list_of_one() -> None:
    assert choose_scores("aum") == ("learnability", "rank", "aum")
    assert choose_scores("spread", runs=3) == ("learnability", "rank", "spread")


@given(st.lists(st.sampled_from(MEASURED_SCORES)))
def test_each_requested_score_is_chosen_once(names: list[str]) -> None:
    chosen = choose_scores(names, runs=2)
    assert set(chosen) == {*names, *DEFAULT_SCORES}
    assert len(set(chosen)) == len(chosen)
    assert choose_scores(chosen, runs=2) == chosen


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown score 'loss': choose from learnability, rank, hits, "):
        choose_scores(["hits", "loss"])


@pytest.mark.parametrize("names", [3, {"hits": True}, True])
def test_values_other_than_names_are_refused(names: object) -> None:
    with pytest.raises(ValueError, match="scores must be a list of names or 'all', not"):
        choose_scores(names)


@pytest.mark.parametrize("names", ["spread", ["hits", "spread"]])
def test_the_spread_needs_several_runs(names: object) -> None:
    with pytest.raises(ValueError, match="several runs: set runs=2 or more"):
        choose_scores(names)


def test_scores_of_several_networks_are_not_measured_in_a_training() -> None:
    derived = [name for name, score in SCORES.items() if score.derived]
    assert derived == ["disagreement"]
    for name in derived:
        with pytest.raises(ValueError, match=f"unknown score '{name}'"):
            choose_scores([name], runs=2)
