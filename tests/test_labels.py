"""Labels that the training contradicts: suggestions for known predictions, and fixes that a curator accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import fiftyone as fo
import numpy as np
import pandas as pd
import pytest
from fiftyone import ViewField as F
from numpy.typing import ArrayLike
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

import fiftyone_learnability as fol
from fiftyone_learnability import WriteError
from fiftyone_learnability.dataset import columns, label_fields, registration
from fiftyone_learnability.dataset.internals import sample_collection
from fiftyone_learnability.experiment.results import ModelResults, RunRecord
from fiftyone_learnability.scores.label_errors import SMOOTHING

from .dataset.helpers import fail_at_merge, fails_at, learn, raiser, state, values_of, write_results

SUGGESTION, CONTRADICTION, VERDICT = (
    "learnability_suggestion",
    "learnability_contradiction",
    "learnability_verdict",
)
FIELDS = [CONTRADICTION, SUGGESTION, VERDICT]
CLASSES = ("cat", "dog", "owl")
LABELS = ["cat", "cat", "cat", "dog", "dog", "owl", "owl", None]
# mean predictions for them, in numbers that half precision can hold, with nearly equal means of the classes: settled on
# another class, undecided between two, agrees with the label, settled on another class, even, agrees, undecided between
# three, unlabelled
P = [
    [0.0625, 0.875, 0.0625],
    [0.375, 0.5, 0.125],
    [0.625, 0.375, 0.0],
    [0.75, 0.125, 0.125],
    [0.5, 0.5, 0.0],
    [0.0, 0.0, 1.0],
    [0.375, 0.3125, 0.3125],
    [0.0, 0.0, 1.0],
]


def corrected(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Probabilities divided by the mean of their class, so that each row adds up to 1."""
    means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    ratios = [[value / mean for value, mean in zip(row, means, strict=True)] for row in rows]
    return [[value / sum(row) for value in row] for row in ratios]


Q = corrected(P)
# the label and the best other class of the first seven
PAIRS = [(0, 1), (0, 1), (0, 1), (1, 0), (1, 0), (2, 0), (2, 0)]
OF_TWO = [(row[label], row[other]) for row, (label, other) in zip(Q[:7], PAIRS, strict=True)]
C = [(other + SMOOTHING) / (label + other + 2 * SMOOTHING) for label, other in OF_TWO]
"""The contradiction of the first seven, from the probabilities of the label and of the best other class."""


def predicted(
    samples: fo.Dataset | fo.DatasetView,
    model: str,
    predictions: ArrayLike | None,
    classes: Sequence[str] = CLASSES,
    seed: int = 0,
) -> ModelResults:
    """Results of a network with these mean predictions, given in the order of the samples."""
    ids = np.array(samples.values("id"))
    order, count = np.argsort(ids), len(ids)
    curve = np.ones(3)
    p = None if predictions is None else np.asarray(predictions, np.float32)[order]
    scores = {"learnability": np.random.default_rng(seed).random(count)}
    record = RunRecord(model, seed, scores, curve, curve, curve, curve, prediction=p)
    files = np.array([f"{id}.png" for id in ids[order]])
    return ModelResults.from_runs([record], ids[order], files, np.zeros(count, np.int64), tuple(classes), {})


def write(
    samples: fo.Dataset | fo.DatasetView,
    model: str = "one",
    predictions: ArrayLike | None = P,
    classes: Sequence[str] = CLASSES,
    label_field: str = "ground_truth",
    overwrite: bool = False,
) -> None:
    """Writes a network with these mean predictions as a run of the same name."""
    results = {model: predicted(samples, model, predictions, classes)}
    write_results(samples, results, f"run_{model}", {"label_field": label_field, "epochs": 3}, overwrite)


