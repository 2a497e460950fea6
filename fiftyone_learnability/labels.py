"""Finds labels that the training contradicts, suggests others, and applies the suggestions that a curator accepts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import numpy as np
from fiftyone import ViewField as F
from numpy.typing import NDArray

from ._version import __version__
from .dataset.columns import Column
from .dataset.evidence import choose_learned, log, problems_of
from .dataset.fields import write_run
from .dataset.internals import root_dataset
from .dataset.label_fields import choose_fix_field, classification, write_labels
from .dataset.notes import FieldNote
from .dataset.recovery import recover
from .dataset.registry import describe_no_run, find_run
from .dataset.runs import load_model_results
from .dataset.samples import check_images, is_empty
from .dataset.scored import check_scored, choose_models, describe_no_labels, describe_no_scores, label_path_of
from .dataset.suggestions import CONTRADICTION, SUGGESTION, VERDICT, check_suggested, judged_field
from .dataset.target import choose_field_target
from .experiment.results import ModelResults
from .scores.checks import check_bool, check_number
from .scores.formulas import FloatArray, IntArray
from .scores.label_errors import (
    HARD,
    LEARNED,
    MISLABELLED,
    SMOOTHING,
    THRESHOLD,
    contradiction,
    correct_prior,
    judge,
    suggest_labels,
)

if TYPE_CHECKING:
    import pandas as pd

_logger = logging.getLogger(__name__)

MOST_CONTRADICTED = 0.5
"""If more than this share of the labels is contradicted, the networks are a likelier cause than the labels."""

_KIND = "label_fixes"
_INDEXES = (f"{SUGGESTION}.label", CONTRADICTION, VERDICT)
_TYPES = {SUGGESTION: fo.EmbeddedDocumentField, CONTRADICTION: fo.FloatField, VERDICT: fo.StringField}


def suggest_label_fixes(
    samples: foc.SampleCollection,
    models: str | Sequence[str] | None = None,
    *,
    threshold: float = THRESHOLD,
    key: str | None = None,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Rank samples by how strongly the training contradicts their label, and suggest another label.

    Three fields are written: ``learnability_contradiction`` (0..1); ``learnability_suggestion``, a Classification with
    the suggested label and its mean probability as confidence, where another label is preferred; and
    ``learnability_verdict``. Probabilities are corrected for how often the network predicts each class, see
    :func:`fiftyone_learnability.scores.label_errors.correct_prior`. Hard does not mean wrong: "mislabelled" means that
    the networks settled on *one other* class, which over the whole training had at least three times the probability
    of the label (at the default threshold) and at least a quarter of all probability. "hard" means that they preferred
    another class without settling on it, as they do with atypical and ambiguous images. No label is changed; see
    :func:`apply_label_fixes`.

    A network that did not learn clearly more than chance
    (:func:`fiftyone_learnability.scores.evidence.exceeds_chance`) is left out with a warning, unless it is named. A
    warning also says if most labels are contradicted. The run keeps both as remarks.

    Example::

        problems = fol.suggest_label_fixes(dataset)
        session.view = fol.label_problems(dataset)  # given and suggested labels side by side

    Args:
        samples: a dataset or view with scores; only its samples are judged
        models (None): the networks whose mean predictions are averaged, for each sample over those that trained on it.
            By default all that learned something, kept their predictions and were trained with the same labels as the
            first
        threshold (0.75): the contradiction from which a label counts as probably wrong, in (0.5, 1]
        key (None): the key of the run; chosen if not given
        overwrite (False): True replaces existing suggestions

    Returns:
        one row per sample whose label is contradicted, the strongest contradiction first: id, filepath, label,
        suggested_label, confidence, contradiction, verdict

    Raises:
        ValueError: if no network kept its predictions or learned something, the labels are gone, or suggestions exist
        WriteError: if the database fails; the dataset is unchanged
    """
    threshold = check_number("threshold", threshold, above=0.5, at_most=1)
    overwrite = check_bool("overwrite", overwrite)
    check_images(samples)
    dataset = root_dataset(samples)
    recover(dataset)
    results, remarks = _load_predictions(samples, models)
    names = list(results)
    target = choose_field_target(samples, _TYPES, key, overwrite, default=_KIND, indexes=_INDEXES)
    target.warn_of_lost_fields()
    judgement = _judge_samples(samples, results, threshold)
    if warning := judgement.warning:
        _logger.warning(warning)
        remarks.append(warning)
    label_field = _trained_field(dataset, names[0])
    columns = _suggestion_columns(judgement, ", ".join(names), label_field, threshold)
    settings = {
        "label_field": label_field,
        "kind": _KIND,
        "of": names,
        "threshold": threshold,
        "smoothing": SMOOTHING,
        "epochs": 0,
        "runs": 0,
        "num_samples": len(judgement.ids),
        "remarks": remarks,
        "package_version": __version__,
    }
    write_run(target, judgement.ids, columns, settings, {})
    return judgement.to_table()


