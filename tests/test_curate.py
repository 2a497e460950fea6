"""Sorting, selecting, tagging and comparing by difficulty, checked against plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

import fiftyone_learnability as fol
from tests.plugin.made_up import add_samples, write_scores

MakeDataset = Callable[..., fo.Dataset]
COUNT = 30
LABELS = ["a"] * 16 + ["b"] * 9 + [None] * 5


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    rng = np.random.default_rng(11)
    scores = {"one": rng.random(COUNT).round(1), "two": rng.random(COUNT)}
    assert len(set(scores["one"])) < COUNT / 2
    return scores


@pytest.fixture(scope="module")
def made(scores: dict[str, Any]) -> Iterator[fo.Dataset]:
    """30 samples: scores of "one" with many ties, of "two" for the first 20 only."""
    dataset = fo.Dataset()
    add_samples(dataset, LABELS)
    write_scores(dataset, {"one": scores["one"]}, "first")
    write_scores(dataset.limit(20), {"two": scores["two"][:20]}, "second")
    yield dataset
    dataset.delete()


@pytest.fixture
def dataset(made: fo.Dataset) -> Iterator[fo.Dataset]:
    yield made
    made.untag_samples(made.distinct("tags"))


@pytest.fixture
def of_id(dataset: fo.Dataset, scores: dict[str, Any]) -> dict[str, float]:
    return dict(zip(dataset.values("id"), scores["one"].tolist(), strict=True))


@pytest.mark.parametrize("easiest_first", [False, True])
def test_sorting(dataset: fo.Dataset, scores: dict[str, Any], easiest_first: bool) -> None:
    view = fol.sort_by_learnability(dataset, "two", easiest_first)
    order = np.argsort(scores["two"][:20])
    expected = np.array(dataset.values("id"))[order[::-1] if easiest_first else order]
    # the ten without a score are left out
    assert view.values("id") == expected.tolist()
    within = fol.sort_by_learnability(dataset.limit(5), "two", easiest_first)
    assert within.values("id") == [id for id in expected.tolist() if id in dataset.limit(5).values("id")]


def expected_choice(of_id: dict[str, float], which: str) -> list[str]:
    sign = 1 if which == "hardest" else -1
    return sorted(of_id, key=lambda id: (sign * of_id[id], id))


@pytest.mark.parametrize("which", ["hardest", "easiest"])
@pytest.mark.parametrize("count", [1, 7, 30, 100])
def test_choosing_by_count(dataset: fo.Dataset, of_id: dict[str, float], which: str, count: int) -> None:
    chosen = fol.select_by_difficulty(dataset, "one", which, count=count)
    assert chosen == expected_choice(of_id, which)[:count]
    # ties are broken by id, whatever the order of the view
    assert fol.select_by_difficulty(dataset.shuffle(seed=1), "one", which, count=count) == chosen


@pytest.mark.parametrize(("percent", "expected"), [(0.01, 1), (10, 3), (10.5, 4), (100, 30)])
def test_choosing_by_percent_rounds_up(
    dataset: fo.Dataset, of_id: dict[str, float], percent: float, expected: int
) -> None:
    chosen = fol.select_by_difficulty(dataset, "one", percent=percent)
    assert chosen == expected_choice(of_id, "hardest")[:expected]


@pytest.mark.parametrize("percent", [7, 14, 28, 29, 55, 56, 57])
def test_a_whole_share_is_not_rounded_up(make_dataset: MakeDataset, percent: int) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(100)], list("ab") * 50)
    write_scores(dataset, {"one": np.linspace(0, 1, 100)})
    assert len(fol.select_by_difficulty(dataset, "one", percent=percent)) == percent
    assert len(fol.select_by_difficulty(dataset, "one", percent=percent / 10)) == -(-percent // 10)


@pytest.mark.parametrize("options", [{"count": 2}, {"percent": 20}])
@pytest.mark.parametrize("which", ["hardest", "easiest"])
def test_choosing_in_each_class(
    dataset: fo.Dataset, of_id: dict[str, float], which: str, options: dict[str, Any]
) -> None:
    label_of = dict(zip(dataset.values("id"), LABELS, strict=True))
    take = {"a": 2, "b": 2, None: 2} if "count" in options else {"a": 4, "b": 2, None: 1}
    expected = set()
    for label, number in take.items():
        expected.update([id for id in expected_choice(of_id, which) if label_of[id] == label][:number])
    chosen = fol.select_by_difficulty(dataset, "one", which, per_class=True, **options)
    assert chosen == [id for id in expected_choice(of_id, which) if id in expected]


def test_only_samples_with_a_score_are_chosen(dataset: fo.Dataset) -> None:
    chosen = fol.select_by_difficulty(dataset, "two", percent=100)
    assert sorted(chosen) == sorted(dataset.limit(20).values("id"))
    assert fol.select_by_difficulty(dataset.skip(20), "two", count=3) == []
    assert len(fol.select_by_difficulty(dataset, "two", percent=10)) == 2


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("three", {"count": 1}, "'three' has no scores.*one, two"),
        ("one", {}, "either count or percent"),
        ("one", {"count": 1, "percent": 1}, "either count or percent"),
        ("one", {"count": 0}, "at least 1, not 0"),
        ("one", {"percent": 0}, "percent must be a number above 0"),
        ("one", {"percent": 100.1}, "percent must be a number above 0"),
        ("one", {"percent": float("nan")}, "percent must be a number above 0"),
        ("one", {"count": 1, "which": "middle"}, "not 'middle'"),
        ("one", {"count": 1, "tag": " "}, "tag must not be empty"),
    ],
)
def test_wrong_options_are_refused(dataset: fo.Dataset, model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fol.tag_by_difficulty(dataset, model, **options)
    assert dataset.count_sample_tags() == {}
    if "tag" not in options:
        with pytest.raises(ValueError, match=message):
            fol.select_by_difficulty(dataset, model, **options)


def test_per_class_needs_labels(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)
    write_scores(dataset, {"one": np.linspace(0, 1, 10)})
    dataset.delete_sample_field("ground_truth")
    with pytest.raises(ValueError, match="was deleted or renamed: use per_class=False"):
        fol.select_by_difficulty(dataset, "one", count=1, per_class=True)
    assert len(fol.select_by_difficulty(dataset, "one", count=1)) == 1


def test_tagging(dataset: fo.Dataset, of_id: dict[str, float]) -> None:
    assert fol.tag_by_difficulty(dataset, "one", count=3) == 3
    assert sorted(dataset.match_tags("hard").values("id")) == sorted(expected_choice(of_id, "hardest")[:3])
    # a second call selects the same samples
    assert fol.tag_by_difficulty(dataset, "one", count=3) == 3
    assert dataset.count_sample_tags() == {"hard": 3}
    assert fol.tag_by_difficulty(dataset, "one", "easiest", percent=10) == 3
    assert sorted(dataset.match_tags("easy").values("id")) == sorted(expected_choice(of_id, "easiest")[:3])
    view = dataset.skip(25)
    assert fol.tag_by_difficulty(view, "one", count=2, tag="of the view") == 2
    assert set(dataset.match_tags("of the view").values("id")) < set(view.values("id"))
    assert fol.tag_by_difficulty(view, "two", count=2, tag="none") == 0
    assert "none" not in dataset.count_sample_tags()


def test_tagging_a_slice_of_a_group(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([], [])
    dataset.add_group_field("group", default="left")
    for index in range(4):
        group = fo.Group()
        slices = [fo.Sample(f"/no/{name}{index}.png", group=group.element(name)) for name in ("left", "right")]
        dataset.add_samples(slices, progress=False)
    right = dataset.select_group_slices("right")
    write_scores(right, {"one": np.linspace(0, 1, 4)})
    assert fol.tag_by_difficulty(right, "one", count=2) == 2
    assert right.match_tags("hard").values("id") == right.values("id")[:2]


def test_disagreement(dataset: fo.Dataset) -> None:
    ids, one, two = dataset.values(["id", "learnability_rank_one", "learnability_rank_two"])
    difference = {id: b - a for id, a, b in zip(ids, one, two, strict=True) if b is not None}
    view = fol.disagreement(dataset, "one", "two")
    assert set(view.values("id")) == {id for id, value in difference.items() if value > 0}
    shown = [difference[id] for id in view.values("id")]
    assert shown == sorted(shown, reverse=True)
    other = fol.disagreement(dataset, "two", "one")
    assert set(other.values("id")) == {id for id, value in difference.items() if value < 0}
    assert fol.disagreement(dataset, "one", "two", limit=1).values("id") == view.values("id")[:1]
    for models in (("one", "one"), ("one", "three"), ("three", "one")):
        with pytest.raises(ValueError, match=r"twice|'three' has no scores"):
            fol.disagreement(dataset, *models)
