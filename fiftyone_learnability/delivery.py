"""Delivery: the results of a finished run onto their dataset, at once or later from the run directory."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.core.collections as foc
from bson import ObjectId, json_util
from pymongo.errors import PyMongoError

from .dataset.changes import Changes, find_changes
from .dataset.columns import WriteError
from .dataset.fields import WriteReport, write_results
from .dataset.internals import build_view, root_dataset, sample_collection, serialize_stages
from .dataset.notes import fields_of
from .dataset.registration import recover
from .dataset.registry import check_identifier, list_runs
from .dataset.retry import is_unreachable, retry_while_unreachable
from .dataset.samples import name_of
from .dataset.stages import check_stages
from .experiment.results import ModelResults
from .scores.catalog import SCORES

if TYPE_CHECKING:
    pass


WRITE_SECONDS = 60.0
"""How long the writing is tried again while the database is away."""


WRITE_PAUSE = 0.5
"""The pause before the writing is first tried again; each one is twice as long as that before it, up to 10 s."""


def write_run_directory(path: str | Path) -> WriteReport:
    """Writes the scores of a run whose trainings are done but whose database was away.

    Args:
        path: the run directory that the error named

    Returns:
        what was written; the directory is then deleted

    Raises:
        ValueError: if it holds no results, or its dataset is gone
        RunLockedError: if another process works on it
        WriteError: if the scores cannot be written this time either
    """
    from .experiment.run_directory import load_results_to_write, locked, remove_run_directory

    path = Path(path)
    # before the lock, which would make the directory
    load_results_to_write(path)
    with locked(path):
        results, said = load_results_to_write(path)
        try:
            plan = WritePlan.from_json(said)
        except ValueError as error:
            raise ValueError(
                f"{path / 'results' / 'plan.json'} is damaged ({error}): call compute_learnability again, which makes "
                "it anew from the records"
            ) from error
        samples = plan.find_samples()
        if samples is None:
            raise ValueError(f"the dataset {plan.dataset!r} of the run in {path} no longer exists")
        report = _write(samples, results, plan, path, lambda message: None, again=True)
        remove_run_directory(path)
    return report


@dataclass(frozen=True)
class WritePlan:
    """What is to be written, and where.

    Attributes:
        dataset: the name that the dataset had
        dataset_id: its id, which it keeps under another name
        key: the key of the run
        settings: what describes the run, in values that JSON holds; ``run_id`` tells it from all others
        overwrite: whether existing fields and an existing run of that key may be replaced
        scores: the scores to be written
        stages: the stages of the view that was scored, as JSON; None for the whole dataset
        newest: the sample that was made last when they were read
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
    def from_json(cls, said: dict[str, Any]) -> WritePlan:
        """Reads a plan from a file that anybody may have written.

        Raises:
            ValueError: if it is not what this package writes
        """
        if said.keys() != {field.name for field in fields(cls)}:
            raise ValueError(f"it says {', '.join(map(repr, said)) or 'nothing'}")
        plan = cls(**said)
        if not isinstance(plan.dataset, str) or not isinstance(plan.overwrite, bool):
            raise ValueError("dataset must be a text, overwrite true or false")
        if not isinstance(plan.dataset_id, str) or not ObjectId.is_valid(plan.dataset_id):
            raise ValueError("dataset_id must be an id")
        check_identifier(plan.key)
        taken = {"models", "method", "cls", "type"}
        if not isinstance(plan.settings, dict) or not isinstance(plan.settings.get("run_id"), str):
            raise ValueError("settings must describe a run")
        if strange := [name for name in plan.settings if not name.isidentifier() or name in taken]:
            raise ValueError(f"settings has an entry {strange[0]!r}")
        if not isinstance(plan.scores, list) or not all(isinstance(one, str) and one in SCORES for one in plan.scores):
            raise ValueError("scores must be names of scores")
        if plan.stages is not None:
            if not isinstance(plan.stages, str):
                raise ValueError("stages must be a text")
            check_stages(plan.view)
        return plan

    def find_samples(self, samples: foc.SampleCollection | None = None) -> foc.SampleCollection | None:
        """The collection that was scored, whatever its dataset is called now; None if that is there no longer.

        Args:
            samples (None): the collection as this process has it, which is taken if nobody has renamed its dataset
        """
        name = name_of(ObjectId(self.dataset_id))
        if name is None:
            return None
        if samples is not None and root_dataset(samples).name == name:
            return samples
        dataset = fo.load_dataset(name)
        return dataset if self.stages is None else build_view(dataset, self.view)

    def has_dataset(self) -> bool:
        """Whether the dataset is there, also if that cannot be found out."""
        try:
            return name_of(ObjectId(self.dataset_id)) is not None
        except PyMongoError:
            return True

    @property
    def view(self) -> list[dict[str, Any]]:
        """The stages of the view.

        Raises:
            ValueError: if they cannot be read
        """
        try:
            return json_util.loads(self.stages or "[]")
        # what stands for a date or an id may be anything
        except Exception as error:
            raise ValueError(f"stages cannot be read: {error}") from error


