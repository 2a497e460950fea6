"""Scores in and out of files: csv, npz and parquet, tables, and pred_probs for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import fiftyone.core.collections as foc
import numpy as np
from numpy.typing import NDArray

from .dataset.fields import WriteReport
from .dataset.internals import root_dataset
from .dataset.notes import score_field
from .dataset.runs import load_model_results
from .dataset.scored import check_scored, choose_models, find_scores, label_path_of
from .experiment.files import check_regular, check_size, open_archive, write_atomically
from .experiment.results import ModelResults
from .scores.catalog import SCORES
from .scores.checks import short_repr
from .scores.formulas import IntArray
from .writing import columns_of, prepare_scores, write_prepared, write_scores

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_PATH, _LONGEST_PART = 4095, 255
"""What systems take, in bytes; their own messages would repeat all of it."""

_ENDINGS = (".csv", ".npz", ".parquet")


class Predictions(NamedTuple):
    """The mean predictions of a network, as other tools take them.

    Attributes:
        ids: ``(N,)`` sample ids
        labels: ``(N,)`` the label that each sample had in training, an index into ``classes``
        pred_probs: ``(N, classes)`` mean over epochs and runs of the probabilities; rows sum to 1
        classes: the names of the classes
    """

    ids: NDArray[np.str_]
    labels: IntArray
    pred_probs: NDArray[np.float64]
    classes: tuple[str, ...]


def import_scores(
    samples: foc.SampleCollection, path: str | Path, name: str | None = None, **options: Any
) -> list[WriteReport]:
    """Reads somebody's scores from a file into the same fields; each model is a run of its own.

    Everything is checked before anything is written.

    Args:
        samples: a dataset or view
        path: a csv, npz or parquet file with a column ``id`` or ``filepath`` and scores, or one that
            :func:`export_scores` or :meth:`ModelResults.to_npz` wrote
        name (None): the name of the model; of a file of :func:`export_scores`, which names its models, it chooses one,
            and None takes all
        **options: see :func:`write_scores`

    Returns:
        what was written, for each model

    Raises:
        ValueError: if the file cannot be read, a ``key`` is given for several models, or see :func:`write_scores`
    """
    path = check_ending(path)
    if (results := _results_in(path)) is not None:
        return [write_scores(samples, results, name or results.model, **options)]
    table = read_table(path)
    models = _models_of(table)
    if not models:
        if name is None:
            raise ValueError(f"{path.name} does not name its model: give name=")
        return [write_scores(samples, table, name, **options)]
    if name is not None:
        if name not in models:
            raise ValueError(f"{path.name} has no model {name!r}; it has: {', '.join(models)}")
        models = [name]
    key, overwrite = options.get("key"), options.get("overwrite", False)
    if key is not None and len(models) > 1:
        raise ValueError(f"the key {key!r} is for one run, and {path.name} has {', '.join(models)}: choose by name=")
    prepared = []
    for model in models:
        columns = {score_field(model, name): name for name, score in SCORES.items() if not score.derived}
        kept = [column for column in table if column in columns or column in ("id", "filepath")]
        prepared.append(prepare_scores(samples, table[kept].rename(columns=columns), model, **options))
    return [write_prepared(samples, one, key, overwrite) for one in prepared]


def pred_probs(samples: foc.SampleCollection, model: str) -> Predictions:
    """The mean predictions of a network for the samples of a collection, as cleanlab and others take them.

    They are the means over all epochs of the training, for images that were trained on. Tools that expect predictions
    for held-out images get something that has seen the label, though averaged over the epochs before it was learned.

    Example::

        found = fol.pred_probs(dataset, "resnet20")
        cleanlab.filter.find_label_issues(found.labels, found.pred_probs)

    Args:
        samples: a dataset or view with scores
        model: the network

    Returns:
        ids, labels, probabilities and classes, of the samples that the run has, in the order of the collection

    Raises:
        ValueError: if the network has no scores, or its run has not kept its predictions
    """
    check_scored(samples, model)
    result = load_model_results(root_dataset(samples), [model]).get(model)
    if result is None or result.prediction is None:
        raise ValueError(f"the run of {model!r} has not kept its predictions: compute it again")
    position = {id: index for index, id in enumerate(result.ids.tolist())}
    ids = [id for id in samples.values("id") if id in position]
    rows = np.array([position[id] for id in ids], dtype=np.int64)
    probabilities = result.prediction[rows].astype(np.float64)
    # half precision leaves sums a little off one, which some tools check
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Predictions(np.array(ids, np.str_), result.labels[rows], probabilities, result.classes)


def scores_table(samples: foc.SampleCollection, models: str | Sequence[str] | None = None) -> pd.DataFrame:
    """All scores of a collection as a table.

    Args:
        samples: a dataset or view with scores
        models (None): the networks, by default all, and the consensus

    Returns:
        one row a sample: id, filepath, label, then the fields of each network, such as ``learnability_<model>`` and
        ``learnability_rank_<model>``

    Raises:
        ValueError: if there are no scores
    """
    import pandas as pd

    models = choose_models(samples, models, derived=True)
    if not models:
        raise ValueError("there are no scores to export: compute learnability first")
    for model in models:
        check_scored(samples, model)
    # scores from elsewhere may have come without labels
    label_at = next(filter(None, (label_path_of(samples, model) for model in models)), None)
    fields = {score_field(model, score): score for model in models for score in find_scores(samples, model)}
    ids, files, *columns = samples.values(["id", "filepath", *fields])
    table: dict[str, Any] = {
        "id": np.array(ids, dtype=np.str_),
        "filepath": files,
        # as they are: beside a None, pandas would make 3 a 3.0
        "label": pd.Series(samples.values(label_at) if label_at else [None] * len(ids), dtype=object),
    }
    for (field, score), column in zip(fields.items(), columns, strict=True):
        # ranks are whole numbers that may be missing
        table[field] = pd.array(column, dtype="Int64") if score == "rank" else np.array(column, dtype=np.float64)
    return pd.DataFrame(table)


def export_scores(samples: foc.SampleCollection, path: str | Path, models: str | Sequence[str] | None = None) -> int:
    """Writes all scores of a collection into a file.

    Args:
        samples: a dataset or view with scores
        path: the file; ``.csv`` and ``.parquet`` (which needs pyarrow) give the table of :func:`scores_table`, ``.npz``
            the same columns as arrays, NaN for a missing rank
        models (None): the networks, by default all, and the consensus

    Returns:
        the number of samples

    Raises:
        ValueError: if there are no scores, or the ending is another one
    """
    path = check_ending(path)
    table = scores_table(samples, models)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        table = table.astype({"label": "string"})
    if path.suffix == ".csv":
        write_atomically(path, lambda file: table.to_csv(file, index=False))
    elif path.suffix == ".parquet":
        write_atomically(path, lambda file: table.to_parquet(file, index=False, engine="pyarrow"))
    else:
        text: dict[str, Any] = {
            name: np.array(["" if value is None else str(value) for value in table[name]], np.str_)
            for name in ("id", "filepath", "label")
        }
        numbers = {
            name: table[name].to_numpy(np.float64, na_value=np.nan) for name in table.columns if name not in text
        }
        write_atomically(path, lambda file: np.savez_compressed(file, **text, **numbers))
    return len(table)


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads the scores in a file.

    Args:
        path: a csv, npz or parquet file; of an npz file the one-dimensional arrays of the length of ``id`` or
            ``filepath`` are taken, and nothing that is pickled

    Raises:
        ValueError: if it cannot be read, or has neither ids nor files
    """
    import pandas as pd

    path = check_ending(path)
    try:
        check_regular(path)
        if path.suffix == ".csv":
            table = pd.read_csv(path, dtype={"id": str, "filepath": str, "label": str})
        elif path.suffix == ".parquet":
            table = _read_parquet(path)
        else:
            with open_archive(path) as archive:
                arrays = {name: archive[name] for name in archive.files}
            # the results of one network name their samples in the plural
            arrays = {{"ids": "id", "filepaths": "filepath"}.get(name, name): array for name, array in arrays.items()}
            for name, array in list(arrays.items()):
                if name.startswith("run_") and array.ndim == 2:
                    arrays.setdefault(name.removeprefix("run_"), array.mean(axis=0))
            lengths = {len(arrays[name]) for name in ("id", "filepath") if name in arrays and arrays[name].ndim == 1}
            table = pd.DataFrame(
                {name: array for name, array in arrays.items() if array.ndim == 1 and {len(array)} == lengths}
            )
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except ImportError as error:
        raise ValueError(f"parquet files need pyarrow: pip install pyarrow ({error})") from error
    except Exception as error:
        raise ValueError(f"{path} cannot be read as a {path.suffix[1:]} file: {short_repr(str(error), 300)}") from error
    if not {"id", "filepath"} & set(table.columns):
        raise ValueError(f"{path.name} names no samples: it needs a column id or filepath; it has {columns_of(table)}")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow.compute
    import pyarrow.parquet

    # columns of one value repeated take next to nothing on disk, however long that is
    with pyarrow.parquet.ParquetFile(path) as file:
        about, packed = file.metadata, path.stat().st_size
        unpacked = about.num_rows * max(about.num_columns, 1) * 8
        unpacked += sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        check_size(str(path), unpacked, packed)
        plain = ("string", "large_string", "binary", "large_binary")
        texts = [field.name for field in file.schema_arrow if str(field.type) in plain]
    # as positions in a list of the values, so that no value is repeated before its size is known
    with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(10_000):
            for column in batch.columns:
                if pyarrow.types.is_dictionary(column.type):
                    sizes = pyarrow.compute.binary_length(column.dictionary).take(column.indices)
                    unpacked += pyarrow.compute.sum(sizes).as_py() or 0
            check_size(str(path), unpacked, packed)
    # the other engine that pandas knows reads formats in which a column may be pickled
    return pd.read_parquet(path, engine="pyarrow")


