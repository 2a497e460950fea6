"""The scores by name: what each measures, which end is hard, and the values it can take.

Fields, tables, forms and plots speak of scores by these names; what they say of them stands here once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A difficulty score.

    Attributes:
        name: its name in tables, fields and files
        title: its name for people
        description: one line that says what it is
        hard_when_low: whether low values are the hard ones
        limits: the least and largest value, None where there is no limit
        whole: whether its values are whole numbers in a single run
        derived: whether it is made of the scores of several networks rather than measured in a training
    """

    name: str
    title: str
    description: str
    hard_when_low: bool
    limits: tuple[float | None, float | None] = (None, None)
    whole: bool = False
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
        Score("rank", "Rank", "position by learnability, 1 = easiest", False, (1.0, None), whole=True),
        Score("hits", "Hits", "share of epochs after which the label is predicted; 1 = easiest", True, (0.0, 1.0)),
        Score(
            "variability",
            "Variability",
            "standard deviation over epochs of the probability of the true label; 0 = steady",
            False,
            (0.0, 0.5),
        ),
        Score(
            "forgetting",
            "Forgetting",
            "how often a hit was followed by a miss; infinite = never predicted",
            False,
            (0.0, None),
            whole=True,
        ),
        Score(
            "learned_epoch",
            "Learned epoch",
            "first epoch from which on the label is always predicted; one above the last = never",
            False,
            (1.0, None),
            whole=True,
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
            "entropy in nats of the mean prediction; 0 = decided, for the label or against it",
            False,
            (0.0, None),
        ),
        Score("spread", "Spread", "standard deviation of learnability over runs; 0 = agreed", False, (0.0, None)),
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
"""All scores, in the order in which they are offered."""

DEFAULT_SCORES = ("learnability", "rank")
"""The scores that every run writes."""

MEASURED_SCORES = tuple(name for name, score in SCORES.items() if not score.derived)
"""The scores that training measures, in the order of the catalog."""

OPTIONAL_SCORES = tuple(name for name in MEASURED_SCORES if name not in DEFAULT_SCORES)
"""The scores that a run writes on request."""


def is_reserved(model: str) -> bool:
    """Whether the fields of a network of this name would clash with others of this package.

    Args:
        model: the name of the network
    """
    # the score "hits" of a network "a" stands in the field that the learnability of a network "a_hits" would have
    if any(model.endswith(f"_{score}") for score in SCORES):
        return True
    return model.startswith("rank_") or model in ("consensus", "disagreement", "suggestion", "contradiction", "verdict")


def choose_scores(names: object, runs: int = 1) -> tuple[str, ...]:
    """The scores of some names, with learnability and rank, which everything else refers to.

    Args:
        names: names of scores, "all", or None for the default
        runs (1): the runs there will be; the spread over runs needs two

    Returns:
        the names in the order of :data:`SCORES`

    Raises:
        ValueError: if a name is unknown, or the spread of a single run is asked for
    """
    if names is None:
        return DEFAULT_SCORES
    every = [name for name in MEASURED_SCORES if name != "spread" or runs > 1]
    asked = [names] if isinstance(names, str) else names
    if not isinstance(asked, (list, tuple, set, frozenset)):
        raise ValueError(f"scores must be a list of names or 'all', not {names!r}")
    if "all" in asked:
        asked = [*every, *(name for name in asked if name != "all")]
    for name in asked:
        if name not in MEASURED_SCORES:
            raise ValueError(f"unknown score {name!r}: choose from {', '.join(MEASURED_SCORES)}")
    if "spread" in asked and runs < 2:
        raise ValueError("the spread is that of several runs: ask for runs=2 or more")
    return tuple(name for name in SCORES if name in DEFAULT_SCORES or name in asked)
