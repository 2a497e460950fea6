"""Labels that the training contradicts: found, suggested beside the given ones, and applied when a curator accepts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import numpy as np
from bson import ObjectId
from fiftyone import ViewField as F
from numpy.typing import NDArray

from ._version import __version__
from .dataset.columns import Column, Companion, write_columns
from .dataset.fields import choose_key_for, write_run
from .dataset.internals import root_dataset, sample_collection
from .dataset.notes import FieldNote, note_of, owning_run, score_field
from .dataset.registration import recover
from .dataset.runs import load_model_results
from .dataset.samples import check_images, label_path
from .dataset.scored import check_scored, choose_models, label_path_of
from .experiment.results import ModelResults
from .scores.checks import LONGEST_NAME, check_bool, check_number, short_repr
from .scores.label_errors import HARD, LEARNED, MISLABELLED, SMOOTHING, THRESHOLD, contradiction, judge, suggest_labels

if TYPE_CHECKING:
    import pandas as pd

SUGGESTION = "learnability_suggestion"
"""The field of the suggested label, a ``fo.Classification`` with the confidence; None where the label is preferred."""

CONTRADICTION = "learnability_contradiction"
"""The field that ranks samples by how much the training contradicts their labels, 0..1."""

VERDICT = "learnability_verdict"
"""The field that says "mislabelled" (probably), "hard" (but plausible) or "learned"."""

_KIND = "label_fixes"
_TYPES = {SUGGESTION: fo.EmbeddedDocumentField, CONTRADICTION: fo.FloatField, VERDICT: fo.StringField}


def suggest_label_fixes(
    samples: foc.SampleCollection,
    models: str | Sequence[str] | None = None,
    *,
    threshold: float = THRESHOLD,
    key: str | None = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Ranks samples by how much the training contradicts their label, and suggests another one.

    Three fields are written: ``learnability_contradiction`` (0..1), ``learnability_suggestion``, a Classification with
    the suggested label and its mean probability as the confidence, where it differs from the given one, and
    ``learnability_verdict``. Hard is not wrong: "mislabelled" says that the networks settled on *one other* class,
    which had at least three times the probability of the label over the whole training (at the default threshold), and
    a quarter of it all; "hard" says that they preferred another class without settling on it, as they do with atypical
    and ambiguous images. No label is changed; see :func:`apply_label_fixes`.

    Example::

        problems = fol.suggest_label_fixes(dataset)
        session.view = fol.label_problems(dataset)  # given and suggested side by side

    Args:
        samples: a dataset or view with scores; only its samples are considered
        models (None): the networks whose mean predictions are averaged, of each sample over those that have seen it; by
            default all that have kept them and were trained with the same labels as the first
        threshold (0.75): the contradiction from which on a label is called probably wrong, in (0.5, 1]
        key (None): the key of the run; chosen if not given
        overwrite (False): whether suggestions that exist may be replaced

    Returns:
        one row a sample whose label is contradicted, most so first: id, filepath, label, suggested_label, confidence,
        contradiction, verdict

    Raises:
        ValueError: if no network has kept its predictions, the labels are gone, or suggestions exist
        WriteError: if the database fails; the dataset is as it was before
    """
    import pandas as pd

    threshold, overwrite = (
        check_number("threshold", threshold, above=0.5, at_most=1),
        check_bool("overwrite", overwrite),
    )
    check_images(samples)
    root = root_dataset(samples)
    recover(root)
    results = _with_predictions(samples, models)
    names, classes = list(results), next(iter(results.values())).classes
    key = choose_key_for(root, _TYPES, key, overwrite, default=_KIND)
    label_field = root.get_run_info(owning_run(root, score_field(names[0]))).config.label_field
    label_at = label_path_of(samples, names[0])
    if label_at is None:
        raise ValueError(f"the labels that {names[0]!r} was trained with are no longer in the dataset")
    ids, predictions = _mean_predictions(results)
    position = {id: index for index, id in enumerate(ids)}
    number = {name: index for index, name in enumerate(classes)}
    # in the order of ids, as all that is written
    rows = sorted(
        (id, position[id], number[str(label)], file, label)
        for id, file, label in zip(*samples.values(["id", "filepath", label_at]), strict=True)
        if id in position and label is not None and str(label) in number
    )
    if not rows:
        raise ValueError(f"no sample of the collection has both scores by {', '.join(names)} and a label they know")
    given = np.array([row[2] for row in rows])
    mean = predictions[[row[1] for row in rows]]
    contradicted = contradiction(mean, given)
    suggested, confidence = suggest_labels(mean, given)
    verdicts = judge(contradicted, confidence, threshold)
    preferred = contradicted > 0.5
    by = ", ".join(names)
    documents = [
        _classification(classes[new], sure) if instead else None
        for new, sure, instead in zip(suggested.tolist(), confidence.tolist(), preferred.tolist(), strict=True)
    ]
    columns = [
        Column(
            SUGGESTION,
            fo.EmbeddedDocumentField,
            f"The label that the training of {by} prefers to {label_field}; its confidence is the mean probability",
            FieldNote(run=key, score="suggestion").to_info(),
            documents,
            {"embedded_doc_type": fo.Classification},
            index=f"{SUGGESTION}.label",
        ),
        Column(
            CONTRADICTION,
            fo.FloatField,
            f"How much the training of {by} contradicts {label_field}: above 0.5 another class was preferred",
            FieldNote(run=key, score="contradiction").to_info(),
            contradicted.tolist(),
            index=CONTRADICTION,
        ),
        Column(
            VERDICT,
            fo.StringField,
            f"{MISLABELLED}: contradiction of at least {threshold:g}, the training of {by} settled on another class; "
            f"{HARD}: it preferred another without settling on it; {LEARNED}: it preferred {label_field}",
            FieldNote(run=key, score="verdict").to_info(),
            verdicts.tolist(),
            index=VERDICT,
        ),
    ]
    settings = {
        "label_field": label_field,
        "kind": _KIND,
        "of": names,
        "threshold": threshold,
        "smoothing": SMOOTHING,
        "epochs": 0,
        "runs": 0,
        "num_samples": len(rows),
        "package_version": __version__,
    }
    write_run(samples, [row[0] for row in rows], columns, key, settings, {}, overwrite)
    order = np.argsort(-contradicted, kind="stable")
    order = order[preferred[order]].tolist()
    return pd.DataFrame(
        {
            "id": [rows[index][0] for index in order],
            "filepath": [rows[index][3] for index in order],
            "label": pd.Series([rows[index][4] for index in order], dtype=object),
            "suggested_label": [classes[suggested[index]] for index in order],
            "confidence": confidence[order],
            "contradiction": contradicted[order],
            "verdict": verdicts[order],
        }
    )


