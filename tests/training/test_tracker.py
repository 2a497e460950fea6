from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from fiftyone_learnability.scores import formulas as scores
from fiftyone_learnability.training import epoch_buffer
from fiftyone_learnability.training.epoch_buffer import ROWS_AT_ONCE
from fiftyone_learnability.training.tracker import LearnabilityTracker

MEAN_OF_SINGLES = 1e-5  # the mean prediction is kept in float32


NAMES = ("learnability", "hits", "variability", "forgetting", "learned_epoch", "aum", "el2n", "ambiguity")


@dataclass
class Dynamics:
    """Logits ``(T, N, K)`` and labels ``(N,)`` of an imagined training."""

    logits: np.ndarray
    labels: np.ndarray

    @property
    def num_samples(self) -> int:
        return len(self.labels)

    @property
    def probabilities(self) -> np.ndarray:
        """The softmax by scipy, in double precision."""
        return softmax(self.logits.astype(np.float64), axis=2)

    def expected(self, el2n_epoch: int = 10, seen: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The pure functions on the epochs that saw each sample; ``seen`` is ``(T, N)``."""
        seen = np.ones(self.logits.shape[:2], dtype=bool) if seen is None else seen
        columns = [self._expected_of(sample, seen[:, sample], el2n_epoch) for sample in range(self.num_samples)]
        return {name: np.array([column[name] for column in columns]) for name in columns[0]}

    def _expected_of(self, sample: int, seen: np.ndarray, el2n_epoch: int) -> dict[str, float]:
        if not seen.any():
            return dict.fromkeys(NAMES, np.nan)
        logits, label = self.logits[seen, sample : sample + 1], self.labels[sample : sample + 1]
        p = self.probabilities[seen, sample : sample + 1]
        true, predicted = p[:, :, label[0]], logits.argmax(axis=2)
        early = el2n_epoch <= len(seen) and seen[el2n_epoch - 1]
        expected = {
            "learnability": scores.learnability(true),
            "hits": scores.hits(predicted, label),
            "variability": scores.variability(true),
            "forgetting": scores.forgetting(predicted == label),
            "learned_epoch": scores.learned_epoch(predicted == label),
            "aum": scores.aum(logits, label) if logits.shape[2] > 1 else [np.nan],
            "el2n": scores.el2n(self.probabilities[el2n_epoch - 1, [sample]], label) if early else [np.nan],
            "ambiguity": scores.ambiguity(scores.mean_prediction(p)),
        }
        return {name: float(expected[name][0]) for name in NAMES}


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
    """Feed epochs and samples of the dynamics in shuffled batches."""
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
        # margins may be large, and are computed in float32
        rtol = 1e-6 if name == "aum" and atol else 0.0
        limit = max(atol, MEAN_OF_SINGLES) if name == "ambiguity" and atol else atol
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=limit, err_msg=name)


def some_names(expected: dict[str, np.ndarray], tracker: LearnabilityTracker) -> dict[str, np.ndarray]:
    """The scores of a tracker that ``expected`` names."""
    return {name: tracker.scores()[name] for name in expected}


def some_dynamics(epochs: int = 5, samples: int = 7, classes: int = 3) -> Dynamics:
    rng = np.random.default_rng(51)
    return Dynamics(rng.normal(0, 2, (epochs, samples, classes)).astype(np.float32), rng.integers(0, classes, samples))


def arrays_of(tracker: LearnabilityTracker) -> list[torch.Tensor | np.ndarray]:
    """All arrays that the tracker holds."""
    arrays: list[torch.Tensor | np.ndarray] = []
    pending: list[object] = [tracker]
    while pending:
        held = pending.pop()
        if isinstance(held, (torch.Tensor, np.ndarray)):
            arrays.append(held)
        elif isinstance(held, (list, tuple)):
            pending += held
        elif hasattr(held, "__dict__"):
            pending += vars(held).values()
    return arrays


def tensor_bytes(tracker: LearnabilityTracker) -> int:
    """Memory of all arrays that the tracker holds."""
    return sum(array.nbytes for array in arrays_of(tracker))


@given(dynamics(), st.integers(1, 10), st.integers(0, 100), st.integers(1, 8))
@settings(deadline=None)
def test_scores_equal_the_pure_functions(recorded: Dynamics, batch: int, seed: int, el2n_epoch: int) -> None:
    tracker = LearnabilityTracker(recorded.num_samples, el2n_epoch=el2n_epoch)
    feed(tracker, recorded, batch=batch, seed=seed)
    assert tracker.epochs == len(recorded.logits)
    # the margin of large logits is as exact as the logits
    assert_scores(tracker.scores(), recorded.expected(el2n_epoch), atol=max(1e-6, 1e-7 * np.abs(recorded.logits).max()))
    mean = tracker.mean_prediction
    assert mean is not None
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, scores.mean_prediction(recorded.probabilities), rtol=0, atol=1e-6)
    accuracies = (recorded.logits.argmax(axis=2) == recorded.labels).mean(axis=1)
    np.testing.assert_allclose(tracker.accuracies, accuracies, rtol=1e-12)


@given(dynamics(), st.data())
@settings(deadline=None)
def test_epochs_that_do_not_see_a_sample_do_not_count_for_it(recorded: Dynamics, data: st.DataObject) -> None:
    epochs, samples = recorded.logits.shape[:2]
    seen = data.draw(hnp.arrays(np.bool_, (epochs, samples)))
    seen = seen[seen.any(axis=1)]
    recorded = Dynamics(recorded.logits[: len(seen)], recorded.labels)
    tracker = LearnabilityTracker(samples, el2n_epoch=2)
    for epoch, chosen in enumerate(seen):
        feed(tracker, recorded, epochs=slice(epoch, epoch + 1), samples=np.flatnonzero(chosen))
    np.testing.assert_array_equal(tracker.epoch_counts, seen.sum(axis=0))
    if len(seen):
        expected = recorded.expected(2, seen)
        assert_scores(tracker.scores(), expected, atol=max(1e-6, 1e-7 * np.abs(recorded.logits).max()))
        np.testing.assert_array_equal(np.isnan(tracker.mean_prediction).all(axis=1), ~seen.any(axis=0))


def test_processing_batches_together_gives_the_same_scores() -> None:
    count = 2 * ROWS_AT_ONCE + 77
    recorded = some_dynamics(epochs=2, samples=count, classes=4)
    small, large = LearnabilityTracker(count, el2n_epoch=1), LearnabilityTracker(count, el2n_epoch=1)
    feed(small, recorded, batch=100)
    feed(large, recorded, batch=count)
    assert_scores(small.scores(), large.scores(), atol=1e-6)
    some = np.arange(0, count, 500)
    part = Dynamics(recorded.logits[:, some], recorded.labels[some])
    assert_scores({name: values[some] for name, values in small.scores().items()}, part.expected(1))


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
    np.testing.assert_allclose(merged.accuracies, whole.accuracies, rtol=1e-12)
    assert merged.epochs == whole.epochs
    np.testing.assert_array_equal(merged.epoch_counts, whole.epoch_counts)


@given(dynamics(), st.integers(0, 6), st.integers(1, 8))
@settings(deadline=None)
def test_merged_from_parts_of_the_epochs_equals_fed_whole(recorded: Dynamics, cut: int, el2n_epoch: int) -> None:
    merged, later, whole = (LearnabilityTracker(recorded.num_samples, el2n_epoch=el2n_epoch) for _ in range(3))
    feed(merged, recorded, epochs=slice(None, cut))
    feed(later, recorded, epochs=slice(cut, None))
    feed(whole, recorded)
    merged.merge(later)
    expected = whole.scores()
    if el2n_epoch > cut > 0:
        # the later part does not know that its early epoch is not early in the whole run
        expected["el2n"][:] = np.nan
    assert_scores(merged.scores(), expected, atol=1e-8)
    assert merged.epochs == whole.epochs == len(recorded.logits)
    np.testing.assert_array_equal(merged.epoch_counts, whole.epoch_counts)
    np.testing.assert_array_equal(merged.accuracies, whole.accuracies)
    feed(merged, recorded)
    feed(whole, recorded)
    expected = {**whole.scores(), "el2n": merged.scores()["el2n"]}
    assert_scores(merged.scores(), expected, atol=1e-8)


@given(dynamics(), st.data())
@settings(deadline=None)
def test_merged_from_partial_epochs_equals_fed_whole(recorded: Dynamics, data: st.DataObject) -> None:
    """In each epoch some samples are missing."""
    epochs, samples = recorded.logits.shape[:2]
    seen = data.draw(hnp.arrays(np.bool_, (epochs, samples)))
    seen[:, 0] = True
    cut = data.draw(st.integers(0, epochs))
    merged, later, whole = (LearnabilityTracker(samples, el2n_epoch=epochs + 1) for _ in range(3))
    for epoch, chosen in enumerate(seen):
        for tracker in (whole, merged if epoch < cut else later):
            feed(tracker, recorded, epochs=slice(epoch, epoch + 1), samples=np.flatnonzero(chosen))
    merged.merge(later)
    assert_scores(merged.scores(), whole.scores(), atol=1e-8)
    np.testing.assert_array_equal(merged.epoch_counts, whole.epoch_counts)
    np.testing.assert_array_equal(merged.accuracies, whole.accuracies)


def test_parts_of_the_samples_with_unequal_epochs_share_the_epochs() -> None:
    recorded = some_dynamics()
    first, second = LearnabilityTracker(7), LearnabilityTracker(7)
    feed(first, recorded, epochs=slice(2), samples=np.arange(3))
    feed(second, recorded, samples=np.arange(3, 7))
    first.merge(second)
    assert first.epochs == 5
    assert first.epoch_counts.tolist() == [2] * 3 + [5] * 4
    correct = recorded.logits.argmax(axis=2) == recorded.labels
    np.testing.assert_allclose(first.accuracies, [*correct[:2].mean(axis=1), *correct[2:, 3:].mean(axis=1)])


def test_merging_an_empty_tracker_changes_nothing() -> None:
    tracker = LearnabilityTracker(2)
    # no epoch sees both samples
    tracker.update([0], [[1.0, 0.0]], [0])
    tracker.end_epoch()
    tracker.update([1], [[1.0, 0.0]], [0])
    tracker.end_epoch()
    before = tracker.scores()
    tracker.merge(LearnabilityTracker(2))
    assert tracker.epochs == 2
    assert tracker.accuracies.tolist() == [1.0, 1.0]
    assert_scores(tracker.scores(), before, atol=0)


def test_merge_does_not_change_the_other_tracker() -> None:
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


def test_merge_rejects_trackers_that_do_not_fit_and_changes_nothing() -> None:
    tracker = LearnabilityTracker(ids=["a", "b"])
    tracker.update(["a"], [[1.0, 0.0]], [0])
    tracker.end_epoch()
    before = tracker.scores()
    other = LearnabilityTracker(ids=["a", "b"])
    other.update(["a"], [[1.0, 0.0, 0.0]], [0])
    other.end_epoch()
    with pytest.raises(ValueError, match="logits of 3 classes; before there were 2"):
        tracker.merge(other)
    for ids in ({"ids": ["b", "a"]}, {"num_samples": 2}):
        with pytest.raises(ValueError, match="trackers of different ids"):
            tracker.merge(LearnabilityTracker(**ids))
    with pytest.raises(ValueError, match="keeps no predictions"):
        tracker.merge(LearnabilityTracker(ids=["a", "b"], predictions=False))
    assert_scores(tracker.scores(), before, atol=0)
    assert tracker.epochs == 1


def test_a_tracker_without_predictions_can_merge_one_with() -> None:
    recorded = some_dynamics()
    plain, full = LearnabilityTracker(7, predictions=False), LearnabilityTracker(7)
    feed(full, recorded)
    plain.merge(full)
    assert plain.mean_prediction is None
    assert_scores(plain.scores(), {name: full.scores()[name] for name in NAMES if name != "ambiguity"}, atol=0)


@given(dynamics(), st.integers(0, 6), st.booleans())
@settings(deadline=None)
def test_a_saved_state_continues_where_it_stopped(recorded: Dynamics, cut: int, predictions: bool) -> None:
    first, whole = (LearnabilityTracker(recorded.num_samples, el2n_epoch=3, predictions=predictions) for _ in range(2))
    feed(first, recorded, epochs=slice(None, cut))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = LearnabilityTracker(recorded.num_samples, predictions=predictions)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.epochs == first.epochs
    assert second.el2n_epoch == 3
    assert_scores(second.scores(), first.scores(), atol=0)
    feed(second, recorded, epochs=slice(cut, None))
    feed(whole, recorded)
    assert_scores(second.scores(), whole.scores(), atol=0)
    np.testing.assert_array_equal(second.accuracies, whole.accuracies)
    np.testing.assert_array_equal(second.epoch_counts, whole.epoch_counts)
    if cut < len(recorded.logits):
        np.testing.assert_array_equal(second.last_probabilities, whole.last_probabilities)
    if predictions:
        np.testing.assert_array_equal(second.mean_prediction, whole.mean_prediction)


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


def test_loading_a_state_drops_the_unfinished_epoch() -> None:
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
    plain = LearnabilityTracker(7, predictions=False)
    feed(plain, some_dynamics())
    with pytest.raises(ValueError, match="the state holds no predictions"):
        LearnabilityTracker(7).load_state_dict(plain.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_logits_of_any_float_type_get_a_float32_softmax(dtype: torch.dtype) -> None:
    recorded = some_dynamics(epochs=3, samples=40, classes=10)
    tracker = LearnabilityTracker(40)
    rounded = torch.from_numpy(recorded.logits).to(dtype)
    for logits in rounded:
        tracker.update(torch.arange(40), logits, torch.from_numpy(recorded.labels))
        tracker.end_epoch()
    # a softmax in half precision would have errors of a thousandth
    assert_scores(tracker.scores(), Dynamics(rounded.double().numpy(), recorded.labels).expected(), atol=1e-6)


def test_huge_logits_do_not_overflow() -> None:
    tracker = LearnabilityTracker(3)
    tracker.update([0, 1, 2], [[1e30, 0.0], [-1e30, 0.0], [1e4, 1e4]], [0, 0, 1])
    tracker.end_epoch()
    expected = {"learnability": np.array([1, 0, 0.5]), "hits": np.array([1, 0, 0]), "aum": np.array([1e30, -1e30, 0])}
    assert_scores(some_names(expected, tracker), expected)


def test_sums_do_not_lose_precision_over_many_epochs() -> None:
    tracker, epochs = LearnabilityTracker(1), 3000
    for _ in range(epochs):
        tracker.update([0], [[0.1, 0.7]], [0])
        tracker.end_epoch()
    one = float(torch.tensor([0.1, 0.7]).softmax(0)[0])
    assert tracker.scores()["learnability"][0] == pytest.approx(one, rel=1e-12)
    # the variability of a constant probability is exactly zero
    assert tracker.scores()["variability"][0] == 0.0


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


def test_the_unfinished_epoch_is_not_in_the_scores() -> None:
    tracker = LearnabilityTracker(1)
    tracker.update([0], [[0.0, 0.0]], [0])
    assert np.isnan(tracker.scores()["learnability"]).all()
    assert tracker.epochs == 0


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_indices_may_be_of_any_integer_type(kind: type) -> None:
    # torch would take bytes for a mask
    tracker = LearnabilityTracker(3)
    tracker.update(np.array([1, 2, 1], dtype=kind), np.eye(3, dtype=np.float32), [0, 1, 2])
    tracker.end_epoch()
    assert tracker.epoch_counts.tolist() == [0, 1, 1]


def test_update_leaves_no_graph_behind() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    tracker = LearnabilityTracker(2)
    tracker.update([0, 1], logits, [0, 1])
    tensors = [array for array in arrays_of(tracker) if isinstance(array, torch.Tensor)]
    assert len(tensors) > 10
    assert not any(tensor.requires_grad for tensor in tensors)


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


def test_the_last_occurrence_of_a_sample_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    sure, wrong = [9.0, 0.0], [0.0, 9.0]
    within, apart = LearnabilityTracker(2, el2n_epoch=1), LearnabilityTracker(2, el2n_epoch=1)
    within.update([0, 1, 0, 1], [sure, sure, wrong, wrong], [0, 1, 0, 1])
    # each batch of the other tracker is processed by itself
    monkeypatch.setattr(epoch_buffer, "ROWS_AT_ONCE", 1)
    for logits in (sure, wrong):
        apart.update([0, 1], [logits, logits], [0, 1])
    for tracker in (within, apart):
        assert tracker.end_epoch() == 0.5
    expected = Dynamics(np.array([[wrong, wrong]], np.float32), np.array([0, 1])).expected(1)
    for tracker in (within, apart):
        assert_scores(tracker.scores(), expected)


def test_equal_logits_predict_the_first_class() -> None:
    logits = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [2, 1, 2]], np.float32)
    labels = np.array([0, 1, 0, 2, 2])
    tracker = LearnabilityTracker(5)
    tracker.update(np.arange(5), logits, labels)
    tracker.end_epoch()
    assert tracker.scores()["hits"].tolist() == (logits.argmax(axis=1) == labels).astype(float).tolist()


def test_the_caller_may_change_the_batch_afterwards() -> None:
    recorded = some_dynamics(epochs=1)
    index, logits, labels = np.arange(7), recorded.logits[0].copy(), recorded.labels.copy()
    tracker = LearnabilityTracker(7)
    tracker.update(index, logits, labels)
    index[:], logits[:], labels[:] = 0, 0, 0
    tracker.end_epoch()
    assert_scores(tracker.scores(), recorded.expected())


def test_updates_may_come_from_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch_buffer, "ROWS_AT_ONCE", 1)
    recorded = some_dynamics()
    inside, outside = LearnabilityTracker(7, el2n_epoch=1), LearnabilityTracker(7, el2n_epoch=1)
    for logits in torch.from_numpy(recorded.logits):
        with torch.inference_mode():
            inside.update(torch.arange(7), logits * 1, torch.from_numpy(recorded.labels))
        inside.end_epoch()
    feed(outside, recorded)
    assert_scores(inside.scores(), outside.scores(), atol=1e-6)
    inside.merge(outside)
    with torch.inference_mode():
        feed(inside, recorded)
    feed(inside, recorded)
    assert inside.epoch_counts.tolist() == [20] * 7


def test_an_empty_batch_is_ignored() -> None:
    tracker = LearnabilityTracker(2)
    tracker.update([], np.zeros((0, 3)), [])
    with pytest.raises(ValueError, match="no sample was seen"):
        tracker.end_epoch()


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_is_an_error(index: int) -> None:
    tracker = LearnabilityTracker(3)
    with pytest.raises(IndexError, match=rf"indices must lie in 0\.\.2, not {min(0, index)}\.\.{max(0, index)}"):
        tracker.update([0, index], np.zeros((2, 2)), [0, 1])
    tracker.update([1], np.zeros((1, 2)), [0])
    tracker.end_epoch()
    assert tracker.epoch_counts.tolist() == [0, 1, 0]


@pytest.mark.parametrize("label", [-100, 2])
def test_a_label_that_is_not_a_class_is_an_error(label: int) -> None:
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        LearnabilityTracker(3).update([0, 1], np.zeros((2, 2)), [0, label])


@pytest.mark.parametrize("predictions", [True, False])
def test_the_number_of_classes_must_not_change(predictions: bool) -> None:
    tracker = LearnabilityTracker(3, predictions=predictions)
    tracker.update([0], [[1.0, 0.0]], [0])
    with pytest.raises(ValueError, match="logits of 3 classes; before there were 2"):
        tracker.update([1], [[1.0, 0.0, 0.0]], [0])
    tracker.end_epoch()
    again = LearnabilityTracker(3, predictions=predictions)
    again.load_state_dict(tracker.state_dict())
    for one in (tracker, again):
        with pytest.raises(ValueError, match="logits of 3 classes; before there were 2"):
            one.update([1], [[1.0, 0.0, 0.0]], [0])


def test_a_single_class_has_no_margin() -> None:
    recorded = some_dynamics(classes=1)
    tracker = LearnabilityTracker(7, el2n_epoch=1)
    feed(tracker, recorded)
    found = tracker.scores()
    assert np.isnan(found["aum"]).all()
    assert_scores(found, recorded.expected(1))
    assert found["learnability"].tolist() == [1.0] * 7
    assert found["ambiguity"].tolist() == [0.0] * 7


def test_classes_with_minus_infinity_have_no_probability() -> None:
    tracker = LearnabilityTracker(2, el2n_epoch=1)
    tracker.update([0, 1], [[1.0, -np.inf, 0.0], [-np.inf, 1.0, 0.0]], [0, 0])
    tracker.end_epoch()
    found = tracker.scores()
    assert found["aum"].tolist() == [1.0, -np.inf]
    assert found["learnability"][1] == 0.0
    assert np.isfinite(found["ambiguity"]).all()


def test_without_predictions_only_ambiguity_is_missing() -> None:
    recorded = some_dynamics()
    full, plain = LearnabilityTracker(7), LearnabilityTracker(7, predictions=False)
    feed(full, recorded)
    feed(plain, recorded)
    assert tuple(plain.scores()) == NAMES[:-1]
    assert_scores(plain.scores(), {name: full.scores()[name] for name in NAMES[:-1]}, atol=0)
    assert plain.mean_prediction is None
    assert LearnabilityTracker(7).mean_prediction is None
    assert tuple(LearnabilityTracker(7).scores()) == NAMES[:-1]


def test_el2n_is_nan_before_its_epoch_and_fixed_afterwards() -> None:
    recorded = some_dynamics(epochs=4)
    tracker = LearnabilityTracker(7, el2n_epoch=2)
    feed(tracker, recorded, epochs=slice(1))
    assert np.isnan(tracker.scores()["el2n"]).all()
    feed(tracker, recorded, epochs=slice(1, None))
    np.testing.assert_allclose(tracker.scores()["el2n"], recorded.expected(2)["el2n"], atol=1e-6)


def test_el2n_is_exact_near_zero() -> None:
    # computed as |p|^2 - 2 p_y + 1 it would have errors of a thousandth
    logits = np.array([[[12.0, 0.0, 0.0], [9.0, 0.0, 1.0]]], np.float32)
    recorded = Dynamics(logits, np.array([0, 0]))
    tracker = LearnabilityTracker(2, el2n_epoch=1)
    feed(tracker, recorded)
    np.testing.assert_allclose(tracker.scores()["el2n"], recorded.expected(1)["el2n"], rtol=0, atol=2e-7)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_samples_may_have_names(kind: type) -> None:
    recorded = some_dynamics()
    names = [f"sample {index}" for index in range(7)]
    named, numbered = LearnabilityTracker(ids=names), LearnabilityTracker(7)
    assert named.num_samples == 7
    assert named.ids == names
    order = np.array([4, 0, 6, 1, 2, 3, 5])
    for logits in recorded.logits:
        # torch's default_collate passes strings as a tuple or list
        named.update(kind([names[index] for index in order]), logits[order], recorded.labels[order])
        named.end_epoch()
    feed(numbered, recorded)
    assert_scores(named.scores(), numbered.scores(), atol=0)


@pytest.mark.parametrize("names", [[10, 20, 30], np.array([10, 20, 30]), torch.tensor([10, 20, 30])])
def test_names_may_be_numbers(names: object) -> None:
    tracker = LearnabilityTracker(ids=names)  # type: ignore[arg-type]
    assert tracker.ids == [10, 20, 30]
    for batch in (torch.tensor([30]), np.array([10]), [30]):
        tracker.update(batch, [[1.0, 0.0]], [0])
    tracker.end_epoch()
    assert tracker.epoch_counts.tolist() == [1, 0, 1]


def test_an_unknown_name_is_an_error() -> None:
    tracker = LearnabilityTracker(ids=["a", "b"])
    with pytest.raises(KeyError, match="'c' is not among the ids that the tracker was given"):
        tracker.update(["a", "c"], np.zeros((2, 2)), [0, 0])
    with pytest.raises(KeyError, match="0 is not among the ids"):
        tracker.update([0], np.zeros((1, 2)), [0])
    with pytest.raises(ValueError, match="no sample was seen"):
        tracker.end_epoch()


def test_the_arguments_of_a_tracker_are_checked() -> None:
    with pytest.raises(ValueError, match="ids holds some names more than once"):
        LearnabilityTracker(ids=["a", "b", "a"])
    for arguments in ({}, {"num_samples": 2, "ids": ["a", "b"]}):
        with pytest.raises(ValueError, match="give either num_samples or ids"):
            LearnabilityTracker(**arguments)
    with pytest.raises(ValueError, match="num_samples must be positive, not 0"):
        LearnabilityTracker(ids=[])
    with pytest.raises(ValueError, match="el2n_epoch must be positive, not 0"):
        LearnabilityTracker(2, el2n_epoch=0)


def test_memory_does_not_grow_with_the_epochs() -> None:
    recorded = some_dynamics(epochs=1, samples=200, classes=10)
    tracker = LearnabilityTracker(200)
    feed(tracker, recorded)
    before, state = tensor_bytes(tracker), tracker.state_dict()
    for _ in range(50):
        feed(tracker, recorded, batch=100)
    assert tensor_bytes(tracker) == before
    after = tracker.state_dict()
    assert {name: getattr(value, "shape", None) for name, value in after.items()} == {
        name: getattr(value, "shape", None) for name, value in state.items()
    }


def test_waiting_batches_take_bounded_memory() -> None:
    tracker = LearnabilityTracker(200, predictions=False)
    most, bound = 0, tensor_bytes(tracker) + (ROWS_AT_ONCE + 100) * (10 * 4 + 2 * 8)
    for _ in range(3 * ROWS_AT_ONCE // 100):
        tracker.update(np.arange(100), np.zeros((100, 10)), np.zeros(100, int))
        most = max(most, tensor_bytes(tracker))
    assert most <= bound


def shared_part(rank: int, folder: str, recorded: Dynamics, shares: list[np.ndarray]) -> None:
    """One process of a distributed run: it tracks its share of the samples, then shares each epoch."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(shares)
    )
    try:
        tracker = LearnabilityTracker(recorded.num_samples, el2n_epoch=2)
        for epoch, logits in enumerate(recorded.logits):
            # the second process sees nothing in the first and third epoch
            share = shares[rank] if rank == 0 or epoch not in (0, 2) else shares[rank][:0]
            tracker.update(share, logits[share], recorded.labels[share])
            tracker.share_epoch()
            tracker.end_epoch()
        torch.save((tracker.state_dict(), tracker.last_probabilities.tolist()), f"{folder}/{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_processes_that_share_their_epochs_have_the_whole_run(tmp_path: Path) -> None:
    recorded = some_dynamics(epochs=4, samples=9)
    # padded like torch's DistributedSampler; no process has the last sample
    shares = [np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7, 0])]
    torch.multiprocessing.spawn(shared_part, (str(tmp_path), recorded, shares), nprocs=2)
    seen = np.zeros((4, 9), bool)
    seen[:, shares[0]] = True
    seen[np.ix_([1, 3], shares[1])] = True
    single = LearnabilityTracker(9, el2n_epoch=2)
    for epoch, chosen in enumerate(seen):
        feed(single, recorded, epochs=slice(epoch, epoch + 1), samples=np.flatnonzero(chosen))
    for rank in range(2):
        state, last = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        tracker = LearnabilityTracker(9)
        tracker.load_state_dict(state)
        assert_scores(tracker.scores(), single.scores(), atol=0)
        np.testing.assert_array_equal(tracker.epoch_counts, single.epoch_counts)
        np.testing.assert_array_equal(tracker.accuracies, single.accuracies)
        np.testing.assert_array_equal(tracker.mean_prediction, single.mean_prediction)
        np.testing.assert_array_equal(np.array(last, np.float32), single.last_probabilities)


