"""Export and import of scores, foreign files, and predictions for other tools."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
from cleanlab.filter import find_label_issues

import fiftyone_learnability as fol
from fiftyone_learnability import LearnabilityTracker
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.exchange import models_in
from fiftyone_learnability.experiment.score_files import is_exported
from tests.plugin.made_up import add_samples, write_scores

from .dataset.helpers import scratch_collections, state, values_of
from .dataset.measured import ALL, MEASURED, measured, write_measured

MakeDataset = Callable[..., fo.Dataset]
COUNT = 30
L = [0.5] * 12
LABELS = ["a"] * 16 + ["b"] * 9 + [None] * 5


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    assert scratch_collections() == []


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    rng = np.random.default_rng(11)
    return {"one": rng.random(COUNT).round(1), "two": rng.random(COUNT)}


@pytest.fixture(scope="module")
def made(scores: dict[str, Any]) -> Iterator[fo.Dataset]:
    """30 samples: scores of "one" with many ties, of "two" for the first 20 only. Tests must not change it."""
    dataset = fo.Dataset()
    add_samples(dataset, LABELS)
    write_scores(dataset, {"one": scores["one"]}, "first")
    write_scores(dataset.limit(20), {"two": scores["two"][:20]}, "second")
    yield dataset
    dataset.delete()


def plain(column: pd.Series) -> list[Any]:
    """The values of a column, None for missing ones."""
    return column.astype(object).where(column.notna(), None).tolist()


def assert_close(read: list[Any], expected: list[Any]) -> None:
    """Equal up to the last bit of numbers, which pandas before version 3 loses in csv files."""
    for value, wanted in zip(read, expected, strict=True):
        assert value == (pytest.approx(wanted, rel=1e-15) if isinstance(wanted, float) else wanted)


def test_the_table(made: fo.Dataset, scores: dict[str, Any]) -> None:
    table = fol.scores_table(made)
    assert table.columns.tolist() == [
        "id",
        "filepath",
        "label",
        "learnability_one",
        "learnability_rank_one",
        "learnability_two",
        "learnability_rank_two",
    ]
    assert table["id"].tolist() == made.values("id")
    assert table["label"].tolist() == LABELS
    np.testing.assert_array_equal(table["learnability_one"], scores["one"])
    assert table["learnability_two"].isna().tolist() == [False] * 20 + [True] * 10
    assert table["learnability_rank_two"].isna().tolist() == [False] * 20 + [True] * 10
    assert table["learnability_rank_two"].dtype == "Int64"
    ranks = [int((scores["one"] >= value).sum()) for value in scores["one"]]
    assert table["learnability_rank_one"].tolist() == ranks
    part = fol.scores_table(made.limit(3), ["two"])
    assert part.columns.tolist() == ["id", "filepath", "label", "learnability_two", "learnability_rank_two"]
    assert len(part) == 3


def test_the_table_without_labels(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)
    write_scores(dataset, {"one": np.linspace(0, 1, 10)})
    dataset.delete_sample_field("ground_truth")
    assert fol.scores_table(dataset)["label"].tolist() == [None] * 10


def test_export_to_csv(made: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "new" / "scores.csv"
    assert fol.export_scores(made, path) == COUNT
    ranks = {"learnability_rank_one": "Int64", "learnability_rank_two": "Int64"}
    read, written = pd.read_csv(path, dtype=ranks), fol.scores_table(made)
    assert read.columns.tolist() == written.columns.tolist()
    for name in written.columns:
        assert_close(plain(read[name]), plain(written[name]))


def test_export_to_npz(made: fo.Dataset, scores: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "scores.npz"
    assert fol.export_scores(made, str(path), ["two"]) == COUNT
    with np.load(path, allow_pickle=False) as read:
        assert sorted(read.files) == ["filepath", "id", "label", "learnability_rank_two", "learnability_two"]
        assert read["id"].tolist() == made.values("id")
        assert read["label"].tolist() == [label or "" for label in LABELS]
        np.testing.assert_array_equal(read["learnability_two"][:20], scores["two"][:20])
        assert np.isnan(read["learnability_two"][20:]).all()
        assert np.isnan(read["learnability_rank_two"][20:]).all()


def test_export_to_parquet(made: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    assert fol.export_scores(made, path) == COUNT
    read, written = pd.read_parquet(path), fol.scores_table(made)
    assert read.columns.tolist() == written.columns.tolist()
    for name in written.columns:
        assert plain(read[name]) == plain(written[name]), name


@pytest.mark.parametrize("labels", ["numbers", "booleans"])
def test_export_of_labels_that_are_not_texts(make_dataset: MakeDataset, tmp_path: Path, labels: str) -> None:
    values: list[Any] = [3, 7, None] if labels == "numbers" else [True, False, None]
    dataset = make_dataset([f"/no/{index}.png" for index in range(3)], [None] * 3)
    dataset.add_sample_field("ground_truth_", fo.IntField if labels == "numbers" else fo.BooleanField)
    dataset.set_values("ground_truth_", values)
    write_scores(dataset, {"one": np.array([0.1, 0.2, 0.3])}, label_field="ground_truth_")
    fol.export_scores(dataset, tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as read:
        assert read["label"].tolist() == [str(values[0]), str(values[1]), ""]
    fol.export_scores(dataset, tmp_path / "scores.csv")
    assert pd.read_csv(tmp_path / "scores.csv", dtype=str)["label"].tolist()[:2] == [str(values[0]), str(values[1])]
    fol.export_scores(dataset, tmp_path / "scores.parquet")
    assert pd.read_parquet(tmp_path / "scores.parquet")["label"].tolist()[:2] == [str(values[0]), str(values[1])]


def test_export_refuses(made: fo.Dataset, make_dataset: MakeDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scores\.txt.*\.csv, \.npz or \.parquet"):
        fol.export_scores(made, tmp_path / "scores.txt")
    with pytest.raises(ValueError, match="'three' has no scores"):
        fol.export_scores(made, tmp_path / "scores.csv", ["three"])
    empty = make_dataset(["/no/a.png"], ["a"])
    with pytest.raises(ValueError, match="there are no scores yet"):
        fol.export_scores(empty, tmp_path / "scores.csv")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def dataset(make_dataset: MakeDataset) -> fo.Dataset:
    """Twelve samples, the last without a label."""
    return make_dataset([f"/no/{index}.png" for index in range(12)], [*("ab" * 5), "a", None])


@pytest.fixture
def rich(dataset: fo.Dataset) -> fo.Dataset:
    """The same with all scores of two networks; the second has two runs and lacks four samples."""
    write_measured(dataset, "one", every=True)
    write_measured(dataset.limit(8), "two", runs=2, every=True)
    return dataset


def scores_of(dataset: fo.Dataset, by: str = "id") -> dict[str, dict[str, Any]]:
    """The values of each field of this package by sample."""
    names = [name for name in dataset.get_field_schema() if name.startswith("learnability")]
    keys = dataset.values(by)
    return {name: dict(zip(keys, dataset.values(name), strict=True)) for name in names}


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_an_export_can_be_imported(rich: fo.Dataset, tmp_path: Path, ending: str) -> None:
    fol.write_consensus(rich, models=["one", "two"])
    path = tmp_path / f"scores.{ending}"
    assert fol.export_scores(rich, path) == 12
    clone = rich.clone()
    try:
        clone.delete_runs()
        assert scores_of(clone) == {}
        reports = fol.import_scores(clone, path)
        assert [report.key for report in reports] == ["imported", "imported_2"]
        assert [report.num_written for report in reports] == [12, 8]
        assert [report.vanished for report in reports] == [[], []]
        expected = {name: values for name, values in scores_of(rich).items() if name in ALL}
        # missing and infinite values survive
        imported = scores_of(clone)
        assert set(imported) == set(expected)
        for name, values in expected.items():
            assert list(imported[name]) == list(values)
            if ending == "csv":
                assert_close(list(imported[name].values()), list(values.values()))
            else:
                assert imported[name] == values
        assert np.inf in expected["learnability_one_forgetting"].values()
        assert None in expected["learnability_two_forgetting"].values()
        for name in ALL:
            assert type(clone.get_field(name)) is type(rich.get_field(name))
        assert fol.find_models(clone, derived=True) == ["one", "two"]
    finally:
        clone.delete()


def test_one_model_of_a_file(rich: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    fol.export_scores(rich, path)
    before = scores_of(rich)
    fol.delete_run(rich, "run_two")
    (report,) = fol.import_scores(rich, path, models="two", key="mine")
    assert report.key == "mine"
    assert scores_of(rich) == before
    with pytest.raises(ValueError, match=r"scores\.csv has no model 'three'; it has: one, two"):
        fol.import_scores(rich, path, models=["three"])


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_models_of_a_file_are_saved_under_other_names(rich: fo.Dataset, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores.{ending}"
    fol.export_scores(rich, path)
    before = scores_of(rich)
    assert models_in(path) == ["one", "two"]
    (report,) = fol.import_scores(rich, path, "mine", models="two")
    assert report.num_written == 8
    fol.import_scores(rich, path, ["first", "second"])
    after = scores_of(rich)
    for field, values in before.items():
        assert after[field] == values, "what was there stays"
        for model, names in (("one", ["first"]), ("two", ["mine", "second"])):
            for name in names if field.startswith(f"learnability_{model}") else []:
                assert after[field.replace(f"_{model}", f"_{name}", 1)] == pytest.approx(values)
    wrong: list[Any] = ["mine", ["a"], ["a", "a"], ["a", "b", "c"]]
    for names in wrong:
        with pytest.raises(ValueError, match=r"name must be one name for each of the models of scores\..*one, two"):
            fol.import_scores(rich, path, names)
    assert scores_of(rich) == after


def test_the_results_of_one_network_are_saved_under_another_name(rich: fo.Dataset, tmp_path: Path) -> None:
    results = rich.load_run_results("run_one").models["one"]
    results.to_npz(tmp_path / "one.npz")
    assert models_in(tmp_path / "one.npz") == ["one"]
    fol.import_scores(rich, tmp_path / "one.npz", "again")
    assert rich.values("learnability_again") == rich.values("learnability_one")
    with pytest.raises(ValueError, match=r"one\.npz has no model 'two'; it has: one"):
        fol.import_scores(rich, tmp_path / "one.npz", models="two")


def test_the_models_of_files_that_name_none(dataset: fo.Dataset, tmp_path: Path) -> None:
    table = pd.DataFrame({"id": dataset.values("id"), "learnability": 0.5})
    table.to_csv(tmp_path / "theirs.csv", index=False)
    assert models_in(tmp_path / "theirs.csv") == []
    with pytest.raises(ValueError, match=r"theirs\.csv has no model 'one'; it has: none"):
        fol.import_scores(dataset, tmp_path / "theirs.csv", "mine", models="one")
    (tmp_path / "broken.npz").write_bytes(b"not an archive")
    for name in ("broken.npz", "none.csv"):
        with pytest.raises(ValueError, match=name):
            models_in(tmp_path / name)


def test_a_file_of_several_models_is_imported_whole_or_not_at_all(rich: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    fol.export_scores(rich, path)
    fol.delete_run(rich, "run_one")
    before = state(rich)
    # the fields of the second model still exist
    with pytest.raises(ValueError, match="already has the field 'learnability_two'"):
        fol.import_scores(rich, path)
    with pytest.raises(ValueError, match=r"the key 'mine' is for one run, and scores\.csv has one, two"):
        fol.import_scores(rich, path, key="mine", overwrite=True)
    assert state(rich) == before
    reports = fol.import_scores(rich, path, overwrite=True)
    assert [report.key for report in reports] == ["imported", "run_two"]
    assert fol.list_runs(rich) == ["imported", "run_two"]


@pytest.mark.parametrize("how", ["the same files", "files that have moved"])
def test_import_into_another_dataset_of_the_same_images(
    rich: fo.Dataset, make_dataset: MakeDataset, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "scores.npz"
    fol.export_scores(rich, path)
    folder = "/no" if how == "the same files" else "/elsewhere/deep"
    # in another order, without the first two
    files = [f"{folder}/{index}.png" for index in range(11, 1, -1)]
    other = make_dataset(files, ["a", "b"] * 5)
    reports = fol.import_scores(other, path)
    assert [report.vanished for report in reports] == [["/no/0.png", "/no/1.png"]] * 2
    assert [report.num_written for report in reports] == [10, 6]
    expected = scores_of(rich, "filepath")
    for name, values in scores_of(other, "filepath").items():
        if not name.startswith("learnability_rank_"):
            assert {Path(file).name: value for file, value in values.items()} == {
                Path(file).name: value for file, value in expected[name].items() if file[4:] not in ("0.png", "1.png")
            }


@pytest.mark.parametrize("by", ["id", "filepath", "file name"])
def test_samples_are_found_by_id_by_file_and_by_file_name(dataset: fo.Dataset, tmp_path: Path, by: str) -> None:
    values = np.random.default_rng(3).random(12)
    names = dataset.values("id" if by == "id" else "filepath")
    if by == "file name":
        names = [f"/data{name}" for name in names]
    table = pd.DataFrame({"id" if by == "id" else "filepath": names, "learnability": values}).sample(12, random_state=1)
    path = tmp_path / "theirs.csv"
    table.to_csv(path, index=False)
    (report,) = fol.import_scores(dataset, path, "theirs")
    assert report.num_written == 12
    np.testing.assert_allclose(dataset.values("learnability_theirs"), values, rtol=1e-15)
    ranks = [int((values >= value).sum()) for value in values]
    assert dataset.values("learnability_rank_theirs") == ranks
    config = dataset.get_run_info(report.key).config
    assert (config.kind, config.label_field, config.epochs) == ("imported", "ground_truth", 0)
    assert fol.hardest_samples(dataset, "theirs", 3)["label"].notna().any()


def save(path: Path, arrays: dict[str, Any]) -> None:
    if path.suffix == ".csv":
        pd.DataFrame(arrays).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pd.DataFrame(arrays).to_parquet(path, index=False)
    else:
        np.savez(path, **{name: np.array(values) for name, values in arrays.items()})


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_files_that_cannot_be_imported(dataset: fo.Dataset, tmp_path: Path, ending: str) -> None:
    path, ids, before = tmp_path / f"scores.{ending}", dataset.values("id"), state(dataset)
    with pytest.raises(ValueError, match=f"there is no file .*scores.{ending}"):
        fol.import_scores(dataset, path, "mine")
    path.write_bytes(b"\x00\xff not a table")
    with pytest.raises(ValueError, match=rf"cannot be read as a {ending} file|does not identify its samples"):
        fol.import_scores(dataset, path, "mine")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"cannot be read as a {ending} file"):
        fol.import_scores(dataset, path, "mine")
    save(path, {"learnability": L, "aum": L})
    with pytest.raises(ValueError, match=r"does not identify its samples: it needs a column id or filepath; it has"):
        fol.import_scores(dataset, path, "mine")
    save(path, {"id": ids, "aum": L})
    with pytest.raises(ValueError, match=f"scores.{ending} does not name its model: give name="):
        fol.import_scores(dataset, path)
    with pytest.raises(ValueError, match="no column 'learnability'; it has id, aum"):
        fol.import_scores(dataset, path, "mine")
    save(path, {"id": [ids[0]] * 12, "learnability": L})
    with pytest.raises(ValueError, match=f"'{ids[0]}' more than once"):
        fol.import_scores(dataset, path, "mine")
    assert state(dataset) == before
    save(path, {"id": ids, "aum": L})
    (report,) = fol.import_scores(dataset, path, "mine", learnability="aum")
    assert dataset.values("learnability_mine") == L
    assert report.fields == ["learnability_mine", "learnability_rank_mine", "learnability_mine_aum"]


def test_other_endings_are_refused(dataset: fo.Dataset, tmp_path: Path) -> None:
    for name in ("scores.pkl", "scores", "scores.csv.gz"):
        with pytest.raises(ValueError, match=rf"'{name}' must end in \.csv, \.npz or \.parquet"):
            fol.import_scores(dataset, tmp_path / name, "mine")


class Trap:
    """Remembers that it was unpickled."""

    opened = False

    def __reduce__(self) -> tuple[Callable[..., None], tuple[()]]:
        return _spring, ()


def _spring() -> None:
    Trap.opened = True


def test_pickled_arrays_are_never_opened(dataset: fo.Dataset, tmp_path: Path) -> None:
    path, before = tmp_path / "scores.npz", state(dataset)
    np.savez(path, id=np.array(dataset.values("id")), learnability=np.array(L), more=np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match=r"cannot be read as a npz file"):
        fol.import_scores(dataset, path, "mine")
    assert not Trap.opened
    with np.load(path, allow_pickle=True) as archive:
        archive["more"]
    assert Trap.opened, "the trap does not work"
    assert state(dataset) == before


@pytest.mark.parametrize("runs", [1, 2])
def test_import_of_the_results_of_a_training(dataset: fo.Dataset, tmp_path: Path, runs: int) -> None:
    result = measured(dataset, "one", runs, prediction=True)
    path = tmp_path / "one.npz"
    result.to_npz(path)
    (report,) = fol.import_scores(dataset, path, "theirs")
    assert report.num_written == 12
    spread = ["spread"] if runs > 1 else []
    assert report.fields == [score_field("theirs", name) for name in ("learnability", "rank", *MEASURED[1:], *spread)]
    for name in [*MEASURED, *spread]:
        expected = dict(zip(result.ids.tolist(), result.score(name).tolist(), strict=True))
        assert values_of(dataset, score_field("theirs", name)) == expected
    assert np.inf in dataset.values("learnability_theirs_forgetting")
    # labels, predictions and single runs are imported too
    np.testing.assert_array_equal(fol.pred_probs(dataset, "theirs").labels, result.labels)
    assert fol.load_results(dataset, report.key)["theirs"].run_learnability.shape == (runs, 12)
    chosen = fol.write_scores(dataset, result, "some", scores=["aum"])
    assert chosen.fields == ["learnability_some", "learnability_rank_some", "learnability_some_aum"]


def test_predictions_are_probabilities_in_the_order_of_the_collection(dataset: fo.Dataset) -> None:
    result = write_measured(dataset.limit(8), "one", prediction=True)
    half = result.prediction.astype(np.float64).sum(axis=1)
    assert (half != 1).any(), "half precision must leave rounding errors"
    view = dataset.sort_by("filepath", reverse=True)
    predictions = fol.pred_probs(view, "one")
    seen = set(dataset.limit(8).values("id"))
    assert predictions.ids.tolist() == [id for id in view.values("id") if id in seen]
    np.testing.assert_allclose(predictions.pred_probs.sum(axis=1), 1, rtol=1e-15)
    row_of = {id: index for index, id in enumerate(result.ids.tolist())}
    rows = [row_of[id] for id in predictions.ids]
    np.testing.assert_allclose(predictions.pred_probs, result.prediction[rows], atol=1e-3)
    np.testing.assert_array_equal(predictions.labels, result.labels[rows])
    assert predictions.classes == ("a", "b")
    assert fol.pred_probs(dataset.limit(3), "one").ids.tolist() == dataset.values("id")[:3]


def test_cleanlab_finds_a_planted_error_in_them(make_dataset: MakeDataset) -> None:
    labels = ["a", "b", "c"] * 20
    dataset = make_dataset([f"/no/{index}.png" for index in range(60)], labels)
    ids = dataset.values("id")
    tracker = LearnabilityTracker(ids=ids, el2n_epoch=1)
    rng = np.random.default_rng(8)
    given = np.array(["abc".index(label) for label in labels])
    wrong = [4, 23, 42]
    taken_for = given.copy()
    taken_for[wrong] = (given[wrong] + 1) % 3
    for _ in range(4):
        tracker.update(ids, 3 * np.eye(3)[taken_for] + rng.normal(0, 0.5, (60, 3)), given)
        tracker.end_epoch()
    fol.write_scores(dataset, tracker, "mine", classes=["a", "b", "c"])
    predictions = fol.pred_probs(dataset, "mine")
    issues = find_label_issues(predictions.labels, predictions.pred_probs, n_jobs=1)
    assert sorted(predictions.ids[issues]) == sorted(ids[index] for index in wrong)
    # this package finds the same ones
    assert sorted(fol.suggest_label_fixes(dataset)["id"]) == sorted(ids[index] for index in wrong)


def test_a_dataset_that_was_moved(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """File names repeat from class to class, as in CIFAR's tree."""
    paths, labels = [f"{label}/{number}.png" for label in "ab" for number in range(5)], list("aaaaabbbbb")
    made = make_dataset([f"/old/{path}" for path in paths], labels)
    write_scores(made, {"one": np.linspace(0, 1, 10)})
    fol.export_scores(made, tmp_path / "scores.csv")
    # in another order, and with an image that has no scores
    moved = make_dataset([f"/new/{path}" for path in ["c/0.png", *paths[::-1]]], ["c", *labels[::-1]])
    (report,) = fol.import_scores(moved, tmp_path / "scores.csv")
    assert report.vanished == []
    assert moved.values("learnability_one") == [None, *made.values("learnability_one")[::-1]]
    tracker = LearnabilityTracker(ids=paths)
    tracker.update(paths, np.zeros((10, 2)), [0] * 10)
    tracker.end_epoch()
    assert fol.write_scores(moved, tracker, "mine").num_written == 10
    assert moved.first().learnability_mine is None


