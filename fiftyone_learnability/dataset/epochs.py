"""Names networks whose scores are means over different numbers of epochs, where they are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import fiftyone.core.collections as foc

from ..experiment.results import ModelResults
from .notes import note_of, score_field


def differing_epochs(samples: foc.SampleCollection, models: Sequence[str]) -> list[str]:
    """Return a sentence if networks are scored over different numbers of epochs.

    Networks with early stopping, or computed with other ``epochs``, are. Imported scores have no epochs.

    Args:
        samples: a dataset or view with scores
        models: the networks

    Returns:
        no or one sentence
    """
    return _describe({model: note_of(samples.get_field(score_field(model))).epochs for model in models})


def differing_epochs_of(results: Mapping[str, ModelResults]) -> list[str]:
    """Return a sentence if networks are scored over different numbers of epochs, like :func:`differing_epochs`."""
    return _describe({model: result.train_loss.shape[1] for model, result in results.items()})


def _describe(epochs: Mapping[str, int | None]) -> list[str]:
    known = {model: count for model, count in epochs.items() if count}
    if len(set(known.values())) < 2:
        return []
    counts = ", ".join(f"{model} over {count}" for model, count in known.items())
    return [
        f"learnability is a mean over different numbers of epochs: {counts}. It grows with the epochs, so compare "
        "ranks rather than values, or compute the networks with the same epochs"
    ]
