"""Collects the logits of one epoch, sample by sample, on the device and without waiting for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROWS_AT_ONCE = 4096
"""Rows of logits that are processed together: enough to make calls cheap, few enough to bound the memory."""

NUMBERS_AT_ONCE = 4_000_000
"""The most logits that are processed together (16 MB), which matters with thousands of classes."""

UNSEEN = -1.0
"""In place of the probability of a sample that this epoch has not seen."""

# tensors made within torch.inference_mode() cannot be changed outside of it, where the epoch may end
OUTSIDE_INFERENCE = torch.inference_mode(mode=False)


@dataclass(frozen=True)
class Epoch:
    """One epoch of N samples: ``(N,)`` tensors on the CPU.

    Attributes:
        seen: True for the samples that the epoch saw; the other attributes hold for these only
        hit: True if the label was predicted
        probability: float32 probability of the label
        margin: float32 logit of the label minus the largest other logit; NaN if there is one class only
        error: float32 length of the error vector, if the buffer computes it
    """

    seen: Tensor
    hit: Tensor
    probability: Tensor
    margin: Tensor
    error: Tensor


class EpochBuffer:
    """The epoch under way of N samples. A sample that is seen twice counts once, as it was seen last.

    Adding a batch only checks and copies it. Several batches are processed at once, because a step on so little data
    costs more to call than to compute.

    Args:
        num_samples: N
        device: where the buffer is kept: the device of the logits, so that nothing waits for a GPU
        keep_predictions: True keeps the probabilities of all classes

    Attributes:
        classes: number of classes, 0 until it is known
        needs_error: True computes the length of the error vector, for EL2N
        can_look: True on a CPU; looking at values on a GPU would wait for it, so indices and labels are then checked by
            :meth:`read`
        label: ``(N,)`` class of each sample as it was seen last in any epoch, -1 where it was never seen
        prediction: ``(N, classes)`` probabilities; None if they are not kept or nothing was seen yet
    """

    def __init__(self, num_samples: int, device: torch.device, keep_predictions: bool) -> None:
        self.num_samples, self.device, self.keep_predictions = num_samples, device, keep_predictions
        self.classes = 0
        self.needs_error = False
        self.prediction: Tensor | None = None
        self.probability = torch.full((num_samples,), UNSEEN, dtype=torch.float32, device=device)
        self.margin = torch.zeros(num_samples, dtype=torch.float32, device=device)
        self.hit = torch.zeros(num_samples, dtype=torch.bool, device=device)
        self.error = torch.zeros(num_samples, dtype=torch.float32, device=device)
        self.label = torch.full((num_samples,), -1, dtype=torch.int64, device=device)
        self.can_look = device.type == "cpu"
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._rows = self._rows_done = 0
        # the row of the epoch that saw each sample last
        # not int64, whose maximum Apple's MPS lacks before torch 2.13
        self._last_row = torch.zeros(num_samples, dtype=torch.int32, device=device)
        # smallest and largest index and label of the epoch, where the device is not waited for. Four bytes each, like
        # the values that they travel with
        self._extremes = torch.zeros((2, 2), dtype=torch.int32, device=device)

    @property
    def rows(self) -> int:
        """The number of rows added in this epoch, also of samples that it has seen before."""
        return self._rows

    def add(self, indices: Any, logits: Any, labels: Any) -> None:
        """Add a batch; see :meth:`LearnabilityTracker.update`."""
        # copies, because the caller may reuse the memory
        logits = torch.as_tensor(logits).detach().to(self.device, torch.float32, copy=True)
        indices = self._whole_numbers("indices", indices)
        labels = self._whole_numbers("labels", labels)
        if logits.ndim != 2 or indices.shape != logits.shape[:1] or labels.shape != logits.shape[:1]:
            raise ValueError(
                "expected indices (B,), logits (B, classes) and labels (B,), not "
                f"{tuple(indices.shape)}, {tuple(logits.shape)} and {tuple(labels.shape)}"
            )
        if not len(indices):
            return
        self.set_classes(logits.shape[1])
        numbers = torch.stack((indices, labels))
        # the first batch shows a mistake that all batches share; checking each would double the cost of an update
        if not self._rows and self.can_look:
            self._check(numbers.aminmax(dim=1))
        self._waiting.append((numbers, logits))
        self._rows += len(indices)
        if self._rows - self._rows_done >= min(ROWS_AT_ONCE, max(1, NUMBERS_AT_ONCE // self.classes)):
            self._process()

    def _whole_numbers(self, name: str, values: Any) -> Tensor:
        """Return numbers as int64, because torch would take bytes for a mask; fractions are not cut off."""
        numbers = torch.as_tensor(values, device=self.device)
        if numbers.numel() and (numbers.is_floating_point() or numbers.is_complex()):
            advice = "; of soft labels, as mixup makes, give the class with the largest share"
            raise ValueError(
                f"{name} must be whole numbers, not {str(numbers.dtype).removeprefix('torch.')} of shape "
                f"{tuple(numbers.shape)}{advice if name == 'labels' else ''}"
            )
        return numbers.to(torch.int64)

    def set_classes(self, classes: int) -> None:
        """Set the number of classes, which must not change."""
        if self.classes not in (0, classes):
            raise ValueError(f"there are logits of {classes} classes; before there were {self.classes}")
        self.classes = classes

    def _check(self, extremes: Iterable[Tensor]) -> None:
        """Check indices and labels: a negative one would wrap around, one too large would crash.

        Args:
            extremes: ``(2,)`` smallest index and label, and ``(2,)`` largest ones
        """
        least, most = (end.tolist() for end in extremes)
        if least[0] < 0 or most[0] >= self.num_samples:
            raise IndexError(f"indices must lie in 0..{self.num_samples - 1}, not {least[0]}..{most[0]}")
        if least[1] < 0 or most[1] >= self.classes:
            raise ValueError(f"labels must lie in 0..{self.classes - 1}, not {least[1]}..{most[1]}")

    @OUTSIDE_INFERENCE
    @torch.no_grad()
    def _process(self) -> None:
        """Write the waiting batches into the buffers."""
        if not self._waiting:
            return
        several, rows_of_logits = zip(*self._waiting, strict=True)
        self._waiting.clear()
        numbers = torch.cat(several, dim=1)
        start, self._rows_done = self._rows_done, self._rows
        indices, labels = numbers
        if self.can_look:
            self._check(numbers.aminmax(dim=1))
        else:
            # one out of range would end the process's use of a CUDA GPU: it is replaced here, and reported by read()
            short = numbers.int()
            least = torch.minimum(self._extremes[0], short.amin(dim=1))
            self._extremes = torch.stack((least, torch.maximum(self._extremes[1], short.amax(dim=1))))
            indices, labels = indices.clamp(0, self.num_samples - 1), labels.clamp(0, self.classes - 1)
        # all rows of a sample take the values of its last one, so that the order of writing does not matter
        rows = torch.arange(start, self._rows, dtype=torch.int32, device=self.device)
        last = self._last_row.scatter_reduce_(0, indices, rows, "amax").gather(0, indices).long() - start
        labels = labels.gather(0, last)[None]
        # classes first: on the CPU a softmax over a few numbers in a row is twenty times slower
        logits = torch.cat(rows_of_logits).index_select(0, last).t().contiguous()
        probabilities = logits.softmax(dim=0)
        others = logits.scatter(0, labels, -torch.inf)
        margin = logits.gather(0, labels)[0] - others.amax(dim=0)
        hit, tied = margin > 0, margin == 0
        # argmax takes the first of equal logits. It costs more than all the rest, and ties are rare
        if not self.can_look or tied.any():
            hit |= tied & (labels[0] < others.argmax(dim=0))
        self.label.scatter_(0, indices, labels[0])
        self.probability.scatter_(0, indices, probabilities.gather(0, labels)[0])
        self.hit.scatter_(0, indices, hit)
        self.margin.scatter_(0, indices, margin if self.classes > 1 else torch.full_like(margin, torch.nan))
        if self.needs_error:
            errors = probabilities.scatter_add(0, labels, torch.full_like(margin, -1.0)[None])
            self.error.scatter_(0, indices, errors.square_().sum(dim=0).sqrt_())
        if self.keep_predictions:
            self._prediction_buffer().index_copy_(0, indices, probabilities.t())

    def _prediction_buffer(self) -> Tensor:
        if self.prediction is None:
            self.prediction = torch.zeros((self.num_samples, self.classes), dtype=torch.float32, device=self.device)
        return self.prediction

    def read(self) -> Epoch:
        """The epoch so far, on the CPU; waits for the device once.

        Raises:
            IndexError, ValueError: if an index or a label of the epoch is out of range
        """
        self._process()
        # together, because each transfer is waited for
        rows = [self.probability, self.hit.float(), self.margin, self.error]
        numbers = torch.cat([*rows, self._extremes.view(torch.float32).flatten()]).cpu()
        if not self.can_look and self._rows:
            self._check(numbers[-4:].view(torch.int32).view(2, 2))
        probability, hit, margin, error = numbers[:-4].view(4, -1)
        return Epoch(seen=probability != UNSEEN, hit=hit > 0, probability=probability, margin=margin, error=error)

    def clear(self) -> None:
        """Start the next epoch."""
        self._waiting.clear()
        self._rows = self._rows_done = 0
        self._last_row.zero_()
        self._extremes.zero_()
        self.probability.fill_(UNSEEN)
        self.hit.zero_()
        if self.prediction is not None:
            self.prediction.zero_()

    def share(self) -> None:
        """Combine the epoch from all processes of torch.distributed; see :meth:`LearnabilityTracker.share_epoch`."""
        import torch.distributed as dist

        self._process()
        rank, processes = dist.get_rank(), dist.get_world_size()
        # nccl takes nothing from the memory of the CPU
        device = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")

        def reduce(values: Tensor, operation: Any) -> None:
            there = values.to(device)
            dist.all_reduce(there, op=operation)
            values.copy_(there)

        owner = torch.where(self.probability != UNSEEN, rank, processes)
        reduce(owner, dist.ReduceOp.MIN)
        # a process that has seen nothing yet does not know the number of classes
        classes = torch.tensor(self.classes, device=self.device)
        reduce(classes, dist.ReduceOp.MAX)
        self.set_classes(int(classes))
        reduce(self.label, dist.ReduceOp.MAX)
        hit = self.hit.float()
        buffers = [self.probability, self.margin, self.error, hit]
        if self.keep_predictions and self.classes:
            buffers.append(self._prediction_buffer())
        for buffer in buffers:
            buffer[owner != rank] = 0.0
            reduce(buffer, dist.ReduceOp.SUM)
        self.hit = hit > 0
        self.probability[owner == processes] = UNSEEN
