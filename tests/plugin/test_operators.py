"""The operators: what their forms ask and say, what they do, and that no caller gets past what a form would refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import numpy as np
import pandas as pd
import pytest

import fiftyone_learnability as fol
from fiftyone_learnability.experiment.rate import remember_rate

from .harness import PANEL, PLUGIN, execute, form, make_context, plugin_module, through_browser
from .made_up import add_samples, write_scores

MakeDataset = Callable[..., fo.Dataset]
OPERATORS = (
    "compute_learnability",
    "sort_by_learnability",
    "tag_by_difficulty",
    "show_disagreement",
    "manage_learnability_runs",
    "export_learnability",
    "compare_learnability",
    "suggest_label_fixes",
    "apply_label_fixes",
    "write_learnability_scores",
    "compute_consensus",
    "import_learnability",
)
TOOLS = OPERATORS[1:6]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Keeps forms from measuring this machine; collects what they would have measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(tmp_path))
    asked: list[Any] = []
    monkeypatch.setattr(plugin_module("operators.compute"), "measure_rates", asked.append)
    return asked


@pytest.fixture
def scored(make_dataset: MakeDataset) -> fo.Dataset:
    """40 samples of two classes: resnet20 finds the last ones easiest, vgg16 the first ones."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(40)], ["a"] * 30 + ["b"] * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 40), "vgg16": np.linspace(1, 0, 40)})
    return dataset


@pytest.fixture(scope="module")
def kept() -> Iterator[fo.Dataset]:
    """The like of ``scored`` for tests that leave it as it was, but for tags."""
    dataset = fo.Dataset()
    add_samples(dataset, ["a"] * 30 + ["b"] * 10)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 40), "vgg16": np.linspace(1, 0, 40)})
    for key in ("taken", "foreign"):
        dataset.register_run(key, dataset.init_run())
    yield dataset
    dataset.delete()


@pytest.fixture
def untagged(kept: fo.Dataset) -> Iterator[fo.Dataset]:
    yield kept
    kept.untag_samples(kept.distinct("tags"))


@pytest.fixture
def unscored(make_dataset: MakeDataset) -> fo.Dataset:
    return make_dataset([f"/no/{index}.png" for index in range(10)], list("ab") * 5)


def shown(answer: Any, dataset: fo.Dataset) -> list[str]:
    """The ids of the view that was set, in order."""
    (call,) = answer.called("set_view")
    return fo.DatasetView._build(dataset, through_browser(call["view"])).values("id")


def test_all_operators_are_registered() -> None:
    listed = {operator.uri for operator in foo.list_operators() if operator.plugin_name == PLUGIN}
    assert listed == {*(f"{PLUGIN}/{name}" for name in OPERATORS), PANEL}
    assert all(operator.config.description for operator in map(foo.get_operator, listed - {PANEL}))


# compute: the form


def test_the_form_of_compute(unscored: fo.Dataset, measured: list[Any]) -> None:
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
    assert "replaces" not in shown.fields
    assert "**10** images" in shown.defaults["consequences"]
    assert "`learnability_resnet20`, `learnability_rank_resnet20`" in shown.defaults["consequences"]
    # the defaults of the form are valid, and ask for the paper's experiment
    request = plugin_module("operators.compute").Request.from_params(shown.defaults)
    assert (request.models, request.options["epochs"], request.options["runs"]) == (["resnet20"], 200, 1)
    assert request.options["overwrite"] is False
    # what is measured is the speed of what is chosen
    assert [request.models for request in measured] == [["resnet20"]]
    advanced = form("compute_learnability", unscored, {"advanced": True, "preset": "custom"})
    names = {"epochs", "runs", "key", "batch_size", "lr", "image_size", "seed", "device", "skip_failures"}
    names |= {"measure", "measure_every", "stop_when_stable"}
    assert names < set(advanced.fields)
    plugin_module("operators.compute").Request.from_params(advanced.defaults)


