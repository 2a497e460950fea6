"""Reading scores after a change, or for a view, gives the same table as reading everything."""

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
from fiftyone_learnability.dataset.internals import sample_collection, serialize_stages

from ..harness import plugin_module
from ..made_up import add_samples, write_scores

COUNT = 60


@pytest.fixture
def table_module() -> Any:
    return plugin_module("panel.table")


@pytest.fixture
def reads_of_all(table_module: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grow by one whenever all samples are read."""
    read_columns, reads = table_module.read_columns, []
    monkeypatch.setattr(table_module, "read_columns", lambda *args: reads.append(args) or read_columns(*args))
    return reads


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset], table_module: Any, monkeypatch: pytest.MonkeyPatch) -> fo.Dataset:
    """Two networks, one of which has scored half of the samples. No change can be late."""
    monkeypatch.setattr(table_module, "LATENESS", timedelta(0))
    made = make_dataset([f"/no/{index}.png" for index in range(COUNT)], ["a", "b", "c"] * (COUNT // 3))
    rng = np.random.default_rng(5)
    write_scores(made, {"vgg16": rng.random(COUNT)}, "one")
    half = made.select(made.values("id")[::2])
    write_scores(half, {"resnet20": rng.random(COUNT // 2)}, "two")
    return made


def load(dataset: fo.Dataset, view: fo.DatasetView | None = None, filters: dict[str, Any] | None = None) -> Any:
    stages = [] if view is None else serialize_stages(view)
    if filters:
        stages = serialize_stages(plugin_module("panel.scope").build_view(dataset, stages, filters).view())
    scope = plugin_module("panel.scope").Scope.of(stages)
    return plugin_module("panel.table").load_scores(dataset, scope)


def content(table: Any) -> dict[str, Any]:
    """Return everything that a table holds."""
    return {
        "ids": unpack_ids(table.ids),
        "labels": [None if code < 0 else table.classes[code] for code in table.labels],
        "columns": {name: np.where(np.isnan(values), -1, values).tolist() for name, values in table.columns.items()},
        "rest": (table.models, table.scores, table.classes, table.label_path, table.num_samples),
    }


def stored(dataset: fo.Dataset) -> dict[str, Any]:
    """Return what a table has to hold, read with FiftyOne's own calls."""
    models = {"vgg16", "resnet20", "mobilenet"} & {name.removeprefix("learnability_") for name in fields_of(dataset)}
    ids = dataset.values("id")
    columns = {name: dict(zip(ids, dataset.values(name), strict=True)) for name in fields_of(dataset)}
    scored = sorted(id for id in ids if any(columns[f"learnability_{model}"][id] is not None for model in models))
    labels = dict(zip(ids, dataset.values("ground_truth.label"), strict=True))
    return {
        "ids": scored,
        "labels": [labels[id] for id in scored],
        "columns": {
            name: [-1 if values[id] is None else values[id] for id in scored] for name, values in columns.items()
        },
        "rest": (
            tuple(sorted(models, key=lambda model: list(columns).index(f"learnability_{model}"))),
            dict.fromkeys(models, ("learnability", "rank")),
            tuple(sorted({labels[id] for id in scored} - {None})),
            "ground_truth.label",
            len(ids),
        ),
    }


def fields_of(dataset: fo.Dataset) -> list[str]:
    return [name for name in dataset.get_field_schema() if name.startswith("learnability_")]


def tag(dataset: fo.Dataset) -> None:
    dataset.limit(7).tag_samples("hard")


def score(dataset: fo.Dataset) -> None:
    dataset.limit(3).set_values("learnability_vgg16", [None, 0.5, 0.25])


def relabel(dataset: fo.Dataset) -> None:
    dataset.limit(2).set_values("ground_truth.label", ["c", "c"])


def unlabel(dataset: fo.Dataset) -> None:
    dataset.limit(2).set_values("ground_truth", [None, None])


def add_a_class(dataset: fo.Dataset) -> None:
    dataset.limit(2).set_values("ground_truth.label", ["zebra", "zebra"])


def lose_a_class(dataset: fo.Dataset) -> None:
    few = dataset.match(F("ground_truth.label") == "a")
    few.set_values("ground_truth.label", ["b"] * len(few))


def lose_scores(dataset: fo.Dataset) -> None:
    for field in ("learnability_vgg16", "learnability_resnet20"):
        dataset.limit(2).set_values(field, [None, None])


def replace_samples(dataset: fo.Dataset) -> None:
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
    tag: "none",
    score: "some",
    relabel: "some",
    unlabel: "some",
    add_a_class: "all",
    lose_a_class: "all",
    lose_scores: "all",
    replace_samples: "all",
    remove: "all",
    write_more: "all",
    change_all: "all",
}
"""Which samples have to be read again; for "none", the table stays the same."""


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_dataset_is_read_completely(
    dataset: fo.Dataset,
    table_module: Any,
    reads_of_all: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[fo.Dataset], None],
) -> None:
    monkeypatch.setattr(table_module, "MOST_READ_AGAIN", COUNT // 2)
    before = load(dataset)
    content_before = content(before)
    assert len(reads_of_all) == 1
    change(dataset)
    dataset.reload()
    after = load(dataset)
    assert content(after) == stored(dataset)
    assert (after is before) == (after.version == before.version) == (CHANGES[change] == "none")
    assert len(reads_of_all) == (2 if CHANGES[change] == "all" else 1)
    # other events may still draw the old table
    assert content(before) == content_before
    # a second change is read into the result of the first
    dataset.skip(COUNT // 2).limit(2).set_values("learnability_rank_vgg16", [7, None])
    assert content(load(dataset)) == stored(dataset)


def test_a_change_with_a_late_date_is_read_with_the_next_change(
    dataset: fo.Dataset, table_module: Any, reads_of_all: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = sample_collection(dataset)
    monkeypatch.setattr(table_module, "LATENESS", timedelta(minutes=1))
    monkeypatch.setattr(table_module, "MOST_READ_AGAIN", 10)
    # pretend that everything was written an hour ago
    collection.update_many({}, [{"$set": {"last_modified_at": {"$subtract": ["$last_modified_at", 3_600_000]}}}])
    load(dataset)
    dataset.limit(1).tag_samples("now")
    load(dataset)
    newest = table_module.dataset_state(dataset).newest
    first, second = dataset.limit(2).values("id")
    late = {"learnability_vgg16": 0.75, "last_modified_at": newest - timedelta(seconds=50)}
    collection.update_one({"_id": ObjectId(second)}, {"$set": late})
    dataset.select(first).tag_samples("later")
    reads_of_all.clear()
    table = load(dataset)
    assert not reads_of_all
    assert table.columns["learnability_vgg16"][unpack_ids(table.ids).index(second)] == 0.75


def selections(dataset: fo.Dataset) -> dict[str, fo.DatasetView]:
    ids = dataset.values("id")
    deleted = ObjectId()
    return {
        "some": dataset.select(ids[5:40:3]),
        "one": dataset.select(ids[7]),
        "none": dataset.select([]),
        "in order": dataset.select(ids[30:5:-2], ordered=True),
        "twice": dataset.select([*ids[:5], *ids[3:8]]),
        "with a deleted one": dataset.select([*ids[:5], str(deleted)]),
        "a deleted one": dataset.select([str(deleted)]),
        "of a part": dataset.limit(10).select(ids[5:15]),
        "and a part": dataset.select(ids[5:15]).limit(3),
        "excluded": dataset.exclude(ids[5:15]),
        "matched": dataset.match(F("learnability_vgg16") > 0.5),
        "shuffled": dataset.shuffle(seed=3).limit(11),
    }


def test_a_view_has_exactly_its_samples(dataset: fo.Dataset) -> None:
    # samples that no network has scored
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


def test_the_database_does_not_search_for_selected_ids(
    dataset: fo.Dataset, table_module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(dataset)
    monkeypatch.setattr(table_module, "ids_in_view", lambda view: pytest.fail("the view was evaluated"))
    assert len(load(dataset, dataset.select(dataset.values("id")[:9])).ids) == 9


def test_every_table_has_a_version_of_its_own(dataset: fo.Dataset) -> None:
    view = dataset.limit(9)
    tables = [load(dataset), load(dataset, view)]
    assert load(dataset).version == tables[0].version
    assert load(dataset, view).version == tables[1].version
    score(dataset)
    tables += [load(dataset), load(dataset, view)]
    assert len({table.version for table in tables}) == 4


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Kolkata", "local"])
def test_scores_are_read_in_any_time_zone(dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    plain = load(dataset)
    monkeypatch.setattr(fo.config, "timezone", zone)
    table = load(dataset)
    assert content(table) == content(plain) == stored(dataset)
    relabel(dataset)
    assert content(load(dataset)) == stored(dataset)
