"""Delivery: writes a finished run onto its dataset, at once or later from its run directory."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc
from bson import ObjectId, json_util
from pymongo.errors import PyMongoError

from .dataset.changes import find_changes
from .dataset.columns import WriteError
from .dataset.fields import WriteReport, write_results
from .dataset.internals import build_view, dataset_id, root_dataset, sample_collection, serialize_stages
from .dataset.notes import fields_of
from .dataset.recovery import recover
from .dataset.registry import check_identifier, id_of_run, list_runs
from .dataset.retry import is_unreachable, retry_while_unreachable
from .dataset.samples import name_of
from .dataset.stages import check_stages
from .dataset.target import TakenError, WriteTarget, free_key
from .experiment.results import ModelResults
from .scores.catalog import SCORES
from .scores.checks import check_bool
from .training.options import RunSettings

WRITE_SECONDS = 60.0
"""How long writing is retried while the database cannot be reached."""

WRITE_PAUSE = 0.5
"""The first pause before a retry; each pause is twice as long as the one before, up to 10 s."""


@dataclass(frozen=True)
class WritePlan:
    """The scores to write and their destination.

    Attributes:
        dataset: the name of the dataset when the run began
        dataset_id: the id of the dataset, which survives renaming
        key: the key of the run
        settings: the config of the run, in values that JSON holds, with its unique ``run_id``
        overwrite: True if existing fields and an existing run of this key may be replaced
        scores: the scores to write
        stages: the stages of the scored view, as JSON; None for a whole dataset
        newest: the id of the newest sample when the samples were read
    """

    dataset: str
    dataset_id: str
    key: str
    settings: dict[str, Any]
    overwrite: bool
    scores: list[str]
    stages: str | None
    newest: str

    @classmethod
    def for_target(cls, target: WriteTarget, settings: dict[str, Any], newest: str) -> WritePlan:
        """Make the plan for a target.

        Args:
            target: where to write
            settings: the config of the run, with its ``run_id``
            newest: the id of the newest sample when the samples were read
        """
        is_view = not isinstance(target.samples, fo.Dataset)
        return cls(
            dataset=target.dataset.name,
            dataset_id=str(dataset_id(target.dataset)),
            key=target.key,
            settings=settings,
            overwrite=target.overwrite,
            scores=list(target.scores),
            stages=json_util.dumps(serialize_stages(target.samples)) if is_view else None,
            newest=newest,
        )

    @classmethod
    def from_json(cls, entries: dict[str, Any]) -> WritePlan:
        """Read a plan from the entries of a file, which may come from anyone.

        Raises:
            ValueError: if the entries are not those of a plan
        """
        if entries.keys() != {field.name for field in fields(cls)}:
            raise ValueError(f"its entries are {', '.join(map(repr, entries)) or 'missing'}")
        plan = cls(**entries)
        if not isinstance(plan.dataset, str) or not isinstance(plan.overwrite, bool):
            raise ValueError("dataset must be a text, overwrite true or false")
        if not isinstance(plan.dataset_id, str) or not ObjectId.is_valid(plan.dataset_id):
            raise ValueError("dataset_id must be an id")
        check_identifier(plan.key)
        reserved = {"models", "method", "cls", "type"}
        if not isinstance(plan.settings, dict) or not isinstance(plan.settings.get("run_id"), str):
            raise ValueError("settings must describe a run")
        if unknown := [name for name in plan.settings if not name.isidentifier() or name in reserved]:
            raise ValueError(f"settings has an entry {unknown[0]!r}")
        if not isinstance(plan.scores, list) or not all(
            isinstance(name, str) and name in SCORES for name in plan.scores
        ):
            raise ValueError("scores must be names of scores")
        if plan.stages is not None:
            if not isinstance(plan.stages, str):
                raise ValueError("stages must be a text")
            check_stages(plan.view)
        return plan

    def find_samples(self, samples: foc.SampleCollection | None = None) -> foc.SampleCollection | None:
        """Return the scored collection, even if its dataset was renamed; None if the dataset was deleted.

        Args:
            samples (None): the collection as this process knows it, returned if its dataset still has that name
        """
        name = name_of(ObjectId(self.dataset_id))
        if name is None:
            return None
        # this process keeps the name that it read, also where another process has renamed the dataset
        if samples is not None and root_dataset(samples).name == name:
            return samples
        dataset = fo.load_dataset(name)
        return dataset if self.stages is None else build_view(dataset, self.view)

    def has_dataset(self) -> bool:
        """Return whether the dataset exists; True if the database cannot be asked."""
        try:
            return name_of(ObjectId(self.dataset_id)) is not None
        except PyMongoError:
            return True

    @property
    def view(self) -> list[dict[str, Any]]:
        """The stages of the scored view.

        Raises:
            ValueError: if they cannot be read
        """
        try:
            return json_util.loads(self.stages or "[]")
        # json_util may raise any error for a malformed date or id
        except Exception as error:
            raise ValueError(f"stages cannot be read: {error}") from error


def write_run_directory(
    path: str | Path,
    *,
    name: str | Sequence[str] | None = None,
    key: str | None = None,
    overwrite: bool = False,
) -> WriteReport:
    """Write the scores of a run that was trained but could not be written.

    Args:
        path: the run directory that the error named
        name (None): another name for the scores, or one for each of several networks
        key (None): another key for the run
        overwrite (False): replace existing fields of these networks, and a run of the same key, even if the call that
            trained was not allowed to

    Returns:
        what was written; the run directory is then deleted

    Raises:
        ValueError: if the directory holds no results, or its dataset was deleted
        RunLockedError: if another process works on the run
        WriteError: if the scores cannot be written this time either
    """
    from .experiment.lock import locked
    from .experiment.pending import load_results_to_write
    from .experiment.run_directory import remove_run_directory

    path = Path(path)
    # taking the lock would create the directory
    load_results_to_write(path)
    with locked(path):
        results, entries = load_results_to_write(path)
        try:
            plan = WritePlan.from_json(entries)
        except ValueError as error:
            raise ValueError(
                f"{path / 'results' / 'plan.json'} is damaged ({error}): call compute_learnability again, which "
                "restores it from the finished trainings"
            ) from error
        samples = plan.find_samples()
        if samples is None:
            raise ValueError(f"the dataset {plan.dataset!r} of the run in {path} no longer exists")
        plan = replace(plan, overwrite=plan.overwrite or check_bool("overwrite", overwrite))
        if name is not None:
            results = _renamed(results, name)
            dataset = root_dataset(samples)
            plan = replace(plan, key=free_key(dataset) if plan.key in list_runs(dataset) else plan.key)
        if key is not None:
            check_identifier(key)
            plan = replace(plan, key=key)
        report = deliver(samples, results, plan, path, lambda message: None, may_be_written=True)
        remove_run_directory(path)
    return report


def _renamed(results: dict[str, ModelResults], name: str | Sequence[str]) -> dict[str, ModelResults]:
    """Return results under other names.

    Raises:
        ValueError: if a name is not possible, or there is not one for each network
    """
    names = RunSettings(name=name).names_of(list(results))
    return {name: replace(result, model=name) for name, result in zip(names, results.values(), strict=True)}


def deliver(
    samples: foc.SampleCollection,
    results: dict[str, ModelResults],
    plan: WritePlan,
    folder: Path | None,
    say: Callable[[str], None],
    may_be_written: bool,
) -> WriteReport:
    """Write a run onto its dataset; while the database cannot be reached, retry for :data:`WRITE_SECONDS`.

    Args:
        samples: the scored collection
        results: the results by network
        plan: what to write
        folder: the run directory, None if the results could not be saved there
        say: takes a message for the user
        may_be_written: True if an earlier process may have written the run already

    Returns:
        what was written, with remarks on the trainings and on changes of the dataset

    Raises:
        WriteError: if the run cannot be written; the message names the command that writes it later
    """
    scores = [name for name in plan.scores if all(name in result.scores for result in results.values())]
    incidents = incidents_of(results)

    def attempt() -> WriteReport:
        nonlocal may_be_written
        # the connection may fail after everything was written: later attempts look first
        look_first, may_be_written = may_be_written, True
        current = plan.find_samples(samples)
        if current is None:
            raise ValueError(f"the dataset {plan.dataset!r} was deleted meanwhile: nothing was written")
        if look_first and (report := _find_report(root_dataset(current), results, plan, scores)) is not None:
            return report
        changes = find_changes(current, next(iter(results.values())), plan.settings["label_field"], plan.newest)
        config = {**plan.settings, "remarks": [*incidents, *changes.sentences()]}
        id = plan.settings["run_id"]
        target = WriteTarget.of_scores(current, list(results), plan.key, scores, plan.overwrite, id)
        report = write_results(target, results, config)
        # samples may have been deleted between the two
        changes = replace(changes, vanished=report.vanished)
        return replace(report, remarks=[*incidents, *changes.sentences()])

    def announce(pause: float) -> None:
        say(f"the database cannot be reached; retrying in {pause:.1f} s")

    try:
        return retry_while_unreachable(attempt, WRITE_SECONDS, WRITE_PAUSE, announce)
    except Exception as error:
        raise WriteError(f"{error}. {_advice(error, plan, folder)}") from error


def incidents_of(results: Mapping[str, ModelResults]) -> list[str]:
    """Return what the trainings noted, a sentence each that names the network; the user was told when it happened."""
    return [f"{model}, {text}" for model, result in results.items() for text in result.config.get("incidents", [])]


def _advice(error: Exception, plan: WritePlan, folder: Path | None) -> str:
    """Return advice for results that could not be written."""
    if folder is None:
        return "The results could not be saved either; the same call continues from the saved trainings"
    done = "The trainings are done and saved: "
    if not is_unreachable(error) and not plan.has_dataset():
        return (
            f"{done}into another dataset of the same images "
            f"`fiftyone-learnability import DATASET {shlex.quote(str(folder / 'results'))}/<network>.npz` writes them"
        )
    command = f"fiftyone-learnability write {shlex.quote(str(folder))}"
    if isinstance(error, TakenError):
        return (
            f"{done}`{command}` writes them when the names are free again; with `--name NEW_NAME` (one for each "
            "network) it writes them under other names, and with `--overwrite` it replaces existing scores"
        )
    return f"{done}`{command}` writes them"


def _find_report(
    dataset: fo.Dataset, results: dict[str, ModelResults], plan: WritePlan, scores: Sequence[str]
) -> WriteReport | None:
    """Return the report of an earlier attempt or process that wrote the run, None if there was none."""
    recover(dataset)
    dataset.reload()
    if id_of_run(dataset, plan.key) != plan.settings["run_id"]:
        return None
    ids = next(iter(results.values())).ids.tolist()
    present = {str(document["_id"]) for document in sample_collection(dataset).find({}, {"_id": 1})}
    vanished = [id for id in ids if id not in present]
    remarks = getattr(dataset.get_run_info(plan.key).config, "remarks", [])
    return WriteReport(plan.key, fields_of(list(results), scores), len(ids) - len(vanished), vanished, remarks)