def check_ending(path: str | Path) -> Path:
    """The path, if its ending is that of a file that scores can be in.

    Raises:
        ValueError: if it is not
    """
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise ValueError(f"{short_repr(path)} is no path of a file")
    path = Path(path)
    if len(str(path).encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_PART for part in path.parts):
        raise ValueError(f"{short_repr(str(path))} is too long for a path")
    if path.suffix not in _ENDINGS:
        raise ValueError(f"{path.name!r} must end in {', '.join(_ENDINGS[:-1])} or {_ENDINGS[-1]}")
    return path


def is_exported(path: str | Path) -> bool:
    """Whether a file is one that :func:`export_scores` wrote, by the names of its columns.

    Args:
        path: the file
    """
    path = check_ending(path)
    start = ["id", "filepath", "label"]
    try:
        check_regular(path)
        if path.suffix == ".csv":
            with path.open("rb") as file:
                columns = file.readline(100_000).decode().rstrip("\r\n").split(",")
        elif path.suffix == ".parquet":
            import pyarrow.parquet

            with pyarrow.parquet.ParquetFile(path) as opened:
                columns = list(opened.schema_arrow.names)
        else:
            with open_archive(path) as archive:
                columns = archive.files
    # whatever cannot be read was not written by us
    except Exception:  # noqa: BLE001
        return False
    return columns[:3] == start and any(column.startswith("learnability") for column in columns)


def _results_in(path: Path) -> ModelResults | None:
    """The results of a run, if the file is one that holds them."""
    if path.suffix != ".npz" or not path.is_file():
        return None
    try:
        return ModelResults.from_npz(path)
    # another npz file, or one that is damaged in any way: to be read as a table, and refused as one
    except Exception:  # noqa: BLE001
        return None


def _models_of(table: pd.DataFrame) -> list[str]:
    """The models that the columns of an exported table name."""
    marker = "learnability_rank_"
    ranked = [column.removeprefix(marker) for column in table.columns if column.startswith(marker)]
    return [model for model in ranked if score_field(model) in table and model != "consensus"]
