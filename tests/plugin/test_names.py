"""Messages in the words of the form."""

from __future__ import annotations

import pytest

from plugin.names import in_words_of_the_form


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("leave them out with skip_failures=True", "leave them out with “Leave out images that cannot be read”"),
        ("choose a smaller image_size", "choose a smaller “Image size in pixels”"),
        ("give another name with name=, or replace it", "give another name with “Name”, or replace it"),
        ("replace it with overwrite=True", "replace it with “Replace”"),
        ("try lr=0.025, or fewer epochs", "try “Learning rate” 0.025, or fewer epochs"),
        # ordinary words, and the names of fields
        ("the key of the run, its name and device", "the key of the run, its name and device"),
        ("the field 'image_size' is read-only", "the field 'image_size' is read-only"),
        ("my_image_size=3", "my_image_size=3"),
    ],
)
def test_arguments_are_named_as_the_form_does(message: str, words: str) -> None:
    assert in_words_of_the_form(message) == words
