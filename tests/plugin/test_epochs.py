"""The panel says so if networks are scored over different numbers of epochs."""

from __future__ import annotations

from collections.abc import Callable

import fiftyone as fo

from tests.dataset.test_epochs import REMARK, write_over

from .harness import PanelHarness


def test_the_panel_names_the_epochs(make_dataset: Callable[..., fo.Dataset]) -> None:
    dataset = make_dataset([f"/no/{index}.png" for index in range(20)], ["a", "b"] * 10)
    write_over(dataset, one=40)
    assert "epochs" not in PanelHarness(dataset).open().layout
    write_over(dataset, two=70)
    assert PanelHarness(dataset).open().layout["epochs"]["view"]["description"].startswith(REMARK)
