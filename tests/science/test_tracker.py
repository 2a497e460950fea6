from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from fiftyone_learnability.science.scores import hits, learnability
from fiftyone_learnability.science.tracker import LearnabilityTracker


@dataclass
class Dynamics:
    """Recorded logits ``(T, N, K)`` and labels ``(N,)`` of a training that never was."""

    logits: np.ndarray
    labels: np.ndarray

    @property
    def num_samples(self) -> int:
        return len(self.labels)

    def expected(self) -> dict[str, np.ndarray]:
        """The pure functions on the softmax that scipy computes in double precision."""
        probabilities = softmax(self.logits.astype(np.float64), axis=2)
        true = np.take_along_axis(probabilities, self.labels[None, :, None], axis=2)[..., 0]
        return {"learnability": learnability(true), "hits": hits(self.logits.argmax(axis=2), self.labels)}


@st.composite
def dynamics(draw: st.DrawFn) -> Dynamics:
    epochs, samples, classes = draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(0, draw(st.sampled_from([0.1, 2.0, 50.0])), (epochs, samples, classes)).astype(np.float32)
    return Dynamics(logits, rng.integers(0, classes, samples))


def feed(
    tracker: LearnabilityTracker,
    recorded: Dynamics,
    epochs: slice = slice(None),
    samples: np.ndarray | None = None,
    batch: int = 4,
    seed: int = 0,
) -> None:
    """Feeds epochs and samples of the dynamics in shuffled batches."""
    rng = np.random.default_rng(seed)
    samples = np.arange(recorded.num_samples) if samples is None else samples
    for logits in recorded.logits[epochs]:
        order = rng.permutation(samples)
        for start in range(0, len(order), batch):
            index = order[start : start + batch]
            tracker.update(index, logits[index], recorded.labels[index])
        tracker.end_epoch()


def assert_scores(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], atol: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=atol, err_msg=name)


def some_dynamics(epochs: int = 5, samples: int = 7, classes: int = 3) -> Dynamics:
    rng = np.random.default_rng(51)
    return Dynamics(rng.normal(0, 2, (epochs, samples, classes)).astype(np.float32), rng.integers(0, classes, samples))


@given(dynamics(), st.integers(1, 10), st.integers(0, 100))
@settings(deadline=None)
def test_scores_equal_the_pure_functions(recorded: Dynamics, batch: int, seed: int) -> None:
    tracker = LearnabilityTracker(recorded.num_samples)
    feed(tracker, recorded, batch=batch, seed=seed)
    assert tracker.epochs == len(recorded.logits)
    assert_scores(tracker.scores(), recorded.expected())


@given(dynamics(), st.data())
@settings(deadline=None)
def test_merged_from_parts_of_the_samples_equals_fed_whole(recorded: Dynamics, data: st.DataObject) -> None:
    owner = np.array(data.draw(st.lists(st.integers(0, 2), min_size=recorded.num_samples, max_size=20)))
    owner = owner[: recorded.num_samples]
    merged = LearnabilityTracker(recorded.num_samples)
    for process in np.unique(owner):
        part = LearnabilityTracker(recorded.num_samples)
        feed(part, recorded, samples=np.flatnonzero(owner == process))
        merged.merge(part)
    whole = LearnabilityTracker(recorded.num_samples)
    feed(whole, recorded)
    assert_scores(merged.scores(), whole.scores(), atol=1e-12)
    assert merged.epochs == whole.epochs
    np.testing.assert_array_equal(merged.epoch_counts, whole.epoch_counts)


@given(dynamics(), st.integers(0, 6))
@settings(deadline=None)
def test_merged_from_parts_of_the_epochs_equals_fed_whole(recorded: Dynamics, cut: int) -> None:
    merged, later, whole = (LearnabilityTracker(recorded.num_samples) for _ in range(3))
    feed(merged, recorded, epochs=slice(None, cut))
    feed(later, recorded, epochs=slice(cut, None))
    feed(whole, recorded)
    merged.merge(later)
    assert_scores(merged.scores(), whole.scores(), atol=1e-12)
    assert merged.epochs == whole.epochs == len(recorded.logits)
    np.testing.assert_array_equal(merged.epoch_counts, whole.epoch_counts)


