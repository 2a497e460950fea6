"""Corrected labels of label fields inside embedded documents: copies beside them and elsewhere, in place, failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import pytest
from pymongo.errors import OperationFailure

import fiftyone_learnability as fol
from fiftyone_learnability import WriteError
from fiftyone_learnability.dataset import columns, label_fields
from fiftyone_learnability.dataset.internals import sample_collection

from ..test_labels import write
from .helpers import fail_at_merge, learn, raiser, state

SUGGESTION = "learnability_suggestion"
LABELS = ["cat", "cat", "cat", "dog", "dog", "dog", None]
# the first cat and the first dog are contradicted; the last sample has no document
PREDICTIONS = [[0, 1], [1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0.5, 0.5]]
FIXED = ["dog", "cat", "cat", "cat", "dog", "dog", None]


def _weather(label: str) -> dict[str, Any]:
    return {"meta": fo.DynamicEmbeddedDocument(weather=fo.Classification(label=label, tags=["seen"]), other=1)}


def _species(label: str) -> dict[str, Any]:
    return {"annotation": fo.DynamicEmbeddedDocument(species=label, other=1)}


def _sub(label: str) -> dict[str, Any]:
    return {"main": fo.Classification(label="animal", sub=label)}


def _deep(label: str) -> dict[str, Any]:
    return {"a": fo.DynamicEmbeddedDocument(b=fo.DynamicEmbeddedDocument(c=label, other=1))}


KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "meta.weather": _weather,
    "annotation.species": _species,
    "main.sub": _sub,
    "a.b.c": _deep,
}


@pytest.fixture(params=KINDS)
def embedded(request: pytest.FixtureRequest, make_dataset: Callable[..., fo.Dataset]) -> tuple[fo.Dataset, str]:
    """Seven samples with labels inside a document, with suggestions for the first and the fourth; and the path."""
    path: str = request.param
    dataset = make_dataset([], [])
    fields = [{} if label is None else KINDS[path](label) for label in LABELS]
    samples = [fo.Sample(f"/no/{index}.png", **values) for index, values in enumerate(fields)]
    dataset.add_samples(samples, progress=False)
    dataset.add_dynamic_sample_fields()
    write(dataset, predictions=PREDICTIONS, classes=("cat", "dog"), label_field=path)
    assert fol.suggest_label_fixes(dataset)["filepath"].tolist() == ["/no/0.png", "/no/3.png"]
    return dataset, path


def labels_at(dataset: fo.Dataset, path: str) -> list[Any]:
    """The labels in a field, in the order of the samples."""
    is_label = isinstance(dataset.get_field(path), fo.EmbeddedDocumentField)
    return dataset.values(f"{path}.label" if is_label else path)


def others(dataset: fo.Dataset, *paths: str) -> list[dict[str, Any]]:
    """Return the stored documents without some paths and the times of changes."""
    documents = list(sample_collection(dataset).find().sort("filepath"))
    for document in documents:
        document.pop("last_modified_at")
        for path in paths:
            inside: Any = document
            *parents, name = path.split(".")
            for parent in parents:
                inside = (inside or {}).get(parent)
            (inside or {}).pop(name, None)
    return documents


@pytest.mark.parametrize("place", ["beside by default", "beside", "dataset"])
def test_fixes_go_into_a_whole_copy(embedded: tuple[fo.Dataset, str], place: str) -> None:
    dataset, path = embedded
    parent = path.rpartition(".")[0]
    into = {"beside by default": None, "beside": f"{parent}.checked", "dataset": "checked"}[place]
    before = others(dataset)
    target, changed = fol.apply_label_fixes(dataset, into)
    assert (target, changed) == (into or f"{path}_fixed", 2)
    assert labels_at(dataset, target) == FIXED
    assert labels_at(dataset, path) == LABELS
    assert others(dataset, target) == before
    assert type(dataset.get_field(target)) is type(dataset.get_field(path))
    # the samples can be loaded, and the copy is known as one
    assert len(list(dataset)) == len(LABELS)
    assert label_fields.find_copies(dataset, path) == [target]
    assert fol.apply_label_fixes(dataset, into) == (target, 0)


def test_in_place_keeps_the_first_labels(embedded: tuple[fo.Dataset, str]) -> None:
    dataset, path = embedded
    original = f"{path}_original"
    before = others(dataset, path)
    assert fol.apply_label_fixes(dataset.limit(2), in_place=True) == (path, 1)
    assert fol.apply_label_fixes(dataset, in_place=True) == (path, 1)
    assert labels_at(dataset, path) == FIXED
    assert labels_at(dataset, original) == ["cat", None, None, "dog", None, None, None]
    assert others(dataset, path, original) == before
    assert len(list(dataset)) == len(LABELS)


def test_a_lost_document_is_not_brought_back(embedded: tuple[fo.Dataset, str], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, path = embedded
    top = path.split(".")[0]
    first = {"filepath": "/no/0.png"}
    write_columns = label_fields.write_columns

    def lose_then_write(*args: Any, **kwargs: Any) -> Any:
        sample_collection(dataset).update_one(first, {"$set": {top: None}})
        return write_columns(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(label_fields, "write_columns", lose_then_write)
        fol.apply_label_fixes(dataset)
    assert sample_collection(dataset).find_one(first)[top] is None
    fol.apply_label_fixes(dataset, in_place=True)
    assert sample_collection(dataset).find_one(first)[top] is None
    assert labels_at(dataset, path) == [None, *FIXED[1:]]


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_failure_leaves_the_dataset_as_it_was(
    embedded: tuple[fo.Dataset, str], monkeypatch: pytest.MonkeyPatch, in_place: bool, again: bool
) -> None:
    dataset, path = embedded
    if again:
        fol.apply_label_fixes(dataset.limit(1), in_place=in_place)
    before, labels = state(dataset)["fields"], [labels_at(dataset, path), others(dataset)]
    error = OperationFailure("disk full")
    for fail in (
        lambda patch: fail_at_merge(patch, error, after=True),
        lambda patch: patch.setattr(columns, "reveal", raiser(error)),
    ):
        with monkeypatch.context() as patch:
            fail(patch)
            with pytest.raises(WriteError, match="disk full"):
                fol.apply_label_fixes(dataset, in_place=in_place)
        assert state(dataset)["fields"] == before
        assert [labels_at(dataset, path), without_none(others(dataset))] == [labels[0], without_none(labels[1])]
    assert fol.apply_label_fixes(dataset, in_place=in_place)[1] == (1 if again else 2)


def without_none(value: Any) -> Any:
    """A document without the fields that are None: for FiftyOne they equal fields that were never set."""
    if isinstance(value, dict):
        return {name: without_none(entry) for name, entry in value.items() if entry is not None}
    return [without_none(entry) for entry in value] if isinstance(value, list) else value


class Killed(BaseException):
    """Stands in for SIGKILL: nothing cleans up after it."""


def test_a_killed_call_is_undone(embedded: tuple[fo.Dataset, str], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, path = embedded
    with monkeypatch.context() as patch:
        patch.setattr(columns, "set_field_metadata", raiser(Killed()))
        patch.setattr(columns, "roll_back", raiser(Killed()))
        with pytest.raises(Killed):
            fol.apply_label_fixes(dataset, in_place=True)
    assert labels_at(dataset, path) == FIXED
    fol.apply_label_fixes(dataset.limit(1))
    assert labels_at(dataset, path) == LABELS
    assert not dataset.has_field(f"{path}_original")


@pytest.mark.parametrize(
    ("into", "message"),
    [
        ("elsewhere.name", "or meta.<identifier>, not 'elsewhere.name'"),
        ("meta.two words", "or meta.<identifier>, not 'meta.two words'"),
        ("meta.weather.label", "or meta.<identifier>, not 'meta.weather.label'"),
        ("meta.other", "'meta.other' exists and is not a copy of 'meta.weather'"),
        ("meta.to_dict", "FiftyOne reserves the name 'meta.to_dict'"),
        ("meta._cls", "FiftyOne reserves the name 'meta._cls'"),
        ("meta.weather", "is the label field 'meta.weather' itself"),
    ],
)
@pytest.mark.parametrize("embedded", ["meta.weather"], indirect=True)
def test_fields_that_cannot_take_fixes(embedded: tuple[fo.Dataset, str], into: str, message: str) -> None:
    dataset, _ = embedded
    before = state(dataset)
    with pytest.raises(ValueError, match=message):
        fol.apply_label_fixes(dataset, into)
    assert state(dataset) == before


def test_a_network_learns_from_the_copy(digit_dataset: fo.Dataset) -> None:
    labels = digit_dataset.values("ground_truth.label")
    digit_dataset.set_values("meta", [fo.DynamicEmbeddedDocument(digit=label) for label in labels])
    digit_dataset.add_dynamic_sample_fields()
    (model,) = learn(digit_dataset, label_field="meta.digit", epochs=4)
    # four epochs teach it hardly more than chance
    fol.suggest_label_fixes(digit_dataset, models=[model])
    target, _ = fol.apply_label_fixes(digit_dataset)
    assert target == "meta.digit_fixed"
    assert learn(digit_dataset, "second", label_field=target)["second"].num_samples == 60