def test_an_export_of_samples_that_share_a_file(make_dataset: MakeDataset, tmp_path: Path) -> None:
    made, other = (make_dataset(["/no/a.png", "/no/a.png", "/no/b.png"], list("aab")) for _ in range(2))
    write_scores(made, {"one": np.linspace(0, 1, 3)})
    fol.export_scores(made, tmp_path / "scores.csv")
    with pytest.raises(ValueError, match=r"the scores name the file '/no/a\.png' more than once, and only ids tell"):
        fol.import_scores(other, tmp_path / "scores.csv")


@pytest.mark.parametrize("ending", [".CSV", ".Npz", ".PARQUET"])
def test_endings_in_capital_letters(rich: fo.Dataset, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"SCORES{ending}"
    fol.export_scores(rich, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert is_exported(path)
    assert fol.import_scores(rich, path, overwrite=True)


@pytest.mark.parametrize("call", [fol.export_scores, fol.import_scores])
def test_without_pyarrow_parquet_is_refused_at_once(
    dataset: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Any]
) -> None:
    # None makes the import fail
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"'s\.parquet': parquet files need the package pyarrow: pip install pyarrow"):
        call(dataset, tmp_path / "s.parquet")


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_an_export_replaces_exported_scores_only(rich: fo.Dataset, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores.{ending}"
    for _ in range(2):
        assert fol.export_scores(rich, path) == 12
    path.write_bytes(b"id,notes\n1,irreplaceable\n")
    with pytest.raises(ValueError, match=rf"scores\.{ending} exists and holds no exported scores: .*overwrite=True"):
        fol.export_scores(rich, path)
    assert path.read_bytes() == b"id,notes\n1,irreplaceable\n"
    assert fol.export_scores(rich, path, overwrite=True) == 12
    assert is_exported(path)


@pytest.fixture(scope="module")
def decided() -> Iterator[fo.Dataset]:
    """Ten samples; of the last four, whose labels are contradicted, one is accepted, one kept and one skipped."""
    dataset = fo.Dataset()
    ids = add_samples(dataset, ["a"] * 5 + ["b"] * 5)
    right = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5, np.float32)
    predicted = np.concatenate([right[:6], right[3:5], right[:2]])
    write_scores(dataset, {"one": np.linspace(0, 1, 10)}, predictions={"one": predicted})
    fol.suggest_label_fixes(dataset)
    for id, decision in zip(ids[6:], ("accepted", "kept", "skipped"), strict=False):
        assert fol.decide_labels(dataset.select(id), decision) == 1
    yield dataset
    dataset.delete()