def label_problems(samples: foc.SampleCollection, verdict: str = MISLABELLED) -> fov.DatasetView:
    """The samples of a verdict, most contradicted first, as a view in which given and suggested labels show together.

    Args:
        samples: a dataset or view with suggestions
        verdict ("mislabelled"): "mislabelled" (probably), or "hard" (but plausible)

    Returns:
        the view

    Raises:
        ValueError: if there are no suggestions, or the verdict is another one
    """
    check_suggested(samples)
    if verdict not in (MISLABELLED, HARD):
        raise ValueError(f"verdict must be {MISLABELLED!r} or {HARD!r}, not {verdict!r}")
    return samples.match(F(VERDICT) == verdict).sort_by(CONTRADICTION, reverse=True)


def apply_label_fixes(
    samples: foc.SampleCollection, into: str | None = None, *, in_place: bool = False
) -> tuple[str, int]:
    """Puts the suggested labels of accepted samples into a copy of the label field.

    Example::

        fol.apply_label_fixes(dataset.match_tags("accepted"))  # ground_truth stays, ground_truth_fixed has the fixes

    Args:
        samples: the accepted samples: a view of those that a curator has chosen. Those without a suggestion are left
            as they are
        into (None): the copy, by default ``<label field>_fixed``. It is made with all labels of the dataset if it does
            not exist; if it does, the fixes are added to it
        in_place (False): whether to change the label field itself. What the label of a changed sample was at first is
            then kept in ``<label field>_original``

    Returns:
        the field that has the fixes, and the number of samples whose label in it was changed

    Raises:
        ValueError: if there are no suggestions, ``into`` cannot take labels, or ``<label field>_original`` is a field
            of somebody else
        WriteError: if the database fails; the dataset is as it was before
    """
    check_images(samples)
    check_bool("in_place", in_place)
    if into is not None:
        check_copy_name(into)
    root = root_dataset(samples)
    recover(root)
    check_suggested(samples)
    label_field = root.get_run_info(owning_run(root, CONTRADICTION)).config.label_field
    label_path(root, label_field)
    if in_place and into is not None:
        raise ValueError("give either into or in_place=True")
    target = label_field if in_place else into or f"{label_field}_fixed"
    field = root.get_field(label_field)
    existing = root.get_field(target)
    original = f"{label_field}_original"
    kept = root.get_field(original)
    if in_place:
        if kept is not None and note_of(kept).original_of != label_field:
            raise ValueError(
                f"the labels would be kept in {original!r}, a field which this package did not write: rename it first"
            )
    else:
        if target == label_field:
            raise ValueError(f"into is the label field {target!r} itself: to change it, say in_place=True")
        if existing is not None and note_of(existing).copy_of != label_field:
            raise ValueError(f"the field {target!r} exists and is not a copy of {label_field!r}: choose another name")
    accepted = dict(zip(*samples.exists(SUGGESTION).values(["id", f"{SUGGESTION}.label"]), strict=True))
    convert, options = _converter(field), {}
    if isinstance(field, fo.EmbeddedDocumentField):
        options = {"embedded_doc_type": fo.Classification}
    rows = []
    for document in sample_collection(root).find({}, dict.fromkeys((label_field, target, original), 1)):
        id = str(document["_id"])
        # samples that have come since the copy was made have their labels in the label field alone
        old = document.get(label_field) if document.get(target) is None else document[target]
        new = convert(old, accepted[id]) if id in accepted else old
        rows.append((id, old, new, document.get(original)))
    changes = [row for row in rows if _label_of(row[1]) != _label_of(row[2])]
    # whatever others do meanwhile with labels that are not accepted stays as it is
    written = rows if existing is None else changes
    if not written:
        return target, 0
    if in_place:
        first = [old if before is None else before for _, old, _, before in written]
        text, note = (
            f"What {label_field} held before a suggestion was applied",
            FieldNote(original_of=label_field).to_info(),
        )
        columns = [
            Column(original, type(field), text, note, first, options),
            Column(label_field, type(field), field.description, field.info, [new for _, _, new, _ in written], options),
        ]
    else:
        text, note = f"A copy of {label_field} with accepted suggestions", FieldNote(copy_of=label_field).to_info()
        columns = [Column(target, type(field), text, note, [new for _, _, new, _ in written], options)]
    write_columns(root, [row[0] for row in written], columns, Companion(), keep_others=True)
    return target, len(changes)


