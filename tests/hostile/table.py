"""Generate the page on bad input from the corpus: ``python -m tests.hostile.table``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .calls import DOORS
from .cases import CASES, GROUPS, Case

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hostile_input.md"

_HEAD = """\
# Bad input

Each of these cases ends in success, or in a message of one line that names the culprit and says what was expected. No
call hangs, and no file is changed. A refused call leaves the dataset as it was, byte for byte; a successful one adds
only its own fields, completely.

{count} cases, tested through {doors}.
Cases about the content of files and datasets go through the SDK alone, since the same code reads it for all three. The
table quotes from the messages. In the App the form already shows the problem, unless only reading the files or the
values of a field can find it. This page is generated from `tests/hostile/cases.py` (`python -m tests.hostile.table`),
and a test fails if it is out of date. In addition, `tests/hostile/test_properties.py` draws labels, names, damaged
images, params and tables at random.
"""


def page() -> str:
    """Return the text of the page."""
    counts = Counter(door for case in CASES for door in case.call.doors)
    doors = ", ".join(f"the {door} ({counts[door]})" for door in DOORS)
    parts = [_HEAD.format(count=len(CASES), doors=doors)]
    for title, cases in GROUPS.items():
        rows = "\n".join(map(_row, cases))
        parts.append(f"## {title}\n\n| case | what is hostile | doors | what happens |\n|---|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(case: Case) -> str:
    doors = "all" if case.call.doors == DOORS else ", ".join(case.call.doors)
    cells = (case.name + (" (slow)" if case.slow else ""), case.hostile, doors, _outcome(case))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _outcome(case: Case) -> str:
    if not case.says:
        if case.scored is not None:
            return f"succeeds: {case.scored:,} samples are scored"
        return "succeeds"
    said = [f"refused: {_quoted(case.says)}"]
    said += [f"{door}: {_quoted(words)}" for door, words in case.says_there.items()]
    return "; ".join(said)


def _quoted(words: tuple[str, ...]) -> str:
    # backquotes keep Markdown from reading what stands between them
    return " … ".join(f"`{word}`" for word in words)


if __name__ == "__main__":
    PAGE.write_text(page())
