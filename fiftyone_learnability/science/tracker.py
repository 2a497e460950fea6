"""Accumulates the scores of one training run while it goes on, in any training loop.

    tracker = LearnabilityTracker(num_samples=len(dataset))
    for epoch in range(epochs):
        ...                                             # train
        for ids, images, labels in evaluation_batches:  # or the training batches themselves
            tracker.update(ids, model(images), labels)
        tracker.end_epoch()
    tracker.scores()["learnability"]

The memory is O(N), whatever the number of epochs: an epoch is buffered where the logits live (one value a sample, no
synchronisation with a GPU) and added to double-precision sums when it ends. A sample that is seen twice in an epoch, as
distributed samplers do to pad, is counted once; one that is not seen is not counted, and its mean is taken over
the epochs that saw it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .scores import FloatArray, IntArray

_STATE_VERSION = 1
_UNSEEN = -1.0  # in place of the probability of a sample that this epoch has not seen


class LearnabilityTracker:
    """Accumulates learnability and hits of one training run over N samples.

    Args:
        num_samples: N; samples are named by the indices 0..N-1
        device ("cpu"): where the buffer of an epoch is kept: the device of the logits, so that none is waited for

    Raises:
        ValueError: if ``num_samples`` is not positive
    """

    def __init__(self, num_samples: int, device: str | torch.device = "cpu") -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples must be positive, not {num_samples}")
        self.num_samples = num_samples
        self._epochs = 0
        self._probability_sum = torch.zeros(num_samples, dtype=torch.float64)
        self._hit_count = torch.zeros(num_samples, dtype=torch.int64)
        self._epoch_count = torch.zeros(num_samples, dtype=torch.int64)
        self._probability = torch.full((num_samples,), _UNSEEN, dtype=torch.float32, device=device)
        self._hit = torch.zeros(num_samples, dtype=torch.bool, device=device)
        self._last = np.full(num_samples, np.nan, np.float32)

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

    @torch.no_grad()
    def update(self, indices: Any, logits: Any, labels: Any) -> None:
        """Records the logits of a batch in the current epoch.

        Args:
            indices: ``(B,)`` indices of the samples, in 0..N-1
            logits: ``(B, classes)`` logits of any float type, a tensor or an array; the softmax is taken in float32
            labels: ``(B,)`` true class of each sample

        Raises:
            ValueError: if the shapes do not fit
        """
        logits = torch.as_tensor(logits)
        device = self._probability.device
        # bytes would index as a mask
        indices = torch.as_tensor(indices, device=device).long()
        labels = torch.as_tensor(labels, device=logits.device).long()
        if logits.ndim != 2 or indices.shape != logits.shape[:1] or labels.shape != logits.shape[:1]:
            raise ValueError(
                "expected indices (B,), logits (B, classes) and labels (B,), not "
                f"{tuple(indices.shape)}, {tuple(logits.shape)} and {tuple(labels.shape)}"
            )
        probabilities = logits.float().softmax(dim=1)
        true_probability = probabilities.gather(1, labels[:, None])[:, 0]
        self._probability[indices] = true_probability.to(device)
        self._hit[indices] = (logits.argmax(dim=1) == labels).to(device)

    def end_epoch(self) -> float:
        """Adds the epoch to the sums; waits for the device once.

        Returns:
            the share of the samples seen in this epoch that were classified correctly

        Raises:
            ValueError: if no sample was seen since the last epoch ended
            FloatingPointError: if a sample got a probability that is not a number
        """
        probability, hit = self._probability.cpu(), self._hit.cpu()
        seen = probability != _UNSEEN
        num_seen = int(seen.sum())
        if num_seen == 0:
            raise ValueError("no sample was seen in this epoch: call update() before end_epoch()")
        if num_invalid := int(probability.isnan().sum()):
            raise FloatingPointError(f"{num_invalid} of {num_seen} samples have logits that are not finite")
        self._last = torch.where(seen, probability, torch.nan).numpy()
        self._probability_sum += torch.where(seen, probability.double(), 0.0)
        self._hit_count += hit
        self._epoch_count += seen
        self._epochs += 1
        accuracy = int(hit.sum()) / num_seen
        self._probability.fill_(_UNSEEN)
        self._hit.zero_()
        return accuracy

    def scores(self) -> dict[str, FloatArray]:
        """The scores over the epochs that have ended.

        Returns:
            ``{"learnability": (N,), "hits": (N,)}``; see :mod:`fiftyone_learnability.science.scores` for the formulas.
            NaN where no epoch saw the sample
        """
        count = self._epoch_count.double().numpy()
        with np.errstate(invalid="ignore"):
            return {
                "learnability": self._probability_sum.numpy() / count,
                "hits": self._hit_count.double().numpy() / count,
            }

    def merge(self, other: LearnabilityTracker) -> None:
        """Adds what another tracker of the same run has accumulated.

        The other may have seen other samples (a process of a distributed run) or other epochs (a part of the run).
        Epochs under way are not merged: end them first.

        Args:
            other: a tracker over the same N samples; it is not changed

        Raises:
            ValueError: if the other tracker has another N
        """
        if other.num_samples != self.num_samples:
            raise ValueError(f"cannot merge a tracker of {other.num_samples} samples into one of {self.num_samples}")
        self._probability_sum += other._probability_sum
        self._hit_count += other._hit_count
        self._epoch_count += other._epoch_count
        self._epochs = int(self._epoch_count.max())

    def state_dict(self) -> dict[str, Any]:
        """The accumulated state, as tensors and integers that ``torch.load(weights_only=True)`` reads back.

        The epoch under way is not part of it.
        """
        return {
            "version": _STATE_VERSION,
            "epochs": self._epochs,
            "probability_sum": self._probability_sum.clone(),
            "hit_count": self._hit_count.clone(),
            "epoch_count": self._epoch_count.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state saved by :meth:`state_dict`; an epoch under way is dropped.

        Args:
            state: the state of a tracker over the same N samples

        Raises:
            ValueError: if the state is of another version or another N
        """
        if state["version"] != _STATE_VERSION:
            raise ValueError(f"the state has version {state['version']}; this is version {_STATE_VERSION}")
        if state["probability_sum"].shape != (self.num_samples,):
            raise ValueError(
                f"the state is of {len(state['probability_sum'])} samples; this tracker has {self.num_samples}"
            )
        self._epochs = state["epochs"]
        self._probability_sum = state["probability_sum"].clone()
        self._hit_count = state["hit_count"].clone()
        self._epoch_count = state["epoch_count"].clone()
        self._probability.fill_(_UNSEEN)
        self._hit.zero_()
