"""The npz file of the results of one network. Files may come from other people: reading checks all of their content."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .curves import CURVES, measured_epochs
from .files import Archive, open_archive

FORMAT_VERSION = 1

_ARRAYS = ("ids", "filepaths", "labels", *CURVES)
_OPTIONAL_ARRAYS = ("dynamics", "prediction")
_RUN = "run_"
"""Prefix of the arrays with the scores of each run."""


def write_results(file: str | Path | BinaryIO, fields: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    """Write results to a compressed npz file without pickled objects.

    Args:
        file: a path, to which ".npz" is added if it is missing, or a binary file object
        fields: the fields of :class:`~fiftyone_learnability.experiment.results.ModelResults` by name
        extra: further arrays for readers that use NumPy alone
    """
    header = {
        "format": FORMAT_VERSION,
        "model": fields["model"],
        "classes": list(fields["classes"]),
        "config": fields["config"],
    }
    arrays = {
        "header": np.array(json.dumps(header)),
        **extra,
        **{name: fields[name] for name in _ARRAYS},
        **{f"{_RUN}{name}": values for name, values in fields["run_scores"].items()},
        **{name: fields[name] for name in _OPTIONAL_ARRAYS if fields[name] is not None},
    }
    if isinstance(file, (str, Path)):
        file = f"{file}" if str(file).endswith(".npz") else f"{file}.npz"
    # probabilities hardly compress: np.savez_compressed takes twice as long to save one percent of the size
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def read_results(file: str | Path | BinaryIO) -> dict[str, Any]:
    """Read a file that :func:`write_results` wrote, and check its content.

    Args:
        file: a path, or a binary file object

    Returns:
        the fields of :class:`~fiftyone_learnability.experiment.results.ModelResults` by name

    Raises:
        FileNotFoundError: if there is no such file
        ValueError: if the file has other content, another format version, or is damaged
    """
    try:
        opened = open_archive(file)
    except ValueError as error:
        raise ValueError(f"{file} does not hold learnability results: {error}") from error
    with opened as archive:
        if "header" not in archive:
            raise ValueError(f"{file} does not hold learnability results")
        try:
            fields = _read_fields(archive)
            _check_fields(fields)
        # the header may be any JSON: deeply nested, of other types, without some of the keys
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{file} is damaged: {type(error).__name__}: {error}") from error
        except ValueError as error:
            raise ValueError(f"{file} {error}") from error
    return fields


def read_model_name(path: str | Path) -> str | None:
    """Return the model of a file that :func:`write_results` wrote, None for any other file. Its arrays are not read.

    Args:
        path: the file
    """
    try:
        with open_archive(path) as archive:
            model = json.loads(str(archive["header"]))["model"]
    # any other file: reading it whole says what is wrong with it
    except Exception:  # noqa: BLE001
        return None
    return model if isinstance(model, str) else None


def _read_fields(archive: Archive) -> dict[str, Any]:
    header = json.loads(str(archive["header"]))
    if header["format"] != FORMAT_VERSION:
        raise ValueError(f"has format {header['format']}; this version reads format {FORMAT_VERSION}")
    return {
        "model": header["model"],
        "classes": tuple(header["classes"]),
        "config": header["config"],
        **{name: archive[name] for name in _ARRAYS},
        "run_scores": {name.removeprefix(_RUN): archive[name] for name in archive.files if name.startswith(_RUN)},
        **{name: archive.get(name) for name in _OPTIONAL_ARRAYS},
    }


def _check_fields(fields: Mapping[str, Any]) -> None:
    """Check types, shapes and labels.

    Raises:
        ValueError: with the end of a sentence that begins with the name of the file
    """
    run_scores, labels, classes = fields["run_scores"], fields["labels"], fields["classes"]
    learnability, train_loss = run_scores.get("learnability"), fields["train_loss"]
    if learnability is None or learnability.ndim != 2 or train_loss.ndim != 2:
        raise ValueError("is damaged: it has no learnability of each run")
    (runs, samples), epochs = learnability.shape, train_loss.shape[1]
    expected: dict[str, tuple[Any, str, tuple[int, ...]]] = {
        "ids": (fields["ids"], "U", (samples,)),
        "filepaths": (fields["filepaths"], "U", (samples,)),
        "labels": (labels, "i", (samples,)),
        **{name: (fields[name], "f", (runs, epochs)) for name in CURVES},
        **{f"{_RUN}{name}": (values, "f", (runs, samples)) for name, values in run_scores.items()},
    }
    if fields["dynamics"] is not None and fields["measured_accuracy"].dtype.kind == "f":
        measured = len(measured_epochs(fields["measured_accuracy"]))
        expected["dynamics"] = (fields["dynamics"], "f", (measured, samples))
    if fields["prediction"] is not None:
        expected["prediction"] = (fields["prediction"], "f", (samples, len(classes)))
    for name, (array, kind, shape) in expected.items():
        if array.dtype.kind != kind or array.shape != shape:
            raise ValueError(f"is damaged: {name} is {array.dtype} of {array.shape}, not {kind} of {shape}")
    texts = [fields["model"], *classes]
    if not all(isinstance(text, str) for text in texts) or not isinstance(fields["config"], dict) or not runs:
        raise ValueError("is damaged: its header does not describe results")
    if samples and not -1 <= labels.min() <= labels.max() < len(classes):
        raise ValueError("is damaged: it has labels that are not among its classes")
