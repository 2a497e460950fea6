"""Accumulates the scores of one training run while it is under way, in any training loop.

    tracker = LearnabilityTracker(num_samples=len(dataset))
    for epoch in range(epochs):
        ...                                             # train
        for ids, images, labels in evaluation_batches:  # or the training batches themselves
            tracker.update(ids, model(images), labels)
        tracker.end_epoch()
    tracker.scores()["learnability"]

Memory does not grow with the epochs: an epoch is buffered where the logits are, without waiting for a GPU, and added to
sums when it ends. That takes O(N), plus O(N x classes) for the mean prediction, which can be switched off. A sample
that an epoch sees twice counts once, as it was seen last. A sample that an epoch does not see is not counted there: its
scores are those of the epochs that saw it.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..scores.checks import are_probabilities
from ..scores.formulas import FloatArray, IntArray, ambiguity, mean_over_epochs
from .epoch_buffer import NUMBERS_AT_ONCE, OUTSIDE_INFERENCE, EpochBuffer
from .run_sums import RunSums

_logger = logging.getLogger(__name__)

_STATE_VERSION = 2


class LearnabilityTracker:
    """Accumulates the difficulty scores of one training run over N samples.

    Args:
        num_samples (None): N; the samples are then called by the indices 0..N-1
        device ("cpu"): where an epoch is buffered: the device of the logits, so that nothing waits for a GPU
        ids (None): in place of ``num_samples``, the names of the N samples, such as the ids of a FiftyOne dataset;
            :meth:`update` then takes names
        predictions (True): True keeps the mean prediction, which suggested labels and ambiguity need: eight bytes per
            sample and class
        el2n_epoch (10): the early epoch after which EL2N is taken

    Raises:
        ValueError: if N is not positive, a name is given twice, or ``el2n_epoch`` is not positive
    """

    def __init__(
        self,
        num_samples: int | None = None,
        device: str | torch.device = "cpu",
        *,
        ids: Sequence[Hashable] | None = None,
        predictions: bool = True,
        el2n_epoch: int = 10,
    ) -> None:
        if (num_samples is None) == (ids is None):
            raise ValueError("give either num_samples or ids")
        count = len(ids) if ids is not None else int(num_samples or 0)
        if count < 1:
            raise ValueError(f"num_samples must be positive, not {count}")
        if el2n_epoch < 1:
            raise ValueError(f"el2n_epoch must be positive, not {el2n_epoch}")
        self.num_samples = count
        self.ids = None if ids is None else _as_list(ids)
        self.el2n_epoch = el2n_epoch
        self._position = None if self.ids is None else {name: index for index, name in enumerate(self.ids)}
        if self._position is not None and len(self._position) < count:
            raise ValueError("ids holds some names more than once")
        self._buffer = EpochBuffer(count, torch.device(device), predictions)
        self._sums = RunSums.zeros(count)
        # made when the number of classes is known
        self._prediction_sum: Tensor | None = None
        self._epoch_hits: list[int] = []
        self._epoch_seen: list[int] = []
        self._last = np.full(count, np.nan, np.float32)
        self._is_checked = self._is_warned = False

    @property
    def last_probabilities(self) -> NDArray[np.float32]:
        """``(N,)`` probability of the true label in the latest finished epoch, NaN where it was not seen."""
        return self._last

    @property
    def labels(self) -> IntArray:
        """``(N,)`` class of each sample, as :meth:`update` was given it last; -1 where it is not known."""
        return self._buffer.label.cpu().numpy().astype(np.int64)

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self._epoch_seen)

    @property
    def pending(self) -> int:
        """Number of rows that :meth:`update` has recorded since the last epoch ended; no score counts them yet."""
        return self._buffer.rows

    @property
    def epoch_counts(self) -> IntArray:
        """``(N,)`` number of epochs that saw each sample."""
        return self._sums.epoch_count.numpy().copy()

    @property
    def accuracies(self) -> FloatArray:
        """``(T,)`` share of the samples seen that were classified correctly, after each epoch."""
        return np.array(self._epoch_hits, dtype=np.float64) / np.array(self._epoch_seen, dtype=np.float64)

    @property
    def mean_prediction(self) -> NDArray[np.float32] | None:
        """``(N, classes)`` mean over epochs of the probabilities, NaN where no epoch saw the sample.

        None if it is not kept, or before the first epoch has ended.
        """
        if self._prediction_sum is None:
            return None
        epochs = self._sums.epoch_count.numpy()[:, None]
        return mean_over_epochs(self._prediction_sum.cpu().numpy(), epochs).astype(np.float32)

    def update(self, indices: Any, logits: Any, labels: Any) -> None:
        """Record the logits of a batch in the current epoch.

        Args:
            indices: ``(B,)`` indices of the samples, in 0..N-1; or their names, if the tracker was given ``ids``
            logits: ``(B, classes)`` logits of any float type, a tensor or an array; the softmax is taken in float32.
                If those of the first batch are probabilities, a warning says so, unless the tracker is on a GPU
            labels: ``(B,)`` true class of each sample, an index into the classes

        Raises:
            ValueError: if the shapes do not fit, the number of classes changes, or a label is not one of the classes or
                no whole number, as soft labels are not
            IndexError: if an index is out of range. Indices and labels of the first batch of an epoch are checked at
                once, later ones when some thousand rows have come; those on a GPU, which is not waited for, when the
                epoch ends
            KeyError: if a name is not among ``ids``
        """
        self._buffer.needs_error = self._is_el2n_epoch
        self._buffer.add(self._positions_of(indices), logits, labels)
        if self._buffer.can_look and not self._is_checked:
            self._is_checked = True
            if are_probabilities(torch.as_tensor(logits).detach().double().cpu().numpy()):
                _logger.warning(
                    "the logits are probabilities (each row sums to 1, no value is negative), so all scores will be "
                    "wrong: give update() what the network computes before its softmax"
                )

    @property
    def _is_el2n_epoch(self) -> bool:
        """True if EL2N is taken after the epoch under way."""
        return self.epochs + 1 == self.el2n_epoch

    def _positions_of(self, names: Any) -> Any:
        if self._position is None:
            return names
        try:
            return [self._position[name] for name in _as_list(names)]
        except KeyError as error:
            raise KeyError(f"{error.args[0]!r} is not among the ids that the tracker was given") from None

    @OUTSIDE_INFERENCE
    def end_epoch(self) -> float:
        """Add the epoch to the sums; waits for the device once.

        Returns:
            the share of the samples seen in this epoch that were classified correctly

        Raises:
            ValueError: if no sample was seen since the last epoch ended, or a label on a GPU is not one of the classes;
                the epoch is dropped then
            IndexError: if an index on a GPU is out of range; the epoch is dropped then
            FloatingPointError: if the probability of a sample is not a number
        """
        try:
            epoch = self._buffer.read()
        except (IndexError, ValueError):
            self._buffer.clear()
            raise
        num_seen = int(epoch.seen.sum())
        if num_seen == 0:
            raise ValueError("no sample was seen in this epoch: call update() before end_epoch()")
        if num_invalid := int(epoch.probability.isnan().sum()):
            raise FloatingPointError(f"{num_invalid} of {num_seen} samples have logits that are not finite")
        self._last = torch.where(epoch.seen, epoch.probability, torch.nan).numpy()
        # first, because it may need memory of the device
        if self._buffer.prediction is not None:
            self._add_predictions(self._buffer.prediction)
        self._sums.add(epoch, takes_error=self._is_el2n_epoch)
        times, rest = divmod(self._buffer.rows, self.num_samples)
        # a sampler that draws with replacement hardly ever sees all samples
        if times > 1 and not rest and num_seen == self.num_samples and not self._is_warned:
            self._is_warned = True
            _logger.warning(
                f"this epoch saw all {num_seen} samples, {times} times each on average, and counts them as they were "
                "seen last: call end_epoch() after each epoch"
            )
        num_hits = int(epoch.hit.sum())
        self._epoch_hits.append(num_hits)
        self._epoch_seen.append(num_seen)
        self._buffer.clear()
        return num_hits / num_seen

    def _add_predictions(self, predictions: Tensor) -> None:
        if self._prediction_sum is None:
            self._prediction_sum = torch.zeros(predictions.shape, dtype=torch.float32, device=self._buffer.device)
        self._prediction_sum += predictions.to(self._buffer.device)

    def scores(self) -> dict[str, FloatArray]:
        """The scores over the finished epochs.

        Returns:
            ``(N,)`` each: learnability, hits, variability, forgetting, learned_epoch, aum, el2n, and ambiguity if
            predictions are kept; see :mod:`fiftyone_learnability.scores.formulas` for the formulas. NaN where no epoch
            saw the sample; el2n is NaN until its epoch has ended, and aum if there is one class only. For each sample
            only the epochs that saw it count.
        """
        scores = self._sums.scores()
        prediction = self.mean_prediction
        if prediction is not None:
            scores["ambiguity"] = np.full(self.num_samples, np.nan)
            seen = np.flatnonzero(self.epoch_counts)
            # in parts, because the entropy is taken in double precision
            for part in np.array_split(seen, max(1, prediction.size // NUMBERS_AT_ONCE)):
                scores["ambiguity"][part] = ambiguity(prediction[part])
        return scores

    @OUTSIDE_INFERENCE
    def share_epoch(self) -> None:
        """Combine the epoch under way from all processes of a distributed run, so that each process has all of it.

        Call it in every process before :meth:`end_epoch`. A sample that several processes have seen (torch's
        DistributedSampler repeats samples to pad) counts once, as the first of these processes saw it.

        Raises:
            RuntimeError: if torch.distributed is not initialised
        """
        import torch.distributed as dist

        if not dist.is_initialized():
            raise RuntimeError("share_epoch() needs the processes of torch.distributed, which is not initialised")
        self._buffer.share()

    @OUTSIDE_INFERENCE
    def merge(self, other: LearnabilityTracker) -> None:
        """Add the epochs of another tracker of the same run: those of other samples, or later epochs.

        Where both trackers have seen a sample, the epochs of the other one count as later. If they have no sample in
        common, their epochs count as the same ones. Epochs under way are not merged: end them first. To combine the
        processes of a distributed run after every epoch, use :meth:`share_epoch`.

        Args:
            other: a tracker over the same N samples; it does not change

        Raises:
            ValueError: if the other tracker has another N, other ids, another number of classes or an epoch under way,
                or lacks the predictions that this one keeps
        """
        if other.num_samples != self.num_samples:
            raise ValueError(f"cannot merge a tracker of {other.num_samples} samples into one of {self.num_samples}")
        if other.ids != self.ids:
            raise ValueError("cannot merge trackers of different ids")
        if other.pending:
            raise ValueError(
                f"the other tracker has {other.pending} rows of an epoch that has not ended: call its end_epoch() first"
            )
        if self._buffer.keep_predictions and not other._buffer.keep_predictions:
            raise ValueError("the other tracker keeps no predictions: create this one with predictions=False too")
        self._buffer.set_classes(other._buffer.classes or self._buffer.classes)
        if other._prediction_sum is not None and self._buffer.keep_predictions:
            self._add_predictions(other._prediction_sum)
        if bool(((self._sums.epoch_count > 0) & (other._sums.epoch_count > 0)).any()):
            self._epoch_hits += other._epoch_hits
            self._epoch_seen += other._epoch_seen
        else:
            self._epoch_hits = _add_by_position(self._epoch_hits, other._epoch_hits)
            self._epoch_seen = _add_by_position(self._epoch_seen, other._epoch_seen)
        self._sums.merge(other._sums)
        known = torch.from_numpy(other.labels).to(self._buffer.label)
        self._buffer.label = torch.where(known >= 0, known, self._buffer.label)

    def drop_epoch(self) -> None:
        """Forget what was recorded of the epoch under way, to record it again."""
        self._buffer.clear()

    def state_dict(self, *, on_device: bool = False) -> dict[str, Any]:
        """The accumulated state: tensors and numbers that ``torch.load(weights_only=True)`` reads back.

        It contains neither the epoch under way nor the ids.

        Args:
            on_device (False): True leaves tensors on the device where they are, so that nothing waits for it
        """
        target, prediction = None if on_device else "cpu", self._prediction_sum
        return {
            "version": _STATE_VERSION,
            "epochs": self.epochs,
            "epoch_hits": list(self._epoch_hits),
            "epoch_seen": list(self._epoch_seen),
            "classes": self._buffer.classes,
            "el2n_epoch": self.el2n_epoch,
            "labels": self._buffer.label.to(target or self._buffer.label.device, copy=True),
            "prediction_sum": None if prediction is None else prediction.to(target or prediction.device, copy=True),
            **self._sums.state_dict(),
        }

    @OUTSIDE_INFERENCE
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state of :meth:`state_dict`; the epoch under way is dropped.

        Args:
            state: state of a tracker over the same N samples

        Raises:
            ValueError: if the state has another version or another N, or lacks the predictions that this tracker
                keeps; the tracker does not change then
        """
        if state.get("version") != _STATE_VERSION:
            raise ValueError(f"the state has version {state.get('version')}; this is version {_STATE_VERSION}")
        sums, prediction = RunSums.from_state(state, self.num_samples), state["prediction_sum"]
        if self._buffer.keep_predictions and state["epochs"]:
            if prediction is None:
                raise ValueError("the state holds no predictions: create this tracker with predictions=False too")
            if prediction.shape != (self.num_samples, state["classes"]):
                raise ValueError("the state's predictions are not of its samples and classes")
        self._sums, self.el2n_epoch, self._buffer.classes = sums, state["el2n_epoch"], state["classes"]
        self._epoch_hits, self._epoch_seen = list(state["epoch_hits"]), list(state["epoch_seen"])
        # earlier versions did not keep them
        labels = state.get("labels")
        self._buffer.label = (
            torch.full_like(self._buffer.label, -1) if labels is None else labels.to(self._buffer.label)
        )
        self._prediction_sum = self._buffer.prediction = None
        if prediction is not None and self._buffer.keep_predictions:
            self._add_predictions(prediction)
        self._buffer.clear()


def _as_list(names: Any) -> list[Any]:
    return list(names.tolist() if hasattr(names, "tolist") else names)


def _add_by_position(first: list[int], second: list[int]) -> list[int]:
    """The sums of two lists, position by position; the shorter one is filled up with zeros."""
    return [sum(pair) for pair in zip_longest(first, second, fillvalue=0)]