@pytest.fixture
def dataset(make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """Eight samples, seven with a label, and a network that kept its predictions for them."""
    dataset = make_dataset([f"/no/{index}.png" for index in range(8)], LABELS)
    write(dataset)
    return dataset


def whole(dataset: fo.Dataset) -> dict[str, Any]:
    """The state of a dataset. As in FiftyOne, a field that is None equals one that was never set."""
    database_state = state(dataset)
    for document in database_state["samples"].values():
        for name in [name for name, value in document.items() if value is None]:
            del document[name]
    return database_state


def values(dataset: fo.Dataset, field: str) -> list[Any]:
    """The values of the samples in the order in which they were made, whatever the order of a view."""
    return dataset.sort_by("filepath").values(field)


def test_known_predictions_give_known_suggestions(dataset: fo.Dataset) -> None:
    fol.suggest_label_fixes(dataset)
    assert values(dataset, CONTRADICTION)[:7] == pytest.approx(C)
    verdicts = ["mislabelled", "hard", "learned", "mislabelled", "learned", "learned", "hard", None]
    assert values(dataset, VERDICT) == verdicts
    suggested, confidence = (values(dataset, f"{SUGGESTION}.{name}") for name in ("label", "confidence"))
    # only where another class is preferred: not where both are even
    assert suggested == ["dog", "dog", None, "cat", None, None, "cat", None]
    assert confidence == [pytest.approx(OF_TWO[index][1]) if index in (0, 1, 3, 6) else None for index in range(8)]
    assert values(dataset, "ground_truth.label") == LABELS
    assert isinstance(dataset.sort_by("filepath").first()[SUGGESTION], fo.Classification)


def test_the_table_ranks_contradicted_labels(dataset: fo.Dataset) -> None:
    table = fol.suggest_label_fixes(dataset)
    order = sorted((0, 1, 3, 6), key=lambda index: -C[index])
    assert order == [0, 3, 1, 6]
    ids = values(dataset, "id")
    expected = pd.DataFrame(
        {
            "id": [ids[index] for index in order],
            "filepath": [f"/no/{index}.png" for index in order],
            "label": pd.Series(["cat", "dog", "cat", "owl"], dtype=object),
            "suggested_label": ["dog", "cat", "dog", "cat"],
            "confidence": [OF_TWO[index][1] for index in order],
            "contradiction": [C[index] for index in order],
            "verdict": ["mislabelled", "mislabelled", "hard", "hard"],
        }
    )
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_fields_and_run_describe_themselves(dataset: fo.Dataset) -> None:
    fol.suggest_label_fixes(dataset)
    assert isinstance(dataset.get_field(SUGGESTION), fo.EmbeddedDocumentField)
    assert dataset.get_field(SUGGESTION).document_type is fo.Classification
    assert isinstance(dataset.get_field(CONTRADICTION), fo.FloatField)
    assert isinstance(dataset.get_field(VERDICT), fo.StringField)
    for name in FIELDS:
        field = dataset.get_field(name)
        assert "one" in field.description
        score = name.removeprefix("learnability_")
        run_id = dataset.get_run_info("label_fixes").config.run_id
        note = {"run": "label_fixes", "run_id": run_id, "field": name, "score": score}
        assert field.info == {"learnability": note}
    assert "at least 0.75" in dataset.get_field(VERDICT).description
    assert {f"{SUGGESTION}.label", CONTRADICTION, VERDICT} <= set(dataset.list_indexes())
    config = dataset.get_run_info("label_fixes").config
    settings = {"kind": "label_fixes", "of": ["one"], "label_field": "ground_truth", "threshold": 0.75}
    settings |= {"models": [], "num_samples": 7, "package_version": fol.__version__}
    assert {name: getattr(config, name) for name in settings} == settings
    # suggestions are not a network
    assert fol.find_models(dataset, derived=True) == ["one"]
    assert fol.load_results(dataset, "label_fixes") == {}


def test_the_threshold_changes_only_verdicts(dataset: fo.Dataset) -> None:
    first = fol.suggest_label_fixes(dataset)
    assert C[1] > 0.55
    second = fol.suggest_label_fixes(dataset, threshold=0.55, overwrite=True)
    assert second["verdict"].tolist() == ["mislabelled"] * 3 + ["hard"]
    assert second.drop(columns="verdict").equals(first.drop(columns="verdict"))
    assert values(dataset, VERDICT).count("mislabelled") == 3
    assert "at least 0.55" in dataset.get_field(VERDICT).description


def test_the_predictions_of_several_networks_are_averaged(dataset: fo.Dataset) -> None:
    rng = np.random.default_rng(4)
    # multiples of 1/8: half precision holds their means too
    other = rng.multinomial(8, [1 / 3] * 3, size=8) / 8
    write(dataset, "two", other)
    table = fol.suggest_label_fixes(dataset)
    assert dataset.get_run_info("label_fixes").config.of == ["one", "two"]
    mean = (np.array(Q) + corrected(other.tolist())) / 2
    expected = {}
    for index, label in enumerate(LABELS[:7]):
        row = dict(zip(CLASSES, mean[index], strict=True))
        given = row.pop(label)
        best = max(row, key=lambda name: row[name])
        if row[best] > given:
            expected[f"/no/{index}.png"] = (best, row[best])
    assert len(expected) > 2
    suggested = zip(table["filepath"], zip(table["suggested_label"], table["confidence"], strict=True), strict=True)
    for file, (name, confidence) in suggested:
        assert (name, confidence) == (expected[file][0], pytest.approx(expected.pop(file)[1]))
    assert not expected
    alone = fol.suggest_label_fixes(dataset, "one", overwrite=True)
    assert alone["contradiction"].tolist() == pytest.approx(sorted((c for c in C if c > 0.5), reverse=True))
    assert dataset.get_run_info("label_fixes").config.of == ["one"]
    assert fol.suggest_label_fixes(dataset, ["one"], overwrite=True).equals(alone)


def test_a_sample_is_judged_by_the_networks_that_trained_on_it(dataset: fo.Dataset) -> None:
    alone = fol.suggest_label_fixes(dataset).set_index("filepath")
    view = dataset.match(F("filepath").is_in(["/no/0.png", "/no/3.png", "/no/5.png"]))
    write(view, "two", [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    table = fol.suggest_label_fixes(dataset, overwrite=True).set_index("filepath")
    assert table["confidence"]["/no/0.png"] == pytest.approx((OF_TWO[0][1] + 1) / 2)
    assert table["confidence"]["/no/3.png"] == pytest.approx((OF_TWO[3][1] + 1) / 2)
    others = [file for file in alone.index if file not in ("/no/0.png", "/no/3.png", "/no/5.png")]
    assert others
    assert table["contradiction"][others].tolist() == alone["contradiction"][others].tolist()


def test_networks_without_a_common_sample(dataset: fo.Dataset) -> None:
    fol.delete_run(dataset, "run_one")
    write(dataset.limit(3), "one", P[:3])
    write(dataset.skip(3), "two", P[3:])
    fol.suggest_label_fixes(dataset)
    # each network is corrected for the classes of its own samples
    expected = []
    for label, row in zip(LABELS, [*corrected(P[:3]), *corrected(P[3:])], strict=True):
        others = {name: value for name, value in zip(CLASSES, row, strict=True) if name != label}
        given = None if label is None else row[CLASSES.index(label)]
        best = max(others.values())
        expected.append(None if given is None else (best + SMOOTHING) / (given + best + 2 * SMOOTHING))
    assert values(dataset, CONTRADICTION) == [value if value is None else pytest.approx(value) for value in expected]


def test_networks_of_other_labels_are_left_out_unless_named(dataset: fo.Dataset) -> None:
    alone = fol.suggest_label_fixes(dataset)
    dataset.clone_sample_field("ground_truth", "second")
    write(dataset, "other", np.eye(3)[[0] * 8], label_field="second")
    assert fol.suggest_label_fixes(dataset, overwrite=True).equals(alone)
    with pytest.raises(ValueError, match="'one' and 'other' were trained with other labels"):
        fol.suggest_label_fixes(dataset, ["one", "other"], overwrite=True)


def test_networks_without_predictions_are_left_out_unless_named(dataset: fo.Dataset) -> None:
    write(dataset, "without", None)
    fol.suggest_label_fixes(dataset)
    assert dataset.get_run_info("label_fixes").config.of == ["one"]
    before = state(dataset)
    for models in ("without", ["one", "without"]):
        with pytest.raises(ValueError, match="the runs of without have not kept their predictions"):
            fol.suggest_label_fixes(dataset, models, overwrite=True)
    assert state(dataset) == before
    fol.delete_run(dataset, "run_one")
    with pytest.raises(ValueError, match="the runs of without have not kept their predictions"):
        fol.suggest_label_fixes(dataset, overwrite=True)


def test_networks_with_other_classes_are_left_out_unless_named(dataset: fo.Dataset) -> None:
    write(dataset, "other", np.eye(2)[[0] * 8], ("cat", "dog"))
    fol.suggest_label_fixes(dataset)
    assert dataset.get_run_info("label_fixes").config.of == ["one"]
    assert values(dataset, CONTRADICTION)[:7] == pytest.approx(C)
    with pytest.raises(ValueError, match="'one' and 'other' were trained with other labels: choose one of them"):
        fol.suggest_label_fixes(dataset, ["one", "other"], overwrite=True)
    # the other network does not know owls
    table = fol.suggest_label_fixes(dataset, "other", overwrite=True)
    assert table["filepath"].tolist() == ["/no/3.png", "/no/4.png"]
    assert [value is None for value in values(dataset, VERDICT)] == [False] * 5 + [True] * 3


def test_only_the_samples_of_a_view_are_judged(dataset: fo.Dataset) -> None:
    view = dataset.match(F("ground_truth.label") == "cat").sort_by("filepath", reverse=True)
    table = fol.suggest_label_fixes(view)
    assert table["filepath"].tolist() == ["/no/0.png", "/no/1.png"]
    assert values(dataset, VERDICT) == ["mislabelled", "hard", "learned"] + [None] * 5
    # the judgement of other samples is not deleted unless its run is
    fol.suggest_label_fixes(dataset, overwrite=True)
    owls = dataset.match(F("ground_truth.label") == "owl")
    with pytest.raises(ValueError, match=r"5 samples outside this call .*: delete the run 'label_fixes' first"):
        fol.suggest_label_fixes(owls, overwrite=True)
    fol.delete_run(dataset, "label_fixes")
    fol.suggest_label_fixes(owls)
    assert values(dataset, VERDICT) == [None] * 5 + ["learned", "hard", None]
    assert values(dataset, f"{SUGGESTION}.label") == [None] * 6 + ["cat", None]
    assert fol.list_runs(dataset) == ["label_fixes", "run_one"]


def test_the_present_labels_are_judged(dataset: fo.Dataset) -> None:
    first, *_, last = dataset.sort_by("filepath")
    first["ground_truth"].label = "dog"
    last["ground_truth"] = fo.Classification(label="dog")
    first.save()
    last.save()
    table = fol.suggest_label_fixes(dataset)
    # the first was corrected; the last got a wrong label after the training
    assert "/no/0.png" not in table["filepath"].tolist()
    row = table.set_index("filepath").loc["/no/7.png"]
    assert (row["label"], row["suggested_label"], row["verdict"]) == ("dog", "owl", "mislabelled")


def test_unknown_labels_are_left_out(dataset: fo.Dataset) -> None:
    sample = dataset.sort_by("filepath").first()
    sample["ground_truth"].label = "bat"
    sample.save()
    table = fol.suggest_label_fixes(dataset)
    assert "/no/0.png" not in table["filepath"].tolist()
    assert values(dataset, VERDICT)[0] is None
    assert dataset.get_run_info("label_fixes").config.num_samples == 6


SCALARS: dict[str, tuple[type[fo.Field], list[Any]]] = {
    "texts": (fo.StringField, ["a", "a", "b", "b", None, "a"]),
    "numbers": (fo.IntField, [3, 3, 12, 12, None, 3]),
    "truths": (fo.BooleanField, [True, True, False, False, None, True]),
}


@pytest.fixture(params=SCALARS)
def scalars(request: pytest.FixtureRequest, make_dataset: Callable[..., fo.Dataset]) -> tuple[fo.Dataset, list[Any]]:
    """Six samples whose labels are plain values, the first of them contradicted; and these labels."""
    ftype, labels = SCALARS[request.param]
    dataset = make_dataset([f"/no/{index}.png" for index in range(6)], [None] * 6)
    dataset.add_sample_field("target", ftype, description="mine", info={"by": "hand"})
    dataset.set_values("target", labels)
    # as read_samples() names and sorts them
    classes = [str(label) for label in sorted({label for label in labels if label is not None})]
    rows = [[0.0, 0.0] for _ in labels]
    for index, (row, label) in enumerate(zip(rows, labels, strict=True)):
        at = 0 if label is None else classes.index(str(label))
        row[1 - at if index == 0 else at] = 1.0
    write(dataset, "one", rows, classes, "target")
    return dataset, labels


def test_labels_that_are_plain_values(scalars: tuple[fo.Dataset, list[Any]]) -> None:
    dataset, labels = scalars
    table = fol.suggest_label_fixes(dataset)
    assert table["filepath"].tolist() == ["/no/0.png"]
    assert table["label"].tolist() == labels[:1]
    assert type(table["label"][0]) is type(labels[0])
    assert table["suggested_label"].tolist() == [str(labels[2])]
    assert values(dataset, f"{SUGGESTION}.label") == [str(labels[2])] + [None] * 5
    assert values(dataset, VERDICT) == ["mislabelled"] + ["learned"] * 3 + [None, "learned"]
    before = state(dataset)["fields"]
    assert fol.apply_label_fixes(dataset) == ("target_fixed", 1)
    assert values(dataset, "target_fixed") == [labels[2], *labels[1:]]
    assert values(dataset, "target") == labels
    assert type(dataset.get_field("target_fixed")) is type(dataset.get_field("target"))
    assert fol.apply_label_fixes(dataset, in_place=True) == ("target", 1)
    assert values(dataset, "target") == [labels[2], *labels[1:]]
    assert values(dataset, "target_original") == [labels[0], *[None] * 5]
    assert state(dataset)["fields"]["target"] == before["target"]
    assert dataset.get_field("target").description == "mine"


def test_suggestions_are_replaced_only_with_overwrite(dataset: fo.Dataset) -> None:
    fol.suggest_label_fixes(dataset)
    before = state(dataset)
    with pytest.raises(ValueError, match=r"already has the field '\w+', written by the run 'label_fixes'.*overwrite"):
        fol.suggest_label_fixes(dataset)
    with pytest.raises(ValueError, match="already has the field"):
        fol.suggest_label_fixes(dataset, key="other")
    assert state(dataset) == before
    fol.suggest_label_fixes(dataset, key="other", overwrite=True)
    assert fol.list_runs(dataset) == ["other", "run_one"]
    assert state(dataset)["stored_results"] == before["stored_results"]


def test_foreign_fields_are_not_touched(dataset: fo.Dataset) -> None:
    dataset.add_sample_field(VERDICT, fo.IntField)
    before = state(dataset)
    with pytest.raises(ValueError, match="which this package did not write"):
        fol.suggest_label_fixes(dataset)
    with pytest.raises(ValueError, match="cannot be replaced by a StringField"):
        fol.suggest_label_fixes(dataset, overwrite=True)
    assert state(dataset) == before


def test_deleting_the_run_deletes_its_fields_and_nothing_else(dataset: fo.Dataset) -> None:
    before = state(dataset)
    fol.suggest_label_fixes(dataset, key="mine")
    assert fol.delete_run(dataset, "mine") == FIELDS
    assert state(dataset) == before


def test_a_copy_with_fixes_outlives_the_suggestions(dataset: fo.Dataset) -> None:
    fol.suggest_label_fixes(dataset)
    fol.apply_label_fixes(dataset)
    fixed = values(dataset, "ground_truth_fixed.label")
    assert fol.delete_run(dataset, "label_fixes") == FIELDS
    assert values(dataset, "ground_truth_fixed.label") == fixed


@pytest.mark.parametrize("key", ["run_one", "retrained"])
def test_retraining_a_network_keeps_the_suggestions(dataset: fo.Dataset, key: str) -> None:
    fol.suggest_label_fixes(dataset)
    before = state(dataset)
    results = {"one": predicted(dataset, "one", P, seed=9)}
    write_results(dataset, results, key, {"label_field": "ground_truth"}, overwrite=True)
    after = state(dataset)
    assert fol.list_runs(dataset) == sorted(["label_fixes", key])
    assert after["runs"]["label_fixes"] == before["runs"]["label_fixes"]
    for name in FIELDS:
        assert after["fields"][name] == before["fields"][name]
        was, now = ([doc.get(name) for doc in snapshot["samples"].values()] for snapshot in (before, after))
        assert now == was
    fol.apply_label_fixes(dataset)


def test_the_strongest_contradiction_comes_first(dataset: fo.Dataset) -> None:
    fol.suggest_label_fixes(dataset)
    assert fol.label_problems(dataset).values("filepath") == ["/no/0.png", "/no/3.png"]
    assert fol.label_problems(dataset, "hard").values("filepath") == ["/no/1.png", "/no/6.png"]
    cats = dataset.match(F("ground_truth.label") == "cat")
    assert fol.label_problems(cats).values("filepath") == ["/no/0.png"]
    for verdict in ("learned", "wrong"):
        with pytest.raises(ValueError, match=f"verdict must be 'mislabelled' or 'hard', not '{verdict}'"):
            fol.label_problems(dataset, verdict)


def test_showing_and_applying_need_suggestions(dataset: fo.Dataset) -> None:
    dataset.add_sample_field(CONTRADICTION, fo.FloatField)
    for call in (fol.label_problems, fol.apply_label_fixes):
        with pytest.raises(ValueError, match="run suggest_label_fixes first"):
            call(dataset)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown network": ({"models": "two"}, "'two' has no scores; the networks that do: one"),
    "low threshold": ({"threshold": 0.5}, "threshold must be a number above 0.5"),
    "high threshold": ({"threshold": 1.5}, "threshold must be a number above 0.5 and at most 1"),
    "key": ({"key": "two words"}, "must be an identifier"),
    "taken key": ({"key": "run_one"}, "already has a run 'run_one'"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_refused(dataset: fo.Dataset, options: dict[str, Any], message: str) -> None:
    before = state(dataset)
    with pytest.raises(ValueError, match=message):
        fol.suggest_label_fixes(dataset, **options)
    assert state(dataset) == before


def test_suggestions_need_scores_and_labels(dataset: fo.Dataset, make_dataset: Callable[..., fo.Dataset]) -> None:
    with pytest.raises(ValueError, match="no scores yet"):
        fol.suggest_label_fixes(make_dataset(["/no/1.png"], ["cat"]))
    with pytest.raises(ValueError, match="no sample of the collection has both scores of one and a label"):
        fol.suggest_label_fixes(dataset.match(F("filepath") == "/no/7.png"))
    dataset.delete_sample_field("ground_truth")
    before = state(dataset)
    with pytest.raises(ValueError, match="with the labels that 'one' was trained with was deleted or renamed"):
        fol.suggest_label_fixes(dataset)
    assert state(dataset) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_while_suggesting_leaves_no_trace(
    dataset: fo.Dataset, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    if overwrite:
        fol.suggest_label_fixes(dataset, threshold=0.6)
    before = whole(dataset)
    error = OperationFailure("disk full")
    # new fields are added; existing ones are marked as incomplete
    owner, name, call = (fo.Field, "save", 3) if overwrite else (fo.Dataset, "add_sample_field", 3)
    failures: list[Callable[[pytest.MonkeyPatch], None]] = [
        lambda patch: patch.setattr(owner, name, fails_at(getattr(owner, name), call, error)),
        lambda patch: fail_at_merge(patch, error),
        lambda patch: patch.setattr(registration, "register", raiser(error)),
    ]
    for fail in failures:
        with monkeypatch.context() as patch:
            fail(patch)
            with pytest.raises(WriteError, match="disk full"):
                fol.suggest_label_fixes(dataset, overwrite=overwrite)
        assert whole(dataset) == before
    assert len(fol.suggest_label_fixes(dataset, overwrite=overwrite)) == 4


@pytest.fixture
def suggested(dataset: fo.Dataset) -> fo.Dataset:
    """The samples with suggestions for 0, 1, 3 and 6; labels carry tags."""
    dataset.tag_labels("seen", "ground_truth")
    fol.suggest_label_fixes(dataset)
    return dataset


def only(dataset: fo.Dataset, *numbers: int) -> fo.DatasetView:
    return dataset.match(F("filepath").is_in([f"/no/{number}.png" for number in numbers]))


def with_fixes(*numbers: int) -> list[str | None]:
    """The labels after the suggestions for these samples were accepted."""
    fixes = {0: "dog", 1: "dog", 3: "cat", 6: "cat"}
    return [fixes[index] if index in numbers else label for index, label in enumerate(LABELS)]


def test_fixes_go_into_a_copy_of_all_labels(suggested: fo.Dataset) -> None:
    before = state(suggested)
    # the last has no suggestion
    assert fol.apply_label_fixes(only(suggested, 0, 6, 2)) == ("ground_truth_fixed", 2)
    assert values(suggested, "ground_truth_fixed.label") == with_fixes(0, 6)
    after = state(suggested)
    assert set(after["fields"]) - set(before["fields"]) == {"ground_truth_fixed"}
    for id, document in after["samples"].items():
        fixed = document.pop("ground_truth_fixed")
        # the label field stays the same, including the ids of its labels
        assert document == before["samples"][id]
        if fixed is not None and fixed["label"] == document["ground_truth"]["label"]:
            assert fixed == document["ground_truth"]
    assert suggested.get_field("ground_truth_fixed").document_type is fo.Classification
    # tags belong to the old label
    assert values(suggested, "ground_truth_fixed.tags")[:2] == [[], ["seen"]]
    # an accepted label is not a prediction
    assert values(suggested, "ground_truth_fixed.confidence")[:2] == [None, None]


def test_fixes_are_added_to_those_before(suggested: fo.Dataset) -> None:
    fol.apply_label_fixes(only(suggested, 0))
    assert fol.apply_label_fixes(only(suggested, 3, 0)) == ("ground_truth_fixed", 1)
    assert values(suggested, "ground_truth_fixed.label") == with_fixes(0, 3)
    before = state(suggested)["samples"]
    assert fol.apply_label_fixes(only(suggested, 3, 0)) == ("ground_truth_fixed", 0)
    assert without_times(state(suggested)["samples"]) == without_times(before)
    assert values(suggested, "ground_truth.label") == LABELS
    # a second copy starts from the label field
    assert fol.apply_label_fixes(only(suggested, 6), "mine") == ("mine", 1)
    assert values(suggested, "mine.label") == with_fixes(6)


def without_times(samples: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {id: {k: v for k, v in document.items() if "modified" not in k} for id, document in samples.items()}


def test_edits_in_the_copy_stay(suggested: fo.Dataset) -> None:
    fol.apply_label_fixes(only(suggested, 0))
    sample = only(suggested, 5).first()
    sample["ground_truth_fixed"].label = "bat"
    sample.save()
    fol.apply_label_fixes(only(suggested, 3))
    assert values(suggested, "ground_truth_fixed.label")[5] == "bat"


def test_accepting_nothing_is_refused(suggested: fo.Dataset) -> None:
    before = state(suggested)
    with pytest.raises(
        ValueError, match=r"is an empty view of .*, so no suggestion is accepted: check its tag or filter"
    ):
        fol.apply_label_fixes(suggested.match_tags("accepted"))
    assert state(suggested) == before


def test_accepting_samples_without_a_suggestion_makes_an_unchanged_copy(suggested: fo.Dataset) -> None:
    right = suggested.match(F("learnability_suggestion") == None)  # noqa: E711
    assert fol.apply_label_fixes(right) == ("ground_truth_fixed", 0)
    assert values(suggested, "ground_truth_fixed.label") == LABELS


def test_in_place_keeps_the_first_labels(suggested: fo.Dataset) -> None:
    before = state(suggested)
    assert fol.apply_label_fixes(only(suggested, 0, 2), in_place=True) == ("ground_truth", 1)
    after = state(suggested)
    assert values(suggested, "ground_truth.label") == with_fixes(0)
    assert values(suggested, "ground_truth_original.label") == [LABELS[0], *[None] * (len(LABELS) - 1)]
    assert after["fields"]["ground_truth"] == before["fields"]["ground_truth"]
    changed = suggested.first().id
    assert after["samples"][changed]["ground_truth_original"] == before["samples"][changed]["ground_truth"]
    # a second call does not record the first fix as the original label
    assert fol.apply_label_fixes(only(suggested, 3), in_place=True) == ("ground_truth", 1)
    assert values(suggested, "ground_truth.label") == with_fixes(0, 3)
    kept = [label if index in (0, 3) else None for index, label in enumerate(LABELS)]
    assert values(suggested, "ground_truth_original.label") == kept


def test_labels_that_others_edit_meanwhile_stay(suggested: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    write_columns = label_fields.write_columns

    def edit_then_write(*args: Any, **kwargs: Any) -> Any:
        edit(suggested, 5, "bat")
        return write_columns(*args, **kwargs)

    monkeypatch.setattr(label_fields, "write_columns", edit_then_write)
    before = suggested.values("last_modified_at")
    fol.apply_label_fixes(only(suggested, 0), in_place=True)
    assert values(suggested, "ground_truth.label")[5] == "bat"
    touched = [one != other for one, other in zip(before, suggested.values("last_modified_at"), strict=True)]
    assert touched == [True] + [False] * 7


def edit(dataset: fo.Dataset, number: int, label: str) -> None:
    """Change a label as another process would: FiftyOne's objects do not notice."""
    sample_collection(dataset).update_one({"filepath": f"/no/{number}.png"}, {"$set": {"ground_truth.label": label}})


def test_fixes_cannot_go_into_the_original(suggested: fo.Dataset) -> None:
    fol.apply_label_fixes(only(suggested, 0), in_place=True)
    before = state(suggested)
    with pytest.raises(ValueError, match="'ground_truth_original' exists and is not a copy"):
        fol.apply_label_fixes(only(suggested, 3), "ground_truth_original")
    assert state(suggested) == before


@pytest.mark.parametrize("ftype", [fo.StringField, fo.IntField])
def test_in_place_needs_a_free_field_for_the_original(suggested: fo.Dataset, ftype: type[fo.Field]) -> None:
    suggested.add_sample_field("ground_truth_original", ftype)
    before = state(suggested)
    with pytest.raises(ValueError, match=r"'ground_truth_original'.* this package did not write"):
        fol.apply_label_fixes(only(suggested, 0), in_place=True)
    assert state(suggested) == before


CLASHES: dict[str, tuple[dict[str, Any], str]] = {
    "the label field": ({"into": "ground_truth"}, "is the label field 'ground_truth' itself.*in_place=True"),
    "a foreign field": ({"into": "mine"}, "'mine' exists and is not a copy of 'ground_truth'"),
    "FiftyOne's field": ({"into": "tags"}, "'tags' exists and is not a copy"),
    "a score": ({"into": "learnability_one"}, "'learnability_one' exists and is not a copy"),
    "not an identifier": ({"into": "two words"}, "must be the name of a field, an identifier, not 'two words'"),
    "an inner field": ({"into": "ground_truth.label"}, "an identifier, not 'ground_truth.label'"),
    "both": ({"into": "new", "in_place": True}, "give either into or in_place=True"),
}


@pytest.mark.parametrize(("options", "message"), CLASHES.values(), ids=CLASHES)
def test_fields_that_cannot_take_fixes(suggested: fo.Dataset, options: dict[str, Any], message: str) -> None:
    suggested.add_sample_field("mine", fo.EmbeddedDocumentField, embedded_doc_type=fo.Classification)
    before = state(suggested)
    with pytest.raises(ValueError, match=message):
        fol.apply_label_fixes(suggested, **options)
    assert state(suggested) == before


def test_the_label_field_must_still_be_there(suggested: fo.Dataset) -> None:
    suggested.delete_sample_field("ground_truth")
    before = state(suggested)
    with pytest.raises(ValueError, match="no field 'ground_truth'"):
        fol.apply_label_fixes(suggested)
    assert state(suggested) == before


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_failure_while_applying_leaves_the_dataset_as_it_was(
    suggested: fo.Dataset, monkeypatch: pytest.MonkeyPatch, in_place: bool, again: bool
) -> None:
    if again:
        fol.apply_label_fixes(only(suggested, 0), in_place=in_place)
    before = whole(suggested)
    error = OperationFailure("disk full")
    owner, name = (fo.Field, "save") if again else (fo.Dataset, "add_sample_field")
    failures: list[Callable[[pytest.MonkeyPatch], None]] = [
        lambda patch: patch.setattr(Collection, "insert_many", raiser(error)),
        lambda patch: patch.setattr(owner, name, fails_at(getattr(owner, name), 1, error)),
        lambda patch: fail_at_merge(patch, error, after=True),
    ]
    for fail in failures:
        with monkeypatch.context() as patch:
            fail(patch)
            with pytest.raises((WriteError, OperationFailure), match="disk full"):
                fol.apply_label_fixes(suggested, in_place=in_place)
        assert whole(suggested) == before
    assert fol.apply_label_fixes(suggested, in_place=in_place)[1] == (3 if again else 4)


class Killed(BaseException):
    """Stands in for SIGKILL: nothing cleans up after it."""


def test_edits_since_a_killed_call_stay(suggested: fo.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(columns, "set_field_metadata", raiser(Killed()))
        patch.setattr(columns, "roll_back", raiser(Killed()))
        with pytest.raises(Killed):
            fol.apply_label_fixes(only(suggested, 0, 1, 3), in_place=True)
    # one label that was accepted, and one that was not
    edit(suggested, 1, "bat")
    edit(suggested, 5, "bat")
    # the next call rolls the unfinished one back
    fol.apply_label_fixes(only(suggested, 3), in_place=True)
    changed = with_fixes(3)
    changed[1] = changed[5] = "bat"
    assert values(suggested, "ground_truth.label") == changed
    kept = [label if index == 3 else None for index, label in enumerate(LABELS)]
    assert values(suggested, "ground_truth_original.label") == kept


def test_a_network_learns_from_the_copy(digit_dataset: fo.Dataset) -> None:
    wrong = digit_dataset.match(F("ground_truth.label") == "0").skip(3).first()
    wrong["ground_truth"] = fo.Classification(label="1")
    wrong.save()
    learn(digit_dataset, epochs=8)
    table = fol.suggest_label_fixes(digit_dataset)
    assert wrong.id in table["id"].tolist()[:3]
    accepted = digit_dataset.select(wrong.id)
    assert accepted.values(f"{SUGGESTION}.label") == ["0"]
    target, changed = fol.apply_label_fixes(accepted)
    assert changed == 1
    before = values_of(digit_dataset, "learnability_tiny")[wrong.id]
    result = learn(digit_dataset, "second", label_field=target, epochs=8)["second"]
    assert result.classes == ("0", "1", "4")
    assert result.num_samples == 60
    assert values_of(digit_dataset, "learnability_second")[wrong.id] > before + 0.2
    # the network that trained on the copy does not contradict the fixed label
    again = fol.suggest_label_fixes(digit_dataset, "second", overwrite=True)
    assert wrong.id not in again["id"].tolist()
    assert digit_dataset.get_run_info("label_fixes").config.label_field == target
