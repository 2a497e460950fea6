"""Views and tags of more samples than fit into one command."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo
import pytest

from fiftyone_learnability.dataset import selections
from fiftyone_learnability.dataset.selections import select_samples, tag_samples

COUNT = 100
BYTES_OF_SIXTY = 1_100
"""The ids of 60 samples fit in, those of 90 do not."""


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    return make_dataset([f"/no/{index}.png" for index in range(COUNT)], list("ab") * (COUNT // 2))


@pytest.mark.parametrize("count", [0, 1, 50, 90, COUNT])
def test_the_view_has_the_samples_in_the_order_of_the_collection(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(selections, "MOST_BYTES", BYTES_OF_SIXTY)
    ids = dataset.shuffle(seed=1).values("id")[:count]
    a = dataset.match(fo.ViewField("ground_truth.label") == "a")
    for samples in (dataset, dataset.sort_by("filepath", reverse=True), a):
        view = select_samples(samples, ids)
        assert view is not None
        assert view.values("id") == [id for id in samples.values("id") if id in ids]


def test_samples_that_are_added_later_are_not_selected(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selections, "MOST_BYTES", BYTES_OF_SIXTY)
    ids = dataset.values("id")[10:]
    view = select_samples(dataset, ids)
    dataset.add_samples([fo.Sample("/no/new.png")], progress=False)
    assert view is not None
    assert view.values("id") == ids


def test_no_view_holds_half_of_too_many_samples(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selections, "MOST_BYTES", 500)
    ids = dataset.values("id")
    assert select_samples(dataset, ids[:50]) is None
    # the ids that the collection itself holds count too
    assert select_samples(dataset.select(ids[:20]), ids[:20]) is None
    assert select_samples(dataset, ids[:20]) is not None


@pytest.mark.parametrize("tag", ["new", "$tags"])
def test_tags_are_added_in_batches(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    monkeypatch.setattr(selections, "TAG_BATCH", 7)
    ids = dataset.values("id")
    first, second, third = dataset[ids[0]], dataset[ids[1]], dataset[ids[2]]
    second.tags = ["old"]
    second.save()
    dataset.limit(3).set_values("tags", [None, ["old"], [tag]])
    third.reload()
    before = third.last_modified_at
    tag_samples(dataset, ids[:50], tag)
    assert dataset.match_tags(tag).values("id") == ids[:50]
    assert dataset.limit(3).values("tags") == [[tag], ["old", tag], [tag]]
    # objects that the user holds see it, and a sample that had the tag is left alone
    assert first.tags == [tag]
    third.reload()
    assert third.last_modified_at == before


def test_read_only_tags_are_refused(dataset: fo.Dataset) -> None:
    field = dataset.get_field("tags")
    field.read_only = True
    field.save()
    with pytest.raises(ValueError, match="'tags' is read-only"):
        tag_samples(dataset, dataset.values("id"), "new")
