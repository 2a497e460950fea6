"""Consensus, reliability and stability of networks, checked against numpy and the functions for arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from PIL import Image
from pymongo.errors import OperationFailure

import fiftyone_learnability as fol
from fiftyone_learnability import WriteError
from fiftyone_learnability.experiment.results import ModelResults, RunRecord
from fiftyone_learnability.scores.reliability import measure_reliability
from fiftyone_learnability.scores.stability import epoch_stability

from .dataset.helpers import fail_at_merge, fails_at, make_results, state, values_of, write_results

SETTINGS = {"label_field": "ground_truth", "epochs": 3}
CONSENSUS, RANK, DISAGREEMENT = "learnability_consensus", "learnability_rank_consensus", "learnability_disagreement"
FIELDS = [CONSENSUS, RANK, DISAGREEMENT]


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Twenty samples with scores of three networks; the second lacks the first four, the third the last five."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], ["a", "b"] * 10)
    for seed, (model, view) in enumerate(
        {"one": dataset.view(), "two": dataset.skip(4), "three": dataset.limit(15)}.items(), start=1
    ):
        write_results(view, make_results(view, model, seed=seed), model, SETTINGS)
    return dataset


def expected_of(samples: fo.Dataset | fo.DatasetView, *models: str) -> dict[str, tuple[float, int, float]]:
    """Consensus, rank and disagreement of the samples that all networks have scored, by id, computed step by step."""
    fields = [values_of(samples, f"learnability_{model}") for model in models]
    ids = [id for id in samples.values("id") if all(field[id] is not None for field in fields)]
    table = np.array([[field[id] for id in ids] for field in fields])
    z = (table - table.mean(axis=1, keepdims=True)) / np.sqrt(table.var(axis=1, keepdims=True))
    mean = z.sum(axis=0) / len(models)
    apart = np.sqrt(((z - mean) ** 2).sum(axis=0) / len(models))
    # Eq. 2
    rank = [sum(mine <= other for other in mean) for mine in mean]
    return {id: (c, r, d) for id, c, r, d in zip(ids, mean, rank, apart, strict=True)}


def written(dataset: fo.Dataset) -> dict[str, tuple[Any, ...]]:
    """The written values of the samples that have a consensus."""
    rows = dict(zip(dataset.values("id"), zip(*dataset.values(FIELDS), strict=True), strict=True))
    return {id: row for id, row in rows.items() if row != (None, None, None)}


def assert_equals(rows: dict[str, tuple[Any, ...]], expected: dict[str, tuple[float, int, float]]) -> None:
    assert set(rows) == set(expected)
    for id, row in rows.items():
        assert row == pytest.approx(expected[id], abs=1e-9)
        assert type(row[1]) is int


def test_consensus_rank_and_disagreement_are_written(dataset: fo.Dataset) -> None:
    report = fol.write_consensus(dataset)
    assert (report.key, report.fields, report.num_written, report.vanished) == ("consensus", FIELDS, 11, [])
    expected = expected_of(dataset, "one", "two", "three")
    assert len(expected) == 11
    assert_equals(written(dataset), expected)
    assert sorted(value for value in dataset.values(RANK) if value) == list(range(1, 12))


def test_samples_that_one_network_lacks_keep_none(dataset: fo.Dataset) -> None:
    fol.write_consensus(dataset)
    alone = [*dataset.values("id")[:4], *dataset.values("id")[15:]]
    for name in FIELDS:
        values = values_of(dataset, name)
        assert sorted(id for id, value in values.items() if value is None) == sorted(alone)


def test_the_networks_can_be_chosen(dataset: fo.Dataset) -> None:
    fol.write_consensus(dataset, ["three", "one"])
    assert_equals(written(dataset), expected_of(dataset, "one", "three"))
    config = dataset.get_run_info("consensus").config
    assert config.of == ["three", "one"]
    assert "three, one; 15 samples" in dataset.get_field(CONSENSUS).description


def test_only_the_samples_of_a_view_are_considered(dataset: fo.Dataset) -> None:
    view = dataset.match(fo.ViewField("ground_truth.label") == "a").sort_by("filepath", reverse=True)
    report = fol.write_consensus(view, ["one", "two"])
    assert report.num_written == 8
    assert_equals(written(dataset), expected_of(view, "one", "two"))
    assert max(filter(None, dataset.values(RANK))) == 8


def test_fields_and_run_describe_themselves(dataset: fo.Dataset) -> None:
    fol.write_consensus(dataset, ["one", "two"])
    for name, ftype, score, words in (
        (CONSENSUS, fo.FloatField, "learnability", "mean standardized learnability by one, two; 16 samples"),
        (RANK, fo.IntField, "rank", "rank by one, two; 16 samples; 1 = easiest"),
        (DISAGREEMENT, fo.FloatField, "disagreement", "standard deviation over networks"),
    ):
        field = dataset.get_field(name)
        assert isinstance(field, ftype)
        assert words in field.description
        info = {"run": "consensus", "model": "consensus", "score": score, "epochs": 0, "runs": 1, "derived": True}
        info |= {"run_id": dataset.get_run_info("consensus").config.run_id, "field": name}
        assert field.info == {"learnability": info}
        assert name in dataset.list_indexes()
    config = dataset.get_run_info("consensus").config
    settings = {"kind": "consensus", "label_field": "ground_truth", "num_samples": 16, "of": ["one", "two"]}
    settings |= {"models": ["consensus"], "package_version": fol.__version__}
    assert {name: getattr(config, name) for name in settings} == settings


def test_the_run_keeps_the_written_values(dataset: fo.Dataset) -> None:
    fol.write_consensus(dataset)
    result = fol.load_results(dataset, "consensus")["consensus"]
    rows = zip(result.learnability, result.rank, result.score("disagreement"), strict=True)
    assert written(dataset) == dict(zip(result.ids.tolist(), rows, strict=True))
    files = values_of(dataset, "filepath")
    assert result.filepaths.tolist() == [files[id] for id in result.ids]


def test_a_network_with_equal_scores_has_no_influence(dataset: fo.Dataset) -> None:
    curve = np.ones(3)
    ids = np.array(sorted(dataset.values("id")))
    record = RunRecord("flat", 0, {"learnability": np.full(20, 0.1)}, curve, curve, curve, curve)
    flat = ModelResults.from_runs([record], ids, ids, np.zeros(20, np.int64), ("a",), {})
    write_results(dataset, {"flat": flat}, "flat", SETTINGS)
    fol.write_consensus(dataset, ["one", "flat"])
    scores = np.array(dataset.values("learnability_one"))
    z = (scores - scores.mean()) / scores.std()
    np.testing.assert_allclose(dataset.values(CONSENSUS), z / 2)
    np.testing.assert_allclose(dataset.values(DISAGREEMENT), abs(z) / 2)


def test_a_consensus_is_replaced_only_with_overwrite(dataset: fo.Dataset) -> None:
    fol.write_consensus(dataset)
    before = state(dataset)
    with pytest.raises(ValueError, match=r"already has the field 'learnability_consensus', written by .*'consensus'"):
        fol.write_consensus(dataset)
    with pytest.raises(ValueError, match="already has a run 'one'"):
        fol.write_consensus(dataset, key="one")
    assert state(dataset) == before
    report = fol.write_consensus(dataset, ["one", "two"], overwrite=True)
    assert report.key == "consensus"
    assert_equals(written(dataset), expected_of(dataset, "one", "two"))
    # under another key, too, the first run is replaced
    fol.write_consensus(dataset, ["one", "three"], key="mine", overwrite=True)
    assert fol.list_runs(dataset) == ["mine", "one", "three", "two"]
    assert_equals(written(dataset), expected_of(dataset, "one", "three"))
    assert state(dataset)["stored_results"] == before["stored_results"]


def test_deleting_the_run_deletes_its_fields_and_nothing_else(dataset: fo.Dataset) -> None:
    before = state(dataset)
    fol.write_consensus(dataset)
    assert fol.delete_run(dataset, "consensus") == sorted(FIELDS)
    assert state(dataset) == before


def test_retraining_a_network_keeps_the_consensus(dataset: fo.Dataset) -> None:
    fol.write_consensus(dataset)
    before = written(dataset)
    write_results(dataset, make_results(dataset, "one", seed=7), "one", SETTINGS, overwrite=True)
    assert written(dataset) == before
    assert "consensus" in fol.list_runs(dataset)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_leaves_the_dataset_as_it_was(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    if overwrite:
        # on all samples, so that each of them has the fields
        fol.write_consensus(dataset, ["one", "two"])
        dataset.set_values(DISAGREEMENT, [0.5] * 20)
        dataset.set_values(CONSENSUS, [0.5] * 20)
        dataset.set_values(RANK, [5] * 20)
    before = state(dataset)
    error = OperationFailure("disk full")
    # new fields are added; existing ones are marked as incomplete
    owner, name, call = (fo.Field, "save", 2) if overwrite else (fo.Dataset, "add_sample_field", 2)
    failures: list[Callable[[pytest.MonkeyPatch], None]] = [
        lambda patch: patch.setattr(owner, name, fails_at(getattr(owner, name), call, error)),
        lambda patch: fail_at_merge(patch, error, after=True),
    ]
    for fail in failures:
        with monkeypatch.context() as patch:
            fail(patch)
            with pytest.raises(WriteError, match="disk full"):
                fol.write_consensus(dataset, overwrite=overwrite)
        assert state(dataset) == before
    assert fol.write_consensus(dataset, overwrite=overwrite).num_written == 11


def test_a_consensus_needs_two_networks_with_common_samples(
    dataset: fo.Dataset, make_dataset: Callable[..., fo.Dataset]
) -> None:
    before = state(dataset)
    with pytest.raises(ValueError, match="at least two networks; there are: one"):
        fol.write_consensus(dataset, ["one"])
    with pytest.raises(ValueError, match="at least two networks; there are: none"):
        fol.write_consensus(make_dataset(["/no/1.png"], ["a"]))
    with pytest.raises(ValueError, match="'four' has no scores"):
        fol.write_consensus(dataset, ["one", "four"])
    with pytest.raises(ValueError, match="two, three have scored fewer than two samples in common"):
        fol.write_consensus(dataset.limit(5), ["two", "three"])
    assert state(dataset) == before


def test_the_consensus_sorts_and_tags_but_is_not_a_network(dataset: fo.Dataset) -> None:
    compared = fol.compare_models(dataset)
    fol.write_consensus(dataset)
    assert fol.find_models(dataset) == ["one", "two", "three"]
    assert fol.find_models(dataset, derived=True) == ["one", "two", "three", "consensus"]
    assert fol.find_scores(dataset, "consensus") == ["learnability", "rank", "disagreement"]
    again = fol.compare_models(dataset)
    assert again.models == compared.models
    np.testing.assert_array_equal(again.pearson, compared.pearson)
    expected = expected_of(dataset, "one", "two", "three")
    order = sorted(expected, key=lambda id: expected[id][0])
    assert fol.sort_by_learnability(dataset, "consensus").values("id") == order
    assert fol.sort_by_learnability(dataset, "consensus", easiest_first=True).values("id") == order[::-1]
    assert fol.hardest_samples(dataset, "consensus", 4)["id"].tolist() == order[:4]
    label_of = values_of(dataset, "ground_truth.label")
    chosen = {id for label in "ab" for id in [id for id in order if label_of[id] == label][:2]}
    assert fol.tag_by_difficulty(dataset, "consensus", count=2, per_class=True) == 4
    assert set(dataset.match_tags("hard").values("id")) == chosen
    table = fol.scores_table(dataset)
    assert table.columns.tolist()[-3:] == FIELDS
    assert table[RANK].notna().sum() == 11


def several(
    samples: fo.Dataset | fo.DatasetView, model: str, runs: int, seed: int, epochs: int = 6, dynamics: bool = True
) -> ModelResults:
    """Results of several runs that agree in part, with their dynamics."""
    rng = np.random.default_rng(seed)
    ids = np.array(sorted(samples.values("id")))
    # the difficulty depends on the id alone, so networks agree in part too
    base = np.array([int(id[-4:], 16) * 7919 % 1009 / 1009 for id in ids])
    curve = np.linspace(0.1, 0.9, epochs)
    records = []
    for number in range(runs):
        p = np.clip(base * curve[:, None] + rng.normal(0, 0.1, (epochs, len(ids))), 0, 1).astype(np.float16)
        scores = {"learnability": p.mean(axis=0, dtype=np.float64)}
        records.append(RunRecord(model, number, scores, curve, curve, curve, curve, dynamics=p if dynamics else None))
    return ModelResults.from_runs(records, ids, ids, np.zeros(len(ids), np.int64), ("a",), {})


@pytest.fixture
def with_runs(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Thirty samples with networks of two, three and one runs.

    The second network lacks the first five samples, the third has a single run and no dynamics.
    """
    dataset = make_dataset([f"/no/{index}.png" for index in range(30)], ["a", "b"] * 15)
    for model, view, runs in (("x", dataset.view(), 2), ("y", dataset.skip(5), 3), ("z", dataset.view(), 1)):
        result = several(view, model, runs, seed=runs, dynamics=model != "z")
        write_results(view, {model: result}, f"run_{model}", SETTINGS)
    return dataset


