"""Writes whole fields onto samples: all of them in one pass, or none.

MongoDB without a replica set has no transactions. What comes near: the values are staged in a collection of their own,
so that whatever takes long or depends on this process is over before a sample is touched; then one ``$merge`` moves
them, inside the server. What was there before is kept until all is done, and put back if anything fails. A journal says
what is going on, so that after a process was killed the next one puts it back.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import Any

import fiftyone as fo
import numpy as np
import psutil
from bson import ObjectId
from pymongo import IndexModel, MongoClient, ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import AutoReconnect, ConnectionFailure
from pymongo.write_concern import WriteConcern

from .arrays import find_ids, pack_ids, read_ids, unpack_ids
from .internals import dataset_id, get_database, reload_samples, sample_collection, set_field_metadata
from .notes import FieldNote, note_of

_STAGING_BATCH = 2_000

_MERGED_AT_ONCE = 10_000
"""From how many samples on the values are moved over in two halves at the same time."""


class WriteError(RuntimeError):
    """The scores could not be written; the dataset is as it was before."""


@dataclass(frozen=True, eq=False)
class Column:
    """A field to be written.

    Attributes:
        name: the name of the field
        ftype: its type
        description: what it says of itself
        info: what this package notes in the field
        values: ``(N,)`` values as MongoDB takes them
        options: further arguments of ``add_sample_field``
        index: the path to be indexed, None for no index
    """

    name: str
    ftype: type[fo.Field]
    description: str
    info: dict[str, Any]
    values: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict)
    index: str | None = None


class Companion:
    """What is to happen in the database together with the writing of columns: nothing, unless a subclass says so."""

    kind = ""
    """How the journal calls it; see :mod:`fiftyone_learnability.dataset.registration`."""

    def note(self) -> dict[str, Any]:
        """What another process needs in order to take it back, should this one be killed: values that BSON holds."""
        return {}

    def begin(self) -> None:
        """Is called before the dataset is touched."""

    def finish(self) -> None:
        """Is called when all values are in place; the last thing that may fail."""

    def undo(self) -> None:
        """Takes back what the other two have done, as far as they came."""

    def tidy(self) -> None:
        """Is called when nothing is taken back any more; may be called again, should it be interrupted."""


def write_columns(
    dataset: fo.Dataset,
    ids: Sequence[str],
    columns: Sequence[Column],
    procedure: Companion,
    keep_others: bool = False,
) -> list[str]:
    """Writes columns onto the samples of a dataset, all or none.

    Samples without a value keep None in new fields, and get None in fields that exist, so that a field never mixes two
    runs. While it goes on, the fields say of themselves that they are being written.

    Args:
        dataset: the dataset
        ids: ``(N,)`` sample ids
        columns: the columns, each with a value for each id
        procedure: what is to happen with it
        keep_others (False): whether samples that are not named keep what they have in fields that exist

    Returns:
        the ids that are no longer in the dataset, whose values are not written

    Raises:
        WriteError: if no id is in the dataset, or the database fails; the dataset is as it was before
    """
    before = {column.name: found for column in columns if (found := dataset.get_field(column.name)) is not None}
    collection: Collection = sample_collection(dataset)
    with Journal(dataset) as journal:
        with journal.on_one_server():
            vanished = _stage(journal.staging, collection, ids, columns, clear_others=bool(before) and not keep_others)
            if len(vanished) == len(ids):
                raise WriteError(f"no scored sample is in the dataset {dataset.name!r} any more: nothing was written")
            if before:
                _keep(collection, journal, list(before), keep_others)
            journal.note(
                columns={column.name: column.index for column in columns},
                texts={name: [found.description, found.info] for name, found in before.items()},
                indexes=list(dataset.list_indexes()),
                kind=procedure.kind,
                procedure=procedure.note(),
            )
        try:
            with journal.on_one_server():
                procedure.begin()
                journal.note(procedure=procedure.note())
                for column in columns:
                    _declare(dataset, column)
                _merge(journal.staging, collection)
                _create_indexes(dataset, [column.index for column in columns if column.index is not None])
                _reveal(dataset, columns)
                procedure.finish()
            journal.note(committed=True)
        except BaseException as error:
            try:
                # should this fail too, the journal stays, and whoever writes next takes it back
                with journal.kept(), journal.on_one_server():
                    if isinstance(error, ConnectionFailure):
                        # what this process believes to have written may be lost
                        dataset.reload()
                    procedure.undo()
                    roll_back(dataset, journal)
            except ConnectionFailure:
                # whoever interrupts a process is to see it end, not how the database is waited for
                if isinstance(error, Exception):
                    raise
            if isinstance(error, Exception):
                raise WriteError(
                    f"writing to the dataset {dataset.name!r} failed: {error}; its fields are as they were"
                ) from error
            raise
        with journal.kept(), journal.on_one_server():
            journal.supersede_others()
            procedure.tidy()
    reload_samples(dataset)
    return vanished


class Journal:
    """What a write is about to do, in the database, for the case that its process is killed in the middle.

    Three collections of our own beside that of the samples: the journal, the values to come, and the values that were.
    They are dropped in the end.

    Args:
        dataset: the dataset
        entry (None): the journal of a process that is gone; a new one is begun by default
    """

    def __init__(self, dataset: fo.Dataset, entry: dict[str, Any] | None = None) -> None:
        self.entry = entry or {"_id": str(ObjectId()), "dataset": dataset_id(dataset), "process": _this_process()}
        self._keep = False
        database, id = get_database(), self.entry["_id"]
        self.staging, self.backup = database[f"{_PREFIX}staging.{id}"], database[f"{_PREFIX}backup.{id}"]
        # on disk before the next step, and with it all that came before: the server may be killed too
        self.collection = database.get_collection(f"{_PREFIX}journal.{id}", write_concern=WriteConcern(w=1, j=True))

    def __enter__(self) -> Journal:
        _WRITING.add(self.entry["_id"])
        self.collection.insert_one(self.entry)
        return self

    def __exit__(self, *_: object) -> None:
        _WRITING.discard(self.entry["_id"])
        if not self._keep:
            self.drop()

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Takes over the journal of a process that is gone, which goes in the end, unless what is done fails.

        Yields:
            whether it is this process that has it; another may have been faster
        """
        id = self.entry["_id"]
        if id in _WRITING:
            # another thread
            yield False
            return
        _WRITING.add(id)
        try:
            found = self.collection.find_one_and_update(
                {"_id": id, "process": self.entry["process"]},
                {"$set": {"process": _this_process(), "recovering": True}},
                return_document=ReturnDocument.AFTER,
            )
            self.entry = found or self.entry
            yield found is not None
        finally:
            _WRITING.discard(id)
        if found is not None:
            self.drop()

    def supersede_others(self) -> None:
        """Sees to it that no other journal puts back what this one has written, once that is committed.

        That of a process on another machine is left alone for a while, in which its fields may be written anew.
        """
        gone = {f"{part}.{name}": "" for name in self.entry["columns"] for part in ("columns", "texts")}
        for journal in _journals(self.collection.database, self.entry["dataset"]):
            if journal["_id"] != self.entry["_id"]:
                self.collection.database[f"{_PREFIX}journal.{journal['_id']}"].update_one({}, {"$unset": gone})

    def note(self, **more: Any) -> None:
        """Adds to the entry, also in the database."""
        self.collection.update_one({"_id": self.entry["_id"]}, {"$set": more})
        self.entry.update(more)

    @contextmanager
    def on_one_server(self) -> Iterator[None]:
        """Sees to it that what is done meanwhile is on the server's disk.

        A server that is killed loses what it has accepted in the last tenth of a second. Started again it goes on
        answering, and reading, which is tried twice, would not tell.

        Raises:
            AutoReconnect: if the server was started anew meanwhile
        """
        client = self.collection.database.client
        before = _server(client)
        try:
            yield
        except ConnectionFailure:
            raise
        except Exception as error:
            # such as a document that FiftyOne has just saved and does not find
            if _server(client) != before:
                raise AutoReconnect("the database was started anew meanwhile") from error
            raise
        self.note(flushed=datetime.now(timezone.utc))
        if _server(client) != before:
            raise AutoReconnect("the database was started anew meanwhile")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keeps the collections for another process if what is done meanwhile fails."""
        self._keep = True
        yield
        self._keep = False

    def drop(self) -> None:
        """Drops the collections."""
        # what is left because the database is away, the next write drops; the journal goes last
        with suppress(ConnectionFailure):
            for collection in (self.staging, self.backup, self.collection):
                collection.drop()


_PREFIX = "learnability."
_WRITING: set[str] = set()
"""The journals of this process whose writes go on."""

_GONE_AFTER = timedelta(hours=1)
"""When a process of another machine, which cannot be looked at, is taken to be gone."""


def left_journals(dataset: fo.Dataset) -> list[Journal]:
    """The journals of processes that were ended in the middle of writing to a dataset.

    Args:
        dataset: the dataset
    """
    found = _journals(get_database(), dataset_id(dataset))
    left = [Journal(dataset, entry) for entry in found if not _goes_on(entry)]
    # what is committed first: it may have been written over what another one would take back
    return sorted(left, key=lambda journal: not journal.entry.get("committed"))


def is_recovering(dataset: fo.Dataset) -> bool:
    """Whether a process is taking back what another one has left.

    Args:
        dataset: the dataset
    """
    found = _journals(get_database(), dataset_id(dataset))
    return any(entry.get("recovering") and _goes_on(entry) for entry in found)


def _journals(database: Database, dataset_id: ObjectId) -> list[dict[str, Any]]:
    names = database.list_collection_names(filter={"name": {"$regex": rf"^{re.escape(_PREFIX)}journal\."}})
    entries = (database[name].find_one({"dataset": dataset_id}) for name in sorted(names))
    return [entry for entry in entries if entry is not None]


def _server(client: MongoClient) -> Any:
    """Something that changes when the server is started again."""
    return client.admin.command("hello").get("topologyVersion", {}).get("processId")


def _this_process() -> dict[str, Any]:
    process = psutil.Process()
    # a process id is used again, but not with the same start
    return {
        "host": socket.gethostname(),
        "pid": process.pid,
        "started": process.create_time(),
        "at": datetime.now(timezone.utc),
    }


def _goes_on(entry: dict[str, Any]) -> bool:
    process = entry["process"]
    if process["host"] != socket.gethostname():
        return datetime.now(timezone.utc) - process["at"].replace(tzinfo=timezone.utc) < _GONE_AFTER
    if process["pid"] == os.getpid():
        return entry["_id"] in _WRITING
    try:
        return abs(psutil.Process(process["pid"]).create_time() - process["started"]) < 1
    except psutil.NoSuchProcess:
        return False


def _stage(
    staging: Collection, collection: Collection, ids: Sequence[str], columns: Sequence[Column], clear_others: bool
) -> list[str]:
    """Puts one document a sample, with all its new values, into the staging collection.

    Returns:
        the ids that have a value but are no longer in the collection
    """
    present = read_ids(collection)
    names = [column.name for column in columns]
    now = datetime.now(timezone.utc)
    packed = pack_ids(ids)
    here = find_ids(packed, present) >= 0
    rows = zip(ids, here.tolist(), zip(*(column.values for column in columns), strict=True), strict=True)
    _insert(
        staging,
        (
            dict(zip(names, values, strict=True), _id=ObjectId(id), last_modified_at=now)
            for id, is_here, values in rows
            if is_here
        ),
    )
    if clear_others:
        nothing = dict.fromkeys(names)
        others = unpack_ids(present[find_ids(present, np.sort(packed)) < 0])
        _insert(staging, ({"_id": ObjectId(id), "last_modified_at": now, **nothing} for id in others))
    return [ids[place] for place in np.flatnonzero(~here).tolist()]


def _insert(staging: Collection, documents: Iterator[dict[str, Any]]) -> None:
    """Inserts documents; the server takes a batch in while the next one is made."""
    with ThreadPoolExecutor(1) as sender:
        sent: Future[Any] | None = None
        while batch := list(islice(documents, _STAGING_BATCH)):
            if sent is not None:
                sent.result()
            sent = sender.submit(staging.insert_many, batch, ordered=False)
        if sent is not None:
            sent.result()


def _merge(source: Collection, target: Collection) -> None:
    """Moves the values over inside the server; ids that are not in the target are left out."""
    parts: list[dict[str, Any]] = [{}]
    if (count := source.estimated_document_count()) >= _MERGED_AT_ONCE:
        middle = next(source.find({}, {"_id": 1}, sort=[("_id", 1)], skip=count // 2, limit=1))["_id"]
        parts = [{"_id": {"$lt": middle}}, {"_id": {"$gte": middle}}]

    def move(part: dict[str, Any]) -> None:
        source.aggregate([{"$match": part}, {"$merge": {**_into(target), "whenMatched": "merge"}}])

    # whatever becomes of one half, the other has come to its end before anything is taken back
    with ThreadPoolExecutor(len(parts)) as movers:
        list(movers.map(move, parts))


def _create_indexes(dataset: fo.Dataset, paths: Sequence[str]) -> None:
    """Makes the indexes that are not there yet, named as FiftyOne names them, in one pass over the samples."""
    there = dataset.list_indexes()
    if new := [IndexModel([(path, 1)], name=f"{path}_1") for path in paths if path not in there]:
        sample_collection(dataset).create_indexes(new)


def _into(target: Collection) -> dict[str, Any]:
    return {"into": target.name, "on": "_id", "whenNotMatched": "discard"}


def _keep(collection: Collection, journal: Journal, names: Sequence[str], staged_alone: bool) -> None:
    """Keeps what the fields held: of all samples, or of those that are written alone."""
    steps: list[dict[str, Any]] = [{"$project": {name: {"$ifNull": [f"${name}", None]} for name in names}}]
    if staged_alone:
        written = {"from": journal.staging.name, "localField": "_id", "foreignField": "_id", "as": "written"}
        steps = [
            {"$lookup": {**written, "pipeline": [{"$project": {"_id": 1}}]}},
            {"$match": {"written": {"$ne": []}}},
            *steps,
        ]
    collection.aggregate([*steps, {"$out": journal.backup.name}])


def _put_back(collection: Collection, journal: Journal, names: Sequence[str]) -> None:
    """Gives the fields what they held, but for samples to which somebody has given another value since."""
    staged = {"from": journal.staging.name, "localField": "_id", "foreignField": "_id", "as": "staged"}
    put = {
        name: {"$cond": [{"$eq": [f"${name}", f"$$new.staged.{name}"]}, f"$$new.{name}", f"${name}"]} for name in names
    }
    journal.backup.aggregate(
        [
            {"$lookup": staged},
            {"$set": {"staged": {"$first": "$staged"}}},
            {"$merge": {**_into(collection), "whenMatched": [{"$set": put}]}},
        ]
    )


def _declare(dataset: fo.Dataset, column: Column) -> None:
    """Adds a field to the schema, or marks one that exists: nobody must take it for complete."""
    # a sample with a value in a field that is not declared could not be loaded at all, so that this comes first
    description, info = f"{column.description} (being written: not complete)", FieldNote(writing=True).to_info()
    found = dataset.get_field(column.name)
    if found is None:
        dataset.add_sample_field(column.name, column.ftype, description=description, info=info, **column.options)
    else:
        found.description, found.info = description, info
        found.save()


def _reveal(dataset: fo.Dataset, columns: Sequence[Column]) -> None:
    """Has the fields say what they are: all of them at once, in one update of one document."""
    set_field_metadata(dataset, {column.name: (column.description, column.info) for column in columns})


def roll_back(dataset: fo.Dataset, journal: Journal) -> None:
    """Puts the dataset back as it was before a write; may be called again, should it be interrupted.

    Args:
        dataset: the dataset
        journal: the journal of the write
    """
    columns, texts = journal.entry["columns"], journal.entry["texts"]
    collection = sample_collection(dataset)
    new = [name for name in columns if name not in texts]
    if new:
        # values before fields, see _declare
        collection.update_many({}, {"$unset": dict.fromkeys(new, "")})
        if declared := [name for name in new if dataset.get_field(name) is not None]:
            dataset.delete_sample_fields(declared)
    if texts:
        _put_back(collection, journal, list(texts))
        for name, (description, info) in texts.items():
            found = dataset.get_field(name)
            if found is not None:
                found.description, found.info = description, info
                found.save()
    ours = {index for name, index in columns.items() if index is not None and name in texts}
    for name in ours.intersection(dataset.list_indexes()).difference(journal.entry["indexes"]):
        dataset.drop_index(name)


def is_being_written(dataset: fo.Dataset, name: str) -> bool:
    """Whether a field is not complete: somebody is writing it, or was when its process was ended.

    Args:
        dataset: the dataset
        name: the field
    """
    return note_of(dataset.get_field(name)).writing
