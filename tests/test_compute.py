"""The call from end to end: real images, real training, a real database."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fiftyone as fo
import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import nn

import fiftyone_learnability as fol
from fiftyone_learnability import ProgressEvent, TrainingDivergedError, WriteError, preparation
from fiftyone_learnability.dataset import columns, fields, target
from fiftyone_learnability.dataset.internals import unshared_dataset
from fiftyone_learnability.dataset.notes import score_field
from fiftyone_learnability.delivery import write_run_directory
from fiftyone_learnability.experiment.results import ModelResults
from fiftyone_learnability.images import cache as image_cache
from fiftyone_learnability.images.decode import DecodedImages, decode_images
from fiftyone_learnability.training.options import DEFAULT_BOUND

from .dataset.helpers import learn, nothing_left_in, raiser, scratch_collections, state, tiny, values_of

SCORE, RANK = "learnability_tiny", "learnability_rank_tiny"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache for each test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def saved(error: pytest.ExceptionInfo[WriteError]) -> Path:
    """The run directory that an error names."""
    return Path(re.search(r"`fiftyone-learnability write (\S+)` writes them", str(error.value)).group(1))


class Recorder:
    """A progress callback that keeps its events, and may do something in the middle of the training."""

    def __init__(self, during_training: Callable[[], None] | None = None) -> None:
        self.events: list[ProgressEvent] = []
        self.during_training = during_training

    def __call__(self, event: ProgressEvent) -> None:
        self.events.append(event)
        if event.stage == "training" and self.during_training is not None:
            self.during_training()
            self.during_training = None


def never(num_classes: int, in_channels: int) -> nn.Module:
    """A network that must not be built."""
    raise AssertionError("the training has started")


class Watched(nn.Module):
    """A network that records whether it was trained."""

    trained = False

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.network = tiny(num_classes, in_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # its trial shows it two images
        Watched.trained |= torch.is_grad_enabled() and len(x) > 2
        return self.network(x)


def test_a_network_by_name_scores_every_sample(digit_dataset: fo.Dataset) -> None:
    results = learn(digit_dataset, models="resnet20", epochs=1, lr=0.01)
    result = results["resnet20"]
    assert isinstance(result, ModelResults)
    assert result.num_samples == 60
    assert result.classes == ("0", "1", "4")
    assert ((result.learnability > 0) & (result.learnability < 1)).all()
    expected = dict(zip(result.ids, result.learnability, strict=True))
    assert values_of(digit_dataset, "learnability_resnet20") == expected
    ranks = values_of(digit_dataset, "learnability_rank_resnet20")
    # Eq. 2, written out
    assert ranks == {i: sum(expected[i] <= other for other in expected.values()) for i in expected}
    assert fol.list_runs(digit_dataset) == ["learnability"]
    assert result.train_loss.shape == (1, 1)


def test_results_belong_to_the_samples_they_name(digit_dataset: fo.Dataset) -> None:
    result = learn(digit_dataset)["tiny"]
    files, labels = values_of(digit_dataset, "filepath"), values_of(digit_dataset, "ground_truth.label")
    assert [files[id] for id in result.ids] == result.filepaths.tolist()
    assert [labels[id] for id in result.ids] == [result.classes[label] for label in result.labels]


def test_a_mislabelled_sample_is_among_the_hardest(digit_dataset: fo.Dataset) -> None:
    # files, labels, ids and scores belong together
    wrong = digit_dataset.match(fo.ViewField("ground_truth.label") == "0").skip(3).first()
    wrong["ground_truth"] = fo.Classification(label="1")
    wrong.save()
    learn(digit_dataset, epochs=8)
    assert wrong.id in digit_dataset.sort_by(SCORE).limit(3).values("id")
    assert wrong.id in digit_dataset.sort_by(RANK, reverse=True).limit(3).values("id")


def test_sorting_by_score_and_by_rank_agree(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset)
    hardest = digit_dataset.sort_by(SCORE).values([SCORE, RANK])
    assert hardest[0] == sorted(hardest[0])
    assert hardest[1] == sorted(hardest[1], reverse=True)
    assert len(digit_dataset.match(fo.ViewField(RANK) <= 10)) == 10


@pytest.mark.parametrize(("model", "seeds"), [("tiny", (7, 7, 8)), ("resnet20", (7, 7))])
def test_the_same_seed_gives_the_same_bits(digit_dataset: fo.Dataset, model: str, seeds: tuple[int, ...]) -> None:
    models = {"tiny": tiny} if model == "tiny" else model
    first, again, *others = (
        learn(digit_dataset.limit(20), models=models, seed=seed, crop_padding=4, lr=0.01, epochs=1, overwrite=True)
        for seed in seeds
    )
    bits = first[model].learnability.tobytes()
    assert again[model].learnability.tobytes() == bits
    for other in others:
        assert other[model].learnability.tobytes() != bits


def test_the_random_state_of_the_caller_is_unchanged(digit_dataset: fo.Dataset) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    learn(digit_dataset)
    assert torch.equal(torch.rand(3), expected)


def test_several_runs_are_averaged_and_their_spread_is_known(digit_dataset: fo.Dataset) -> None:
    both = learn(digit_dataset, runs=2, seed=5)["tiny"]
    first, second = (learn(digit_dataset, seed=seed, overwrite=True)["tiny"] for seed in (5, 6))
    np.testing.assert_array_equal(both.run_learnability, [first.learnability, second.learnability])
    np.testing.assert_array_equal(both.learnability, (first.learnability + second.learnability) / 2)
    np.testing.assert_allclose(both.spread, np.abs(first.learnability - second.learnability) / np.sqrt(2))
    assert both.spread.max() > 0
    assert first.spread is None
    assert both.config["seeds"] == [5, 6]
    assert len(both.learning_curves()) == 4


def test_the_mean_over_runs_is_written(digit_dataset: fo.Dataset) -> None:
    result = learn(digit_dataset, runs=2)["tiny"]
    assert values_of(digit_dataset, SCORE) == dict(zip(result.ids, result.learnability, strict=True))
    assert "mean of 2 runs" in digit_dataset.get_field(SCORE).description


def test_the_order_of_a_view_changes_no_score(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset)
    expected = values_of(digit_dataset, SCORE)
    learn(digit_dataset.sort_by("filepath", reverse=True), overwrite=True)
    assert values_of(digit_dataset, SCORE) == expected


VIEWS: dict[str, Callable[[fo.Dataset], fo.DatasetView]] = {
    "limit": lambda dataset: dataset.limit(25),
    "match": lambda dataset: dataset.match(fo.ViewField("ground_truth.label") != "4"),
    "select": lambda dataset: dataset.select(dataset.values("id")[10:45], ordered=True),
    "sort": lambda dataset: dataset.sort_by("filepath", reverse=True).skip(20),
    "only the label field": lambda dataset: dataset.select_fields("ground_truth").limit(30),
}


@pytest.mark.parametrize("make_view", VIEWS.values(), ids=VIEWS)
def test_a_view_scores_its_own_samples_only(
    digit_dataset: fo.Dataset, make_view: Callable[[fo.Dataset], fo.DatasetView]
) -> None:
    view = make_view(digit_dataset)
    result = learn(view)["tiny"]
    assert sorted(result.ids) == sorted(view.values("id"))
    scored = {id for id, value in values_of(digit_dataset, SCORE).items() if value is not None}
    assert scored == set(view.values("id"))
    assert max(filter(None, digit_dataset.values(RANK))) == len(view)


def test_a_saved_view(digit_dataset: fo.Dataset) -> None:
    digit_dataset.save_view("some", digit_dataset.limit(20))
    learn(digit_dataset.load_saved_view("some"))
    assert digit_dataset.count(SCORE) == 20
    assert len(digit_dataset.load_run_view("learnability")) == 20


def test_the_slice_of_a_group(digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([], [])
    dataset.add_group_field("group", default="left")
    samples = []
    for file, label in zip(digits[0][:40], digits[1][:40], strict=True):
        group = fo.Group()
        for name in ("left", "right"):
            truth = fo.Classification(label=label)
            samples.append(fo.Sample(file, group=group.element(name), ground_truth=truth))
    dataset.add_samples(samples, progress=False)
    with pytest.raises(ValueError, match=r"is grouped.*its slices are left, right"):
        learn(dataset, models={"tiny": never})
    view = dataset.select_group_slices("right")
    result = learn(view)["tiny"]
    written = {id: value for id, value in values_of(dataset, SCORE).items() if value is not None}
    assert written == dict(zip(result.ids, result.learnability, strict=True))
    assert set(written) == set(view.values("id"))
    assert fol.hardest_samples(view, "tiny", 3)["id"].isin(result.ids).all()
    assert fol.delete_run(dataset, "learnability") == sorted([SCORE, RANK])
    assert not dataset.has_sample_field(SCORE)


@pytest.mark.parametrize(
    ("ftype", "convert"), [(fo.StringField, str), (fo.IntField, int), (fo.BooleanField, lambda label: label == "4")]
)
def test_labels_that_are_plain_values(
    digit_dataset: fo.Dataset, ftype: type[fo.Field], convert: Callable[[str], Any]
) -> None:
    values = [convert(label) for label in digit_dataset.values("ground_truth.label")]
    digit_dataset.add_sample_field("target", ftype)
    digit_dataset.set_values("target", values)
    result = learn(digit_dataset, label_field="target")["tiny"]
    assert result.classes == tuple(str(value) for value in sorted(set(values)))
    assert digit_dataset.count(SCORE) == 60
    labels = fol.hardest_samples(digit_dataset, "tiny", 60).set_index("id")["label"].to_dict()
    assert labels == values_of(digit_dataset, "target")


def test_samples_without_a_label_keep_none_and_are_counted(
    digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    unlabelled = digit_dataset.values("id")[::10]
    for sample in digit_dataset.select(unlabelled):
        sample["ground_truth"] = None
        sample.save()
    result = learn(digit_dataset, progress=True)["tiny"]
    assert "samples without a label: 6; they are left out" in capsys.readouterr().err
    assert result.num_samples == 54
    assert not set(result.ids) & set(unlabelled)
    values = values_of(digit_dataset, SCORE)
    assert {id for id, value in values.items() if value is None} == set(unlabelled)
    assert max(filter(None, digit_dataset.values(RANK))) == 54
    assert digit_dataset.get_run_info("learnability").config.num_unlabelled == 6


@pytest.fixture
def broken_dataset(digit_dataset: fo.Dataset, tmp_path: Path) -> fo.Dataset:
    """Sixty digits, of which two are missing, one is empty, and two samples share a file that is text."""
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    files = ["missing1.png", "missing2.png", "empty.png", "text.jpg", "text.jpg"]
    for sample, name in zip(digit_dataset.limit(5), files, strict=True):
        sample.filepath = str(tmp_path / name)
        sample.save()
    return digit_dataset


def test_unreadable_images_are_an_error_before_any_training(broken_dataset: fo.Dataset) -> None:
    before = state(broken_dataset)
    with pytest.raises(ValueError, match=r"5 of 60 images cannot be read.*skip_failures=True") as caught:
        learn(broken_dataset, models={"tiny": never})
    for part in ("missing1.png: no such file", "empty.png: the file is empty", "text.jpg: not an image"):
        assert part in str(caught.value)
    assert state(broken_dataset) == before


def test_leaving_images_out_is_not_advised_where_none_can_be_read(digit_dataset: fo.Dataset) -> None:
    digit_dataset.set_values("filepath", [f"/no/{index}.png" for index in range(60)])
    with pytest.raises(ValueError, match=r"60 of 60 images cannot be read .*; check that their files") as caught:
        learn(digit_dataset)
    assert "skip_failures" not in str(caught.value)


def test_unreadable_images_can_be_left_out(broken_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    broken = set(broken_dataset.limit(5).values("id"))
    result = learn(broken_dataset, skip_failures=True, progress=True)["tiny"]
    message = capsys.readouterr().err
    assert "images that cannot be read: 5; they are left out" in message
    assert "missing1.png: no such file" in message
    assert set(result.ids) == set(broken_dataset.values("id")) - broken
    files = values_of(broken_dataset, "filepath")
    assert [files[id] for id in result.ids] == result.filepaths.tolist()
    assert {id for id, value in values_of(broken_dataset, SCORE).items() if value is None} == broken
    assert broken_dataset.get_run_info("learnability").config.num_unreadable == 5


def test_a_message_names_few_of_many_unreadable_images(digit_dataset: fo.Dataset) -> None:
    digit_dataset.set_values("filepath", [f"/nowhere/{number}.png" for number in range(60)])
    with pytest.raises(ValueError, match=r"60 of 60 images.*and 55 more"):
        learn(digit_dataset, models={"tiny": never})
    with pytest.raises(ValueError, match="fewer than two classes have images that can be read"):
        learn(digit_dataset, models={"tiny": never}, skip_failures=True)


def test_the_next_run_takes_the_images_from_the_cache(
    digit_dataset: fo.Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 0.0)
    options: dict[str, Any] = {"overwrite": True, "epochs": 2}
    uncached = learn(digit_dataset, cache_images=False, **options)["tiny"]
    kept = cache / "fiftyone-learnability" / "images"
    assert not kept.exists()
    first = learn(digit_dataset, **options)["tiny"]
    assert len(list(kept.iterdir())) == 2
    decoded: list[int] = []

    def count(filepaths: list[str], *arguments: Any) -> DecodedImages:
        decoded.append(len(filepaths))
        return decode_images(filepaths, *arguments)

    monkeypatch.setattr(preparation, "decode_images", count)
    recorder = Recorder()
    second = learn(digit_dataset, progress=recorder, **options)["tiny"]
    assert decoded == []
    for result in (first, second):
        np.testing.assert_array_equal(result.learnability, uncached.learnability)
    (event,) = (event for event in recorder.events if event.stage == "images")
    assert (event.fraction, event.message) == (
        1.0,
        "60 images from the cache of an earlier run",
    )
    # another view is another set of images, and a changed file is decoded again
    learn(digit_dataset.limit(50), name="part", **options)
    assert decoded == [50]
    file = Path(digit_dataset.first().filepath)
    content = file.read_bytes()
    try:
        Image.new("L", (32, 32), 255).save(file)
        changed = learn(digit_dataset, **options)["tiny"]
    finally:
        file.write_bytes(content)
    assert decoded == [50, 60]
    assert not np.array_equal(changed.learnability, uncached.learnability)
    learn(digit_dataset, cache_images=False, **options)
    assert decoded == [50, 60, 60]


def test_a_run_works_without_a_writable_image_cache(
    digit_dataset: fo.Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 0.0)
    (cache / "fiftyone-learnability").mkdir(parents=True)
    (cache / "fiftyone-learnability" / "images").write_text("no folder")
    recorder = Recorder()
    learn(digit_dataset, progress=recorder)
    assert digit_dataset.has_field(SCORE)
    (message,) = (event.message for event in recorder.events if "next run" in event.message)
    assert message.startswith("the images could not be kept for the next run: ")


def test_unreadable_images_are_tried_again_in_each_run(
    broken_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_cache, "LEAST_SECONDS", 0.0)
    for _ in range(2):
        recorder = Recorder()
        learn(broken_dataset, skip_failures=True, overwrite=True, progress=recorder)
        assert any("images that cannot be read: 5" in event.message for event in recorder.events)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "label field": ({"label_field": "missing"}, ValueError, r"no field 'missing'.*ground_truth"),
    "label type": ({"label_field": "created_at"}, ValueError, r"'created_at' is of type DateTimeField"),
    "network": ({"models": ["resnet21"]}, ValueError, r"unknown network 'resnet21'.*resnet20, vgg16, mobilenet"),
    "no network": ({"models": []}, ValueError, r"no network given"),
    "nameless network": ({"models": [tiny]}, TypeError, r"pass networks of your own as a mapping"),
    "network twice": ({"models": ["resnet20", "resnet20"]}, ValueError, r"'resnet20' is given twice"),
    "epochs": ({"epochs": 0}, ValueError, r"epochs must be a whole number of at least 1, not 0"),
    "device": ({"device": "abacus"}, ValueError, r"unknown device 'abacus'.*'cpu'"),
    "fp16": ({"precision": "fp16"}, ValueError, r"'fp16' needs a CUDA GPU"),
    "key": ({"key": "two words"}, ValueError, r"must be an identifier"),
    "network that fails": (
        {"models": {"mine": lambda num_classes, in_channels: nn.Linear(7, num_classes)}},
        ValueError,
        r"'mine' does not take images of shape \(2, 1, 32, 32\)",
    ),
    "too many logits": (
        {"models": {"mine": lambda num_classes, in_channels: tiny(num_classes + 1, in_channels)}},
        ValueError,
        r"'mine' must return logits of shape \(2, 3\)",
    ),
}


@pytest.mark.parametrize(("options", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_before_any_training(
    digit_dataset: fo.Dataset, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    # the first network is fine: its training would start
    Watched.trained = False
    models = options.get("models", {})
    wrong = options | ({"models": {"first": Watched, **models}} if isinstance(models, dict) else {})
    before = state(digit_dataset)
    with pytest.raises(error, match=message):
        learn(digit_dataset, **wrong)
    assert not Watched.trained
    assert state(digit_dataset) == before


def test_the_watched_network_notices_a_training(digit_dataset: fo.Dataset) -> None:
    Watched.trained = False
    learn(digit_dataset, models={"first": Watched})
    assert Watched.trained


@pytest.mark.parametrize("overwrite", [False, True])
def test_existing_fields_are_refused_before_any_training(digit_dataset: fo.Dataset, overwrite: bool) -> None:
    digit_dataset.add_sample_field(SCORE, fo.StringField if overwrite else fo.FloatField)
    with pytest.raises(ValueError, match="cannot be replaced" if overwrite else "overwrite=True"):
        learn(digit_dataset, models={"tiny": never}, overwrite=overwrite)


def test_an_existing_run_is_refused_before_any_training(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset, key="mine")
    before = state(digit_dataset)
    with pytest.raises(ValueError, match="already has a run 'mine'"):
        learn(digit_dataset, models={"other": never}, key="mine")
    assert state(digit_dataset) == before


def test_one_class_and_empty_views_are_refused(digit_dataset: fo.Dataset) -> None:
    with pytest.raises(ValueError, match="has only one class, '4'"):
        learn(digit_dataset.match(fo.ViewField("ground_truth.label") == "4"), models={"tiny": never})
    with pytest.raises(ValueError, match="is empty"):
        learn(digit_dataset.limit(0), models={"tiny": never})


def test_overwriting_with_other_networks(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset, "a", "b")
    old = values_of(digit_dataset, "learnability_a")
    learn(digit_dataset, "b", "c", seed=1, overwrite=True)
    assert values_of(digit_dataset, "learnability_a") == old
    assert digit_dataset.count("learnability_b") == digit_dataset.count("learnability_c") == 60
    assert fol.list_runs(digit_dataset) == ["learnability", "learnability_2"]
    assert fol.find_models(digit_dataset) == ["a", "b", "c"]
    fol.delete_run(digit_dataset, "learnability")
    assert fol.find_models(digit_dataset) == ["b", "c"]
    assert digit_dataset.count("learnability_b") == 60


MEASURED = ("hits", "variability", "forgetting", "learned_epoch", "aum", "el2n", "ambiguity")


@pytest.mark.parametrize(
    ("scores", "runs", "expected"),
    [
        (None, 1, ()),
        ("all", 1, MEASURED),
        ("all", 2, (*MEASURED, "spread")),
        (["el2n", "hits"], 1, ("hits", "el2n")),
        (("learnability", "aum"), 1, ("aum",)),
        ("forgetting", 1, ("forgetting",)),
        (["spread"], 2, ("spread",)),
        ([], 1, ()),
    ],
)
def test_the_requested_scores_are_written(
    digit_dataset: fo.Dataset, scores: Any, runs: int, expected: tuple[str, ...]
) -> None:
    # random labels: some are never predicted, and some are forgotten
    labels = np.random.default_rng(1).choice(list("014"), 60)
    digit_dataset.set_values("ground_truth", [fo.Classification(label=str(label)) for label in labels])
    results = learn(digit_dataset, "a", "b", epochs=4, runs=runs, scores=scores)
    written = ("learnability", "rank", *expected)
    names = [name for name in digit_dataset.get_field_schema() if name.startswith("learnability")]
    assert names == [score_field(model, name) for model in ("a", "b") for name in written]
    for model, result in results.items():
        for name in written:
            assert values_of(digit_dataset, score_field(model, name)) == dict(
                zip(result.ids, result.score(name).tolist(), strict=True)
            )
        # all scores are measured
        measured = ("learnability", "rank", *MEASURED)
        assert result.scores == (measured if runs == 1 else (*measured, "spread"))
    if "forgetting" in expected:
        assert np.inf in digit_dataset.values("learnability_a_forgetting")
    assert digit_dataset.get_run_info("learnability").config.scores == list(written)
    assert sorted(fol.delete_run(digit_dataset, "learnability")) == sorted(names)


def test_scores_can_be_written_later(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset, "a", scores="all", seed=3)
    names = [name for name in digit_dataset.get_field_schema() if name.startswith("learnability")]
    expected = {name: values_of(digit_dataset, name) for name in names}
    learn(digit_dataset, "a", seed=3, overwrite=True)
    assert fol.find_scores(digit_dataset, "a") == ["learnability", "rank"]
    fol.add_scores(digit_dataset)
    assert {name: values_of(digit_dataset, name) for name in names} == expected
    assert len(names) == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": "luck"}, "unknown score 'luck': choose from learnability, rank, hits"),
        ({"scores": ["hits", "luck"]}, "unknown score 'luck'"),
        ({"scores": ["disagreement"]}, "unknown score 'disagreement'"),
        ({"scores": 7}, "scores must be a list of names or 'all', not 7"),
        ({"scores": ["spread"]}, "compares several runs: set runs=2 or more"),
        ({"el2n_epoch": 0}, "el2n_epoch must be a whole number of at least 1, not 0"),
        ({"el2n_epoch": 3}, "el2n_epoch must be at most 2, the epochs of the training, not 3"),
        ({"el2n_epoch": 1.5}, "el2n_epoch must be a whole number of at least 1, not 1.5"),
    ],
)
def test_impossible_scores_are_refused_before_any_training(
    digit_dataset: fo.Dataset, options: dict[str, Any], message: str
) -> None:
    before = state(digit_dataset)
    with pytest.raises(ValueError, match=re.escape(message)):
        learn(digit_dataset, models={"tiny": never}, **options)
    assert state(digit_dataset) == before


def test_an_existing_score_field_is_refused_before_any_training(digit_dataset: fo.Dataset) -> None:
    digit_dataset.add_sample_field("learnability_tiny_aum", fo.FloatField)
    with pytest.raises(ValueError, match="already has the field 'learnability_tiny_aum'"):
        learn(digit_dataset, models={"tiny": never}, scores="all")
    learn(digit_dataset, scores=["hits"])
    assert digit_dataset.count("learnability_tiny_aum") == 0


def test_el2n_is_measured_at_its_epoch(digit_dataset: fo.Dataset) -> None:
    def errors(model: str, **options: Any) -> tuple[np.ndarray, int]:
        result = learn(digit_dataset, models={model: tiny}, epochs=4, **options)[model]
        key = fol.list_runs(digit_dataset)[-1]
        return result.score("el2n"), digit_dataset.get_run_info(key).config.el2n_epoch

    first, default = errors("a")
    assert default == 1
    again, epoch = errors("b", el2n_epoch=1)
    assert epoch == 1
    np.testing.assert_array_equal(again, first)
    last, epoch = errors("c", el2n_epoch=4)
    assert epoch == 4
    # the network has learned more by then
    assert last.mean() < first.mean()


def test_a_later_run_does_not_change_the_first(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset, "a")
    old = values_of(digit_dataset, "learnability_a")
    learn(digit_dataset, "b")
    fol.delete_run(digit_dataset, "learnability_2")
    assert values_of(digit_dataset, "learnability_a") == old
    assert "learnability_a" in digit_dataset.list_indexes()


@pytest.mark.parametrize("stage", ["images", "training"])
def test_an_exception_in_the_callback_ends_the_run(digit_dataset: fo.Dataset, stage: str) -> None:
    events: list[ProgressEvent] = []

    def stop(event: ProgressEvent) -> None:
        events.append(event)
        if event.stage == stage:
            raise KeyError("enough")

    before = state(digit_dataset)
    with pytest.raises(KeyError, match="enough"):
        learn(digit_dataset, "a", "b", epochs=5, progress=stop)
    assert [event.stage for event in events].count(stage) == 1
    assert events[-1].stage == stage
    assert state(digit_dataset) == before
    assert scratch_collections() == []


def test_a_sample_deleted_during_the_training_is_reported(
    digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = digit_dataset.values("id")[4]
    recorder = Recorder(lambda: digit_dataset.delete_samples([gone]))
    result = learn(digit_dataset, progress=recorder)["tiny"]
    assert gone in result.ids
    assert digit_dataset.count(SCORE) == len(digit_dataset) == 59
    # the App, which has only a callback, shows it too
    assert recorder.events[-1].stage == "writing"
    assert f"samples deleted during the run: 1 ({gone})" in recorder.events[-1].message


def test_a_sample_deleted_right_before_writing_is_reported(
    digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = digit_dataset.values("id")[4]
    write_results = fields.write_results

    def delete_first(*args: Any, **kwargs: Any) -> Any:
        digit_dataset.delete_samples([gone])
        return write_results(*args, **kwargs)

    monkeypatch.setattr("fiftyone_learnability.delivery.write_results", delete_first)
    learn(digit_dataset, progress=True)
    message = capsys.readouterr().err
    assert f"samples deleted during the run: 1 ({gone})" in message
    assert "59 samples" in message


@pytest.mark.parametrize("of_a_view", [False, True])
def test_a_dataset_deleted_during_the_training_loses_no_results(
    digit_dataset: fo.Dataset, make_dataset: Callable[..., fo.Dataset], of_a_view: bool
) -> None:
    files, labels = digit_dataset.values(["filepath", "ground_truth.label"])
    samples = digit_dataset.limit(50) if of_a_view else digit_dataset
    with pytest.raises(WriteError, match="nothing was written") as caught:
        learn(samples, "a", "b", progress=Recorder(digit_dataset.delete))
    message = re.search(r"`fiftyone-learnability import DATASET (\S+)/results/<network>.npz` writes", str(caught.value))
    folder = Path(message.group(1))
    another = make_dataset(files, labels)
    for name in ("a", "b"):
        kept = ModelResults.from_npz(folder / "results" / f"{name}.npz")
        assert kept.num_samples == (50 if of_a_view else 60)
        assert ((kept.learnability > 0) & (kept.learnability < 1)).all()
        fol.import_scores(another, folder / "results" / f"{name}.npz")
        assert another.count(f"learnability_{name}") == kept.num_samples
    with pytest.raises(ValueError, match="no longer exists"):
        write_run_directory(folder)


def test_a_field_that_appears_during_the_training_is_not_overwritten(digit_dataset: fo.Dataset) -> None:
    recorder = Recorder(lambda: digit_dataset.add_sample_field(SCORE, fo.FloatField, description="theirs"))
    with pytest.raises(WriteError, match=r"already has the field 'learnability_tiny'.*saved") as caught:
        learn(digit_dataset, progress=recorder)
    assert digit_dataset.get_field(SCORE).description == "theirs"
    assert digit_dataset.count(SCORE) == 0
    assert fol.list_runs(digit_dataset) == []
    # after the field is deleted
    digit_dataset.delete_sample_field(SCORE)
    write_run_directory(saved(caught))
    assert digit_dataset.count(SCORE) == 60


@pytest.mark.parametrize("how", [{"name": "mine"}, {"overwrite": True}, {"name": ["mine"], "key": "new"}], ids=str)
def test_the_advice_for_scores_that_may_not_be_written_works(digit_dataset: fo.Dataset, how: dict[str, Any]) -> None:
    recorder = Recorder(lambda: learn(digit_dataset, seed=1, key="theirs", run_dir=None))
    with pytest.raises(WriteError, match=r"written by the run 'theirs'.*--name NEW_NAME.*--overwrite") as caught:
        learn(digit_dataset, progress=recorder, key="ours")
    theirs, folder = values_of(digit_dataset, SCORE), saved(caught)
    with pytest.raises(WriteError, match="already has the field"):
        write_run_directory(folder)
    report = write_run_directory(folder, **how)
    name = f"learnability_{'tiny' if 'overwrite' in how else 'mine'}"
    assert report.fields[0] == name
    assert report.key == how.get("key", "ours")
    result = fol.load_results(digit_dataset, report.key)[name.removeprefix("learnability_")]
    assert values_of(digit_dataset, name) == dict(zip(result.ids, result.learnability, strict=True))
    assert (values_of(digit_dataset, SCORE) == theirs) == ("name" in how)


def test_names_of_a_run_to_write_must_fit(digit_dataset: fo.Dataset) -> None:
    recorder = Recorder(lambda: digit_dataset.add_sample_field(SCORE, fo.FloatField))
    with pytest.raises(WriteError) as caught:
        learn(digit_dataset, progress=recorder)
    for names, message in (["a", "b"], "one name for each of the 1 networks tiny, not a, b"), ("a-b", "letters"):
        with pytest.raises(ValueError, match=message):
            write_run_directory(saved(caught), name=names)


def test_one_network_is_kept_under_several_names(digit_dataset: fo.Dataset) -> None:
    train, test = digit_dataset.limit(40), digit_dataset.skip(40)
    learn(train)
    with pytest.raises(ValueError, match=r"already has the field 'learnability_tiny'.*another name with name="):
        learn(test)
    results = learn(test, name="tiny_test", seed=1)
    assert list(results) == ["tiny_test"]
    assert results["tiny_test"].model == "tiny_test"
    assert fol.find_models(digit_dataset) == ["tiny", "tiny_test"]
    assert (digit_dataset.count(SCORE), digit_dataset.count("learnability_tiny_test")) == (40, 20)
    assert len(fol.hardest_samples(digit_dataset, "tiny_test", 5)) == 5
    config = digit_dataset.get_run_info("learnability_2").config
    assert (config.models, config.architectures) == (["tiny_test"], {"tiny_test": "tiny"})
    # the name is no part of the training
    alone = learn(test, seed=1, name="again")["again"]
    np.testing.assert_array_equal(alone.learnability, results["tiny_test"].learnability)


def test_several_networks_have_a_name_each(digit_dataset: fo.Dataset) -> None:
    assert list(learn(digit_dataset, "a", "b", name=["a_1", "b_1"])) == ["a_1", "b_1"]
    assert fol.find_models(digit_dataset) == ["a_1", "b_1"]
    with pytest.raises(ValueError, match="name must be one name for each of the 2 networks a, b, not both"):
        learn(digit_dataset, models={"a": never, "b": never}, name="both")


def test_overwriting_the_scores_of_another_view_is_refused_before_any_training(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset.limit(40))
    before = state(digit_dataset)
    with pytest.raises(ValueError, match=r"40 samples outside this call have values in 'learnability_tiny'"):
        learn(digit_dataset.skip(40), models={"tiny": never}, overwrite=True)
    assert state(digit_dataset) == before


def test_scores_of_another_process_are_seen_before_any_training(digit_dataset: fo.Dataset) -> None:
    learn(unshared_dataset(digit_dataset.name))
    with pytest.raises(ValueError, match="already has the field 'learnability_tiny', written by the run"):
        learn(digit_dataset, models={"tiny": never})


def test_too_many_indexes_are_refused_before_any_training(digit_dataset: fo.Dataset) -> None:
    for number in range(63 - len(digit_dataset.list_indexes())):
        digit_dataset.add_sample_field(f"f{number}", fo.IntField)
        digit_dataset.create_index(f"f{number}")
    with pytest.raises(ValueError, match="would need 2 more, but MongoDB allows 64"):
        learn(digit_dataset, models={"tiny": never})


def test_a_view_that_a_run_cannot_keep_is_refused_before_any_training(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "MOST_VIEW_BYTES", 1_000)
    with pytest.raises(ValueError, match="about 500,000 ids: tag its samples"):
        learn(digit_dataset.select(digit_dataset.values("id")), models={"tiny": never})


@pytest.mark.parametrize("by_another_process", [False, True])
def test_a_read_only_field_is_refused_before_any_training(digit_dataset: fo.Dataset, by_another_process: bool) -> None:
    learn(digit_dataset)
    dataset = unshared_dataset(digit_dataset.name) if by_another_process else digit_dataset
    field = dataset.get_field(RANK)
    field.read_only = True
    field.save()
    with pytest.raises(ValueError, match="the field 'learnability_rank_tiny' is read-only"):
        learn(digit_dataset, models={"tiny": never}, overwrite=True)


def test_a_dataset_that_another_process_deleted_is_named(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset)
    unshared_dataset(digit_dataset.name).delete()
    for call in (learn, fol.scores_table, fol.write_consensus, fol.list_runs):
        with pytest.raises(ValueError, match=f"the dataset '{digit_dataset.name}' was deleted"):
            call(digit_dataset)


@pytest.mark.parametrize("of_a_view", [False, True])
def test_a_database_that_fails_loses_no_results(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, cache: Path, of_a_view: bool
) -> None:
    before = state(digit_dataset)
    samples = digit_dataset.limit(40) if of_a_view else digit_dataset
    with monkeypatch.context() as patch:
        patch.setattr(columns, "merge", raiser(ConnectionError("the database is away")))
        with pytest.raises(WriteError, match=r"the database is away.*saved: `fiftyone-learnability write") as caught:
            learn(samples)
        folder = saved(caught)
        assert ModelResults.from_npz(folder / "results" / "tiny.npz").num_samples == len(samples)
        assert state(digit_dataset) == before
        # it may fail again
        with pytest.raises(WriteError, match="the database is away") as caught:
            write_run_directory(folder)
        assert saved(caught) == folder
    report = write_run_directory(folder)
    assert (report.key, report.num_written, report.vanished) == ("learnability", len(samples), [])
    assert digit_dataset.count(SCORE) == len(digit_dataset.load_run_view("learnability")) == len(samples)
    with pytest.raises(ValueError, match="there is no run directory"):
        write_run_directory(folder)
    assert nothing_left_in(cache)


def test_a_training_that_diverges_writes_nothing(digit_dataset: fo.Dataset) -> None:
    before = state(digit_dataset)
    with pytest.raises(TrainingDivergedError, match=r"tiny: .*try a lower one, such as lr="):
        learn(digit_dataset, epochs=20, lr=1e25)
    assert state(digit_dataset) == before


@pytest.mark.parametrize(("batch_size", "lr"), [(128, 0.1), (32, 0.025)])
def test_the_learning_rate_scales_with_the_batch_size(digit_dataset: fo.Dataset, batch_size: int, lr: float) -> None:
    result = learn(digit_dataset, batch_size=batch_size)["tiny"]
    assert result.config["lr"] == pytest.approx(lr)


def test_a_callback_receives_every_stage(digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    learn(digit_dataset, "a", "b", epochs=3, runs=2, progress=recorder)
    stages = [event.stage for event in recorder.events]
    assert sorted(set(stages), key=stages.index) == ["images", "notice", "training", "writing"]
    for stage in ("images", "training", "writing"):
        fractions = [event.fraction for event in recorder.events if event.stage == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1
    # a slow epoch has further events, without a loss
    training = [event for event in recorder.events if event.stage == "training" and event.loss is not None]
    expected = [(m, r, e) for m in "ab" for r in (1, 2) for e in (1, 2, 3)]
    assert [(event.model, event.run, event.epoch) for event in training] == expected
    for event in training:
        assert event.epochs == 3
        assert event.loss > 0
        assert 0 <= event.accuracy <= 1
        assert event.samples_per_second > 0
        assert event.seconds_left >= 0
    assert training[2].seconds_left == 0
    assert capsys.readouterr() == ("", "")


def test_no_progress_is_silent(digit_dataset: fo.Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    learn(digit_dataset, progress=False)
    assert capfd.readouterr() == ("", "")


def test_progress_shows_device_reason_and_result(digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    learn(digit_dataset, progress=True)
    output = capsys.readouterr()
    assert output.out == ""
    reason = r"^device cpu \(\d+ threads\): as asked; precision (float32|bf16): this CPU has .+$"
    assert re.search(reason, output.err, re.MULTILINE)
    for part in (
        "reading images",
        "epoch 2/2",
        "loss ",
        "accuracy ",
        "wrote learnability_tiny",
        "60 samples",
        "run 'l",
    ):
        assert part in output.err


def test_the_device_that_auto_takes_is_explained(
    digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    result = learn(digit_dataset, device="auto", progress=True)["tiny"]
    assert "no GPU was found" in capsys.readouterr().err
    assert result.config["device"] == "cpu"


def test_settings_are_registered(digit_dataset: fo.Dataset) -> None:
    learn(digit_dataset, key="mine", lr=0.05, image_size=16, seed=3, precision="float32")
    config = digit_dataset.get_run_info("mine").config
    expected = {"label_field": "ground_truth", "lr": 0.05, "image_size": 16, "seed": 3, "epochs": 2, "runs": 1}
    expected |= {"models": ["tiny"], "classes": ["0", "1", "4"], "num_samples": 60, "batch_size": 16, "device": "cpu"}
    expected |= {"package_version": fol.__version__, "precision": "float32", "num_unlabelled": 0, "num_unreadable": 0}
    assert {name: getattr(config, name) for name in expected} == expected
    stored = fol.load_results(digit_dataset, "mine")["tiny"]
    assert stored.config["seeds"] == [3]
    assert len(stored.learning_curves()) == 2


def test_an_early_stop_is_noted_in_the_run(digit_dataset: fo.Dataset) -> None:
    results = learn(digit_dataset, key="mine", epochs=20, runs=2, measure_every=2, stop_when_stable=0.9)
    result = results["tiny"]
    first, second = result.epochs_run
    # the mean of two runs is over the same epochs
    assert first == second < 20
    assert first % 2 == 0
    assert result.config["epochs_run"] == [first, first]
    assert result.measured_epochs.tolist() == list(range(2, first + 1, 2))
    assert result.dynamics.shape == (first // 2, 60)
    config = digit_dataset.get_run_info("mine").config
    settled, followed = config.remarks
    assert settled.startswith(f"tiny, seed 0: stopped after {first} of 20 epochs because the ranking is stable")
    assert followed.startswith(f"tiny, seed 1: stopped after {first} of 20 epochs as the first run did: its Spearman")
    assert (config.measure, config.measure_every, config.stop_when_stable) == ("exact", 2, 0.9)
    stored = fol.load_results(digit_dataset, "mine")["tiny"]
    assert stored.config["epochs_run"] == stored.epochs_run.tolist() == [first, first]
    assert stored.learning_curves()["measured_accuracy"].notna().sum() == first
    assert fol.stability(digit_dataset)["tiny"].epochs.tolist() == result.measured_epochs.tolist()
    # so do the fields
    field = digit_dataset.get_field(SCORE)
    assert f"60 samples, stopped after {first} of 20 epochs, mean of 2 runs" in field.description
    assert field.info["learnability"]["epochs"] == first


def test_stop_when_stable_true_means_the_default_bound(digit_dataset: fo.Dataset) -> None:
    assert learn(digit_dataset, stop_when_stable=True)["tiny"].config["stop_when_stable"] == DEFAULT_BOUND


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, lambda: torch.device("meta")])
def test_the_callers_settings_of_torch_change_nothing(digit_dataset: fo.Dataset, context: Callable[[], Any]) -> None:
    expected = learn(digit_dataset)["tiny"].learnability
    with context():
        found = learn(digit_dataset, key="again", overwrite=True, resume=False)["tiny"].learnability
    np.testing.assert_array_equal(found, expected)


def test_a_network_that_flattens_by_view_is_trained(digit_dataset: fo.Dataset) -> None:
    class Flat(nn.Module):
        def __init__(self, num_classes: int, in_channels: int) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(in_channels, 2, 3, 2), nn.LazyLinear(num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.head(x.view(x.size(0), -1))

    assert learn(digit_dataset, models={"flat": Flat})["flat"].num_samples == 60


def test_a_network_that_cannot_be_trained_is_refused_before_any_training(digit_dataset: fo.Dataset) -> None:
    frozen = lambda num_classes, in_channels: tiny(num_classes, in_channels).requires_grad_(False)  # noqa: E731
    recorder = Recorder()
    with pytest.raises(ValueError, match=r"^the network 'frozen' cannot be trained: all its weights are frozen"):
        learn(digit_dataset, models={"tiny": tiny, "frozen": frozen}, progress=recorder)
    assert all(event.stage != "training" for event in recorder.events)


def test_fresh_statistics_are_announced(digit_dataset: fo.Dataset) -> None:
    recorder = Recorder()
    learn(digit_dataset, models="resnet20", epochs=1, lr=0.01, progress=recorder)
    (said,) = [event.message for event in recorder.events if "batch norms" in event.message]
    assert said.startswith("resnet20: 4 steps an epoch are too few for the running statistics of batch norms")


def test_online_measurement_differs_and_is_noted(digit_dataset: fo.Dataset) -> None:
    exact, online = (
        learn(digit_dataset, epochs=3, measure=measure, overwrite=True)["tiny"] for measure in ("exact", "online")
    )
    assert online.config["measure"] == "online"
    np.testing.assert_array_equal(online.train_loss, exact.train_loss)
    np.testing.assert_allclose(online.measured_accuracy, online.train_accuracy)
    assert np.abs(online.learnability - exact.learnability).max() > 1e-3


def test_images_are_decoded_once_for_all_networks_and_runs(digit_dataset: fo.Dataset) -> None:
    recorder = Recorder()
    learn(digit_dataset, "a", "b", runs=2, cache_images=False, progress=recorder)
    read = [event.message for event in recorder.events if event.stage == "images"]
    assert read[-1] == "reading images: 60 of 60"
    assert len(set(read)) == len(read)


@pytest.mark.parametrize("image_size", [None, 16])
def test_mixed_sizes_and_modes_are_resized_with_a_message(
    make_dataset: Callable[..., fo.Dataset],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    image_size: int | None,
) -> None:
    files, labels = [], []
    for number, mode in enumerate(["RGB", "L", "RGBA", "CMYK", "P", "1"] * 2):
        size = (20 + 3 * number, 40)
        path = tmp_path / f"{number}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.new("RGB", size, "white" if number % 2 else "black").convert(mode).save(path)
        files.append(str(path))
        labels.append("white" if number % 2 else "black")
    shapes: list[tuple[int, ...]] = []

    class Looking(nn.Module):
        def __init__(self, num_classes: int, in_channels: int) -> None:
            super().__init__()
            self.network = tiny(num_classes, in_channels)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(x.shape[1:]))
            return self.network(x)

    dataset = make_dataset(files, labels)
    result = learn(dataset, models={"tiny": Looking}, image_size=image_size, progress=True, epochs=5)["tiny"]
    size = image_size or 32
    message = capsys.readouterr().err
    assert f"images are of 12 sizes and are resized to {size}x{size} pixels" in message
    assert ("the default; image_size changes it" in message) == (image_size is None)
    assert "images in CMYK or another colour space: 2; they are converted to RGB" in message
    # these have an alpha channel, but are opaque
    assert "transparency" not in message
    assert set(shapes) == {(3, size, size)}
    assert result.measured_accuracy[0, -1] == 1


def test_shapes_in_the_alpha_channel_and_few_of_16_bits_are_learned_with_a_message(
    make_dataset: Callable[..., fo.Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files, labels = [], []
    for number in range(24):
        large = number % 2
        shape = np.zeros((32, 32), bool)
        shape[4 : 28 if large else 10, 4:28] = True
        if number < 12:
            # a black icon
            image = Image.fromarray(np.dstack([np.zeros((32, 32, 3)), shape * 255]).astype(np.uint8), "RGBA")
        else:
            # 200 of 65536 levels
            image = Image.fromarray(np.where(shape, 1000, 1200).astype(np.uint16))
        files.append(str(tmp_path / f"{number}.png"))
        image.save(files[-1])
        labels.append("large" if large else "small")
    dataset = make_dataset(files, labels)
    result = learn(dataset, progress=True, epochs=8)["tiny"]
    message = capsys.readouterr().err
    assert message.count("images with transparency: 12; they are drawn on white") == 1
    assert message.count("images of more than 8 bits: 12; their values from 1000 to 1200") == 1
    assert result.measured_accuracy[0, -1] == 1


def test_images_of_the_right_size_give_no_message(
    digit_dataset: fo.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    learn(digit_dataset, progress=True)
    assert "resized" not in capsys.readouterr().err
    learn(digit_dataset, "other", image_size=16, progress=True)
    assert "images are 32x32 and are resized to 16x16 pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (60 * 32 * 32 * 3 - 1, "60 images of 32x32 pixels would take .* GB of memory, .* smaller image_size"),
        (
            60 * 10_000 * 2 - 1,
            "record_dynamics: 10000 epochs of 60 samples would take .* GB of memory, .* fewer epochs",
        ),
    ],
)
def test_images_and_curves_that_exceed_memory_are_refused(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, memory: int, message: str
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=memory))
    before = state(digit_dataset)
    with pytest.raises(ValueError, match=message):
        learn(digit_dataset, epochs=10_000)
    assert state(digit_dataset) == before
    # curves that are not recorded take no memory
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=memory + 1))
    learn(digit_dataset, epochs=1, record_dynamics=False)


def test_cifar10_from_end_to_end(
    cifar10_train: Callable[[int], tuple[list[str], list[str]]],
    make_dataset: Callable[..., fo.Dataset],
    tmp_path: Path,
) -> None:
    dataset = make_dataset(*cifar10_train(300))
    options = {"batch_size": 32, "lr": 0.05, "crop_padding": 4, "horizontal_flip": True}
    results = learn(dataset, models="resnet20", epochs=2, **options)
    learn(dataset, "linear", epochs=4, **options)
    result = results["resnet20"]
    assert result.num_samples == 300
    assert len(result.classes) == 10
    assert dataset.get_run_info("learnability").config.image_size == 32
    ranks = dataset.values("learnability_rank_resnet20")
    assert min(ranks) >= 1
    assert max(ranks) == 300
    assert dataset.count("learnability_linear") == 300
    # better than guessing
    linear = fol.load_results(dataset, "learnability_2")["linear"]
    assert linear.measured_accuracy[0, -1] > 0.15
    assert dataset.mean("learnability_linear") > 0.1
    comparison = fol.compare_models(dataset)
    assert -1 < comparison.pearson[0, 1] < 1
    picture = fol.plot_comparison(dataset, tmp_path / "figure.png")
    with Image.open(picture) as image:
        assert min(image.size) > 500


@pytest.mark.parametrize("shown", [True, False])
def test_progress_is_shown_where_fiftyone_shows_it(
    digit_dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shown: bool
) -> None:
    monkeypatch.setattr(fo.config, "show_progress_bars", shown)
    learn(digit_dataset, progress=None)
    assert ("samples/s" in capsys.readouterr().err) == shown
    # what the call says takes precedence
    learn(digit_dataset, "other", progress=not shown)
    assert ("samples/s" in capsys.readouterr().err) != shown
    assert inspect.signature(fol.compute_learnability).parameters["progress"].default is None
