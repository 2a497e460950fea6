"""What the forms of operators have in common."""

from __future__ import annotations

from collections.abc import Mapping

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import find_models

from ..names import network_label

EASIEST, HARDEST = "easiest", "hardest"


class ScoreOperator(foo.Operator):
    """An operator that needs scores: its form says so where there are none."""

    title = ""

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        """The form, or what to do first."""
        inputs = types.Object()
        form = types.Property(inputs, view=types.View(label=self.title))
        problem = self.lacks(ctx)
        if problem:
            inputs.view("lacking", types.Warning(label=problem))
            form.invalid, form.error_message = True, problem
        else:
            self.ask(ctx, inputs, form)
        return form

    def lacks(self, ctx: foo.ExecutionContext) -> str | None:
        """What is missing, None if nothing is."""
        return (
            None
            if find_models(ctx.dataset, derived=True)
            else "There are no scores yet: run “Compute learnability” first"
        )

    def ask(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Adds the fields of the form."""


def ask_model(
    ctx: foo.ExecutionContext, inputs: types.Object, name: str, label: str, default: str | None = None
) -> None:
    """Asks for a network with scores, or the consensus.

    Args:
        ctx: the context of the form
        inputs: the form
        name: the name of the param
        label: what it is called
        default (None): what is chosen at first, by default the first network
    """
    models = types.DropdownView()
    for model in find_models(ctx.dataset, derived=True):
        models.add_choice(model, label=network_label(model))
    inputs.enum(name, models.values(), default=default or models.values()[0], required=True, label=label, view=models)


def ask_several(
    inputs: types.Object, name: str, label: str, choices: Mapping[str, str], default: list[str], description: str = ""
) -> None:
    """Asks for some of several choices.

    Args:
        inputs: the form
        name: the name of the param
        label: what it is called
        choices: what each choice is called
        default: what is chosen at first
        description (""): what more there is to say
    """
    view = types.DropdownView(multiple=True)
    for value, text in choices.items():
        view.add_choice(value, label=text)
    inputs.list(
        name, types.String(), default=default, required=True, label=label, description=description or None, view=view
    )


def ask_overwrite(ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property, label: str, what: str) -> None:
    """Says what would be replaced, and has it ticked.

    Args:
        ctx: the context of the form
        inputs: the form
        form: what cannot be submitted unless it is ticked
        label: the warning
        what: what would be replaced
    """
    inputs.view("replaces", types.Warning(label=label, description=f"This would replace {what}"))
    inputs.bool("overwrite", default=False, label="Replace them")
    if ctx.params.get("overwrite") is not True:
        refuse(form, "Tick “Replace them” to go on")


def refuse(form: types.Property, why: str) -> None:
    """Has a form not be submitted."""
    form.invalid, form.error_message = True, why


def networks_named(models: list[str]) -> dict[str, str]:
    """The networks and their names for people."""
    return {model: network_label(model) for model in models}
