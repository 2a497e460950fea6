"""The hostile cases through the SDK: a result, or an error for users and no harm."""

from __future__ import annotations

import pytest

from .calls import SDK
from .cases import Case
from .playing import begin, cases_of, check_error, check_harm, in_time
from .world import World


@pytest.mark.parametrize("case", cases_of(SDK))
def test_case(case: Case, world: World) -> None:
    samples, files = begin(world, case)
    assert case.call.sdk is not None
    outcome = in_time(lambda: case.call.sdk(world, samples))
    if case.says:
        assert outcome.error is not None, f"the call was not refused: {outcome.result}"
        check_error(outcome.error, case.words(SDK))
    elif outcome.error is not None:
        raise outcome.error
    check_harm(world, case, files)
