from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fiftyone_learnability.experiment.results import ModelResults, RunRecord

ARRAYS = [
    *["ids", "filepaths", "labels", "run_learnability"],
    *["train_loss", "train_accuracy", "measured_accuracy", "epoch_seconds"],
]


def record(rng: np.random.Generator, seed: int, samples: int = 6, epochs: int = 4) -> RunRecord:
    curves = ("train_loss", "train_accuracy", "measured_accuracy", "epoch_seconds")
    return RunRecord(
        model="resnet20",
        seed=seed,
        scores={
            "learnability": rng.random(samples),
            "hits": rng.integers(0, epochs + 1, samples) / epochs,
            "forgetting": rng.choice([0.0, 1.0, np.inf], samples),
        },
        prediction=rng.dirichlet([1.0, 1.0, 1.0], samples).astype(np.float32),
        **{name: rng.random(epochs) for name in curves},
    )


def results_of(records: list[RunRecord]) -> ModelResults:
    return ModelResults.from_runs(
        records,
        ids=np.array([f"{number:024x}" for number in range(6)]),
        filepaths=np.array(["/images/ä b.png", *(f"/images/{number}.png" for number in range(5))]),
        labels=np.array([0, 1, 2, 0, 1, 2]),
        classes=("cat", "Hündin", "dog"),
        config={"epochs": 4, "device": "cpu", "options": {"lr": 0.1}},
    )


@pytest.fixture
def records(rng: np.random.Generator) -> list[RunRecord]:
    return [record(rng, seed) for seed in (51, 52, 53)]


@pytest.fixture
def results(records: list[RunRecord]) -> ModelResults:
    return results_of(records)


def test_scores_are_means_over_runs(records: list[RunRecord], results: ModelResults) -> None:
    expected = sum(run.scores["learnability"] for run in records) / 3
    np.testing.assert_allclose(results.learnability, expected, rtol=1e-12)
    for name in ("learnability", "hits", "forgetting"):
        np.testing.assert_allclose(results.score(name), sum(run.scores[name] for run in records) / 3, rtol=1e-12)
    assert results.scores == ("learnability", "rank", "hits", "forgetting", "spread")
    mean = sum(run.prediction.astype(np.float64) for run in records) / 3
    np.testing.assert_allclose(results.prediction, mean, atol=1e-3)
    np.testing.assert_array_equal(results.suggested, results.prediction.argmax(axis=1))
    # the rank of the mean, not the mean of ranks
    assert results.rank.tolist() == [sum(mine <= other for other in expected) for mine in expected]
    squares = sum((run.scores["learnability"] - expected) ** 2 for run in records)
    np.testing.assert_allclose(results.spread, np.sqrt(squares / 2), rtol=1e-9)
    assert results.seconds == pytest.approx(sum(run.epoch_seconds.sum() for run in records))
    assert results.num_samples == 6
    assert results.config["seeds"] == [51, 52, 53]
    assert results.model == "resnet20"


def test_one_run_has_no_spread(rng: np.random.Generator) -> None:
    run = record(rng, 51)
    results = results_of([run])
    assert results.spread is None
    np.testing.assert_array_equal(results.learnability, run.scores["learnability"])
    assert "spread" not in results.to_pandas().columns
    with pytest.raises(ValueError, match="has no score 'spread'; it has: learnability, rank, hits, forgetting"):
        results.score("spread")


def test_from_runs_does_not_change_the_config(records: list[RunRecord]) -> None:
    config = {"epochs": 4}
    ids = np.array(list("abcdef"))
    ModelResults.from_runs(records, ids, ids, np.zeros(6, int), ("c",), config)
    assert config == {"epochs": 4}


def test_to_pandas_has_a_row_per_sample(results: ModelResults) -> None:
    frame = results.to_pandas()
    assert len(frame) == 6
    assert frame["label"].tolist() == ["cat", "Hündin", "dog"] * 2
    assert frame["filepath"].tolist() == results.filepaths.tolist()
    assert frame["id"].tolist() == results.ids.tolist()
    for name in ("learnability", "rank", "hits", "forgetting", "spread"):
        np.testing.assert_array_equal(frame[name], results.score(name))
    assert frame["suggested_label"].tolist() == [results.classes[index] for index in results.suggested]
    np.testing.assert_array_equal(frame["suggested_probability"], results.prediction.max(axis=1))


def test_learning_curves_have_a_row_per_run_and_epoch(records: list[RunRecord], results: ModelResults) -> None:
    frame = results.learning_curves()
    columns = {"train_loss": "train_loss", "train_accuracy": "train_accuracy", "measured_accuracy": "measured_accuracy"}
    columns["seconds"] = "epoch_seconds"
    assert list(frame.columns) == ["seed", "epoch", *columns]
    rows = iter(frame.itertuples())
    for run in records:
        for epoch in range(4):
            row = next(rows)
            assert (row.seed, row.epoch) == (run.seed, epoch + 1)
            for column, name in columns.items():
                assert getattr(row, column) == getattr(run, name)[epoch]
    assert next(rows, None) is None


