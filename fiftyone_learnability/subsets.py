"""Training on part of a collection, or on it in order: subsets and curricula by the difficulty of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import fiftyone as fo
import fiftyone.core.collections as foc
import fiftyone.core.view as fov
import numpy as np
from numpy.typing import NDArray

from .dataset.internals import root_dataset
from .dataset.notes import note_of, score_field
from .dataset.samples import label_path
from .dataset.scored import check_scored, find_models, label_path_of
from .scores.catalog import SCORES
from .scores.checks import MOST_SEED, check_bool, check_integer, check_number, short_repr
from .scores.checks import check_tag as checked_tag
from .scores.formulas import FloatArray, IntArray
from .scores.subsets import choose_subset, order_by_difficulty

if TYPE_CHECKING:
    # they need torch, which choosing samples does not
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
    """Chooses a share of a collection to train on, by difficulty.

    Example::

        view = fol.select_subset(dataset, 0.3, "stratified", tag="train-30")

    Args:
        samples: a dataset or view with scores; samples without a score are left out, and ``fraction`` is of the others
        fraction: the share, above 0 and at most 1
        strategy ("stratified"): "hardest", "easiest", "mid", "stratified" or "random", see
            :func:`fiftyone_learnability.scores.subsets.choose_subset`
        model (None): the network whose learnability counts, by default the first that has scores
        field (None): in place of a network, a field of numbers that are higher for easier samples
        label_field (None): the labels for ``per_class``, by default those that the network was trained with
        per_class (True): whether to choose within each class, so that the subset keeps the balance of classes; samples
            without a label count as one class
        tag (None): a tag for the chosen samples
        seed (0): for the strategies that draw

    Returns:
        a view of the chosen samples in the order of the collection. Ties are broken by id, so that the same call gives
        the same samples whatever the order of the view

    Raises:
        ValueError: if there are no scores, an option does not fit, or the labels for ``per_class`` are not known
    """
    tag = None if tag is None else checked_tag(tag)
    fraction, seed = (
        check_number("fraction", fraction, above=0, at_most=1),
        check_integer("seed", seed, 0, MOST_SEED),
    )
    per_class = check_bool("per_class", per_class)
    path = _score_path(samples, model, field)
    label_at = _label_path(samples, model, field, label_field) if per_class else None
    ids, scores, classes = _read(samples, path, label_at)
    scored = ~np.isnan(scores)
    if not scored.any():
        raise ValueError(f"none of the {len(ids)} samples has a score in the field {path!r}")
    ids, scores, classes = ids[scored], scores[scored], classes[scored]
    # by id, and each sample once, also where the view repeats it
    ids, first = np.unique(ids, return_index=True)
    chosen = choose_subset(scores[first], fraction, strategy, classes=classes[first], seed=seed)
    chosen_ids = ids[chosen].tolist()
    view = samples.select(chosen_ids)
    if tag is not None:
        view.tag_samples(tag)
        if len(view) < len(chosen_ids):
            # the collection leaves out samples with this tag, and with it the view, which is evaluated anew each time
            view = root_dataset(samples).select(chosen_ids)
    return view


@dataclass(frozen=True, eq=False)
class Curriculum:
    """The samples of a collection in the order in which to learn them, and what torch needs to do so.

    Made by :func:`curriculum`. A torch dataset that is made of ``samples.values("filepath")``, or of anything else in
    the order of the collection, fits its samplers.

    Attributes:
        ids: ``(N,)`` sample ids, easiest first
        order: ``(N,)`` positions in the collection, easiest first
        difficulty: ``(N,)`` difficulty of each sample in [0, 1], in the order of the collection
        pacing: the pacing function
        start: the share of the samples in the first epoch
        epochs: the epochs over which the share grows
        power: for the pacing "root"
        steps: for the pacing "step"
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
        """A torch sampler that shows the easiest samples first and more of them each epoch.

        Args:
            num_samples (None): the samples of each epoch, by default as many as are available
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
        """How much each sample counts, in the order of the collection, when those that are too hard are left out.

        Args:
            threshold: the difficulty from which on a sample is left out
            kind ("hard"): "hard", "linear" or "logarithmic", see
                :func:`fiftyone_learnability.scores.pacing.self_paced_weights`
        """
        from .scores.pacing import self_paced_weights

        return self_paced_weights(self.difficulty, threshold, kind)

    def importance_sampler(self, smoothing: float = 0.5, num_samples: int | None = None) -> ImportanceSampler:
        """A torch sampler that draws hard samples more often and holds the corrections for it.

        Args:
            smoothing (0.5): how close to uniform, see
                :func:`fiftyone_learnability.scores.pacing.importance_weights`
            num_samples (None): the samples of each epoch, by default all
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
    """Orders a collection from easy to hard, for training in that order.

    Example::

        lessons = fol.curriculum(dataset, epochs=10)
        torch_dataset = MyDataset(dataset.values("filepath"), dataset.values("ground_truth.label"))
        sampler = lessons.sampler()
        loader = DataLoader(torch_dataset, batch_size=128, sampler=sampler)
        for epoch in range(30):
            sampler.set_epoch(epoch)
            for images, labels in loader:
                ...

    The difficulty is 1 - learnability. Of another field it is 1 - value too if all values lie in [0, 1]; otherwise the
    values are scaled so that the easiest sample has difficulty 0 and the hardest 1.

    Args:
        samples: a dataset or view of which all samples have a score
        field (None): a field of numbers that are higher for easier samples, in place of a network's learnability
        pacing ("linear"): "linear", "root" or "step", see :func:`fiftyone_learnability.scores.pacing.pacing`
        model (None): the network whose learnability counts, by default the first that has scores
        label_field (None): the labels for ``per_class``, by default those that the network was trained with
        per_class (False): whether to go through all classes alike, so that the first epochs do not show the easy
            classes alone
        start (0.2): the share of the samples in the first epoch, above 0 and at most 1
        epochs (10): the epochs over which the share grows, fewer than the training has
        power (2.0): for the pacing "root"
        steps (5): for the pacing "step"
        seed (0): the seed of the samplers

    Returns:
        the curriculum; ties are broken by id

    Raises:
        ValueError: if a sample has no score, there are no scores, an option does not fit, or the labels for
            ``per_class`` are not known
    """
    start = check_number("start", start, above=0, at_most=1)
    power = check_number("power", power)
    path = _score_path(samples, model, field)
    label_at = _label_path(samples, model, field, label_field) if per_class else None
    ids, scores, classes = _read(samples, path, label_at)
    if not len(ids):
        raise ValueError("the collection is empty: there is nothing to learn")
    if missing := int(np.isnan(scores).sum()):
        # exists() leaves NaN in
        keep = f"exists({path!r})"
        if len(samples) - len(samples.exists(path)) < missing:
            keep = f"match(ViewField({path!r}) >= -float('inf'))"
        raise ValueError(
            f"{missing} of {len(ids)} samples have no score in the field {path!r}, and so no place in a curriculum: "
            f"leave them out with samples.{keep}"
        )
    if not np.isfinite(scores).all():
        raise ValueError(f"the field {path!r} holds infinite values, which give no difficulty")
    by_id = np.argsort(ids, kind="stable")
    order = by_id[order_by_difficulty(scores[by_id], classes[by_id] if per_class else None)]
    lessons = Curriculum(ids[order], order, _difficulty(scores), pacing, start, epochs, power, steps, seed)
    # an option that does not fit shall fail here, not in the training
    lessons.sampler()
    return lessons


