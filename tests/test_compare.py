"""Comparisons and lists, from the fields of a dataset and from results in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fiftyone as fo
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.registry import LearnabilityRun

from .dataset.helpers import make_results, values_of, write_results

SETTINGS = {"label_field": "ground_truth", "epochs": 3}


@pytest.fixture
def dataset(digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Forty digits with scores of three networks; the second lacks the first ten, the third the last ten."""
    dataset = make_dataset(digits[0][:40], digits[1][:40])
    for seed, (model, view) in enumerate(
        {"a": dataset.view(), "b": dataset.skip(10), "c": dataset.limit(30)}.items(), start=1
    ):
        write_results(view, make_results(view, model, seed=seed), model, SETTINGS)
    return dataset


def common(dataset: fo.Dataset, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
    """The learnability by two networks of the samples that both have scored."""
    x, y = (values_of(dataset, f"learnability_{model}") for model in (first, second))
    ids = [id for id in x if x[id] is not None and y[id] is not None]
    return np.array([x[id] for id in ids]), np.array([y[id] for id in ids])


def test_a_dataset_without_scores_has_no_networks(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset(["/nowhere/1.png"], ["a"])
    assert fol.find_models(dataset) == []
    ids, scores = fol.load_scores(dataset)
    assert ids.tolist() == dataset.values("id")
    assert scores == {}
    with pytest.raises(ValueError, match="at least two networks; there are: none"):
        fol.compare_models(dataset)
    with pytest.raises(ValueError, match="the networks that do: none"):
        fol.hardest_samples(dataset, "a")


@pytest.mark.parametrize(("first", "second", "count"), [("a", "b", 30), ("a", "c", 30), ("b", "c", 20)])
def test_pairs_are_compared_over_their_common_samples(dataset: fo.Dataset, first: str, second: str, count: int) -> None:
    comparison = fol.compare_models(dataset)
    i, j = comparison.models.index(first), comparison.models.index(second)
    x, y = common(dataset, first, second)
    assert len(x) == count
    assert comparison.num_samples[i, j] == comparison.num_samples[j, i] == count
    # ranks among the common samples, with scipy as the oracle
    ranks = [stats.rankdata(-values, method="max") for values in (x, y)]
    assert comparison.pearson[i, j] == pytest.approx(stats.pearsonr(x, y).statistic)
    assert comparison.pearson_rank[i, j] == pytest.approx(stats.pearsonr(*ranks).statistic)
    assert comparison.spearman[i, j] == pytest.approx(stats.spearmanr(x, y).statistic)
    for matrix in (comparison.pearson, comparison.pearson_rank, comparison.spearman):
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_allclose(np.diag(matrix), 1)


def test_a_comparison_of_a_view_uses_its_samples_only(dataset: fo.Dataset) -> None:
    view = dataset.limit(15)
    comparison = fol.compare_models(view, ["c", "b"])
    assert comparison.models == ("c", "b")
    assert comparison.num_samples[0, 1] == 5
    x, y = common(view, "c", "b")
    assert comparison.pearson[0, 1] == pytest.approx(stats.pearsonr(x, y).statistic)


def test_results_in_memory_are_matched_by_id(dataset: fo.Dataset) -> None:
    results = {model: fol.load_results(dataset, model)[model] for model in ("a", "b", "c")}
    of_results, of_fields = fol.compare_models(results), fol.compare_models(dataset)
    assert of_results.models == of_fields.models
    for name in ("num_samples", "pearson", "pearson_rank", "spearman"):
        np.testing.assert_allclose(getattr(of_results, name), getattr(of_fields, name))
    assert fol.compare_models(results, ["c", "a"]).models == ("c", "a")
    with pytest.raises(ValueError, match="no results of 'vgg16'; there are: a, b, c"):
        fol.compare_models(results, ["a", "vgg16"])


def test_the_table_names_pairs_and_numbers(dataset: fo.Dataset) -> None:
    comparison = fol.compare_models(dataset)
    lines = str(comparison).splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("b ~ c")
    assert f"{comparison.pearson[1, 2]:.3f} ({comparison.pearson_rank[1, 2]:.3f})" in lines[3]
    assert lines[3].endswith("20")
    table = comparison.to_pandas()
    assert table["num_samples"].tolist() == [30, 30, 20]
    assert list(zip(table["model_a"], table["model_b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]


@pytest.mark.parametrize("models", [["a"], ["a", "a"]])
def test_one_network_is_not_compared(dataset: fo.Dataset, models: list[str]) -> None:
    with pytest.raises(ValueError, match="at least two networks; there are: a"):
        fol.compare_models(dataset, models)


def test_networks_without_scores_are_named(dataset: fo.Dataset) -> None:
    message = "'vgg16' has no scores; the networks that do: a, b, c"
    for call in (
        lambda: fol.compare_models(dataset, ["a", "vgg16"]),
        lambda: fol.load_scores(dataset, ["vgg16"]),
        lambda: fol.hardest_samples(dataset, "vgg16"),
        lambda: fol.plot_comparison(dataset, "figure.png", ("a", "vgg16")),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("easiest", [False, True])
def test_the_hardest_and_the_easiest(dataset: fo.Dataset, easiest: bool) -> None:
    table = fol.hardest_samples(dataset, "b", 7, easiest=easiest)
    scores = {id: score for id, score in values_of(dataset, "learnability_b").items() if score is not None}
    expected = sorted(scores, key=lambda id: scores[id], reverse=easiest)[:7]
    assert table["id"].tolist() == expected
    for column, field in {
        "filepath": "filepath",
        "label": "ground_truth.label",
        "learnability": "learnability_b",
        "rank": "learnability_rank_b",
    }.items():
        values = values_of(dataset, field)
        assert table[column].tolist() == [values[id] for id in expected]
    assert table["rank"].tolist() == (list(range(1, 8)) if easiest else list(range(30, 23, -1)))


def test_samples_without_a_score_are_not_listed(dataset: fo.Dataset) -> None:
    table = fol.hardest_samples(dataset, "b", 100)
    assert len(table) == 30
    assert table["learnability"].notna().all()
    assert len(fol.hardest_samples(dataset.limit(10), "b")) == 0


def test_twenty_samples_are_the_default(dataset: fo.Dataset) -> None:
    assert len(fol.hardest_samples(dataset, "a")) == 20


@pytest.mark.parametrize("k", [0, -1])
def test_k_is_positive(dataset: fo.Dataset, k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be a whole number of at least 1, not {k}"):
        fol.hardest_samples(dataset, "a", k)


@pytest.mark.parametrize("deleted", ["field", "run"])
def test_deleted_labels_are_listed_as_missing(dataset: fo.Dataset, deleted: str) -> None:
    if deleted == "field":
        dataset.delete_sample_field("ground_truth")
    else:
        LearnabilityRun.delete_run(dataset, "a", cleanup=False)
    table = fol.hardest_samples(dataset, "a", 3)
    assert table["label"].isna().all()
    assert table["learnability"].notna().all()


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_figure_is_an_image_file(dataset: fo.Dataset, tmp_path: Path, ending: str, start: bytes) -> None:
    path = tmp_path / "not" / "yet" / f"figure.{ending}"
    assert fol.plot_comparison(dataset, str(path), ("b", "c"), num_examples=3) == path
    assert path.read_bytes().startswith(start)
    if ending == "png":
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) > 500
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50, "the picture is blank"


def test_the_figure_takes_the_first_two_networks(dataset: fo.Dataset, tmp_path: Path) -> None:
    text = fol.plot_comparison(dataset, tmp_path / "figure.svg", num_examples=2).read_text()
    # matplotlib writes texts as outlines, with the words as comments
    assert "learnability by a" in text
    assert "rank by b" in text
    assert "by c" not in text


def test_the_figure_gets_the_common_samples_and_their_labels(
    dataset: fo.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[str]] = []

    def draw(path: Path, models: object, first: object, second: object, load_examples: Callable, num: int) -> Path:
        indices = np.array([5, 0, 19])
        shown.extend([[example.filepath, example.label] for example in load_examples(indices)])
        shown.append([num, first.tolist(), second.tolist()])
        return path

    monkeypatch.setattr("fiftyone_learnability.experiment.figures.draw_figure", draw)
    fol.plot_comparison(dataset, tmp_path / "figure.png", ("b", "c"), 4)
    # both have scored the samples 10 to 29
    files, labels = dataset.values(["filepath", "ground_truth.label"])
    assert shown[:3] == [[files[10 + index], labels[10 + index]] for index in (5, 0, 19)]
    x, y = common(dataset, "b", "c")
    assert shown[3] == [4, x.tolist(), y.tolist()]


def test_the_figure_needs_two_networks_with_common_samples(dataset: fo.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    with pytest.raises(ValueError, match="b and c have fewer than two samples in common"):
        fol.plot_comparison(dataset.limit(11), path, ("b", "c"))
    with pytest.raises(ValueError, match="needs the scores of two networks; there are: a"):
        fol.plot_comparison(dataset.select_fields("learnability_a"), path)
    with pytest.raises(ValueError, match="not supported"):
        fol.plot_comparison(dataset, tmp_path / "figure.docx")
    assert list(tmp_path.iterdir()) == []
