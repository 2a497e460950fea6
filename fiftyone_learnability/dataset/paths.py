"""Finds the same files under other paths: of a folder that was moved, or relative to a folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..scores.checks import short_repr

Path = tuple[str, ...]
"""The parts of a path from its end: ``("1.png", "cat", "train")``."""


class _Candidates(NamedTuple):
    """Names and files that share an end of their paths; no name shares a longer end with any of these files.

    Attributes:
        length: the parts of the common end
        names: positions of names
        files: positions of files
    """

    length: int
    names: list[int]
    files: list[int]


def match_paths(names: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    """Match paths with files by the longest common end, which must include the file name.

    A file below a folder in which other files match with longer ends is not matched with a shorter one: in
    ``new/cat/1.png`` and ``new/dog/2.png``, the second file is not ``old/cat/2.png`` if the first is ``old/cat/1.png``.

    Args:
        names: N different paths, with slashes or backslashes
        files: M different paths of files

    Returns:
        the file of each path that has one

    Raises:
        ValueError: if a path fits several files equally well, or a file several paths
    """
    name_parts, file_parts = [_split(name) for name in names], [_split(file) for file in files]
    found = list(_find_candidates(name_parts, file_parts))
    pairs = [candidates for candidates in found if len(candidates.names) == len(candidates.files) == 1]
    roots = {file_parts[pair.files[0]][pair.length :] for pair in pairs}

    def is_elsewhere(file: int, length: int) -> bool:
        folder = file_parts[file][length:]
        return any(folder[start:] in roots for start in range(1, len(folder) + 1))

    matched = {}
    for length, fitting_names, fitting_files in found:
        here = [files[file] for file in fitting_files if not is_elsewhere(file, length)]
        if len(fitting_names) == len(here) == 1:
            matched[names[fitting_names[0]]] = here[0]
        elif here:
            raise ValueError(_describe_ambiguity([names[name] for name in fitting_names], here))
    return matched


def _split(path: str) -> Path:
    # macOS writes accents as characters of their own
    parts = re.split(r"[\\/]+", unicodedata.normalize("NFC", path))
    return tuple(part for part in reversed(parts) if part not in ("", "."))


def _find_candidates(names: Sequence[Path], files: Sequence[Path]) -> Iterator[_Candidates]:
    pending = [_Candidates(0, list(range(len(names))), list(range(len(files))))]
    # a loop, not a recursion: a path may have any number of parts
    while pending:
        length, some_names, some_files = pending.pop()
        by_part: dict[str | None, tuple[list[int], list[int]]] = {}
        for side, (paths, positions) in enumerate(((names, some_names), (files, some_files))):
            for position in positions:
                parts = paths[position]
                part = parts[length] if length < len(parts) else None
                by_part.setdefault(part, ([], []))[side].append(position)
        left_names, left_files = [], []
        for part, (same_names, same_files) in by_part.items():
            if part is not None and same_names and same_files:
                pending.append(_Candidates(length + 1, same_names, same_files))
            else:
                left_names += same_names
                left_files += same_files
        if length and left_names and left_files:
            yield _Candidates(length, left_names, left_files)


def _describe_ambiguity(names: list[str], files: list[str]) -> str:
    some_names, some_files = (" or ".join(short_repr(path) for path in paths[:2]) for paths in (names, files))
    return (
        f"the scores name {some_names}, which may be the sample {some_files}: name the samples by id, or by more of "
        "their paths"
    )