def _score_path(samples: foc.SampleCollection, model: str | None, field: str | None) -> str:
    """Where the scores stand, checked."""
    if field is None:
        model = _model(samples) if model is None else model
        check_scored(samples, model)
        return score_field(model)
    if model is not None:
        raise ValueError(f"give either a model or a field, not both {model!r} and {field!r}")
    if not isinstance(field, str):
        raise TypeError(f"field must be the name of a field, not {short_repr(field)}")
    found = samples.get_field(field)
    if found is None:
        raise ValueError(f"the collection has no field {short_repr(field)}")
    if not isinstance(found, (fo.FloatField, fo.IntField)):
        raise ValueError(f"the field {field!r} must hold numbers, but is a {type(found).__name__}")
    return field


def _model(samples: foc.SampleCollection) -> str:
    """The first network that has scores."""
    models = find_models(samples)
    if not models:
        raise ValueError("no network has scores: compute learnability first, or give a field")
    return models[0]


def _label_path(samples: foc.SampleCollection, model: str | None, field: str | None, label_field: str | None) -> str:
    """Where the labels stand."""
    if label_field is not None:
        return label_path(samples, label_field)
    if field is not None:
        raise ValueError("to choose within each class, label_field is needed beside field; or give per_class=False")
    model = _model(samples) if model is None else model
    path = label_path_of(samples, model)
    if path is None:
        raise ValueError(
            f"the labels that {model!r} was trained with are no longer in the dataset: give label_field, or "
            "per_class=False"
        )
    return path


def _read(
    samples: foc.SampleCollection, path: str, label_at: str | None
) -> tuple[NDArray[np.str_], FloatArray, IntArray]:
    """Ids, scores (NaN where there is none) and classes as numbers (all 0 without labels), in the order given."""
    ids, values, *labels = samples.values(["id", path, *([label_at] if label_at else [])])
    if any(isinstance(value, list) for value in values):
        raise ValueError(f"the field {path!r} must hold one number a sample, not a list of them")
    score = SCORES.get(note_of(samples.get_field(path)).score or "")
    # this package's own fields say themselves which end is hard
    sign = -1.0 if score is not None and not score.hard_when_low else 1.0
    names = labels[0] if labels else [None] * len(ids)
    # sorted, so that the numbers do not depend on the order of the view; without a label last
    number = {name: k for k, name in enumerate(sorted(set(names), key=lambda name: (name is None, str(name))))}
    classes = np.array([number[name] for name in names], dtype=np.int64)
    return np.array(ids, dtype=np.str_), sign * np.array(values, dtype=np.float64), classes


def _difficulty(scores: FloatArray) -> FloatArray:
    """How hard each sample is in [0, 1], of scores that are higher for easier samples."""
    low, high = scores.min(), scores.max()
    if low >= 0 and high <= 1:
        return 1 - scores
    if low == high:
        return np.zeros(len(scores))
    # halved first, so that no difference overflows
    return (high / 2 - scores / 2) / (high / 2 - low / 2)