def test_merge_leaves_the_other_tracker_as_it_was() -> None:
    recorded = some_dynamics()
    first, second = LearnabilityTracker(7), LearnabilityTracker(7)
    feed(first, recorded)
    feed(second, recorded, epochs=slice(2))
    before = second.scores()
    first.merge(second)
    feed(first, recorded)
    assert_scores(second.scores(), before, atol=0)
    assert second.epochs == 2


def test_merge_rejects_another_number_of_samples() -> None:
    with pytest.raises(ValueError, match="tracker of 4 samples into one of 3"):
        LearnabilityTracker(3).merge(LearnabilityTracker(4))


@given(dynamics(), st.integers(0, 6))
@settings(deadline=None)
def test_a_saved_state_goes_on_where_it_stopped(recorded: Dynamics, cut: int) -> None:
    first, whole = LearnabilityTracker(recorded.num_samples), LearnabilityTracker(recorded.num_samples)
    feed(first, recorded, epochs=slice(None, cut))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = LearnabilityTracker(recorded.num_samples)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.epochs == first.epochs
    assert_scores(second.scores(), first.scores(), atol=0)
    feed(second, recorded, epochs=slice(cut, None))
    feed(whole, recorded)
    assert_scores(second.scores(), whole.scores(), atol=1e-12)


def test_a_state_is_a_copy() -> None:
    recorded = some_dynamics()
    tracker, other = LearnabilityTracker(7), LearnabilityTracker(7)
    feed(tracker, recorded, epochs=slice(1))
    before, state = tracker.scores(), tracker.state_dict()
    other.load_state_dict(state)
    feed(tracker, recorded, epochs=slice(1, None))
    assert_scores(other.scores(), before, atol=0)
    feed(other, recorded)
    again = LearnabilityTracker(7)
    again.load_state_dict(state)
    assert_scores(again.scores(), before, atol=0)


def test_loading_a_state_drops_the_epoch_under_way() -> None:
    recorded = some_dynamics()
    tracker = LearnabilityTracker(7)
    state = tracker.state_dict()
    tracker.update([0], [[9.0, 0.0, 0.0]], [0])
    tracker.load_state_dict(state)
    tracker.update([1], recorded.logits[0, [1]], recorded.labels[[1]])
    tracker.end_epoch()
    assert tracker.epoch_counts.tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_load_rejects_a_state_that_does_not_fit() -> None:
    state = LearnabilityTracker(3).state_dict()
    with pytest.raises(ValueError, match="3 samples; this tracker has 4"):
        LearnabilityTracker(4).load_state_dict(state)
    with pytest.raises(ValueError, match="version 99"):
        LearnabilityTracker(3).load_state_dict({**state, "version": 99})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_logits_of_any_float_type_get_a_float32_softmax(dtype: torch.dtype) -> None:
    recorded = some_dynamics(epochs=3, samples=40, classes=10)
    tracker = LearnabilityTracker(40)
    rounded = torch.from_numpy(recorded.logits).to(dtype)
    for logits in rounded:
        tracker.update(torch.arange(40), logits, torch.from_numpy(recorded.labels))
        tracker.end_epoch()
    # a softmax in half precision would be off by a thousandth
    assert_scores(tracker.scores(), Dynamics(rounded.double().numpy(), recorded.labels).expected(), atol=1e-6)


def test_huge_logits_do_not_overflow() -> None:
    tracker = LearnabilityTracker(3)
    tracker.update([0, 1, 2], [[1e30, 0.0], [-1e30, 0.0], [1e4, 1e4]], [0, 0, 1])
    tracker.end_epoch()
    assert_scores(tracker.scores(), {"learnability": np.array([1, 0, 0.5]), "hits": np.array([1, 0, 0])})


def test_sums_do_not_lose_precision_over_many_epochs() -> None:
    tracker, epochs = LearnabilityTracker(1), 3000
    for _ in range(epochs):
        tracker.update([0], [[0.1, 0.7]], [0])
        tracker.end_epoch()
    one = float(torch.tensor([0.1, 0.7]).softmax(0)[0])
    assert tracker.scores()["learnability"][0] == pytest.approx(one, rel=1e-12)


