"""compute_learnability: what its form asks and says, what it refuses, and training on the spot."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.dataset.internals import dataset_id, get_database
from fiftyone_learnability.experiment.rate import remember_rate

from ..harness import PLUGIN, execute, form, make_context, plugin_module
from .helpers import in_view

MakeDataset = Callable[..., fo.Dataset]


def count_jobs(dataset: fo.Dataset) -> int:
    """The number of operations that were queued for a dataset."""
    return get_database()["delegated_ops"].count_documents({"dataset_id": dataset_id(dataset)})


def test_the_form_of_compute(unscored: fo.Dataset) -> None:
    unscored.add_sample_field("price", fo.FloatField)
    unscored.add_sample_field("kind", fo.StringField)
    unscored.add_sample_field("boxes", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    shown = form("compute_learnability", unscored)
    assert not shown.invalid
    assert shown.fields["label_field"]["type"]["values"] == ["ground_truth", "kind"]
    assert shown.choices("models") == ["resnet20", "vgg16", "mobilenet"]
    assert shown.choices("preset") == ["paper", "standard", "quick", "custom"]
    assert shown.choices("how") == ["background", "scheduled", "now"]
    assert "epochs" not in shown.fields
    assert "runs" not in shown.fields
    assert "existing" not in shown.fields
    assert "**10** images" in shown.defaults["consequences"]
    assert "`learnability_resnet20`, `learnability_rank_resnet20`" in shown.defaults["consequences"]
    # the defaults are valid: they are the paper's experiment
    request = plugin_module("operators.compute").Request.from_params(shown.defaults)
    assert (request.models, request.settings.epochs, request.settings.runs) == (["resnet20"], 200, 1)
    assert request.settings.overwrite is False
    # the page measures the speed of the chosen network
    assert shown.fields["speed"]["view"]["params"] == {"models": ["resnet20"], "image_size": 32, "device": "auto"}
    advanced = form("compute_learnability", unscored, {"advanced": True, "preset": "custom"})
    names = {"epochs", "runs", "key", "batch_size", "lr", "image_size", "seed", "device", "skip_failures"}
    names |= {"measure", "measure_every", "stop_when_stable"}
    assert names < set(advanced.fields)
    plugin_module("operators.compute").Request.from_params(advanced.defaults)


def test_the_form_speaks_of_the_target(unscored: fo.Dataset) -> None:
    view = in_view(unscored.limit(4))["view"]
    some = unscored.values("id")[:3]
    params = {"models": ["vgg16", "mobilenet"]}
    shown = form("compute_learnability", unscored, params, view=view, selected=some)
    assert "**4** images" in shown.defaults["consequences"]
    assert {"DATASET", "CURRENT_VIEW", "SELECTED_SAMPLES"} <= set(shown.choices("view_target"))
    for target, count in (("DATASET", 10), ("CURRENT_VIEW", 4), ("SELECTED_SAMPLES", 3)):
        shown = form("compute_learnability", unscored, {**params, "view_target": target}, view=view, selected=some)
        assert f"**{count}** images" in shown.defaults["consequences"]
        # the App makes a selection the target by itself: the form must say so
        assert ("Only the 3 selected samples" in shown.text) == (target == "SELECTED_SAMPLES")
    assert "`learnability_rank_mobilenet`" in shown.defaults["consequences"]


def test_the_form_counts_the_labelled_images(unscored: fo.Dataset) -> None:
    labels = unscored.values("ground_truth.label")
    remember_rate("resnet20", 32, "auto", 0.5)
    assert (
        "**10** images.\n\nTakes about **67 minutes**"
        in form("compute_learnability", unscored).defaults["consequences"]
    )
    unscored.set_values("ground_truth.label", [None] * 4 + labels[4:])
    text = form("compute_learnability", unscored).defaults["consequences"]
    assert "**6** images with a label; **4** without one are left out" in text
    # the time is that of the images that are trained on
    assert "**40 minutes**" in text
    text = form("compute_learnability", unscored, **in_view(unscored.skip(3).limit(4))).defaults["consequences"]
    assert "**3** images with a label; **1** without one" in text


def test_the_form_refuses_labels_of_one_class(unscored: fo.Dataset) -> None:
    unscored.set_values("ground_truth.label", ["$a"] * 9 + [None])
    unscored.add_sample_field("empty", fo.StringField)
    for field, reason in (("ground_truth", "only one class"), ("empty", "none of the 10 samples has a label")):
        shown = form("compute_learnability", unscored, {"label_field": field})
        assert list(shown.red) == ["label_field"]
        assert reason in shown.red["label_field"].lower()
        with pytest.raises(ValueError, match=reason):
            execute("compute_learnability", unscored, {"label_field": field})


def test_the_estimate_comes_from_the_measured_rate(unscored: fo.Dataset) -> None:
    for model, rate in (("resnet20", 2.0), ("vgg16", 0.5)):
        remember_rate(model, 32, "auto", rate)
    params = {"models": ["resnet20", "vgg16"], "preset": "custom", "epochs": 12, "advanced": True, "runs": 3}
    # 10 samples, 12 epochs, 3 runs: 360 images by each
    shown = form("compute_learnability", unscored, params)
    assert "15 minutes" in shown.defaults["consequences"]
    assert "speed" not in shown.fields
    params = {**params, "image_size": 64}
    shown = form("compute_learnability", unscored, params)
    asked = {"models": ["resnet20", "vgg16"], "image_size": 64, "device": "auto"}
    assert shown.fields["speed"]["view"]["params"] == asked
    assert not shown.invalid
    # a measurement that found nothing is not repeated
    answer = {"speed": {"state": "loaded", "data": {**asked, "known": False}}}
    shown = form("compute_learnability", unscored, {**params, **answer})
    assert "speed" not in shown.fields
    assert "could not be measured" in shown.text
    # too long to wait for
    now = {"models": ["resnet20", "vgg16"], "preset": "paper", "how": "now"}
    shown = form("compute_learnability", unscored, now)
    assert list(shown.red) == ["how"]
    assert "background" in shown.red["how"]
    assert not form("compute_learnability", unscored, {**now, "preset": "custom", "epochs": 5}).invalid


def test_a_long_training_is_advised_against(unscored: fo.Dataset) -> None:
    remember_rate("resnet20", 32, "auto", 0.5)
    shown = form("compute_learnability", unscored)
    advice = shown.fields["advice"]["view"]
    assert "200 epochs take about 67 minutes" in advice["label"]
    assert "Standard (60 epochs, about 20 minutes) or Quick (20 epochs, about 7 minutes)" in advice["description"]
    assert shown.fields["stop_when_stable"]["view"]["label"] == "Stop when the ranking is stable"
    # one that follows the advice reads what it now takes
    shown = form("compute_learnability", unscored, {"stop_when_stable": True})
    assert "advice" not in shown.fields
    assert "stop_when_stable" in shown.fields
    assert "at most **67 minutes**" in shown.defaults["consequences"]
    for short in ({"preset": "standard"}, {"preset": "quick"}):
        shown = form("compute_learnability", unscored, short)
        assert "advice" not in shown.fields
        assert "stop_when_stable" not in shown.fields


def test_the_speed_is_measured(unscored: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    speed = plugin_module("operators.speed")

    class Process:
        def poll(self) -> None:
            # what the measuring process does at its end
            remember_rate("resnet20", 32, "cpu", 5.0)

    monkeypatch.setattr(speed, "start_process", lambda command: Process())
    asked = {"models": ["resnet20"], "image_size": 32, "device": "cpu"}
    assert execute("measure_learnability_speed", unscored, asked).result == {**asked, "known": True}
    for wrong in ({"models": ["os:system"]}, {"models": []}, {"image_size": 10**9}, {"device": "; rm"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            execute("measure_learnability_speed", unscored, {**asked, **wrong})


def test_the_form_offers_to_keep_existing_scores(kept: fo.Dataset) -> None:
    shown = form("compute_learnability", kept, {"models": ["resnet20"]})
    # as it opens: nothing is lost
    assert not shown.invalid
    assert shown.choices("existing") == ["keep", "replace"]
    assert shown.defaults["existing"] == "keep"
    assert "resnet20_2" in shown.text
    assert "`learnability_resnet20_2`, `learnability_rank_resnet20_2`" in shown.defaults["consequences"]
    shown = form("compute_learnability", kept, {"models": ["resnet20"], "existing": "replace"})
    assert not shown.invalid
    assert "`learnability_resnet20`, `learnability_rank_resnet20`" in shown.defaults["consequences"]
    assert "existing" not in form("compute_learnability", kept, {"models": ["mobilenet"]}).fields
    both = form("compute_learnability", kept, {"models": ["resnet20", "mobilenet"]}).defaults["consequences"]
    assert "`learnability_resnet20_2`" in both
    assert "`learnability_mobilenet`" in both
    same_key = {"models": ["mobilenet"], "advanced": True, "key": "learnability"}
    shown = form("compute_learnability", kept, same_key)
    assert list(shown.red) == ["key"]
    assert not form("compute_learnability", kept, {**same_key, "existing": "replace"}).invalid
    shown = form("compute_learnability", kept, {"models": ["mobilenet"], "advanced": True, "key": "a b"})
    assert "identifier" in shown.red["key"]


def test_a_job_gets_the_names_that_keep_existing_scores(scored: fo.Dataset) -> None:
    params = {"models": ["resnet20", "mobilenet"], "existing": "keep", "how": "scheduled"}
    execute("compute_learnability", scored, params)
    operations = get_database()["delegated_ops"]
    (job,) = operations.find({"dataset_id": dataset_id(scored)})
    try:
        request = plugin_module("operators.compute").Request.from_params(job["context"]["request_params"]["params"])
        assert request.names == ["resnet20_2", "mobilenet"]
        assert not request.settings.overwrite
    finally:
        operations.delete_one({"_id": job["_id"]})


def test_the_form_says_what_cannot_be_replaced(unscored: fo.Dataset) -> None:
    unscored.add_sample_field("learnability_resnet20", fo.StringField)
    shown = form("compute_learnability", unscored, {"existing": "replace"})
    assert list(shown.red) == ["existing"]
    assert "StringField" in shown.red["existing"]
    assert not form("compute_learnability", unscored).invalid


@pytest.mark.parametrize("what", ["empty", "unlabelled", "video", "patches"])
def test_the_form_says_why_it_cannot_compute(make_dataset: MakeDataset, what: str) -> None:
    dataset = make_dataset([], [])
    request: dict[str, Any] = {}
    if what == "empty":
        dataset.add_sample_field("ground_truth", fo.StringField)
    elif what == "unlabelled":
        dataset.add_sample(fo.Sample("/no/a.png"))
    elif what == "video":
        dataset.add_sample(fo.Sample("/no/a.mp4"))
    else:
        box = fo.Detection(label="a", bounding_box=[0, 0, 1, 1])
        dataset.add_sample(fo.Sample("/no/a.png", boxes=fo.Detections(detections=[box])))
        request = in_view(dataset.to_patches("boxes"))
    shown = form("compute_learnability", dataset, **request)
    assert shown.invalid
    reason = {"empty": "no samples", "unlabelled": "no Classification", "video": "video", "patches": "patches"}[what]
    assert reason in shown.reasons
    assert "consequences" not in shown.fields
    with pytest.raises(ValueError, match=reason):
        execute("compute_learnability", dataset, **request)


BAD = [
    ({"models": ["resnet20", "builtins:print"]}, "builtins:print"),
    ({"models": ["torchvision/resnet18"]}, "torchvision/resnet18"),
    ({"models": []}, "models"),
    ({"models": "resnet20"}, "models"),
    ({"models": [["resnet20"]]}, "resnet20"),
    ({"models": ["vgg16", "vgg16"]}, "models"),
    ({"preset": "endless"}, "preset"),
    ({"preset": "custom", "epochs": 0}, "epochs"),
    ({"epochs": 0}, "epochs"),
    ({"epochs": 2.5}, "epochs"),
    ({"epochs": "7"}, "epochs"),
    ({"epochs": float("nan")}, "epochs"),
    ({"epochs": 10_001}, "epochs"),
    ({"epochs": True}, "epochs"),
    ({"runs": 0}, "runs"),
    ({"runs": 101}, "runs"),
    ({"batch_size": 1}, "batch_size"),
    ({"seed": -1}, "seed"),
    ({"image_size": 7}, "image_size"),
    ({"lr": "fast"}, "lr"),
    ({"lr": 0}, "lr"),
    ({"lr": -0.1}, "lr"),
    ({"device": "tpu"}, "device"),
    ({"measure": "guess"}, "measure"),
    ({"measure": ["online"]}, "measure"),
    ({"measure_every": 0}, "measure_every"),
    ({"preset": "custom", "epochs": 3, "measure_every": 4}, "measure_every"),
    ({"stop_when_stable": 0.9}, "stop_when_stable"),
    ({"how": "later"}, "how"),
    ({"overwrite": "no"}, "overwrite"),
    ({"skip_failures": 1}, "skip_failures"),
    ({"horizontal_flip": "yes"}, "horizontal_flip"),
    ({"key": "two words"}, "two words"),
    ({"label_field": "nothing"}, "nothing"),
    ({"label_field": "filepath_"}, "filepath_"),
]


@pytest.mark.parametrize(("params", "culprit"), BAD, ids=[str(params) for params, _ in BAD])
def test_compute_refuses(unscored: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    # JSON has no NaN: set the params of a caller in the same process
    ctx, _ = make_context("compute_learnability", unscored)
    ctx.params.update(params)
    with pytest.raises(ValueError, match=culprit):
        list(foo.get_operator(ctx.operator_uri).execute(ctx))
    assert count_jobs(unscored) == 0


def test_compute_refuses_what_would_replace(kept: fo.Dataset) -> None:
    with pytest.raises(ValueError, match="learnability_resnet20"):
        execute("compute_learnability", kept, {"models": ["resnet20"]})


@pytest.mark.parametrize(("params", "culprit"), [*BAD[:13], *BAD[14:26]], ids=lambda value: str(value))
def test_the_form_refuses_what_compute_does(unscored: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    if any(value != value for value in params.values()):
        return
    shown = form("compute_learnability", unscored, params)
    assert shown.invalid
    assert culprit in shown.text


# the scores to write


def test_compute_asks_for_scores(unscored: fo.Dataset) -> None:
    assert "scores" not in form("compute_learnability", unscored).fields
    shown = form("compute_learnability", unscored, {"advanced": True})
    assert shown.choices("scores")[:4] == ["all", "learnability", "rank", "hits"]
    assert "disagreement" not in shown.choices("scores")
    assert shown.defaults["scores"] == ["learnability", "rank"]
    params = {"advanced": True, "scores": ["aum", "hits"]}
    text = form("compute_learnability", unscored, params).defaults["consequences"]
    assert "`learnability_rank_resnet20`, `learnability_resnet20_hits`, `learnability_resnet20_aum`" in text
    text = form("compute_learnability", unscored, {"scores": ["all"]}).defaults["consequences"]
    assert "`learnability_resnet20_variability`" in text
    assert "spread" not in text
    text = form("compute_learnability", unscored, {"scores": ["all"], "runs": 2}).defaults["consequences"]
    assert "`learnability_resnet20_spread`" in text


def test_the_form_takes_a_name_for_each_network(kept: fo.Dataset) -> None:
    params = {"models": ["resnet20", "vgg16"], "advanced": True, "name": "resnet20_b, vgg16_b"}
    shown = form("compute_learnability", kept, params)
    assert not shown.invalid
    assert "learnability_resnet20_b" in shown.defaults["consequences"]
    shown = form("compute_learnability", kept, {**params, "name": "one"})
    assert shown.invalid
    assert "one name for each of the 2 networks" in shown.text


def test_the_scores_of_a_request() -> None:
    def scores(**params: Any) -> tuple[str, ...]:
        return plugin_module("operators.compute").Request.from_params(params).settings.scores

    assert scores() == scores(scores=[]) == ("learnability", "rank")
    assert scores(scores=["aum"]) == ("learnability", "rank", "aum")
    assert scores(scores="all") == scores(scores=["all", "aum"])
    assert "spread" in scores(scores="all", runs=3)


@pytest.mark.parametrize(
    ("params", "culprit"),
    [
        ({"scores": "aum"}, "scores"),
        ({"scores": ["beauty"]}, "beauty"),
        ({"scores": ["disagreement"]}, "disagreement"),
        ({"scores": [1]}, "scores"),
        ({"scores": ["aum", "aum"]}, "scores"),
        ({"scores": ["spread"]}, "spread"),
    ],
    ids=lambda value: str(value),
)
def test_compute_refuses_scores(unscored: fo.Dataset, params: dict[str, Any], culprit: str) -> None:
    shown = form("compute_learnability", unscored, params)
    assert shown.invalid
    assert culprit in shown.text
    with pytest.raises(ValueError, match=culprit):
        execute("compute_learnability", unscored, params)
    assert count_jobs(unscored) == 0


def test_the_form_warns_of_each_score_it_would_replace(measured_scores: fo.Dataset) -> None:
    scored = measured_scores
    execute("write_learnability_scores", scored, {"models": ["resnet20"], "scores": ["aum"]})
    scored.reload()
    shown = form("compute_learnability", scored, {"models": ["resnet20"], "scores": ["aum"]})
    assert "learnability_resnet20_aum" in json.dumps(shown.fields["existing"])
    with pytest.raises(ValueError, match="learnability_resnet20"):
        execute("compute_learnability", scored, {"models": ["resnet20"], "scores": ["aum"]})


# training on the spot, and from a notebook


SMALL = {"preset": "custom", "epochs": 1, "batch_size": 32, "device": "cpu", "horizontal_flip": False}


def test_compute_now(digit_dataset: fo.Dataset) -> None:
    view = digit_dataset.limit(40)
    answer = execute("compute_learnability", digit_dataset, {**SMALL, "how": "now", "key": "mine"}, **in_view(view))
    assert fol.list_runs(digit_dataset) == ["mine"]
    assert digit_dataset.count("learnability_resnet20") == view.count("learnability_resnet20") == 40
    names = [name for name, _ in answer.calls]
    assert names[-2:] == ["reload_dataset", "open_panel"]
    reports = answer.called("set_progress")
    assert any("ResNet-20" in params["label"] and params["progress"] > 0 for params in reports)


def test_compute_now_reports_a_failure(make_dataset: MakeDataset, digits: tuple[list[str], list[str]]) -> None:
    dataset = make_dataset([digits[0][0], "/no/such.png"], ["a", "b"])
    with pytest.raises(ValueError, match=r"/no/such\.png"):
        execute("compute_learnability", dataset, {**SMALL, "how": "now"})
    assert not fol.list_runs(dataset)


def test_compute_now_ends_with_its_page(digit_dataset: fo.Dataset) -> None:
    ctx, _ = make_context("compute_learnability", digit_dataset, {**SMALL, "epochs": 10_000, "how": "now"})
    before = set(threading.enumerate())
    events: Iterator[Any] = foo.get_operator(ctx.operator_uri).execute(ctx)
    next(events)
    next(events)
    (worker,) = {thread for thread in threading.enumerate() if thread not in before and thread.daemon} & {
        thread for thread in threading.enumerate() if "work" in thread.name
    }
    events.close()
    worker.join(60)
    assert not worker.is_alive()
    digit_dataset.reload()
    assert not fol.list_runs(digit_dataset)
    assert not digit_dataset.has_field("learnability_resnet20")


def test_compute_writes_the_scores(digit_dataset: fo.Dataset) -> None:
    execute("compute_learnability", digit_dataset, {**SMALL, "how": "now", "scores": ["variability", "hits"]})
    digit_dataset.reload()
    assert fol.find_scores(digit_dataset, "resnet20") == ["learnability", "rank", "hits", "variability"]
    assert digit_dataset.count("learnability_resnet20_hits") == 60


def test_calls_from_a_notebook(digit_dataset: fo.Dataset) -> None:
    compute = foo.get_operator(f"{PLUGIN}/compute_learnability")
    options = {"epochs": 1, "batch_size": 32, "device": "cpu", "progress": False}
    results = compute(digit_dataset, models=["resnet20"], **options)
    assert results["resnet20"].num_samples == 60
    assert digit_dataset.count("learnability_resnet20") == 60
    with pytest.raises(TypeError, match="epoch_count"):
        compute(digit_dataset, epoch_count=3)
    tag = foo.get_operator(f"{PLUGIN}/tag_by_difficulty")
    assert tag(digit_dataset.limit(10), "resnet20", count=3, tag="look") == 3
    assert digit_dataset.count_sample_tags() == {"look": 3}
