"""Where a run will be written: its key, its fields and what it may replace, decided once per call."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
from bson import json_util

from ..scores.catalog import DEFAULT_SCORES, SCORES
from .arrays import find_ids, ids_in_view, pack_ids, read_ids
from .internals import root_dataset, run_settings, sample_collection, serialize_stages
from .notes import METHOD, FieldNote, notes_of, owned_fields, owning_run, score_field
from .registry import check_identifier, list_runs

_logger = logging.getLogger(__name__)

ASIDE = "_replaced_"
"""What follows the key of a run in its temporary key while it is being replaced."""

MOST_INDEXES = 64
"""The indexes that MongoDB allows for the samples of a dataset."""

MOST_VIEW_BYTES = 15_000_000
"""The largest view, as JSON, that a run can keep. FiftyOne stores it with the settings of the run in one document,
which may have 16 MiB in MongoDB; an id takes 28 bytes."""


class TakenError(ValueError):
    """Something exists that the new run may not replace; under other names it can be written."""


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
        indexes (()): the paths that get an index
        run_id: the unique id of the run
        ids (None): the samples that get values, if they are not those of the collection
    """

    samples: foc.SampleCollection
    key: str
    fields: Mapping[str, type[fo.Field]]
    models: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    overwrite: bool = False
    indexes: tuple[str, ...] = ()
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    ids: Sequence[str] | None = None

    @classmethod
    def of_scores(
        cls,
        samples: foc.SampleCollection,
        models: Sequence[str],
        key: str,
        scores: Sequence[str] = DEFAULT_SCORES,
        overwrite: bool = False,
        run_id: str | None = None,
    ) -> WriteTarget:
        """Make the target for scores of networks under a known key, without checking it."""
        indexes = tuple(score_field(model, score) for model in models for score in scores if is_indexed(score))
        fields = score_fields(models, scores)
        id = uuid.uuid4().hex if run_id is None else run_id
        return cls(samples, key, fields, tuple(models), tuple(scores), overwrite, indexes, id)

    @property
    def dataset(self) -> fo.Dataset:
        """The dataset that is written to."""
        return root_dataset(self.samples)

    @property
    def _can_be_named(self) -> bool:
        """True for the scores of networks: those of several networks have one name only."""
        return bool(self.scores) and not any(SCORES[score].derived for score in self.scores)

    def check(self, ids: Sequence[str] | None = None) -> None:
        """Check that the target can be written now.

        Args:
            ids (None): further samples that get values, although they may have left the collection meanwhile

        Raises:
            ValueError: if a run cannot keep the view; if the key is not an identifier or belongs to a run of another
                kind; if it or a field exists and ``overwrite`` is false; if a field exists that has another type or is
                read-only; if samples outside the collection would lose their scores; or if the indexes would be more
                than MongoDB allows
        """
        _check_key(self.dataset, self.key, self.overwrite)
        self.check_fields(ids)

    def check_fields(self, ids: Sequence[str] | None = None) -> None:
        """Check everything but the key: see :meth:`check`."""
        self._check_view()
        existing = dict(self._existing_fields())
        for name, note in existing.items():
            self._check_replaceable(name, note)
        check_writable(self.dataset, [*existing, *self._lost_fields()])
        self._check_outside([name for name in existing if name in self.fields], ids)
        check_indexes(self.dataset, self.indexes)

    def replaced_runs(self) -> list[str]:
        """Return the keys of the runs that the new run replaces: none without ``overwrite``."""
        if not self.overwrite:
            return []
        owned, keys = owned_fields(self.dataset), list_runs(self.dataset)
        # an interrupted write has set it aside, and nothing of it is left
        aside = [key for key in keys if key.startswith(f"{self.key}{ASIDE}") and not owned[key]]
        return [key for key in keys if key == self.key or key in aside or self._covers(key, owned[key])]

    def warn_of_lost_fields(self) -> None:
        """Log what else the run of the same key holds, which it loses because the call replaces it."""
        owned = owned_fields(self.dataset).get(self.key, {}) if self.overwrite else {}
        others = [name for name, note in owned.items() if name not in self.fields and note.model not in self.models]
        if others:
            _logger.warning(
                f"overwrite=True replaces the whole run {self.key!r}: {', '.join(others)} will be deleted with it; to "
                "keep them, stop this call and choose another key"
            )

    def taken_networks(self) -> dict[str, list[str]]:
        """Return the networks of which the new run replaces the scores of other runs, by the keys of these."""
        if not self.overwrite:
            return {}
        owned = {key: {note.model for note in fields.values()} for key, fields in owned_fields(self.dataset).items()}
        taken = {key: [model for model in self.models if model in models] for key, models in owned.items()}
        return {key: models for key, models in taken.items() if models}

    def _covers(self, key: str, owned: Mapping[str, FieldNote]) -> bool:
        """True if the new fields and networks leave nothing of the fields that a run owns, nor of its networks."""
        models = run_settings(self.dataset, METHOD)[key].get("models", ())
        is_left = any(name not in self.fields and note.model not in self.models for name, note in owned.items())
        return bool(owned) and not is_left and set(models) <= set(self.models)

    def _check_view(self) -> None:
        """Check that the run can keep the view.

        Raises:
            ValueError: if it holds too many ids
        """
        if self.samples is self.dataset:
            return
        size = sum(len(json_util.dumps(stage)) for stage in serialize_stages(self.samples))
        if size > MOST_VIEW_BYTES:
            raise ValueError(
                f"the view takes {size / 1e6:.1f} MB, and a run can keep one of {MOST_VIEW_BYTES / 1e6:g}, about "
                "500,000 ids: tag its samples and give dataset.match_tags(...) instead"
            )

    def _existing_fields(self) -> Iterator[tuple[str, FieldNote]]:
        """The target's fields that exist, and other scores of its networks, which would mix two trainings."""
        notes = notes_of(self.dataset)
        for name in self.dataset.get_field_schema():
            note = notes.get(name, FieldNote())
            if name in self.fields or (note.model is not None and note.model in self.models):
                yield name, note

    def _lost_fields(self) -> list[str]:
        """The fields that the runs own that are replaced."""
        owned = owned_fields(self.dataset)
        return [name for key in self.replaced_runs() for name in owned[key]]

    def _check_replaceable(self, name: str, note: FieldNote) -> None:
        """Check that an existing field may be replaced.

        Raises:
            ValueError: if it may not
        """
        owner = owning_run(self.dataset, name)
        if note.writing:
            origin = "which another process is writing, or was writing when it was killed"
        elif note.run is None:
            origin = "which this package did not write"
        elif owner is not None:
            origin = f"written by the run {owner!r}"
        else:
            origin = f"written by the run {note.run!r}, which the dataset does not have"
        found = f"the dataset {self.dataset.name!r} already has the field {name!r}, {origin}"
        if not self.overwrite:
            aside = ", leave out its network, give the new scores another name with name=" if self._can_be_named else ""
            raise TakenError(f"{found}: delete or rename it{aside}, or replace it with overwrite=True")
        if name not in self.fields:
            if owner is None:
                raise TakenError(f"{found}: rename or delete it, because the network {note.model!r} would mix two runs")
            return
        existing, ftype = self.dataset.get_field(name), self.fields[name]
        if not isinstance(existing, ftype):
            raise TakenError(
                f"the field {name!r} is a {type(existing).__name__}, {origin}: it cannot be replaced by a "
                f"{ftype.__name__}; rename or delete it first"
            )

    def _check_outside(self, names: Sequence[str], ids: Sequence[str] | None) -> None:
        """Check that no sample outside the collection has a value in existing fields, which it would lose.

        Raises:
            ValueError: if there is one
        """
        if not names or (self.ids is None and self.samples is self.dataset):
            return
        values = {"$or": [{name: {"$ne": None}} for name in names]}
        outside = read_ids(sample_collection(self.dataset), [{"$match": values}])
        covered = ids_in_view(self.samples) if self.ids is None else np.sort(pack_ids(self.ids))
        for present in (covered, np.sort(pack_ids(ids or []))):
            outside = outside[find_ids(outside, present) < 0]
        if len(outside):
            owner = next(filter(None, (owning_run(self.dataset, name) for name in names)), None)
            aside = "give the new scores another name with name=, or " if self._can_be_named else ""
            first = f"delete the run {owner!r}" if owner else f"delete or rename the field {names[0]!r}"
            raise TakenError(
                f"{len(outside)} samples outside this call have values in {', '.join(map(repr, names))}, which "
                "overwrite=True would delete, because two runs must not mix in one field: "
                f"{aside}{first} first"
            )