def test_the_form_speaks_of_the_target(unscored: fo.Dataset) -> None:
    view = through_browser(unscored.limit(4)._serialize())
    some = unscored.values("id")[:3]
    params = {"models": ["vgg16", "mobilenet"]}
    shown = form("compute_learnability", unscored, params, view=view, selected=some)
    assert "**4** images" in shown.defaults["consequences"]
    assert {"DATASET", "CURRENT_VIEW", "SELECTED_SAMPLES"} <= set(shown.choices("view_target"))
    for target, count in (("DATASET", 10), ("CURRENT_VIEW", 4), ("SELECTED_SAMPLES", 3)):
        shown = form("compute_learnability", unscored, {**params, "view_target": target}, view=view, selected=some)
        assert f"**{count}** images" in shown.defaults["consequences"]
        # the App takes the selection by itself, which must not pass unnoticed
        assert ("Only the 3 selected samples" in shown.text) == (target == "SELECTED_SAMPLES")
    assert "`learnability_rank_mobilenet`" in shown.defaults["consequences"]


def test_the_estimate_comes_from_the_measured_rate(unscored: fo.Dataset, measured: list[Any]) -> None:
    for model, rate in (("resnet20", 2.0), ("vgg16", 0.5)):
        remember_rate(model, 32, "auto", rate)
    params = {"models": ["resnet20", "vgg16"], "preset": "custom", "epochs": 12, "advanced": True, "runs": 3}
    # 10 samples, 12 epochs, 3 runs: 360 images by each
    text = form("compute_learnability", unscored, params).defaults["consequences"]
    assert "15 minutes" in text
    assert not measured
    params = {**params, "image_size": 64}
    assert "being measured" in form("compute_learnability", unscored, params).defaults["consequences"]
    assert [request.image_size for request in measured] == [64]
    # too long to be waited for
    now = {"models": ["resnet20", "vgg16"], "preset": "paper", "how": "now"}
    shown = form("compute_learnability", unscored, now)
    assert shown.invalid
    assert "background" in shown.schema["error_message"]
    assert not form("compute_learnability", unscored, {**now, "preset": "custom", "epochs": 5}).invalid


def test_the_form_warns_before_it_replaces(kept: fo.Dataset) -> None:
    shown = form("compute_learnability", kept, {"models": ["resnet20"]})
    assert shown.invalid
    assert "`learnability_resnet20`, `learnability_rank_resnet20`" in shown.fields["replaces"]["view"]["description"]
    assert not form("compute_learnability", kept, {"models": ["resnet20"], "overwrite": True}).invalid
    assert not form("compute_learnability", kept, {"models": ["mobilenet"]}).invalid
    same_key = {"models": ["mobilenet"], "key": "learnability"}
    shown = form("compute_learnability", kept, same_key)
    assert shown.invalid
    assert "`learnability`" in shown.fields["replaces"]["view"]["description"]
    assert not form("compute_learnability", kept, {**same_key, "overwrite": True}).invalid
    assert "identifier" in form("compute_learnability", kept, {"models": ["mobilenet"], "key": "a b"}).text


def test_the_form_says_what_cannot_be_replaced(unscored: fo.Dataset) -> None:
    unscored.add_sample_field("learnability_resnet20", fo.StringField)
    shown = form("compute_learnability", unscored, {"overwrite": True})
    assert shown.invalid
    assert "StringField" in shown.schema["error_message"]
    assert "Tick" not in shown.schema["error_message"]


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
        request["view"] = through_browser(dataset.to_patches("boxes")._serialize())
    shown = form("compute_learnability", dataset, **request)
    assert shown.invalid
    said = {"empty": "no samples", "unlabelled": "no Classification", "video": "video", "patches": "patches"}[what]
    assert said in shown.schema["error_message"]
    assert "consequences" not in shown.fields
    with pytest.raises(ValueError, match=said):
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
    # NaN does not pass through JSON: such a caller runs in the same process
    ctx, executor = make_context("compute_learnability", unscored)
    ctx.params.update(params)
    with pytest.raises(ValueError, match=culprit):
        list(foo.get_operator(ctx.operator_uri).execute(ctx))
    assert not executor._requests
    assert fo.core.odm.get_db_conn()["delegated_ops"].count_documents({"dataset_id": unscored._doc.id}) == 0


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


# compute: now, and from a notebook


SMALL = {"preset": "custom", "epochs": 1, "batch_size": 32, "device": "cpu", "horizontal_flip": False}


