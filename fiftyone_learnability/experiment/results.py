"""What is known of one network after its runs: scores, ranks, ids, learning curves, and how they came about."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..scores.catalog import SCORES
from ..scores.formulas import FloatArray, IntArray, learnability_rank
from .files import open_archive

if TYPE_CHECKING:
    import pandas as pd

_FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One finished training run of one network, in plain arrays.

    Attributes:
        model: the name of the network
        seed: the seed of the run
        scores: ``(N,)`` each difficulty score by name; see :mod:`fiftyone_learnability.scores.catalog`
        train_loss: ``(T,)`` mean cross-entropy while training, on augmented images
        train_accuracy: ``(T,)`` accuracy while training, on augmented images
        measured_accuracy: ``(T,)`` accuracy after each epoch on the clean training images, in eval mode; NaN where an
            epoch was not measured
        epoch_seconds: ``(T,)`` wall time of each epoch, the measurement included
        dynamics (None): ``(M, N)`` float16 probability of the true label after each of the M measured epochs
        prediction (None): ``(N, classes)`` mean over epochs of the probabilities
        incidents (()): what did not go as planned, or ended the training early, a sentence each
    """

    model: str
    seed: int
    scores: Mapping[str, FloatArray]
    train_loss: FloatArray
    train_accuracy: FloatArray
    measured_accuracy: FloatArray
    epoch_seconds: FloatArray
    dynamics: NDArray[np.float16] | None = None
    prediction: NDArray[np.float32] | None = None
    incidents: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ModelResults:
    """The results of one network over N samples, T epochs and R runs.

    Scores that were measured elsewhere have no learning curves: T is 0. Of runs that ended after different numbers of
    epochs, T is the largest, and the curves of the others end in NaN.

    Attributes:
        model: the name of the network
        ids: ``(N,)`` sample ids
        filepaths: ``(N,)`` image files
        labels: ``(N,)`` true class of each sample, an index into ``classes``; -1 where it is not known
        classes: the names of the classes
        run_scores: ``(R, N)`` each difficulty score by name, of each run; learnability always
        train_loss: ``(R, T)`` mean training loss of each epoch, on augmented images
        train_accuracy: ``(R, T)`` training accuracy of each epoch, on augmented images
        measured_accuracy: ``(R, T)`` accuracy after each epoch on the clean training images, in eval mode; NaN where an
            epoch was not measured
        epoch_seconds: ``(R, T)`` wall time of each epoch, the measurement included
        config: how the results came about: options, seeds, device, versions, and what did not go as planned
            (``incidents``, if anything); values that JSON holds
        dynamics (None): ``(M, N)`` float16 probability of the true label after each of the M measured epochs, the mean
            over the runs that have it; None if it was not recorded
        prediction (None): ``(N, classes)`` float16 mean prediction, over epochs and runs; None if it was not kept
    """

    model: str
    ids: NDArray[np.str_]
    filepaths: NDArray[np.str_]
    labels: IntArray
    classes: tuple[str, ...]
    run_scores: dict[str, FloatArray]
    train_loss: FloatArray
    train_accuracy: FloatArray
    measured_accuracy: FloatArray
    epoch_seconds: FloatArray
    config: dict[str, Any]
    dynamics: NDArray[np.float16] | None = None
    prediction: NDArray[np.float16] | None = None

    @classmethod
    def from_runs(
        cls,
        records: list[RunRecord],
        ids: NDArray[np.str_],
        filepaths: NDArray[np.str_],
        labels: IntArray,
        classes: tuple[str, ...],
        config: dict[str, Any],
    ) -> ModelResults:
        """Puts the runs of one network together.

        Args:
            records: the finished runs, at least one, all of the same network
            ids: ``(N,)`` sample ids in the order of the records' samples
            filepaths: ``(N,)`` image files, likewise
            labels: ``(N,)`` true classes, likewise
            classes: the names of the classes
            config: how the results came about
        """

        def stack(name: str) -> FloatArray:
            return np.stack(_as_long([getattr(record, name) for record in records]))

        incidents = [f"seed {record.seed}: {text}" for record in records for text in record.incidents]
        config = {**config, "seeds": [record.seed for record in records]}
        return cls(
            model=records[0].model,
            ids=ids,
            filepaths=filepaths,
            labels=labels,
            classes=classes,
            run_scores={name: np.stack([record.scores[name] for record in records]) for name in records[0].scores},
            train_loss=stack("train_loss"),
            train_accuracy=stack("train_accuracy"),
            measured_accuracy=stack("measured_accuracy"),
            epoch_seconds=stack("epoch_seconds"),
            config={**config, "incidents": incidents} if incidents else config,
            dynamics=_mean([record.dynamics for record in records]),
            prediction=_mean([record.prediction for record in records]),
        )

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def measured_epochs(self) -> IntArray:
        """``(M,)`` the epochs that were measured, counted from 1: all, unless ``measure_every`` said otherwise."""
        return measured_epochs(self.measured_accuracy)

    @property
    def epochs_run(self) -> IntArray:
        """``(R,)`` the epochs that each run has trained: fewer than it was to, if ``stop_when_stable`` ended it."""
        return (~np.isnan(self.epoch_seconds)).sum(axis=1)

    @property
    def accuracy(self) -> float:
        """Accuracy on the clean training images at the end, the mean over runs; NaN without epochs."""
        known = [curve[~np.isnan(curve)] for curve in self.measured_accuracy]
        return float(np.mean([curve[-1] if curve.size else np.nan for curve in known]))

    @property
    def run_learnability(self) -> FloatArray:
        """``(R, N)`` learnability of each run."""
        return self.run_scores["learnability"]

    @property
    def learnability(self) -> FloatArray:
        """``(N,)`` learnability: the mean over runs, Eq. 1 with its expectation."""
        return self.run_learnability.mean(axis=0)

    @property
    def rank(self) -> IntArray:
        """``(N,)`` rank of the learnability, 1 = easiest (Eq. 2)."""
        return learnability_rank(self.learnability)

    @property
    def spread(self) -> FloatArray | None:
        """``(N,)`` sample standard deviation of learnability over runs (R - 1 in the denominator); None for one run."""
        if len(self.run_learnability) < 2:
            return None
        return self.run_learnability.std(axis=0, ddof=1)

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores there are, in the order of the catalog; the spread where there are several runs."""
        return tuple(
            name
            for name in SCORES
            if name in self.run_scores or name == "rank" or (name == "spread" and self.spread is not None)
        )

    def score(self, name: str) -> NDArray[np.float64] | IntArray:
        """A score by name, the mean over runs (for forgetting, infinite where any run never predicted the label).

        Args:
            name: one of :attr:`scores`

        Returns:
            ``(N,)`` values

        Raises:
            ValueError: if there is no such score
        """
        if name not in self.scores:
            raise ValueError(f"{self.model} has no score {name!r}; it has: {', '.join(self.scores)}")
        if name == "rank":
            return self.rank
        if name == "spread" and self.spread is not None:
            return self.spread
        return self.run_scores[name].mean(axis=0)

    @property
    def suggested(self) -> IntArray | None:
        """``(N,)`` class that the mean prediction prefers, an index into ``classes``; None if it was not kept."""
        return None if self.prediction is None else self.prediction.argmax(axis=1).astype(np.int64)

    @property
    def seconds(self) -> float:
        """Wall time of all runs in seconds."""
        return float(np.nansum(self.epoch_seconds))

    def to_pandas(self) -> pd.DataFrame:
        """One row a sample: id, filepath, label, all :attr:`scores`, and what the mean prediction suggests.

        The suggestion is in the columns suggested_label and suggested_probability, if predictions were kept.
        """
        import pandas as pd

        # the label of -1 is the last, None
        names = np.array([*self.classes, None], dtype=object)
        columns: dict[str, Any] = {"id": self.ids, "filepath": self.filepaths, "label": names[self.labels]}
        columns.update({name: self.score(name) for name in self.scores})
        if self.prediction is not None:
            columns["suggested_label"] = names[self.suggested]
            columns["suggested_probability"] = self.prediction.max(axis=1).astype(np.float64)
        return pd.DataFrame(columns)

    def learning_curves(self) -> pd.DataFrame:
        """One row a run and epoch: seed, epoch, train_loss, train_accuracy, measured_accuracy, seconds."""
        import pandas as pd

        runs, epochs = self.train_loss.shape
        curves = pd.DataFrame(
            {
                "seed": np.repeat(self.config["seeds"], epochs),
                "epoch": np.tile(np.arange(1, epochs + 1), runs),
                "train_loss": self.train_loss.ravel(),
                "train_accuracy": self.train_accuracy.ravel(),
                "measured_accuracy": self.measured_accuracy.ravel(),
                "seconds": self.epoch_seconds.ravel(),
            }
        )
        # without the epochs that one run was spared and another was not
        return curves[curves["seconds"].notna()].reset_index(drop=True)

    def to_npz(self, file: str | Path | BinaryIO) -> None:
        """Saves everything to a compressed npz file without pickled objects.

        Besides what :meth:`from_npz` needs, the file holds ``learnability`` and ``rank``, for use with numpy alone.

        Args:
            file: a path, or a binary file object
        """
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        arrays.update({f"{_RUN}{name}": values for name, values in self.run_scores.items()})
        for name in ("dynamics", "prediction"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        header = {
            "format": _FORMAT_VERSION,
            "model": self.model,
            "classes": list(self.classes),
            "config": self.config,
        }
        arrays = {
            "header": np.array(json.dumps(header)),
            "learnability": self.learnability,
            "rank": self.rank,
            **arrays,
        }
        if isinstance(file, (str, Path)):
            # as numpy calls it
            file = f"{file}" if str(file).endswith(".npz") else f"{file}.npz"
        # probabilities hardly shrink: numpy's own function takes twice as long for a hundredth less
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    @classmethod
    def from_npz(cls, file: str | Path | BinaryIO) -> ModelResults:
        """Loads what :meth:`to_npz` saved.

        Args:
            file: a path, or a binary file object

        Raises:
            ValueError: if the file was not written by :meth:`to_npz`, or by another version of it
        """
        try:
            opened = open_archive(file)
        except ValueError as error:
            raise ValueError(f"{file} does not hold learnability results: {error}") from error
        with opened as archive:
            if "header" not in archive:
                raise ValueError(f"{file} does not hold learnability results")
            try:
                header = json.loads(str(archive["header"]))
                if header["format"] != _FORMAT_VERSION:
                    raise ValueError(f"has format {header['format']}; this version reads format {_FORMAT_VERSION}")
                results = cls(
                    model=header["model"],
                    classes=tuple(header["classes"]),
                    config=header["config"],
                    **{name: archive[name] for name in _ARRAYS},
                    run_scores={
                        name.removeprefix(_RUN): archive[name] for name in archive.files if name.startswith(_RUN)
                    },
                    dynamics=archive.get("dynamics"),
                    prediction=archive.get("prediction"),
                )
                results._check()
            # a header may be any JSON, nested without end, and lack anything
            except (KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{file} is damaged: {type(error).__name__}: {error}") from error
            except ValueError as error:
                raise ValueError(f"{file} {error}") from error
        return results

    def _check(self) -> None:
        """Checks that everything is of the type and size that it must be, as whoever takes the results believes.

        Raises:
            ValueError: if something is not
        """
        learnability = self.run_scores.get("learnability")
        if learnability is None or learnability.ndim != 2 or self.train_loss.ndim != 2:
            raise ValueError("is damaged: it has no learnability of each run")
        (runs, samples), epochs = learnability.shape, self.train_loss.shape[1]
        wanted: dict[str, tuple[Any, str, tuple[int, ...]]] = {
            "ids": (self.ids, "U", (samples,)),
            "filepaths": (self.filepaths, "U", (samples,)),
            "labels": (self.labels, "i", (samples,)),
            **{name: (getattr(self, name), "f", (runs, epochs)) for name in CURVES},
            **{f"{_RUN}{name}": (values, "f", (runs, samples)) for name, values in self.run_scores.items()},
        }
        if self.dynamics is not None and self.measured_accuracy.dtype.kind == "f":
            wanted["dynamics"] = (self.dynamics, "f", (len(self.measured_epochs), samples))
        if self.prediction is not None:
            wanted["prediction"] = (self.prediction, "f", (samples, len(self.classes)))
        for name, (array, kind, shape) in wanted.items():
            if array.dtype.kind != kind or array.shape != shape:
                raise ValueError(f"is damaged: {name} is {array.dtype} of {array.shape}, not {kind} of {shape}")
        texts = [self.model, *self.classes]
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.config, dict) or not runs:
            raise ValueError("is damaged: its header does not describe results")
        if samples and not -1 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError("is damaged: it has labels that are not among its classes")

    def to_bytes(self) -> bytes:
        """The npz file as bytes."""
        buffer = io.BytesIO()
        self.to_npz(buffer)
        return buffer.getvalue()

    def __repr__(self) -> str:
        runs, epochs = self.train_loss.shape
        trained = f", accuracy {self.accuracy:.3f}, {self.seconds:.0f} s" if epochs else ""
        return (
            f"<ModelResults {self.model}: {self.num_samples} samples, {epochs} epochs, {runs} run(s), "
            f"mean learnability {self.learnability.mean():.3f}{trained}>"
        )


def measured_epochs(measured_accuracy: FloatArray) -> IntArray:
    """The epochs that were measured.

    Args:
        measured_accuracy: ``(R, T)`` accuracy after each epoch, NaN where it was not measured

    Returns:
        ``(M,)`` epochs, counted from 1
    """
    return np.flatnonzero(~np.isnan(measured_accuracy).all(axis=0)) + 1


def _mean(arrays: Sequence[NDArray[Any] | None]) -> NDArray[np.float16] | None:
    recorded = [one for one in arrays if one is not None]
    if len(recorded) < len(arrays):
        return None
    # summed in float32: half a precision is enough to keep a probability, not to add them
    if len({one.shape for one in recorded}) == 1:
        mean = np.mean(recorded, axis=0, dtype=np.float32)
    else:
        # some ended before others
        longest = max(recorded, key=len)
        total, count = np.zeros(longest.shape, np.float32), np.zeros((len(longest), 1), np.float32)
        for one in recorded:
            total[: len(one)] += one
            count[: len(one)] += 1
        mean = total / count
    return np.asarray(mean, dtype=np.float16)


def _as_long(curves: list[FloatArray]) -> list[FloatArray]:
    """Curves over epochs, those that ended early continued by NaN."""
    longest = max(map(len, curves))
    return [np.pad(curve, (0, longest - len(curve)), constant_values=np.nan) for curve in curves]


_RUN = "run_"
"""What the names of the runs' scores begin with in a file."""

CURVES = ("train_loss", "train_accuracy", "measured_accuracy", "epoch_seconds")
"""The learning curves of a run or of several."""

_ARRAYS = ("ids", "filepaths", "labels", *CURVES)
