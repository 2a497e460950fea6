"""The run settings in the App: the form shows them, and reads them with the limits that it shows."""

from __future__ import annotations

import re
from typing import Any

import fiftyone.operators.types as types

from fiftyone_learnability.training.options import RunSettings, Setting, public_settings

from .params import Params, read_bool, read_choice, read_integer, read_number, read_text

FORM_SETTINGS = (
    *("name", "runs", "key", "measure", "measure_every", "stop_when_stable", "batch_size", "lr", "image_size", "seed"),
    *("device", "horizontal_flip", "skip_failures"),
)
"""The settings under "More options", in the order of the form; it asks for labels, epochs and scores elsewhere."""


def add_setting(inputs: types.Object, name: str, **more: Any) -> None:
    """Add the input of a run setting.

    Args:
        inputs: the inputs of the form
        name: the setting
        **more: further arguments of the input, or others in place of those of the setting
    """
    about = public_settings()[name]
    default = None if about.optional else getattr(RunSettings, name)
    # the choices describe themselves
    description = about.help if about.title and not about.choices else None
    label = about.title or about.help
    options: dict[str, Any] = {"default": default, "label": label, "description": description, **more}
    if choices := _choices(about):
        options.setdefault("view", types.DropdownView())
        for choice, text in choices.items():
            options["view"].add_choice(choice, label=f"{choice.capitalize()}: {text}" if text else choice)
        inputs.enum(name, list(choices), **options)
    elif about.kind == "integer":
        inputs.int(name, min=about.least, max=_most(about), **options)
    elif about.kind == "number":
        inputs.float(name, min=about.least, max=_most(about), **options)
    elif about.kind in ("bool", "bound"):
        inputs.bool(name, **options)
    else:
        inputs.str(name, **options)


def read_setting(params: Params, name: str) -> Any:
    """Read a run setting, None if it is not given.

    Args:
        params: the params of the form
        name: the setting

    Raises:
        ValueError: if the value has another type or is outside the limits of the form
    """
    about = public_settings()[name]
    if params.get(name) in (None, ""):
        return None
    if choices := _choices(about):
        return read_choice(params, name, choices, "")
    if about.kind == "integer":
        return read_integer(params, name, about.least, about.least, _most(about))
    if about.kind == "number":
        return read_number(params, name, 0, about.above or 0, _most(about))
    if about.kind in ("bool", "bound"):
        return read_bool(params, name)
    text = read_text(params, name)
    return re.split(r"[\s,]+", text.strip(" ,")) if about.kind == "names" and text else text


def _choices(about: Setting) -> dict[str, str]:
    return dict(about.choices) or dict.fromkeys(about.form_choices, "")


def _most(about: Setting) -> int | None:
    return about.form_most or about.most