def test_sharing_needs_processes() -> None:
    with pytest.raises(RuntimeError, match=r"torch\.distributed, which is not initialised"):
        LearnabilityTracker(2).share_epoch()


def test_a_mistake_in_a_later_batch_is_reported_and_the_tracker_continues() -> None:
    recorded = some_dynamics()
    tracker = LearnabilityTracker(7)
    feed(tracker, recorded, epochs=slice(1))
    for index, message in ((np.array([3, -1]), r"0\.\.6, not -1\.\.6"), (np.array([3, 7]), r"0\.\.6, not 0\.\.7")):
        tracker.update(np.arange(7), recorded.logits[1], recorded.labels)
        tracker.update(index, recorded.logits[1][:2], recorded.labels[:2])
        with pytest.raises(IndexError, match=message):
            tracker.end_epoch()
    feed(tracker, recorded, epochs=slice(1, None))
    assert_scores(tracker.scores(), recorded.expected())


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0.7, 0.3]), np.array([0.0, 1.0]), [0.2, 1.0], torch.tensor([[0.7, 0.3], [0.1, 0.9]])],
    ids=["mixup", "whole floats", "list", "a share of each class"],
)
def test_soft_labels_are_refused(labels: object) -> None:
    tracker = LearnabilityTracker(2)
    with pytest.raises(ValueError, match=r"whole numbers, not float.*give the class with the largest share"):
        tracker.update([0, 1], torch.zeros(2, 2), labels)
    with pytest.raises(ValueError, match="indices must be whole numbers, not float32"):
        tracker.update(torch.tensor([0.0, 1.9]), torch.zeros(2, 2), [0, 1])


