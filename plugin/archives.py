"""The arrays that a run keeps in the database: scores of each run, training curves, dynamics, mean predictions."""

from __future__ import annotations

import io
import json
import threading
from typing import NamedTuple

import fiftyone as fo
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.dataset.arrays import Ids, pack_ids
from fiftyone_learnability.dataset.internals import dataset_id, run_settings
from fiftyone_learnability.dataset.notes import METHOD
from fiftyone_learnability.dataset.registry import find_run, read_results, unpacked
from fiftyone_learnability.experiment.curves import measured_epochs
from fiftyone_learnability.experiment.files import Archive, open_archive
from fiftyone_learnability.experiment.results import mean_score
from fiftyone_learnability.scores.catalog import SCORES
from fiftyone_learnability.scores.label_errors import suggest_labels

from .memory import Memory

MOST_PREDICTED = 20_000_000
"""The largest number of probabilities, samples by classes, that an event reads."""

remember = Memory(20).remember
"""A memory of its own, because the arrays take a second to load."""


class Dynamics(NamedTuple):
    """The probability of each sample's label over the epochs of a training.

    Attributes:
        ids: ``(N,)`` ids of the samples, sorted
        epochs: ``(M,)`` the measured epochs, counted from 1
        probabilities: ``(M, N)`` probability of the label after each of them
    """

    ids: NDArray[np.str_]
    epochs: NDArray[np.int64]
    probabilities: NDArray[np.float16]

    def find(self, id: str) -> int:
        """Return the column of a sample, -1 if the training did not measure it."""
        return _find(self.ids, id)


class OtherLabel(NamedTuple):
    """The label that a network predicted most for a sample, apart from the one that it was trained with.

    Attributes:
        name: the label
        mean: its mean probability over the epochs
    """

    name: str
    mean: float


class _Predictions(NamedTuple):
    """The mean predictions of a network.

    Attributes:
        ids: ``(N,)`` ids of the samples, sorted
        suggested: ``(N,)`` index of the most probable class apart from the label, -1 where the label is unknown
        means: ``(N,)`` its mean probability
        classes: the classes
    """

    ids: NDArray[np.str_]
    suggested: NDArray[np.int64]
    means: NDArray[np.float64]
    classes: tuple[str, ...]


class Predictions(NamedTuple):
    """The class that a network predicted most, averaged over the epochs.

    Attributes:
        ids: ``(N,)`` ids of the samples, as bytes, sorted
        classes: the classes
        best: ``(N,)`` index of the class with the highest mean probability
    """

    ids: Ids
    classes: tuple[str, ...]
    best: NDArray[np.int64]


class _RunVersion(NamedTuple):
    """Identifies the results of a run: another run with the same key has another timestamp."""

    dataset_id: str
    key: str
    timestamp: str


def load_dynamics(dataset: fo.Dataset, model: str) -> Dynamics | None:
    """Return the dynamics of a network, None if its run is gone or did not record them.

    Args:
        dataset: the dataset
        model: the network
    """
    version = _run_version(dataset, model)
    archive = None if version is None else _load_archives(dataset, version).get(model)
    if archive is None or "dynamics" not in archive:
        return None
    return remember(
        ("dynamics", version, model),
        lambda: Dynamics(archive["ids"], measured_epochs(archive["measured_accuracy"]), archive["dynamics"]),
    )


def other_label(dataset: fo.Dataset, model: str, id: str) -> OtherLabel | None:
    """Return the most probable other label of a sample, None if its run is gone or did not record predictions.

    Args:
        dataset: the dataset
        model: the network
        id: the id of the sample
    """
    version = _run_version(dataset, model)
    archive = None if version is None else _load_archives(dataset, version).get(model)
    classes = predicted_classes(dataset, model)
    if archive is None or len(classes) < 2:
        return None

    def load() -> _Predictions:
        labels = archive["labels"]
        suggested, means = suggest_labels(archive["prediction"], np.maximum(labels, 0))
        return _Predictions(archive["ids"], np.where(labels < 0, -1, suggested), means, classes)

    predictions = remember(("predictions", version, model), load)
    row = _find(predictions.ids, id)
    if row < 0 or predictions.suggested[row] < 0:
        return None
    return OtherLabel(classes[predictions.suggested[row]], float(predictions.means[row]))


