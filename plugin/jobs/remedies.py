"""What the panel says about a failed job, and what it offers to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..names import format_count, in_words_of_the_form

CANCELLED = "Cancelled by user"
ENDED = "The training process ended unexpectedly"
RESUME, SHOW, WITHOUT, CHANGE = "resume", "show", "without", "change"

MOST_KEPT_SAMPLES = 10_000
"""Of how many samples whose images cannot be read a job keeps the ids."""


@dataclass(frozen=True)
class Action:
    """What a user can do about a failed job.

    Attributes:
        name: "resume", "show", "without" or "change"
        label: the label of its button
        icon: the icon of its button
    """

    name: str
    label: str
    icon: str


_RESUME = Action(RESUME, "Resume", "play_arrow")
_SHOW = Action(SHOW, "Show these images", "visibility")
_SHOW_FIRST = Action(SHOW, f"Show the first {format_count(MOST_KEPT_SAMPLES)} of these images", "visibility")
_WITHOUT = Action(WITHOUT, "Run again without them", "skip_next")
_CHANGE = Action(CHANGE, "Change the settings", "tune")


def message_of_traceback(error: str) -> str:
    """Return the message of a traceback, without the name of the exception's class."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    name, separator, message = lines[-1].partition(": ")
    return message if separator and name.replace(".", "").isidentifier() else lines[-1]


def explain_failure(error: str, unreadable: Mapping[str, Any] | None) -> tuple[str, list[Action]]:
    """Explain a failed job in the words of the form.

    Args:
        error: the error of its operation, a message or a traceback
        unreadable: what the job keeps of images that cannot be read, None if it could read all

    Returns:
        why it failed, and what can be done about it
    """
    message = message_of_traceback(error)
    if message == CANCELLED:
        return f"{CANCELLED}. Nothing was written. “Resume” goes on where it stopped.", [_RESUME]
    if unreadable:
        show = _SHOW if unreadable["count"] <= MOST_KEPT_SAMPLES else _SHOW_FIRST
        if unreadable["all"]:
            # without them, nothing is left to train on
            return f"{unreadable['problem']}. Check that their files are where filepath says, and are images.", [show]
        text = f"{unreadable['problem']}. You can repair or remove their files, or run again without them."
        return text, [show, _WITHOUT]
    if message.startswith(ENDED):
        return message, [_RESUME]
    text = in_words_of_the_form(message)
    text = text[:1].upper() + text[1:] if text else "The job failed without a message."
    # the scores are trained, and the same run writes them
    return text, [_RESUME if error.strip().rpartition("\n")[2].partition(":")[0].endswith("WriteError") else _CHANGE]