def test_epochs_that_were_not_measured(rng: np.random.Generator) -> None:
    records = []
    for seed in (51, 52):
        run = record(rng, seed, epochs=5)
        # every second epoch is measured
        run.measured_accuracy[1::2] = np.nan
        records.append(replace(run, dynamics=rng.random((3, 6)).astype(np.float16)))
    results = results_of(records)
    assert results.epochs_run.tolist() == results.config["epochs_run"] == [5, 5]
    assert results.measured_epochs.tolist() == [1, 3, 5]
    assert results.accuracy == pytest.approx(np.mean([run.measured_accuracy[4] for run in records]))
    first, second = (run.dynamics.astype(np.float64) for run in records)
    np.testing.assert_allclose(results.dynamics, (first + second) / 2, atol=1e-3)
    assert results.learning_curves()["measured_accuracy"].notna().sum() == 6


def test_runs_of_different_numbers_of_epochs_are_not_averaged(rng: np.random.Generator) -> None:
    records = [record(rng, 51, epochs=5), record(rng, 52, epochs=3)]
    with pytest.raises(ValueError, match=r"the runs of resnet20 have different numbers of epochs: \[5, 3\]"):
        results_of(records)


def test_runs_of_an_older_file_may_have_ended_early(results: ModelResults) -> None:
    changed = {name: getattr(results, name).copy() for name in ("train_loss", "measured_accuracy", "epoch_seconds")}
    for curve in changed.values():
        curve[1, 3:] = np.nan
    older = replace(results, **changed)
    assert older.epochs_run.tolist() == [4, 3, 4]
    assert "nan" not in repr(older)
    assert older.learning_curves().groupby("seed").size().to_dict() == {51: 4, 52: 3, 53: 4}


def assert_equal(first: ModelResults, second: ModelResults) -> None:
    assert (first.model, first.classes, first.config) == (second.model, second.classes, second.config)
    for name in ARRAYS:
        mine, theirs = getattr(first, name), getattr(second, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert first.run_scores.keys() == second.run_scores.keys()
    for name, values in first.run_scores.items():
        np.testing.assert_array_equal(values, second.run_scores[name])
    np.testing.assert_array_equal(first.prediction, second.prediction)


def test_an_npz_file_holds_everything(results: ModelResults, tmp_path: Path) -> None:
    file = tmp_path / "resnet20.npz"
    results.to_npz(file)
    assert_equal(ModelResults.from_npz(file), results)
    assert_equal(ModelResults.from_npz(str(file)), results)
    assert_equal(ModelResults.from_npz(io.BytesIO(results.to_bytes())), results)


def test_numpy_alone_can_read_an_npz_file(results: ModelResults) -> None:
    with np.load(io.BytesIO(results.to_bytes()), allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
        np.testing.assert_array_equal(archive["learnability"], results.learnability)
        np.testing.assert_array_equal(archive["rank"], results.rank)
        header = json.loads(str(archive["header"]))
    assert header["classes"] == ["cat", "Hündin", "dog"]
    assert header["config"]["seeds"] == [51, 52, 53]


def saved(save: str, **arrays: object) -> bytes:
    buffer = io.BytesIO()
    if save == "npz":
        np.savez(buffer, **arrays)
    else:
        np.save(buffer, arrays["one"], allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"some text",
        b"PK\x03\x04 a broken archive",
        saved("npy", one=np.zeros(3)),
        saved("npy", one=np.array([{"a": 1}], dtype=object)),
        saved("npz", learnability=np.zeros(3)),
    ],
    ids=["empty", "text", "broken zip", "npy", "pickle", "another npz"],
)
def test_a_file_with_other_content(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file.npz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{file} does not hold learnability results")):
        ModelResults.from_npz(file)


def test_pickled_objects_are_never_loaded(results: ModelResults) -> None:
    with np.load(io.BytesIO(results.to_bytes())) as archive:
        arrays = dict(archive)
    arrays["ids"] = np.array([{"harmful": True}], dtype=object)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        ModelResults.from_npz(io.BytesIO(saved("npz", **arrays)))


def test_a_file_of_another_version(results: ModelResults) -> None:
    with np.load(io.BytesIO(results.to_bytes())) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    arrays["header"] = np.array(json.dumps({**header, "format": 99}))
    with pytest.raises(ValueError, match="has format 99; this version reads format 1"):
        ModelResults.from_npz(io.BytesIO(saved("npz", **arrays)))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ModelResults.from_npz(tmp_path / "missing.npz")


def test_repr_summarizes_the_results(results: ModelResults) -> None:
    accuracy = results.measured_accuracy[:, -1].mean()
    assert repr(results) == (
        f"<ModelResults resnet20: 6 samples, 4 epochs, 3 run(s), mean learnability {results.learnability.mean():.3f}, "
        f"accuracy {accuracy:.3f}, {results.seconds:.0f} s>"
    )
