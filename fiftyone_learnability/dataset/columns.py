"""Writes whole fields onto samples: all of them in one pass, or none.

MongoDB without a replica set has no transactions. This comes close:

1. The new values go into a staging collection. Everything slow, and everything that depends on this process, happens
   before a sample is touched.
2. The values before are copied to a backup collection.
3. The fields are declared, and one ``$merge`` moves the values inside the server.
4. If any step fails, the backup is put back.

A journal in the database describes the write, so that the next process can undo it if this one is killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fiftyone as fo
from pymongo import IndexModel
from pymongo.errors import ConnectionFailure

from .internals import reload_samples, sample_collection, set_field_metadata
from .journal import Journal
from .notes import FieldNote
from .staging import back_up, flatten, merge, restore, stage, unflatten


class WriteError(RuntimeError):
    """The scores could not be written; the dataset is as it was before."""


@dataclass(frozen=True, eq=False)
class Column:
    """A field to write.

    Attributes:
        name: the name of the field, or the path of a field inside an embedded document
        ftype: its type
        description: its description
        info: its info, see :meth:`fiftyone_learnability.dataset.notes.FieldNote.to_info`
        values: ``(N,)`` values as MongoDB stores them
        options: further arguments of ``add_sample_field``
        index: the path to index, None for no index
    """

    name: str
    ftype: type[fo.Field]
    description: str
    info: dict[str, Any]
    values: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict)
    index: str | None = None


class Companion:
    """A change to the database that belongs to a write of columns. This base class changes nothing.

    Only its note survives a kill, so undoing and completing take nothing but the note.
    """

    kind = ""
    """The name in the journal, see :data:`fiftyone_learnability.dataset.recovery.COMPANIONS`."""

    def note(self) -> dict[str, Any]:
        """Return what undoing or completing needs to know, in values that BSON can hold."""
        return {}

    def begin(self) -> None:
        """Make the changes that come before the dataset's samples are touched."""

    def finish(self) -> None:
        """Make the changes that come when all values are in place; the last step that may fail."""

    @classmethod
    def undo(cls, dataset: fo.Dataset, note: dict[str, Any]) -> None:
        """Undo as much of :meth:`begin` and :meth:`finish` as was done; may be called again after an interruption."""

    @classmethod
    def tidy(cls, dataset: fo.Dataset, note: dict[str, Any]) -> None:
        """Clean up after the write is committed; may be called again after an interruption."""


def write_columns(
    dataset: fo.Dataset,
    ids: Sequence[str],
    columns: Sequence[Column],
    companion: Companion,
    keep_others: bool = False,
) -> list[str]:
    """Write columns onto the samples of a dataset, all or none.

    Samples without a value keep None in new fields and get None in existing ones, so that a field never mixes two
    runs. While a field is being written, its note says so.

    Args:
        dataset: the dataset
        ids: ``(N,)`` sample ids
        columns: the columns, each with a value for each id
        companion: what else changes with them
        keep_others (False): True if samples that are not in ``ids`` keep their values in existing fields

    Returns:
        the ids that are no longer in the dataset; their values are not written

    Raises:
        WriteError: if no id is in the dataset, or the database fails; the dataset is as it was before
    """
    with Journal(dataset) as journal:
        vanished = _prepare(dataset, journal, ids, columns, companion, keep_others)
        try:
            with journal.on_one_server():
                companion.begin()
                journal.note(procedure=companion.note())
                for column in columns:
                    declare(dataset, column)
                merge(journal.staging, sample_collection(dataset), [column.name for column in columns])
                create_indexes(dataset, [column.index for column in columns if column.index is not None])
                reveal(dataset, columns)
                companion.finish()
            journal.note(committed=True)
        except BaseException as error:
            try:
                undo_write(dataset, journal, companion, reload=isinstance(error, ConnectionFailure))
            except ConnectionFailure:
                # the journal stays, and the next write undoes this one; a Ctrl-C must not wait for the database
                if isinstance(error, Exception):
                    raise
            if isinstance(error, Exception):
                raise WriteError(
                    f"writing to the dataset {dataset.name!r} failed: {error}; its fields are as they were"
                ) from error
            raise
        with journal.kept(), journal.on_one_server():
            journal.supersede_others()
            companion.tidy(dataset, companion.note())
    reload_samples(dataset)
    return vanished