DECIDED = {
    "suggested_label": [None] * 6 + ["a"] * 4,
    "verdict": ["learned"] * 6 + ["mislabelled"] * 4,
    "decision": [None] * 6 + ["accepted", "kept", "skipped", None],
}


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_suggestions_are_exported_with_their_decisions(decided: fo.Dataset, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores.{ending}"
    fol.export_scores(decided, path)
    if ending == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            read = pd.DataFrame({name: arrays[name] for name in arrays.files}).replace("", None)
    else:
        read = pd.read_csv(path) if ending == "csv" else pd.read_parquet(path)
    assert {name: plain(read[name]) for name in DECIDED} == DECIDED
    assert_close(plain(read["contradiction"]), decided.values("learnability_contradiction"))
    # the columns are no scores, and an import leaves them out
    assert models_in(path) == ["one"]
    other = decided.clone()
    fol.import_scores(other, path, name="again")
    assert set(other.get_field_schema()) - set(decided.get_field_schema()) == {
        "learnability_again",
        "learnability_rank_again",
    }
    other.delete()


def test_labels_applied_in_bulk_count_as_accepted(decided: fo.Dataset) -> None:
    copy = decided.clone()
    fol.apply_label_fixes(copy)
    assert fol.scores_table(copy)["decision"].tolist() == [None] * 6 + ["accepted"] * 4
    copy.delete_sample_field("ground_truth")
    assert fol.scores_table(copy)["decision"].tolist() == [None] * 10
    copy.delete()
