"""The call: check -> prepare -> train -> deliver.

torch is imported inside functions, so that the App can import this module without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import fiftyone as fo
import fiftyone.core.collections as foc

from .dataset.registry import id_of_run
from .dataset.runs import load_results
from .delivery import WritePlan, deliver, incidents_of
from .experiment.progress import Progress, ProgressCallback, ProgressEvent
from .experiment.results import ModelResults, RunRecord
from .preparation import Experiment, Request, check, default_run_directory, prepare, with_free_key
from .training.options import Resume, RunSettings

if TYPE_CHECKING:
    from .experiment.run_directory import RunDirectory
    from .training.networks import NetworkFactory


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
    deterministic: bool = False,
    name: str | Sequence[str] | None = None,
    key: str | None = None,
    overwrite: bool = False,
    skip_failures: bool = False,
    scores: str | Sequence[str] | None = None,
    el2n_epoch: int | None = None,
    record_dynamics: bool = True,
    run_dir: str | Path | None = None,
    resume: Resume = True,
    restart_diverged: bool = False,
    progress: bool | ProgressCallback | None = None,
) -> dict[str, ModelResults]:
    """Train networks on labelled images and write onto each sample how easily it is learned.

    After every epoch each network predicts every clean training image in eval mode. The probability of the true label,
    averaged over epochs (and over ``runs`` seeds), is the *learnability* of the sample, its position the *learnability
    rank* (1 = easiest). They are written to the indexed fields ``learnability_<model>`` and
    ``learnability_rank_<model>``, and a run is registered: ``dataset.list_runs()``,
    ``dataset.load_run_results(key).models``, ``dataset.delete_run(key)``. Source: "Sample-wise learnability"
    (arXiv 1901.02347), Eq. 1 and 2.

    With few training steps per epoch the running statistics of batch norms lag behind the weights. They are then
    estimated anew for each measurement, which costs one more pass over the images; a message says so, and
    :mod:`fiftyone_learnability.training.batch_statistics` has the criterion.

    Everything is written at the end, all of it or nothing. Samples without a label are left out and keep None.

    Example::

        import fiftyone as fo
        import fiftyone_learnability as fol

        dataset = fo.load_dataset("cifar10-train")
        results = fol.compute_learnability(dataset, models=["resnet20", "mobilenet"], epochs=50)
        hardest_first = fol.sort_by_learnability(dataset, "resnet20")

    Args:
        samples: a dataset or view of images
        label_field ("ground_truth"): a ``fo.Classification`` field, or a string, int or bool field
        models (("resnet20",)): names of networks: resnet20, vgg16, mobilenet; a network of another library, such as
            "torchvision/resnet18" or "timm/convnext_atto" (untrained); or your own factory, such as
            "mypackage.nets:make_net", which is then imported. Or a mapping of names to factories
            ``factory(num_classes=..., in_channels=...) -> nn.Module``
        epochs (200): T, the training epochs of each network
        runs (1): repeats with the seeds ``seed``, ``seed + 1``, ...; the scores are means over them
        seed (0): the first seed. The same seed, device and settings give the same scores; bit for bit on a CPU, and
            with ``deterministic=True`` on CUDA
        batch_size (128): images per training step
        lr (None): the peak learning rate: SGD warms up to it for two epochs, then follows a cosine to zero. By default
            0.1 at batch size 128, scaled with the batch size
        weight_decay (5e-4): the weight decay
        crop_padding (4): pixels of padding for random crops; 0 turns cropping off
        horizontal_flip (True): flip half of the images at random. Turn it off where a mirrored image means something
            else, as for digits
        image_size (None): height and width in pixels of the training images, by default 32, the size that the three
            networks are made for. Images of another size are resized, with a message; a JPEG at least four times as
            large is decoded at a reduced size, see :func:`fiftyone_learnability.images.decode.decode_images`
        cache_images (True): keep the decoded images, up to 10 GB, in the user's cache, so the next run over the same
            files starts at once. Changed files are decoded again; images are kept only if every file could be read
        device ("auto"): "auto" for the first of cuda, mps and cpu that is available, or a torch device
        precision ("auto"): "auto", "float32" (without TF32), "bf16" or "fp16"; see
            :func:`fiftyone_learnability.training.device.choose_placement`
        measure ("exact"): "exact" shows all clean images to the network after each epoch. "online" takes the
            probabilities from the training pass, of augmented images while the weights change: at no cost, but a
            noisier, different measure; docs/performance.md shows how well the two agree
        measure_every (1): k measures only every k-th epoch and the last, and averages over these
        stop_when_stable (False): True stops each network once the ranking of its first run has settled, and scores the
            epochs up to there; its other runs stop after as many epochs, because means over different numbers of
            epochs cannot be compared. A number between 0 and 1 is the rank correlation at which a ranking has settled,
            in place of :data:`~fiftyone_learnability.training.options.DEFAULT_BOUND`
        compile (False): compile the networks with ``torch.compile``, which takes most of a minute each; a network that
            cannot be compiled is trained uncompiled
        deterministic (False): True gives the same scores bit for bit on CUDA, on the same GPU and versions of torch and
            cuDNN, also after an interruption, at some cost in speed. A CPU does so in any case
        name (None): the name of the scores, in place of that of the network, or one for each of several networks, in
            their order. ``name="resnet20_test"`` writes ``learnability_resnet20_test`` and so on, and all calls know
            the scores by this name. So the scores of one network by other labels, lengths or seeds, of disjoint
            views, or of samples added since can stand side by side
        key (None): the key of the run, by default "learnability", then "learnability_2" and so on
        overwrite (False): replace the fields that runs of this dataset have written for these networks, and a run of
            the same key; a warning names what else that run holds. Copies and renamed fields are yours and stay. If
            samples outside ``samples`` would lose their scores, the call is refused: give ``name``, or delete the run
            first
        skip_failures (False): leave out images that cannot be read, with a message, instead of raising an error
        scores (None): scores to write besides learnability and rank: hits, variability, forgetting, learned_epoch,
            aum, el2n, ambiguity and spread (over runs), or "all". All are measured in any case, at no extra cost, and
            can be written later with :func:`fiftyone_learnability.add_scores`
        el2n_epoch (None): the early epoch at which EL2N is measured, by default a tenth of the epochs
        record_dynamics (True): keep the probability of every sample's label after every epoch, which the App draws as
            learning curves: two bytes per sample, epoch and network, 20 MB for CIFAR-10 and 200 epochs
        run_dir (None): the folder for checkpoints until the scores are written, by default one for the dataset and key
            in the user's cache, see :func:`fiftyone_learnability.storage.runs_folder`
        resume (True): continue a run of the same data and settings that was interrupted; an interrupted run of other
            data or settings is an error. False starts over. "if_same" starts over instead of raising the error if that
            run was also started with "if_same" and is not fully trained
        restart_diverged (False): restart a training that diverges, once, at a quarter of the learning rate, instead of
            raising an error; the run notes it
        progress (None): True shows bars and messages, False nothing, None what ``fo.config.show_progress_bars`` says; a
            callback receives each :class:`~fiftyone_learnability.ProgressEvent`

    Returns:
        the results by network: scores, ranks, ids, learning curves, timing and settings

    Raises:
        TypeError: if an argument has the wrong type
        ValueError: if samples, labels, images or settings cannot be used; raised before any training
        TrainingDivergedError: if a training diverges; nothing is written
        TrainingMemoryError: if the device runs out of memory even with batches in small parts
        WriteError: if the scores cannot be written. The dataset is unchanged, and the results are saved in a folder
            that the message names
    """
    settings = RunSettings.from_arguments(locals())
    reporter = Progress(fo.config.show_progress_bars if progress is None else progress)
    request = check(samples, models, settings)
    experiment = prepare(request, reporter)
    request = with_free_key(request)
    with open_run(request, experiment, reporter) as store:
        if store.resumed and id_of_run(request.target.dataset, request.target.key) == store.id:
            return finish_written_run(request, store, reporter)
        # before the training, during which the dataset may be renamed or deleted
        config = {**experiment.config, "run_id": store.id}
        plan = WritePlan.for_target(request.target, config, experiment.labelled.newest)
        results = train(request, experiment, store, reporter)
        deliver_results(request, plan, results, store, reporter)
        return results


@contextmanager
def open_run(request: Request, experiment: Experiment, reporter: Progress) -> Iterator[RunDirectory]:
    """Open the run directory and hold its lock."""
    from .experiment.run_directory import RunMismatchError, open_run_directory

    target, settings = request.target, request.settings
    default = default_run_directory(target.dataset, target.key)
    folder = default if settings.run_dir is None else Path(settings.run_dir)
    resume = settings.resume if request.clash is None else True
    about = {"dataset": target.dataset.name, "key": target.key}
    with ExitStack() as stack:
        try:
            directory = open_run_directory(folder, experiment.fingerprint, resume, about, reporter.say)
            store = stack.enter_context(directory)
        except RunMismatchError as error:
            raise request.clash or error from None
        yield store


def finish_written_run(request: Request, store: RunDirectory, reporter: Progress) -> dict[str, ModelResults]:
    """Return the results of a run that an earlier process wrote before it was killed, and delete its directory."""
    target = request.target
    results = dict(load_results(target.dataset, target.key))
    if not all(map(target.dataset.has_field, target.fields)):
        from .dataset.additions import add_scores

        add_scores(target.dataset, list(target.scores), list(target.models))
    store.remove()
    reporter.finish("writing", f"the run {target.key!r} was already written by an earlier process")
    return results


def train(request: Request, experiment: Experiment, store: RunDirectory, reporter: Progress) -> dict[str, ModelResults]:
    """Train all networks, or take what an earlier process has trained."""
    from .experiment.units import plan_units, run_in_turn
    from .training.pixels import TrainingData

    if store.resumed:
        reporter.say(f"continuing the unfinished run in {store.path}")
    settings, labelled = experiment.settings, experiment.labelled
    records: dict[str, list[RunRecord]] = {name: [] for name in request.networks}
    for record in run_in_turn(
        plan_units(list(request.networks), settings.runs, settings.seed),
        request.networks,
        TrainingData(experiment.pixels, labelled.labels, len(labelled.classes)),
        settings,
        experiment.placements,
        reporter,
        store,
        settings.restart_diverged,
    ):
        records[record.model].append(record)
    return {
        name: ModelResults.from_runs(
            records[name],
            labelled.ids,
            labelled.filepaths,
            labelled.labels,
            labelled.classes,
            {**experiment.config, "precision": experiment.placements[name].precision},
        )
        for name in request.networks
    }


def deliver_results(
    request: Request, plan: WritePlan, results: dict[str, ModelResults], store: RunDirectory, reporter: Progress
) -> None:
    """Save the results in the run directory, write them onto the dataset, and delete the directory."""
    # hours of training must survive a database that cannot be reached
    is_saved = store.save_results(results, asdict(plan))
    # a background job can no longer be cancelled after this event
    reporter.report(ProgressEvent("writing", 0.0, "writing the scores"))
    folder = store.path if is_saved else None
    report = deliver(request.target.samples, results, plan, folder, reporter.say, may_be_written=store.resumed)
    store.remove()
    wrote = f"wrote {', '.join(report.fields)} to {report.num_written} samples; run {report.key!r}"
    told = incidents_of(results)
    reporter.finish("writing", "; ".join((wrote, *(remark for remark in report.remarks if remark not in told))))
