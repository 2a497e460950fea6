"""The settings of a run: the one home of their defaults, limits, checks and help texts.

The SDK call, the command line, the App's form and the stored config of a run all read them here. This module loads
neither torch nor NumPy, so ``fiftyone-learnability --help`` stays fast.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..scores.catalog import SCORES, check_network_name, choose_scores
from ..scores.checks import MOST_SEED, check_bool, check_integer, check_names, check_number, short_repr

DEFAULT_BOUND = 0.98
"""``stop_when_stable=True``: the ranking has settled at this Spearman correlation with that of one window ago."""

DEFAULT_IMAGE_SIZE = 32
"""Height and width in pixels for which the CIFAR networks are made."""

MEASUREMENTS = {
    "exact": "all clean images after each epoch",
    "online": "augmented images during training, at no cost",
}
"""The images that probabilities can be measured on, with a description of each."""

PRECISIONS = ("auto", "float32", "bf16", "fp16")

IF_SAME: Literal["if_same"] = "if_same"
"""``resume="if_same"``: continue a run of the same data and settings, replace any other one that was started so."""

Resume = bool | Literal["if_same"]

Kind = Literal["integer", "number", "bool", "choice", "bound", "names", "folder", "resume", "text"]


def default_learning_rate(batch_size: int) -> float:
    """Return the default peak learning rate: 0.1 at batch size 128, proportional to the batch size.

    The linear scaling rule of Goyal et al. 2017 (arXiv 1706.02677). Small datasets need small batches to get enough
    steps, and at an unscaled rate VGG-16 does not learn from them.

    Args:
        batch_size: images per step
    """
    return 0.1 * batch_size / 128


def default_el2n_epoch(epochs: int) -> int:
    """Return the default epoch for EL2N: a tenth of the training, 20 of 200 in Paul et al. 2021 (arXiv 2107.07075).

    Args:
        epochs: T, the epochs of the training
    """
    return max(1, round(epochs / 10))


@dataclass(frozen=True)
class Setting:
    """The description of one setting, apart from its name and default.

    Attributes:
        kind: the kind of value, which decides how it is checked and how the command line reads it
        help: the help text
        title: its label in the App's form, by default the help text
        least: the smallest allowed value
        most: the largest allowed value
        form_most: the largest value that the App's form takes, where that is less
        above: a bound that the value must exceed
        choices: the allowed values of a choice, each with a description, which may be empty
        form_choices: the values that the App's form offers for a text
        optional: True if None is allowed
        flag: its option on the command line, empty if it has none
        flag_help: the help of an option that turns the setting off
        metavar: the placeholder for its value on the command line
        is_stored: True if the stored config of a run has it
        is_public: True if it is an argument of ``compute_learnability``
    """

    kind: Kind
    help: str
    title: str = ""
    least: int = 0
    most: int | None = None
    form_most: int | None = None
    above: float | None = None
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    form_choices: tuple[str, ...] = ()
    optional: bool = False
    flag: str | None = None
    flag_help: str = ""
    metavar: str | None = None
    is_stored: bool = True
    is_public: bool = True

    def check(self, name: str, value: Any) -> Any:
        """Return a value as this setting keeps it.

        Args:
            name: the name of the setting
            value: the value

        Raises:
            ValueError: if the value has another type or is outside the limits
        """
        if value is None and self.optional:
            return None
        match self.kind:
            case "integer":
                return check_integer(name, value, self.least, self.most)
            case "number":
                at_least = self.least if self.above is None else None
                return check_number(name, value, above=self.above, at_least=at_least)
            case "bool":
                return check_bool(name, value)
            case "choice" if not isinstance(value, str) or value not in self.choices:
                raise ValueError(f"{name} must be one of {', '.join(self.choices)}, not {short_repr(value)}")
            case "bound":
                return _check_bound(name, value)
            case "folder" if not isinstance(value, (str, Path)) or "\0" in str(value):
                raise ValueError(f"{name} must be the path of a folder, not {short_repr(value)}")
            case "resume" if not isinstance(value, bool) and value != IF_SAME:
                raise ValueError(f"{name} must be True, False or {IF_SAME!r}, not {short_repr(value)}")
        # names are checked together with the number of runs, texts against the dataset or the machine
        return value


def _check_bound(name: str, value: Any) -> float | None:
    """Return the rank correlation at which a training stops, None if it trains to its end."""
    if value is False or value is None:
        return None
    if value is True:
        return DEFAULT_BOUND
    try:
        return check_number(name, value, above=0, below=1)
    except ValueError as error:
        raise ValueError(
            f"{name} must be True, False or a rank correlation between 0 and 1, such as {DEFAULT_BOUND}, not "
            f"{short_repr(value)}"
        ) from error


def setting(default: Any, kind: Kind, help: str, **more: Any) -> Any:
    """Declare a field of the run settings.

    Args:
        default: the default value; None makes the setting optional
        kind: the kind of value
        help: the help text
        **more: other attributes of :class:`Setting`
    """
    about = Setting(kind, help, optional=default is None, **more)
    return dataclasses.field(default=default, metadata={"setting": about})


@dataclass(frozen=True)
class TrainingOptions:
    """The options of one training of one network, the same for all networks of a run.

    After construction every value is checked and of Python's own type: ``lr`` is a number, and ``stop_when_stable`` the
    rank correlation at which the training stops, or None.

    Raises:
        ValueError: if a value is not possible
    """

    epochs: int = setting(
        200,
        "integer",
        "Training epochs of each network; the scores are means over them",
        title="Epochs",
        least=1,
        most=1_000_000,
        form_most=10_000,
    )
    batch_size: int = setting(
        128, "integer", "Images per training step", title="Batch size", least=2, most=2**31, form_most=65_536
    )
    lr: float = setting(
        None,
        "number",
        "Peak learning rate. By default 0.1 at batch size 128, scaled with the batch size",
        title="Learning rate",
        above=0,
        form_most=1000,
    )
    weight_decay: float = setting(5e-4, "number", "Weight decay, on all weights")
    crop_padding: int = setting(
        4, "integer", "Pixels of padding for random crops; 0 turns cropping off", most=1024, metavar="PIXELS"
    )
    horizontal_flip: bool = setting(
        True,
        "bool",
        "Flip half of the images at random. Turn it off for digits and letters",
        title="Mirror images",
        flag="--no-flip",
        flag_help="Do not flip images at random, as for digits and letters",
    )
    measure: str = setting(
        "exact",
        "choice",
        "; ".join(f"{name}: {text}" for name, text in MEASUREMENTS.items()),
        title="Measurement",
        choices=MEASUREMENTS,
    )
    measure_every: int = setting(
        1,
        "integer",
        "Measure every K-th epoch and the last; 1 measures every epoch",
        title="Measure every",
        least=1,
        metavar="K",
    )
    stop_when_stable: float | None = setting(
        False,
        "bound",
        f"Stop once the ranking has settled, at a rank correlation of {DEFAULT_BOUND} or the one given. The other "
        "runs of a network stop where its first one did. The learning rate does not reach zero then",
        title="Stop when the ranking is stable",
        metavar="RHO",
    )
    compile: bool = setting(
        False,
        "bool",
        "Compile the networks with torch.compile, most of a minute each; if it fails, they are trained uncompiled",
    )
    deterministic: bool = setting(
        False,
        "bool",
        "Give the same scores bit for bit on the same CUDA GPU, also after resuming, at some cost in speed. A CPU does "
        "so in any case",
    )
    el2n_epoch: int | None = setting(
        None, "integer", "Epoch at which EL2N is measured. By default a tenth of the epochs", least=1, flag=""
    )
    record_dynamics: bool = setting(
        True, "bool", "Keep the probability of each label after each epoch", flag="", is_stored=False
    )
    record_predictions: bool = setting(
        True, "bool", "Keep the mean prediction of each image", is_stored=False, is_public=False
    )

    def __post_init__(self) -> None:
        for name, about in settings_of(type(self)).items():
            object.__setattr__(self, name, about.check(name, getattr(self, name)))
        if self.deterministic and self.compile:
            raise ValueError("deterministic=True and compile=True exclude each other: compilers choose how to round")
        if self.lr is None:
            object.__setattr__(self, "lr", default_learning_rate(self.batch_size))
        for name in ("measure_every", "el2n_epoch"):
            if (epoch := getattr(self, name)) is not None and epoch > self.epochs:
                raise ValueError(f"{name} must be at most {self.epochs}, the epochs of the training, not {epoch}")

    def steps_per_epoch(self, num_images: int) -> int:
        """The number of training steps of an epoch."""
        # never a batch of one image: a batch norm over 1x1 maps cannot take its statistics
        return max(1, min(math.ceil(num_images / self.batch_size), num_images // 2))

    @property
    def measured_epochs(self) -> range:
        """The measured epochs, counted from 1, of a training that runs to its end; the last one is always measured."""
        return range((self.epochs - 1) % self.measure_every + 1, self.epochs + 1, self.measure_every)

    @property
    def measured_el2n_epoch(self) -> int:
        """The epoch at which EL2N is measured: ``el2n_epoch`` or its default, or the next measured epoch."""
        wanted = self.el2n_epoch or default_el2n_epoch(self.epochs)
        return next(epoch for epoch in self.measured_epochs if epoch >= wanted)


@dataclass(frozen=True)
class RunSettings(TrainingOptions):
    """The settings of a call of ``compute_learnability``: those of each training, and those of the run around them.

    Raises:
        ValueError: if a value is not possible
    """

    label_field: str = setting("ground_truth", "text", "Field of the labels to learn", title="Labels", metavar="FIELD")
    runs: int = setting(
        1,
        "integer",
        "Repeats with different seeds; the scores are means over them",
        title="Runs",
        least=1,
        most=10_000,
        form_most=100,
    )
    seed: int = setting(
        0,
        "integer",
        "Seed of the first repeat; the others count up from it",
        title="Seed",
        most=MOST_SEED,
        form_most=2**31,
    )
    image_size: int | None = setting(
        None,
        "integer",
        f"Height and width of the training images in pixels. By default {DEFAULT_IMAGE_SIZE}",
        title="Image size in pixels",
        least=8,
        most=1024,
        metavar="PIXELS",
    )
    cache_images: bool = setting(
        True,
        "bool",
        "Keep the decoded images for the next run",
        flag="--no-image-cache",
        flag_help="Neither use nor keep decoded images",
        is_stored=False,
    )
    device: str = setting(
        "auto",
        "text",
        "Device to train on: auto, cpu, cuda, cuda:<n> or mps",
        title="Device",
        form_choices=("auto", "cpu", "cuda", "mps"),
    )
    precision: str = setting(
        "auto", "choice", "Floating-point precision of training", choices=dict.fromkeys(PRECISIONS, "")
    )
    scores: tuple[str, ...] = setting(
        None,
        "names",
        "Scores to write besides learnability and rank: all, or some of "
        + ", ".join(name for name, score in SCORES.items() if not (score.derived or name in ("learnability", "rank"))),
        title="Scores",
        metavar="NAME",
        is_stored=False,
    )
    name: str | Sequence[str] | None = setting(
        None,
        "names",
        "Name of the scores in place of that of the network, to keep one network several times: one for each network, "
        "in their order",
        title="Name",
        metavar="NAME",
        is_stored=False,
    )
    key: str | None = setting(
        None, "text", "Key of the run. By default learnability, learnability_2, ...", title="Run key", is_stored=False
    )
    overwrite: bool = setting(
        False, "bool", "Replace existing fields of these networks and the run of this key", is_stored=False
    )
    skip_failures: bool = setting(
        False,
        "bool",
        "Leave out images that cannot be read",
        is_stored=False,
    )
    run_dir: str | Path | None = setting(
        None,
        "folder",
        "Folder for checkpoints until the scores are written. By default in the user's cache",
        metavar="FOLDER",
        is_stored=False,
    )
    resume: Resume = setting(
        True,
        "resume",
        "Continue an unfinished run of the same data and settings",
        flag="--no-resume",
        flag_help="Start over, even if an unfinished run could be continued",
        is_stored=False,
    )
    restart_diverged: bool = setting(
        False,
        "bool",
        "Restart a training that diverges, once, at a quarter of the learning rate",
        is_stored=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_padding > self.pixels:
            raise ValueError(
                f"crop_padding must be at most {self.pixels}, the image size in pixels, not {self.crop_padding}"
            )
        object.__setattr__(self, "scores", choose_scores(self.scores, self.runs))
        if self.name is not None:
            names = tuple(check_names("name", self.name))
            for name in names:
                check_network_name(name)
            if not names or len(set(names)) < len(names):
                raise ValueError(f"name must be one name for each network, each once, not {short_repr(self.name)}")
            object.__setattr__(self, "name", names)

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> RunSettings:
        """Make settings of the arguments of a call, other arguments included.

        Args:
            arguments: the arguments by name
        """
        return cls(**{name: arguments[name] for name in public_settings()})

    def arguments(self) -> dict[str, Any]:
        """Return the settings as arguments of ``compute_learnability``."""
        return {name: getattr(self, name) for name in public_settings()}

    def names_of(self, models: Sequence[str]) -> list[str]:
        """Return the names under which the scores of networks are written, in the order of the networks.

        Args:
            models: the networks

        Raises:
            ValueError: if ``name`` does not have one name for each network
        """
        if self.name is None:
            return list(models)
        if len(self.name) != len(models):
            raise ValueError(
                f"name must be one name for each of the {len(models)} networks {', '.join(models)}, not "
                f"{', '.join(self.name)}"
            )
        return list(self.name)

    @property
    def pixels(self) -> int:
        """Height and width of the training images."""
        return self.image_size or DEFAULT_IMAGE_SIZE

    def stored(self) -> dict[str, Any]:
        """Return the settings that the stored config of a run has."""
        return {name: getattr(self, name) for name, about in settings_of(RunSettings).items() if about.is_stored}


def settings_of(cls: type[TrainingOptions]) -> dict[str, Setting]:
    """Return the description of each setting of a class, by name."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(cls)}


def public_settings() -> dict[str, Setting]:
    """Return the descriptions of the settings that are arguments of ``compute_learnability``, by name."""
    return {name: about for name, about in settings_of(RunSettings).items() if about.is_public}
