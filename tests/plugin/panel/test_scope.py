from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fiftyone as fo
import numpy as np
import pytest
from bson import ObjectId

from ..harness import PanelHarness, plugin_module
from ..made_up import write_scores


@pytest.fixture
def scope() -> Any:
    return plugin_module("panel.scope")


def test_a_long_view_is_hashed_once_per_event(
    make_dataset: Callable[..., fo.Dataset], scope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], list("ab") * 10)
    write_scores(dataset, {"vgg16": np.linspace(0, 1, 20)})
    panel = PanelHarness(dataset, follow=False)
    panel.open()
    panel.show(dataset.select(dataset.values("id")[:10]))
    fingerprint, hashed = scope.fingerprint, []
    monkeypatch.setattr(scope, "fingerprint", lambda stages: hashed.append(stages) or fingerprint(stages))
    panel.event("on_change_view")
    assert len(hashed) == 1


def test_a_fingerprint_ignores_what_the_browser_changes(scope: Any) -> None:
    fingerprint = scope.fingerprint
    ids = [str(ObjectId()) for _ in range(3)]
    stage = {"_cls": "fiftyone.core.stages.Select", "kwargs": [["sample_ids", ids], ["ordered", False]], "_uuid": "1"}
    assert fingerprint([stage]) == fingerprint([{**stage, "_uuid": "2"}])
    assert fingerprint([{"a": 1.0, "b": [1.0, "x"]}]) == fingerprint([{"a": 1, "b": (1, "x")}])
    others = [[["sample_ids", ids[::-1]], ["ordered", False]], [["sample_ids", ids], ["ordered", True]]]
    assert len({fingerprint([stage]), *(fingerprint([{**stage, "kwargs": other}]) for other in others)}) == 3