def test_compute_now(digit_dataset: fo.Dataset) -> None:
    view = digit_dataset.limit(40)
    request = {"view": through_browser(view._serialize()), "view_target": "CURRENT_VIEW"}
    answer = execute("compute_learnability", digit_dataset, {**SMALL, "how": "now", "key": "mine"}, **request)
    assert fol.list_runs(digit_dataset) == ["mine"]
    assert digit_dataset.count("learnability_resnet20") == view.count("learnability_resnet20") == 40
    names = [name for name, _ in answer.calls]
    assert names[-2:] == ["reload_dataset", "open_panel"]
    told = answer.called("set_progress")
    assert any("resnet20" in params["label"] and params["progress"] > 0 for params in told)


def test_compute_now_tells_of_a_failure(make_dataset: MakeDataset, digits: tuple[list[str], list[str]]) -> None:
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


# the tools


@pytest.mark.parametrize("name", TOOLS)
def test_tools_without_scores(unscored: fo.Dataset, name: str, tmp_path: Path) -> None:
    shown = form(name, unscored)
    assert shown.invalid
    assert "missing" in shown.fields
    with pytest.raises(ValueError, match=r"scores|run"):
        execute(name, unscored, {"key": "x", "new_key": "y", "path": str(tmp_path / "x.csv")})
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize("name", TOOLS)
def test_the_defaults_of_tools_are_valid(kept: fo.Dataset, name: str) -> None:
    shown = form(name, kept)
    assert not shown.invalid
    if name == "manage_learnability_runs":
        shown.defaults["new_key"] = "other"
    assert not form(name, kept, shown.defaults).invalid


def test_disagreement_needs_two_networks(unscored: fo.Dataset) -> None:
    write_scores(unscored, {"vgg16": np.linspace(0, 1, 10)})
    assert form("show_disagreement", unscored).invalid
    assert not form("sort_by_learnability", unscored).invalid
    with pytest.raises(ValueError, match="two networks"):
        execute("show_disagreement", unscored)


def test_sort(kept: fo.Dataset) -> None:
    ids = kept.values("id")
    assert form("sort_by_learnability", kept).choices("model") == ["resnet20", "vgg16"]
    assert shown(execute("sort_by_learnability", kept), kept) == ids
    easiest = execute("sort_by_learnability", kept, {"model": "resnet20", "first": "easiest"})
    assert shown(easiest, kept) == ids[::-1]
    view = through_browser(kept.limit(5)._serialize())
    in_view = execute("sort_by_learnability", kept, {"model": "vgg16", "first": "hardest"}, view=view)
    assert shown(in_view, kept) == ids[:5][::-1]


def test_disagreement(kept: fo.Dataset) -> None:
    ids = kept.values("id")
    # easy for the one is what the other finds hard: the last ones, most so first
    answer = execute("show_disagreement", kept, {"easy_for": "resnet20", "hard_for": "vgg16", "limit": 4})
    assert shown(answer, kept) == ids[:-5:-1]
    assert shown(execute("show_disagreement", kept), kept) == ids[:-21:-1]
    assert form("show_disagreement", kept, {"easy_for": "vgg16", "hard_for": "vgg16"}).invalid
    assert form("show_disagreement", kept).defaults["hard_for"] == "vgg16"


TAGS: list[tuple[dict[str, Any], list[int]]] = [
    ({"count": 3}, [0, 1, 2]),
    ({"which": "easiest", "count": 2}, [38, 39]),
    ({"unit": "percent", "percent": 5.0}, [0, 1]),
    ({"unit": "percent", "percent": 5.0, "count": 30}, [0, 1]),
    ({"unit": "percent", "percent": 100}, list(range(40))),
    ({"count": 2, "per_class": True}, [0, 1, 30, 31]),
    # rounded up in each class
    ({"unit": "percent", "percent": 5.0, "per_class": True}, [0, 1, 30]),
    ({"model": "vgg16", "count": 1}, [39]),
    ({"count": 10_000}, list(range(40))),
]


