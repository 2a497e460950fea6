"""The corpus of hostile input: each case says what is hostile, which call gets it, and what must happen.

A case that succeeds names the fields that it may write. A case that is refused names words of the message. Cases about
the content of files and datasets go through the SDK alone, since the same code reads it behind all doors; cases about
arguments go through the command line and the App too. The table in the documentation is generated from the corpus.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.odm as odm
import numpy as np
import pandas as pd
from fiftyone import ViewField as F

import fiftyone_learnability as fol

from ..dataset.helpers import raiser, tiny
from .calls import APP, COMMAND, DOORS, SDK, Call, Operation, compute
from .world import SAMPLES, World, bomb, image_bytes

SCORES = ("learnability_resnet20", "learnability_rank_resnet20")


@dataclass(frozen=True)
class Case:
    """A hostile case.

    Attributes:
        name: a short title
        hostile: what is hostile about it, in one sentence
        build: makes the samples for the call
        call: the call
        says: words that the message must contain; empty if the call must succeed
        says_there: other words for a door with its own message
        known: True if a form can refuse it before the call; it cannot see most of what files hold
        offers: where the form offers another way, such as another name, instead of refusing: what it says of it
        written: the fields that a successful call writes
        changed: other fields whose values a successful call changes
        scored: the number of samples with scores after a successful call
        slow: True if it takes long
    """

    name: str
    hostile: str
    build: Callable[[World], Any]
    call: Call = field(default_factory=compute)
    says: tuple[str, ...] = ()
    says_there: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: bool = True
    offers: str = ""
    written: tuple[str, ...] = SCORES
    changed: tuple[str, ...] = ()
    scored: int | None = None
    slow: bool = False

    def words(self, door: str) -> tuple[str, ...]:
        """Return the words that the message must contain at a door."""
        return self.says_there.get(door, self.says)


def good(world: World) -> fo.Dataset:
    """Make a dataset without problems: eight images of two classes."""
    return world.kept("good", lambda place: place.of())


def _by_sdk_alone(*cases: Case, others: Sequence[str] = ()) -> tuple[Case, ...]:
    """Keep cases to the SDK, except those that only another door has and the named ``others``."""
    names = {case.name for case in cases}
    assert names.issuperset(others), set(others) - names
    return tuple(
        case if case.call.sdk is None or case.name in others else replace(case, call=Call(case.call.sdk))
        for case in cases
    )


# files


def _truncated(world: World, name: str) -> fo.Dataset:
    content = image_bytes((64, 64), "JPEG" if name.endswith("jpg") else "PNG")
    return world.with_image(world.file(name, content[: len(content) // 2]))


def _link(world: World, name: str, target: str) -> fo.Dataset:
    path = world.folder / name
    path.symlink_to(world.folder / target if target[0] != "/" else target)
    return world.with_image(path)


def _folder(world: World, name: str) -> Path:
    path = world.folder / name
    path.mkdir()
    return path


def _pipe(world: World, name: str) -> Path:
    path = world.folder / name
    os.mkfifo(path)
    return path


def _endless(world: World) -> fo.Dataset:
    path = world.folder / "sparse.png"
    with path.open("wb") as file:
        # takes no room on the disk, as a file with a hole does
        file.truncate(2**40)
    return world.with_image(path)


def _shared(world: World) -> fo.Dataset:
    return world.of([world.image("one.png")] * SAMPLES)


def _vanishing(world: World) -> fo.Dataset:
    dataset = world.of()
    world.meanwhile = lambda: [Path(file).unlink() for file in dataset.values("filepath")]
    return dataset


def _broken_value(path: str, value: Any) -> Callable[[World], fo.Dataset]:
    """A dataset of which one sample has a value that FiftyOne would never have written."""

    def build(world: World) -> fo.Dataset:
        dataset = world.of()
        dataset._sample_collection.update_one({}, {"$set": {path: value}})
        dataset.reload()
        return dataset

    return build


FILES = _by_sdk_alone(
    Case(
        "truncated PNG",
        "An image file ends in the middle.",
        partial(_truncated, name="cut.png"),
        says=("cut.png", "truncated"),
        known=False,
    ),
    Case(
        "truncated JPEG",
        "An image file ends in the middle.",
        partial(_truncated, name="cut.jpg"),
        says=("cut.jpg", "runcated"),
        known=False,
    ),
    Case(
        "empty file",
        "An image file has no bytes.",
        lambda world: world.with_image(world.file("empty.png", b"")),
        says=("empty.png", "the file is empty"),
        known=False,
    ),
    Case(
        "text named .jpg",
        "A text file is named .jpg.",
        lambda world: world.with_image(world.file("letter.jpg", b"Dear Sir or Madam")),
        says=("letter.jpg", "not an image"),
        known=False,
    ),
    Case(
        "decompression bomb",
        "A kilobyte of PNG claims to be 60,000 x 60,000 pixels.",
        lambda world: world.with_image(world.file("bomb.png", bomb())),
        says=("bomb.png", "3,600 megapixels"),
        known=False,
    ),
    Case(
        "bomb left out",
        "The same file with skip_failures.",
        lambda world: world.with_image(world.file("bomb.png", bomb())),
        compute(skip_failures=True),
        scored=SAMPLES - 1,
    ),
    Case(
        "nothing but broken files",
        "No image can be read, with skip_failures.",
        lambda world: world.of([world.file(f"{index}.png", b"x") for index in range(4)]),
        compute(skip_failures=True),
        says=("fewer than two classes have images that can be read",),
        known=False,
    ),
    Case(
        "1 x 1 pixel",
        "An image is a single pixel.",
        lambda world: world.with_image(world.image("dot.png", (1, 1))),
        scored=SAMPLES,
    ),
    Case(
        "20,000 x 10 pixels",
        "An image is a line.",
        lambda world: world.with_image(world.image("line.png", (20_000, 10))),
        scored=SAMPLES,
    ),
    Case(
        "10 x 20,000 pixels as JPEG",
        "An image is a column.",
        lambda world: world.with_image(world.image("column.jpg", (10, 20_000))),
        scored=SAMPLES,
    ),
    Case(
        "link to itself",
        "An image is a symbolic link to itself.",
        partial(_link, name="loop.png", target="loop.png"),
        says=("loop.png", "symbolic links"),
        known=False,
    ),
    Case(
        "link to nothing",
        "An image is a symbolic link to a file that does not exist.",
        partial(_link, name="lost.png", target="nothing.png"),
        says=("lost.png", "no such file"),
        known=False,
    ),
    Case(
        "link to a device",
        "An image is a symbolic link to an endless device.",
        partial(_link, name="zeros.png", target="/dev/zero"),
        says=("zeros.png", "not a regular file"),
        known=False,
    ),
    Case(
        "folder named .png",
        "A folder is named .png.",
        lambda world: world.with_image(_folder(world, "folder.png")),
        says=("folder.png", "is a directory"),
        known=False,
    ),
    Case(
        "pipe named .png",
        "A pipe without a writer is named .png.",
        lambda world: world.with_image(_pipe(world, "pipe.png")),
        says=("pipe.png", "not a regular file"),
        known=False,
    ),
    Case(
        "terabyte",
        "A sparse file has a size of a terabyte.",
        _endless,
        says=("sparse.png", "1,099.5 GB"),
        known=False,
    ),
    Case(
        "file as a folder",
        "A path treats a file as a folder.",
        lambda world: world.with_image(world.file("letter", b"x") + "/inside.png"),
        says=("inside.png", "not a directory"),
        known=False,
    ),
    Case(
        "path of 5,000 characters",
        "A path is longer than the system allows; the message must stay short.",
        lambda world: world.with_image("/" + "long/" * 1000 + "end.png"),
        says=("/long/long", "end.png", "name too long"),
        known=False,
    ),
    Case(
        "blanks, quotes and signs in a name",
        "A file name has characters that are special to shells and templates.",
        lambda world: world.with_image(world.image(" -rf $HOME '\"%s{}*?;&.png")),
        scored=SAMPLES,
    ),
    Case(
        "unicode in a name",
        "A file name mixes scripts, an emoji and a right-to-left mark.",
        lambda world: world.with_image(world.image("ü日本\u202eفس🐈.png")),
        scored=SAMPLES,
    ),
    Case(
        "line break in a name",
        "The name of a file has a line break.",
        lambda world: world.with_image(world.image("two\nlines.png")),
        scored=SAMPLES,
    ),
    Case(
        "line break in the name of a broken file",
        "The message must stay on one line.",
        lambda world: world.with_image(world.file("two\nlines.png", b"x")),
        says=("two\\nlines.png", "not an image"),
        known=False,
    ),
    Case("one file for all", "All samples share one file.", _shared, scored=SAMPLES),
    Case("files vanish", "All files are deleted during the training.", _vanishing, scored=SAMPLES),
    Case(
        "number as a path",
        "A sample has a number as its path.",
        _broken_value("filepath", 3),
        says=("filepath 3", "not a string"),
        known=False,
    ),
    Case(
        "no path",
        "A sample has no path.",
        _broken_value("filepath", None),
        says=("filepath None", "not a string"),
        known=False,
    ),
    others=("truncated PNG", "bomb left out", "line break in the name of a broken file"),
)


# labels


def _labels(*labels: Any) -> Callable[[World], fo.Dataset]:
    return lambda world: world.of(labels=[labels[index % len(labels)] for index in range(SAMPLES)])


def _field(ftype: Any, values: Sequence[Any], **options: Any) -> Callable[[World], fo.Dataset]:
    """A dataset with a further field, called other."""

    def build(world: World) -> fo.Dataset:
        dataset = world.of()
        dataset.add_sample_field("other", ftype, **options)
        dataset.set_values("other", [values[index % len(values)] for index in range(SAMPLES)])
        return dataset

    return build


def _many_classes(world: World) -> fo.Dataset:
    files = world.images()
    return world.of([files[index % SAMPLES] for index in range(5000)], [f"class {index}" for index in range(5000)])


def _empty_classification(world: World) -> fo.Dataset:
    dataset = world.of()
    dataset.set_values("ground_truth.label", [None, *dataset.values("ground_truth.label")[1:]])
    return dataset


OTHER = compute(label_field="other")

LABELS = _by_sdk_alone(
    Case(
        "dots in labels", "Labels contain dots, which MongoDB reads as paths.", _labels("a.b", "a", "."), scored=SAMPLES
    ),
    Case("dollar signs in labels", "Labels look like MongoDB's operators.", _labels("$set", "$a.b"), scored=SAMPLES),
    Case("blank labels", "Labels are empty, a blank and a line break.", _labels("", " ", "\n"), scored=SAMPLES),
    Case("zero byte in a label", "A label has a zero byte.", _labels("a\0b", "a"), scored=SAMPLES),
    Case("label None", 'A label is the text "None".', _labels("None", "nan", "True"), scored=SAMPLES),
    Case("label of 10,000 characters", "A label is very long.", _labels("x" * 10_000, "y"), scored=SAMPLES),
    Case(
        "the only label has 10,000 characters",
        "The message must stay short.",
        _labels("x" * 10_000),
        says=("ground_truth", "only one class", "xxx...xxx"),
        known=False,
    ),
    Case(
        "labels alike to the eye",
        "Labels differ only in the encoding of an accent and in a blank.",
        _labels("caf\u00e9", "cafe\u0301", "caf\u00e9 "),
        scored=SAMPLES,
    ),
    Case("5,000 classes", "5,000 samples have 5,000 classes.", _many_classes, compute((SDK,)), slow=True, scored=5000),
    Case(
        "one sample of each class", "Each sample has its own class.", _labels(*map(str, range(SAMPLES))), scored=SAMPLES
    ),
    Case(
        "one sample",
        "There is only one sample.",
        lambda world: world.of(world.images(1)),
        says=("ground_truth", "only one class, 'a'"),
        known=False,
    ),
    Case("two samples", "There are two samples of two classes.", lambda world: world.of(world.images(2)), scored=2),
    Case(
        "one class",
        "All samples have the same label.",
        _labels("cat"),
        says=("ground_truth", "only one class, 'cat'"),
        known=False,
    ),
    Case(
        "no labels",
        "The label field exists but is empty.",
        _field(fo.StringField, [None]),
        OTHER,
        says=("none of the 8 samples", "'other'"),
        known=False,
    ),
    Case(
        "some labels",
        "Most samples have no label.",
        lambda world: world.of(labels=["a", "b", *[None] * (SAMPLES - 2)]),
        scored=2,
    ),
    Case(
        "a Classification without a label", "A Classification has no label.", _empty_classification, scored=SAMPLES - 1
    ),
    Case(
        "text and numbers",
        "One label is a number, the others are strings.",
        _broken_value("ground_truth.label", 3),
        says=("ground_truth", "mixes types", "has 3"),
        known=False,
    ),
    Case(
        "list as a label",
        "One label is a list.",
        _broken_value("ground_truth.label", ["a"]),
        says=("ground_truth", "the label ['a']"),
        known=False,
    ),
    Case(
        "NaN as a label",
        "One label is NaN, as from an empty cell of a table.",
        _broken_value("ground_truth.label", float("nan")),
        says=("ground_truth", "the label nan"),
        known=False,
    ),
    Case(
        "large and negative numbers as labels",
        "Labels are whole numbers of 63 bits.",
        _field(fo.IntField, [2**62, -(2**62)]),
        OTHER,
        scored=SAMPLES,
    ),
    Case(
        "True and False as labels",
        "Labels are booleans.",
        _field(fo.BooleanField, [True, False]),
        OTHER,
        scored=SAMPLES,
    ),
    Case(
        "fractions as labels",
        "The label field holds floats.",
        _field(fo.FloatField, [0.5, 1.5]),
        OTHER,
        says=("'other'", "FloatField", "ground_truth"),
    ),
    Case(
        "lists of labels",
        "The label field holds lists.",
        _field(fo.ListField, [["a"], ["b"]], subfield=fo.StringField),
        OTHER,
        says=("'other'", "ListField"),
    ),
    Case(
        "boxes as labels",
        "The label field holds detections.",
        _field(fo.EmbeddedDocumentField, [None], embedded_doc_type=fo.Detections),
        OTHER,
        says=("'other'", "Detections"),
    ),
    *(
        Case(f"label field {said}", hostile, good, compute(label_field=name), says=says)
        for said, name, hostile, says in (
            ("that does not exist", "truth", "The field does not exist.", ("no field 'truth'", "ground_truth")),
            ("of an attribute", "ground_truth.label", "It names an attribute of the label.", ("give 'ground_truth'",)),
            ("id", "id", "It names the ids.", ("'id'", "ObjectIdField")),
            ("_id", "_id", "It names MongoDB's ids.", ("no field '_id'",)),
            ("filepath", "filepath", "It names the paths, which are strings too.", ("'filepath' holds no labels",)),
            ("of frames", "frames.label", "It names a field of frames.", ("no field 'frames.label'",)),
            ("with a dollar sign", "$where", "It looks like a MongoDB operator.", ("no field '$where'",)),
            ("of 5,000 characters", "x" * 5000, "The message must stay short.", ("no field 'xxx", "...")),
        )
    ),
    Case(
        "label field as a number",
        "It is a number.",
        good,
        compute((SDK, APP), label_field=3),
        says=("label_field must be",),
    ),
    others=(
        "one class",
        "fractions as labels",
        "label field that does not exist",
        "label field of 5,000 characters",
        "label field as a number",
    ),
)


# options


def _option(
    name: str,
    hostile: str,
    options: dict[str, Any],
    says: Sequence[str] = (),
    doors: Sequence[str] = DOORS,
    **there: tuple[str, ...],
) -> Case:
    """A case of options that do not fit; ``command`` and ``app`` are the words of these doors."""
    doors_of = {"command": COMMAND, "app": APP}
    words = {doors_of[door]: text for door, text in there.items()}
    return Case(name, hostile, good, compute(doors, **options), tuple(says), words, scored=None if says else SAMPLES)


class _Nameless:
    """A thing whose representation has lines."""

    def __repr__(self) -> str:
        return "one\ntwo"


OPTIONS = (
    _option("epochs 0", "There is nothing to train.", {"epochs": 0}, ["epochs", "not 0"]),
    _option("epochs -1", "Epochs are negative.", {"epochs": -1}, ["epochs", "not -1"]),
    _option("a billion epochs", "It would never end.", {"epochs": 10**9}, ["epochs", "1000000000"]),
    _option("epochs 2.5", "Epochs are not an integer.", {"epochs": 2.5}, ["epochs", "2.5"]),
    _option("epochs as text", "The number is a string.", {"epochs": "3"}, ["epochs", "not '3'"], [SDK, APP]),
    _option("epochs True", "True counts as 1 in Python.", {"epochs": True}, ["epochs", "True"], [SDK, APP]),
    _option("epochs NaN", "Epochs are NaN.", {"epochs": float("nan")}, ["epochs", "nan"]),
    _option(
        "numbers of numpy",
        "Options are numpy scalars, which JSON and MongoDB do not know.",
        {
            "epochs": np.int64(1),
            "runs": np.int32(1),
            "seed": np.uint8(3),
            "lr": np.float32(0.1),
            "image_size": np.int16(16),
            "el2n_epoch": np.int64(1),
            "horizontal_flip": np.bool_(False),
        },
        doors=[SDK],
    ),
    _option("batch_size 1", "Batch norm needs at least two images.", {"batch_size": 1}, ["batch_size", "not 1"]),
    _option("batch larger than the dataset", "A batch is larger than the dataset.", {"batch_size": 60_000}),
    _option(
        "batch_size of 70 digits", "It exceeds the range of a float.", {"batch_size": 10**70}, ["batch_size", "1000000"]
    ),
    _option("lr NaN", "The learning rate is NaN.", {"lr": float("nan")}, ["lr", "nan"]),
    _option("lr negative", "The learning rate is negative.", {"lr": -0.1}, ["lr", "-0.1"]),
    _option("lr as text", "The learning rate is a word.", {"lr": "fast"}, ["lr", "fast"]),
    _option(
        "lr at which a training diverges",
        "The learning rate is too high.",
        {"lr": 1e25, "epochs": 20},
        ["lr=1e+25", "lower"],
        [SDK, COMMAND],
    ),
    _option(
        "weight_decay infinite",
        "All weights would become zero.",
        {"weight_decay": float("inf")},
        ["weight_decay", "inf"],
        [SDK, COMMAND],
    ),
    _option(
        "crop_padding a billion",
        "An image would not fit into memory.",
        {"crop_padding": 10**9},
        ["crop_padding", "1000000000"],
        [SDK, COMMAND],
    ),
    _option("seed -1", "The seed is negative.", {"seed": -1}, ["seed", "not -1"]),
    _option("seed of 200 bits", "MongoDB cannot store it.", {"seed": 2**200}, ["seed", "160693"]),
    _option("runs 0", "There is nothing to train.", {"runs": 0}, ["runs", "not 0"]),
    _option("a billion runs", "It would never end.", {"runs": 10**9}, ["runs", "1000000000"]),
    _option("image_size 7", "Images would be too small.", {"image_size": 7}, ["image_size", "not 7"]),
    _option(
        "image_size a billion", "No image would fit into memory.", {"image_size": 10**9}, ["image_size", "1000000000"]
    ),
    _option("device that does not exist", "The device is an abacus.", {"device": "abacus"}, ["device", "abacus"]),
    _option("device None", "The device is None.", {"device": None}, ["device", "None"], [SDK]),
    _option(
        "unknown precision",
        "The precision does not exist.",
        {"precision": "fp64"},
        ["precision", "fp64"],
        [SDK, COMMAND],
    ),
    _option(
        "unknown measurement", "The measurement does not exist.", {"measure": "guess"}, ["measure", "guess"], [SDK, APP]
    ),
    _option("measure None", "The measurement is None.", {"measure": None}, ["measure", "None"], [SDK]),
    _option("measure_every 0", "No epoch would be measured.", {"measure_every": 0}, ["measure_every", "not 0"]),
    _option("measure_every after the end", "No epoch would be measured.", {"measure_every": 9}, ["measure_every", "1"]),
    _option(
        "stop_when_stable 1.5",
        "A correlation is at most 1.",
        {"stop_when_stable": 1.5},
        ["stop_when_stable", "1.5"],
        [SDK, COMMAND],
    ),
    _option(
        "stop_when_stable as text",
        "The bound is a word.",
        {"stop_when_stable": "soon"},
        ["stop_when_stable", "soon"],
        [SDK, APP],
    ),
    _option("compile as a number", "The value is not one of the choices.", {"compile": 2}, ["compile", "not 2"], [SDK]),
    _option("unknown score", "The score does not exist.", {"scores": ["beauty"]}, ["score", "beauty"]),
    _option("spread of one run", "The spread needs several runs.", {"scores": ["spread"]}, ["spread", "runs"]),
    _option(
        "el2n_epoch after the end", "The epoch is never reached.", {"el2n_epoch": 9}, ["el2n_epoch", "not 9"], [SDK]
    ),
    _option(
        "overwrite as text", '"no" counts as True in Python.', {"overwrite": "no"}, ["overwrite", "'no'"], [SDK, APP]
    ),
    _option(
        "horizontal_flip as text",
        '"no" counts as True in Python.',
        {"horizontal_flip": "no"},
        ["horizontal_flip", "'no'"],
        [SDK, APP],
    ),
    _option(
        "cache_images as text",
        '"no" counts as True in Python.',
        {"cache_images": "no"},
        ["cache_images", "'no'"],
        [SDK],
    ),
    _option(
        "an object of two lines",
        "Its repr has two lines; the message must have one.",
        {"epochs": _Nameless()},
        ["epochs", "one\\ntwo"],
        [SDK],
    ),
    _option(
        "no network",
        "The list of networks is empty.",
        {"models": []},
        ["network"],
        command=("--models", "at least one"),
    ),
    _option(
        "unknown network",
        "The network does not exist.",
        {"models": ["../../etc/passwd"]},
        ["network", "'../../etc/passwd'"],
    ),
    _option("network twice", "A network is listed twice.", {"models": ["resnet20", "resnet20"]}, ["resnet20"]),
    _option("network without a name", "A network is a number.", {"models": [3]}, ["3"], [SDK, APP]),
    _option("networks None", "models is a number.", {"models": 3}, ["models", "3"], [SDK, APP]),
    _option(
        "dots in the name of a network", "Field names cannot contain them.", {"models": {"a.b": tiny}}, ["'a.b'"], [SDK]
    ),
    _option(
        "network of a reserved name",
        "Its fields would clash with others.",
        {"models": {"consensus": tiny}},
        ["'consensus'"],
        [SDK],
    ),
    _option(
        "network whose name has 300 letters",
        "No file can have this name.",
        {"models": {"x" * 300: tiny}},
        ["too long", "100"],
        [SDK],
    ),
    _option(
        "network whose name is a number", "Field names are strings.", {"models": {3: tiny}}, ["models", "not 3"], [SDK]
    ),
    _option("factory None", "The factory is None.", {"models": {"mine": None}}, ["'mine'", "factory"], [SDK]),
    _option(
        "factory that returns None",
        "The factory returns None.",
        {"models": {"mine": lambda **_: None}},
        ["'mine'", "nn.Module"],
        [SDK],
    ),
    _option(
        "factory that fails",
        "The factory raises an error.",
        {"models": {"mine": raiser(KeyError("depth"))}},
        ["'mine'", "KeyError", "depth"],
        [SDK],
    ),
    _option(
        "zero byte in run_dir", "No folder can have this name.", {"run_dir": "a\0b"}, ["run_dir", "a\\x00b"], [SDK]
    ),
    _option(
        "run_dir a device",
        "The path is not a folder.",
        {"run_dir": "/dev/null"},
        ["/dev/null", "run_dir"],
        [SDK, COMMAND],
    ),
    _option(
        "resume as text", "The value is not one of the choices.", {"resume": "perhaps"}, ["resume", "perhaps"], [SDK]
    ),
    _option("dots in the key", "Keys become parts of MongoDB paths.", {"key": "a.b"}, ["key", "'a.b'"]),
    _option("dollar sign in the key", "The key looks like a MongoDB operator.", {"key": "$set"}, ["key", "'$set'"]),
    _option("line break in the key", "The message must stay on one line.", {"key": "a\nb"}, ["key", "'a\\nb'"]),
    _option("key of 3,000 characters", "No folder can have this name.", {"key": "x" * 3000}, ["key", "too long"]),
)


# names that are taken


def _with_field(world: World, name: str, ftype: Any) -> fo.Dataset:
    dataset = world.of()
    dataset.add_sample_field(name, ftype)
    dataset.set_values(name, ["mine"] * SAMPLES if ftype is fo.StringField else [1.5] * SAMPLES)
    return dataset


def _with_run(world: World) -> fo.Dataset:
    dataset = world.of()
    dataset.register_run("mine", dataset.init_run())
    return dataset


CLASHES = (
    Case(
        "field of another origin",
        "The score field exists, and this package did not write it.",
        partial(_with_field, name=SCORES[0], ftype=fo.FloatField),
        says=(SCORES[0], "did not write"),
        offers=SCORES[0],
    ),
    Case(
        "field of another type",
        "The score field exists, holds strings, and overwrite is set.",
        partial(_with_field, name=SCORES[0], ftype=fo.StringField),
        compute(overwrite=True),
        says=(SCORES[0], "StringField", "cannot be replaced"),
    ),
    Case(
        "key of another kind of run",
        "The key belongs to a run of another kind, and overwrite is set.",
        _with_run,
        compute(key="mine", overwrite=True),
        says=("'mine'", "another kind"),
    ),
)


# views


def _view(make: Callable[[fo.Dataset], Any]) -> Callable[[World], Any]:
    return lambda world: make(world.of())


def _boxes(world: World) -> Any:
    boxes = [fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0, 0, 1, 1])]) for _ in range(SAMPLES)]
    return world.of(boxes=boxes).to_patches("boxes")


def _media(world: World, name: str) -> fo.Dataset:
    dataset = world.empty()
    dataset.add_sample(fo.Sample(f"/no/such/{name}", ground_truth=fo.Classification(label="a")))
    return dataset


def _grouped(world: World) -> fo.Dataset:
    dataset, files = world.empty(), world.images(2)
    dataset.add_group_field("group", default="left")
    group = fo.Group()
    dataset.add_samples(
        [fo.Sample(file, group=group.element(side)) for file, side in zip(files, ("left", "right"), strict=True)],
        progress=False,
    )
    return dataset


def _selected(world: World, samples: fo.Dataset) -> Operation:
    call = compute().app
    assert call is not None
    chosen = {"selected": samples.values("id")[:4], "view_target": "SELECTED_SAMPLES"}
    return Operation("compute_learnability", call(world, samples).params, chosen)


VIEWS = _by_sdk_alone(
    Case("shuffled view", "A view has another order.", _view(lambda d: d.shuffle(seed=1)), scored=SAMPLES),
    Case(
        "sorted view", "A view has another order.", _view(lambda d: d.sort_by("filepath", reverse=True)), scored=SAMPLES
    ),
    Case("part of a dataset", "A view has half of the samples.", _view(lambda d: d.skip(1).limit(4)), scored=4),
    Case(
        "matching view",
        "A view is defined by an expression.",
        _view(lambda d: d.match(F("filepath") != "x")),
        scored=SAMPLES,
    ),
    Case(
        "chosen samples in an order",
        "A view lists samples in its own order.",
        _view(lambda d: d.select(d.values("id")[::-1], ordered=True)),
        scored=SAMPLES,
    ),
    Case(
        "view of some fields",
        "A view shows only the label field.",
        _view(lambda d: d.select_fields("ground_truth")),
        scored=SAMPLES,
    ),
    Case(
        "view with other labels",
        "A view renames a class.",
        _view(lambda d: d.map_labels("ground_truth", {"a": "z"})),
        scored=SAMPLES,
    ),
    Case(
        "view without the labels",
        "A view hides the label field.",
        _view(lambda d: d.exclude_fields("ground_truth")),
        says=("'ground_truth'",),
        says_there={APP: ("labels",)},
    ),
    Case(
        "samples twice",
        "A view has each sample twice.",
        _view(lambda d: d.concat(d)),
        says=("some samples more than once",),
        known=False,
    ),
    Case(
        "empty view",
        "A view has no samples.",
        _view(lambda d: d.limit(0)),
        says=("is empty",),
        says_there={APP: ("no samples",)},
    ),
    Case(
        "view by groups",
        "A view groups the samples by label.",
        _view(lambda d: d.group_by("ground_truth.label")),
        compute((SDK, COMMAND)),
        says=("grouped by a field", ".flatten()"),
    ),
    Case(
        "stage that MongoDB does not know",
        "A view has a meaningless stage.",
        _view(lambda d: d.mongo([{"$nonsense": 1}])),
        says=("cannot be read", "$nonsense"),
    ),
    Case(
        "stage that drops the paths",
        "A view has a stage that removes everything but labels.",
        _view(lambda d: d.mongo([{"$project": {"ground_truth": 1, "_media_type": 1}}])),
        says=("filepath None",),
        known=False,
    ),
    Case(
        "view of patches", "A view has a sample for each box.", _boxes, compute(label_field="boxes"), says=("patches",)
    ),
    Case(
        "view of frames",
        "A view has a sample for each frame.",
        lambda world: _media(world, "clip.mp4").to_frames(sample_frames=False),
        says=("frames",),
    ),
    Case("selected samples", "Samples are selected in the App.", good, Call(app=_selected), scored=4),
    Case(
        "unknown saved view",
        "The view does not exist.",
        good,
        Call(command=lambda world, samples: ["compute", samples.name, "--view", "nothing"]),
        says=("no saved view 'nothing'",),
    ),
    Case(
        "empty dataset",
        "A dataset has no samples.",
        lambda world: world.empty(),
        says=("is empty",),
        says_there={APP: ("no samples",)},
    ),
    Case("videos", "A dataset has videos.", partial(_media, name="clip.mp4"), says=("video samples",)),
    Case(
        "point clouds", "A dataset has point clouds.", partial(_media, name="cloud.pcd"), says=("point-cloud samples",)
    ),
    Case("3D scenes", "A dataset has scenes.", partial(_media, name="scene.fo3d"), says=("3d samples",)),
    Case("unknown media", "A dataset has archives.", partial(_media, name="archive.zip"), says=("unknown samples",)),
    Case(
        "grouped dataset",
        "A dataset has groups of images.",
        _grouped,
        compute((SDK, COMMAND)),
        says=("grouped", "left, right"),
    ),
    Case(
        "no dataset", "samples is a string.", lambda world: "cifar10", compute((SDK,)), says=("samples must be", "str")
    ),
    Case(
        "unknown dataset",
        "The dataset does not exist; its name has a line break.",
        good,
        Call(command=lambda world, samples: ["compute", "two\nlines"]),
        says=("no dataset 'two\\nlines'",),
    ),
    others=(
        "part of a dataset",
        "view with other labels",
        "view without the labels",
        "empty view",
        "view by groups",
        "view of patches",
        "stage that MongoDB does not know",
        "empty dataset",
        "videos",
        "grouped dataset",
    ),
)


# what others do meanwhile


def _meanwhile(act: Callable[[fo.Dataset], Any]) -> Callable[[World], fo.Dataset]:
    """A dataset to which something happens while the network is trained."""

    def build(world: World) -> fo.Dataset:
        dataset = world.of()
        world.meanwhile = lambda: act(dataset)
        return dataset

    return build


def _deleted(world: World) -> fo.Dataset:
    dataset = world.of()
    dataset.delete()
    return dataset


def _delete_elsewhere(dataset: fo.Dataset) -> None:
    """Delete the dataset as another process would, without this one noticing."""
    database = odm.get_db_conn()
    database.datasets.delete_one({"_id": dataset._doc.id})
    database[dataset._sample_collection_name].drop()


MEANWHILE = _by_sdk_alone(
    Case(
        "dataset deleted before",
        "The dataset was deleted before the call.",
        _deleted,
        compute((SDK,)),
        says=("is deleted",),
    ),
    Case(
        "dataset deleted",
        "The dataset is deleted during the training.",
        _meanwhile(lambda d: d.delete()),
        says=("was deleted meanwhile", "nothing was written", "import DATASET"),
        known=False,
    ),
    Case(
        "dataset deleted by another process",
        "The same, unnoticed by this process.",
        _meanwhile(_delete_elsewhere),
        says=("was deleted meanwhile", "nothing was written", "import DATASET"),
        known=False,
    ),
    Case(
        "some samples deleted",
        "Three samples are deleted during the training.",
        _meanwhile(lambda d: d.delete_samples(d.limit(3))),
        scored=SAMPLES - 3,
    ),
    Case(
        "all samples deleted",
        "All samples are deleted during the training.",
        _meanwhile(lambda d: d.clear()),
        says=("no scored sample", "nothing was written"),
        known=False,
    ),
    Case(
        "field added",
        "A field of that name is added during the training.",
        _meanwhile(lambda d: d.add_sample_field(SCORES[0], fo.FloatField)),
        says=(SCORES[0], "did not write", "trainings are done and saved"),
        known=False,
    ),
    Case(
        "labels deleted",
        "The label field is deleted during the training.",
        _meanwhile(lambda d: d.delete_sample_field("ground_truth")),
        scored=SAMPLES,
    ),
    others=("dataset deleted", "some samples deleted"),
)


# scores from elsewhere


def _scored(world: World) -> fo.Dataset:
    return world.kept("scored", lambda place: place.scored())


def _import(make: Callable[[World, fo.Dataset], Any], name: str | None = "mine", **options: Any) -> Call:
    """Imports a file, which is made for the dataset."""
    flags = [f"--{key}={value}" for key, value in options.items()]
    named = [] if name is None else [f"--name={name}"]
    return Call(
        lambda world, samples: fol.import_scores(samples, make(world, samples), name, **options),
        lambda world, samples: ["import", samples.name, make(world, samples), *named, *flags],
        lambda world, samples: Operation(
            "import_learnability", {"path": str(make(world, samples)), **({"name": name} if name else {}), **options}
        ),
    )


def _csv(text: str) -> Callable[[World, fo.Dataset], str]:
    """A csv file, in which ID stands for the id of the first sample."""
    return lambda world, samples: world.file("scores.csv", text.replace("ID", str(samples.first().id)).encode())


def _npz(**arrays: Any) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _once(make: Callable[[World, str], Path], name: str) -> Callable[[World, Any], Path]:
    """Make the file, pipe or folder in the first call only."""
    return lambda world, samples: found if (found := world.folder / name).exists() else make(world, name)


_NPZ = _npz(id=np.array(["x"]), learnability=np.zeros(1))
_PICKLE = _npz(id=np.array([object()], dtype=object), learnability=np.zeros(1))

IMPORTS = _by_sdk_alone(
    *(
        Case(name, hostile, _scored, _import(make, *model), says=says, known=known)
        for name, hostile, make, model, says, known in (
            (
                "missing file",
                "The file does not exist.",
                lambda w, s: w.folder / "no.csv",
                (),
                ("no file", "no.csv"),
                True,
            ),
            (
                "unknown file type",
                "The file is a spreadsheet.",
                lambda w, s: w.file("scores.xlsx", b""),
                (),
                ("scores.xlsx", ".csv, .npz or .parquet"),
                True,
            ),
            ("folder named .csv", "A folder is named .csv.", _once(_folder, "folder.csv"), (), ("folder.csv",), True),
            (
                "pipe named .csv",
                "A pipe without a writer is named .csv.",
                _once(_pipe, "pipe.csv"),
                (),
                ("pipe.csv",),
                True,
            ),
            (
                "pipe named .npz",
                "A pipe without a writer is named .npz.",
                _once(_pipe, "pipe.npz"),
                (),
                ("pipe.npz",),
                True,
            ),
            ("empty csv", "A table is empty.", _csv(""), (), ("scores.csv", "cannot be read"), False),
            (
                "noise named .csv",
                "A table holds random bytes.",
                lambda w, s: w.file("noise.csv", bytes(range(256)) * 4),
                (),
                ("noise.csv", "cannot be read"),
                False,
            ),
            (
                "csv without rows",
                "A table has only a header.",
                _csv("id,learnability\n"),
                (),
                ("learnability", "no numbers"),
                False,
            ),
            (
                "csv without samples",
                "A table has no column of ids or paths.",
                _csv("learnability\n1\n"),
                (),
                ("id or filepath",),
                False,
            ),
            (
                "text among the scores",
                "A score is a word.",
                _csv("id,learnability\nID,many\n"),
                (),
                ("learnability", "'many'"),
                False,
            ),
            (
                "infinite score",
                "A score is infinite.",
                _csv("id,learnability\nID,inf\n"),
                (),
                ("learnability", "infinite"),
                False,
            ),
            (
                "sample twice",
                "A sample has two scores.",
                _csv("id,learnability\nID,1\nID,0\n"),
                (),
                ("more than once",),
                False,
            ),
            (
                "row without an id",
                "A row has no id.",
                _csv("id,learnability\nID,1\n,0\n"),
                (),
                ("1 rows", "'id'"),
                False,
            ),
            (
                "scores of other samples",
                "The dataset has none of the samples.",
                _csv("id,learnability\nunknown,1\n"),
                (),
                ("'unknown'",),
                False,
            ),
            (
                "dots in the name of a model",
                "Field names cannot contain them.",
                _csv("id,learnability\nID,1\n"),
                ("a.b",),
                ("'a.b'",),
                True,
            ),
            (
                "model whose name has 300 letters",
                "It is too long.",
                _csv("id,learnability\nID,1\n"),
                ("x" * 300,),
                ("too long",),
                True,
            ),
            (
                "model of a reserved name",
                "Its fields would clash with others.",
                _csv("id,learnability\nID,1\n"),
                ("a_rank",),
                ("'a_rank'",),
                True,
            ),
            (
                "dots in a model of the file",
                "A column names a model with dots.",
                _csv("id,learnability_x.y,learnability_rank_x.y\nID,1,1\n"),
                (None,),
                ("'x.y'",),
                False,
            ),
            (
                "truncated npz",
                "An npz file ends in the middle.",
                lambda w, s: w.file("cut.npz", _NPZ[:90]),
                (),
                ("cut.npz",),
                False,
            ),
            (
                "pickle in an npz",
                "An npz file holds a pickle.",
                lambda w, s: w.file("p.npz", _PICKLE),
                (),
                ("p.npz", "pickle"),
                False,
            ),
            (
                "npz with a head of nonsense",
                "A file claims to hold results but does not.",
                lambda w, s: w.file("head.npz", _npz(header=np.array("{}"), learnability=np.zeros(1))),
                (),
                ("head.npz", "id or filepath"),
                False,
            ),
            (
                "noise named .parquet",
                "A table holds random bytes.",
                lambda w, s: w.file("noise.parquet", b"PAR1noise"),
                (),
                ("noise.parquet",),
                False,
            ),
        )
    ),
    others=(
        *("missing file", "unknown file type", "pipe named .csv", "empty csv", "text among the scores"),
        *("dots in the name of a model", "model whose name has 300 letters", "pickle in an npz"),
    ),
)


def _write(make: Callable[[fo.Dataset], Any], name: Any = "mine", **options: Any) -> Call:
    return Call(lambda world, samples: fol.write_scores(samples, make(samples), name, **options))


def _table(values: Any, column: str = "learnability") -> Callable[[fo.Dataset], dict[str, Any]]:
    return lambda samples: {"id": samples.values("id"), "learnability": [0.5] * SAMPLES, column: values}


TABLES = (
    Case(
        "numbers of 400 digits",
        "It exceeds the range of a float.",
        _scored,
        _write(_table([10**400] * SAMPLES)),
        says=("'learnability'", "not a number"),
    ),
    Case(
        "dates as scores",
        "Scores are dates, which convert to numbers.",
        _scored,
        _write(_table(pd.date_range("2020", periods=SAMPLES))),
        says=("'learnability'", "not a number"),
    ),
    Case(
        "complex scores",
        "Scores are complex numbers.",
        _scored,
        _write(_table([1j] * SAMPLES)),
        says=("'learnability'", "not a number"),
    ),
    Case(
        "lists as scores",
        "Each score is a list.",
        _scored,
        _write(_table([[1]] * SAMPLES)),
        says=("'learnability'", "[1]"),
    ),
    Case(
        "columns of several lengths",
        "The columns differ in length.",
        _scored,
        _write(_table([1.0])),
        says=("do not make rows",),
    ),
    Case(
        "column twice",
        "Two columns have one name.",
        _scored,
        _write(
            lambda d: pd.DataFrame([[id, 0.1, 0.2] for id in d.values("id")], columns=["id", *["learnability"] * 2])
        ),
        says=("each column once",),
    ),
    Case("no table", "The table is a number.", _scored, _write(lambda d: 3), says=("source must be", "int")),
    Case(
        "infinite hits",
        "A score other than learnability is infinite.",
        _scored,
        _write(_table([np.inf] * SAMPLES, "hits")),
        written=tuple(f"learnability_{name}" for name in ("mine", "rank_mine", "mine_hits")),
    ),
    Case(
        "classes as one text",
        "A string iterates over letters in Python.",
        _scored,
        _write(_table(0.5), classes="ab"),
        says=("classes must be", "'ab'"),
    ),
)


# tools


def _tag(**options: Any) -> Call:
    """Tags the hardest samples; the command line and the App take the same options."""
    flags = {"count": "-k", "tag": "--tag", "percent": "--percent"}
    unit = {"unit": "percent"} if "percent" in options else {}
    given = {"model": "a", **({} if "percent" in options else {"count": 1}), **options}
    arguments = [part for name, value in given.items() if name != "model" for part in (flags[name], value)]
    return Call(
        lambda world, samples: fol.tag_by_difficulty(samples, **given),
        lambda world, samples: ["tag", samples.name, f"--model={given['model']}", *arguments],
        lambda world, samples: Operation("tag_by_difficulty", {**given, **unit}),
    )


def _subset(fraction: Any, strategy: str = "stratified", **options: Any) -> Call:
    return Call(
        lambda world, samples: fol.select_subset(samples, fraction, strategy, **options),
        lambda world, samples: ["subset", samples.name, f"--fraction={fraction}", f"--strategy={strategy}"],
    )


def _rename(key: str, new_key: Any) -> Call:
    return Call(
        lambda world, samples: fol.rename_run(samples, key, new_key),
        lambda world, samples: ["rename", samples.name, key, new_key],
        lambda world, samples: Operation("manage_learnability_runs", {"key": key, "new_key": new_key}),
    )


def _apply(into: str) -> Call:
    def operation(world: World, samples: fo.Dataset) -> Operation:
        chosen = {"selected": samples.values("id")[:4], "view_target": "SELECTED_SAMPLES"}
        return Operation("apply_label_fixes", {"into": into}, chosen)

    return Call(
        lambda world, samples: fol.apply_label_fixes(samples.limit(4), into),
        lambda world, samples: ["apply-labels", samples.name, "--mislabelled", f"--into={into}"],
        operation,
    )


def _export(path: Callable[[World], Any]) -> Call:
    return Call(
        lambda world, samples: fol.export_scores(samples, path(world)),
        lambda world, samples: ["export", samples.name, path(world)],
        lambda world, samples: Operation("export_learnability", {"path": str(path(world))}),
    )


def _suggested(world: World) -> fo.Dataset:
    return world.kept("suggested", lambda place: place.scored(suggestions=True))


TOOLS = (
    Case("empty tag", "The tag is a blank.", _scored, _tag(tag=" "), says=("tag must not be empty",)),
    Case(
        "tag of dots, dollars and a line break",
        "A tag has characters that are special to MongoDB and terminals.",
        _scored,
        _tag(tag="$a.b\nc"),
        written=(),
        changed=("tags",),
    ),
    Case(
        "tag as a number",
        "The tag is a number.",
        _scored,
        Call(_tag(tag=3).sdk, None, _tag(tag=3).app),
        says=("tag must be a text, not 3",),
        known=False,
    ),
    Case(
        "no samples to tag", "The number of samples is 0.", _scored, _tag(count=0), says=("count", "not 0"), known=False
    ),
    Case("half a sample to tag", "The number is not an integer.", _scored, _tag(count=2.5), says=("2.5",), known=False),
    Case(
        "more samples than there are",
        "The number has 30 digits.",
        _scored,
        _tag(count=10**30),
        written=(),
        changed=("tags",),
    ),
    Case("NaN percent", "The share is NaN.", _scored, _tag(percent=float("nan")), says=("percent", "nan"), known=False),
    Case(
        "101 percent",
        "The share exceeds 100 percent.",
        _scored,
        _tag(percent=101),
        says=("percent", "101"),
        known=False,
    ),
    Case(
        "network without scores",
        "Its name looks like a MongoDB operator.",
        _scored,
        _tag(model="$a.b"),
        says=("'$a.b'", "a, b"),
        known=False,
    ),
    Case("fraction 0", "The share is 0.", _scored, _subset(0), says=("fraction", "not 0")),
    Case("NaN fraction", "The share is NaN.", _scored, _subset(float("nan")), says=("fraction", "nan")),
    Case("fraction as text", "The share is a word.", _scored, _subset("half"), says=("fraction", "half")),
    Case(
        "unknown strategy",
        "The strategy does not exist.",
        _scored,
        _subset(0.5, "wildest"),
        says=("strategy", "wildest"),
    ),
    Case(
        "scores that are texts",
        "The field holds strings.",
        _scored,
        Call(_subset(0.5, field="filepath").sdk),
        says=("'filepath'", "numbers"),
    ),
    Case(
        "run renamed with dots",
        "Keys become parts of MongoDB paths.",
        _scored,
        _rename("first", "a.b"),
        says=("'a.b'",),
    ),
    Case(
        "run renamed to a key that is taken",
        "Another run has this key.",
        _scored,
        _rename("first", "second"),
        says=("'second'", "already"),
    ),
    Case(
        "run renamed to 3,000 characters", "It is too long.", _scored, _rename("first", "x" * 3000), says=("too long",)
    ),
    Case("unknown run", "No run has this key.", _scored, _rename("third", "fourth"), says=("'third'",), known=False),
    Case("labels copied into _id", "MongoDB stores its ids there.", _suggested, _apply("_id"), says=("into", "'_id'")),
    Case(
        "labels copied into a dotted name",
        "Fields cannot have dots.",
        _suggested,
        _apply("a.b"),
        says=("into", "'a.b'"),
    ),
    Case(
        "labels copied into the paths",
        "It would overwrite all paths.",
        _suggested,
        _apply("filepath"),
        says=("'filepath'", "not a copy"),
    ),
    Case(
        "labels copied into a method",
        "Samples have a method of this name.",
        _suggested,
        _apply("save"),
        says=("'save'", "FiftyOne reserves"),
    ),
    Case(
        "labels copied into the labels",
        "It would change the labels in place.",
        _suggested,
        _apply("ground_truth"),
        says=("'ground_truth' itself",),
    ),
    Case(
        "labels copied into scores",
        "The field holds numbers.",
        _suggested,
        _apply("learnability_a"),
        says=("'learnability_a'", "not a copy"),
    ),
    Case(
        "threshold NaN",
        "The threshold is NaN.",
        _scored,
        Call(
            lambda world, samples: fol.suggest_label_fixes(samples, threshold=float("nan")),
            lambda world, samples: ["labels", samples.name, "--threshold=nan"],
            lambda world, samples: Operation("suggest_label_fixes", {"threshold": float("nan")}),
        ),
        says=("threshold", "nan"),
    ),
    Case(
        "consensus of one",
        "A consensus needs two networks.",
        _scored,
        Call(
            lambda world, samples: fol.write_consensus(samples, ["a"]),
            lambda world, samples: ["consensus", samples.name, "--models", "a"],
            lambda world, samples: Operation("compute_consensus", {"models": ["a"]}),
        ),
        says=("two", "a"),
        says_there={APP: ("models must name at least 2",)},
    ),
    Case(
        "export into nowhere",
        "The folder cannot be created.",
        _scored,
        _export(lambda world: "/proc/nowhere/scores.csv"),
        says=("/proc/nowhere",),
    ),
    Case(
        "export of another kind",
        "The file type is unknown.",
        _scored,
        _export(lambda world: world.folder / "scores.doc"),
        says=("scores.doc", ".parquet"),
    ),
    Case(
        "export over a folder",
        "A folder is named .csv.",
        _scored,
        _export(lambda world: _once(_folder, "folder.csv")(world, None)),
        says=("folder.csv",),
    ),
    Case(
        "export to a path of 5,000 characters",
        "It is too long.",
        _scored,
        _export(lambda world: f"/{'x' * 5000}.csv"),
        says=("too long for a path",),
    ),
    Case(
        "export to a zero byte",
        "No file can have this name.",
        _scored,
        Call(_export(lambda world: "/a\0.csv").sdk, None, _export(lambda world: "/a\0.csv").app),
        says=("path", "\\x00"),
        known=True,
    ),
    Case(
        "folder without a run",
        "The folder holds no results.",
        good,
        Call(command=lambda world, samples: ["write", world.folder]),
        says=("holds no finished results",),
    ),
)

CASES: tuple[Case, ...] = (*FILES, *LABELS, *OPTIONS, *CLASHES, *VIEWS, *MEANWHILE, *IMPORTS, *TABLES, *TOOLS)
"""All cases, in the order of the table."""

GROUPS: Mapping[str, Sequence[Case]] = {
    "Image files": FILES,
    "Labels": LABELS,
    "Options": OPTIONS,
    "Names that are taken": CLASHES,
    "Views and media": VIEWS,
    "What others do meanwhile": MEANWHILE,
    "Files of scores": IMPORTS,
    "Tables of scores": TABLES,
    "Tools": TOOLS,
}
"""The same under headings."""
