"""The results of one network: scores, ranks, learning curves and configuration of all of its runs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..scores.catalog import SCORES
from ..scores.evidence import Evidence, chance_accuracy
from ..scores.formulas import FloatArray, IntArray, learnability_rank
from .curves import CURVES, average_runs, measured_epochs
from .results_file import read_results, write_results

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One finished training run of one network.

    Attributes:
        model: the name of the network
        seed: the seed of the run
        scores: ``(N,)`` values of each difficulty score, by name; see :mod:`fiftyone_learnability.scores.catalog`
        train_loss: ``(T,)`` mean cross-entropy during each epoch, on augmented images
        train_accuracy: ``(T,)`` accuracy during each epoch, on augmented images
        measured_accuracy: ``(T,)`` accuracy after each epoch on the clean training images, in eval mode; NaN where an
            epoch was not measured
        epoch_seconds: ``(T,)`` wall time of each epoch, including the measurement
        dynamics (None): ``(M, N)`` float16 probability of the true label after each of the M measured epochs
        prediction (None): ``(N, classes)`` mean over epochs of the probabilities
        incidents (()): departures from the plan, one sentence each, for example why the training ended early
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

    Imported scores have no learning curves: T is 0. All runs have the same number of epochs. Files of version 0.1 may
    hold runs that ended after different numbers: T is then the largest one, and the curves of the others end in NaN.

    Attributes:
        model: the name of the network
        ids: ``(N,)`` sample ids
        filepaths: ``(N,)`` image files
        labels: ``(N,)`` true class of each sample, an index into ``classes``; -1 where it is unknown
        classes: the names of the classes
        run_scores: ``(R, N)`` values of each difficulty score in each run, by name; learnability is always there
        train_loss: ``(R, T)`` mean training loss during each epoch, on augmented images
        train_accuracy: ``(R, T)`` training accuracy during each epoch, on augmented images
        measured_accuracy: ``(R, T)`` accuracy after each epoch on the clean training images, in eval mode; NaN where an
            epoch was not measured
        epoch_seconds: ``(R, T)`` wall time of each epoch, including the measurement
        config: options, seeds, the epochs of each run (``epochs_run``), device, versions, and departures from the plan
            (``incidents``, if there are any), as values that JSON can store
        dynamics (None): ``(M, N)`` float16 probability of the true label after each of the M measured epochs, the mean
            over the runs that measured this epoch; None if it was not recorded
        prediction (None): ``(N, classes)`` float16 mean prediction over epochs and runs; None if it was not recorded
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
        """Combine the runs of one network.

        Args:
            records: one or more finished runs of the same network
            ids: ``(N,)`` sample ids in the order of the records' samples
            filepaths: ``(N,)`` image files in the same order
            labels: ``(N,)`` true classes in the same order
            classes: the names of the classes
            config: options, device and versions

        Raises:
            ValueError: if the runs have different numbers of epochs, whose means cannot be compared
        """
        epochs_run = [len(record.train_loss) for record in records]
        if len(set(epochs_run)) > 1:
            raise ValueError(f"the runs of {records[0].model} have different numbers of epochs: {epochs_run}")
        incidents = [f"seed {record.seed}: {text}" for record in records for text in record.incidents]
        config = {**config, "seeds": [record.seed for record in records], "epochs_run": epochs_run}
        return cls(
            model=records[0].model,
            ids=ids,
            filepaths=filepaths,
            labels=labels,
            classes=classes,
            run_scores={name: np.stack([record.scores[name] for record in records]) for name in records[0].scores},
            **{name: np.stack([getattr(record, name) for record in records]) for name in CURVES},
            config={**config, "incidents": incidents} if incidents else config,
            dynamics=average_runs([record.dynamics for record in records]),
            prediction=average_runs([record.prediction for record in records]),
        )

    @property
    def num_samples(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def measured_epochs(self) -> IntArray:
        """``(M,)`` the measured epochs, counted from 1: all of them, or every k-th one with ``measure_every=k``."""
        return measured_epochs(self.measured_accuracy)

    @property
    def epochs_run(self) -> IntArray:
        """``(R,)`` the number of epochs that each run trained; ``stop_when_stable`` may have ended them early."""
        return (~np.isnan(self.epoch_seconds)).sum(axis=1)

    @property
    def accuracy(self) -> float:
        """Mean over runs of the last measured accuracy on the clean training images; NaN without epochs."""
        return float(np.mean(self.final_accuracy))

    @property
    def final_accuracy(self) -> FloatArray:
        """``(R,)`` the last measured accuracy of each run on the clean training images; NaN without epochs."""
        known = [curve[~np.isnan(curve)] for curve in self.measured_accuracy]
        return np.array([curve[-1] if curve.size else np.nan for curve in known])

    @property
    def evidence(self) -> Evidence | None:
        """The final accuracy and what chance gives; None if it is unknown, or all labels are of one class."""
        accuracy, chance = self.final_accuracy, chance_accuracy(self.labels)
        if np.isnan(accuracy).any() or not chance < 1:
            return None
        return Evidence(tuple(accuracy.tolist()), chance, int((self.labels >= 0).sum()))

    @property
    def run_learnability(self) -> FloatArray:
        """``(R, N)`` learnability of each run."""
        return self.run_scores["learnability"]

    @property
    def learnability(self) -> FloatArray:
        """``(N,)`` learnability: the mean over runs, which estimates the expectation in Eq. 1."""
        return self.run_learnability.mean(axis=0)

    @property
    def rank(self) -> IntArray:
        """``(N,)`` learnability rank, 1 = easiest (Eq. 2)."""
        return mean_score("rank", self.run_scores)

    @property
    def spread(self) -> FloatArray | None:
        """``(N,)`` sample standard deviation (R - 1) of learnability over runs; None for one run."""
        if len(self.run_learnability) < 2:
            return None
        return mean_score("spread", self.run_scores)

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the available scores, in the order of the catalog. The spread needs several runs."""
        return tuple(
            name
            for name in SCORES
            if name in self.run_scores or name == "rank" or (name == "spread" and self.spread is not None)
        )

    def score(self, name: str) -> NDArray[np.float64] | IntArray:
        """Return the mean of a score over runs. Forgetting is infinite if any run never predicted the label.

        Args:
            name: one of :attr:`scores`

        Returns:
            ``(N,)`` values

        Raises:
            ValueError: if the score is not available
        """
        if name not in self.scores:
            raise ValueError(f"{self.model} has no score {name!r}; it has: {', '.join(self.scores)}")
        return mean_score(name, self.run_scores)

    @property
    def suggested(self) -> IntArray | None:
        """``(N,)`` class with the largest mean prediction, an index into ``classes``; None without predictions."""
        return None if self.prediction is None else self.prediction.argmax(axis=1).astype(np.int64)

    @property
    def seconds(self) -> float:
        """Wall time of all runs in seconds."""
        return float(np.nansum(self.epoch_seconds))

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per sample: id, filepath, label and all :attr:`scores`.

        With predictions there are also suggested_label and suggested_probability.
        """
        import pandas as pd

        # label -1 selects the last name: None
        names = np.array([*self.classes, None], dtype=object)
        columns: dict[str, Any] = {"id": self.ids, "filepath": self.filepaths, "label": names[self.labels]}
        columns.update({name: self.score(name) for name in self.scores})
        if self.prediction is not None:
            columns["suggested_label"] = names[self.suggested]
            columns["suggested_probability"] = self.prediction.max(axis=1).astype(np.float64)
        return pd.DataFrame(columns)

    def learning_curves(self) -> pd.DataFrame:
        """Return one row per run and epoch: seed, epoch, train_loss, train_accuracy, measured_accuracy, seconds."""
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
        # a run that ended early has no rows for the epochs of longer runs
        return curves[curves["seconds"].notna()].reset_index(drop=True)

    def to_npz(self, file: str | Path | BinaryIO) -> None:
        """Save everything to a compressed npz file without pickled objects.

        The file also holds ``learnability`` and ``rank``, so that NumPy alone suffices to use them.

        Args:
            file: a path, to which ".npz" is added if it is missing, or a binary file object
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        write_results(file, values, {"learnability": self.learnability, "rank": self.rank})

    @classmethod
    def from_npz(cls, file: str | Path | BinaryIO) -> ModelResults:
        """Load a file that :meth:`to_npz` wrote.

        Args:
            file: a path, or a binary file object

        Raises:
            FileNotFoundError: if there is no such file
            ValueError: if the file has other content, another format version, or is damaged
        """
        return cls(**read_results(file))

    def to_bytes(self) -> bytes:
        """Return the content of the npz file."""
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


def mean_score(name: str, run_scores: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the score of a network, from the scores of its runs: their mean, apart from rank and spread.

    Args:
        name: the name of the score
        run_scores: ``(R, N)`` values of each measured score by name

    Returns:
        ``(N,)`` values
    """
    if name == "rank":
        return learnability_rank(run_scores["learnability"].mean(axis=0))
    if name == "spread":
        return run_scores["learnability"].std(axis=0, ddof=1)
    return run_scores[name].mean(axis=0)
