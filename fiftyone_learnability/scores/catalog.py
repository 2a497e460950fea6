"""The catalog of scores: names, titles and descriptions, which end is hard, and the range of values.

Fields, tables, forms, plots and the command line take all of this from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .checks import LONGEST_NAME, short_repr


@dataclass(frozen=True)
class Score:
    """A difficulty score.

    Attributes:
        name: the name in tables, fields and files
        title: the name that the App shows
        description: one line that explains the score
        hard_when_low: True if low values are hard
        limits: the smallest and largest possible value, None where there is no limit
        is_integer: True if the values of a single run are integers
        derived: True if the score is computed from the scores of several networks, not measured in training
    """

    name: str
    title: str
    description: str
    hard_when_low: bool
    limits: tuple[float | None, float | None] = (None, None)
    is_integer: bool = False
    derived: bool = False


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(
            "learnability",
            "Learnability",
            "mean probability of the true label after each epoch; 1 = easiest",
            True,
            (0.0, 1.0),
        ),
        Score("rank", "Rank", "position by learnability, 1 = easiest", False, (1.0, None), is_integer=True),
        Score("hits", "Hits", "share of epochs after which the label is predicted; 1 = easiest", True, (0.0, 1.0)),
        Score(
            "variability",
            "Variability",
            "standard deviation over epochs of the probability of the true label; 0 = constant",
            False,
            (0.0, 0.5),
        ),
        Score(
            "forgetting",
            "Forgetting",
            "how often a hit was followed by a miss; infinite = never predicted",
            False,
            (0.0, None),
            is_integer=True,
        ),
        Score(
            "learned_epoch",
            "Learned epoch",
            "first epoch from which on the label is always predicted; last epoch + 1 = never",
            False,
            (1.0, None),
            is_integer=True,
        ),
        Score(
            "aum",
            "AUM",
            "area under the margin: mean of the label's logit minus the largest other logit; negative = contradicted",
            True,
        ),
        Score(
            "el2n",
            "EL2N",
            "length of the error vector early in training; 0 = easiest",
            False,
            (0.0, 2**0.5),
        ),
        Score(
            "ambiguity",
            "Ambiguity",
            "entropy in nats of the mean prediction; 0 = certain, for the label or against it",
            False,
            (0.0, None),
        ),
        Score(
            "spread", "Spread", "standard deviation of learnability over runs; 0 = all runs agree", False, (0.0, None)
        ),
        Score(
            "disagreement",
            "Disagreement",
            "standard deviation over networks of standardized learnability; 0 = all agree",
            False,
            (0.0, None),
            derived=True,
        ),
    )
}
"""All scores by name, in the order in which tables and forms list them."""

DEFAULT_SCORES = ("learnability", "rank")
"""The scores that every run writes."""

MEASURED_SCORES = tuple(name for name, score in SCORES.items() if not score.derived)
"""The scores that training measures, in the order of the catalog."""

OPTIONAL_SCORES = tuple(name for name in MEASURED_SCORES if name not in DEFAULT_SCORES)
"""The scores that a run writes on request."""


def is_reserved(model: str) -> bool:
    """Tell whether the fields of a network with this name would clash with other fields of this package.

    Args:
        model: the name of the network
    """
    # a network "a_hits" would keep its learnability in the field of the score "hits" of a network "a"
    if any(model.endswith(f"_{score}") for score in SCORES):
        return True
    return model.startswith("rank_") or model in ("consensus", "disagreement", "suggestion", "contradiction", "verdict")


def check_network_name(name: str) -> None:
    """Check that a network can have this name, which becomes part of the names of fields and files.

    Raises:
        ValueError: if it cannot
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name, re.IGNORECASE | re.ASCII):
        raise ValueError(f"the name {short_repr(name)} of a network must consist of letters, digits and underscores")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name {short_repr(name)} of a network is too long: at most {LONGEST_NAME} letters")
    if is_reserved(name):
        raise ValueError(f"the name {name!r} of a network would clash with fields of this package: choose another one")


def choose_scores(names: object, runs: int = 1) -> tuple[str, ...]:
    """Complete and check the scores that a run shall write. Learnability and rank are always among them.

    Args:
        names: one or several names of scores, "all", or None for the default
        runs (1): the number of runs; the spread needs at least two

    Returns:
        the names in the order of :data:`SCORES`

    Raises:
        ValueError: if a name is unknown, or the spread is requested for a single run
    """
    if names is None:
        return DEFAULT_SCORES
    available = [name for name in MEASURED_SCORES if name != "spread" or runs > 1]
    requested = [names] if isinstance(names, str) else names
    if not isinstance(requested, (list, tuple, set, frozenset)):
        raise ValueError(f"scores must be a list of names or 'all', not {names!r}")
    if "all" in requested:
        requested = [*available, *(name for name in requested if name != "all")]
    for name in requested:
        if name not in MEASURED_SCORES:
            raise ValueError(f"unknown score {name!r}: choose from {', '.join(MEASURED_SCORES)}")
    if "spread" in requested and runs < 2:
        raise ValueError("the score 'spread' compares several runs: set runs=2 or more")
    return tuple(name for name in SCORES if name in DEFAULT_SCORES or name in requested)