def test_a_sample_seen_twice_in_an_epoch_counts_once() -> None:
    recorded = some_dynamics()
    padded = np.array([0, 1, 2, 3, 4, 5, 6, 0, 1, 1])
    twice, once = LearnabilityTracker(7), LearnabilityTracker(7)
    for logits in recorded.logits:
        twice.update(padded, logits[padded], recorded.labels[padded])  # within a batch
        twice.update([3], logits[[3]], recorded.labels[[3]])  # in another batch
        twice.end_epoch()
    feed(once, recorded)
    assert_scores(twice.scores(), once.scores(), atol=0)
    assert twice.epoch_counts.tolist() == [5] * 7


def test_a_mean_is_over_the_epochs_that_saw_the_sample() -> None:
    tracker = LearnabilityTracker(4)
    sure, torn = [10.0, -10.0], [0.0, 0.0]
    tracker.update([0, 1, 2, 2], [sure, torn, sure, sure], [0, 1, 0, 0])
    assert tracker.end_epoch() == 2 / 3
    tracker.update([0], [torn], [0])
    assert tracker.end_epoch() == 1.0
    found = tracker.scores()
    np.testing.assert_allclose(found["learnability"], [0.75, 0.5, 1.0, np.nan], atol=1e-6)
    np.testing.assert_array_equal(found["hits"], [1.0, 0.0, 1.0, np.nan])
    assert tracker.epoch_counts.tolist() == [2, 1, 1, 0]
    assert tracker.epochs == 2


def test_the_epoch_under_way_is_not_in_the_scores() -> None:
    tracker = LearnabilityTracker(1)
    tracker.update([0], [[0.0, 0.0]], [0])
    assert np.isnan(tracker.scores()["learnability"]).all()
    assert tracker.epochs == 0


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_indices_of_any_whole_number_type_name_samples(kind: type) -> None:
    # bytes would be a mask if they went to torch as they are
    tracker = LearnabilityTracker(3)
    tracker.update(np.array([1, 2, 1], dtype=kind), np.eye(3, dtype=np.float32), [0, 1, 2])
    tracker.end_epoch()
    assert tracker.epoch_counts.tolist() == [0, 1, 1]


def test_update_leaves_no_graph_behind() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    tracker = LearnabilityTracker(2)
    tracker.update([0, 1], logits, [0, 1])
    assert not any(value.requires_grad for value in vars(tracker).values() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize(
    ("indices", "logits", "labels"),
    [
        ([0, 1], np.zeros((3, 2)), [0, 0, 0]),
        ([0, 1, 2], np.zeros((3, 2)), [0, 0]),
        ([0, 1, 2], np.zeros(3), [0, 0, 0]),
        (0, np.zeros((1, 2)), [0]),
        ([0], np.zeros((1, 2)), [[0]]),
    ],
)
def test_update_rejects_shapes_that_do_not_fit(indices: object, logits: np.ndarray, labels: object) -> None:
    with pytest.raises(ValueError, match=r"expected indices \(B,\), logits \(B, classes\) and labels \(B,\)"):
        LearnabilityTracker(3).update(indices, logits, labels)


def test_an_epoch_without_samples_is_an_error() -> None:
    tracker = LearnabilityTracker(2)
    with pytest.raises(ValueError, match="no sample was seen"):
        tracker.end_epoch()
    tracker.update([0, 1], np.zeros((2, 2)), [0, 0])
    tracker.end_epoch()
    with pytest.raises(ValueError, match="no sample was seen"):
        tracker.end_epoch()
    assert tracker.epochs == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("others", [True, False])
def test_logits_that_are_not_finite_are_an_error(value: float, others: bool) -> None:
    tracker = LearnabilityTracker(2)
    tracker.update([1], [[value, 0.0]], [0])
    if others:
        tracker.update([0], [[0.0, 0.0]], [0])
    with pytest.raises(FloatingPointError, match=f"1 of {1 + others} samples"):
        tracker.end_epoch()
    assert tracker.epochs == 0
    assert tracker.epoch_counts.tolist() == [0, 0]


@pytest.mark.parametrize("count", [0, -1])
def test_a_tracker_needs_samples(count: int) -> None:
    with pytest.raises(ValueError, match="num_samples must be positive"):
        LearnabilityTracker(count)


def test_epoch_counts_are_a_copy() -> None:
    tracker = LearnabilityTracker(2)
    tracker.epoch_counts[:] = 7
    assert tracker.epoch_counts.tolist() == [0, 0]
