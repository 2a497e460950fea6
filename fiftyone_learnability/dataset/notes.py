"""The note that this package leaves in ``field.info`` of each field it writes, who owns it, and the fields' names.

FiftyOne copies ``field.info`` with the field: ``clone_sample_field``, ``merge_samples`` and ``rename_sample_field`` all
keep the note. So a note counts only under the name that it says, and a run owns a field only if the note has the run's
unique id. Copies and renamed fields are the user's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc

from ..scores.catalog import DEFAULT_SCORES, SCORES
from .internals import is_outdated, root_dataset, run_settings, set_field_metadata

METHOD = "learnability"
"""The method of this package's runs: ``dataset.list_runs(method="learnability")``."""

_INFO_KEY = "learnability"
"""The entry of ``field.info`` that holds the note."""


@dataclass(frozen=True)
class FieldNote:
    """The entry of this package in a field's ``info``.

    Attributes:
        run (None): the key of the run that wrote the field
        run_id (None): the unique id of that run; None in notes of 0.1.0
        field (None): the name under which the field was written; None in notes of 0.1.0
        model (None): the network whose score it is
        score (None): the name of the score
        epochs (None): the epochs of each training
        runs (None): the seeds that the score is the mean over
        derived (False): True for scores computed from those of several networks
        copy_of (None): the label field of which the field is a copy with accepted suggestions
        original_of (None): the label field whose labels the field keeps as they were before suggestions were applied
        accepts_into (None): the label field that the review of suggested labels writes accepted ones into
        writing (False): True while the field is being written and incomplete
    """

    run: str | None = None
    model: str | None = None
    score: str | None = None
    epochs: int | None = None
    runs: int | None = None
    derived: bool = False
    copy_of: str | None = None
    original_of: str | None = None
    accepts_into: str | None = None
    writing: bool = False
    run_id: str | None = None
    field: str | None = None

    def to_info(self) -> dict[str, Any]:
        """Return the info of a new field with this note."""
        return {
            _INFO_KEY: {name: value for name, value in vars(self).items() if value is not None and value is not False}
        }


_NAMES = frozenset(FieldNote.__dataclass_fields__)

FIRST_VERSION = "0.1.0"
"""The version whose notes have neither the id of the run nor the name of the field."""


def refresh(samples: foc.SampleCollection) -> None:
    """Reload the dataset of a collection if another process, such as a background job, has changed its fields or runs.

    Unsaved changes of the dataset object stay if nothing has changed.
    """
    dataset = root_dataset(samples)
    if is_outdated(dataset, _INFO_KEY):
        dataset.reload()


def note_of(field: fo.Field | None) -> FieldNote:
    """Return the note of a field; an empty one if there is no field, or it is no field that this package wrote."""
    return _read(field) or FieldNote()


def notes_of(samples: foc.SampleCollection) -> dict[str, FieldNote]:
    """Return the notes of a collection's top-level fields by name, in the order of the schema.

    Fields of other origin are left out, also copies of this package's fields and those that the user has renamed.
    """
    notes = ((name, _read(field)) for name, field in samples.get_field_schema().items())
    return {name: note for name, note in notes if note is not None}


def moved_fields(samples: foc.SampleCollection) -> dict[str, tuple[str, FieldNote]]:
    """Return the fields that the user has renamed or copied, by the name under which they were written.

    Returns:
        for each such name how the field is called now, the first of several copies, and its note
    """
    moved: dict[str, tuple[str, FieldNote]] = {}
    for name, field in samples.get_field_schema().items():
        note = _parse(field)
        written = None if note is None else note.field or _first_name(field, note)
        if note is not None and written is not None and written != name:
            moved.setdefault(written, (name, note))
    return moved


def sign(info: Mapping[str, Any], field_name: str, key: str, run_id: str | None) -> dict[str, Any]:
    """Return the info of a field with the name of the field and its run in the note.

    Args:
        info: the info, with a note
        field_name: the name of the field
        key: the key of the run
        run_id: the unique id of the run, None for runs of 0.1.0 without one
    """
    entry = {**info[_INFO_KEY], "run": key, "field": field_name}
    return {**info, _INFO_KEY: entry if run_id is None else {**entry, "run_id": run_id}}