def label_problems(samples: foc.SampleCollection, verdict: str = MISLABELLED) -> fov.DatasetView:
    """Return the samples with a verdict, the strongest contradiction first, as a view that shows both labels.

    Args:
        samples: a dataset or view with suggestions
        verdict ("mislabelled"): "mislabelled" (probably), or "hard" (but plausible)

    Returns:
        the view

    Raises:
        ValueError: if there are no suggestions, or the verdict is another one
    """
    check_suggested(samples, applied=False)
    if verdict not in (MISLABELLED, HARD):
        raise ValueError(f"verdict must be {MISLABELLED!r} or {HARD!r}, not {verdict!r}")
    return samples.match(F(VERDICT) == verdict).sort_by(CONTRADICTION, reverse=True)


def apply_label_fixes(
    samples: foc.SampleCollection, into: str | None = None, *, in_place: bool = False
) -> tuple[str, int]:
    """Put the suggested labels of accepted samples into a copy of the label field.

    Example::

        fol.apply_label_fixes(dataset.match_tags("accepted"))  # ground_truth stays, ground_truth_fixed has the fixes

    Args:
        samples: the accepted samples, a view that a curator chose. Samples without a suggestion keep their label
        into (None): the copy, by default ``<label field>_fixed``. A new copy gets all labels of the dataset; to an
            existing copy, the fixes are added
        in_place (False): True changes the label field itself. The first label of each changed sample is then kept in
            ``<label field>_original``

    Returns:
        the field with the fixes, and the number of samples whose label in it changed

    Raises:
        ValueError: if the view is empty, there are no suggestions, ``into`` cannot take labels, or another field is
            called ``<label field>_original``
        WriteError: if the database fails; the dataset is unchanged
    """
    check_images(samples)
    dataset = root_dataset(samples)
    recover(dataset)
    check_suggested(samples, applied=True)
    if is_empty(samples):
        raise ValueError(
            f"samples is an empty view of {dataset.name!r}, so no suggestion is accepted: check its tag or filter"
        )
    label_field = judged_field(dataset)
    target = choose_fix_field(dataset, label_field, into, in_place)
    accepted = dict(zip(*samples.exists(SUGGESTION).values(["id", f"{SUGGESTION}.label"]), strict=True))
    return target, write_labels(dataset, label_field, target, accepted)


@dataclass(frozen=True, eq=False)
class _Judgement:
    """The networks' judgement of N labels, in the order of the sample ids.

    Attributes:
        ids: sample ids
        filepaths: image files
        labels: the given labels as the field holds them
        classes: the names of the classes
        suggested: ``(N,)`` preferred class other than the label, an index into ``classes``
        confidence: ``(N,)`` mean probability of that class
        contradiction: ``(N,)`` in [0, 1]
        verdicts: ``(N,)``
    """

    ids: list[str]
    filepaths: list[str]
    labels: list[Any]
    classes: tuple[str, ...]
    suggested: IntArray
    confidence: FloatArray
    contradiction: FloatArray
    verdicts: NDArray[np.str_]

    @property
    def is_contradicted(self) -> NDArray[np.bool_]:
        """``(N,)`` True where another class is preferred to the label."""
        return self.contradiction > 0.5

    @property
    def warning(self) -> str | None:
        """What must be said if most labels are contradicted; None otherwise."""
        count = int(self.is_contradicted.sum())
        if count <= MOST_CONTRADICTED * len(self.ids):
            return None
        return (
            f"the training contradicts {count} of {len(self.ids)} labels: more likely the networks learned too little, "
            "or the labels are not those that they were trained with, than that most labels are wrong"
        )

    def to_table(self) -> pd.DataFrame:
        """The contradicted samples, the strongest contradiction first."""
        import pandas as pd

        order = np.argsort(-self.contradiction, kind="stable")
        order = order[self.is_contradicted[order]]
        rows = order.tolist()
        return pd.DataFrame(
            {
                "id": [self.ids[row] for row in rows],
                "filepath": [self.filepaths[row] for row in rows],
                "label": pd.Series([self.labels[row] for row in rows], dtype=object),
                "suggested_label": [self.classes[self.suggested[row]] for row in rows],
                "confidence": self.confidence[order],
                "contradiction": self.contradiction[order],
                "verdict": self.verdicts[order],
            }
        )


