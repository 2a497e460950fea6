"""Samples are read with their labels, and unusable ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

from fiftyone_learnability.dataset.samples import check_images, find_label_fields, label_path, read_samples


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Six samples with labels of every type, none on the second and fifth."""
    labels = ["cat", None, "dog", "ant", None, "cat"]
    dataset = make_dataset([f"/nowhere/{number}.png" for number in range(6)], labels)
    for name, ftype, values in (
        ("name", fo.StringField, labels),
        ("number", fo.IntField, [10, None, 2, 33, None, 2]),
        ("flag", fo.BooleanField, [True, None, False, True, None, True]),
        ("share", fo.FloatField, [0.5, None, 0.25, 1.0, None, 0.0]),
        ("names", fo.ListField, [["a"]] * 6),
        ("same", fo.StringField, ["x"] * 6),
        ("nothing", fo.StringField, [None] * 6),
    ):
        dataset.add_sample_field(name, ftype, **({"subfield": fo.StringField} if ftype is fo.ListField else {}))
        dataset.set_values(name, values)
    dataset.add_sample_field("boxes", fo.EmbeddedDocumentField, embedded_doc_type=fo.Detections)
    dataset.add_sample_field("several", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classifications)
    dataset.add_sample_field("learnability_old", fo.FloatField)
    note = {"run": "r", "model": "old", "score": "rank"}
    dataset.add_sample_field("learnability_rank_old", fo.IntField, info={"learnability": note})
    return dataset


@pytest.mark.parametrize(
    ("field", "classes", "labels"),
    [
        ("ground_truth", ("ant", "cat", "dog"), [1, 2, 0, 1]),
        ("name", ("ant", "cat", "dog"), [1, 2, 0, 1]),
        # in the order of numbers, not of their digits
        ("number", ("2", "10", "33"), [1, 0, 2, 0]),
        ("flag", ("False", "True"), [1, 0, 1, 1]),
    ],
)
def test_labels_of_every_type(dataset: fo.Dataset, field: str, classes: tuple[str, ...], labels: list[int]) -> None:
    samples = read_samples(dataset, field)
    assert samples.classes == classes
    assert samples.labels.tolist() == labels
    assert samples.labels.dtype == np.int64
    assert samples.num_unlabelled == 2
    assert len(samples) == 4
    assert samples.filepaths.tolist() == [f"/nowhere/{number}.png" for number in (0, 2, 3, 5)]
    ids = dataset.values("id")
    assert samples.ids.tolist() == [ids[number] for number in (0, 2, 3, 5)]


def test_a_classification_without_a_label_is_unlabelled(dataset: fo.Dataset) -> None:
    sample = dataset.first()
    sample["ground_truth"] = fo.Classification(confidence=0.5)
    sample.save()
    samples = read_samples(dataset, "ground_truth")
    assert samples.num_unlabelled == 3
    assert sample.id not in samples.ids


def test_the_order_of_a_view_does_not_matter(dataset: fo.Dataset) -> None:
    expected = read_samples(dataset, "ground_truth")
    for view in (dataset.sort_by("filepath", reverse=True), dataset.shuffle(seed=3)):
        assert view.values("id") != dataset.values("id")
        samples = read_samples(view, "ground_truth")
        for name in ("ids", "filepaths", "labels"):
            np.testing.assert_array_equal(getattr(samples, name), getattr(expected, name))


def test_classes_are_those_of_the_view(dataset: fo.Dataset) -> None:
    view = dataset.match(fo.ViewField("name") != "dog")
    samples = read_samples(view, "ground_truth")
    assert samples.classes == ("ant", "cat")
    assert samples.labels.tolist() == [1, 0, 1]
    assert samples.num_unlabelled == 2


def test_a_wrong_estimate_of_the_sample_count_does_not_matter(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fo.Dataset, "__len__", lambda self: 0)
    assert len(read_samples(dataset, "ground_truth").ids) == 4


def test_filtered_labels_count_as_none(dataset: fo.Dataset) -> None:
    view = dataset.filter_labels("ground_truth", fo.ViewField("label") != "ant", only_matches=False)
    samples = read_samples(view, "ground_truth")
    assert samples.classes == ("cat", "dog")
    assert samples.num_unlabelled == 3