@pytest.mark.parametrize(("params", "expected"), TAGS, ids=[str(params) for params, _ in TAGS])
def test_tag(untagged: fo.Dataset, params: dict[str, Any], expected: list[int]) -> None:
    ids = untagged.values("id")
    answer = execute("tag_by_difficulty", untagged, params)
    tag = "easy" if params.get("which") == "easiest" else "hard"
    assert untagged.match_tags(tag).values("id") == [ids[index] for index in expected]
    assert untagged.count_sample_tags() == {tag: len(expected)}
    assert answer.result == {"tagged": len(expected), "tag": tag}
    assert answer.called("reload_dataset")
    assert str(len(expected)) in answer.called("notify")[0]["message"]


def test_tag_respects_view_selection_and_filters(untagged: fo.Dataset) -> None:
    ids = untagged.values("id")
    view = through_browser(untagged.skip(10)._serialize())
    params = {"count": 2, "tag": "in view"}
    execute("tag_by_difficulty", untagged, params, view=view, view_target="CURRENT_VIEW")
    assert untagged.match_tags("in view").values("id") == ids[10:12]
    execute("tag_by_difficulty", untagged, {"count": 1, "tag": "all"}, view=view, view_target="DATASET")
    assert untagged.match_tags("all").values("id") == ids[:1]
    chosen = {"selected": ids[20:23], "view_target": "SELECTED_SAMPLES"}
    execute("tag_by_difficulty", untagged, {"count": 2, "tag": "chosen"}, **chosen)
    assert untagged.match_tags("chosen").values("id") == ids[20:22]
    of_b = {"ground_truth.label": {"values": ["b"], "exclude": False, "isMatching": True}}
    execute("tag_by_difficulty", untagged, {"count": 1, "tag": "filtered"}, filters=of_b, view_target="CURRENT_VIEW")
    assert untagged.match_tags("filtered").values("id") == ids[30:31]
    shown = form("tag_by_difficulty", untagged, view=view, view_target="CURRENT_VIEW")
    assert "**30**" in shown.defaults["among"]
    assert "Only the 3 selected samples" in form("tag_by_difficulty", untagged, **chosen).text


def test_the_form_of_tag_changes_with_the_choice(kept: fo.Dataset) -> None:
    assert form("tag_by_difficulty", kept).defaults["tag"] == "hard"
    assert form("tag_by_difficulty", kept, {"which": "easiest"}).defaults["tag"] == "easy"
    shown = form("tag_by_difficulty", kept, {"unit": "percent"})
    assert "count" not in shown.fields
    assert "percent" in shown.fields
    assert form("tag_by_difficulty", kept, {"tag": " "}).invalid


BAD_TOOLS = [
    ("sort_by_learnability", {"model": "alexnet"}, "alexnet"),
    ("sort_by_learnability", {"first": "middle"}, "first"),
    ("tag_by_difficulty", {"model": "alexnet"}, "alexnet"),
    ("tag_by_difficulty", {"which": "middle"}, "which"),
    ("tag_by_difficulty", {"unit": "dozen"}, "unit"),
    ("tag_by_difficulty", {"count": 0}, "count"),
    ("tag_by_difficulty", {"count": 2.5}, "count"),
    ("tag_by_difficulty", {"count": "many"}, "count"),
    ("tag_by_difficulty", {"unit": "percent", "percent": 0}, "percent"),
    ("tag_by_difficulty", {"unit": "percent", "percent": 100.5}, "percent"),
    ("tag_by_difficulty", {"unit": "percent", "percent": "half"}, "percent"),
    ("tag_by_difficulty", {"per_class": "no"}, "per_class"),
    ("tag_by_difficulty", {"tag": ""}, "tag"),
    ("tag_by_difficulty", {"tag": "  "}, "tag"),
    ("show_disagreement", {"easy_for": "vgg16", "hard_for": "vgg16"}, "vgg16"),
    ("show_disagreement", {"easy_for": "alexnet"}, "alexnet"),
    ("show_disagreement", {"limit": 0}, "limit"),
    ("show_disagreement", {"limit": "few"}, "limit"),
    ("manage_learnability_runs", {"key": "learnability", "action": "burn"}, "action"),
    ("manage_learnability_runs", {"key": "learnability", "action": "delete"}, "confirmed"),
    ("manage_learnability_runs", {"key": "learnability", "action": "delete", "confirmed": "no"}, "confirmed"),
    ("manage_learnability_runs", {"key": "learnability", "new_key": "two words"}, "two words"),
    ("manage_learnability_runs", {"key": "learnability", "new_key": "taken"}, "taken"),
    ("manage_learnability_runs", {"key": "learnability"}, "key"),
    ("manage_learnability_runs", {"key": "nothing", "action": "delete", "confirmed": True}, "nothing"),
    ("manage_learnability_runs", {"key": "foreign", "action": "delete", "confirmed": True}, "foreign"),
    ("export_learnability", {}, "path must name a file"),
    ("export_learnability", {"path": "../scores.csv"}, "path: .* is not in"),
    ("export_learnability", {"path": "/no/such/folder/scores.csv"}, "/no/such/folder"),
    ("export_learnability", {"path": "/tmp/scores.xlsx"}, "or .parquet"),
]