def runs_over(dataset: fo.Dataset, ids: list[str], models: str) -> dict[str, np.ndarray]:
    """The learnability of every run for some samples, looked up one by one."""
    results = {model: fol.load_results(dataset, f"run_{model}")[model] for model in models}
    return {
        model: np.stack([result.run_learnability[:, result.ids.tolist().index(id)] for id in ids], axis=1)
        for model, result in results.items()
    }


def test_reliability_compares_runs_over_common_samples(with_runs: fo.Dataset) -> None:
    ids = sorted(with_runs.skip(5).values("id"))
    measured = fol.reliability(with_runs, num_resamples=50, seed=3)
    expected = measure_reliability(runs_over(with_runs, ids, "xyz"), num_resamples=50, seed=3)
    assert measured.num_samples == 25
    assert measured.runs == {"x": 2, "y": 3, "z": 1}
    assert set(measured.seeds) == {"x", "y"}
    assert str(measured) == str(expected)
    assert measured.seeds == expected.seeds
    assert measured.models == expected.models
    assert measured.corrected == expected.corrected
    # by hand, for the two runs of x
    first, second = runs_over(with_runs, ids, "x")["x"]
    assert measured.seeds["x"].learnability.value == pytest.approx(np.corrcoef(first, second)[0, 1])