def choose_target(
    samples: foc.SampleCollection,
    models: Sequence[str],
    key: str | None,
    overwrite: bool = False,
    scores: Sequence[str] = DEFAULT_SCORES,
    default: str = METHOD,
    ids: Sequence[str] | None = None,
) -> WriteTarget:
    """Choose the target for the scores of networks, and check it.

    Args:
        samples: the collection that is scored; its dataset is written to
        models: the networks
        key: the key of the run; None chooses learnability, learnability_2, ..., or that of the run it replaces
        overwrite (False): True if existing fields, and an existing run of that key, may be replaced
        scores (("learnability", "rank")): the scores that become fields
        default ("learnability"): the start of a chosen key
        ids (None): the samples that get values, if they are not those of the collection

    Raises:
        ValueError: see :meth:`WriteTarget.check`
    """
    target = replace(WriteTarget.of_scores(samples, models, key or "", scores, overwrite), ids=ids)
    return _chosen(target, key, default)


def choose_field_target(
    samples: foc.SampleCollection,
    fields: Mapping[str, type[fo.Field]],
    key: str | None,
    overwrite: bool = False,
    models: Sequence[str] = (),
    default: str = METHOD,
    indexes: Sequence[str] = (),
) -> WriteTarget:
    """Choose the target for any fields, and check it: see :func:`choose_target`.

    Args:
        samples: the collection that is scored; its dataset is written to
        fields: the types of the fields by name
        key: the key of the run, or None
        overwrite (False): True if existing fields, and an existing run of that key, may be replaced
        models (()): the networks that the fields are about
        default ("learnability"): the start of a chosen key
        indexes (()): the paths that get an index
    """
    target = WriteTarget(samples, key or "", fields, tuple(models), overwrite=overwrite, indexes=tuple(indexes))
    return _chosen(target, key, default)


