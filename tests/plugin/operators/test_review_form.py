"""The form that begins the review of suggested labels."""

from __future__ import annotations

import pytest

from ..harness import execute, form
from ..review_case import ReviewCase


def test_it_says_where_accepted_labels_go(reviewed: ReviewCase) -> None:
    shown = form("review_label_fixes", reviewed.dataset)
    assert not shown.invalid
    assert shown.defaults["into"] == "ground_truth_fixed"
    assert "All 120 labels are copied into `ground_truth_fixed` first" in shown.text
    assert execute("review_label_fixes", reviewed.dataset, shown.defaults).result == {"field": "ground_truth_fixed"}
    assert reviewed.dataset.values("ground_truth_fixed.label") == reviewed.labels
    assert "are copied" not in form("review_label_fixes", reviewed.dataset).text
    assert "into" not in form("review_label_fixes", reviewed.dataset, {"in_place": True}).fields
    assert execute("review_label_fixes", reviewed.dataset, {"in_place": True}).result == {"field": "ground_truth"}


@pytest.mark.parametrize("into", ["two words", "ground_truth", "filepath", "learnability_decision"])
def test_it_refuses_other_fields(reviewed: ReviewCase, into: str) -> None:
    shown = form("review_label_fixes", reviewed.dataset, {"into": into})
    assert "into" in shown.red
    with pytest.raises(ValueError, match="into"):
        execute("review_label_fixes", reviewed.dataset, {"into": into})


def test_it_needs_suggestions(predicted: ReviewCase) -> None:
    assert "Suggest label fixes" in form("review_label_fixes", predicted.dataset).reasons
    with pytest.raises(ValueError, match="no suggested labels"):
        execute("review_label_fixes", predicted.dataset)