def test_reliability_of_a_view_and_of_chosen_networks(with_runs: fo.Dataset) -> None:
    view = with_runs.limit(15)
    ids = sorted(view.values("id"))
    measured = fol.reliability(view, ["x"], num_resamples=20)
    assert measured.num_samples == 15
    assert measured.seeds == measure_reliability(runs_over(with_runs, ids, "x"), num_resamples=20).seeds


def test_reliability_of_results_in_memory(with_runs: fo.Dataset) -> None:
    results = {model: fol.load_results(with_runs, f"run_{model}")[model] for model in "yx"}
    of_results, of_dataset = (fol.reliability(source, ["x", "y"], num_resamples=20) for source in (results, with_runs))
    assert of_results.models == of_dataset.models
    assert of_results.seeds == of_dataset.seeds


def test_the_consensus_has_no_reliability_of_its_own(with_runs: fo.Dataset) -> None:
    fol.write_consensus(with_runs)
    assert set(fol.reliability(with_runs, num_resamples=5).runs) == {"x", "y", "z"}
    assert set(fol.stability(with_runs)) == {"x", "y"}


def test_without_runs_there_is_no_reliability(with_runs: fo.Dataset, make_dataset: Callable[..., fo.Dataset]) -> None:
    with pytest.raises(ValueError, match="at least two runs"):
        fol.reliability(with_runs, ["z"])
    with pytest.raises(ValueError, match="the network 'w' has no scores; the networks that do: x, y, z"):
        fol.reliability(with_runs, ["x", "w"])
    with pytest.raises(ValueError, match="there are no scores yet: compute learnability first"):
        fol.reliability(make_dataset(["/no/1.png"], ["a"]))
    for view in (with_runs.limit(7), with_runs.limit(0)):
        with pytest.raises(ValueError, match="x, y have fewer than three samples in common"):
            fol.reliability(view, ["x", "y"])


