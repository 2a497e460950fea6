"""Writes a run: the fields of its scores, and the run itself, all or nothing."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
from bson import ObjectId

from ..experiment.results import ModelResults
from ..science.catalog import DEFAULT_SCORES, SCORES
from .appearance import show_in_app
from .columns import (
    Column,
    Journal,
    Procedure,
    WriteError,
    is_being_written,
    left_journals,
    roll_back,
    write_columns,
)
from .registry import (
    INFO_KEY,
    METHOD,
    LearnabilityRun,
    LearnabilityRunConfig,
    check_identifier,
    list_runs,
    owning_run,
    register,
    score_field,
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WriteReport:
    """What was written.

    Attributes:
        key: the key of the run
        fields: the fields that were written
        num_written: the samples that got values
        vanished: the ids of samples that are no longer in the dataset
        remarks ([]): what did not go as planned, a sentence each
    """

    key: str
    fields: list[str]
    num_written: int
    vanished: list[str]
    remarks: list[str] = dataclasses.field(default_factory=list)


def choose_key(
    dataset: fo.Dataset,
    models: Sequence[str],
    key: str | None,
    overwrite: bool,
    scores: Sequence[str] = DEFAULT_SCORES,
    default: str = METHOD,
) -> str:
    """Chooses the key of a new run and checks that it can be written, before anything is trained.

    Args:
        dataset: the dataset to be written to
        models: the names of the networks
        key: the key; None chooses learnability, learnability_2 and so on, or the run that is overwritten
        overwrite: whether existing fields and an existing run of that key may be replaced
        scores (("learnability", "rank")): the scores to be written
        default ("learnability"): what a key that is chosen begins with

    Returns:
        the key

    Raises:
        ValueError: if the key is no identifier or belongs to a run of another kind; if it or a field exists and
            ``overwrite`` is false; or if a field exists that this package did not write and whose type does not fit
    """
    fields = {score_field(model, score): _type_of(score) for model in models for score in scores}
    return choose_key_for(dataset, fields, key, overwrite, models, default)


def choose_key_for(
    dataset: fo.Dataset,
    fields: Mapping[str, type[fo.Field]],
    key: str | None,
    overwrite: bool,
    models: Sequence[str] = (),
    default: str = METHOD,
) -> str:
    """:func:`choose_key` for any fields.

    Args:
        dataset: the dataset to be written to
        fields: the types of the fields by name
        key: the key, or None
        overwrite: whether existing fields and an existing run of that key may be replaced
        models (()): the networks that the fields are about
        default ("learnability"): what a key that is chosen begins with
    """
    runs = dataset.list_runs()
    if key is not None:
        check_identifier(key)
        if key in runs:
            if key not in list_runs(dataset):
                raise ValueError(f"the run key {key!r} belongs to a run of another kind: choose another key")
            if not overwrite:
                raise ValueError(
                    f"the dataset {dataset.name!r} already has a run {key!r}: choose another key, delete the run, or "
                    "replace it with overwrite=True"
                )
    owners = []
    for name, ftype in fields.items():
        field = dataset.get_field(name)
        if field is None:
            continue
        owner = owning_run(dataset, name)
        by = f"written by the run {owner!r}" if owner else "which this package did not write"
        if is_being_written(dataset, name):
            by = "which another process is writing, or was when it was ended"
        if not overwrite:
            raise ValueError(
                f"the dataset {dataset.name!r} already has the field {name!r}, {by}: delete it, leave its network "
                "out, or replace it with overwrite=True"
            )
        if not isinstance(field, ftype):
            raise ValueError(
                f"the field {name!r} is a {type(field).__name__}, {by}: it cannot be replaced by a {ftype.__name__}; "
                "rename or delete it first"
            )
        owners.append(owner)
    if key is not None:
        return key
    # a rerun with overwrite takes the place of the run it replaces, unless that has other networks, which would be lost
    for owner in owners:
        if owner in list_runs(dataset) and _is_replaced(dataset, owner, fields, models):
            return owner
    candidates = (default if number == 1 else f"{default}_{number}" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in runs)


def write_results(
    samples: foc.SampleCollection,
    results: dict[str, ModelResults],
    key: str,
    settings: dict[str, Any],
    overwrite: bool = False,
    scores: Sequence[str] = DEFAULT_SCORES,
) -> WriteReport:
    """Writes the scores of all networks onto the samples and registers the run, all or nothing.

    Args:
        samples: the collection that was scored; its dataset is written to
        results: the results by network
        key: the key of the run, from :func:`choose_key`
        settings: what else describes the run, in values that JSON holds
        overwrite: whether existing fields and an existing run of that key may be replaced
        scores (("learnability", "rank")): the scores to be written

    Returns:
        what was written, with the ids that vanished meanwhile

    Raises:
        ValueError: if the key or a field has come to exist meanwhile and ``overwrite`` is false
        WriteError: if the database fails; the dataset is as it was before
    """
    first = next(iter(results.values()))
    for model, result in results.items():
        # one array of ids serves all networks, since they were trained on the same samples
        if not np.array_equal(result.ids, first.ids):
            raise ValueError(f"the results of {model!r} are of other samples than those before it")
    columns = [column for model, result in results.items() for column in score_columns(result, model, key, scores)]
    settings = {**settings, "scores": list(scores)}
    return write_run(samples, first.ids.tolist(), columns, key, settings, results, overwrite)


def write_run(
    samples: foc.SampleCollection,
    ids: Sequence[str],
    columns: Sequence[Column],
    key: str,
    settings: dict[str, Any],
    results: dict[str, ModelResults],
    overwrite: bool = False,
) -> WriteReport:
    """Writes columns onto the samples and registers them as a run, all or nothing.

    Args:
        samples: the collection that was scored; its dataset is written to
        ids: ``(N,)`` sample ids
        columns: the fields, whose info names the key
        key: the key of the run
        settings: what describes the run, in values that JSON holds
        results: the results by network that the run keeps, perhaps none
        overwrite: whether existing fields and an existing run of that key may be replaced

    Returns:
        what was written, with the ids that vanished meanwhile

    Raises:
        ValueError: if the key or a field has come to exist meanwhile and ``overwrite`` is false
        WriteError: if the database fails; the dataset is as it was before
    """
    try:
        # the first of these fails where this process has deleted the dataset, the second where another has
        dataset = samples._root_dataset
        dataset.reload()
    except Exception as error:
        raise WriteError(f"the dataset cannot be reached: {str(error).rstrip('.')}; nothing was written") from error
    recover(dataset)
    fields = {column.name: column.ftype for column in columns}
    models = list(results)
    choose_key_for(dataset, fields, key, overwrite, models)
    registration = _Registration(samples, key, LearnabilityRunConfig(models=models, **settings), results, fields)
    vanished = write_columns(dataset, ids, columns, registration)
    _show(dataset, list(fields))
    return WriteReport(key, list(fields), len(ids) - len(vanished), vanished)


def add_columns(
    dataset: fo.Dataset, ids: Sequence[str], columns: Sequence[Column], procedure: Procedure | None = None
) -> list[str]:
    """Adds columns to a run that exists, all or none.

    Args:
        dataset: the dataset
        ids: ``(N,)`` sample ids
        columns: the fields, whose info names the key of the run
        procedure (None): what else is to happen with it

    Returns:
        the ids that are no longer in the dataset

    Raises:
        WriteError: if the database fails; the dataset is as it was before
    """
    recover(dataset)
    vanished = write_columns(dataset, ids, columns, procedure or Procedure())
    _show(dataset, [column.name for column in columns])
    return vanished


def score_columns(result: ModelResults, model: str, key: str, scores: Sequence[str]) -> list[Column]:
    """The fields of a network's scores.

    Args:
        result: the results of the network
        model: the network
        key: the key of the run
        scores: the names of the scores
    """
    runs, epochs = result.train_loss.shape
    over = f"{result.num_samples} samples"
    if epochs:
        over += f", {epochs} epochs" + (f", mean of {runs} runs" if runs > 1 else "")
    columns = []
    for name in scores:
        score = SCORES[name]
        text = f"1 = easiest, {result.num_samples} = hardest" if name == "rank" else score.description
        title = "Learnability rank" if name == "rank" else score.title
        field = score_field(model, name)
        columns.append(
            Column(
                name=field,
                ftype=_type_of(name),
                description=f"{title} by {model}: {text} ({over})",
                info={INFO_KEY: {"run": key, "model": model, "score": name, "epochs": epochs, "runs": runs}},
                # what is not a number is no value
                values=[None if value != value else value for value in result.score(name).tolist()],
                # MongoDB has room for 64 indexes; these two are what everybody sorts by
                index=field if name in DEFAULT_SCORES or score.derived else None,
            )
        )
    return columns


def _type_of(score: str) -> type[fo.Field]:
    # others are means over runs, whole though they may be in one
    return fo.IntField if score == "rank" else fo.FloatField


def _show(dataset: fo.Dataset, fields: list[str]) -> None:
    try:
        show_in_app(dataset, fields)
    # how the scores are shown must not make them seem unwritten
    except Exception:
        _logger.warning("the fields could not be put into a sidebar group of their own", exc_info=True)


def _is_replaced(dataset: fo.Dataset, old_key: str, fields: Mapping[str, Any], models: Sequence[str]) -> bool:
    """Whether new fields and networks leave nothing of a run."""
    had = set(dataset.get_run_info(old_key).config.models)
    owned = {
        name: dataset.get_field(name).info[INFO_KEY].get("model")
        for name in dataset.get_field_schema()
        if owning_run(dataset, name) == old_key
    }
    covered = all(name in fields or model in models for name, model in owned.items())
    return bool(had or owned) and had <= set(models) and covered


def recover(dataset: fo.Dataset) -> None:
    """Puts a dataset in order after a process was killed while it wrote: what it had not finished is taken back.

    Args:
        dataset: the dataset
    """
    for journal in left_journals(dataset):
        with journal.claimed() as is_ours:
            if is_ours:
                _finish(dataset, journal)


def _finish(dataset: fo.Dataset, journal: Journal) -> None:
    """Completes what had been committed, and takes back what had not."""
    entry = journal.entry
    undo, tidy = _PROCEDURES.get(entry.get("kind", ""), (None, None))
    with journal.on_one_server():
        _mend_runs(dataset)
        dataset.reload()
        if entry.get("committed"):
            if tidy is not None:
                tidy(dataset, entry["procedure"])
        elif "columns" in entry:
            if undo is not None:
                undo(dataset, entry["procedure"])
            roll_back(dataset, journal)
            _logger.warning("took back what a process that was ended had begun to write to %r", dataset.name)


def _mend_runs(dataset: fo.Dataset) -> None:
    """Mends what a process leaves that is killed while FiftyOne changes runs, of which it keeps two accounts."""
    database = dataset._sample_collection.database
    held = database.datasets.find_one({"_id": dataset._doc.id}, {"runs": 1}).get("runs", {})
    documents = {document["_id"]: document["key"] for document in database.runs.find({"_dataset_id": dataset._doc.id})}
    for key, id in held.items():
        if id not in documents:
            database.datasets.update_one({"_id": dataset._doc.id}, {"$unset": {f"runs.{key}": ""}})
        elif documents[id] != key:
            database.runs.update_one({"_id": id}, {"$set": {"key": key}})
    # one of another package that is not held yet may be on its way
    ours = [id for id, key in documents.items() if id not in held.values() and "_pending_" in key]
    database.runs.delete_many({"_id": {"$in": ours}})


class _Registration(Procedure):
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
        self.samples, self.dataset = samples, samples._root_dataset
        self.key, self.config, self.results, self.fields = key, config, results, fields
        self.pending = f"{key}_pending_{ObjectId()}"
        self.aside = {
            old_key: f"{old_key}_replaced_{ObjectId()}"
            for old_key in list_runs(self.dataset)
            if old_key == key or _is_replaced(self.dataset, old_key, fields, config.models)
        }
        self.ids = {old_key: self.dataset._doc.runs[old_key].id for old_key in self.aside}
        self.own: ObjectId | None = None

    def note(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "pending": self.pending,
            "own": self.own,
            "aside": self.aside,
            "ids": self.ids,
            "models": self.config.models,
        }

    def begin(self) -> None:
        register(self.samples, self.pending, self.config, self.results)
        self.own = self.dataset._doc.runs[self.pending].id
        for old_key, other_key in self.aside.items():
            self.dataset.rename_run(old_key, other_key)

    def finish(self) -> None:
        self.dataset.rename_run(self.pending, self.key)

    def undo(self) -> None:
        _undo_registration(self.dataset, self.note())

    def tidy(self) -> None:
        _drop_replaced(self.dataset, self.note())


def _undo_registration(dataset: fo.Dataset, note: dict[str, Any]) -> None:
    """Takes a run away that was not finished, and puts those back that had stepped aside."""
    _mend_runs(dataset)
    database, pending, aside = dataset._sample_collection.database, note["pending"], note["aside"]
    held = database.datasets.find_one({"_id": dataset._doc.id}, {"runs": 1}).get("runs", {})
    here = {document["_id"] for document in database.runs.find({"_dataset_id": dataset._doc.id}, {"_id": 1})}
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
    for field in dataset.get_field_schema().values():
        noted = (field.info or {}).get(INFO_KEY, {})
        if noted.get("run") in back:
            field.info = {**field.info, INFO_KEY: {**noted, "run": back[noted["run"]]}}
            field.save()


def _hold_runs(dataset: fo.Dataset, held: Mapping[str, ObjectId], wanted: Mapping[str, ObjectId]) -> None:
    """Gives runs the keys that are wanted."""
    database = dataset._sample_collection.database
    for key, id in wanted.items():
        database.runs.update_one({"_id": id}, {"$set": {"key": key}})
    update = {
        "$set": {f"runs.{key}": id for key, id in wanted.items() if held.get(key) != id},
        "$unset": {f"runs.{key}": "" for key in held if key not in wanted},
    }
    if update := {operator: changes for operator, changes in update.items() if changes}:
        database.datasets.update_one({"_id": dataset._doc.id}, update)


def _drop_replaced(dataset: fo.Dataset, note: dict[str, Any]) -> None:
    """Deletes the runs that a new one has replaced, and takes its networks away from the others."""
    models, ours = note["models"], note["own"]
    for other_key in note["aside"].values():
        if other_key in dataset.list_runs():
            # the cleanup finds no fields but those that only the old run had
            LearnabilityRun.delete_run(dataset, other_key)
    if note["key"] not in dataset.list_runs() or dataset._doc.runs[note["key"]].id != ours:
        # somebody has renamed, deleted or replaced it since
        return
    # scores that an older run has of a network trained anew would mix two trainings
    stale = [
        name
        for name, field in dataset.get_field_schema().items()
        if (noted := (field.info or {}).get(INFO_KEY))
        and noted.get("model") in models
        and noted.get("run") != note["key"]
    ]
    if stale:
        dataset.delete_sample_fields(stale)
    for other_key in list_runs(dataset):
        config = dataset.get_run_info(other_key).config
        left = [model for model in config.models if model not in models]
        if other_key != note["key"] and left != config.models:
            config.models = left
            LearnabilityRun.update_run_config(dataset, other_key, config)


class NotingScores(Procedure):
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


_PROCEDURES: dict[str, tuple[Callable[[fo.Dataset, dict[str, Any]], None], Callable[[fo.Dataset, Any], None]]] = {
    "registration": (_undo_registration, _drop_replaced),
    "scores": (lambda dataset, note: _note_scores(dataset, note["before"]), lambda dataset, note: None),
}
"""How each kind of procedure is taken back, and how it is completed, by a process that has only its note."""
