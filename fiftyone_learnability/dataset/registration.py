"""Puts a run into the dataset's list while its fields are written.

Where a process is killed in the midst of it, the next one takes back what it had done, or completes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
from bson import ObjectId

from ..experiment.results import ModelResults
from ..scores.catalog import DEFAULT_SCORES, SCORES
from .columns import Companion, Journal, WriteError, is_recovering, left_journals, roll_back
from .internals import dataset_id, get_database, root_dataset, run_ids
from .notes import notes_of, set_run
from .registry import LearnabilityRun, LearnabilityRunConfig, list_runs, register

_logger = logging.getLogger(__name__)

RECOVERY_SECONDS = 120.0
"""How long another process is waited for that takes back what a killed one has left."""


def recover(dataset: fo.Dataset) -> None:
    """Puts a dataset in order after a process was killed while it wrote: what it had not finished is taken back.

    Args:
        dataset: the dataset

    Raises:
        WriteError: if another process is doing so, and does not come to an end
    """
    for journal in left_journals(dataset):
        with journal.claimed() as is_ours:
            if is_ours:
                _finish(dataset, journal)
    # what another process is taking back must not be written meanwhile
    waited, start = False, time.monotonic()
    while is_recovering(dataset):
        if time.monotonic() - start > RECOVERY_SECONDS:
            raise WriteError(
                f"another process is taking back what a killed one has left of the dataset {dataset.name!r}: wait for "
                "it to end"
            )
        waited = True
        time.sleep(0.2)
    if waited:
        dataset.reload()


def _finish(dataset: fo.Dataset, journal: Journal) -> None:
    """Completes what had been committed, and takes back what had not."""
    entry = journal.entry
    undo, tidy = _COMPANIONS.get(entry.get("kind", ""), (None, None))
    with journal.on_one_server():
        _mend_runs(dataset, entry.get("procedure", {}).get("pending"))
        dataset.reload()
        if entry.get("committed"):
            journal.supersede_others()
            if tidy is not None:
                tidy(dataset, entry["procedure"])
        elif "columns" in entry:
            if undo is not None:
                undo(dataset, entry["procedure"])
            roll_back(dataset, journal)
            _logger.warning("took back what a process that was ended had begun to write to %r", dataset.name)


def _mend_runs(dataset: fo.Dataset, pending: str | None) -> None:
    """Mends what a process leaves that is killed while FiftyOne changes runs, of which it keeps two accounts.

    Args:
        dataset: the dataset
        pending: the key of the run that it was registering
    """
    database = get_database()
    held = database.datasets.find_one({"_id": dataset_id(dataset)}, {"runs": 1}).get("runs", {})
    documents = {
        document["_id"]: document["key"] for document in database.runs.find({"_dataset_id": dataset_id(dataset)})
    }
    for key, id in held.items():
        if id not in documents:
            database.datasets.update_one({"_id": dataset_id(dataset)}, {"$unset": {f"runs.{key}": ""}})
        elif documents[id] != key:
            database.runs.update_one({"_id": id}, {"$set": {"key": key}})
    # another one that is not held yet may be on its way
    ours = [id for id, key in documents.items() if id not in held.values() and key == pending]
    database.runs.delete_many({"_id": {"$in": ours}})


def is_replaced(dataset: fo.Dataset, old_key: str, fields: Mapping[str, Any], models: Sequence[str]) -> bool:
    """Whether new fields and networks leave nothing of a run."""
    had = set(dataset.get_run_info(old_key).config.models)
    owned = {name: note.model for name, note in notes_of(dataset).items() if note.run == old_key}
    covered = all(name in fields or model in models for name, model in owned.items())
    return bool(had or owned) and had <= set(models) and covered


class Registration(Companion):
    """Registers a run while its fields are written; runs that it replaces step aside until nothing can fail."""

    kind = "registration"

    def __init__(
        self,
        samples: foc.SampleCollection,
        key: str,
        config: LearnabilityRunConfig,
        results: dict[str, ModelResults],
        fields: Mapping[str, Any],
    ) -> None:
        self.samples, self.dataset = samples, root_dataset(samples)
        self.key, self.config, self.results, self.fields = key, config, results, fields
        self.pending = f"{key}_pending_{ObjectId()}"
        self.aside = {
            old_key: f"{old_key}_replaced_{ObjectId()}"
            for old_key in list_runs(self.dataset)
            if old_key == key or is_replaced(self.dataset, old_key, fields, config.models)
        }
        self.ids = {old_key: run_ids(self.dataset)[old_key] for old_key in self.aside}
        self.own: ObjectId | None = None

    def note(self) -> dict[str, Any]:
        """What another process needs in order to take it back or to complete it."""
        return {
            "key": self.key,
            "pending": self.pending,
            "own": self.own,
            "aside": self.aside,
            "ids": self.ids,
            "models": self.config.models,
        }

    def begin(self) -> None:
        """Registers the run under a key of its own; those that it replaces step aside."""
        register(self.samples, self.pending, self.config, self.results)
        self.own = run_ids(self.dataset)[self.pending]
        for old_key, other_key in self.aside.items():
            self.dataset.rename_run(old_key, other_key)

    def finish(self) -> None:
        """Gives the run its key."""
        self.dataset.rename_run(self.pending, self.key)

    def undo(self) -> None:
        """Takes the run away, and puts those back that had stepped aside."""
        _undo_registration(self.dataset, self.note())

    def tidy(self) -> None:
        """Deletes what the run has replaced."""
        _drop_replaced(self.dataset, self.note())


def _undo_registration(dataset: fo.Dataset, note: dict[str, Any]) -> None:
    """Takes a run away that was not finished, and puts those back that had stepped aside."""
    _mend_runs(dataset, note["pending"])
    database, pending, aside = get_database(), note["pending"], note["aside"]
    held = database.datasets.find_one({"_id": dataset_id(dataset)}, {"runs": 1}).get("runs", {})
    here = {document["_id"] for document in database.runs.find({"_dataset_id": dataset_id(dataset)}, {"_id": 1})}
    # runs are told apart by their ids, not by their keys: a server that was killed may have lost one renaming and kept
    # a later one; those that somebody has made or deleted since are none of ours
    back_again = {key: id for key, id in note["ids"].items() if id in here and held.get(key) in (None, id, note["own"])}
    wanted = {key: id for key, id in held.items() if id != note["own"] and id not in back_again.values()}
    if note["own"] in held.values():
        # to be deleted, also where it already had its key
        wanted[pending] = note["own"]
    wanted |= back_again
    _hold_runs(dataset, held, wanted)
    dataset.reload()
    if pending in dataset.list_runs():
        LearnabilityRun.delete_run(dataset, pending, cleanup=False)
    back = {other_key: old_key for old_key, other_key in aside.items() if old_key in back_again}
    for name, field_note in notes_of(dataset).items():
        if field_note.run in back:
            set_run(dataset.get_field(name), back[field_note.run])


def _hold_runs(dataset: fo.Dataset, held: Mapping[str, ObjectId], wanted: Mapping[str, ObjectId]) -> None:
    """Gives runs the keys that are wanted."""
    database = get_database()
    for key, id in wanted.items():
        database.runs.update_one({"_id": id}, {"$set": {"key": key}})
    update = {
        "$set": {f"runs.{key}": id for key, id in wanted.items() if held.get(key) != id},
        "$unset": {f"runs.{key}": "" for key in held if key not in wanted},
    }
    if update := {operator: changes for operator, changes in update.items() if changes}:
        database.datasets.update_one({"_id": dataset_id(dataset)}, update)


def _drop_replaced(dataset: fo.Dataset, note: dict[str, Any]) -> None:
    """Deletes the runs that a new one has replaced, and takes its networks away from the others."""
    models, ours = note["models"], note["own"]
    for other_key in note["aside"].values():
        if other_key in dataset.list_runs():
            # the cleanup finds no fields but those that only the old run had
            LearnabilityRun.delete_run(dataset, other_key)
    if note["key"] not in dataset.list_runs() or run_ids(dataset)[note["key"]] != ours:
        # somebody has renamed, deleted or replaced it since
        return
    # scores that an older run has of a network trained anew would mix two trainings
    stale = [
        name
        for name, field_note in notes_of(dataset).items()
        if field_note.model in models and field_note.run != note["key"]
    ]
    if stale:
        dataset.delete_sample_fields(stale)
    for other_key in list_runs(dataset):
        config = dataset.get_run_info(other_key).config
        left = [model for model in config.models if model not in models]
        if other_key != note["key"] and left != config.models:
            config.models = left
            LearnabilityRun.update_run_config(dataset, other_key, config)


class NotingScores(Companion):
    """Notes in the settings of runs which further scores they have as fields.

    Args:
        dataset: the dataset
        new: the further scores by the key of the run
    """

    kind = "scores"

    def __init__(self, dataset: fo.Dataset, new: Mapping[str, Sequence[str]]) -> None:
        self.dataset = dataset
        self.before: dict[str, list[str] | None] = {}
        self.after: dict[str, list[str] | None] = {}
        for key, names in new.items():
            self.before[key] = had = getattr(dataset.get_run_info(key).config, "scores", None)
            # runs of earlier versions do not say what they have
            present = {*(had or DEFAULT_SCORES), *names}
            self.after[key] = [name for name in SCORES if name in present]

    def note(self) -> dict[str, Any]:
        """What the runs noted before."""
        return {"before": self.before}

    def finish(self) -> None:
        """Notes the scores."""
        _note_scores(self.dataset, self.after)

    def undo(self) -> None:
        """Notes what was noted before."""
        _note_scores(self.dataset, self.before)


def _note_scores(dataset: fo.Dataset, scores: Mapping[str, list[str] | None]) -> None:
    for key, names in scores.items():
        if key not in list_runs(dataset):
            # somebody has deleted it since
            continue
        config = dataset.get_run_info(key).config
        if names is not None:
            config.scores = names
        elif hasattr(config, "scores"):
            del config.scores
        LearnabilityRun.update_run_config(dataset, key, config)


_COMPANIONS: dict[str, tuple[Callable[[fo.Dataset, dict[str, Any]], None], Callable[[fo.Dataset, Any], None]]] = {
    "registration": (_undo_registration, _drop_replaced),
    "scores": (lambda dataset, note: _note_scores(dataset, note["before"]), lambda dataset, note: None),
}
"""How each kind of procedure is taken back, and how it is completed, by a process that has only its note."""
