"""A journal in the database of each unfinished write, from which another process can undo the write after a kill.

Each write adds three collections next to that of the samples: the journal, the new values (staging) and the
values before (backup). They are dropped when the write ends.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import fiftyone as fo
import psutil
from bson import ObjectId
from pymongo import MongoClient, ReturnDocument
from pymongo.errors import AutoReconnect, ConnectionFailure
from pymongo.write_concern import WriteConcern

from .internals import dataset_id, get_database

PREFIX = "learnability."
"""The start of the names of all collections of this package."""

GONE_AFTER = timedelta(hours=1)
"""After this time a process on another machine, which cannot be looked up, counts as gone."""

_WRITING: set[str] = set()
"""The ids of the journals that threads of this process are using."""


class Journal:
    """The journal of one write.

    Args:
        dataset: the dataset that is written to
        entry (None): the journal that a killed process left; by default a new one is begun

    Attributes:
        entry: the journal's document in the database
        staging: the collection of the new values
        backup: the collection of the values before
    """

    def __init__(self, dataset: fo.Dataset, entry: dict[str, Any] | None = None) -> None:
        self.entry = entry or {"_id": str(ObjectId()), "dataset": dataset_id(dataset), "process": this_process()}
        self._keep = False
        self._database, id = get_database(), self.entry["_id"]
        self.staging, self.backup = self._database[f"{PREFIX}staging.{id}"], self._database[f"{PREFIX}backup.{id}"]
        # j=True: entries reach the disk, with all writes before them, before the next step starts
        self._collection = self._database.get_collection(_name(id), write_concern=WriteConcern(w=1, j=True))

    def __enter__(self) -> Journal:
        _WRITING.add(self.entry["_id"])
        self._collection.insert_one(self.entry)
        return self

    def __exit__(self, *_: object) -> None:
        _WRITING.discard(self.entry["_id"])
        if not self._keep:
            self.drop()

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Take over the journal of a killed process, and drop it at the end unless the block raises.

        Yields:
            True if this process has it; False if another process or thread was faster
        """
        id = self.entry["_id"]
        if id in _WRITING:
            yield False
            return
        _WRITING.add(id)
        try:
            found = self._collection.find_one_and_update(
                {"_id": id, "process": self.entry["process"]},
                {"$set": {"process": this_process(), "recovering": True}},
                return_document=ReturnDocument.AFTER,
            )
            self.entry = found or self.entry
            yield found is not None
        finally:
            _WRITING.discard(id)
        if found is not None:
            self.drop()

    def supersede_others(self) -> None:
        """Remove the fields of this write, once it is committed, from other journals, which must not undo them.

        Such journals exist because a process on another machine counts as alive for :data:`GONE_AFTER`, while its
        fields may be written again.
        """
        fields = {f"{part}.{name}": "" for name in self.entry["columns"] for part in ("columns", "texts")}
        for entry in _entries(self.entry["dataset"]):
            if entry["_id"] != self.entry["_id"]:
                self._database[_name(entry["_id"])].update_one({}, {"$unset": fields})

    def note(self, **values: Any) -> None:
        """Add values to the entry, here and in the database."""
        self._collection.update_one({"_id": self.entry["_id"]}, {"$set": values})
        self.entry.update(values)

    @contextmanager
    def on_one_server(self) -> Iterator[None]:
        """Guarantee that what the block writes is on the server's disk when it ends.

        A server that is killed loses what it accepted in the last 0.1 s. pymongo retries, so after a restart the block
        would not notice.

        Raises:
            AutoReconnect: if the server restarted during the block
        """
        client = self._database.client
        before = server_process(client)
        try:
            yield
        except ConnectionFailure:
            raise
        except Exception as error:
            # FiftyOne may have failed because a document it had just saved was lost
            if server_process(client) != before:
                raise AutoReconnect("the database restarted in the meantime") from error
            raise
        self.note(flushed=datetime.now(timezone.utc))
        if server_process(client) != before:
            raise AutoReconnect("the database restarted in the meantime")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the collections for the next process if the block raises."""
        self._keep = True
        yield
        self._keep = False

    def drop(self) -> None:
        """Drop the collections, the journal last. If the database is unreachable, the next write drops them."""
        with suppress(ConnectionFailure):
            for collection in (self.staging, self.backup, self._collection):
                collection.drop()


def find_abandoned(dataset: fo.Dataset) -> list[Journal]:
    """Return the journals of processes that were killed while they wrote to a dataset.

    Committed ones come first: their fields may have been written over those of others, see
    :meth:`Journal.supersede_others`.
    """
    journals = [Journal(dataset, entry) for entry in _entries(dataset_id(dataset)) if not _is_alive(entry)]
    return sorted(journals, key=lambda journal: not journal.entry.get("committed"))


def is_recovering(dataset: fo.Dataset) -> bool:
    """True while a process undoes or completes the write of a killed one."""
    return any(entry.get("recovering") and _is_alive(entry) for entry in _entries(dataset_id(dataset)))


def server_process(client: MongoClient) -> Any:
    """Return an id of the server process, which changes when the server restarts."""
    return client.admin.command("hello").get("topologyVersion", {}).get("processId")


def this_process() -> dict[str, Any]:
    """Describe this process, so that other processes can tell if it is alive."""
    process = psutil.Process()
    # process ids are reused, but not with the same start time
    return {
        "host": socket.gethostname(),
        "pid": process.pid,
        "started": process.create_time(),
        "at": datetime.now(timezone.utc),
    }


def in_utc(time: datetime) -> datetime:
    """Return a time from the database in UTC: it is in ``fo.config.timezone`` if that is set, else naive UTC."""
    return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _name(id: str) -> str:
    return f"{PREFIX}journal.{id}"


def _entries(id: ObjectId) -> list[dict[str, Any]]:
    """The journal entries of a dataset."""
    database = get_database()
    names = database.list_collection_names(filter={"name": {"$regex": f"^{re.escape(_name(''))}"}})
    entries = (database[name].find_one({"dataset": id}) for name in sorted(names))
    return [entry for entry in entries if entry is not None]


def _is_alive(entry: dict[str, Any]) -> bool:
    """True if the process that a journal names still runs and uses it."""
    process = entry["process"]
    if process["host"] != socket.gethostname():
        return datetime.now(timezone.utc) - in_utc(process["at"]) < GONE_AFTER
    if process["pid"] == os.getpid():
        return entry["_id"] in _WRITING
    try:
        return abs(psutil.Process(process["pid"]).create_time() - process["started"]) < 1
    except psutil.NoSuchProcess:
        return False
