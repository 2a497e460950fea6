"""The tests' own MongoDB, real images, and the rule that CI skips no test it should run."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from scripts.database import use_own_database
from scripts.images import read_tree, stratified, write_digits

if TYPE_CHECKING:
    import fiftyone as fo

REQUIRE_ALL = os.environ.get("REQUIRE_ALL") == "1"
"""True in CI: a test that lacks what it needs fails instead of being skipped."""


# how long an example takes depends on what else the machine does
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


def _use_own_folders() -> None:
    folder = Path(tempfile.mkdtemp(prefix="learnability-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    use_own_database(folder / "db")
    os.environ.update(
        # with networks this small, several threads mostly wait for each other
        OMP_NUM_THREADS="1",
        OMP_WAIT_POLICY="PASSIVE",
        FIFTYONE_DEFAULT_DATASET_DIR=str(folder / "datasets"),
        FIFTYONE_DATASET_ZOO_DIR=str(folder / "zoo"),
        FIFTYONE_MODEL_ZOO_DIR=str(folder / "models"),
        # the speed measured in tests must not be remembered as this machine's
        XDG_CACHE_HOME=str(folder / "cache"),
    )


# while this module is imported: conftest modules in subfolders import fiftyone, which then reads its settings.
# The process that only distributes tests to workers (-n) needs no database.
if "PYTEST_XDIST_WORKER" in os.environ or not any(argument.startswith("-n") for argument in sys.argv):
    _use_own_folders()


def lacking(what: str) -> None:
    """Skip the test because something is missing; fail it where everything is required."""
    if REQUIRE_ALL:
        pytest.fail(f"REQUIRE_ALL=1, but {what}")
    pytest.skip(what)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Files and labels of 1,797 real images of 32x32 pixels in ten classes; they need no download."""
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def cifar10() -> Path:
    """The CIFAR-10 image tree."""
    folder = os.environ.get("CIFAR10")
    if not folder:
        lacking("CIFAR10=DIR does not name a CIFAR-10 image tree")
    return Path(str(folder))


@pytest.fixture(scope="session")
def cifar10_train(cifar10: Path) -> Callable[[int], tuple[list[str], list[str]]]:
    """Returns files and labels of the first training images of each class of CIFAR-10."""

    def choose(count: int) -> tuple[list[str], list[str]]:
        files, labels = read_tree(cifar10)
        chosen = stratified(labels, count)
        return [files[index] for index in chosen], [labels[index] for index in chosen]

    return choose


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium executable."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    lacking("no Chromium is on the PATH")
    raise AssertionError


@pytest.fixture
def make_dataset() -> Iterator[Callable[..., fo.Dataset]]:
    """Makes datasets of files and labels, and deletes them at the end."""
    import fiftyone as fo

    made: list[fo.Dataset] = []

    def make(files: list[str], labels: list[str | None], **options: object) -> fo.Dataset:
        dataset = fo.Dataset(**options)
        made.append(dataset)
        dataset.add_samples(
            [
                fo.Sample(file, ground_truth=None if label is None else fo.Classification(label=label))
                for file, label in zip(files, labels, strict=True)
            ],
            progress=False,
        )
        return dataset

    yield make
    for dataset in made:
        if not dataset.deleted:
            dataset.delete()


@pytest.fixture
def digit_dataset(digits: tuple[list[str], list[str]], make_dataset: Callable[..., fo.Dataset]) -> fo.Dataset:
    """A dataset of 60 digits of three classes; an epoch of training takes a second or two."""
    files, labels = digits
    chosen = [index for index, label in enumerate(labels) if label in "014"][:60]
    return make_dataset([files[index] for index in chosen], [labels[index] for index in chosen])


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator with a fixed seed."""
    return np.random.default_rng(51)