def check_copy_name(into: str) -> None:
    """Checks that a field of labels can be called so.

    Raises:
        ValueError: if it cannot
    """
    if not isinstance(into, str) or not into.isidentifier():
        raise ValueError(f"into must be the name of a field, an identifier, not {short_repr(into)}")
    if len(into) > LONGEST_NAME:
        raise ValueError(f"into is too long, {short_repr(into)}: {LONGEST_NAME} characters are the most")
    # such a field would stand in the way of what FiftyOne itself finds under this name, and could break the dataset
    if into.startswith("_") or hasattr(fo.Sample, into) or into in ("pk", "frames", "groups"):
        raise ValueError(f"into: FiftyOne keeps the name {into!r} for itself: choose another name")


def check_suggested(samples: foc.SampleCollection) -> None:
    """Checks that a collection has suggestions.

    Raises:
        ValueError: if it has none
    """
    if not isinstance(samples, foc.SampleCollection):
        raise TypeError(f"samples must be a FiftyOne dataset or view, not {type(samples).__name__}")
    if not samples.has_field(CONTRADICTION) or owning_run(root_dataset(samples), CONTRADICTION) is None:
        raise ValueError("there are no suggested labels yet: call suggest_label_fixes first")


def _with_predictions(samples: foc.SampleCollection, models: str | Sequence[str] | None) -> dict[str, ModelResults]:
    """The results of the networks that have kept their predictions, over the same classes."""
    asked = choose_models(samples, models)
    if not asked:
        raise ValueError("there are no scores yet: compute learnability first")
    for model in asked:
        check_scored(samples, model)
    found = load_model_results(root_dataset(samples), asked)
    kept = {model: result for model, result in found.items() if result.prediction is not None}
    lacking = [model for model in asked if model not in kept]
    if lacking and (models is not None or not kept):
        raise ValueError(f"the runs of {', '.join(lacking)} have not kept their predictions: compute them again")
    # predictions can only be averaged over the same classes, and judge only the labels that were learned
    root = root_dataset(samples)
    learned = {
        model: (result.classes, root.get_run_info(owning_run(root, score_field(model))).config.label_field)
        for model, result in kept.items()
    }
    first = next(iter(kept))
    other = [model for model in kept if learned[model] != learned[first]]
    if other and models is not None:
        raise ValueError(f"{first!r} and {other[0]!r} were trained with other labels: take one of them")
    return {model: result for model, result in kept.items() if model not in other}


def _mean_predictions(results: dict[str, ModelResults]) -> tuple[list[str], NDArray[np.float64]]:
    """The mean predictions, of each sample averaged over the networks that have seen it."""
    ids = sorted(set.union(*(set(result.ids.tolist()) for result in results.values())))
    total = np.zeros((len(ids), len(next(iter(results.values())).classes)))
    count = np.zeros((len(ids), 1))
    for result in results.values():
        rows = np.searchsorted(ids, result.ids)
        assert result.prediction is not None
        total[rows] += result.prediction
        count[rows] += 1
    return ids, total / count


def _classification(label: str, confidence: float | None = None) -> dict[str, Any]:
    document = {"_id": ObjectId(), "_cls": "Classification", "tags": [], "label": label}
    return document if confidence is None else {**document, "confidence": confidence}


def _converter(field: fo.Field) -> Any:
    """How a suggested label is put in place of an old value, in the terms of a label field."""
    if isinstance(field, fo.EmbeddedDocumentField):
        # what else is known of the old label, such as its tags, is of the old label
        return lambda old, label: old if _label_of(old) == label else _classification(label)
    if isinstance(field, fo.IntField):
        return lambda old, label: int(label)
    if isinstance(field, fo.BooleanField):
        return lambda old, label: label == "True"
    return lambda old, label: label


def _label_of(value: Any) -> Any:
    return value.get("label") if isinstance(value, dict) else value
