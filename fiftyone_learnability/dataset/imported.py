"""Scores that this package did not compute: matched with samples, checked, and written as a run of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import fiftyone.core.collections as foc
import numpy as np
from bson import ObjectId
from numpy.typing import NDArray

from .._version import __version__
from ..experiment.results import ModelResults
from ..scores.catalog import choose_scores, is_reserved
from ..scores.checks import LONGEST_NAME, check_bool, short_repr, shorten
from ..scores.formulas import IntArray
from .fields import WriteReport, write_results
from .internals import root_dataset
from .paths import match_paths
from .recovery import recover
from .samples import check_images, find_label_fields, label_path
from .sources import read_source
from .target import WriteTarget, choose_target

IMPORTED = "imported"
"""The kind of these runs, and the start of their keys."""


@dataclass(frozen=True, eq=False)
class PreparedScores:
    """The scores of one model, checked and ready to be written.

    Attributes:
        samples: the collection they are written onto
        result: the scores
        settings: what the run notes about itself
        scores: the names of the scores that become fields
        unknown: ids or files that are not in the collection
        key: the key of the run; None lets the package choose one
        overwrite: True if existing fields may be replaced
    """

    samples: foc.SampleCollection
    result: ModelResults
    settings: dict[str, Any]
    scores: list[str]
    unknown: list[str]
    key: str | None
    overwrite: bool

    def choose_target(self) -> WriteTarget:
        """Choose where the run is written.

        Raises:
            ValueError: if the key or a field exists and may not be replaced
        """
        model, ids = self.result.model, self.result.ids.tolist()
        return choose_target(self.samples, [model], self.key, self.overwrite, self.scores, IMPORTED, ids)

    def write(self) -> WriteReport:
        """Write the scores and register the run.

        Raises:
            ValueError: if the key or a field was created in the meantime
            WriteError: if the database fails; the dataset is unchanged
        """
        results = {self.result.model: self.result}
        # chosen again: several imports that were prepared together take the next free keys one after the other
        report = write_results(self.choose_target(), results, self.settings)
        return replace(report, vanished=[*self.unknown, *report.vanished])


def prepare_scores(
    samples: foc.SampleCollection,
    source: Any,
    name: str,
    *,
    label_field: str | None = None,
    classes: Sequence[str] | None = None,
    learnability: str = "learnability",
    scores: str | Sequence[str] = "all",
    key: str | None = None,
    overwrite: bool = False,
) -> PreparedScores:
    """Check the arguments of :func:`fiftyone_learnability.write_scores` without writing anything."""
    check_model_name(name)
    overwrite = check_bool("overwrite", overwrite)
    if classes is not None and (isinstance(classes, str) or not isinstance(classes, Sequence)):
        raise TypeError(f"classes must be a list of names, not {short_repr(classes)}")
    check_images(samples)
    recover(root_dataset(samples))
    if label_field is None and "ground_truth" in find_label_fields(samples):
        label_field = "ground_truth"
    if isinstance(source, ModelResults):
        result, unknown = _adapt_results(samples, source, name)
    else:
        result, unknown = _make_results(samples, source, name, label_field, classes, learnability)
    chosen = result.scores if scores == "all" else choose_scores(scores, 2 if "spread" in result.scores else 1)
    runs, epochs = result.train_loss.shape
    settings = {
        "label_field": label_field,
        "kind": IMPORTED,
        "epochs": epochs,
        "runs": runs,
        "num_samples": len(result.ids),
        "package_version": __version__,
    }
    written = [score for score in result.scores if score in chosen]
    prepared = PreparedScores(samples, result, settings, written, unknown, key, overwrite)
    prepared.choose_target().warn_of_lost_fields()
    return prepared


def check_model_name(name: str) -> None:
    """Check that a model can have this name.

    Raises:
        ValueError: if it cannot
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name must be an identifier: letters, digits and underscores, not {short_repr(name)}")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name {short_repr(name)} is too long: at most {LONGEST_NAME} characters are allowed")
    if is_reserved(name):
        raise ValueError(f"the name {name!r} would clash with fields of this package: choose another name")


def _adapt_results(samples: foc.SampleCollection, source: ModelResults, name: str) -> tuple[ModelResults, list[str]]:
    """The results of a run, possibly of another dataset of the same images, for the samples of this collection.

    Returns:
        the results, and the ids or files that the collection does not have
    """
    known_ids = set(samples.values("id"))
    names = source.ids if any(id in known_ids for id in source.ids.tolist()) else source.filepaths
    found = _find_samples(samples, names.tolist(), None)
    rows = found.rows
    result = replace(
        source,
        model=name,
        ids=found.ids,
        filepaths=found.filepaths,
        labels=source.labels[rows],
        run_scores={score: values[:, rows] for score, values in source.run_scores.items()},
        dynamics=None if source.dynamics is None else source.dynamics[:, rows],
        prediction=None if source.prediction is None else source.prediction[rows],
    )
    return result, found.unknown


def _make_results(
    samples: foc.SampleCollection,
    source: Any,
    name: str,
    label_field: str | None,
    classes: Sequence[str] | None,
    learnability: str,
) -> tuple[ModelResults, list[str]]:
    """The scores of a tracker or a table as the results of one run, and the ids or files that are not here."""
    read = read_source(samples, source, learnability)
    found = _find_samples(samples, read.names, label_field)
    rows = found.rows
    labels, class_names = _number_labels(found.labels, label_field, classes)
    prediction = read.prediction
    if classes is None:
        # the class of each column is unknown
        prediction = None
    elif prediction is not None and len(classes) != prediction.shape[1]:
        raise ValueError(f"classes must name the {prediction.shape[1]} outputs of the model, not {len(classes)}")
    if classes is not None and read.labels is not None:
        _check_order(class_names, read.labels[rows], labels)
    accuracy = np.asarray(read.accuracies, dtype=np.float64)[None]
    unmeasured = np.full(accuracy.shape, np.nan)
    result = ModelResults(
        model=name,
        ids=found.ids,
        filepaths=found.filepaths,
        labels=labels,
        classes=class_names,
        run_scores={score: values[rows][None] for score, values in read.scores.items()},
        train_loss=unmeasured,
        train_accuracy=unmeasured,
        measured_accuracy=accuracy,
        epoch_seconds=np.zeros(accuracy.shape),
        config={"seeds": [0]},
        prediction=None if prediction is None else prediction[rows].astype(np.float16),
    )
    return result, found.unknown


