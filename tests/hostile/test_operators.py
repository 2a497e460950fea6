"""The hostile cases through the App's operators: the form shows the problem if it can know it, and the call refuses."""

from __future__ import annotations

from typing import Any

import pytest

from ..plugin.harness import execute, form
from .calls import APP
from .cases import Case
from .playing import begin, cases_of, check_error, check_harm, in_time
from .world import World


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Let the App read and write in the folder of the cases."""
    monkeypatch.setenv("FIFTYONE_LEARNABILITY_DIR", str(world.folder))


@pytest.mark.parametrize("case", cases_of(APP))
def test_case(case: Case, world: World) -> None:
    samples, files = begin(world, case)
    assert case.call.app is not None
    operation = case.call.app(world, samples)
    arguments: tuple[Any, ...] = (operation.name, samples._root_dataset, dict(operation.params))

    shown = in_time(lambda: form(*arguments, **operation.request))
    if shown.error is not None:
        raise shown.error
    if not case.says:
        assert not shown.result.invalid, shown.result.text
    elif case.offers:
        assert not shown.result.invalid, shown.result.text
        assert case.offers in shown.result.visible_text
    elif case.known:
        assert shown.result.invalid
        # a form begins each message with a capital letter
        lines = shown.result.visible_text.splitlines()
        texts = "\n".join([*lines, *(line[:1].lower() + line[1:] for line in lines), *shown.result.red.values()])
        missing = [word for word in case.words(APP) if word not in texts]
        assert not missing, f"the form lacks {missing}: {shown.result.visible_text}"

    outcome = in_time(lambda: execute(*arguments, **operation.request))
    if case.says:
        assert outcome.error is not None, f"the call was not refused: {outcome.result}"
        check_error(outcome.error, case.words(APP))
    elif outcome.error is not None:
        raise outcome.error
    check_harm(world, case, files)