def test_select_keeps_labels_and_files_together(dataset: fo.Dataset) -> None:
    samples = read_samples(dataset, "ground_truth")
    some = samples.select(np.array([True, False, True, True]))
    assert some.ids.tolist() == samples.ids[[0, 2, 3]].tolist()
    assert some.filepaths.tolist() == samples.filepaths[[0, 2, 3]].tolist()
    assert some.labels.tolist() == [1, 0, 1]
    assert some.classes == samples.classes
    assert some.num_unlabelled == 2


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("missing", r"has no field 'missing'.*ground_truth, name, number, flag, same"),
        ("share", r"'share' is of type FloatField.*Classification, string, int or bool.*ground_truth, name"),
        ("names", r"'names' is of type ListField"),
        ("boxes", r"'boxes' is of type Detections"),
        ("several", r"'several' is of type Classifications"),
        ("metadata", r"'metadata' is of type ImageMetadata|'metadata' is of type Metadata"),
        ("same", r"'same' has only one class, 'x'"),
        ("nothing", r"none of the 6 samples.*has a label in the field 'nothing'"),
    ],
)
def test_unusable_label_fields_are_refused(dataset: fo.Dataset, field: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_samples(dataset, field)


@pytest.mark.parametrize("field", [None, 3, ["ground_truth"]])
def test_a_label_field_is_a_name(dataset: fo.Dataset, field: Any) -> None:
    with pytest.raises(TypeError, match="label_field must be the name of a field"):
        read_samples(dataset, field)


def test_label_fields_are_found(dataset: fo.Dataset) -> None:
    # neither FiftyOne's own fields nor ranks
    assert find_label_fields(dataset) == ["ground_truth", "name", "number", "flag", "same", "nothing"]
    assert find_label_fields(dataset.select_fields("name")) == ["name"]


def test_label_paths(dataset: fo.Dataset) -> None:
    assert label_path(dataset, "ground_truth") == "ground_truth.label"
    assert label_path(dataset, "number") == "number"


def test_a_field_that_a_view_excludes_is_missing(dataset: fo.Dataset) -> None:
    with pytest.raises(ValueError, match=r"has no field 'ground_truth'.*are: name"):
        read_samples(dataset.exclude_fields("ground_truth"), "ground_truth")


def test_an_empty_view_is_refused(dataset: fo.Dataset) -> None:
    with pytest.raises(ValueError, match=f"the view of the dataset '{dataset.name}' is empty"):
        read_samples(dataset.limit(0), "ground_truth")
    dataset.delete_samples(dataset.values("id"))
    with pytest.raises(ValueError, match=f"the dataset '{dataset.name}' is empty"):
        read_samples(dataset, "ground_truth")


def test_a_new_dataset_is_refused(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([], [])
    assert dataset.media_type is None
    with pytest.raises(ValueError, match=r"has no field 'ground_truth'|is empty"):
        read_samples(dataset, "ground_truth")


@pytest.mark.parametrize(
    ("file", "media"), [("film.mp4", "video"), ("scene.fo3d", "3d"), ("points.pcd", "point-cloud")]
)
def test_other_media_are_refused(make_dataset: Callable[..., fo.Dataset], file: str, media: str) -> None:
    dataset = make_dataset([f"/nowhere/{file}"], ["a"])
    with pytest.raises(ValueError, match=f"holds {media} samples; learnability is computed over images"):
        check_images(dataset)


def test_groups_are_refused_and_their_slices_named(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([], [])
    dataset.add_group_field("group", default="left")
    group = fo.Group()
    dataset.add_samples(
        [fo.Sample(f"/nowhere/{name}.png", group=group.element(name)) for name in ("left", "right")], progress=False
    )
    with pytest.raises(ValueError, match=r"is grouped.*select_group_slices.*its slices are left, right"):
        check_images(dataset)
    with pytest.raises(ValueError, match="is grouped"):
        check_images(dataset.limit(1))
    check_images(dataset.select_group_slices("left"))


def test_patches_are_refused(dataset: fo.Dataset) -> None:
    sample = dataset.first()
    sample["boxes"] = fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0, 0, 0.5, 0.5])])
    sample.save()
    with pytest.raises(ValueError, match=r"patches.*cannot keep scores.*export"):
        check_images(dataset.to_patches("boxes"))


@pytest.mark.parametrize("samples", [None, "name", [1, 2]])
def test_other_objects_are_refused(samples: Any) -> None:
    with pytest.raises(TypeError, match=f"must be a FiftyOne dataset or view, not {type(samples).__name__}"):
        check_images(samples)
