"""The scores that the panel draws, as arrays: read once for each state of a dataset and kept for the next events.

FiftyOne runs the plugin's ``__init__`` anew on each call; this module stays, and with it what it remembers.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.server.view as fosv
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.compare import find_models, label_path_of
from fiftyone_learnability.dataset.registry import INFO_KEY, rank_field, score_field

_REMEMBERED = 16
_Value = TypeVar("_Value")


@dataclass(eq=False)
class _Entry:
    """A value that is remembered, or is being made; FiftyOne runs events in several threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: bool = False
    value: Any = None
    alive: tuple[object, ...] = ()


_memory: OrderedDict[Hashable, _Entry] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The scores of N samples by M networks.

    Attributes:
        models: the networks
        ids: ``(N,)`` ids of the samples that any network has scored
        learnability: ``(N,)`` by network, NaN where a sample has none
        rank: ``(N,)`` learnability rank by network, as written, NaN likewise
        classes: the labels' classes, sorted
        labels: ``(N,)`` index into the classes, -1 for none
        label_path: the field of the labels, None if it is gone
        num_samples: the samples of the view, with and without scores
    """

    models: tuple[str, ...]
    ids: NDArray[np.str_]
    learnability: dict[str, NDArray[np.float64]]
    rank: dict[str, NDArray[np.float64]]
    classes: tuple[Any, ...]
    labels: NDArray[np.int64]
    label_path: str | None
    num_samples: int

    def select(self, keep: NDArray[np.bool_], num_samples: int) -> ScoreTable:
        """The samples for which ``keep`` is true."""
        return ScoreTable(
            self.models,
            self.ids[keep],
            {model: values[keep] for model, values in self.learnability.items()},
            {model: values[keep] for model, values in self.rank.items()},
            self.classes,
            self.labels[keep],
            self.label_path,
            num_samples,
        )

    @property
    def num_ranks(self) -> int:
        """The largest rank of any network, at least 1."""
        return int(max((np.nanmax(ranks, initial=1) for ranks in self.rank.values()), default=1))

    def values(self, model: str, quantity: str) -> NDArray[np.float64]:
        """Learnability or rank of a network."""
        return self.learnability[model] if quantity == "learnability" else self.rank[model]


def load_scores(dataset: fo.Dataset, stages: list[dict[str, Any]], filters: dict[str, Any] | None) -> ScoreTable:
    """The scores of the samples that stages and filters leave.

    Args:
        dataset: the dataset
        stages: the stages of the view, serialized
        filters: the filters of the App's sidebar
    """
    state = _state_of(dataset)
    everything = remember(("all", *state), lambda: _read_all(dataset))
    if not stages and not filters:
        return everything
    scope = json.dumps([stages, filters], sort_keys=True, default=str)

    def narrow() -> ScoreTable:
        ids = np.array(build_view(dataset, stages, filters).values("id"), dtype=np.str_)
        return everything.select(np.isin(everything.ids, ids), len(ids))

    return remember(("scope", *state, scope), narrow)


def build_view(
    dataset: fo.Dataset, stages: list[dict[str, Any]], filters: dict[str, Any] | None = None
) -> foc.SampleCollection:
    """The view of stages and filters."""
    return fosv.get_view(dataset, stages=stages or None, filters=filters or None)


def load_dynamics(dataset: fo.Dataset, model: str) -> tuple[NDArray[np.str_], NDArray[np.float16]] | None:
    """The probability of every sample's label after every epoch.

    Args:
        dataset: the dataset
        model: the network

    Returns:
        ``(N,)`` ids, sorted, and ``(T, N)`` probabilities; None if its run is gone or did not keep them
    """
    archive = _archive(dataset, model)
    if archive is None or "dynamics" not in archive:
        return None
    return remember(("dynamics", id(archive)), lambda: (archive["ids"], archive["dynamics"]), archive)


def load_ahead(dataset: fo.Dataset, models: tuple[str, ...]) -> None:
    """Starts to read the dynamics of some networks, which takes a second for 50,000 samples, before anybody asks.

    Args:
        dataset: the dataset
        models: the networks
    """

    def read() -> None:
        for model in models:
            load_dynamics(dataset, model)

    threading.Thread(target=read, daemon=True).start()


def load_training_curves(dataset: fo.Dataset, model: str) -> dict[str, NDArray[np.float64]] | None:
    """The learning curves of the trainings of a network.

    Args:
        dataset: the dataset
        model: the network

    Returns:
        ``(runs, epochs)`` train_loss, train_accuracy and measured_accuracy; None if its run is gone
    """
    archive = _archive(dataset, model)
    if archive is None:
        return None
    return {name: archive[name] for name in ("train_loss", "train_accuracy", "measured_accuracy")}


def _archive(dataset: fo.Dataset, model: str) -> np.lib.npyio.NpzFile | None:
    """The arrays that the run of a network keeps, each read when it is asked for: the dynamics are large."""
    written = dataset.get_field(score_field(model))
    key = ((written.info or {}) if written else {}).get(INFO_KEY, {}).get("run")
    if key is None or key not in dataset.list_runs():
        return None

    def read() -> dict[str, np.lib.npyio.NpzFile]:
        # once for all networks of the run, which are stored as one
        results = dataset.load_run_results(key, cache=False, load_view=False)
        archives = {} if results is None else results.archives
        return {
            name: np.load(io.BytesIO(base64.b64decode(archive)), allow_pickle=False)
            for name, archive in archives.items()
        }

    timestamp = dataset.get_run_info(key).timestamp
    return remember(("archives", str(dataset._doc.id), key, str(timestamp)), read).get(model)


def _state_of(dataset: fo.Dataset) -> tuple[Hashable, ...]:
    """Changes whenever samples, scores or runs of a dataset do."""
    collection = dataset._sample_collection
    # by its index, so that this costs nothing
    newest = collection.find_one({}, {"last_modified_at": 1, "_id": 0}, sort=[("last_modified_at", -1)])
    return (
        str(dataset._doc.id),
        str(newest),
        collection.estimated_document_count(),
        tuple(find_models(dataset)),
    )


def _read_all(dataset: fo.Dataset) -> ScoreTable:
    models = find_models(dataset)
    label_path = label_path_of(dataset, models[0]) if models else None
    fields = [name for model in models for name in (score_field(model), rank_field(model))]
    projection = dict.fromkeys(fields + ([label_path] if label_path else []), 1)
    total = dataset._sample_collection.estimated_document_count()
    ids, labels = [], []
    columns: list[list[float]] = [[] for _ in fields]
    nan = float("nan")
    path = label_path.split(".") if label_path else []
    scored = {"$or": [{score_field(model): {"$ne": None}} for model in models]} if models else {"_id": None}
    for document in dataset._sample_collection.find(scored, projection, batch_size=20_000):
        ids.append(str(document["_id"]))
        for column, name in zip(columns, fields, strict=True):
            value = document.get(name)
            column.append(nan if value is None else value)
        value = document
        for part in path:
            value = (value or {}).get(part)
        labels.append(value if path else None)
    classes = sorted({label for label in labels if label is not None})
    number = {label: index for index, label in enumerate(classes)}
    arrays = {name: np.array(column, np.float64) for name, column in zip(fields, columns, strict=True)}
    return ScoreTable(
        tuple(models),
        np.array(ids, np.str_),
        {model: arrays[score_field(model)] for model in models},
        {model: arrays[rank_field(model)] for model in models},
        tuple(classes),
        np.array([number.get(label, -1) for label in labels], np.int64),
        label_path,
        total,
    )


def remember(key: Hashable, make: Callable[[], _Value], *alive: object) -> _Value:
    """What ``make`` gives, kept for the next calls with the same key; the oldest is forgotten.

    Args:
        key: names the value
        make: makes it
        *alive: objects to be kept as long, so that an ``id()`` in the key is not taken by others
    """
    with _lock:
        entry = _memory.setdefault(key, _Entry())
        _memory.move_to_end(key)
        while len(_memory) > _REMEMBERED:
            _memory.popitem(last=False)
    # one event makes it, others that ask for it meanwhile wait
    with entry.lock:
        if not entry.made:
            entry.value, entry.alive, entry.made = make(), alive, True
    return entry.value
