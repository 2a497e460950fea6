"""The operators that sort, tag and show disagreement, and the one that opens the panel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fiftyone as fo
import numpy as np
import pytest

from ..harness import execute, form
from ..made_up import write_scores
from .helpers import in_view, shown_ids


@pytest.fixture
def untagged(kept: fo.Dataset) -> Iterator[fo.Dataset]:
    yield kept
    kept.untag_samples(kept.distinct("tags"))


def test_disagreement_needs_two_networks(unscored: fo.Dataset) -> None:
    write_scores(unscored, {"vgg16": np.linspace(0, 1, 10)})
    assert form("show_disagreement", unscored).invalid
    assert not form("sort_by_learnability", unscored).invalid
    with pytest.raises(ValueError, match="two networks"):
        execute("show_disagreement", unscored)


def test_sort(kept: fo.Dataset) -> None:
    ids = kept.values("id")
    assert form("sort_by_learnability", kept).choices("model") == ["resnet20", "vgg16"]
    assert shown_ids(execute("sort_by_learnability", kept), kept) == ids
    easiest = execute("sort_by_learnability", kept, {"model": "resnet20", "first": "easiest"})
    assert shown_ids(easiest, kept) == ids[::-1]
    params = {"model": "vgg16", "first": "hardest"}
    answer = execute("sort_by_learnability", kept, params, **in_view(kept.limit(5)))
    assert shown_ids(answer, kept) == ids[:5][::-1]
    # score and rank are shown besides what the user has ticked
    (call,) = execute("sort_by_learnability", kept, params, active_fields=["tags"]).called("set_active_fields")
    assert call["fields"] == ["tags", "learnability_vgg16", "learnability_rank_vgg16"]


def test_disagreement(kept: fo.Dataset) -> None:
    ids = kept.values("id")
    # the last samples are easy for resnet20 and hard for vgg16, the very last one most
    answer = execute("show_disagreement", kept, {"easy_for": "resnet20", "hard_for": "vgg16", "limit": 4})
    assert shown_ids(answer, kept) == ids[:-5:-1]
    assert shown_ids(execute("show_disagreement", kept), kept) == ids[:-21:-1]
    assert len(answer.called("set_active_fields")[0]["fields"]) == 2
    answer = execute("show_disagreement", kept, {"either_way": True, "limit": 4})
    assert set(shown_ids(answer, kept)) == {*ids[:2], *ids[-2:]}
    assert form("show_disagreement", kept, {"easy_for": "vgg16", "hard_for": "vgg16"}).invalid
    assert form("show_disagreement", kept).defaults["hard_for"] == "vgg16"
    # a cleared dropdown sends None, which is the default for the form too
    assert not form("show_disagreement", kept, {"easy_for": None, "hard_for": None}).invalid


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
    request = in_view(untagged.skip(10))
    execute("tag_by_difficulty", untagged, {"count": 2, "tag": "in view"}, **request)
    assert untagged.match_tags("in view").values("id") == ids[10:12]
    execute("tag_by_difficulty", untagged, {"count": 1, "tag": "all"}, **{**request, "view_target": "DATASET"})
    assert untagged.match_tags("all").values("id") == ids[:1]
    chosen = {"selected": ids[20:23], "view_target": "SELECTED_SAMPLES"}
    execute("tag_by_difficulty", untagged, {"count": 2, "tag": "chosen"}, **chosen)
    assert untagged.match_tags("chosen").values("id") == ids[20:22]
    of_b = {"ground_truth.label": {"values": ["b"], "exclude": False, "isMatching": True}}
    execute("tag_by_difficulty", untagged, {"count": 1, "tag": "filtered"}, filters=of_b, view_target="CURRENT_VIEW")
    assert untagged.match_tags("filtered").values("id") == ids[30:31]
    assert "**30**" in form("tag_by_difficulty", untagged, **request).defaults["among"]
    assert "Only the 3 selected samples" in form("tag_by_difficulty", untagged, **chosen).text


def test_the_form_of_tag_changes_with_the_choice(kept: fo.Dataset) -> None:
    assert form("tag_by_difficulty", kept).defaults["tag"] == "hard"
    assert form("tag_by_difficulty", kept, {"which": "easiest"}).defaults["tag"] == "easy"
    shown = form("tag_by_difficulty", kept, {"unit": "percent"})
    assert "count" not in shown.fields
    assert "percent" in shown.fields
    assert form("tag_by_difficulty", kept, {"tag": " "}).invalid


def test_compare_opens_the_panel(unscored: fo.Dataset) -> None:
    (call,) = execute("compare_learnability", unscored).called("open_panel")
    assert call["name"] == "learnability_panel"
