"""The hostile cases through the command line: status 0, or status 1 or 2 and one line on standard error."""

from __future__ import annotations

import pytest

from fiftyone_learnability import cli

from .calls import COMMAND
from .cases import Case
from .playing import begin, cases_of, check_harm, check_message, in_time
from .world import World


@pytest.mark.parametrize("case", cases_of(COMMAND))
def test_case(case: Case, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    samples, files = begin(world, case)
    assert case.call.command is not None
    arguments = [str(part) for part in case.call.command(world, samples)]
    capsys.readouterr()
    outcome = in_time(lambda: cli.main(arguments))
    out, err = capsys.readouterr()
    # argparse exits on wrong usage
    status = outcome.error.code if isinstance(outcome.error, SystemExit) else outcome.result
    if outcome.error is not None and not isinstance(outcome.error, SystemExit):
        raise outcome.error
    assert "Traceback" not in err
    if case.says:
        assert status in (cli.EXIT_FAILED, cli.EXIT_USAGE), out
        assert out == ""
        # the usage comes before the error
        lines = err.splitlines()[-1:] if status == cli.EXIT_USAGE else err.splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("fiftyone-learnability")
        check_message(lines[0], case.words(COMMAND))
    else:
        assert status == cli.EXIT_OK, err
    check_harm(world, case, files)
