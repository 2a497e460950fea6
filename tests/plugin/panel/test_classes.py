"""The panel's tab "Classes": NumPy counts again what the table says and which samples its cells show."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from fiftyone_learnability import decide_labels

from ..harness import PanelHarness
from ..made_up import write_scores
from ..review_case import COUNT, ReviewCase

NAMES = ("ant", "bee", "$cow")


def open_classes(case: ReviewCase, first: str = "resnet20") -> PanelHarness:
    panel = PanelHarness(case.dataset)
    panel.open()
    panel.choose("first", first)
    panel.tab("classes")
    return panel


def table(panel: PanelHarness) -> list[dict[str, str]]:
    """Return the rows of the table."""
    shown = panel.layout["class_table"]["default"]
    return [dict(zip(shown["columns"], row, strict=True)) for row in shown["rows"]]


def click(panel: PanelHarness, label: str, column: str) -> list[str]:
    """Click a cell of the table; return the ids in the grid, sorted, after checking that the panel says how many."""
    rows = [row["class"] for row in table(panel)]
    columns = panel.layout["class_table"]["default"]["columns"]
    place = [rows.index(label), columns.index(column)]
    panel.event("on_class_cell", row=place[0], column=place[1])
    assert f"Showing **{len(panel.ids)}** of {COUNT}: " in panel.layout["about_shown"]["default"]
    assert panel.layout["class_table"]["default"]["selected_cells"] == [place]
    return sorted(panel.ids)


def wrong_by_pair(case: ReviewCase) -> dict[tuple[str, str], list[str]]:
    """Return the ids of the probably mislabelled samples by given and suggested label."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for index in case.with_verdict("mislabelled"):
        pairs.setdefault((str(case.labels[index]), case.suggested[index]), []).append(case.ids[index])
    return pairs


def check_suggestions(panel: PanelHarness, case: ReviewCase, pairs: dict[tuple[str, str], list[str]]) -> None:
    """Check the table and each of its cells against the probably mislabelled samples."""
    scores = np.array(case.dataset.values("learnability_resnet20"), float)
    assert [row["class"] for row in table(panel)] != []
    for row in table(panel):
        label = row["class"]
        inside = [index for index, given in enumerate(case.labels) if given == label]
        wrong = {other: ids for (given, other), ids in pairs.items() if given == label}
        total = sum(map(len, wrong.values()))
        assert row["samples"] == str(len(inside))
        assert row["mean"] == f"{scores[inside].mean():.2f}"
        assert row["mislabelled"] == (f"{total} ({total / len(inside):.1%})" if total else "-")
        assert click(panel, label, "class") == sorted(case.ids[index] for index in inside)
        if not wrong:
            assert row["confused"] == "-"
            continue
        other = min(wrong, key=lambda name: (-len(wrong[name]), name))
        assert row["confused"] == f"{other} ({len(wrong[other])})"
        assert click(panel, label, "mislabelled") == sorted(id for ids in wrong.values() for id in ids)
        assert click(panel, label, "confused") == sorted(wrong[other])


def test_the_table_counts_suggestions_and_its_cells_show_them(reviewed: ReviewCase) -> None:
    panel = open_classes(reviewed)
    pairs = wrong_by_pair(reviewed)
    assert sum(map(len, pairs.values())) > 15
    check_suggestions(panel, reviewed, pairs)
    # accepted ones are no longer probably wrong, in a copy or in the field itself
    wrong = reviewed.with_verdict("mislabelled")
    reviewed.accept(wrong[:4])
    reviewed.accept(wrong[4:6], into="other_labels")
    # nor are those that were kept
    decide_labels(reviewed.dataset.select([reviewed.ids[index] for index in wrong[6:9]]), "kept")
    gone = {reviewed.ids[index] for index in wrong[:9]}
    panel.show(None)
    left = {pair: [id for id in ids if id not in gone] for pair, ids in pairs.items()}
    check_suggestions(panel, reviewed, {pair: ids for pair, ids in left.items() if ids})


def test_the_classes_that_are_mislabelled_most_come_first(reviewed: ReviewCase) -> None:
    wrong = reviewed.with_verdict("mislabelled")
    reviewed.accept([index for index in wrong if reviewed.labels[index] == "bee"][:5])
    panel = open_classes(reviewed)
    panel.choose("order", "mislabelled")
    shares = [float(row["mislabelled"].partition("(")[2].rstrip("%)") or 0) for row in table(panel)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]
    # the plot beside the table has the same order
    assert [name.rpartition(" ")[0] for name in panel.data["classes"][0]["y"]] == [row["class"] for row in table(panel)]


def test_without_suggestions_predictions_tell_what_a_class_is_confused_with(predicted: ReviewCase) -> None:
    panel = open_classes(predicted)
    assert "order_mislabelled" not in panel.layout
    assert list(table(panel)[0]) == ["class", "samples", "mean", "confused"]
    assert "the classes that ResNet-20 predicted" in panel.layout["about_table"]["default"]
    # as the fixture makes them
    rng = np.random.default_rng(5)
    best = rng.dirichlet([0.4, 0.4, 0.4], COUNT).astype(np.float16).argmax(axis=1)
    for row in table(panel):
        others: Counter[str] = Counter()
        for index, label in enumerate(predicted.labels):
            if label == row["class"] and NAMES[best[index]] != label:
                others[NAMES[best[index]]] += 1
        other = min(others, key=lambda name: (-others[name], name))
        assert row["confused"] == f"{other} ({others[other]})"
        expected = [
            predicted.ids[index]
            for index, label in enumerate(predicted.labels)
            if label == row["class"] and NAMES[best[index]] == other
        ]
        assert click(panel, row["class"], "confused") == sorted(expected)
    # this network's run kept no predictions
    panel = open_classes(predicted, "mobilenet")
    assert list(table(panel)[0]) == ["class", "samples", "mean"]


def test_a_stray_click_on_the_table_shows_nothing(reviewed: ReviewCase) -> None:
    panel = open_classes(reviewed)
    for row, column in ((-1, 0), (0, -1), (3, 0), (0, 5), (None, 0), ("0", 0), (True, 0), ({"$gt": 0}, 0)):
        assert not panel.event("on_class_cell", row=row, column=column).called("set_view")


@pytest.mark.parametrize(("classes", "shown"), [(10, [10]), (100, [50, 100]), (1000, [50, 200, 800, 1000])])
def test_many_classes_are_shown_step_by_step(make_dataset: Any, classes: int, shown: list[int]) -> None:
    labels = [f"class {index % classes:04}" for index in range(2 * classes)]
    dataset = make_dataset([f"/no/{index}.png" for index in range(2 * classes)], labels)
    write_scores(dataset, {"resnet20": np.linspace(0, 1, 2 * classes)})
    panel = PanelHarness(dataset)
    panel.open()
    answer = panel.tab("classes")
    assert answer.kilobytes < 60
    for count in shown:
        assert len(table(panel)) == len(panel.data["classes"][0]["y"]) == count
        assert ("more" in panel.layout) == (count < classes)
        # the last class that is shown can be clicked
        last = table(panel)[-1]["class"]
        panel.event("on_class_cell", row=count - 1, column=0)
        assert set(panel.view.values("ground_truth.label")) == {last}
        panel.event("on_more")