def _check_order(classes: tuple[str, ...], trained: IntArray, labels: IntArray) -> None:
    """Check that the names of the classes are in the order of the model's outputs.

    Args:
        classes: the names as the user gave them
        trained: ``(N,)`` label that the model was trained with, an index into its outputs, -1 if unknown
        labels: ``(N,)`` label that the dataset has for each sample, an index into ``classes``, -1 where it has none

    Raises:
        ValueError: if most samples of an output have the label of another one; a few may have been relabelled since
    """
    if (most := int(trained.max(initial=-1))) >= len(classes):
        raise ValueError(f"classes names {len(classes)} outputs, but the tracker's labels go up to {most}")
    known = (trained >= 0) & (labels >= 0)
    counts = np.zeros((int(trained.max(initial=-1)) + 1, len(classes)), np.int64)
    np.add.at(counts, (trained[known], labels[known]), 1)
    for output, row in enumerate(counts):
        most = int(row.argmax()) if row.any() else output
        if row[most] > row.sum() / 2 and most != output:
            order = [classes[int(row.argmax())] if row.any() else "?" for row in counts]
            raise ValueError(
                f"classes is not in the order of the model's outputs: it calls output {output} {classes[output]!r}, "
                f"but {row[most]} of the {row.sum()} samples that the tracker's labels put into class {output} are "
                f"labelled {classes[most]!r}; by their labels the order is {shorten(', '.join(order), 300)}"
            )


class _FoundSamples(NamedTuple):
    """The N samples of a collection that scores name, sorted by id.

    Attributes:
        ids: ``(N,)``
        filepaths: ``(N,)``
        labels: N labels, None where a sample has none or no label field was given
        rows: ``(N,)`` position of each sample among the names
        unknown: the names that are no sample of the collection
    """

    ids: NDArray[np.str_]
    filepaths: NDArray[np.str_]
    labels: list[Any]
    rows: IntArray
    unknown: list[str]


def _find_samples(samples: foc.SampleCollection, names: list[str], label_field: str | None) -> _FoundSamples:
    """Find samples by id, else by file path, else by the end of the file path."""
    paths = ["id", "filepath", *([] if label_field is None else [label_path(samples, label_field)])]
    # of all samples: a view of those that are found might hold too many ids for MongoDB
    ids, files, *labels = samples.values(paths)
    if not ids:
        raise ValueError("the collection is empty: there are no samples to score")
    if len(set(names)) < len(names):
        repeated = Counter(names).most_common(1)[0][0]
        if ObjectId.is_valid(repeated):
            raise ValueError(f"the scores name the sample {short_repr(repeated)} more than once")
        raise ValueError(
            f"the scores name the file {short_repr(repeated)} more than once, and only ids tell its samples apart: "
            "keep one row for each file, or give ids of this collection"
        )
    place_of = {id: place for place, id in enumerate(ids)}
    by_id = any(name in place_of for name in names)
    id_of = {id: id for id in ids} if by_id else _match_files(names, ids, files)
    found = sorted((id_of[name], row) for row, name in enumerate(names) if name in id_of)
    places = [place_of[id] for id, _ in found]
    return _FoundSamples(
        np.array([id for id, _ in found], np.str_),
        np.array([files[place] for place in places], np.str_),
        [labels[0][place] for place in places] if labels else [None] * len(places),
        np.array([row for _, row in found], np.int64),
        [name for name in names if name not in id_of],
    )


def _match_files(names: list[str], ids: list[str], files: list[str]) -> dict[str, str]:
    """The sample id of each name that is the path of a sample's file, or has the longest end in common with it."""
    by_path = dict(zip(files, ids, strict=True))
    if len(by_path) < len(files):
        raise ValueError("some samples share a file, so files do not identify them: name the samples by id")
    if any(name in by_path for name in names):
        return by_path
    # the folder was moved, or the names are relative to it
    matched = match_paths(names, files)
    if not matched:
        raise ValueError(
            f"none of the {len(names)} scored samples is in the collection: the scores name them like "
            f"{short_repr(names[0])}, the collection like {ids[0]!r} and {short_repr(files[0])}"
        )
    return {name: by_path[file] for name, file in matched.items()}


def _number_labels(
    values: list[Any], label_field: str | None, classes: Sequence[str] | None
) -> tuple[IntArray, tuple[str, ...]]:
    """The class of each sample as an index, -1 where it has no label, and the names of the classes."""
    given = tuple(str(name) for name in classes or ())
    labels = [None if value is None else str(value) for value in values]
    present = {label for label in labels if label is not None}
    class_names = given or tuple(sorted(present))
    index_of = {name: index for index, name in enumerate(class_names)}
    if unlisted := sorted(present - index_of.keys()):
        raise ValueError(
            f"the field {label_field!r} has labels that are missing from classes: "
            f"{', '.join(map(shorten, unlisted[:5]))}"
        )
    return np.array([-1 if label is None else index_of[label] for label in labels], dtype=np.int64), class_names
