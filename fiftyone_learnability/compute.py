"""The call: from a FiftyOne dataset to learnability fields."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fiftyone as fo
import fiftyone.core.collections as foc
import numpy as np
import psutil

from ._version import __version__
from .dataset.changes import some
from .dataset.fields import choose_key
from .dataset.internals import dataset_id, root_dataset
from .dataset.notes import fields_of
from .dataset.registration import recover
from .dataset.runs import load_results
from .dataset.samples import LabelledSamples, check_images, read_samples
from .delivery import WritePlan, _id_of_run, _stages_of, _write
from .experiment.progress import Progress, ProgressCallback, ProgressEvent
from .experiment.results import ModelResults, RunRecord
from .images.cache import CachedImages
from .images.decode import DEFAULT_IMAGE_SIZE, DecodedImages, decode_images
from .scores.catalog import choose_scores
from .scores.checks import MOST_SEED, check_bool, check_integer, check_number, short_repr, shorten

if TYPE_CHECKING:
    from torch import nn

    from .experiment.run_directory import Resume
    from .training.networks import NetworkFactory


MOST_PREDICTIONS = 100_000_000
"""The largest number of samples x classes for which mean predictions are kept: they take 0.4 GB a network, and several
times that for a moment."""

MOST_EPOCHS, MOST_RUNS, MOST_BATCH = 1_000_000, 10_000, 2**31
"""More than anybody waits for: beyond them a slip of the keyboard is likelier than an experiment."""


_NOT_IN_CONFIG = ("record_dynamics", "record_predictions", "el2n_epoch")
"""Training options that the config of a run does not hold as they are given."""


def compute_learnability(
    samples: foc.SampleCollection,
    label_field: str = "ground_truth",
    models: str | Sequence[str] | Mapping[str, NetworkFactory | str] = ("resnet20",),
    *,
    epochs: int = 200,
    runs: int = 1,
    seed: int = 0,
    batch_size: int = 128,
    lr: float | None = None,
    weight_decay: float = 5e-4,
    crop_padding: int = 4,
    horizontal_flip: bool = True,
    image_size: int | None = None,
    cache_images: bool = True,
    device: str = "auto",
    precision: str = "auto",
    measure: str = "exact",
    measure_every: int = 1,
    stop_when_stable: bool | float = False,
    compile: bool = False,
    key: str | None = None,
    overwrite: bool = False,
    skip_failures: bool = False,
    scores: str | Sequence[str] | None = None,
    el2n_epoch: int | None = None,
    record_dynamics: bool = True,
    run_dir: str | Path | None = None,
    resume: Resume = True,
    restart_diverged: bool = False,
    progress: bool | ProgressCallback = True,
) -> dict[str, ModelResults]:
    """Trains networks over labelled images and writes how easily each image is learned onto its sample.

    After every epoch, unless less is asked for, each network judges every clean training image in eval mode; the
    probability of the true label, averaged over epochs (and over ``runs`` seeds), is the image's *learnability*, its
    position the *learnability rank* (1 = easiest). Both are written as the fields ``learnability_<model>`` and
    ``learnability_rank_<model>``, indexed, and the whole is registered as a run: ``dataset.list_runs()``,
    ``dataset.load_run_results(key).models``, ``dataset.delete_run(key)``. Source: "Sample-wise learnability"
    (arXiv 1901.02347), Eq. 1 and 2.

    Nothing is written before all trainings are done, and then all of it or none. Samples without a label are left
    out and keep None.

    Example::

        import fiftyone as fo
        import fiftyone_learnability as fol

        dataset = fo.load_dataset("cifar10-train")
        results = fol.compute_learnability(dataset, models=["resnet20", "mobilenet"], epochs=50)
        hardest_first = dataset.sort_by("learnability_resnet20")

    Args:
        samples: a dataset or view of images
        label_field ("ground_truth"): a ``fo.Classification`` field, or a string, int or bool field
        models (("resnet20",)): networks: names among resnet20, vgg16, mobilenet, or of another library such as
            "torchvision/resnet18" or "timm/convnext_atto" (untrained), or of a factory of yours that is then imported,
            such as "mypackage.nets:make_net"; or a mapping of names to factories
            ``factory(num_classes=..., in_channels=...) -> nn.Module``
        epochs (200): T, the epochs of each training; each is one step of the mean
        runs (1): the trainings of each network, with the seeds ``seed``, ``seed + 1``, ...; scores are their mean
        seed (0): the first seed; the same seed, device and settings give the same scores (bit for bit on a CPU)
        batch_size (128): images in a training step
        lr (None): the highest learning rate: SGD rises to it within two epochs and falls along a cosine to zero; by
            default 0.1 for batches of 128, in proportion for others
        weight_decay (5e-4): the weight decay
        crop_padding (4): the padding in pixels for random crops; 0 for no crop
        horizontal_flip (True): whether half of the images are mirrored; turn it off where mirrored images change their
            meaning, as with digits
        image_size (None): height and width in pixels that images are brought to; 32 by default, which is what the three
            networks are made for; said if images have another size. A JPEG four times as large or more is decoded at a
            reduced size, see :func:`fiftyone_learnability.images.decode.decode_images`
        cache_images (True): whether decoded images are kept in the user's cache, at most 10 GB of them, so that the
            next run over the same files starts at once. They are decoded anew if a file has changed, and kept if all
            files could be read
        device ("auto"): "auto" takes cuda, then mps, then cpu; or a torch device
        precision ("auto"): "auto", "float32", "bf16" or "fp16"; see
            :func:`fiftyone_learnability.training.device.choose_placement`
        measure ("exact"): "exact" shows all clean images to the network after each epoch; "online" takes the
            probabilities from the training pass itself, of the augmented images while the weights change, which costs
            nothing but is another, noisier measure: docs/performance.md says how well the two agree
        measure_every (1): k measures each k-th epoch only, the last among them, and takes the mean over these
        stop_when_stable (False): True ends each training once its ranking has settled, and scores the epochs that it
            ran; a number between 0 and 1 is the rank correlation that is asked for in place of the default of
            :data:`~fiftyone_learnability.training.options.DEFAULT_BOUND`
        compile (False): True compiles networks with ``torch.compile``, which takes most of a minute each; if it fails,
            they are trained uncompiled
        key (None): the key of the run; by default "learnability", then "learnability_2" and so on
        overwrite (False): whether existing fields of these networks, and a run of the same key, may be replaced
        skip_failures (False): whether images that cannot be read are left out, and reported, rather than an error
        scores (None): the scores to be written besides learnability and rank: names among hits, variability,
            forgetting, learned_epoch, aum, el2n, ambiguity and spread (over runs), or "all". All of them are measured
            in any case, at no extra cost, and can be written later by :func:`fiftyone_learnability.add_scores`
        el2n_epoch (None): the early epoch after which EL2N is taken; a tenth of the epochs by default
        record_dynamics (True): whether the run keeps the probability of every sample's label after every epoch, which
            the App draws as learning curves: two bytes a sample, epoch and network, 20 MB for CIFAR-10 and 200 epochs
        run_dir (None): where the run keeps checkpoints until its scores are written; by default a folder of the dataset
            and key in the user's cache, see :func:`fiftyone_learnability.experiment.files.cache_folder`
        resume (True): whether a run of the same data and settings that was killed or interrupted goes on where it was,
            while one of other data or settings is an error; False starts over; "if_same" starts over instead of the
            error where that run was called so too and is not trained to its end
        restart_diverged (False): whether a training that diverges is restarted, once, at a quarter of the learning
            rate, which the run then says of itself, rather than an error
        progress (True): True shows bars and messages, False nothing; a callback gets each
            :class:`~fiftyone_learnability.ProgressEvent`

    Returns:
        the results by network: scores, ranks, ids, learning curves, timing and settings

    Raises:
        TypeError: if an argument is of a wrong type
        ValueError: if the samples, labels, images or options cannot be used; raised before any training, naming what
            is wrong
        TrainingDivergedError: if a training diverges; nothing is written
        TrainingMemoryError: if the device has no memory, not even for batches that are taken in small parts
        WriteError: if the scores cannot be written; the dataset is as it was, the results are saved to a folder
            that the message names
    """
    import torch

    from .dataset.additions import add_scores
    from .experiment.run_directory import RunMismatchError, fingerprint_of, open_run_directory
    from .experiment.units import plan_units, run_in_turn
    from .training.device import choose_placement
    from .training.networks import build_network, fastest_placement, resolve_networks
    from .training.options import DEFAULT_BOUND, TrainingOptions, default_el2n_epoch, default_learning_rate
    from .training.run import TrainingData

    epochs, runs = check_integer("epochs", epochs, 1, MOST_EPOCHS), check_integer("runs", runs, 1, MOST_RUNS)
    seed, batch_size = check_integer("seed", seed, 0, MOST_SEED), check_integer("batch_size", batch_size, 2, MOST_BATCH)
    lr = None if lr is None else check_number("lr", lr, above=0)
    weight_decay = check_number("weight_decay", weight_decay, at_least=0)
    crop_padding = check_integer("crop_padding", crop_padding, 0, _checked_size(image_size))
    horizontal_flip, overwrite = check_bool("horizontal_flip", horizontal_flip), check_bool("overwrite", overwrite)
    skip_failures = check_bool("skip_failures", skip_failures)
    cache_images = check_bool("cache_images", cache_images)
    record_dynamics = check_bool("record_dynamics", record_dynamics)
    restart_diverged = check_bool("restart_diverged", restart_diverged)
    _check_settings(run_dir, resume, progress)
    chosen_scores = choose_scores(scores, runs)
    telling = Progress(progress)
    if isinstance(stop_when_stable, (bool, np.bool_)):
        bound = DEFAULT_BOUND if stop_when_stable else None
    else:
        bound = check_number("stop_when_stable", stop_when_stable, above=0, below=1)
    if not isinstance(measure, str):
        raise ValueError(f"measure must be 'exact' or 'online', not {short_repr(measure)}")
    options = TrainingOptions(
        epochs,
        batch_size,
        0.1 if lr is None else lr,
        weight_decay,
        crop_padding,
        horizontal_flip,
        measure,
        check_integer("measure_every", measure_every, 1, epochs),
        bound,
        check_bool("compile", compile),
        record_dynamics,
        el2n_epoch=None if el2n_epoch is None else check_integer("el2n_epoch", el2n_epoch, 1, epochs),
    )
    if lr is None:
        options = replace(options, lr=default_learning_rate(batch_size))
    factories = resolve_networks(models)
    placement = choose_placement(device, precision)
    check_images(samples)
    dataset = root_dataset(samples)
    recover(dataset)
    refusal: ValueError | None = None
    try:
        key = choose_key(dataset, list(factories), key, overwrite, chosen_scores)
    except ValueError as error:
        # what stands in the way may be this very run, written by a process that was killed before it said so
        written = _written_key(dataset, key, run_dir)
        if written is None or not resume:
            raise
        key, refusal = written, error
    labelled = read_samples(samples, label_field)
    _check_memory(len(labelled), _checked_size(image_size), len(options.measured_epochs) if record_dynamics else 0)
    labelled, images = _read_images(labelled, image_size, cache_images, skip_failures, telling)
    networks: dict[str, str] = {}
    precisions: dict[str, str] = {}
    # a trial, which must not change the random state of the caller
    with torch.random.fork_rng(devices=[]):
        for name, factory in factories.items():
            network = build_network(
                name, factory, len(labelled.classes), images.pixels.shape[3], images.pixels.shape[1]
            )
            networks[name] = _architecture(network)
            precisions[name] = fastest_placement(network, placement).precision

    telling.say(placement.reason)
    if plain := [name for name, precision in precisions.items() if precision != placement.precision]:
        telling.say(f"precision float32 for {', '.join(plain)}, whose depthwise convolutions gain nothing from bf16")
    record_predictions = len(labelled) * len(labelled.classes) <= MOST_PREDICTIONS
    if not record_predictions:
        telling.say(
            f"{len(labelled)} samples of {len(labelled.classes)} classes: the mean predictions would not fit into "
            "memory and are not kept, so that no labels can be suggested and no ambiguity be told"
        )
    settings: dict[str, Any] = {
        "label_field": label_field,
        **{name: value for name, value in asdict(options).items() if name not in _NOT_IN_CONFIG},
        "runs": runs,
        "seed": seed,
        "image_size": images.pixels.shape[1],
        "device": str(placement.device),
        "precision": placement.precision,
        "classes": list(labelled.classes),
        "num_samples": len(labelled),
        "num_unlabelled": labelled.num_unlabelled,
        "num_unreadable": int((~images.readable).sum()),
        # that which is measured, the next one if need be
        "el2n_epoch": next(
            epoch for epoch in options.measured_epochs if epoch >= (options.el2n_epoch or default_el2n_epoch(epochs))
        ),
        "package_version": __version__,
    }
    # what is left out is not learned from
    counts = ("num_unlabelled", "num_unreadable")
    fingerprint = {
        **{name: value for name, value in settings.items() if name not in counts},
        **fingerprint_of(images.pixels, labelled.labels),
        "networks": networks,
        "precisions": precisions,
        "record_dynamics": record_dynamics,
        "torch_version": torch.__version__,
    }
    folder = default_run_directory(dataset, key) if run_dir is None else Path(run_dir)
    about = {"dataset": dataset.name, "key": key}
    with ExitStack() as stack:
        try:
            going_on = resume if refusal is None else True
            store = stack.enter_context(open_run_directory(folder, fingerprint, going_on, about, telling.say))
        except RunMismatchError as error:
            raise refusal or error from None
        if store.resumed and _id_of_run(dataset, key) == store.id:
            # all that was left to do was to tidy up
            found = dict(load_results(dataset, key))
            if not all(map(dataset.has_field, fields_of(list(factories), chosen_scores))):
                add_scores(dataset, list(chosen_scores), list(factories))
            store.remove()
            telling.finish("writing", f"the run {key!r} is written already, by a process that did not come to say so")
            return found
        if store.resumed:
            telling.say(f"going on with the run that an earlier call has left in {store.path}")
        records: dict[str, list[RunRecord]] = {name: [] for name in factories}
        for record in run_in_turn(
            plan_units(list(factories), runs, seed),
            factories,
            TrainingData(images.pixels, labelled.labels, len(labelled.classes)),
            replace(options, record_predictions=record_predictions),
            placement,
            telling,
            store,
            restart_diverged,
        ):
            records[record.model].append(record)
        results = {
            name: ModelResults.from_runs(
                records[name],
                labelled.ids,
                labelled.filepaths,
                labelled.labels,
                labelled.classes,
                {**settings, "precision": precisions[name]},
            )
            for name in factories
        }
        plan = WritePlan(
            dataset=dataset.name,
            dataset_id=str(dataset_id(dataset)),
            key=key,
            settings={**settings, "run_id": store.id},
            overwrite=overwrite,
            scores=list(chosen_scores),
            stages=_stages_of(samples),
            newest=labelled.newest,
        )
        # hours of training must not be lost to a database that is away
        is_saved = store.save_results(results, asdict(plan))
        # whoever may not be interrupted from here on is told before
        telling.report(ProgressEvent("writing", 0.0, "writing the scores"))
        report = _write(samples, results, plan, store.path if is_saved else None, telling.say, again=store.resumed)
        store.remove()
        wrote = f"wrote {', '.join(report.fields)} to {report.num_written} samples; run {key!r}"
        telling.finish("writing", "; ".join((wrote, *report.remarks)))
        return results


def _read_images(
    labelled: LabelledSamples, image_size: int | None, cache_images: bool, skip_failures: bool, telling: Progress
) -> tuple[LabelledSamples, DecodedImages]:
    if labelled.num_unlabelled:
        telling.say(f"samples without a label: {labelled.num_unlabelled}; they are left out, their fields stay None")
    size = _checked_size(image_size)
    filepaths = labelled.filepaths.tolist()
    cached = CachedImages(filepaths, size) if cache_images else None
    images = None if cached is None else cached.load()
    if images is not None:
        telling.finish("images", f"{len(filepaths)} images are in the cache, since an earlier run has read them")
    else:
        with telling.counting("images", len(filepaths), "reading images") as advance:
            images = decode_images(filepaths, size, advance)
        problem = None if cached is None else cached.save(images)
        if problem is not None:
            telling.say(problem)
    # samples may share a file, so that there may be fewer files than samples
    num_unreadable = int((~images.readable).sum())
    if num_unreadable:
        examples = some([f"{shorten(path, 300)}: {shorten(why)}" for path, why in images.failures.items()])
        if not skip_failures:
            raise ValueError(
                f"{num_unreadable} of {len(labelled)} images cannot be read ({examples}); repair or remove their "
                "samples, or leave them out with skip_failures=True"
            )
        telling.say(f"images that cannot be read: {num_unreadable}; they are left out: {examples}")
        labelled = labelled.select(images.readable)
        if len(np.unique(labelled.labels)) < 2:
            raise ValueError("fewer than two classes have images that can be read")
    if images.sizes - {(size, size)}:
        sizes = sorted(images.sizes)
        seen = f"{sizes[0][1]}x{sizes[0][0]}" if len(sizes) == 1 else f"of {len(sizes)} sizes"
        default = "" if image_size else ", the default; image_size changes it"
        telling.say(f"images are {seen} and are resized to {size}x{size} pixels{default}")
    return labelled, images


def _checked_size(image_size: object) -> int:
    if image_size is None:
        return DEFAULT_IMAGE_SIZE
    if not isinstance(image_size, (int, np.integer)) or not 8 <= image_size <= 1024:
        raise ValueError(f"image_size must be a whole number of pixels from 8 to 1024, not {short_repr(image_size)}")
    return int(image_size)


def _check_settings(run_dir: object, resume: object, progress: object) -> None:
    if run_dir is not None and (not isinstance(run_dir, (str, Path)) or "\0" in str(run_dir)):
        raise ValueError(f"run_dir must be the path of a folder, not {short_repr(run_dir)}")
    if resume not in (True, False, "if_same"):
        raise ValueError(f"resume must be True, False or 'if_same', not {short_repr(resume)}")
    if not isinstance(progress, bool) and not callable(progress):
        raise ValueError(f"progress must be True, False or a function, not {short_repr(progress)}")


def _check_memory(count: int, size: int, epochs: int) -> None:
    """Refuses what cannot fit: a process that runs out of memory is killed without a word, perhaps after hours."""
    have = psutil.virtual_memory().total
    images = f"{count} images of {size}x{size} pixels", count * size * size * 3, "choose a smaller image_size"
    curves = (
        f"record_dynamics: {epochs} epochs of {count} samples",
        count * epochs * 2,
        "choose fewer epochs, or switch it off",
    )
    for what, need, advice in (images, curves):
        if need > have:
            raise ValueError(
                f"{what} would take {need / 1e9:,.1f} GB of memory, and this machine has {have / 1e9:,.1f}: {advice}"
            )


def _written_key(dataset: fo.Dataset, key: str | None, run_dir: str | Path | None) -> str | None:
    """The key of a run that is written and has left its directory all the same, None if there is none."""
    from .experiment.run_directory import read_identity

    others = default_run_directory(dataset, "any").parent
    folders = [Path(run_dir)] if run_dir is not None else list(others.glob("*"))
    for identity in filter(None, map(read_identity, folders)):
        id, found = identity
        if key in (None, found) and _id_of_run(dataset, found) == id:
            return found
    return None


def _architecture(network: nn.Module) -> str:
    """A fingerprint of the layers of a network and of the shapes of its weights, not of their values."""
    # some modules print where in memory their functions are
    layers = re.sub(r" at 0x[0-9a-fA-F]+", "", str(network))
    shapes = [(name, tuple(value.shape)) for name, value in network.state_dict().items()]
    return hashlib.blake2b(f"{layers} {shapes}".encode(), digest_size=16).hexdigest()


def default_run_directory(dataset: fo.Dataset, key: str) -> Path:
    """Where a run of a dataset keeps its checkpoints unless told otherwise."""
    from .experiment.files import cache_folder

    # the same key of another dataset, or of one that was deleted and made anew, is another run; one that was renamed is
    # found by its id
    folder = cache_folder()
    known = sorted(folder.glob(f"*-{dataset_id(dataset)}"))
    return (
        known[0] if known else folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', dataset.name)[:80]}-{dataset_id(dataset)}"
    ) / key
