"""Writes the page on bad input, which is made of the corpus: ``python -m tests.hostile.table``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .calls import DOORS
from .cases import CASES, GROUPS, Case

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hostile_input.md"

_HEAD = """\
# Bad input

What is promised: each of these ends in success, or in a message of one line that names the culprit and says what was
expected. No call hangs; no file is changed; a call that is refused leaves the dataset as it was, byte for byte, and one
that succeeds adds nothing but its own fields. Nothing is half written.

{count} cases, played through {doors}.
The table quotes from the messages. In the App the form already says what is wrong, except where only reading the files
or the values of a field can tell. This page is made of the tests (`python -m tests.hostile.table`, from
`tests/hostile/cases.py`), and a test fails where it differs from them. Besides, `tests/hostile/test_properties.py`
draws labels, names, damaged images, params and tables at random.
"""


def page() -> str:
    """The page."""
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