def _stages_of(samples: foc.SampleCollection) -> str | None:
    return None if isinstance(samples, fo.Dataset) else json_util.dumps(serialize_stages(samples))


def _write(
    given: foc.SampleCollection,
    results: dict[str, ModelResults],
    plan: WritePlan,
    folder: Path | None,
    say: Callable[[str], None],
    again: bool,
) -> WriteReport:
    """Writes, again and again while the database is away; gives up after :data:`WRITE_SECONDS`.

    Args:
        given: the collection that was scored
        results: the results by network
        plan: what is to be written
        folder: the run directory, None if the results could not be saved there
        say: takes a line for people
        again: whether an earlier process may have written them already
    """
    scores = [name for name in plan.scores if all(name in result.scores for result in results.values())]

    def attempt() -> WriteReport:
        nonlocal again
        # the database may have gone away after all was written
        may_be_written, again = again, True
        samples = plan.find_samples(given)
        if samples is None:
            raise ValueError(f"the dataset {plan.dataset!r} was deleted meanwhile: nothing was written")
        if may_be_written and (report := _written(root_dataset(samples), results, plan, scores)) is not None:
            return report
        incidents, changes = _incidents(results), _changes(samples, results, plan)
        settings = {**plan.settings, "remarks": [*incidents, *changes.sentences()]}
        report = write_results(samples, results, plan.key, settings, plan.overwrite, scores)
        # more may have vanished since
        changes = replace(changes, vanished=report.vanished)
        return replace(report, remarks=[*incidents, *changes.sentences()])

    def tell(pause: float) -> None:
        say(f"the database is away; writing is tried again in {pause:.1f} s")

    try:
        return retry_while_unreachable(attempt, WRITE_SECONDS, WRITE_PAUSE, tell)
    except Exception as error:
        raise WriteError(f"{error}. {_advice(error, plan, folder)}") from error


def _advice(error: Exception, plan: WritePlan, folder: Path | None) -> str:
    """What to do with results that could not be written."""
    if folder is None:
        return "Nor could the results be saved. To call again goes on from the trainings that could"
    done = "The trainings are done and saved: "
    if not is_unreachable(error) and not plan.has_dataset():
        return (
            f"{done}into another dataset of the same images "
            f"`fiftyone-learnability import DATASET {shlex.quote(str(folder / 'results'))}/<network>.npz` writes them"
        )
    return f"{done}`fiftyone-learnability write {shlex.quote(str(folder))}` writes them"


def _written(
    dataset: fo.Dataset, results: dict[str, ModelResults], plan: WritePlan, scores: Sequence[str]
) -> WriteReport | None:
    """What a process that did not come to say so has written of a run, None if it has not."""
    recover(dataset)
    dataset.reload()
    if _id_of_run(dataset, plan.key) != plan.settings["run_id"]:
        return None
    ids = next(iter(results.values())).ids.tolist()
    present = {str(document["_id"]) for document in sample_collection(dataset).find({}, {"_id": 1})}
    vanished = [id for id in ids if id not in present]
    remarks = getattr(dataset.get_run_info(plan.key).config, "remarks", [])
    return WriteReport(plan.key, fields_of(list(results), scores), len(ids) - len(vanished), vanished, remarks)


def _incidents(results: dict[str, ModelResults]) -> list[str]:
    """What did not go as planned in the trainings."""
    return [f"{model}, {text}" for model, result in results.items() for text in result.config.get("incidents", [])]


def _changes(samples: foc.SampleCollection, results: dict[str, ModelResults], plan: WritePlan) -> Changes:
    """What was done to the dataset meanwhile."""
    return find_changes(samples, next(iter(results.values())), plan.settings["label_field"], plan.newest)


def _id_of_run(dataset: fo.Dataset, key: str) -> str | None:
    if key not in list_runs(dataset):
        return None
    return getattr(dataset.get_run_info(key).config, "run_id", None)
