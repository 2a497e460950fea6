"""Selects subsets to train on and orders samples for a curriculum, by difficulty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import numpy as np
from numpy.typing import NDArray

from .dataset.arrays import find_ids, pack_ids, read_ids
from .dataset.evidence import first_learned, warn_of_unlearned
from .dataset.internals import root_dataset, sample_collection
from .dataset.notes import note_of, score_field
from .dataset.samples import check_collection, label_path
from .dataset.scored import check_scored, describe_no_labels, describe_no_scores, find_models, label_path_of
from .dataset.selections import select_samples, tag_samples
from .scores.catalog import SCORES
from .scores.checks import MOST_SEED, check_bool, check_integer, check_number, check_tag, short_repr
from .scores.formulas import FloatArray, IntArray
from .scores.subsets import choose_subset, order_by_difficulty

if TYPE_CHECKING:
    # they import torch
    from .training.samplers import CurriculumSampler, ImportanceSampler


def select_subset(
    samples: foc.SampleCollection,
    fraction: float,
    strategy: str = "stratified",
    *,
    model: str | None = None,
    field: str | None = None,
    label_field: str | None = None,
    per_class: bool = True,
    tag: str | None = None,
    seed: int = 0,
) -> fov.DatasetView:
    """Select a fraction of a collection to train on, by difficulty.

    Example::

        view = fol.select_subset(dataset, 0.3, "stratified", tag="train-30")

    Args:
        samples: a dataset or view with scores. Samples without a score are left out; ``fraction`` refers to the others
        fraction: the fraction, above 0 and at most 1
        strategy ("stratified"): "hardest", "easiest", "mid", "stratified" or "random", see
            :func:`fiftyone_learnability.scores.subsets.choose_subset`
        model (None): the network whose learnability is used, by default the first that learned something
        field (None): instead of a network, a field of numbers that are higher for easier samples
        label_field (None): the labels for ``per_class``, by default those that the network was trained with
        per_class (True): True selects within each class, so the subset keeps the balance of classes. Samples without a
            label form a class of their own
        tag (None): a tag for the selected samples
        seed (0): the seed of the strategies that draw at random

    Returns:
        a view of the selected samples in the order of the collection. Ties are broken by id, so the same call selects
        the same samples, however the view is sorted. A view holds about 800,000 ids: a larger subset is a view that
        excludes the other samples, or, if these are too many as well, a view of the samples with the tag

    Raises:
        ValueError: if there are no scores, an option is out of range, the labels for ``per_class`` are not known, or
            the subset can be selected only by its tag and there is none, or other samples have it
    """
    tag = None if tag is None else check_tag(tag)
    fraction = check_number("fraction", fraction, above=0, at_most=1)
    seed = check_integer("seed", seed, 0, MOST_SEED)
    scored = _read_scores(samples, model, field, label_field, check_bool("per_class", per_class))
    has_score = ~np.isnan(scored.scores)
    if not has_score.any():
        raise ValueError(f"none of the {len(scored.ids)} samples has a score in the field {scored.path!r}")
    # sorted by id; a view can repeat samples
    ids, first = np.unique(scored.ids[has_score], return_index=True)
    scores, classes = scored.scores[has_score][first], scored.classes[has_score][first]
    selected = ids[choose_subset(scores, fraction, strategy, classes=classes, seed=seed)].tolist()
    view = select_samples(samples, selected)
    if view is None:
        _check_tag_selects(samples, selected, tag)
    if tag is not None:
        dataset = root_dataset(samples)
        tag_samples(dataset, selected, tag)
        view = samples.match_tags(tag) if view is None else view
        if len(view) < len(selected):
            # the collection excludes samples with this tag, and a view is evaluated again at each use
            view = select_samples(dataset, selected)
            view = dataset.match_tags(tag) if view is None else view
    return view


def _check_tag_selects(samples: foc.SampleCollection, ids: list[str], tag: str | None) -> None:
    """Check that a subset that no view holds can be selected by its tag.

    Raises:
        ValueError: if there is no tag, or other samples have it
    """
    too_large = f"no view can hold the ids of a subset of {len(ids)} samples"
    if tag is None:
        raise ValueError(f"{too_large}: give tag=..., which the view then matches, as in dataset.match_tags(...)")
    tagged = read_ids(sample_collection(root_dataset(samples)), [{"$match": {"tags": tag}}])
    if others := int((find_ids(tagged, np.sort(pack_ids(ids))) < 0).sum()):
        raise ValueError(
            f"{too_large}, so the view would be that of the tag {tag!r}, which {others} other samples have: choose "
            f"another tag, or remove it with dataset.untag_samples({tag!r})"
        )


@dataclass(frozen=True, eq=False)
class Curriculum:
    """The samples of a collection from easy to hard, with torch samplers for training in that order.

    Made by :func:`curriculum`. Its samplers fit any torch dataset in the order of the collection, for example one that
    is made from ``samples.values("filepath")``.

    Attributes:
        ids: ``(N,)`` sample ids, easiest first
        order: ``(N,)`` positions in the collection, easiest first
        difficulty: ``(N,)`` difficulty of each sample in [0, 1], in the order of the collection
        pacing: the name of the pacing function
        start: the fraction of the samples in the first epoch
        epochs: the epochs over which the fraction grows to 1
        power: the power of the pacing "root"
        steps: the number of steps of the pacing "step"
        seed: the seed of the samplers
    """

    ids: NDArray[np.str_]
    order: IntArray
    difficulty: FloatArray
    pacing: str
    start: float
    epochs: int
    power: float
    steps: int
    seed: int

    def __len__(self) -> int:
        return len(self.ids)

    def sampler(self, num_samples: int | None = None) -> CurriculumSampler:
        """Return a torch sampler that starts with the easiest samples and adds harder ones each epoch.

        Args:
            num_samples (None): the number of samples in each epoch, by default all that are available
        """
        from .training.samplers import CurriculumSampler

        return CurriculumSampler(
            self.order,
            self.pacing,
            epochs=self.epochs,
            start=self.start,
            power=self.power,
            steps=self.steps,
            num_samples=num_samples,
            seed=self.seed,
        )

    def self_paced_weights(self, threshold: float, kind: str = "hard") -> FloatArray:
        """Return the weight of each sample, in the order of the collection; 0 for samples that are too hard.

        Args:
            threshold: the difficulty from which a sample has weight 0
            kind ("hard"): "hard", "linear" or "logarithmic", see
                :func:`fiftyone_learnability.scores.pacing.self_paced_weights`
        """
        from .scores.pacing import self_paced_weights

        return self_paced_weights(self.difficulty, threshold, kind)

    def importance_sampler(self, smoothing: float = 0.5, num_samples: int | None = None) -> ImportanceSampler:
        """Return a torch sampler that draws hard samples more often, and holds the weights that correct for it.

        Args:
            smoothing (0.5): 1 samples uniformly, see
                :func:`fiftyone_learnability.scores.pacing.importance_weights`
            num_samples (None): the number of samples in each epoch, by default all
        """
        from .training.samplers import ImportanceSampler

        return ImportanceSampler(self.difficulty, smoothing, num_samples=num_samples, seed=self.seed)


def curriculum(
    samples: foc.SampleCollection,
    field: str | None = None,
    pacing: str = "linear",
    *,
    model: str | None = None,
    label_field: str | None = None,
    per_class: bool = False,
    start: float = 0.2,
    epochs: int = 10,
    power: float = 2.0,
    steps: int = 5,
    seed: int = 0,
) -> Curriculum:
    """Order a collection from easy to hard, for training in that order.

    Example::

        lessons = fol.curriculum(dataset, epochs=10)
        torch_dataset = MyDataset(dataset.values("filepath"), dataset.values("ground_truth.label"))
        sampler = lessons.sampler()
        loader = DataLoader(torch_dataset, batch_size=128, sampler=sampler)
        for epoch in range(30):
            sampler.set_epoch(epoch)
            for images, labels in loader:
                ...

    The difficulty is 1 - learnability. For another field it is 1 - value if all values lie in [0, 1]; otherwise the
    values are rescaled, so that the easiest sample has difficulty 0 and the hardest 1.

    Args:
        samples: a dataset or view in which every sample has a score
        field (None): instead of a network's learnability, a field of numbers that are higher for easier samples
        pacing ("linear"): "linear", "root" or "step", see :func:`fiftyone_learnability.scores.pacing.pacing`
        model (None): the network whose learnability is used, by default the first that learned something
        label_field (None): the labels for ``per_class``, by default those that the network was trained with
        per_class (False): True mixes the classes evenly, so that the first epochs do not show only the easy classes
        start (0.2): the fraction of the samples in the first epoch, above 0 and at most 1
        epochs (10): the epochs over which the fraction grows to 1, fewer than you train for
        power (2.0): the power of the pacing "root"
        steps (5): the number of steps of the pacing "step"
        seed (0): the seed of the samplers

    Returns:
        the curriculum; ties are broken by id

    Raises:
        ValueError: if there are no scores, a sample has none, an option is out of range, or the labels for
            ``per_class`` are not known
    """
    start = check_number("start", start, above=0, at_most=1)
    power = check_number("power", power)
    per_class = check_bool("per_class", per_class)
    scored = _read_scores(samples, model, field, label_field, per_class)
    ids, scores = scored.ids, scored.scores
    if not len(ids):
        raise ValueError("the collection is empty: there is nothing to learn")
    if missing := int(np.isnan(scores).sum()):
        # exists() keeps samples whose value is NaN
        keep = f"exists({scored.path!r})"
        if len(samples) - len(samples.exists(scored.path)) < missing:
            keep = f"match(ViewField({scored.path!r}) >= -float('inf'))"
        raise ValueError(
            f"{missing} of {len(ids)} samples have no score in the field {scored.path!r}, so they cannot be ordered: "
            f"leave them out with samples.{keep}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"the field {scored.path!r} holds infinite values, from which no difficulty follows")
    by_id = np.argsort(ids, kind="stable")
    order = by_id[order_by_difficulty(scores[by_id], scored.classes[by_id] if per_class else None)]
    lessons = Curriculum(ids[order], order, _difficulty(scores), pacing, start, epochs, power, steps, seed)
    # raises now, rather than in the training, if an option is out of range
    lessons.sampler()
    return lessons


@dataclass(frozen=True, eq=False)
class _ScoredSamples:
    """The scores of N samples, in the order of the collection.

    Attributes:
        path: the field of the scores
        ids: ``(N,)``
        scores: ``(N,)``, high for easy samples; NaN where there is none
        classes: ``(N,)`` class as an integer; all 0 if the labels were not read
    """

    path: str
    ids: NDArray[np.str_]
    scores: FloatArray
    classes: IntArray


def _read_scores(
    samples: foc.SampleCollection, model: str | None, field: str | None, label_field: str | None, per_class: bool
) -> _ScoredSamples:
    check_collection(samples)
    if field is None:
        model = _first_model(samples) if model is None else check_scored(samples, model)
        warn_of_unlearned(samples, [model])
    path = _score_path(samples, model, field)
    label_at = _label_path(samples, model, label_field) if per_class else None
    ids, values, *labels = samples.values(["id", path, *([label_at] if label_at else [])])
    if any(isinstance(value, list) for value in values):
        raise ValueError(f"the field {path!r} must hold one number per sample, not a list of numbers")
    score = SCORES.get(note_of(samples.get_field(path)).score or "")
    # the catalog says for this package's own scores whether high is easy
    sign = -1.0 if score is not None and not score.hard_when_low else 1.0
    scores = sign * np.array(values, dtype=np.float64)
    classes = _class_numbers(labels[0]) if labels else np.zeros(len(ids), dtype=np.int64)
    return _ScoredSamples(path, np.array(ids, dtype=np.str_), scores, classes)


def _first_model(samples: foc.SampleCollection) -> str:
    models = find_models(samples)
    if not models:
        raise ValueError(f"{describe_no_scores(samples)}, or give a field")
    return first_learned(root_dataset(samples), models)[0]


def _score_path(samples: foc.SampleCollection, model: str | None, field: str | None) -> str:
    """The field of the scores of a network, or the given field if it holds numbers."""
    if model is not None:
        if field is not None:
            raise ValueError(f"give either a model or a field, not both {model!r} and {field!r}")
        return score_field(model)
    if not isinstance(field, str):
        raise TypeError(f"field must be the name of a field, not {short_repr(field)}")
    schema = samples.get_field(field)
    if schema is None:
        raise ValueError(f"the collection has no field {short_repr(field)}")
    if not isinstance(schema, (fo.FloatField, fo.IntField)):
        raise ValueError(f"the field {field!r} must hold numbers, but is a {type(schema).__name__}")
    return field


def _label_path(samples: foc.SampleCollection, model: str | None, label_field: str | None) -> str:
    """The path of the labels, by default of those that a network was trained with."""
    if label_field is not None:
        return label_path(samples, label_field)
    if model is None:
        raise ValueError("with field, selecting within each class needs label_field; or set per_class=False")
    path = label_path_of(samples, model)
    if path is None:
        raise ValueError(describe_no_labels(samples, model, "give label_field, or set per_class=False"))
    return path


def _class_numbers(labels: list[object]) -> IntArray:
    """Number the classes by name, a missing label last, so the numbers do not depend on the order of the view."""
    names = sorted(set(labels), key=lambda name: (name is None, str(name)))
    number_of = {name: number for number, name in enumerate(names)}
    return np.array([number_of[label] for label in labels], dtype=np.int64)


def _difficulty(scores: FloatArray) -> FloatArray:
    """The difficulty of each sample in [0, 1], from scores that are high for easy samples."""
    low, high = scores.min(), scores.max()
    if low >= 0 and high <= 1:
        return 1 - scores
    if low == high:
        return np.zeros(len(scores))
    # halved, so that no difference overflows
    return (high / 2 - scores / 2) / (high / 2 - low / 2)