def _judge_samples(samples: foc.SampleCollection, results: dict[str, ModelResults], threshold: float) -> _Judgement:
    """Compare the present label of each sample with the mean prediction of the networks."""
    first = next(iter(results))
    label_at = label_path_of(samples, first)
    if label_at is None:
        raise ValueError(describe_no_labels(samples, first))
    classes = results[first].classes
    class_index = {name: index for index, name in enumerate(classes)}
    predicted_ids, predictions = _mean_predictions(results)
    row_of = {id: row for row, id in enumerate(predicted_ids)}
    judged = sorted(
        (id, file, label)
        for id, file, label in zip(*samples.values(["id", "filepath", label_at]), strict=True)
        if id in row_of and label is not None and str(label) in class_index
    )
    if not judged:
        raise ValueError(f"no sample of the collection has both scores of {', '.join(results)} and a label they know")
    given = np.array([class_index[str(label)] for _, _, label in judged])
    mean = predictions[[row_of[id] for id, _, _ in judged]]
    contradicted = contradiction(mean, given)
    suggested, confidence = suggest_labels(mean, given)
    verdicts = judge(contradicted, confidence, threshold)
    ids, files, labels = (list(column) for column in zip(*judged, strict=True))
    return _Judgement(ids, files, labels, classes, suggested, confidence, contradicted, verdicts)


def _suggestion_columns(judgement: _Judgement, by: str, label_field: str, threshold: float) -> list[Column]:
    """The three fields that :func:`suggest_label_fixes` writes."""
    suggestions = [
        classification(judgement.classes[label], confidence) if is_contradicted else None
        for label, confidence, is_contradicted in zip(
            judgement.suggested.tolist(), judgement.confidence.tolist(), judgement.is_contradicted.tolist(), strict=True
        )
    ]
    return [
        Column(
            SUGGESTION,
            _TYPES[SUGGESTION],
            f"The label that the training of {by} prefers to {label_field}; its confidence is the mean probability",
            FieldNote(score="suggestion").to_info(),
            suggestions,
            {"embedded_doc_type": fo.Classification},
            index=_INDEXES[0],
        ),
        Column(
            CONTRADICTION,
            _TYPES[CONTRADICTION],
            f"How strongly the training of {by} contradicts {label_field}: above 0.5 another class was preferred",
            FieldNote(score="contradiction").to_info(),
            judgement.contradiction.tolist(),
            index=CONTRADICTION,
        ),
        Column(
            VERDICT,
            _TYPES[VERDICT],
            f"{MISLABELLED}: contradiction of at least {threshold:g}, the training of {by} settled on another class; "
            f"{HARD}: it preferred another without settling on it; {LEARNED}: it preferred {label_field}",
            FieldNote(score="verdict").to_info(),
            judgement.verdicts.tolist(),
            index=VERDICT,
        ),
    ]


def _load_predictions(
    samples: foc.SampleCollection, models: str | Sequence[str] | None
) -> tuple[dict[str, ModelResults], list[str]]:
    """The results of the networks that learned, kept their predictions and were trained with the same labels.

    Returns:
        them, and remarks on networks that did not learn clearly more than chance
    """
    requested = choose_models(samples, models)
    if not requested:
        raise ValueError(describe_no_scores(samples))
    for model in requested:
        check_scored(samples, model)
    dataset = root_dataset(samples)
    results = {
        model: result
        for model, result in load_model_results(dataset, requested).items()
        if result.prediction is not None
    }
    missing = [model for model in requested if model not in results]
    gone = [model for model in missing if find_run(dataset, model) is None]
    if gone and (models is not None or not results):
        raise ValueError(describe_no_run(dataset, gone[0]))
    if missing and (models is not None or not results):
        raise ValueError(f"the runs of {', '.join(missing)} have not kept their predictions: compute them again")
    chosen = choose_learned(results, problems_of(results), models is not None)
    if not chosen.models:
        raise ValueError("; ".join(chosen.remarks))
    log(chosen.remarks)
    results = {model: results[model] for model in chosen.models}
    # only predictions over the same classes can be averaged, and only the labels that were learned can be judged
    trained_with = {model: (result.classes, _trained_field(dataset, model)) for model, result in results.items()}
    first = next(iter(results))
    different = [model for model in results if trained_with[model] != trained_with[first]]
    if different and models is not None:
        raise ValueError(f"{first!r} and {different[0]!r} were trained with other labels: choose one of them")
    return {model: result for model, result in results.items() if model not in different}, chosen.remarks


def _mean_predictions(results: dict[str, ModelResults]) -> tuple[list[str], NDArray[np.float64]]:
    """The mean prediction for each sample over the networks that trained on it, in the order of the ids.

    Each network is corrected for how often it predicts each class of its own training images.
    """
    ids = sorted(set.union(*(set(result.ids.tolist()) for result in results.values())))
    total = np.zeros((len(ids), len(next(iter(results.values())).classes)))
    count = np.zeros((len(ids), 1))
    for result in results.values():
        rows = np.searchsorted(ids, result.ids)
        assert result.prediction is not None
        total[rows] += correct_prior(result.prediction)
        count[rows] += 1
    return ids, total / count


def _trained_field(dataset: fo.Dataset, model: str) -> str:
    """The label field that a network was trained with."""
    return dataset.get_run_info(find_run(dataset, model)).config.label_field
