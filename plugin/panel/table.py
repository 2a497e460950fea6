"""The scores that the panel shows, as arrays.

The fields of a dataset are read once, and after a change of a few samples only those are read again. Scores that the
runs measured and no field holds come from the runs' archives when a plot needs them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, NamedTuple

import fiftyone as fo
import fiftyone.operators as foo
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
from fiftyone_learnability.dataset.internals import dataset_id, sample_collection
from fiftyone_learnability.dataset.notes import notes_of, score_field
from fiftyone_learnability.dataset.scored import find_models, label_path_of
from fiftyone_learnability.scores.catalog import SCORES

from ..archives import load_score, measured_scores
from ..changes import last_change
from ..memory import remember
from .scope import Scope, build_view, scope_of

MOST_READ_AGAIN = 10_000
"""After a change of more samples than this, all samples are read."""

LATENESS = timedelta(minutes=1)
"""A change may be dated this much too early, because clocks differ and a write takes time."""

_versions = itertools.count(time.time_ns())
"""Begins at the clock, since open pages remember versions from before the server was restarted."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The scores of N samples.

    Attributes:
        models: the networks
        scores: the names of the scores of each network, then of the consensus if there is one
        columns: ``(N,)`` values of the scores that are fields, by field, NaN where a sample has none
        unwritten: loads ids and values of the other scores, by the field that they would have
        ids: ``(N,)`` ids of the samples that any network has scored, as bytes, sorted
        classes: the classes of the labels, sorted
        labels: ``(N,)`` index into the classes, -1 for no label
        label_path: the field of the labels, None if it is gone
        num_samples: the number of samples in the view, with and without scores
        version: differs for every table
    """

    models: tuple[str, ...]
    scores: dict[str, tuple[str, ...]]
    columns: dict[str, NDArray[np.float64]]
    unwritten: dict[str, Callable[[], tuple[Ids, NDArray[np.float64]] | None]]
    ids: Ids
    classes: tuple[Any, ...]
    labels: NDArray[np.int64]
    label_path: str | None
    num_samples: int
    version: int = field(default_factory=_versions.__next__, init=False)
    _loaded: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False)

    def select(self, keep: NDArray[np.bool_], num_samples: int) -> ScoreTable:
        """Return the samples for which ``keep`` is true, out of a view of ``num_samples``."""
        return replace(
            self,
            columns={name: values[keep] for name, values in self.columns.items()},
            ids=self.ids[keep],
            labels=self.labels[keep],
            num_samples=num_samples,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """The networks, and the consensus if there is one."""
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
        """Return ``(N,)`` values of a network's score; all NaN if the network does not have it."""
        name = score_field(model, score)
        if name in self.columns:
            return self.columns[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> NDArray[np.float64]:
        measured = self.unwritten[name]() if name in self.unwritten else None
        if measured is None:
            return np.full(len(self.ids), np.nan)
        places = find_ids(self.ids, measured[0])
        # one more value, which the place -1 of samples that the run did not measure finds
        return np.append(measured[1], np.nan)[places]

    def is_written(self, *axes: tuple[str, str]) -> bool:
        """True if scores, each named by network and score, are all fields."""
        return all(score_field(model, score) in self.columns for model, score in axes)


def scope_table(ctx: foo.ExecutionContext) -> ScoreTable:
    """Return the scores of the samples in the panel's scope."""
    return load_scores(ctx.dataset, scope_of(ctx))


def load_scores(dataset: fo.Dataset, scope: Scope) -> ScoreTable:
    """Return the scores of the samples in a scope.

    Args:
        dataset: the dataset
        scope: the scope
    """
    state = dataset_state(dataset)
    everything = remember(("table", state), lambda: _read(dataset, state))
    if not scope.stages:
        return everything

    def narrow() -> ScoreTable:
        inside = _selected_ids(dataset, scope, everything.ids)
        if inside is None:
            inside = ids_in_view(build_view(dataset, scope.stages))
        return everything.select(find_ids(everything.ids, inside) >= 0, len(inside))

    return remember(("table", state, scope.fingerprint), narrow)


def _selected_ids(dataset: fo.Dataset, scope: Scope, scored: Ids) -> Ids | None:
    """Return the samples of a scope that selects samples by id, None for any other scope.

    MongoDB takes long to match many ids, so it is asked only for those that are not known to exist.
    """
    if len(scope.stages) != 1 or dataset.media_type == "group":
        return None
    (stage,) = scope.stages
    try:
        if stage["_cls"] != "fiftyone.core.stages.Select":
            return None
        # a stage may name an id several times
        ids = np.unique(pack_ids(dict(stage["kwargs"])["sample_ids"]))
    # a single id in place of a list, or a malformed request
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    is_scored = find_ids(ids, scored) >= 0
    unscored = ids[~is_scored]
    if not len(unscored):
        return ids
    if len(unscored) > MOST_READ_AGAIN:
        return None
    existing = read_columns_of(sample_collection(dataset), unscored, [], None)[0]
    return np.sort(np.concatenate([ids[is_scored], existing]))


class DatasetState(NamedTuple):
    """Differs whenever samples, scores or runs of a dataset have changed.

    Attributes:
        dataset_id: the id of the dataset
        newest: when a sample was changed last
        num_samples: the number of samples
        scores: (network, names of its scores) for each network with scores in fields
        measured: (network, names of its scores) of those and of scores in archives
    """

    dataset_id: Hashable
    newest: datetime | None
    num_samples: int
    scores: tuple[tuple[str, tuple[str, ...]], ...]
    measured: tuple[tuple[str, tuple[str, ...]], ...]


def dataset_state(dataset: fo.Dataset) -> DatasetState:
    """Return the state of a dataset. This is fast: it uses an index."""
    scores = _scores_in_fields(dataset)
    measured = {model: {*names, *measured_scores(dataset, model)} for model, names in scores.items()}
    return DatasetState(
        str(dataset_id(dataset)),
        *last_change(dataset),
        tuple(scores.items()),
        tuple((model, tuple(name for name in SCORES if name in names)) for model, names in measured.items()),
    )


def _scores_in_fields(dataset: fo.Dataset) -> dict[str, tuple[str, ...]]:
    """Return the scores that are fields by network, the consensus last; only of networks that have learnability."""
    scores: dict[str, set[str]] = {}
    derived = set()
    # visit the schema once, because every event calls this
    for note in notes_of(dataset).values():
        if note.model is not None and note.score in SCORES:
            scores.setdefault(note.model, set()).add(note.score)
            derived |= {note.model} if note.derived else set()
    return {
        model: tuple(name for name in SCORES if name in scores[model])
        for model in sorted(scores, key=lambda model: model in derived)
        if "learnability" in scores[model]
    }


def _label_path(dataset: fo.Dataset) -> str | None:
    paths = (label_path_of(dataset, model) for model in _scores_in_fields(dataset))
    return next((path for path in paths if path), None)


class _LastRead(NamedTuple):
    """The last reading of a dataset.

    Attributes:
        state: the state of the dataset then
        settled: every change that is dated before this has been read
        table: the scores
    """

    state: DatasetState
    settled: datetime | None
    table: ScoreTable


_DATASETS_KEPT = 2
_last_read: dict[Hashable, _LastRead] = {}
"""The last reading by dataset id."""


def keep_scores(dataset: fo.Dataset, before: DatasetState, ids: list[str]) -> None:
    """Keep the scores that were read before an event's own write, if it has left scores and labels as they were.

    Args:
        dataset: the dataset
        before: its state before the write
        ids: the samples that were written, none of whose scores has changed
    """
    last = _last_read.get(before.dataset_id)
    # others may have written too: then all that has changed is read
    if last is None or last.state != before:
        return
    table = last.table
    existing, _, labels = read_columns_of(sample_collection(dataset), np.sort(pack_ids(ids)), [], table.label_path)
    places = find_ids(existing, table.ids).tolist()
    known = [None if table.labels[place] < 0 else table.classes[table.labels[place]] for place in places if place >= 0]
    if known == [label for label, place in zip(labels, places, strict=True) if place >= 0]:
        _last_read[before.dataset_id] = last._replace(state=dataset_state(dataset))


def _read(dataset: fo.Dataset, state: DatasetState) -> ScoreTable:
    """Read all scores: only of the samples that changed since the last time if possible, else of all."""
    # taken before reading: every change that is dated earlier has reached the database
    horizon = datetime.now(timezone.utc) - LATENESS
    last = _last_read.get(state.dataset_id)
    if last is not None and last.state == state:
        return last.table
    table = None if last is None else _read_changed(dataset, state, last)
    if table is None:
        table = _read_all(dataset, state)
    settled = None if state.newest is None else min(state.newest, horizon)
    _last_read[state.dataset_id] = _LastRead(state, settled, table)
    while len(_last_read) > _DATASETS_KEPT:
        _last_read.pop(next(iter(_last_read)), None)
    return table


def _read_changed(dataset: fo.Dataset, state: DatasetState, last: _LastRead) -> ScoreTable | None:
    """Read the samples that changed since the last time into a copy of the table; None if all have to be read."""
    table = last.table
    if last.settled is None or last.state.num_samples != state.num_samples:
        return None
    if (last.state.scores, last.state.measured) != (state.scores, state.measured):
        return None
    if table.label_path != _label_path(dataset):
        return None
    collection, since = sample_collection(dataset), {"last_modified_at": {"$gt": last.settled}}
    if collection.count_documents(since, limit=MOST_READ_AGAIN + 1) > MOST_READ_AGAIN:
        return None
    changed = read_ids(collection, [{"$match": since}])
    places = find_ids(changed, table.ids)
    # a sample that the table lacks was scored only now, or was added while another one was deleted
    if (places < 0).any():
        return None
    existing, values, labels = read_columns_of(collection, changed, list(table.columns), table.label_path)
    index = {label: position for position, label in enumerate(table.classes)}
    known = [label is None or (isinstance(label, (str, int)) and label in index) for label in labels]
    if not np.array_equal(existing, changed) or not all(known):
        return None
    new_labels = np.array([-1 if label is None else index[label] for label in labels], np.int64)
    new_values = dict(zip(table.columns, values, strict=True))
    # a sample that lost its last score does not belong into the table
    if np.isnan([new_values[score_field(model)] for model in table.sources]).all(axis=0).any():
        return None
    same = [np.array_equal(old[places], new_values[name], equal_nan=True) for name, old in table.columns.items()]
    if all(same) and np.array_equal(table.labels[places], new_labels):
        # something else changed, such as tags: all plots of the table remain valid
        return table
    columns, all_labels = {name: old.copy() for name, old in table.columns.items()}, table.labels.copy()
    all_labels[places] = new_labels
    for name, column in columns.items():
        column[places] = new_values[name]
    # a class whose last sample got another label does not belong into the table
    if len(np.unique(all_labels[all_labels >= 0])) < len(table.classes):
        return None
    return replace(table, columns=columns, labels=all_labels)


def _read_all(dataset: fo.Dataset, state: DatasetState) -> ScoreTable:
    scores, networks, measured = dict(state.scores), set(find_models(dataset)), dict(state.measured)
    label_path = _label_path(dataset)
    fields = [score_field(model, score) for model, names in scores.items() for score in names]
    collection = sample_collection(dataset)
    num_samples = collection.estimated_document_count()
    scored = {"$or": [{score_field(model): {"$ne": None}} for model in scores]} if scores else {"_id": None}
    ids, values, labels, classes = read_columns(collection, scored, fields, label_path)
    # texts and whole numbers cannot be compared with each other
    order = sorted(range(len(classes)), key=lambda index: (isinstance(classes[index], str), classes[index]))
    # one more place, which the index -1 of samples without a label finds
    new_index = np.full(len(classes) + 1, -1)
    new_index[order] = np.arange(len(classes))
    return ScoreTable(
        tuple(model for model in scores if model in networks),
        measured,
        dict(zip(fields, values, strict=True)),
        {
            score_field(model, score): partial(load_score, dataset, model, score)
            for model, names in measured.items()
            for score in names
            if score not in scores[model]
        },
        ids,
        tuple(classes[index] for index in order),
        new_index[labels],
        label_path,
        num_samples,
    )
