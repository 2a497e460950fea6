"""Preparation: checks a call, reads its images, and describes the run, before anything is trained.

torch is imported inside functions, so that the App can import this module without it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
import psutil
from numpy.typing import NDArray

from ._version import __version__
from .dataset.changes import some
from .dataset.internals import dataset_id, root_dataset
from .dataset.recovery import recover
from .dataset.registry import id_of_run, list_runs
from .dataset.samples import LabelledSamples, check_images, read_samples
from .dataset.target import WriteTarget, choose_target, free_key
from .experiment.progress import Progress
from .images.cache import CachedImages
from .images.conversions import describe_conversions
from .images.decode import DecodedImages, decode_images
from .scores.checks import shorten
from .training.options import RunSettings

if TYPE_CHECKING:
    from torch import nn

    from .training.device import Placement
    from .training.networks import NetworkFactory

MOST_PREDICTIONS = 100_000_000
"""The largest number of samples x classes for which mean predictions are kept: 0.4 GB per network in float32, and
several times as much for a moment."""


class UnreadableImagesError(ValueError):
    """Images cannot be read, and the settings do not allow to leave them out.

    Args:
        problem: how many images, which, and why
        advice: what to do
        ids: the ids of their samples
        is_every_image: True if no image can be read
    """

    def __init__(self, problem: str, advice: str, ids: Sequence[str], is_every_image: bool) -> None:
        super().__init__(f"{problem}; {advice}")
        self.problem, self.ids, self.is_every_image = problem, list(ids), is_every_image


@dataclass(frozen=True, eq=False)
class Request:
    """A checked call.

    Attributes:
        target: the collection to score, and where the run will be written
        settings: the settings
        networks: the factories by the name of the scores
        architectures: the networks by the name of the scores
        placement: device and precision
        labelled: the labelled samples
        clash: why the target cannot be written, unless its run directory shows that it holds this very run, written by
            a process that was killed before it could delete the directory; None if the target is free
    """

    target: WriteTarget
    settings: RunSettings
    networks: dict[str, NetworkFactory]
    architectures: dict[str, str]
    placement: Placement
    labelled: LabelledSamples
    clash: ValueError | None


@dataclass(frozen=True, eq=False)
class Experiment:
    """The data and settings of the trainings of one run.

    Attributes:
        labelled: the samples with a label and a readable image
        pixels: ``(N, H, W, C)`` uint8 images
        settings: the settings, adapted to the data
        placements: device, precision and layout of each network
        config: the stored config of the run
        fingerprint: what must not change if the run is to be resumed
    """

    labelled: LabelledSamples
    pixels: NDArray[np.uint8]
    settings: RunSettings
    placements: dict[str, Placement]
    config: dict[str, Any]
    fingerprint: dict[str, Any]


def check(
    samples: foc.SampleCollection, models: str | Sequence[str] | Mapping[str, Any], settings: RunSettings
) -> Request:
    """Check everything that can be checked before images are read."""
    from .training.device import choose_placement
    from .training.networks import resolve_networks

    factories = resolve_networks(models)
    names = settings.names_of(list(factories))
    architectures = dict(zip(names, factories, strict=True))
    networks = dict(zip(names, factories.values(), strict=True))
    placement = choose_placement(settings.device, settings.precision, settings.deterministic)
    check_images(samples)
    dataset = root_dataset(samples)
    recover(dataset)
    scores, overwrite = settings.scores, settings.overwrite
    clash = None
    try:
        target = choose_target(samples, names, settings.key, overwrite, scores)
        target.warn_of_lost_fields()
    except ValueError as error:
        key = find_written_run(dataset, settings) if settings.resume else None
        if key is None:
            raise
        target, clash = WriteTarget.of_scores(samples, names, key, scores, overwrite), error
    labelled = read_samples(samples, settings.label_field)
    _check_memory(len(labelled), settings)
    return Request(target, settings, networks, architectures, placement, labelled, clash)


def _check_memory(count: int, settings: RunSettings) -> None:
    """Refuse what cannot fit into memory: the system would kill the process without a message, perhaps hours later."""
    total = psutil.virtual_memory().total
    size, epochs = settings.pixels, len(settings.measured_epochs)
    needs = [(f"{count} images of {size}x{size} pixels", count * size * size * 3, "choose a smaller image_size")]
    if settings.record_dynamics:
        curves = f"record_dynamics: {epochs} epochs of {count} samples"
        needs.append((curves, count * epochs * 2, "choose fewer epochs, or switch it off"))
    for what, need, advice in needs:
        if need > total:
            raise ValueError(
                f"{what} would take {need / 1e9:,.1f} GB of memory, and this machine has {total / 1e9:,.1f}: {advice}"
            )


def prepare(request: Request, reporter: Progress) -> Experiment:
    """Read the images, try each network, and describe the run."""
    labelled, images = _read_images(request.labelled, request.settings, reporter)
    settings, classes = request.settings, labelled.classes
    architectures, placements = _try_networks(request, images.pixels, len(classes), reporter)
    precisions = {name: placement.precision for name, placement in placements.items()}
    reporter.say(request.placement.reason)
    if plain := [name for name, precision in precisions.items() if precision != request.placement.precision]:
        reporter.say(f"precision float32 for {', '.join(plain)}, whose depthwise convolutions gain nothing from bf16")
    if len(labelled) * len(classes) > MOST_PREDICTIONS:
        settings = replace(settings, record_predictions=False)
        reporter.say(
            f"the mean predictions of {len(labelled)} samples of {len(classes)} classes would not fit into memory and "
            "are not kept: labels cannot be suggested, and ambiguity is not measured"
        )
    config = {
        **settings.stored(),
        **({"architectures": request.architectures} if settings.name else {}),
        "image_size": settings.pixels,
        "device": str(request.placement.device),
        "precision": request.placement.precision,
        "classes": list(classes),
        "num_samples": len(labelled),
        "num_unlabelled": labelled.num_unlabelled,
        "num_unreadable": int((~images.readable).sum()),
        "el2n_epoch": settings.measured_el2n_epoch,
        "package_version": __version__,
    }
    fingerprint = _fingerprint(config, settings, images.pixels, labelled, architectures, precisions)
    return Experiment(labelled, images.pixels, settings, placements, config, fingerprint)


def _read_images(
    labelled: LabelledSamples, settings: RunSettings, reporter: Progress
) -> tuple[LabelledSamples, DecodedImages]:
    """Return the images, from the cache or their files, and the samples whose image could be read."""
    if labelled.num_unlabelled:
        reporter.say(f"samples without a label: {labelled.num_unlabelled}; they are left out, their fields stay None")
    size, filepaths = settings.pixels, labelled.filepaths.tolist()
    cached = CachedImages(filepaths, size) if settings.cache_images else None
    images = None if cached is None else cached.load()
    if images is not None:
        reporter.finish("images", f"{len(filepaths)} images from the cache of an earlier run")
    else:
        with reporter.counting("images", len(filepaths), "reading images") as advance:
            images = decode_images(filepaths, size, advance)
        if cached is not None and (problem := cached.save(images)) is not None:
            reporter.say(problem)
    labelled = _without_unreadable(labelled, images, settings, reporter)
    if images.sizes - {(size, size)}:
        heights_widths = sorted(images.sizes)
        height, width = heights_widths[0]
        original = f"{width}x{height}" if len(heights_widths) == 1 else f"of {len(heights_widths)} sizes"
        default = "" if settings.image_size else ", the default; image_size changes it"
        reporter.say(f"images are {original} and are resized to {size}x{size} pixels{default}")
    for sentence in describe_conversions(images.conversions, images.value_range):
        reporter.say(sentence)
    return labelled, images


def _without_unreadable(
    labelled: LabelledSamples, images: DecodedImages, settings: RunSettings, reporter: Progress
) -> LabelledSamples:
    """Return the samples whose image could be read, if others may be left out."""
    # samples, not files: several samples may share a file
    count = int((~images.readable).sum())
    if not count:
        return labelled
    examples = some([f"{shorten(path, 300)}: {shorten(reason)}" for path, reason in images.failures.items()])
    if not settings.skip_failures:
        advice = "repair or remove their samples, or leave them out with skip_failures=True"
        if count == len(labelled):
            advice = "check that their files are where filepath says, and are images"
        problem = f"{count} of {len(labelled)} images cannot be read ({examples})"
        ids = labelled.ids[~images.readable].tolist()
        raise UnreadableImagesError(problem, advice, ids, count == len(labelled))
    reporter.say(f"images that cannot be read: {count}; they are left out: {examples}")
    labelled = labelled.select(images.readable)
    if len(np.unique(labelled.labels)) < 2:
        raise ValueError("fewer than two classes have images that can be read")
    return labelled


def _try_networks(
    request: Request, pixels: NDArray[np.uint8], num_classes: int, reporter: Progress
) -> tuple[dict[str, str], dict[str, Placement]]:
    """Try each network in training; return a fingerprint of its architecture, and where and how it will train."""
    from .training.batch_statistics import stale_norms
    from .training.trial import try_training

    count, size, _, channels = pixels.shape
    steps = request.settings.steps_per_epoch(count)
    architectures, placements, stale = {}, {}, []
    for name, factory in request.networks.items():
        network, placements[name] = try_training(
            name, factory, num_classes, channels, size, request.settings, request.placement
        )
        architectures[name] = _architecture(network)
        if stale_norms(network, steps):
            stale.append(name)
    if stale and request.settings.measure == "exact":
        reporter.say(
            f"{', '.join(stale)}: {steps} steps an epoch are too few for the running statistics of batch norms, which "
            "are estimated anew for each measurement: one more pass over the images"
        )
    return architectures, placements


def _architecture(network: nn.Module) -> str:
    """Return a fingerprint of a network's layers and the shapes of its weights, not of their values."""
    # some modules print the memory addresses of functions
    layers = re.sub(r" at 0x[0-9a-fA-F]+", "", str(network))
    shapes = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    return hashlib.blake2b(f"{layers} {shapes}".encode(), digest_size=16).hexdigest()


