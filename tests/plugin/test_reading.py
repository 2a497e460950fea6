"""What the panel reads anew after a change, and of a view: the same as if it had read everything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId
from fiftyone import ViewField as F

from fiftyone_learnability.dataset.arrays import unpack_ids

from .harness import plugin_module
from .made_up import add_samples, write_scores

COUNT = 60


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset], monkeypatch: pytest.MonkeyPatch) -> fo.Dataset:
    """Two networks, of which one has scored half of the samples; changes are told apart to the millisecond."""
    monkeypatch.setattr(plugin_module("panel.table"), "_LATE", timedelta(0))
    made = make_dataset([f"/no/{index}.png" for index in range(COUNT)], ["a", "b", "c"] * (COUNT // 3))
    rng = np.random.default_rng(5)
    write_scores(made, {"vgg16": rng.random(COUNT)}, "one")
    half = made.select(made.values("id")[::2])
    write_scores(half, {"resnet20": rng.random(COUNT // 2)}, "two")
    return made


def load(dataset: fo.Dataset, view: fo.DatasetView | None = None, filters: dict[str, Any] | None = None) -> Any:
    scores, stages = plugin_module("panel.table"), [] if view is None else view._serialize()
    marks = plugin_module("panel.marks")
    return scores.load_scores(dataset, scores.Scope(stages, filters or {}, marks.fingerprint([stages, filters])))


def told(table: Any) -> dict[str, Any]:
    """All that a table holds."""
    return {
        "ids": unpack_ids(table.ids),
        "labels": [None if code < 0 else table.classes[code] for code in table.labels],
        "columns": {name: np.where(np.isnan(values), -1, values).tolist() for name, values in table.columns.items()},
        "rest": (table.models, table.scores, table.classes, table.label_path, table.num_samples),
    }


def tag(dataset: fo.Dataset) -> None:
    dataset.limit(7).tag_samples("hard")


def score(dataset: fo.Dataset) -> None:
    dataset.limit(3).set_values("learnability_vgg16", [None, 0.5, 0.25])


def relabel(dataset: fo.Dataset) -> None:
    dataset.limit(2).set_values("ground_truth.label", ["c", "c"])


def unlabel(dataset: fo.Dataset) -> None:
    dataset.limit(2).set_values("ground_truth", [None, None])


def relabel_anew(dataset: fo.Dataset) -> None:
    dataset.limit(2).set_values("ground_truth.label", ["zebra", "zebra"])


def lose_a_class(dataset: fo.Dataset) -> None:
    few = dataset.match(F("ground_truth.label") == "a")
    few.set_values("ground_truth.label", ["b"] * len(few))


def lose_scores(dataset: fo.Dataset) -> None:
    for field in ("learnability_vgg16", "learnability_resnet20"):
        dataset.limit(2).set_values(field, [None, None])


def take_the_place(dataset: fo.Dataset) -> None:
    dataset.delete_samples(dataset.limit(3))
    add_samples(dataset, ["a", "b", None])
    dataset.skip(COUNT - 3).set_values("learnability_vgg16", [0.1, 0.2, 0.3])


def remove(dataset: fo.Dataset) -> None:
    dataset.delete_samples(dataset.limit(3))


def write_more(dataset: fo.Dataset) -> None:
    write_scores(dataset, {"mobilenet": np.linspace(0, 1, COUNT)}, "three")


def change_all(dataset: fo.Dataset) -> None:
    dataset.set_values("learnability_vgg16", np.linspace(0, 1, COUNT).tolist())


CHANGES = {
    tag: "kept",
    score: "some",
    relabel: "some",
    unlabel: "some",
    relabel_anew: "all",
    lose_a_class: "all",
    lose_scores: "all",
    take_the_place: "all",
    remove: "all",
    write_more: "all",
    change_all: "all",
}
"""Whether the table stays, some samples are read, or all."""


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_read_after_a_change_is_all_there_is(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, change: Callable[[fo.Dataset], None]
) -> None:
    scores = plugin_module("panel.table")
    monkeypatch.setattr(scores, "_MOST_READ_AGAIN", COUNT // 2)
    read_all, read = scores._read_all, []
    monkeypatch.setattr(scores, "_read_all", lambda dataset: read.append(dataset) or read_all(dataset))
    before = load(dataset)
    kept = told(before)
    assert len(read) == 1
    change(dataset)
    dataset.reload()
    after = load(dataset)
    assert told(after) == told(read_all(dataset))
    assert (after is before) == (CHANGES[change] == "kept")
    assert len(read) == (2 if CHANGES[change] == "all" else 1)
    # what others still draw is not changed under their hands
    assert told(before) == kept
    # and once more, from what was put together
    dataset.skip(COUNT // 2).limit(2).set_values("learnability_rank_vgg16", [7, None])
    assert told(load(dataset)) == told(read_all(dataset))


def test_a_change_that_is_dated_too_early_is_seen_with_the_next(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores, collection = plugin_module("panel.table"), dataset._sample_collection
    monkeypatch.setattr(scores, "_LATE", timedelta(minutes=1))
    monkeypatch.setattr(scores, "_MOST_READ_AGAIN", 10)
    # long ago
    collection.update_many({}, [{"$set": {"last_modified_at": {"$subtract": ["$last_modified_at", 3_600_000]}}}])
    load(dataset)
    dataset.limit(1).tag_samples("now")
    load(dataset)
    newest = scores._newest(dataset)
    first, second = dataset.limit(2).values("id")
    late = {"learnability_vgg16": 0.75, "last_modified_at": newest - timedelta(seconds=50)}
    collection.update_one({"_id": ObjectId(second)}, {"$set": late})
    dataset.select(first).tag_samples("later")
    monkeypatch.setattr(scores, "_read_all", lambda dataset: pytest.fail("everything is read"))
    table = load(dataset)
    assert table.columns["learnability_vgg16"][unpack_ids(table.ids).index(second)] == 0.75


def selections(dataset: fo.Dataset) -> dict[str, fo.DatasetView]:
    ids = dataset.values("id")
    gone = ObjectId()
    return {
        "some": dataset.select(ids[5:40:3]),
        "one": dataset.select(ids[7]),
        "none": dataset.select([]),
        "in order": dataset.select(ids[30:5:-2], ordered=True),
        "twice": dataset.select([*ids[:5], *ids[3:8]]),
        "with one that is gone": dataset.select([*ids[:5], str(gone)]),
        "those that are gone": dataset.select([str(gone)]),
        "of a part": dataset.limit(10).select(ids[5:15]),
        "and a part": dataset.select(ids[5:15]).limit(3),
        "what is not selected": dataset.exclude(ids[5:15]),
        "matched": dataset.match(F("learnability_vgg16") > 0.5),
        "shuffled": dataset.shuffle(seed=3).limit(11),
    }


def test_a_view_has_its_samples(dataset: fo.Dataset) -> None:
    # some that nobody has scored
    for field in ("learnability_vgg16", "learnability_resnet20"):
        dataset.skip(3).limit(4).set_values(field, [None] * 4)
    everything = load(dataset)
    scored = set(unpack_ids(everything.ids))
    assert len(scored) == COUNT - 4
    for name, view in selections(dataset).items():
        inside = view.values("id")
        table = load(dataset, view)
        assert unpack_ids(table.ids) == sorted(scored.intersection(inside)), name
        assert table.num_samples == len(inside), name
    filters = {"ground_truth.label": {"values": ["a"], "exclude": False, "isMatching": True}}
    for view in (dataset.select(dataset.values("id")[:30]), None):
        chosen = (view or dataset).match(F("ground_truth.label") == "a").values("id")
        assert unpack_ids(load(dataset, view, filters).ids) == sorted(scored.intersection(chosen))


def test_a_selection_is_not_asked_of_the_database(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    load(dataset)
    monkeypatch.setattr(plugin_module("panel.table"), "ids_in_view", lambda view: pytest.fail("it is"))
    assert len(load(dataset, dataset.select(dataset.values("id")[:9])).ids) == 9


def test_a_long_view_is_marked_once_an_event(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from .harness import PanelHarness

    scope, seen = plugin_module("panel.scope"), []
    mark = scope.fingerprint
    panel = PanelHarness(dataset, follow=False)
    panel.open()
    panel.show(dataset.select(dataset.values("id")[:20]))
    monkeypatch.setattr(scope, "fingerprint", lambda stages: seen.append(stages) or mark(stages))
    panel.event("on_change_view")
    assert len(seen) == 1


def test_marks_tell_views_apart_and_not_what_the_browser_changes() -> None:
    mark = plugin_module("panel.marks").fingerprint
    ids = [str(ObjectId()) for _ in range(3)]
    stage = {"_cls": "fiftyone.core.stages.Select", "kwargs": [["sample_ids", ids], ["ordered", False]], "_uuid": "1"}
    assert mark([stage]) == mark([{**stage, "_uuid": "2"}])
    assert mark([{"a": 1.0, "b": [1.0, "x"]}]) == mark([{"a": 1, "b": (1, "x")}])
    others = [[["sample_ids", ids[::-1]], ["ordered", False]], [["sample_ids", ids], ["ordered", True]]]
    assert len({mark([stage]), *(mark([{**stage, "kwargs": other}]) for other in others)}) == 3