def set_run(dataset: fo.Dataset, names: Sequence[str], key: str) -> None:
    """Change the key of the run in the notes of fields; what else their infos hold stays."""
    fields = {name: dataset.get_field(name) for name in names}
    infos = {name: {**field.info, _INFO_KEY: {**field.info[_INFO_KEY], "run": key}} for name, field in fields.items()}
    if changed := [name for name, field in fields.items() if field.info != infos[name]]:
        set_field_metadata(dataset, {name: (fields[name].description, infos[name]) for name in changed})


def is_owner(settings: Mapping[str, Any], key: str, note: FieldNote) -> bool:
    """Return whether a run owns the field with a note.

    Args:
        settings: the settings of the run
        key: the key of the run
        note: the note
    """
    if note.run_id is not None:
        return note.run_id == settings.get("run_id")
    is_old = settings.get("package_version", FIRST_VERSION) == FIRST_VERSION
    # a merged dataset can bring fields of a run with the same key but other networks
    return is_old and note.run == key and (note.model is None or note.model in settings.get("models", ()))


def owning_run(samples: foc.SampleCollection, field_name: str) -> str | None:
    """Return the key of the run that owns a field; None if there is no such field, or no run of the dataset owns it."""
    note = note_of(samples.get_field(field_name))
    if note.run is None:
        return None
    runs = run_settings(root_dataset(samples), METHOD).items()
    return next((key for key, settings in runs if is_owner(settings, key, note)), None)


def owned_fields(samples: foc.SampleCollection) -> dict[str, dict[str, FieldNote]]:
    """Return the fields that each run of a dataset owns, by the key of the run, with their notes."""
    notes = notes_of(samples)
    return {
        key: {name: note for name, note in notes.items() if note.run is not None and is_owner(settings, key, note)}
        for key, settings in run_settings(root_dataset(samples), METHOD).items()
    }


def fields_of_run(samples: foc.SampleCollection, key: str) -> list[str]:
    """Return the names of the fields that a run owns."""
    return list(owned_fields(samples).get(key, {}))


def score_field(model: str, score: str = "learnability") -> str:
    """Return the field of a network's score: ``learnability_<model>``, or ``learnability_<model>_<score>`` for others.

    Args:
        model: the network
        score ("learnability"): the score; for "rank" see :func:`rank_field`
    """
    if score == "rank":
        return rank_field(model)
    if SCORES[score].derived:
        return f"learnability_{score}"
    return f"learnability_{model}" if score == "learnability" else f"learnability_{model}_{score}"


def rank_field(model: str) -> str:
    """Return the field of a network's learnability rank, ``learnability_rank_<model>``."""
    return f"learnability_rank_{model}"


def fields_of(models: Sequence[str], scores: Sequence[str] = DEFAULT_SCORES) -> list[str]:
    """Return the score fields of some networks, network by network."""
    return [score_field(model, score) for model in models for score in scores]


def _read(field: fo.Field | None) -> FieldNote | None:
    note = _parse(field)
    if field is None or note is None:
        return None
    return note if _path(field) == (note.field or _first_name(field, note)) else None


def _parse(field: fo.Field | None) -> FieldNote | None:
    """Read the note of a field, whatever the field is called now."""
    entry = ((field.info if field is not None else None) or {}).get(_INFO_KEY)
    if not isinstance(entry, dict):
        return None
    # other versions may note more, and users can put anything there
    return FieldNote(**{name: entry[name] for name in _NAMES & entry.keys()})


def _path(field: fo.Field) -> str:
    """Return the path of a field as it is called now: after renaming, ``field.path`` still ends in the old name."""
    parent = (field.path or field.name).rpartition(".")[0]
    return f"{parent}.{field.name}" if parent else str(field.name)


def _first_name(field: fo.Field, note: FieldNote) -> str | None:
    """Return the name under which 0.1.0 wrote the field with a note; None if it wrote no such field."""
    if note.original_of is not None:
        return f"{note.original_of}_original"
    if note.run is None:
        # the user has chosen the name of a copy with accepted suggestions
        return _path(field)
    if note.model is not None:
        return score_field(note.model, note.score) if note.score in SCORES else None
    return f"learnability_{note.score}"