def _prepare(
    dataset: fo.Dataset,
    journal: Journal,
    ids: Sequence[str],
    columns: Sequence[Column],
    companion: Companion,
    keep_others: bool,
) -> list[str]:
    """Stage the new values, back up the old ones, and describe the write in the journal; return the vanished ids."""
    fields = {column.name: dataset.get_field(column.name) for column in columns}
    existing = {name: field for name, field in fields.items() if field is not None}
    samples = sample_collection(dataset)
    with journal.on_one_server():
        values = {column.name: column.values for column in columns}
        vanished = stage(journal.staging, samples, ids, values, clear_others=bool(existing) and not keep_others)
        if len(vanished) == len(ids):
            raise WriteError(f"no scored sample is in the dataset {dataset.name!r} any more: nothing was written")
        if existing:
            back_up(samples, journal.backup, list(existing), journal.staging if keep_others else None)
        journal.note(
            columns={flatten(column.name): column.index for column in columns},
            texts={flatten(name): [field.description, field.info] for name, field in existing.items()},
            indexes=list(dataset.list_indexes()),
            kind=companion.kind,
            procedure=companion.note(),
        )
    return vanished


def declare(dataset: fo.Dataset, column: Column) -> None:
    """Add a field to the schema, or mark an existing one, as incomplete."""
    # before its values come: FiftyOne cannot load samples with values in undeclared fields
    description, info = (
        f"{column.description} (being written: not complete)",
        FieldNote(writing=True, field=column.name).to_info(),
    )
    if dataset.get_field(column.name) is None:
        dataset.add_sample_field(column.name, column.ftype, description=description, info=info, **column.options)
    else:
        _set_texts(dataset, column.name, description, info)


def create_indexes(dataset: fo.Dataset, paths: Sequence[str]) -> None:
    """Create the missing indexes in one pass over the samples, with the names that FiftyOne would give them."""
    existing = dataset.list_indexes()
    if missing := [IndexModel([(path, 1)], name=f"{path}_1") for path in paths if path not in existing]:
        sample_collection(dataset).create_indexes(missing)


def reveal(dataset: fo.Dataset, columns: Sequence[Column]) -> None:
    """Give all fields their descriptions and notes, in one update of one document."""
    set_field_metadata(dataset, {column.name: (column.description, column.info) for column in columns})


def undo_write(dataset: fo.Dataset, journal: Journal, companion: Companion, reload: bool) -> None:
    """Undo a write that failed. If this fails too, the journal stays and the next write undoes it.

    Args:
        dataset: the dataset
        journal: the journal of the write
        companion: its companion
        reload: True to reload the dataset first, because the server may have lost what this process wrote
    """
    with journal.kept(), journal.on_one_server():
        if reload:
            dataset.reload()
        companion.undo(dataset, companion.note())
        roll_back(dataset, journal)


def roll_back(dataset: fo.Dataset, journal: Journal) -> None:
    """Undo the columns of a write; may be called again after an interruption.

    Args:
        dataset: the dataset
        journal: the journal of the write
    """
    columns: Mapping[str, str | None] = {unflatten(name): index for name, index in journal.entry["columns"].items()}
    texts: Mapping[str, Sequence[Any]] = {unflatten(name): text for name, text in journal.entry["texts"].items()}
    samples = sample_collection(dataset)
    if new := [name for name in columns if name not in texts]:
        # values before fields, see declare
        samples.update_many({}, {"$unset": dict.fromkeys(new, "")})
        if declared := [name for name in new if dataset.get_field(name) is not None]:
            dataset.delete_sample_fields(declared)
    if texts:
        restore(samples, journal.backup, list(texts), journal.staging)
        for name, (description, info) in texts.items():
            if dataset.get_field(name) is not None:
                _set_texts(dataset, name, description, info)
    indexes = {index for name, index in columns.items() if index is not None and name in texts}
    for name in indexes.intersection(dataset.list_indexes()).difference(journal.entry["indexes"]):
        dataset.drop_index(name)


def _set_texts(dataset: fo.Dataset, name: str, description: str | None, info: dict[str, Any] | None) -> None:
    field = dataset.get_field(name)
    field.description, field.info = description, info
    field.save()
