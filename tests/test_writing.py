"""Scores written from tables and trackers, and further scores of a stored run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
import torch
from fiftyone import ViewField as F
from pymongo.errors import OperationFailure

import fiftyone_learnability as fol
from fiftyone_learnability import LearnabilityTracker, WriteError
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.dataset.registry import LearnabilityRun
from tests.plugin.made_up import write_scores

from .dataset.helpers import fail_at_merge, fails_at, scratch_collections, state, values_of
from .dataset.measured import ALL, MEASURED, table_of, write_measured

MakeDataset = Callable[..., fo.Dataset]


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    assert scratch_collections() == []


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> fo.Dataset:
    """Twelve samples, the last without a label."""
    return make_dataset([f"/no/{index}.png" for index in range(12)], [*("ab" * 5), "a", None])


def test_unknown_samples_are_reported_and_the_others_written(dataset: fo.Dataset) -> None:
    table = table_of(dataset.limit(5), learnability=np.linspace(0, 1, 5))
    table.loc[1, "id"] = "unknown"
    report = fol.write_scores(dataset, table, "mine")
    assert report.vanished == ["unknown"]
    assert report.num_written == 4
    assert dataset.values("learnability_mine") == [0.0, None, 0.5, 0.75, 1.0] + [None] * 7
    # ranks count only the samples that were found
    assert dataset.values("learnability_rank_mine") == [4, None, 3, 2, 1] + [None] * 7
    # samples outside the view count as unknown
    report = fol.write_scores(dataset.limit(1), table, "other")
    assert report.vanished == table["id"].tolist()[1:]
    assert dataset.count("learnability_other") == 1


def test_only_score_columns_are_read_and_gaps_stay(dataset: fo.Dataset) -> None:
    learnability = [0.5, None, *np.linspace(0.1, 0.9, 10)]
    hits = [None, 0.2, *np.linspace(0, 1, 10)]
    table = table_of(dataset, learnability=learnability, hits=hits, rank=[7] * 12, disagreement=[1.0] * 12, loss=0.3)
    report = fol.write_scores(dataset, table, "mine")
    assert report.fields == ["learnability_mine", "learnability_rank_mine", "learnability_mine_hits"]
    assert dataset.values("learnability_mine") == learnability
    # a sample without learnability gets no other score either
    assert dataset.values("learnability_mine_hits") == [None, None, *hits[2:]]
    assert fol.find_scores(dataset, "mine") == ["learnability", "rank", "hits"]
    assert "by mine" in dataset.get_field("learnability_mine_hits").description


def test_another_column_as_learnability(dataset: fo.Dataset) -> None:
    aum = np.random.default_rng(5).normal(0, 3, 12)
    mapping = {"id": dataset.values("id"), "aum": aum, "learnability": np.ones(12), "mine": -aum}
    fol.write_scores(dataset, mapping, "theirs", learnability="aum")
    np.testing.assert_array_equal(dataset.values("learnability_theirs"), aum)
    np.testing.assert_array_equal(dataset.values("learnability_theirs_aum"), aum)
    fol.write_scores(dataset, mapping, "by_mine", learnability="mine")
    np.testing.assert_array_equal(dataset.values("learnability_by_mine"), -aum)
    order = np.argsort(aum)
    ids = np.array(dataset.values("id"))
    assert fol.sort_by_learnability(dataset, "theirs").values("id") == ids[order].tolist()


def test_a_mapping_gives_the_same_as_a_table(dataset: fo.Dataset) -> None:
    columns = {"filepath": dataset.values("filepath"), "learnability": list(np.linspace(0, 1, 12)), "hits": [0.5] * 12}
    fol.write_scores(dataset, columns, "mapping")
    fol.write_scores(dataset, pd.DataFrame(columns), "table")
    for name in ("learnability_{}", "learnability_rank_{}", "learnability_{}_hits"):
        assert dataset.values(name.format("mapping")) == dataset.values(name.format("table"))


def test_numbers_can_be_texts(dataset: fo.Dataset) -> None:
    fol.write_scores(dataset, table_of(dataset, learnability=["0.5", " 1e-3"] * 6, forgetting=["inf", "2"] * 6), "mine")
    assert dataset.values("learnability_mine") == [0.5, 0.001] * 6
    assert dataset.values("learnability_mine_forgetting") == [np.inf, 2.0] * 6


def test_overwriting_leaves_nothing_of_the_old_scores(dataset: fo.Dataset) -> None:
    values = np.linspace(0, 1, 12)
    first = fol.write_scores(dataset, table_of(dataset, learnability=values, hits=values), "mine")
    before = state(dataset)
    table = table_of(dataset, learnability=values[::-1])
    with pytest.raises(ValueError, match="already has the field 'learnability_mine'"):
        fol.write_scores(dataset, table, "mine")
    assert state(dataset) == before
    second = fol.write_scores(dataset, table, "mine", overwrite=True)
    assert second.key == first.key == "imported"
    np.testing.assert_array_equal(dataset.values("learnability_mine"), values[::-1])
    assert not dataset.has_field("learnability_mine_hits")
    assert fol.delete_run(dataset, "imported") == ["learnability_mine", "learnability_rank_mine"]


def test_the_field_of_the_labels(dataset: fo.Dataset) -> None:
    dataset.add_sample_field("target", fo.IntField)
    dataset.set_values("target", [3, 4] * 6)
    table = table_of(dataset, learnability=np.linspace(0, 1, 12))
    fol.write_scores(dataset, table, "mine", label_field="target")
    assert fol.hardest_samples(dataset, "mine", 3)["label"].tolist() == [3, 4, 3]
    result = fol.load_results(dataset, "imported")["mine"]
    assert result.classes == ("3", "4")
    assert [result.classes[label] for label in result.labels] == ["3", "4"] * 6
    fol.write_scores(dataset, table, "other")
    result = fol.load_results(dataset, "imported_2")["other"]
    assert result.labels.tolist() == [0, 1] * 5 + [0, -1]


@pytest.mark.parametrize("ground_truth", [None, fo.Detections])
def test_without_a_field_of_labels(make_dataset: MakeDataset, ground_truth: type | None) -> None:
    # the fixture makes no label field if there are no labels
    dataset = make_dataset(["/no/1.png", "/no/2.png"], [None, None])
    if ground_truth is not None:
        # a classifier is not trained with boxes
        dataset.add_sample_field("ground_truth", fo.EmbeddedDocumentField, embedded_doc_type=ground_truth)
    fol.write_scores(dataset, table_of(dataset, learnability=[0.2, 0.1]), "mine")
    assert dataset.get_run_info("imported").config.label_field is None
    assert fol.hardest_samples(dataset, "mine")["label"].tolist() == [None, None]
    assert fol.scores_table(dataset)["label"].tolist() == [None, None]
    with pytest.raises(ValueError, match="have not kept their predictions"):
        fol.suggest_label_fixes(dataset)


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        "",
        "1st",
        7,
        None,
        "rank_one",
        "consensus",
        "disagreement",
        "suggestion",
        "contradiction",
        "verdict",
    ],
)
def test_names_that_are_refused(dataset: fo.Dataset, name: Any) -> None:
    before = state(dataset)
    with pytest.raises(ValueError, match=r"must be an identifier|would clash with fields of this package"):
        fol.write_scores(dataset, table_of(dataset, learnability=np.linspace(0, 1, 12)), name)
    assert state(dataset) == before


L = [0.5] * 12
TABLES: dict[str, tuple[Callable[[list[str]], Any], dict[str, Any], type[Exception], str]] = {
    "no table": (
        lambda ids: [0.5] * 12,
        {},
        TypeError,
        "must be a LearnabilityTracker, a table or a mapping, not list",
    ),
    "no names": (lambda ids: {"learnability": L}, {}, ValueError, "needs a column id or filepath; it has learnability"),
    "no learnability": (lambda ids: {"id": ids, "aum": L}, {}, ValueError, "no column 'learnability'; it has id, aum"),
    "another column": (
        lambda ids: {"id": ids, "learnability": L},
        {"learnability": "loss"},
        ValueError,
        "no column 'loss'",
    ),
    "duplicates": (
        lambda ids: {"id": [*ids[:11], ids[4]], "learnability": L},
        {},
        ValueError,
        "name the sample '{4}' more than once",
    ),
    "not a number": (
        lambda ids: {"id": ids, "learnability": [*L[:11], "easy"]},
        {},
        ValueError,
        "'learnability' holds something that is not a number: 'easy'",
    ),
    "another score is not a number": (
        lambda ids: {"id": ids, "learnability": L, "hits": [*L[:11], "many"]},
        {},
        ValueError,
        "'hits' holds something that is not a number: 'many'",
    ),
    "infinite": (
        lambda ids: {"id": ids, "learnability": [*L[:11], np.inf]},
        {},
        ValueError,
        "'learnability' holds infinite values",
    ),
    "empty column": (lambda ids: {"id": ids, "learnability": [None] * 12}, {}, ValueError, "holds no numbers"),
    "unknown samples": (
        lambda ids: {"id": ["x", "y"], "learnability": [0.1, 0.2]},
        {},
        ValueError,
        "none of the 2 scored samples is in the collection: the scores name them like 'x'",
    ),
    "ambiguous files": (
        lambda ids: {"filepath": ["/a/0.png", "/b/0.png"], "learnability": [0.1, 0.2]},
        {},
        ValueError,
        "'/a/0.png' or '/b/0.png', which may be the sample '/no/0.png': name the samples by id",
    ),
    "lengths": (lambda ids: {"id": ids, "learnability": L[:5]}, {}, ValueError, "length"),
    "key": (lambda ids: {"id": ids, "learnability": L}, {"key": "two words"}, ValueError, "must be an identifier"),
    "label field": (
        lambda ids: {"id": ids, "learnability": L},
        {"label_field": "missing"},
        ValueError,
        "no field 'missing'",
    ),
    "classes": (
        lambda ids: {"id": ids, "learnability": L},
        {"classes": ["a", "c"]},
        ValueError,
        "'ground_truth' has labels that are missing from classes: b",
    ),
}


@pytest.mark.parametrize(("make", "options", "error", "message"), TABLES.values(), ids=TABLES)
def test_wrong_arguments_write_nothing(
    dataset: fo.Dataset, make: Callable[..., Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    ids, before = dataset.values("id"), state(dataset)
    with pytest.raises(error, match=message.format(*ids)):
        fol.write_scores(dataset, make(ids), "mine", **options)
    assert state(dataset) == before


def test_shared_files_do_not_identify_samples(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(["/no/1.png", "/no/1.png"], ["a", "b"])
    with pytest.raises(ValueError, match=r"some samples share a file.*name the samples by id"):
        fol.write_scores(dataset, {"filepath": ["/no/1.png"], "learnability": [0.5]}, "mine")
    fol.write_scores(dataset, table_of(dataset, learnability=[0.5, 0.25]), "mine")
    assert dataset.values("learnability_mine") == [0.5, 0.25]


def test_an_empty_view_is_refused(dataset: fo.Dataset) -> None:
    with pytest.raises(ValueError, match="the collection is empty"):
        fol.write_scores(dataset.limit(0), table_of(dataset, learnability=L), "mine")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_database_that_fails_leaves_the_dataset_as_it_was(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    table = table_of(dataset, learnability=L)
    if overwrite:
        fol.write_scores(dataset, table_of(dataset, learnability=np.linspace(0, 1, 12), aum=L), "mine")
    before = state(dataset)
    with monkeypatch.context() as patch:
        fail_at_merge(patch, OperationFailure("disk full"))
        with pytest.raises(WriteError, match="disk full"):
            fol.write_scores(dataset, table, "mine", overwrite=overwrite)
    assert state(dataset) == before


def tracked(
    count: int,
    ids: list[str] | None = None,
    epochs: int = 3,
    seed: int = 0,
    trained: list[int] | None = None,
    **options: Any,
) -> tuple[LearnabilityTracker, np.ndarray, np.ndarray]:
    """A tracker after some epochs of random logits for three classes; and these logits and labels."""
    rng = np.random.default_rng(seed)
    tracker = LearnabilityTracker(None if ids else count, ids=ids, **options)
    logits, labels = rng.normal(0, 2, (epochs, count, 3)).astype(np.float32), rng.integers(0, 3, count)
    labels = labels if trained is None else np.array(trained)
    for z in logits:
        tracker.update(ids or np.arange(count), torch.tensor(z), labels)
        tracker.end_epoch()
    return tracker, logits, labels


@pytest.mark.parametrize("by", ["id", "filepath", "order"])
def test_the_scores_of_a_tracker(dataset: fo.Dataset, by: str) -> None:
    order = list(range(12)) if by == "order" else np.random.default_rng(1).permutation(12).tolist()
    ids = dataset.values("id")
    names = None if by == "order" else [dataset.values(by)[index] for index in order]
    tracker, *_ = tracked(12, names, el2n_epoch=2)
    report = fol.write_scores(dataset, tracker, "mine")
    assert report.num_written == 12
    scores = tracker.scores()
    assert set(scores) == set(MEASURED)
    for name, values in scores.items():
        expected = {ids[index]: value for index, value in zip(order, values.tolist(), strict=True)}
        assert values_of(dataset, score_field("mine", name)) == expected
    config = dataset.get_run_info(report.key).config
    assert (config.kind, config.epochs, config.runs) == ("imported", 3, 1)
    result = fol.load_results(dataset, report.key)["mine"]
    np.testing.assert_array_equal(result.measured_accuracy[0], tracker.accuracies)
    # predictions are useless without the names of the classes
    assert result.prediction is None
    assert "3 epochs" in dataset.get_field("learnability_mine").description


def test_a_tracker_without_ids_follows_the_order_of_the_collection(dataset: fo.Dataset) -> None:
    view = dataset.sort_by("filepath", reverse=True).limit(5)
    tracker, *_ = tracked(5)
    fol.write_scores(view, tracker, "mine")
    assert view.values("learnability_mine") == tracker.scores()["learnability"].tolist()
    assert dataset.count("learnability_mine") == 5


def test_samples_that_a_tracker_did_not_see_keep_none(dataset: fo.Dataset) -> None:
    tracker = LearnabilityTracker(12)
    tracker.update([0, 1, 2], np.eye(3), [0, 1, 1])
    tracker.end_epoch()
    report = fol.write_scores(dataset, tracker, "mine")
    assert report.num_written == 3
    assert dataset.values("learnability_mine") == [*tracker.scores()["learnability"][:3], *[None] * 9]
    # the epoch of EL2N was not reached, so no sample has the score
    assert not dataset.has_field("learnability_mine_el2n")
    assert dataset.values("learnability_mine_forgetting")[2] == np.inf


def test_trackers_that_do_not_match(dataset: fo.Dataset) -> None:
    before = state(dataset)
    tracker, *_ = tracked(11)
    with pytest.raises(ValueError, match=r"the tracker has 11 samples, the collection 12.*LearnabilityTracker\(ids="):
        fol.write_scores(dataset, tracker, "mine")
    with pytest.raises(ValueError, match=r"no epoch yet: call end_epoch\(\)"):
        fol.write_scores(dataset, LearnabilityTracker(12), "mine")
    tracker, *_ = tracked(12, [f"x{index}" for index in range(12)])
    with pytest.raises(ValueError, match="none of the 12 scored samples is in the collection"):
        fol.write_scores(dataset, tracker, "mine")
    tracker, *_ = tracked(12)
    with pytest.raises(ValueError, match="classes must name the 3 outputs of the model, not 2"):
        fol.write_scores(dataset, tracker, "mine", classes=["a", "b"])
    with pytest.raises(ValueError, match="has labels that are missing from classes: b"):
        fol.write_scores(dataset, tracker, "mine", classes=["a", "x", "y"])
    assert state(dataset) == before


def test_scores_by_sample_are_told_how_to_become_columns(dataset: fo.Dataset) -> None:
    scores = dict.fromkeys(dataset.values("id"), 0.5)
    with pytest.raises(ValueError, match=r"must hold columns.*{'id': list\(scores\), 'learnability': list\(scores\.v"):
        fol.write_scores(dataset, scores, "mine")
    assert fol.write_scores(dataset, {"id": list(scores), "learnability": list(scores.values())}, "mine")


def test_updates_after_the_last_epoch_are_not_lost_silently(dataset: fo.Dataset) -> None:
    tracker, *_ = tracked(12)
    before = state(dataset)
    tracker.update([3, 4], np.zeros((2, 3)), [0, 1])
    with pytest.raises(ValueError, match=r"2 rows of an epoch that has not ended.*end_epoch\(\).* drop_epoch\(\)"):
        fol.write_scores(dataset, tracker, "mine")
    assert state(dataset) == before
    tracker.drop_epoch()
    assert fol.write_scores(dataset, tracker, "mine").num_written == 12


def test_the_predictions_of_a_tracker_suggest_labels(dataset: fo.Dataset) -> None:
    classes = ["b", "c", "a"]
    ids = dataset.values("id")[::-1]
    labels = [classes.index(label or "c") for label in dataset.values("ground_truth.label")[::-1]]
    tracker, *_ = tracked(12, ids, trained=labels)
    fol.write_scores(dataset, tracker, "mine", classes=classes)
    mean = dict(zip(ids, tracker.mean_prediction, strict=True))
    predictions = fol.pred_probs(dataset, "mine")
    assert predictions.classes == tuple(classes)
    np.testing.assert_allclose(predictions.pred_probs, [mean[id] for id in predictions.ids], atol=1e-3)
    table = fol.suggest_label_fixes(dataset, models=["mine"])
    # corrected for how often the model predicts each class
    label_of = {id: label for id, label in values_of(dataset, "ground_truth.label").items() if label is not None}
    corrected = np.array([mean[id] for id in label_of]) / tracker.mean_prediction.mean(axis=0)
    best = dict(zip(label_of, corrected.argmax(axis=1), strict=True))
    expected = {id: classes[best[id]] for id, label in label_of.items() if classes[best[id]] != label}
    assert len(expected) > 3
    assert dict(zip(table["id"], table["suggested_label"], strict=True)) == expected


def test_a_tracker_without_predictions(dataset: fo.Dataset) -> None:
    tracker, *_ = tracked(12, predictions=False)
    fol.write_scores(dataset, tracker, "mine")
    assert not dataset.has_field("learnability_mine_ambiguity")
    with pytest.raises(ValueError, match="'mine' has not kept its predictions"):
        fol.pred_probs(dataset, "mine")
    with pytest.raises(ValueError, match="'two' has no scores"):
        fol.pred_probs(dataset, "two")


def test_further_scores_are_those_of_the_run(dataset: fo.Dataset) -> None:
    results = {"one": write_measured(dataset, "one"), "two": write_measured(dataset.limit(8), "two", runs=2)}
    before = state(dataset)
    added = fol.add_scores(dataset)
    assert added == [name for name in ALL if not name.endswith(("_one", "_two"))]
    for model, result in results.items():
        for name in result.scores:
            expected = dict(zip(result.ids.tolist(), result.score(name).tolist(), strict=True))
            values = values_of(dataset, score_field(model, name))
            assert {id: value for id, value in values.items() if value is not None} == expected
            field = dataset.get_field(score_field(model, name))
            assert field.info["learnability"]["run"] == f"run_{model}"
            assert field.info["learnability"]["score"] == name
        assert dataset.get_run_info(f"run_{model}").config.scores == list(result.scores)
    assert state(dataset)["stored_results"] == before["stored_results"]
    # a second call changes nothing
    before = state(dataset)
    assert fol.add_scores(dataset) == []
    assert state(dataset) == before
    assert fol.delete_run(dataset, "run_two") == sorted(name for name in ALL if "_two" in name)
    assert fol.delete_run(dataset, "run_one") == sorted(name for name in ALL if "_one" in name)


def test_further_scores_can_be_chosen(dataset: fo.Dataset) -> None:
    write_measured(dataset, "one")
    write_measured(dataset, "two", runs=2)
    assert fol.add_scores(dataset.limit(3), ["aum", "hits"], ["two"]) == [
        "learnability_two_hits",
        "learnability_two_aum",
    ]
    # the scores are written for the whole run, not only for the view
    assert dataset.count("learnability_two_aum") == 12
    assert fol.add_scores(dataset, "hits") == ["learnability_one_hits"]
    assert fol.add_scores(dataset, "spread", ["two", "two"]) == ["learnability_two_spread"]
    assert dataset.get_run_info("run_one").config.scores == ["learnability", "rank", "hits"]
    assert dataset.get_run_info("run_two").config.scores == ["learnability", "rank", "hits", "aum", "spread"]


def test_further_scores_of_a_renamed_run(dataset: fo.Dataset) -> None:
    write_measured(dataset, "one")
    fol.rename_run(dataset, "run_one", "renamed")
    fol.add_scores(dataset, "aum")
    assert fol.delete_run(dataset, "renamed") == sorted(
        ["learnability_one", "learnability_one_aum", "learnability_rank_one"]
    )


def test_runs_of_earlier_versions_do_not_list_their_scores(dataset: fo.Dataset) -> None:
    write_measured(dataset, "one")
    config = dataset.get_run_info("run_one").config
    del config.scores
    LearnabilityRun.update_run_config(dataset, "run_one", config)
    dataset.clear_cache()
    assert fol.add_scores(dataset, "aum") == ["learnability_one_aum"]
    assert dataset.get_run_info("run_one").config.scores == ["learnability", "rank", "aum"]


def test_scores_that_cannot_be_added_add_nothing(dataset: fo.Dataset) -> None:
    write_measured(dataset, "one")
    # the made-up scores do not include hits
    write_scores(dataset, {"poor": np.linspace(0, 1, 12)}, "run_poor")
    write_scores(dataset, {"gone": np.linspace(0, 1, 12)}, "run_gone")
    LearnabilityRun.delete_run(dataset, "run_gone", cleanup=False)
    dataset.add_sample_field("learnability_one_aum", fo.FloatField)
    before = state(dataset)
    for options, message in (
        ({"models": ["one", "poor"], "scores": "hits"}, "the run 'run_poor' of 'poor' did not measure hits"),
        ({"models": ["one", "gone"], "scores": "hits"}, "has scores of 'gone' but not their run"),
        ({"models": ["one"], "scores": ["hits", "aum"]}, "'learnability_one_aum' exists but is not a score of 'one'"),
        ({"models": ["one"], "scores": "spread"}, "compares several runs"),
        ({"models": ["one"], "scores": "luck"}, "unknown score 'luck'"),
        ({"models": ["other"]}, "'other' has no scores"),
    ):
        with pytest.raises(ValueError, match=message):
            fol.add_scores(dataset, **options)
        assert state(dataset) == before


@pytest.mark.parametrize("where", ["adding the third field", "the settings of the second run"])
def test_a_failure_while_adding_leaves_the_dataset_as_it_was(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    write_measured(dataset, "one")
    write_measured(dataset, "two")
    before, error = state(dataset), OperationFailure("disk full")
    target, name, call = {
        "adding the third field": (fo.Dataset, "add_sample_field", 3),
        "the settings of the second run": (LearnabilityRun, "update_run_config", 2),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, fails_at(getattr(target, name), call, error))
        with pytest.raises(WriteError, match="disk full"):
            fol.add_scores(dataset, ["hits", "aum"])
    assert state(dataset) == before
    assert len(fol.add_scores(dataset, ["hits", "aum"])) == 4


def tracker_in_order(dataset: fo.Dataset, order: str, predictions: bool = True) -> LearnabilityTracker:
    """A tracker of a perfect model whose outputs stand for classes in this order."""
    view = dataset.exists("ground_truth")
    labels = [order.index(label) for label in view.values("ground_truth.label")]
    tracker = LearnabilityTracker(ids=view.values("id"), predictions=predictions)
    tracker.update(view.values("id"), torch.nn.functional.one_hot(torch.tensor(labels), len(order)) * 8.0, labels)
    tracker.end_epoch()
    return tracker


@pytest.mark.parametrize("predictions", [True, False])
def test_classes_in_another_order_are_refused(make_dataset: MakeDataset, predictions: bool) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(9)], [*"abcabcabc"])
    tracker = tracker_in_order(dataset, "cab", predictions)
    before = state(dataset)
    with pytest.raises(ValueError, match=r"calls output 0 'a', but 3 of the 3 .* labelled 'c'.* the order is c, a, b"):
        fol.write_scores(dataset, tracker, "mine", classes=["a", "b", "c"])
    assert state(dataset) == before
    # a label that was changed since does not matter
    dataset.limit(1).set_values("ground_truth.label", ["b"])
    fol.write_scores(dataset, tracker, "mine", classes=["c", "a", "b"])
    for sample in dataset.match(F("ground_truth.label") == "b"):
        sample.ground_truth = None
        sample.save()
    with pytest.raises(ValueError, match=r"classes must name the 3 outputs|classes names 2 .* labels go up to 2"):
        fol.write_scores(dataset, tracker, "two", classes=["c", "a"])


def test_outputs_without_samples_are_allowed(dataset: fo.Dataset) -> None:
    fol.write_scores(dataset, tracker_in_order(dataset, "zab"), "mine", classes=["z", "a", "b"])
    assert len(fol.suggest_label_fixes(dataset)) == 0
