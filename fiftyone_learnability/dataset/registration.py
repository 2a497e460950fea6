"""Updates a dataset's list of runs while fields are written, and undoes or completes the update after a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone as fo
from bson import ObjectId

from ..experiment.results import ModelResults
from ..scores.catalog import DEFAULT_SCORES, SCORES
from .columns import Companion
from .internals import dataset_id, get_database, run_ids
from .notes import notes_of, owned_fields, set_run
from .registry import LearnabilityRun, LearnabilityRunConfig, list_runs, register
from .target import ASIDE, WriteTarget


class Registration(Companion):
    """Registers a run while its fields are written. The runs it replaces are renamed, and deleted at the very end.

    Args:
        target: where the run is written
        config: the settings of the run
        results: the results by network
    """

    kind = "registration"

    def __init__(self, target: WriteTarget, config: LearnabilityRunConfig, results: dict[str, ModelResults]) -> None:
        self.target, self.config, self.results = target, config, results
        self.dataset = target.dataset
        self.pending = f"{target.key}_pending_{ObjectId()}"
        self.aside = {key: f"{key}{ASIDE}{ObjectId()}" for key in target.replaced_runs()}
        ids = run_ids(self.dataset)
        self.ids = {key: ids[key] for key in self.aside}
        self.taken = {key: models for key, models in target.taken_networks().items() if key not in self.aside}
        self.own: ObjectId | None = None

    def note(self) -> dict[str, Any]:
        """Return the keys and ids of the runs that take part.

        ``own`` is the id of the new run, ``aside`` the temporary keys of the replaced runs by their own, ``ids`` the
        ids of the replaced runs, ``taken`` the networks that other runs lose to the new one, by their keys.
        """
        return {
            "key": self.target.key,
            "pending": self.pending,
            "own": self.own,
            "aside": self.aside,
            "ids": self.ids,
            "taken": self.taken,
        }

    def begin(self) -> None:
        """Register the run under a temporary key, and rename the runs it replaces."""
        register(self.target.samples, self.pending, self.config, self.results)
        self.own = run_ids(self.dataset)[self.pending]
        for key, other_key in self.aside.items():
            self.dataset.rename_run(key, other_key)

    def finish(self) -> None:
        """Give the run its key."""
        self.dataset.rename_run(self.pending, self.target.key)

    @classmethod
    def undo(cls, dataset: fo.Dataset, note: dict[str, Any]) -> None:
        """Delete the unfinished run, and give the runs it would have replaced their keys back."""
        mend_runs(dataset, note["pending"])
        database = get_database()
        held, here = _held_runs(dataset), {document["_id"] for document in _run_documents(dataset)}
        # compare ids, not keys: a killed server may have lost one renaming and kept a later one, and users may have
        # made or deleted runs since
        returning = {
            key: id for key, id in note["ids"].items() if id in here and held.get(key) in (None, id, note["own"])
        }
        wanted = {key: id for key, id in held.items() if id != note["own"] and id not in returning.values()}
        if note["own"] in held.values():
            # the run may have its final key already: give it the temporary one, to be deleted below
            wanted[note["pending"]] = note["own"]
        wanted |= returning
        for key, id in wanted.items():
            database.runs.update_one({"_id": id}, {"$set": {"key": key}})
        _hold_runs(dataset, held, wanted)
        dataset.reload()
        if note["pending"] in dataset.list_runs():
            LearnabilityRun.delete_run(dataset, note["pending"], cleanup=False)
        notes = notes_of(dataset).items()
        for key, other_key in note["aside"].items():
            if key in returning:
                set_run(dataset, [name for name, field_note in notes if field_note.run == other_key], key)

    @classmethod
    def tidy(cls, dataset: fo.Dataset, note: dict[str, Any]) -> None:
        """Delete the runs that the new one has replaced, and the networks that it has taken from others."""
        for other_key in note["aside"].values():
            if other_key in dataset.list_runs():
                # deletes only the fields that the new run does not have
                LearnabilityRun.delete_run(dataset, other_key)
        if run_ids(dataset).get(note["key"]) != note["own"]:
            # the user has renamed, deleted or replaced the run since
            return
        for other_key, models in note.get("taken", {}).items():
            if other_key not in list_runs(dataset):
                continue
            owned = owned_fields(dataset)[other_key]
            # their remaining scores would mix two trainings
            if stale := [name for name, field_note in owned.items() if field_note.model in models]:
                dataset.delete_sample_fields(stale)
            config = dataset.get_run_info(other_key).config
            config.models = [model for model in config.models if model not in models]
            LearnabilityRun.update_run_config(dataset, other_key, config)


class AddedScores(Companion):
    """Records in the settings of runs which further scores they have as fields.

    Args:
        dataset: the dataset
        added: the further scores by the key of the run
    """

    kind = "scores"

    def __init__(self, dataset: fo.Dataset, added: Mapping[str, Sequence[str]]) -> None:
        self.dataset = dataset
        self.before: dict[str, list[str] | None] = {}
        self.after: dict[str, list[str] | None] = {}
        for key, names in added.items():
            self.before[key] = recorded = getattr(dataset.get_run_info(key).config, "scores", None)
            # runs of early versions record no scores
            present = {*(recorded or DEFAULT_SCORES), *names}
            self.after[key] = [name for name in SCORES if name in present]

    def note(self) -> dict[str, Any]:
        """Return the scores that the runs recorded before."""
        return {"before": self.before}

    def finish(self) -> None:
        """Record the scores."""
        _record_scores(self.dataset, self.after)

    @classmethod
    def undo(cls, dataset: fo.Dataset, note: dict[str, Any]) -> None:
        """Restore the scores that were recorded before."""
        _record_scores(dataset, note["before"])


def mend_runs(dataset: fo.Dataset, pending: str | None) -> None:
    """Make FiftyOne's two records of runs agree after a process was killed between updating them.

    Args:
        dataset: the dataset
        pending: the temporary key of the run that the process was registering
    """
    database = get_database()
    held = _held_runs(dataset)
    keys = {document["_id"]: document["key"] for document in _run_documents(dataset)}
    for key, id in held.items():
        if id not in keys:
            database.datasets.update_one({"_id": dataset_id(dataset)}, {"$unset": {f"runs.{key}": ""}})
        elif keys[id] != key:
            database.runs.update_one({"_id": id}, {"$set": {"key": key}})
    # other runs that the dataset does not hold yet may be in the middle of their own registration
    orphans = [id for id, key in keys.items() if id not in held.values() and key == pending]
    database.runs.delete_many({"_id": {"$in": orphans}})


def _held_runs(dataset: fo.Dataset) -> dict[str, ObjectId]:
    """Return the ids of runs by key, as the dataset's document in the database holds them."""
    return get_database().datasets.find_one({"_id": dataset_id(dataset)}, {"runs": 1}).get("runs", {})


def _run_documents(dataset: fo.Dataset) -> list[dict[str, Any]]:
    return list(get_database().runs.find({"_dataset_id": dataset_id(dataset)}, {"key": 1}))


def _hold_runs(dataset: fo.Dataset, held: Mapping[str, ObjectId], wanted: Mapping[str, ObjectId]) -> None:
    """Change the runs in the dataset's document from ``held`` to ``wanted``."""
    update = {
        "$set": {f"runs.{key}": id for key, id in wanted.items() if held.get(key) != id},
        "$unset": {f"runs.{key}": "" for key in held if key not in wanted},
    }
    if update := {operator: changes for operator, changes in update.items() if changes}:
        get_database().datasets.update_one({"_id": dataset_id(dataset)}, update)


def _record_scores(dataset: fo.Dataset, scores: Mapping[str, list[str] | None]) -> None:
    for key, names in scores.items():
        if key not in list_runs(dataset):
            # the user has deleted it since
            continue
        config = dataset.get_run_info(key).config
        if names is not None:
            config.scores = names
        elif hasattr(config, "scores"):
            del config.scores
        LearnabilityRun.update_run_config(dataset, key, config)
