"""The note that this package leaves in ``field.info`` of each field it writes, and the names of those fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fiftyone as fo
import fiftyone.core.collections as foc

from ..scores.catalog import DEFAULT_SCORES, SCORES

_INFO_KEY = "learnability"
"""The entry of ``field.info`` that holds the note."""


@dataclass(frozen=True)
class FieldNote:
    """The entry of this package in a field's ``info``.

    Attributes:
        run (None): the key of the run that owns the field
        model (None): the network whose score it is
        score (None): the name of the score
        epochs (None): the epochs of each training
        runs (None): the seeds that the score is the mean over
        derived (False): True for scores computed from those of several networks
        copy_of (None): the label field of which the field is a copy with accepted suggestions
        original_of (None): the label field whose labels the field keeps as they were before suggestions were applied
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
    writing: bool = False

    def to_info(self) -> dict[str, Any]:
        """Return the info of a new field with this note."""
        # a run's note names its network even where there is none, as it has always done
        always = ("run", "model", "score") if self.run is not None else ()
        entry = {
            name: value for name, value in vars(self).items() if name in always or not (value is None or value is False)
        }
        return {_INFO_KEY: entry}


_NAMES = frozenset(FieldNote.__dataclass_fields__)


def note_of(field: fo.Field | None) -> FieldNote:
    """Return the note of a field; an empty note for None or a field that this package did not write."""
    return _read(field) or FieldNote()


def notes_of(samples: foc.SampleCollection) -> dict[str, FieldNote]:
    """Return the notes of a collection's top-level fields by name, in the order of the schema.

    Fields of other origin are left out.
    """
    notes = ((name, _read(field)) for name, field in samples.get_field_schema().items())
    return {name: note for name, note in notes if note is not None}


def set_run(field: fo.Field, key: str) -> None:
    """Change the run in the note of a field and save the field; what else its info holds stays."""
    field.info = {**field.info, _INFO_KEY: {**field.info[_INFO_KEY], "run": key}}
    field.save()


def owning_run(samples: foc.SampleCollection, field_name: str) -> str | None:
    """Return the key of the run that wrote a field, None if there is no such field or no run wrote it."""
    return note_of(samples.get_field(field_name)).run


def fields_of_run(samples: foc.SampleCollection, key: str) -> list[str]:
    """Return the names of the fields that a run owns."""
    return [name for name, note in notes_of(samples).items() if note.run == key]


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
    entry = ((field.info if field is not None else None) or {}).get(_INFO_KEY)
    # other versions may note more, and users can put anything there
    return FieldNote(**{name: entry[name] for name in _NAMES & entry.keys()}) if isinstance(entry, dict) else None