def test_stability_is_computed_from_the_dynamics(with_runs: fo.Dataset) -> None:
    curves = fol.stability(with_runs)
    # z has no dynamics
    assert list(curves) == ["x", "y"]
    for model, curve in curves.items():
        expected = epoch_stability(fol.load_results(with_runs, f"run_{model}")[model].dynamics)
        np.testing.assert_array_equal(curve.epochs, [1, 2, 3, 4, 5, 6])
        np.testing.assert_array_equal(curve.correlation, expected.correlation)
    assert curves["x"].correlation[0] < curves["x"].correlation[-1] == pytest.approx(1)
    assert list(fol.stability(with_runs, ["y"])) == ["y"]
    in_memory = fol.stability({"y": fol.load_results(with_runs, "run_y")["y"]})
    np.testing.assert_array_equal(in_memory["y"].correlation, curves["y"].correlation)


def test_stability_needs_dynamics(with_runs: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    for call in (lambda: fol.stability(with_runs, ["z"]), lambda: fol.plot_stability(with_runs, path, ["z"])):
        with pytest.raises(ValueError, match="z have not kept their dynamics: compute with record_dynamics=True"):
            call()
    assert not path.exists()


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_plot_is_an_image_file(with_runs: fo.Dataset, tmp_path: Path, ending: str, start: bytes) -> None:
    path = tmp_path / "new" / f"figure.{ending}"
    assert fol.plot_stability(with_runs, str(path)) == path
    assert path.read_bytes().startswith(start)
    if ending == "png":
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) > 400
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, "the picture is blank"
    else:
        text = path.read_text()
        assert "how many epochs are enough" in text
        assert "no network has two runs" not in text


def test_the_plot_has_the_curves_and_ceilings_of_the_networks(
    with_runs: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("fiftyone_learnability.consensus.draw_stability", lambda *args: drawn.extend(args) or args[0])
    fol.plot_stability(with_runs, tmp_path / "figure.png")
    _, curves, ceilings = drawn
    expected = fol.stability(with_runs)
    assert list(curves) == list(expected)
    np.testing.assert_array_equal(curves["y"].correlation, expected["y"].correlation)
    # the mean over the pairs of runs, over all samples of the network
    for model in "xy":
        result = fol.load_results(with_runs, f"run_{model}")[model]
        matrix = np.corrcoef(result.run_learnability)
        assert ceilings[model] == pytest.approx(matrix[np.triu_indices(len(matrix), 1)].mean())
    assert set(ceilings) == {"x", "y"}
