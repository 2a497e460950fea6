"""Accumulates the scores of one training run while it goes on, in any training loop.

    tracker = LearnabilityTracker(num_samples=len(dataset))
    for epoch in range(epochs):
        ...                                             # train
        for ids, images, labels in evaluation_batches:  # or the training batches themselves
            tracker.update(ids, model(images), labels)
        tracker.end_epoch()
    tracker.scores()["learnability"]

The memory does not grow with the epochs: an epoch is buffered where the logits live (no synchronisation with a GPU)
and added to sums when it ends. That is O(N), and O(N x classes) for the mean prediction, which can be switched off. A
sample that is seen twice in an epoch is counted once, as it was seen last; one that is not seen is not counted, and its
scores are those of the epochs that saw it.

An update only checks and copies its batch; several batches are then worked through at once, since a step on so little
data costs more to call than to compute.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..scores.formulas import FloatArray, IntArray, ambiguity

_STATE_VERSION = 2
_ROWS_AT_ONCE = 4096  # enough for the calls not to matter, and few enough for the memory
_NUMBERS_AT_ONCE = 4_000_000  # of logits: 16 MB, where there are thousands of classes
_UNSEEN = -1.0  # in place of the probability of a sample that this epoch has not seen
# what is made within torch.inference_mode() cannot be added to outside of it, where the epoch may end
_OUTSIDE_INFERENCE = torch.inference_mode(mode=False)
_SUMS = (
    "_epoch_count",
    "_probability_sum",
    "_squares",
    "_margin_sum",
    "_hit_count",
    "_forgotten",
    "_streak",
    "_first_hit",
    "_error",
)


class LearnabilityTracker:
    """Accumulates the difficulty scores of one training run over N samples.

    Args:
        num_samples (None): N; samples are named by the indices 0..N-1
        device ("cpu"): where the buffer of an epoch is kept: the device of the logits, so that none is waited for
        ids (None): in place of ``num_samples``, the names of the N samples, such as the ids of a FiftyOne dataset;
            :meth:`update` then takes these names
        predictions (True): whether the mean prediction is kept: eight bytes a sample and class, which it takes to
            suggest labels and to tell ambiguity
        el2n_epoch (10): the early epoch after which EL2N is taken

    Raises:
        ValueError: if N is not positive, names are given twice, or ``el2n_epoch`` is not positive
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
        self._keeps_predictions = predictions
        self._device = torch.device(device)
        # to look at what a GPU computes would wait for it
        self._looks = self._device.type == "cpu"
        self._epochs = 0
        self._epoch_hits: list[int] = []
        self._epoch_seen: list[int] = []
        self._classes = 0  # not known yet

        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(count, dtype=dtype)

        self._epoch_count, self._hit_count = zeros(torch.int64), zeros(torch.int64)
        self._probability_sum, self._margin_sum = zeros(torch.float64), zeros(torch.float64)
        self._squares = zeros(torch.float64)  # of the deviations of the probability from its mean, summed
        self._forgotten, self._streak = zeros(torch.int64), zeros(torch.int64)
        self._first_hit = zeros(torch.bool)
        self._error = torch.full((count,), torch.nan, dtype=torch.float64)
        # both are made when the number of classes is known
        self._prediction_sum: Tensor | None = None
        self._prediction: Tensor | None = None
        self._probability = torch.full((count,), _UNSEEN, dtype=torch.float32, device=self._device)
        self._margin = torch.zeros(count, dtype=torch.float32, device=self._device)
        self._hit = torch.zeros(count, dtype=torch.bool, device=self._device)
        self._early_error = torch.zeros(count, dtype=torch.float32, device=self._device)
        # the batches that wait to be worked through, and which row of the epoch was the last of each sample
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._rows = self._rows_done = 0
        self._last_row = torch.zeros(count, dtype=torch.int64, device=self._device)
        self._last = np.full(count, np.nan, np.float32)

    @property
    def last_probabilities(self) -> NDArray[np.float32]:
        """``(N,)`` probability of the true label in the epoch that ended last, NaN where it was not seen."""
        return self._last

    @property
    def epochs(self) -> int:
        """The number of epochs that have ended."""
        return self._epochs

    @property
    def epoch_counts(self) -> IntArray:
        """``(N,)`` the number of epochs that saw each sample."""
        return self._epoch_count.numpy().copy()

    @property
    def accuracies(self) -> FloatArray:
        """``(T,)`` share of the samples seen that were classified correctly, after each epoch."""
        return np.array(self._epoch_hits, dtype=np.float64) / np.array(self._epoch_seen, dtype=np.float64)

    @property
    def mean_prediction(self) -> NDArray[np.float32] | None:
        """``(N, classes)`` mean over epochs of the probabilities, NaN where no epoch saw the sample.

        None if it is not kept, or nothing has been seen yet.
        """
        if self._prediction_sum is None:
            return None
        count = self._epoch_count.numpy()[:, None]
        with np.errstate(invalid="ignore"):
            return (self._prediction_sum.cpu().numpy() / count).astype(np.float32)

    def update(self, indices: Any, logits: Any, labels: Any) -> None:
        """Records the logits of a batch in the current epoch.

        Args:
            indices: ``(B,)`` indices of the samples, in 0..N-1; or their names, if the tracker was given ``ids``
            logits: ``(B, classes)`` logits of any float type, a tensor or an array; the softmax is taken in float32
            labels: ``(B,)`` true class of each sample

        Raises:
            ValueError: if the shapes do not fit, or the classes are not as many as before, or a label is not one of
                them
            IndexError: if an index is out of range. Only the first batch of an epoch is looked at on the spot, others
                when some thousand rows have come; a GPU, which is not waited for, reports it itself
            KeyError: if a name is not among ``ids``
        """
        # copies, for the caller may use the memory again
        logits = torch.as_tensor(logits).detach().to(self._device, torch.float32, copy=True)
        # whole numbers: bytes would index as a mask
        indices = torch.as_tensor(self._find(indices), dtype=torch.int64, device=self._device)
        labels = torch.as_tensor(labels, dtype=torch.int64, device=self._device)
        if logits.ndim != 2 or indices.shape != logits.shape[:1] or labels.shape != logits.shape[:1]:
            raise ValueError(
                "expected indices (B,), logits (B, classes) and labels (B,), not "
                f"{tuple(indices.shape)}, {tuple(logits.shape)} and {tuple(labels.shape)}"
            )
        if not len(indices):
            return
        self._set_classes(logits.shape[1])
        numbers = torch.stack((indices, labels))
        # a mistake that all batches share is told at the first; looking at each of them would cost as much as the rest
        if not self._rows:
            self._check(numbers)
        self._waiting.append((numbers, logits))
        self._rows += len(indices)
        if self._rows - self._rows_done >= min(_ROWS_AT_ONCE, max(1, _NUMBERS_AT_ONCE // self._classes)):
            self._work_through()

    @_OUTSIDE_INFERENCE
    @torch.no_grad()
    def _work_through(self) -> None:
        """Puts what the batches that wait say of their samples into the buffers of the epoch."""
        if not self._waiting:
            return
        several, rows_of_logits = zip(*self._waiting, strict=True)
        self._waiting.clear()
        numbers = torch.cat(several, dim=1)
        start, self._rows_done = self._rows_done, self._rows
        self._check(numbers)
        indices, labels = numbers
        # the rows of a sample all take the values of its last one, so that the order of writing does not matter
        rows = torch.arange(start, self._rows, device=self._device)
        last = self._last_row.scatter_reduce_(0, indices, rows, "amax").gather(0, indices) - start
        labels = labels.gather(0, last)[None]
        # classes first: a softmax over a few numbers in a row is twenty times slower on the CPU
        logits = torch.cat(rows_of_logits).index_select(0, last).t().contiguous()
        probabilities = logits.softmax(dim=0)
        others = logits.scatter(0, labels, -torch.inf)
        margin = logits.gather(0, labels)[0] - others.amax(dim=0)
        hit, tied = margin > 0, margin == 0
        # argmax takes the first of equal logits. Finding it costs more than all the rest and ties are rare
        if not self._looks or tied.any():
            hit |= tied & (labels[0] < others.argmax(dim=0))
        self._probability.scatter_(0, indices, probabilities.gather(0, labels)[0])
        self._hit.scatter_(0, indices, hit)
        # a single class has no margin
        self._margin.scatter_(0, indices, margin if self._classes > 1 else torch.full_like(margin, torch.nan))
        if self._epochs + 1 == self.el2n_epoch:
            errors = probabilities.scatter_add(0, labels, torch.full_like(margin, -1.0)[None])
            self._early_error.scatter_(0, indices, errors.square_().sum(dim=0).sqrt_())
        if self._keeps_predictions:
            self._buffers()[0].index_copy_(0, indices, probabilities.t())

    def _check(self, numbers: Tensor) -> None:
        """Checks ``(2, B)`` indices and labels: a negative one would wrap around, and too large a one crash."""
        if not self._looks:
            # a GPU looks itself
            return
        least, most = (end.tolist() for end in numbers.aminmax(dim=1))
        if least[0] < 0 or most[0] >= self.num_samples:
            raise IndexError(f"indices must lie in 0..{self.num_samples - 1}, not {least[0]}..{most[0]}")
        if least[1] < 0 or most[1] >= self._classes:
            raise ValueError(f"labels must lie in 0..{self._classes - 1}, not {least[1]}..{most[1]}")

    def _find(self, names: Any) -> Any:
        if self._position is None:
            return names
        try:
            return [self._position[name] for name in _as_list(names)]
        except KeyError as error:
            raise KeyError(f"{error.args[0]!r} is not among the ids that the tracker was given") from None

    def _set_classes(self, classes: int) -> None:
        if self._classes not in (0, classes):
            raise ValueError(f"there are logits of {classes} classes; before there were {self._classes}")
        self._classes = classes

    def _buffers(self) -> tuple[Tensor, Tensor]:
        """The ``(N, classes)`` probabilities of the epoch under way, and their sum over the epochs that have ended."""
        if self._prediction is None or self._prediction_sum is None:
            size = (self.num_samples, self._classes)
            self._prediction = torch.zeros(size, dtype=torch.float32, device=self._device)
            self._prediction_sum = torch.zeros(size, dtype=torch.float32, device=self._device)
        return self._prediction, self._prediction_sum

    @_OUTSIDE_INFERENCE
    def end_epoch(self) -> float:
        """Adds the epoch to the sums; waits for the device once.

        Returns:
            the share of the samples seen in this epoch that were classified correctly

        Raises:
            ValueError: if no sample was seen since the last epoch ended
            FloatingPointError: if a sample got a probability that is not a number
        """
        self._work_through()
        rows = [self._probability, self._hit.float(), self._margin, self._early_error]
        # together, since each is waited for
        probability, hits, margin, early_error = torch.stack(rows).cpu()
        hit = hits > 0
        seen = probability != _UNSEEN
        num_seen = int(seen.sum())
        if num_seen == 0:
            raise ValueError("no sample was seen in this epoch: call update() before end_epoch()")
        if num_invalid := int(probability.isnan().sum()):
            raise FloatingPointError(f"{num_invalid} of {num_seen} samples have logits that are not finite")
        self._last = torch.where(seen, probability, torch.nan).numpy()
        value = torch.where(seen, probability.double(), 0.0)
        before = self._probability_sum / self._epoch_count.clamp(min=1)
        self._forgotten += seen & ~hit & (self._streak > 0)
        self._streak.add_(seen).mul_(hit | ~seen)
        self._first_hit |= hit & (self._epoch_count == 0)
        self._epoch_count += seen
        self._hit_count += hit
        self._probability_sum += value
        self._margin_sum += torch.where(seen, margin.double(), 0.0)
        # Welford's update: exact zero for a probability that never moves
        after = self._probability_sum / self._epoch_count.clamp(min=1)
        self._squares += (value - before).mul_(value - after).mul_(seen)
        self._epochs += 1
        if self._epochs == self.el2n_epoch:
            self._error = torch.where(seen, early_error.double(), torch.nan)
        if self._prediction is not None and self._prediction_sum is not None:
            self._prediction_sum += self._prediction
        num_hits = int(hit.sum())
        self._epoch_hits.append(num_hits)
        self._epoch_seen.append(num_seen)
        self._start_epoch()
        return num_hits / num_seen

    def _start_epoch(self) -> None:
        self._waiting.clear()
        self._rows = self._rows_done = 0
        self._last_row.zero_()
        self._probability.fill_(_UNSEEN)
        self._hit.zero_()
        if self._prediction is not None:
            self._prediction.zero_()

    def scores(self) -> dict[str, FloatArray]:
        """The scores over the epochs that have ended.

        Returns:
            ``(N,)`` each: learnability, hits, variability, forgetting, learned_epoch, aum, el2n, and ambiguity if
            predictions are kept; see :mod:`fiftyone_learnability.scores.formulas` for the formulas. NaN where no epoch
            saw the sample; el2n is NaN before its epoch has ended, and aum if there is one class only. Epochs are
            counted over those that saw the sample.
        """
        count = self._epoch_count.double().numpy()
        seen = count > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = {
                "learnability": self._probability_sum.numpy() / count,
                "hits": self._hit_count.double().numpy() / count,
                "variability": np.sqrt(np.maximum(self._squares.numpy(), 0.0) / count),
                "forgetting": np.where(
                    self._hit_count.numpy() > 0, self._forgotten.double().numpy(), np.where(seen, np.inf, np.nan)
                ),
                "learned_epoch": np.where(seen, count + 1 - self._streak.double().numpy(), np.nan),
                "aum": self._margin_sum.numpy() / count,
                "el2n": self._error.numpy().copy(),
            }
        prediction = self.mean_prediction
        if prediction is not None:
            scores["ambiguity"] = np.full(self.num_samples, np.nan)
            # in parts, since entropy is taken in double precision
            for part in np.array_split(np.flatnonzero(seen), max(1, prediction.size // _NUMBERS_AT_ONCE)):
                scores["ambiguity"][part] = ambiguity(prediction[part])
        return scores

    @_OUTSIDE_INFERENCE
    def share_epoch(self) -> None:
        """Puts the epoch under way together from all processes of a distributed run; each then has all of it.

        Called in every process before :meth:`end_epoch`. A sample that several processes have seen, as torch's
        DistributedSampler makes them do to pad, is counted once, as the first of them saw it.

        Raises:
            RuntimeError: if torch.distributed is not initialised
        """
        import torch.distributed as dist

        if not dist.is_initialized():
            raise RuntimeError("share_epoch() is for processes of torch.distributed, which is not initialised")
        self._work_through()
        rank, processes = dist.get_rank(), dist.get_world_size()
        # nccl takes nothing from the memory of the CPU
        device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")

        def reduce(values: Tensor, how: Any) -> None:
            there = values.to(device)
            dist.all_reduce(there, op=how)
            values.copy_(there)

        seen = self._probability != _UNSEEN
        owner = torch.where(seen, rank, processes)
        reduce(owner, dist.ReduceOp.MIN)
        # a process may have seen nothing yet
        classes = torch.tensor(self._classes, device=self._device)
        reduce(classes, dist.ReduceOp.MAX)
        self._set_classes(int(classes))
        buffers = [self._probability, self._margin, self._early_error]
        if self._keeps_predictions and self._classes:
            buffers.append(self._buffers()[0])
        hit = self._hit.float()
        for buffer in [*buffers, hit]:
            mine = owner == rank
            buffer[~mine] = 0.0
            reduce(buffer, dist.ReduceOp.SUM)
        self._hit = hit > 0
        self._probability[owner == processes] = _UNSEEN

    @_OUTSIDE_INFERENCE
    def merge(self, other: LearnabilityTracker) -> None:
        """Adds what another tracker of the same run has accumulated: other samples, or later epochs.

        Where both have seen a sample, the epochs of the other one count as the later ones; where they have no sample in
        common, their epochs are taken for the same ones. Epochs under way are not merged: end them first. The processes
        of a distributed run are better put together after every epoch, by :meth:`share_epoch`.

        Args:
            other: a tracker over the same N samples; it is not changed

        Raises:
            ValueError: if the other tracker has another N, other ids, or another number of classes, or lacks the
                predictions that this one keeps
        """
        if other.num_samples != self.num_samples:
            raise ValueError(f"cannot merge a tracker of {other.num_samples} samples into one of {self.num_samples}")
        if other.ids != self.ids:
            raise ValueError("cannot merge trackers of different ids")
        if self._keeps_predictions and not other._keeps_predictions:
            raise ValueError("the other tracker keeps no predictions: make this one with predictions=False too")
        self._set_classes(other._classes or self._classes)
        if other._prediction_sum is not None and self._keeps_predictions:
            self._buffers()[1].add_(other._prediction_sum.to(self._device))
        ours, theirs = self._epoch_count, other._epoch_count
        both = (ours > 0) & (theirs > 0)
        # the parallel form of Welford's update (Chan et al. 1979)
        between = other._probability_sum / theirs.clamp(min=1) - self._probability_sum / ours.clamp(min=1)
        weight = ours.double() * theirs.double() / (ours + theirs).clamp(min=1)
        self._squares += other._squares + torch.where(both, between.square() * weight, 0.0)
        self._forgotten += other._forgotten + (both & (self._streak > 0) & ~other._first_hit)
        unbroken = other._streak == theirs
        self._streak = torch.where(unbroken, self._streak + other._streak, other._streak)
        self._first_hit = torch.where(ours > 0, self._first_hit, other._first_hit)
        # what was early for the other is not early for samples that had epochs before
        self._error = torch.where(ours > 0, self._error, other._error)
        self._probability_sum += other._probability_sum
        self._margin_sum += other._margin_sum
        self._hit_count += other._hit_count
        self._epoch_count += other._epoch_count
        if both.any():
            self._epoch_hits += other._epoch_hits
            self._epoch_seen += other._epoch_seen
        else:
            self._epoch_hits = _added(self._epoch_hits, other._epoch_hits)
            self._epoch_seen = _added(self._epoch_seen, other._epoch_seen)
        self._epochs = len(self._epoch_seen)

    def state_dict(self) -> dict[str, Any]:
        """The accumulated state, as tensors and numbers that ``torch.load(weights_only=True)`` reads back.

        The epoch under way is not part of it, nor are the ids.
        """
        return {
            "version": _STATE_VERSION,
            "epochs": self._epochs,
            "epoch_hits": list(self._epoch_hits),
            "epoch_seen": list(self._epoch_seen),
            "classes": self._classes,
            "el2n_epoch": self.el2n_epoch,
            "prediction_sum": None if self._prediction_sum is None else self._prediction_sum.cpu().clone(),
            **{name[1:]: getattr(self, name).clone() for name in _SUMS},
        }

    @_OUTSIDE_INFERENCE
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state saved by :meth:`state_dict`; an epoch under way is dropped.

        Args:
            state: the state of a tracker over the same N samples

        Raises:
            ValueError: if the state is of another version or another N, lacks the predictions that this tracker keeps,
                or is no state of a tracker at all; the tracker is as it was before
        """
        self._check_state(state)
        self._epochs, self.el2n_epoch, self._classes = state["epochs"], state["el2n_epoch"], state["classes"]
        self._epoch_hits, self._epoch_seen = list(state["epoch_hits"]), list(state["epoch_seen"])
        for name in _SUMS:
            setattr(self, name, state[name[1:]].cpu().clone())
        self._prediction = self._prediction_sum = None
        if state["prediction_sum"] is not None and self._keeps_predictions:
            self._buffers()[1].copy_(state["prediction_sum"])
        self._start_epoch()

    def _check_state(self, state: Any) -> None:
        """Checks all that :meth:`load_state_dict` takes, which may come from a file that anybody has written."""
        kept = {"epochs", "epoch_hits", "epoch_seen", "classes", "el2n_epoch", "prediction_sum"}
        if not isinstance(state, dict) or "version" not in state:
            raise ValueError("this is no state of a tracker")
        if state["version"] != _STATE_VERSION:
            raise ValueError(f"the state has version {state['version']}; this is version {_STATE_VERSION}")
        if lacking := [name for name in (*sorted(kept), *(name[1:] for name in _SUMS)) if name not in state]:
            raise ValueError(f"the state lacks {', '.join(lacking)}")
        for name in _SUMS:
            found, wanted = state[name[1:]], getattr(self, name)
            if not isinstance(found, Tensor) or found.dtype != wanted.dtype or found.ndim != 1:
                raise ValueError(f"the state's {name[1:]} is no tensor of {wanted.dtype}")
            if found.shape != wanted.shape:
                raise ValueError(f"the state is of {len(found)} samples; this tracker has {self.num_samples}")
        numbers = [state["epochs"], state["classes"]]
        if state["el2n_epoch"] is not None:
            numbers.append(state["el2n_epoch"])
        for name in ("epoch_hits", "epoch_seen"):
            if not isinstance(state[name], (list, tuple)) or len(state[name]) != state["epochs"]:
                raise ValueError(f"the state's {name} does not tell of its epochs")
            numbers += state[name]
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ValueError("the state counts in what are no numbers")
        prediction = state["prediction_sum"]
        if prediction is None:
            if self._keeps_predictions and state["epochs"]:
                raise ValueError("the state holds no predictions: make this tracker with predictions=False too")
        elif not isinstance(prediction, Tensor) or prediction.shape != (self.num_samples, state["classes"]):
            raise ValueError("the state's predictions are not of its samples and classes")


def _as_list(names: Any) -> list[Any]:
    return list(names.tolist() if hasattr(names, "tolist") else names)


def _added(ours: list[int], theirs: list[int]) -> list[int]:
    """The sums of two lists position by position, of which one may be shorter."""
    return [sum(pair) for pair in zip_longest(ours, theirs, fillvalue=0)]
