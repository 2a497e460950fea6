"""Where a run will be written: its key, its fields and what it may replace, decided once per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import fiftyone as fo
import fiftyone.core.collections as foc

from ..scores.catalog import DEFAULT_SCORES
from .internals import root_dataset
from .notes import note_of, notes_of, score_field
from .registry import METHOD, check_identifier, list_runs


@dataclass(frozen=True, eq=False)
class WriteTarget:
    """The place of a new run on a dataset.

    Attributes:
        samples: the collection that was scored; its dataset is written to
        key: the key of the run
        fields: the types of its fields by name
        models (()): the networks that the fields are about
        scores (()): the scores of these networks; empty if the fields are not scores of a network
        overwrite (False): True if existing fields, and an existing run of that key, may be replaced
    """

    samples: foc.SampleCollection
    key: str
    fields: Mapping[str, type[fo.Field]]
    models: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    overwrite: bool = False

    @classmethod
    def of_scores(
        cls,
        samples: foc.SampleCollection,
        models: Sequence[str],
        key: str,
        scores: Sequence[str] = DEFAULT_SCORES,
        overwrite: bool = False,
    ) -> WriteTarget:
        """Make the target for scores of networks under a known key, without checking it."""
        return cls(samples, key, score_fields(models, scores), tuple(models), tuple(scores), overwrite)

    @property
    def dataset(self) -> fo.Dataset:
        """The dataset that is written to."""
        return root_dataset(self.samples)

    def check(self) -> None:
        """Check that the target can be written now.

        Raises:
            ValueError: if the key is not an identifier or belongs to a run of another kind; if the run or a field
                exists and ``overwrite`` is false; or if an existing field has another type
        """
        _check_key(self.dataset, self.key, self.overwrite)
        _find_owners(self.dataset, self.fields, self.overwrite)

    def replaced_runs(self) -> list[str]:
        """Return the keys of the runs that the new run replaces."""
        keys = list_runs(self.dataset)
        return [key for key in keys if key == self.key or _is_covered(self.dataset, key, self.fields, self.models)]


def choose_target(
    samples: foc.SampleCollection,
    models: Sequence[str],
    key: str | None,
    overwrite: bool = False,
    scores: Sequence[str] = DEFAULT_SCORES,
    default: str = METHOD,
) -> WriteTarget:
    """Choose the target for the scores of networks, and check it.

    Args:
        samples: the collection that is scored; its dataset is written to
        models: the networks
        key: the key of the run; None chooses learnability, learnability_2, ..., or that of the run it replaces
        overwrite (False): True if existing fields, and an existing run of that key, may be replaced
        scores (("learnability", "rank")): the scores that become fields
        default ("learnability"): the start of a chosen key

    Raises:
        ValueError: see :meth:`WriteTarget.check`
    """
    fields = score_fields(models, scores)
    key = _choose_key(root_dataset(samples), fields, models, key, overwrite, default)
    return WriteTarget(samples, key, fields, tuple(models), tuple(scores), overwrite)


def choose_field_target(
    samples: foc.SampleCollection,
    fields: Mapping[str, type[fo.Field]],
    key: str | None,
    overwrite: bool = False,
    models: Sequence[str] = (),
    default: str = METHOD,
) -> WriteTarget:
    """Choose the target for any fields, and check it: see :func:`choose_target`.

    Args:
        samples: the collection that is scored; its dataset is written to
        fields: the types of the fields by name
        key: the key of the run, or None
        overwrite (False): True if existing fields, and an existing run of that key, may be replaced
        models (()): the networks that the fields are about
        default ("learnability"): the start of a chosen key
    """
    key = _choose_key(root_dataset(samples), fields, models, key, overwrite, default)
    return WriteTarget(samples, key, fields, tuple(models), overwrite=overwrite)


def score_fields(models: Sequence[str], scores: Sequence[str] = DEFAULT_SCORES) -> dict[str, type[fo.Field]]:
    """Return the types of score fields by name, network by network."""
    return {score_field(model, score): type_of(score) for model in models for score in scores}


def type_of(score: str) -> type[fo.Field]:
    """Return the type of a score's field."""
    # the others are means over runs, so not whole numbers
    return fo.IntField if score == "rank" else fo.FloatField


def _choose_key(
    dataset: fo.Dataset,
    fields: Mapping[str, type[fo.Field]],
    models: Sequence[str],
    key: str | None,
    overwrite: bool,
    default: str,
) -> str:
    if key is not None:
        _check_key(dataset, key, overwrite)
    owners = _find_owners(dataset, fields, overwrite)
    if key is not None:
        return key
    # a rerun takes the key of the run it replaces, unless that run has other networks, which would be lost
    runs = list_runs(dataset)
    for owner in owners:
        if owner in runs and _is_covered(dataset, owner, fields, models):
            return owner
    taken = dataset.list_runs()
    candidates = (default if number == 1 else f"{default}_{number}" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


def _check_key(dataset: fo.Dataset, key: str, overwrite: bool) -> None:
    check_identifier(key)
    if key not in dataset.list_runs():
        return
    if key not in list_runs(dataset):
        raise ValueError(f"the run key {key!r} belongs to a run of another kind: choose another key")
    if not overwrite:
        raise ValueError(
            f"the dataset {dataset.name!r} already has a run {key!r}: choose another key, delete the run, or replace "
            "it with overwrite=True"
        )


def _find_owners(dataset: fo.Dataset, fields: Mapping[str, type[fo.Field]], overwrite: bool) -> list[str]:
    """Return the runs that own existing fields.

    Raises:
        ValueError: if a field exists and may not be replaced
    """
    owners = []
    for name, ftype in fields.items():
        field = dataset.get_field(name)
        if field is None:
            continue
        note = note_of(field)
        origin = f"written by the run {note.run!r}" if note.run else "which this package did not write"
        if note.writing:
            origin = "which another process is writing, or was writing when it was killed"
        if not overwrite:
            raise ValueError(
                f"the dataset {dataset.name!r} already has the field {name!r}, {origin}: delete it, leave out its "
                "network, or replace it with overwrite=True"
            )
        if not isinstance(field, ftype):
            raise ValueError(
                f"the field {name!r} is a {type(field).__name__}, {origin}: it cannot be replaced by a "
                f"{ftype.__name__}; rename or delete it first"
            )
        if note.run is not None:
            owners.append(note.run)
    return owners


def _is_covered(dataset: fo.Dataset, key: str, fields: Mapping[str, type[fo.Field]], models: Sequence[str]) -> bool:
    """True if new fields and networks leave nothing of a run."""
    run_models = set(dataset.get_run_info(key).config.models)
    owned = {name: note.model for name, note in notes_of(dataset).items() if note.run == key}
    covered = all(name in fields or model in models for name, model in owned.items())
    return bool(run_models or owned) and run_models <= set(models) and covered