@pytest.mark.parametrize(("name", "params", "culprit"), BAD_TOOLS, ids=lambda value: str(value)[:60])
def test_tools_refuse(kept: fo.Dataset, name: str, params: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        execute(name, kept, params)
    assert kept.count_sample_tags() == {}
    assert fol.list_runs(kept) == ["learnability"]
    assert kept.count("learnability_vgg16") == 40


def test_rename_a_run(scored: fo.Dataset) -> None:
    shown = form("manage_learnability_runs", scored, {"key": "learnability", "new_key": "first"})
    assert not shown.invalid
    assert "ResNet-20 and VGG-16: 40 samples, 4 epochs" in shown.defaults["about"]
    answer = execute("manage_learnability_runs", scored, {"key": "learnability", "new_key": "first"})
    assert answer.result == {"key": "first"}
    assert fol.list_runs(scored) == ["first"]
    assert "learnability_vgg16" in fol.delete_run(scored, "first")
    assert form("manage_learnability_runs", scored).invalid


def test_the_form_of_rename_refuses_a_bad_key(kept: fo.Dataset) -> None:
    for key in ("two words", "learnability"):
        shown = form("manage_learnability_runs", kept, {"key": "learnability", "new_key": key})
        assert shown.fields["new_key"]["invalid"]
        assert key in shown.fields["new_key"]["error_message"]


def test_delete_a_run(scored: fo.Dataset) -> None:
    params: dict[str, Any] = {"key": "learnability", "action": "delete"}
    shown = form("manage_learnability_runs", scored, params)
    assert shown.invalid
    assert "deletes" in shown.fields
    params["confirmed"] = True
    assert not form("manage_learnability_runs", scored, params).invalid
    answer = execute("manage_learnability_runs", scored, params)
    assert len(answer.result["deleted"]) == 4
    assert answer.called("reload_dataset")
    assert not fol.list_runs(scored)
    assert not [name for name in scored.get_field_schema() if name.startswith("learnability")]


@pytest.mark.parametrize("ending", ["csv", "npz", "parquet"])
def test_export(scored: fo.Dataset, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scores.{ending}"
    view = scored.skip(35)
    request = {"view": through_browser(view._serialize()), "view_target": "CURRENT_VIEW"}
    params: dict[str, Any] = {"path": str(path)}
    assert not form("export_learnability", scored, params, **request).invalid
    answer = execute("export_learnability", scored, params, **request)
    assert answer.result == {"path": str(path), "samples": 5}
    read: dict[str, Callable[[Path], Any]] = {"csv": pd.read_csv, "npz": np.load, "parquet": pd.read_parquet}
    table = read[ending](path)
    assert list(table["id"]) == view.values("id")
    assert list(table["learnability_rank_vgg16"]) == view.values("learnability_rank_vgg16")
    # what is there is not replaced unasked
    shown = form("export_learnability", scored, params)
    assert shown.invalid
    assert "exists" in shown.fields
    before = path.read_bytes()
    with pytest.raises(ValueError, match="exists"):
        execute("export_learnability", scored, params)
    assert path.read_bytes() == before
    params["overwrite"] = True
    assert not form("export_learnability", scored, params).invalid
    assert execute("export_learnability", scored, params).result["samples"] == 40


def test_compare_opens_the_panel(unscored: fo.Dataset) -> None:
    (call,) = execute("compare_learnability", unscored).called("open_panel")
    assert call["name"] == "learnability_panel"
