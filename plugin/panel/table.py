"""The scores that the panel draws, as arrays: read once for each state of a dataset and kept for the next events.

FiftyOne runs the plugin's ``__init__`` anew on each call; this module stays, and with it what it remembers.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from fiftyone_learnability.dataset.arrays import (
    Ids,
    find_ids,
    ids_in_view,
    pack_ids,
    read_columns,
    read_columns_of,
    read_ids,
)
from fiftyone_learnability.dataset.internals import build_app_view, dataset_id, sample_collection
from fiftyone_learnability.dataset.notes import notes_of, owning_run, score_field
from fiftyone_learnability.dataset.registry import unpacked
from fiftyone_learnability.dataset.scored import find_models, label_path_of
from fiftyone_learnability.dataset.stages import check_stage_classes
from fiftyone_learnability.experiment.curves import measured_epochs
from fiftyone_learnability.experiment.files import Archive, open_archive
from fiftyone_learnability.scores.catalog import SCORES

from ..memory import remember

Stages = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Scope:
    """The samples that the panel speaks of.

    Attributes:
        stages: the stages of their view, serialized
        filters: the filters of the App's sidebar
        mark: changes whenever either does
    """

    stages: Stages
    filters: dict[str, Any]
    mark: str


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """All scores of N samples that are fields.

    Attributes:
        models: the networks
        scores: the names of the scores of each network, and of the consensus where there is one, which comes last
        columns: ``(N,)`` values by field, NaN where a sample has none
        ids: ``(N,)`` ids of the samples that any network has scored, as bytes, sorted
        classes: the labels' classes, sorted
        labels: ``(N,)`` index into the classes, -1 for none
        label_path: the field of the labels, None if it is gone
        num_samples: the samples of the view, with and without scores
    """

    models: tuple[str, ...]
    scores: dict[str, tuple[str, ...]]
    columns: dict[str, NDArray[np.float64]]
    ids: Ids
    classes: tuple[Any, ...]
    labels: NDArray[np.int64]
    label_path: str | None
    num_samples: int

    def select(self, keep: NDArray[np.bool_], num_samples: int) -> ScoreTable:
        """The samples for which ``keep`` is true."""
        return replace(
            self,
            columns={field: values[keep] for field, values in self.columns.items()},
            ids=self.ids[keep],
            labels=self.labels[keep],
            num_samples=num_samples,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """The networks, and the consensus where there is one."""
        return tuple(self.scores)

    @property
    def learnability(self) -> dict[str, NDArray[np.float64]]:
        """``(N,)`` learnability by network."""
        return {model: self.values(model, "learnability") for model in self.models}

    @property
    def num_ranks(self) -> int:
        """The largest rank of any network, at least 1."""
        ranks = (self.values(model, "rank") for model in self.sources)
        return int(max((np.nanmax(values, initial=1) for values in ranks), default=1))

    def values(self, model: str, score: str) -> NDArray[np.float64]:
        """``(N,)`` a score of a network; all NaN if it has none."""
        values = self.columns.get(score_field(model, score))
        return np.full(len(self.ids), np.nan) if values is None else values


def load_scores(dataset: fo.Dataset, scope: Scope) -> ScoreTable:
    """The scores of the samples of a scope.

    Args:
        dataset: the dataset
        scope: what the panel speaks of
    """
    state = state_of(dataset)
    everything = remember(("all", *state), lambda: _read(dataset, state))
    if not scope.stages and not scope.filters:
        return everything

    def narrow() -> ScoreTable:
        inside = _selected(dataset, scope, everything.ids)
        if inside is None:
            inside = ids_in_view(build_view(dataset, scope.stages, scope.filters))
        return everything.select(find_ids(everything.ids, inside) >= 0, len(inside))

    return remember(("scope", *state, scope.mark), narrow)


def _selected(dataset: fo.Dataset, scope: Scope, known: Ids) -> Ids | None:
    """The samples of a view that is a selection by id, most of which MongoDB need not be asked for; None of others."""
    if len(scope.stages) != 1 or scope.filters or dataset.media_type == "group":
        return None
    (stage,) = scope.stages
    try:
        if stage["_cls"] != "fiftyone.core.stages.Select":
            return None
        # each may be named several times
        asked = np.unique(pack_ids(dict(stage["kwargs"])["sample_ids"]))
    # a single id, or whatever a request may bring
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    is_known = find_ids(asked, known) >= 0
    others = asked[~is_known]
    if not len(others):
        return asked
    if len(others) > _MOST_READ_AGAIN:
        return None
    there = read_columns_of(sample_collection(dataset), others, [], None)[0]
    return np.sort(np.concatenate([asked[is_known], there]))


def build_view(dataset: fo.Dataset, stages: Stages, filters: dict[str, Any] | None = None) -> foc.SampleCollection:
    """The view of stages and filters.

    Raises:
        ValueError: if the stages are not FiftyOne's
    """
    check_stage_classes(stages or [])
    return build_app_view(dataset, stages, filters)


def load_dynamics(
    dataset: fo.Dataset, model: str
) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.float16]] | None:
    """The probability of every sample's label after every epoch.

    Args:
        dataset: the dataset
        model: the network

    Returns:
        ``(N,)`` ids, sorted, ``(M,)`` the epochs that were measured, and ``(M, N)`` probabilities; None if its run is
        gone or did not keep them
    """
    archive = _archive(dataset, model)
    if archive is None or "dynamics" not in archive:
        return None

    def read() -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.float16]]:
        return archive["ids"], measured_epochs(archive["measured_accuracy"]), archive["dynamics"]

    return remember(("dynamics", id(archive)), read, archive)


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


def _archive(dataset: fo.Dataset, model: str) -> Archive | None:
    """The arrays that the run of a network keeps, each read when it is asked for: the dynamics are large."""
    key = owning_run(dataset, score_field(model))
    if key is None or key not in dataset.list_runs():
        return None

    def read() -> dict[str, Archive]:
        # once for all networks of the run, which are stored as one
        results = dataset.load_run_results(key, cache=False, load_view=False)
        archives = {} if results is None else unpacked(results.archives)
        return {name: open_archive(io.BytesIO(archive)) for name, archive in archives.items()}

    timestamp = dataset.get_run_info(key).timestamp
    return remember(("archives", str(dataset_id(dataset)), key, str(timestamp)), read).get(model)


def measured_scores(dataset: fo.Dataset, model: str) -> tuple[str, ...]:
    """The scores that the run of a network keeps, written as fields or not.

    Args:
        dataset: the dataset
        model: the network
    """
    archive = _archive(dataset, model)
    if archive is None:
        return ()
    kept = {name.removeprefix("run_") for name in archive.files if name.startswith("run_")} | {"rank"}
    if "learnability" in kept and archive["train_loss"].shape[0] > 1:
        kept.add("spread")
    return tuple(name for name in SCORES if name in kept)


def predicted_classes(dataset: fo.Dataset, model: str) -> tuple[str, ...]:
    """The classes that the mean predictions of a network are over; none if its run has not kept them.

    Args:
        dataset: the dataset
        model: the network
    """
    archive = _archive(dataset, model)
    if archive is None or "prediction" not in archive.files:
        return ()
    return tuple(json.loads(str(archive["header"]))["classes"])


def state_of(dataset: fo.Dataset) -> tuple[Hashable, ...]:
    """Changes whenever samples, scores or runs of a dataset do."""
    return (
        str(dataset_id(dataset)),
        str(_newest(dataset)),
        sample_collection(dataset).estimated_document_count(),
        tuple(_written_scores(dataset).items()),
    )


def _newest(dataset: fo.Dataset) -> datetime | None:
    """When a sample was changed last."""
    # by its index, so that this costs nothing
    found = sample_collection(dataset).find_one({}, {"last_modified_at": 1, "_id": 0}, sort=[("last_modified_at", -1)])
    newest = (found or {}).get("last_modified_at")
    return newest if isinstance(newest, datetime) else None


def _written_scores(dataset: fo.Dataset) -> dict[str, tuple[str, ...]]:
    """The scores that are fields, by network, the consensus last; only of networks that have learnability."""
    found: dict[str, set[str]] = {}
    derived = set()
    # once through the schema, since this is asked for at each event
    for name, note in notes_of(dataset).items():
        # a field that somebody has renamed is no longer where everybody looks for it
        if note.model is not None and note.score in SCORES and name == score_field(note.model, note.score):
            found.setdefault(note.model, set()).add(note.score)
            derived |= {note.model} if note.derived else set()
    return {
        model: tuple(name for name in SCORES if name in found[model])
        for model in sorted(found, key=lambda model: model in derived)
        if "learnability" in found[model]
    }


def _read(dataset: fo.Dataset, state: tuple[Hashable, ...]) -> ScoreTable:
    """All scores: read anew of the samples that were changed since they were read last, or of all."""
    # what is dated before this has come
    settled = datetime.now(timezone.utc).replace(tzinfo=None) - _LATE
    newest = _newest(dataset)
    before = _last_read.get(state[0])
    table = None if before is None else _read_again(dataset, state, before)
    if table is None:
        table = _read_all(dataset)
    _last_read[state[0]] = state, None if newest is None else min(newest, settled), table
    while len(_last_read) > _DATASETS_KEPT:
        _last_read.pop(next(iter(_last_read)), None)
    return table


_LastRead = tuple[tuple[Hashable, ...], datetime | None, ScoreTable]

_last_read: dict[Hashable, _LastRead] = {}
"""What was read last of a dataset: its state, up to when no change can have been missed, and the scores."""

_DATASETS_KEPT = 2
_MOST_READ_AGAIN = 10_000

_LATE = timedelta(minutes=1)
"""By how much a change may be dated too early: clocks differ, and a write takes a while."""


def _read_again(dataset: fo.Dataset, state: tuple[Hashable, ...], before: _LastRead) -> ScoreTable | None:
    """The scores that were read before, with those that were changed since; None if all have to be read."""
    (_, _, count, scores), settled, table = before
    if settled is None or (count, scores) != state[2:] or table.label_path != _label_path(dataset):
        return None
    collection, since = sample_collection(dataset), {"last_modified_at": {"$gt": settled}}
    if collection.count_documents(since, limit=_MOST_READ_AGAIN + 1) > _MOST_READ_AGAIN:
        return None
    changed = read_ids(collection, [{"$match": since}])
    places = find_ids(changed, table.ids)
    # one that is new here takes the place of one that was deleted, or has only now been scored
    if (places < 0).any():
        return None
    there, values, labels = read_columns_of(collection, changed, list(table.columns), table.label_path)
    number = {label: index for index, label in enumerate(table.classes)}
    known = [label is None or (isinstance(label, (str, int)) and label in number) for label in labels]
    if not np.array_equal(there, changed) or not all(known):
        return None
    codes = np.array([-1 if label is None else number[label] for label in labels], np.int64)
    new = dict(zip(table.columns, values, strict=True))
    if np.isnan([new[score_field(model)] for model in table.sources]).all(axis=0).any():
        # it may have lost its scores
        return None
    same = [np.array_equal(old[places], new[name], equal_nan=True) for name, old in table.columns.items()]
    if all(same) and np.array_equal(table.labels[places], codes):
        # as after tagging: what was drawn of them holds as well
        return table
    columns, new_labels = {name: old.copy() for name, old in table.columns.items()}, table.labels.copy()
    new_labels[places] = codes
    for name, column in columns.items():
        column[places] = new[name]
    if len(np.unique(new_labels[new_labels >= 0])) < len(table.classes):
        # the last of a class has another label
        return None
    return replace(table, columns=columns, labels=new_labels)


def _label_path(dataset: fo.Dataset) -> str | None:
    return next((path for model in _written_scores(dataset) if (path := label_path_of(dataset, model))), None)


def _read_all(dataset: fo.Dataset) -> ScoreTable:
    scores, networks = _written_scores(dataset), set(find_models(dataset))
    label_path = _label_path(dataset)
    fields = [score_field(model, score) for model, names in scores.items() for score in names]
    collection = sample_collection(dataset)
    total = collection.estimated_document_count()
    scored = {"$or": [{score_field(model): {"$ne": None}} for model in scores]} if scores else {"_id": None}
    ids, values, labels, classes = read_columns(collection, scored, fields, label_path)
    # those of several types, which nobody but a hostile hand mixes, can be put into some order too
    order = sorted(range(len(classes)), key=lambda index: (isinstance(classes[index], str), classes[index]))
    number = np.full(len(classes) + 1, -1)
    number[order] = np.arange(len(classes))
    return ScoreTable(
        tuple(model for model in scores if model in networks),
        scores,
        dict(zip(fields, values, strict=True)),
        ids,
        tuple(classes[index] for index in order),
        # -1 is the last
        number[labels],
        label_path,
        total,
    )
