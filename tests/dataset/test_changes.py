from __future__ import annotations

import fiftyone as fo
import pytest
from bson import ObjectId

from fiftyone_learnability.dataset.changes import Changes, find_changes, some
from fiftyone_learnability.dataset.internals import sample_collection
from fiftyone_learnability.dataset.samples import LabelledSamples, read_samples
from fiftyone_learnability.experiment.results import ModelResults

from .helpers import learn


@pytest.fixture
def learned(digit_dataset: fo.Dataset) -> tuple[LabelledSamples, ModelResults]:
    """The samples that were read, and the results of a training on them."""
    # samples without a label were there before
    digit_dataset.add_samples([fo.Sample("unlabelled.png")], progress=False)
    return read_samples(digit_dataset, "ground_truth"), learn(digit_dataset)["tiny"]


def later(dataset: fo.Dataset, count: int) -> list[str]:
    """Add samples with ids that are a minute younger."""
    document = next(iter(sample_collection(dataset).find()))
    now = int(ObjectId(max(dataset.values("id"))).generation_time.timestamp())
    ids = [ObjectId(f"{now + 60:08x}{number:016x}") for number in range(count)]
    sample_collection(dataset).insert_many([{**document, "_id": id} for id in ids])
    return [str(id) for id in ids]


def test_no_changes(digit_dataset: fo.Dataset, learned: tuple[LabelledSamples, ModelResults]) -> None:
    read, result = learned
    assert read.newest == max(digit_dataset.values("id"))
    changes = find_changes(digit_dataset, result, "ground_truth", read.newest)
    assert changes == Changes()
    assert changes.sentences() == []


def test_each_kind_of_change_is_found(digit_dataset: fo.Dataset, learned: tuple[LabelledSamples, ModelResults]) -> None:
    read, result = learned
    gone, relabelled, unlabelled, moved = result.ids.tolist()[:4]
    digit_dataset.delete_samples([gone])
    for id, label in ((relabelled, fo.Classification(label="another")), (unlabelled, None)):
        sample = digit_dataset[id]
        sample["ground_truth"] = label
        sample.save()
    sample = digit_dataset[moved]
    sample.filepath = "/elsewhere/image.png"
    sample.save()
    added = later(digit_dataset, 2)
    changes = find_changes(digit_dataset, result, "ground_truth", read.newest)
    assert changes == Changes([gone], [relabelled, unlabelled], [moved], added)
    assert changes.sentences() == [
        f"samples deleted during the run: 1 ({gone}); only the others were written",
        f"samples relabelled during the run: 2 ({relabelled}; {unlabelled}); their scores are for the old label",
        f"samples whose file changed during the run: 1 ({moved}); their scores are for the old image",
        f"samples added during the run: 2 ({added[0]}; {added[1]}); they have no scores",
    ]
    # a sample that has left the view with its label is found all the same; those added outside of it do not matter
    view = digit_dataset.exists("ground_truth").limit(50)
    assert find_changes(view, result, "ground_truth", read.newest) == Changes([gone], [relabelled, unlabelled], [moved])


def test_a_deleted_label_field_counts_as_relabelled(
    digit_dataset: fo.Dataset, learned: tuple[LabelledSamples, ModelResults]
) -> None:
    read, result = learned
    digit_dataset.rename_sample_field("ground_truth", "target")
    assert find_changes(digit_dataset, result, "ground_truth", read.newest).relabelled == result.ids.tolist()


def test_long_lists_are_cut() -> None:
    assert some(["a", "b"]) == "a; b"
    assert some([str(n) for n in range(8)]) == "0; 1; 2; 3; 4 and 3 more"
