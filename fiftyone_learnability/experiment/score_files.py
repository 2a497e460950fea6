"""Files that hold a table of scores: csv, npz and parquet.

Anybody may have written such a file, so nothing in it is executed, its size is checked before memory is allocated, and
every kind of damage ends in a ``ValueError`` that names the file.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..scores.checks import short_repr, shorten
from ..storage import write_atomically
from .files import check_regular, check_size, open_archive

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".npz", ".parquet")

_LONGEST_PATH, _LONGEST_PART = 4095, 255
"""The operating system's limits in bytes. Its own error message would repeat the whole path."""

_BATCH_ROWS = 10_000


def check_score_path(path: str | Path) -> Path:
    """Return the path if it can name a file of scores.

    Args:
        path: a path that ends in .csv, .npz or .parquet, in small or capital letters

    Raises:
        ValueError: if it cannot, or it is a parquet file and pyarrow is missing
    """
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise ValueError(f"{short_repr(path)} is not a file path")
    path = Path(path)
    if len(str(path).encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_PART for part in path.parts):
        raise ValueError(f"{short_repr(str(path))} is too long for a path")
    if ending_of(path) not in ENDINGS:
        raise ValueError(f"{path.name!r} must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    if ending_of(path) == ".parquet":
        _check_pyarrow(path)
    return path


def ending_of(path: Path) -> str:
    """Return the ending of a file in small letters, such as ``.csv``."""
    return path.suffix.lower()


def _check_pyarrow(path: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{path.name!r}: parquet files need the package pyarrow: pip install pyarrow, or choose .csv or .npz "
            f"({short_repr(str(error))})"
        ) from error


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table of scores.

    Args:
        path: a csv, npz or parquet file. Of an npz file, the one-dimensional arrays as long as ``id`` or ``filepath``
            become columns; pickled arrays are refused

    Returns:
        the table, with a column ``id`` or ``filepath``

    Raises:
        ValueError: if the file cannot be read, or has neither column
    """
    import pandas as pd

    path = check_score_path(path)
    try:
        check_regular(path)
        if ending_of(path) == ".csv":
            table = pd.read_csv(path, dtype={"id": str, "filepath": str, "label": str})
        elif ending_of(path) == ".parquet":
            table = _read_parquet(path)
        else:
            table = _read_npz(path)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    # a damaged file can raise anything
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a {ending_of(path)[1:]} file: {short_repr(str(error), 300)}"
        ) from error
    if not {"id", "filepath"} & set(table.columns):
        raise ValueError(
            f"{path.name} does not identify its samples: it needs a column id or filepath; it has "
            f"{describe_columns(table)}"
        )
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table of scores.

    Args:
        table: columns ``id``, ``filepath`` and ``label``, then numbers and texts. In an npz file, missing numbers are
            NaN and missing texts are empty
        path: the file, see :func:`check_score_path`
    """
    from pandas.api.types import is_numeric_dtype

    path.parent.mkdir(parents=True, exist_ok=True)
    if ending_of(path) == ".csv":
        write_atomically(path, lambda file: table.to_csv(file, index=False))
    elif ending_of(path) == ".parquet":
        texts = table.astype({name: "string" for name in table if not is_numeric_dtype(table[name])})
        write_atomically(path, lambda file: texts.to_parquet(file, index=False, engine="pyarrow"))
    else:
        arrays: dict[str, Any] = {
            str(name): column.to_numpy(np.float64, na_value=np.nan)
            if is_numeric_dtype(column)
            else np.array(["" if value is None else str(value) for value in column], np.str_)
            for name, column in table.items()
        }
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))


def is_exported(path: str | Path) -> bool:
    """True if a file has the columns that :func:`write_table` writes.

    Args:
        path: the file
    """
    try:
        columns = read_columns(path)
    # this package can read what it wrote
    except ValueError:
        return False
    return columns[:3] == ["id", "filepath", "label"] and any(name.startswith("learnability") for name in columns)


def read_columns(path: str | Path) -> list[str]:
    """Return the names of the columns of a table of scores, in their order; the rest of the file is not read.

    Args:
        path: a csv, npz or parquet file

    Raises:
        ValueError: if the file cannot be read
    """
    path = check_score_path(path)
    try:
        check_regular(path)
        if ending_of(path) == ".csv":
            with path.open("rb") as file:
                (columns,) = csv.reader([file.readline(100_000).decode("utf-8-sig")])
        elif ending_of(path) == ".parquet":
            import pyarrow.parquet

            with pyarrow.parquet.ParquetFile(path) as opened:
                columns = list(opened.schema_arrow.names)
        else:
            with open_archive(path) as archive:
                columns = archive.files
    # a damaged file can raise anything
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a {ending_of(path)[1:]} file: {short_repr(str(error), 300)}"
        ) from error
    return columns


def check_replaceable(path: Path, advice: str = "") -> None:
    """Check that a file does not exist yet, or holds nothing but exported scores.

    Args:
        path: the file
        advice (""): what to do besides choosing another file

    Raises:
        ValueError: if it holds anything else
    """
    if path.exists() and not is_exported(path):
        raise ValueError(f"{path} exists and holds no exported scores: choose another file{advice}")


def describe_columns(table: pd.DataFrame) -> str:
    """The columns of a table, for an error message."""
    return shorten(", ".join(map(str, table.columns)), 300) or "no columns"


def _read_npz(path: Path) -> pd.DataFrame:
    import pandas as pd

    with open_archive(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    # ModelResults.to_npz() uses the plural, and an array run_<score> of shape (runs, N) for each score
    arrays = {{"ids": "id", "filepaths": "filepath"}.get(name, name): array for name, array in arrays.items()}
    for name, array in list(arrays.items()):
        if name.startswith("run_") and array.ndim == 2:
            arrays.setdefault(name.removeprefix("run_"), array.mean(axis=0))
    lengths = {len(arrays[name]) for name in ("id", "filepath") if name in arrays and arrays[name].ndim == 1}
    return pd.DataFrame({name: array for name, array in arrays.items() if array.ndim == 1 and {len(array)} == lengths})


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.compute
    import pyarrow.parquet

    # one value repeated a million times takes almost no space on disk, however long it is
    with pyarrow.parquet.ParquetFile(path) as file:
        metadata, packed = file.metadata, path.stat().st_size
        unpacked = metadata.num_rows * max(metadata.num_columns, 1) * 8
        unpacked += sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
        check_size(str(path), unpacked, packed)
        text_types = ("string", "large_string", "binary", "large_binary")
        texts = [field.name for field in file.schema_arrow if str(field.type) in text_types]
    # reading texts as dictionaries gives their total size before any of them is repeated in memory
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            for column in batch.columns:
                if pyarrow.types.is_dictionary(column.type):
                    sizes = pyarrow.compute.binary_length(column.dictionary).take(column.indices)
                    unpacked += pyarrow.compute.sum(sizes).as_py() or 0
            check_size(str(path), unpacked, packed)
    # pandas' other engine supports pickled columns
    return pd.read_parquet(path, engine="pyarrow")