def score_fields(models: Sequence[str], scores: Sequence[str] = DEFAULT_SCORES) -> dict[str, type[fo.Field]]:
    """Return the types of score fields by name, network by network."""
    return {score_field(model, score): type_of(score) for model in models for score in scores}


def type_of(score: str) -> type[fo.Field]:
    """Return the type of a score's field."""
    # the others are means over runs, so not whole numbers
    return fo.IntField if score == "rank" else fo.FloatField


def free_key(
    dataset: fo.Dataset, default: str = METHOD, is_used: Callable[[str], bool] = lambda candidate: False
) -> str:
    """Return the first of learnability, learnability_2, ... that no run has.

    Args:
        dataset: the dataset
        default ("learnability"): the start of the key
        is_used: returns whether an unfinished run holds a key, by default False
    """
    taken = dataset.list_runs()
    candidates = (default if number == 1 else f"{default}_{number}" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in taken and not is_used(candidate))


def free_names(samples: foc.SampleCollection, models: Sequence[str], scores: Sequence[str]) -> list[str]:
    """Return a name for each network under which its scores replace nothing: its own, or with _2, _3, ...

    Args:
        samples: the collection that is scored
        models: the networks
        scores: the scores that become fields
    """
    names: list[str] = []
    for model in models:
        candidates = (model if number == 1 else f"{model}_{number}" for number in count(1))
        names.append(next(name for name in candidates if name not in names and _is_free(samples, name, scores)))
    return names


def _is_free(samples: foc.SampleCollection, name: str, scores: Sequence[str]) -> bool:
    dataset = root_dataset(samples)
    fields = dataset.get_field_schema()
    if any(score_field(name, score) in fields for score in scores):
        return False
    return all(note.model != name for note in notes_of(dataset).values())


def is_indexed(score: str) -> bool:
    """Return whether the field of a score gets an index."""
    # MongoDB allows few indexes per collection, so only the fields that users sort by most get one
    return score in DEFAULT_SCORES or SCORES[score].derived


def check_indexes(dataset: fo.Dataset, paths: Sequence[str]) -> None:
    """Check that MongoDB allows the indexes of some fields.

    Args:
        dataset: the dataset
        paths: the paths that get an index

    Raises:
        ValueError: if there would be more than :data:`MOST_INDEXES`
    """
    existing = sample_collection(dataset).index_information()
    new = [path for path in paths if f"{path}_1" not in existing]
    if new and len(existing) + len(new) > MOST_INDEXES:
        raise ValueError(
            f"the dataset {dataset.name!r} has {len(existing)} indexes and {', '.join(map(repr, new))} would need "
            f"{len(new)} more, but MongoDB allows {MOST_INDEXES}: drop {len(existing) + len(new) - MOST_INDEXES} or "
            "more with dataset.drop_index(); dataset.list_indexes() lists them"
        )


def check_writable(dataset: fo.Dataset, names: Sequence[str]) -> None:
    """Check that no field is read-only; fields that do not exist are fine.

    Args:
        dataset: the dataset
        names: the fields

    Raises:
        ValueError: if one is
    """
    for name in names:
        if getattr(dataset.get_field(name), "read_only", False):
            raise ValueError(
                f"the field {name!r} is read-only: make it writable with `field = dataset.get_field({name!r}); "
                "field.read_only = False; field.save()`"
            )


def _chosen(target: WriteTarget, key: str | None, default: str) -> WriteTarget:
    """Return a target, after checking it, with its key or a chosen one."""
    if key is not None:
        target = replace(target, key=key)
        target.check()
        return target
    target.check_fields()
    # a rerun takes the key of the run it replaces, unless that run has other networks, which would be lost
    replaced = target.replaced_runs()
    return replace(target, key=replaced[0] if replaced else free_key(target.dataset, default))


def _check_key(dataset: fo.Dataset, key: str, overwrite: bool) -> None:
    check_identifier(key)
    if key not in dataset.list_runs():
        return
    if key not in list_runs(dataset):
        raise TakenError(f"the run key {key!r} belongs to a run of another kind: choose another key")
    if not overwrite:
        raise TakenError(
            f"the dataset {dataset.name!r} already has a run {key!r}: choose another key, delete the run, or replace "
            "it with overwrite=True"
        )