def load_ahead(dataset: fo.Dataset, models: tuple[str, ...]) -> None:
    """Start to load the dynamics of some networks in a thread: for 50,000 samples this takes about a second.

    Args:
        dataset: the dataset
        models: the networks
    """

    def load() -> None:
        for model in models:
            load_dynamics(dataset, model)

    threading.Thread(target=load, daemon=True).start()


def load_training_curves(dataset: fo.Dataset, model: str) -> dict[str, NDArray[np.float64]] | None:
    """Return the training curves of a network, None if its run is gone.

    Args:
        dataset: the dataset
        model: the network

    Returns:
        ``(runs, epochs)`` train_loss, train_accuracy and measured_accuracy by name
    """
    archive = _load_archive(dataset, model)
    if archive is None:
        return None
    return {name: archive[name] for name in ("train_loss", "train_accuracy", "measured_accuracy")}


def measured_scores(dataset: fo.Dataset, model: str) -> tuple[str, ...]:
    """Return the scores that the run of a network measured, whether they are fields or not.

    Args:
        dataset: the dataset
        model: the network
    """
    key = find_run(dataset, model)
    recorded = run_settings(dataset, METHOD).get(key or "", {}).get("measured", {})
    if model in recorded:
        return tuple(name for name in SCORES if name in recorded[model])
    # runs of early versions do not say what they measured
    archive = _load_archive(dataset, model)
    if archive is None:
        return ()
    measured = {name.removeprefix("run_") for name in archive.files if name.startswith("run_")} | {"rank"}
    if "learnability" in measured and archive["train_loss"].shape[0] > 1:
        measured.add("spread")
    return tuple(name for name in SCORES if name in measured)


def load_score(dataset: fo.Dataset, model: str, score: str) -> tuple[Ids, NDArray[np.float64]] | None:
    """Return a score that the run of a network measured, None if its run is gone.

    Args:
        dataset: the dataset
        model: the network
        score: one of :func:`measured_scores`

    Returns:
        ``(N,)`` ids of the samples, sorted, and ``(N,)`` values
    """
    archive = _load_archive(dataset, model)
    if archive is None:
        return None
    measured = "learnability" if score in ("rank", "spread") else score
    values = mean_score(score, {measured: archive[f"run_{measured}"]})
    return pack_ids(archive["ids"]), np.asarray(values, np.float64)


def predicted_classes(dataset: fo.Dataset, model: str) -> tuple[str, ...]:
    """Return the classes of a network's mean predictions; empty if its run did not record predictions.

    Args:
        dataset: the dataset
        model: the network
    """
    archive = _load_archive(dataset, model)
    if archive is None or "prediction" not in archive.files:
        return ()
    return tuple(json.loads(str(archive["header"]))["classes"])


def _find(ids: NDArray[np.str_], id: str) -> int:
    """Return the position of an id among sorted ones, -1 if it is not there."""
    place = int(np.searchsorted(ids, id))
    return place if place < len(ids) and ids[place] == id else -1


def load_predictions(dataset: fo.Dataset, model: str) -> Predictions | None:
    """Return the predictions of a network, None if its run did not record them or they take long to read.

    Args:
        dataset: the dataset
        model: the network
    """
    version, archive = _run_version(dataset, model), _load_archive(dataset, model)
    classes = predicted_classes(dataset, model)
    if version is None or archive is None or not classes:
        return None

    def load() -> Predictions | None:
        ids = archive["ids"]
        if len(ids) * len(classes) > MOST_PREDICTED:
            return None
        return Predictions(pack_ids(ids), classes, archive["prediction"].argmax(axis=1))

    return remember(("best", version, model), load)


def _load_archive(dataset: fo.Dataset, model: str) -> Archive | None:
    version = _run_version(dataset, model)
    return None if version is None else _load_archives(dataset, version).get(model)


def _run_version(dataset: fo.Dataset, model: str) -> _RunVersion | None:
    """Return which run wrote the scores of a network, None if that run is gone."""
    key = find_run(dataset, model)
    if key is None:
        return None
    return _RunVersion(str(dataset_id(dataset)), key, str(dataset.get_run_info(key).timestamp))


def _load_archives(dataset: fo.Dataset, version: _RunVersion) -> dict[str, Archive]:
    """Open the archives of all networks of a run. Their arrays are read when asked for, since dynamics are large."""

    def load() -> dict[str, Archive]:
        # the database stores the networks of a run together, so load them together
        results = read_results(dataset, version.key)
        archives = {} if results is None else unpacked(results.archives)
        return {model: open_archive(io.BytesIO(archive)) for model, archive in archives.items()}

    return remember(("archives", version), load)