def _fingerprint(
    config: dict[str, Any],
    settings: RunSettings,
    pixels: NDArray[np.uint8],
    labelled: LabelledSamples,
    architectures: dict[str, str],
    precisions: dict[str, str],
) -> dict[str, Any]:
    """Return what must be the same for a run to be resumed."""
    import torch

    from .experiment.run_directory import fingerprint_of

    # the samples that are left out change nothing of the training
    counts = ("num_unlabelled", "num_unreadable")
    return {
        **{name: value for name, value in config.items() if name not in counts},
        **fingerprint_of(pixels, labelled.labels),
        "networks": architectures,
        "precisions": precisions,
        "record_dynamics": settings.record_dynamics,
        "torch_version": torch.__version__,
    }


def find_written_run(dataset: fo.Dataset, settings: RunSettings) -> str | None:
    """Return the key of a run that is written but still has its run directory, None if there is none."""
    from .experiment.run_directory import read_identity

    if settings.run_dir is not None:
        folders = [Path(settings.run_dir)]
    else:
        folders = list(default_run_directory(dataset, "any").parent.glob("*"))
    for id, key in filter(None, map(read_identity, folders)):
        if settings.key in (None, key) and id_of_run(dataset, key) == id:
            return key
    return None


def with_free_key(request: Request) -> Request:
    """Return a request with the next free key if, since it was checked, a run of other networks has taken its own."""
    from .experiment.run_directory import is_used_by_others

    target, settings = request.target, request.settings
    is_chosen = settings.key is None and settings.run_dir is None and request.clash is None
    if not is_chosen or target.key in target.replaced_runs():
        return request
    # another process may have written meanwhile
    list_runs(target.dataset)

    def is_used(key: str) -> bool:
        return is_used_by_others(default_run_directory(target.dataset, key), target.models)

    key = free_key(target.dataset, is_used=is_used)
    return replace(request, target=replace(target, key=key))


def default_run_directory(dataset: fo.Dataset, key: str) -> Path:
    """Return the folder for the checkpoints of a run, unless ``run_dir`` names another.

    Args:
        dataset: the dataset
        key: the key of the run
    """
    from .storage import runs_folder

    # found by its id, which survives renaming and which a later dataset of the same name does not have
    cache, id = runs_folder(), dataset_id(dataset)
    existing = sorted(cache.glob(f"*-{id}"))
    if existing:
        return existing[0] / key
    return cache / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', dataset.name)[:80]}-{id}" / key
