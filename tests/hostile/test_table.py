"""The page on bad input matches the corpus, and the corpus is large and varied."""

from __future__ import annotations

from collections import Counter

from .calls import APP, COMMAND, SDK
from .cases import CASES, GROUPS
from .table import PAGE, page


def test_the_page_matches_the_corpus() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.hostile.table"


def test_the_corpus_is_complete() -> None:
    names = Counter(case.name for case in CASES)
    assert max(names.values()) == 1, names.most_common(3)
    assert [case for cases in GROUPS.values() for case in cases] == list(CASES)
    assert all(case.call.doors for case in CASES)
    assert all(case.hostile.endswith((".", "?")) for case in CASES)
    counts = Counter(door for case in CASES for door in case.call.doors)
    assert counts[SDK] >= 150
    assert min(counts[COMMAND], counts[APP]) >= 60
    assert any(not case.says for case in CASES)
