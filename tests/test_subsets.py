"""Subsets and curricula of collections in a real database, checked against plain Python."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from fiftyone_learnability.dataset import selections
from fiftyone_learnability.scores.pacing import importance_weights, pacing, self_paced_weights
from fiftyone_learnability.subsets import curriculum, select_subset
from tests.plugin.made_up import add_samples, write_scores

MakeDataset = Callable[..., fo.Dataset]
COUNT = 40
LABELS = ["a"] * 20 + ["b"] * 12 + [None] * 8
STRATEGIES = ["hardest", "easiest", "mid", "stratified", "random"]


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    rng = np.random.default_rng(12)
    scores = {"one": rng.random(COUNT).round(1), "two": rng.random(COUNT), "margin": rng.normal(size=COUNT)}
    assert len(set(scores["one"])) < COUNT / 2
    return scores


@pytest.fixture(scope="module")
def made(scores: dict[str, Any]) -> Iterator[fo.Dataset]:
    """40 samples: scores of "one" with many ties, of "two" for the first 30 only, and other fields of numbers."""
    dataset = fo.Dataset()
    add_samples(dataset, LABELS)
    write_scores(dataset, {"one": scores["one"]}, "first")
    write_scores(dataset.limit(30), {"two": scores["two"][:30]}, "second")
    dataset.set_values("margin", scores["margin"].tolist())
    dataset.set_values("stars", [index % 5 for index in range(COUNT)])
    dataset.set_values("several", [[0.1, 0.2]] * COUNT)
    dataset.set_values("half", [0.5, float("nan"), *[None] * 18, *[0.7] * 20])
    dataset.set_values("gaps", [0.5, *[None] * 19, *[0.7] * 20])
    dataset.set_values("infinite", [float("inf"), *[0.5] * (COUNT - 1)])
    dataset.set_values("parity", ["odd" if index % 2 else "even" for index in range(COUNT)])
    yield dataset
    dataset.delete()


@pytest.fixture
def dataset(made: fo.Dataset) -> Iterator[fo.Dataset]:
    yield made
    made.untag_samples(made.distinct("tags"))


def easiest_first(dataset: fo.Dataset, field: str) -> list[str]:
    value = {id: score for id, score in zip(*dataset.values(["id", field]), strict=True) if score is not None}
    return sorted(value, key=lambda id: (-value[id], id))


def labels_of(view: fo.DatasetView) -> Counter[str | None]:
    return Counter(view.values("ground_truth.label"))


@pytest.mark.parametrize("per_class", [False, True])
def test_the_ends_and_the_middle(dataset: fo.Dataset, per_class: bool) -> None:
    label = dict(zip(*dataset.values(["id", "ground_truth.label"]), strict=True))
    order = easiest_first(dataset, "learnability_one")
    # a fifth is 8 of all 40, and 4, 2.4 and 1.6 of the classes
    takes = {"a": 4, "b": 2, None: 2} if per_class else {"all": 8}
    for strategy in ("easiest", "hardest", "mid"):
        expected: set[str] = set()
        for name, take in takes.items():
            members = [id for id in order if not per_class or label[id] == name]
            first = {"easiest": 0, "hardest": len(members) - take, "mid": (len(members) - take) // 2}[strategy]
            expected.update(members[first : first + take])
        view = select_subset(dataset, 0.2, strategy, per_class=per_class)
        assert isinstance(view, fo.DatasetView)
        # in the order of the collection
        assert view.values("id") == [id for id in dataset.values("id") if id in expected], strategy
        # ties are broken by id, whatever the order of the view
        shuffled = select_subset(dataset.shuffle(seed=4), 0.2, strategy, per_class=per_class)
        assert set(shuffled.values("id")) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 1])
def test_each_strategy_keeps_size_and_balance(dataset: fo.Dataset, strategy: str, fraction: float) -> None:
    view = select_subset(dataset, fraction, strategy)
    expected = {
        0.01: {"a": 1},
        0.3: {"a": 6, "b": 4, None: 2},  # 6, 3.6 and 2.4
        0.5: {"a": 10, "b": 6, None: 4},
        1: {"a": 20, "b": 12, None: 8},
    }
    assert labels_of(view) == expected[fraction]
    assert len(set(view.values("id"))) == len(view)
    for other in (dataset, dataset.shuffle(seed=7), dataset.sort_by("margin")):
        assert set(select_subset(other, fraction, strategy).values("id")) == set(view.values("id"))
    assert len(select_subset(dataset, fraction, strategy, per_class=False)) == max(1, round(fraction * COUNT))


def test_a_named_class_comes_before_none(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(["/no/1.png", "/no/2.png"], [None, "z"])
    write_scores(dataset, {"one": np.array([0.2, 0.4])})
    # a single sample is selected from two classes
    assert select_subset(dataset, 0.5).values("ground_truth.label") == ["z"]


def test_stratified_takes_one_of_each_stratum(dataset: fo.Dataset) -> None:
    order = easiest_first(dataset, "learnability_one")
    places = sorted(order.index(id) for id in select_subset(dataset, 0.25, per_class=False).values("id"))
    assert [place // 4 for place in places] == list(range(10))


@pytest.mark.parametrize("strategy", ["stratified", "random"])
def test_seeds_choose_differently(dataset: fo.Dataset, strategy: str) -> None:
    chosen = {tuple(select_subset(dataset, 0.4, strategy, seed=seed).values("id")) for seed in range(4)}
    assert len(chosen) == 4


def test_only_samples_with_a_score_are_chosen(dataset: fo.Dataset) -> None:
    view = select_subset(dataset, 1, model="two")
    assert view.values("id") == dataset.limit(30).values("id")
    assert len(select_subset(dataset, 0.1, model="two", per_class=False)) == 3
    # neither null nor NaN is a score
    assert select_subset(dataset, 1, field="half", per_class=False).values("id") == [
        dataset.first().id,
        *dataset.skip(20).values("id"),
    ]
    within = select_subset(dataset.skip(10).limit(10), 0.5, "hardest")
    assert set(within.values("id")) < set(dataset.skip(10).limit(10).values("id"))
    assert len(within) == 5
    with pytest.raises(ValueError, match="none of the 10 samples has a score in the field 'learnability_two'"):
        select_subset(dataset.skip(30), 0.5, model="two")


def test_any_field_of_numbers_can_be_used(dataset: fo.Dataset) -> None:
    chosen = select_subset(dataset, 0.1, "hardest", field="margin", per_class=False)
    assert set(chosen.values("id")) == set(easiest_first(dataset, "margin")[-4:])
    whole = select_subset(dataset, 0.1, "easiest", field="stars", per_class=False)
    assert set(whole.values("id")) == set(easiest_first(dataset, "stars")[:4])
    by_label = select_subset(dataset, 0.3, field="margin", label_field="ground_truth")
    assert labels_of(by_label) == {"a": 6, "b": 4, None: 2}
    by_text = select_subset(dataset, 0.3, field="margin", label_field="parity")
    assert Counter(by_text.values("parity")) == {"odd": 6, "even": 6}
    # labels other than those of the training
    assert Counter(select_subset(dataset, 0.3, label_field="parity").values("parity")) == {"odd": 6, "even": 6}


def test_tagging(dataset: fo.Dataset) -> None:
    view = select_subset(dataset, 0.3, tag="train")
    assert dataset.count_sample_tags() == {"train": 12}
    assert dataset.match_tags("train").values("id") == view.values("id")
    # a view that excludes samples with the tag
    rest = select_subset(dataset.match_tags("train", bool=False), 0.5, "hardest", per_class=False, tag="train")
    assert len(rest) == 14
    assert dataset.count_sample_tags() == {"train": 26}
    assert not set(rest.values("id")) & set(view.values("id"))


def test_a_subset_that_no_view_holds(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selections, "MOST_BYTES", 150)
    options: dict[str, Any] = {"fraction": 0.5, "strategy": "hardest", "per_class": False}
    ids = easiest_first(dataset, "learnability_one")
    with pytest.raises(ValueError, match=r"subset of 20 samples: give tag=...,.*dataset.match_tags"):
        select_subset(dataset, **options)
    dataset.select(ids[:2]).tag_samples("train")
    with pytest.raises(ValueError, match="2 other samples have: choose another tag, or remove it with"):
        select_subset(dataset, **options, tag="train")
    assert dataset.count_sample_tags() == {"train": 2}
    assert set(select_subset(dataset, **options, tag="half").values("id")) == set(ids[20:])
    # a view that excludes samples with the tag
    rest = select_subset(dataset.match_tags("other half", bool=False), **options, tag="other half")
    assert set(rest.values("id")) == set(ids[20:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0}, "fraction must be a number above 0"),
        ({"strategy": "middle"}, "not 'middle'"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"model": "three"}, "'three' has no scores.*one, two"),
        ({"model": "one", "field": "margin"}, "not both 'one' and 'margin'"),
        ({"field": "nothing"}, "no field 'nothing'"),
        ({"field": "parity"}, "'parity' must hold numbers, but is a StringField"),
        ({"field": "several"}, "'several' must hold numbers, but is a ListField"),
        ({"field": "ground_truth"}, "'ground_truth' must hold numbers, but is a EmbeddedDocumentField"),
        ({"field": "margin"}, "with field, selecting within each class needs label_field"),
        ({"label_field": "nothing"}, "no field 'nothing'"),
        ({"tag": " "}, "tag must not be empty"),
    ],
)
def test_wrong_options_are_refused(dataset: fo.Dataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_subset(dataset, **{"fraction": 0.5, "tag": "never", **options})
    assert dataset.count_sample_tags() == {}
    if not options.keys() - {"model", "field", "label_field"}:
        with pytest.raises(ValueError, match=message):
            curriculum(dataset, **options, per_class=True)


def test_lists_of_numbers_are_refused(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(["/no/1.png", "/no/2.png"], [None, None])
    boxes = [fo.Detection(label="a", bounding_box=[0, 0, 1, 1], confidence=0.5)] * 2
    dataset.set_values("found", [fo.Detections(detections=boxes)] * 2)
    for use in (
        lambda field: select_subset(dataset, 0.5, field=field, per_class=False),
        lambda f: curriculum(dataset, f),
    ):
        with pytest.raises(ValueError, match="one number per sample, not a list"):
            use("found.detections.confidence")


def test_numbers_inside_labels_can_be_used(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(["/no/1.png", "/no/2.png"], ["a", "b"])
    dataset.set_values("ground_truth.confidence", [0.2, 0.9])
    assert curriculum(dataset, "ground_truth.confidence").order.tolist() == [1, 0]


def test_without_scores_or_labels(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)
    for use in (lambda: select_subset(dataset, 0.5), lambda: curriculum(dataset)):
        with pytest.raises(ValueError, match="compute learnability first, or give a field"):
            use()
    write_scores(dataset, {"one": np.linspace(0, 1, 10)})
    with pytest.raises(ValueError, match="the collection is empty"):
        curriculum(dataset.limit(3).skip(3))
    dataset.delete_sample_field("ground_truth")
    with pytest.raises(ValueError, match="'one' was trained with was deleted or renamed: give label_field"):
        select_subset(dataset, 0.5)
    assert select_subset(dataset, 0.5, "easiest", per_class=False).values("id") == dataset.skip(5).values("id")


def test_the_order_of_a_curriculum(dataset: fo.Dataset, scores: dict[str, Any]) -> None:
    lessons = curriculum(dataset)
    assert lessons.ids.tolist() == easiest_first(dataset, "learnability_one")
    assert np.array(dataset.values("id"))[lessons.order].tolist() == lessons.ids.tolist()
    np.testing.assert_array_equal(lessons.difficulty, 1 - scores["one"])
    assert len(lessons) == COUNT
    view = dataset.shuffle(seed=2)
    moved = curriculum(view)
    assert moved.ids.tolist() == lessons.ids.tolist()
    assert np.array(view.values("id"))[moved.order].tolist() == moved.ids.tolist()
    by_two = curriculum(dataset.limit(30), model="two")
    assert by_two.ids.tolist() == easiest_first(dataset, "learnability_two")


def test_a_curriculum_that_mixes_the_classes(dataset: fo.Dataset) -> None:
    lessons = curriculum(dataset, per_class=True)
    labels = np.array(LABELS, dtype=object)[lessons.order]
    order = easiest_first(dataset, "learnability_one")
    label = dict(zip(*dataset.values(["id", "ground_truth.label"]), strict=True))
    for name, count in (("a", 20), ("b", 12), (None, 8)):
        assert lessons.ids[labels == name].tolist() == [id for id in order if label[id] == name]
        for end in (10, 20, 30):
            assert abs((labels[:end] == name).sum() - end * count / COUNT) <= 1
    assert sorted(lessons.order.tolist()) == list(range(COUNT))
    by_parity = curriculum(dataset, "margin", per_class=True, label_field="parity")
    # two classes of the same size alternate
    assert [set(pair) for pair in (by_parity.order % 2).reshape(-1, 2).tolist()] == [{0, 1}] * (COUNT // 2)


def test_the_difficulty_of_other_fields(dataset: fo.Dataset, scores: dict[str, Any]) -> None:
    margin = scores["margin"]
    expected = (margin.max() - margin) / (margin.max() - margin.min())
    np.testing.assert_allclose(curriculum(dataset, "margin").difficulty, expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(curriculum(dataset, "stars").difficulty, [1 - index % 5 / 4 for index in range(COUNT)])
    # values below 0 are rescaled even if none exceeds 1
    below = margin / margin.max()
    assert below.min() < 0
    dataset.set_values("below", below.tolist())
    np.testing.assert_allclose(curriculum(dataset, "below").difficulty, expected, rtol=1e-12, atol=1e-15)
    # all equally hard
    alike = dataset.match(fo.ViewField("stars") == 3)
    assert curriculum(alike, "stars").difficulty.tolist() == [0] * 8
    named, field = curriculum(dataset, model="one"), curriculum(dataset, "learnability_one")
    np.testing.assert_array_equal(named.difficulty, field.difficulty)


def test_the_samplers_of_a_curriculum(dataset: fo.Dataset, scores: dict[str, Any]) -> None:
    lessons = curriculum(dataset, None, "step", model="one", start=0.1, epochs=6, steps=3, seed=9)
    sampler = lessons.sampler()
    for epoch in range(8):
        sampler.set_epoch(epoch)
        available = round(COUNT * pacing("step", min(1, epoch / 6), 0.1, steps=3))
        assert sorted(sampler) == sorted(lessons.order[:available].tolist())
    assert len(lessons.sampler(num_samples=7)) == 7
    assert list(lessons.sampler()) == list(lessons.sampler())
    root = curriculum(dataset, pacing="root", power=3, start=0.1, epochs=4, seed=9).sampler()
    assert (root.power, root.epochs, root.start, root.seed) == (3, 4, 0.1, 9)
    difficulty = 1 - scores["one"]
    for kind in ("hard", "linear", "logarithmic"):
        weights = lessons.self_paced_weights(0.6, kind)
        np.testing.assert_array_equal(weights, self_paced_weights(difficulty, 0.6, kind))
    importance = lessons.importance_sampler(0.2, num_samples=11)
    np.testing.assert_array_equal(importance.probabilities, importance_weights(difficulty, 0.2)[0])
    assert len(list(importance)) == len(importance) == 11
    assert importance.seed == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "two"}, r"10 of 40 samples have no score.*samples.exists\('learnability_two'\)"),
        ({"field": "half"}, r"19 of 40 samples have no score.*samples.match\(ViewField\('half'\) >= -float\('inf'\)\)"),
        ({"field": "gaps"}, r"19 of 40 samples have no score.*samples.exists\('gaps'\)"),
        ({"field": "infinite"}, "'infinite' holds infinite values"),
        ({"pacing": "cubic"}, "not 'cubic'"),
        ({"start": 2}, "start must be a number above 0"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_a_curriculum_refuses_wrong_options(dataset: fo.Dataset, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curriculum(dataset, **options)


def test_the_advised_views_have_a_curriculum(dataset: fo.Dataset) -> None:
    assert len(curriculum(dataset.exists("learnability_two"), model="two")) == 30
    assert len(curriculum(dataset.match(fo.ViewField("half") >= -float("inf")), "half")) == 21


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Images of a collection, in its order."""

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index]) as image:
            return torch.from_numpy(np.array(image.convert("L"))), index


def test_training_in_order(digit_dataset: fo.Dataset, rng: np.random.Generator) -> None:
    """A training sees the easiest images first, whatever the order of the view."""
    write_scores(digit_dataset, {"one": rng.random(60)})
    view = digit_dataset.shuffle(seed=3)
    lessons = curriculum(view, start=0.5, epochs=2)
    sampler = lessons.sampler()
    loader = DataLoader(Images(view.values("filepath")), batch_size=16, sampler=sampler)
    learnability = view.values("learnability_one")
    for epoch, (batches, share) in enumerate([(2, 30), (3, 45), (4, 60)]):
        sampler.set_epoch(epoch)
        shown = []
        for images, positions in loader:
            assert images.shape == (len(positions), 32, 32)
            shown += [learnability[position] for position in positions.tolist()]
        assert len(loader) == batches
        assert sorted(shown, reverse=True) == sorted(learnability, reverse=True)[:share]


def test_choosing_a_subset_needs_no_torch() -> None:
    code = """
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("torch is blocked")
sys.meta_path.insert(0, Block())
import fiftyone_learnability.subsets
print("imported")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.stdout.strip().endswith("imported"), process.stderr