def test_the_labels_it_was_told_are_kept() -> None:
    tracker = LearnabilityTracker(4)
    assert tracker.labels.tolist() == [-1] * 4
    tracker.update([2, 0], torch.zeros(2, 3), [1, 2])
    tracker.end_epoch()
    assert tracker.labels.tolist() == [2, -1, 1, -1]
    restored = LearnabilityTracker(4)
    restored.load_state_dict(tracker.state_dict())
    assert restored.labels.tolist() == [2, -1, 1, -1]
    other = LearnabilityTracker(4)
    other.update([0, 3], torch.zeros(2, 3), [0, 0])
    other.end_epoch()
    restored.merge(other)
    assert restored.labels.tolist() == [0, -1, 1, 0]
    # states of earlier versions lack them
    restored.load_state_dict({name: value for name, value in tracker.state_dict().items() if name != "labels"})
    assert restored.labels.tolist() == [-1] * 4


def test_probabilities_in_place_of_logits_are_noticed_once(caplog: pytest.LogCaptureFixture) -> None:
    recorded = some_dynamics()
    tracker = LearnabilityTracker(7)
    feed(tracker, Dynamics(recorded.probabilities.astype(np.float32), recorded.labels))
    assert ["the logits are probabilities" in message for message in caplog.messages] == [True]
    caplog.clear()
    feed(LearnabilityTracker(7), recorded)
    log_probabilities = np.log(recorded.probabilities).astype(np.float32)
    feed(LearnabilityTracker(7), Dynamics(log_probabilities, recorded.labels))
    assert caplog.messages == []


def test_a_forgotten_end_of_an_epoch_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    recorded, tracker = some_dynamics(), LearnabilityTracker(7)
    for logits in recorded.logits:
        tracker.update(np.arange(7), logits, recorded.labels)
    assert tracker.pending == 35
    tracker.end_epoch()
    assert tracker.pending == 0
    assert caplog.messages == [
        "this epoch saw all 7 samples, 5 times each on average, and counts them as they were seen last: call "
        "end_epoch() after each epoch"
    ]
    caplog.clear()
    # samples drawn with replacement
    tracker = LearnabilityTracker(7)
    drawn = np.array([0, 0, 1, 2, 3, 3, 3] * 2)
    tracker.update(drawn, recorded.logits[0][drawn], recorded.labels[drawn])
    tracker.end_epoch()
    assert caplog.messages == []


def test_merging_an_epoch_under_way_is_refused() -> None:
    recorded, tracker, other = some_dynamics(), LearnabilityTracker(7), LearnabilityTracker(7)
    other.update([1, 2], recorded.logits[0][1:3], recorded.labels[1:3])
    with pytest.raises(ValueError, match=r"the other tracker has 2 rows of an epoch that has not ended: .* end_epoch"):
        tracker.merge(other)
