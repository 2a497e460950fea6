"""Code that the operators' forms share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import find_models
from fiftyone_learnability.dataset.evidence import find_unlearned
from fiftyone_learnability.dataset.registry import describe_no_run, find_run
from fiftyone_learnability.dataset.scored import describe_no_scores

from ..names import format_count, network_label

EASIEST, HARDEST = "easiest", "hardest"


class ScoreOperator(foo.Operator):
    """An operator over a dataset with scores; without them, its form says what to do first.

    A subclass sets ``config`` and ``verb``, and defines :meth:`add_inputs` and :meth:`run`.

    Attributes:
        verb: the label of the submit button
    """

    verb = "Execute"

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        """Build the form, or say what is missing."""
        inputs = types.Object()
        view = types.View(label=self.config.label, submit_button_label=self.submit_label(ctx))
        form = types.Property(inputs, view=view)
        if problem := self.missing(ctx):
            inputs.view("missing", types.Warning(label=problem))
            refuse(form, problem)
        else:
            self.add_inputs(ctx, inputs, form)
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        """Run the operator.

        Raises:
            ValueError: if something is missing, or a param is invalid
        """
        if problem := self.missing(ctx):
            raise ValueError(problem)
        return self.run(ctx)

    def submit_label(self, ctx: foo.ExecutionContext) -> str:
        """Return the label of the submit button."""
        return self.verb

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Say what the operator needs and the dataset lacks; None if nothing."""
        if find_models(ctx.dataset, derived=True):
            return None
        return sentence(describe_no_scores(ctx.dataset))

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property) -> None:
        """Add the inputs to the form."""
        raise NotImplementedError

    def run(self, ctx: foo.ExecutionContext) -> Any:
        """Read the params, which can differ from what the form allows, and do the work."""
        raise NotImplementedError


def add_model_input(
    ctx: foo.ExecutionContext, inputs: types.Object, name: str, label: str, default: str | None = None
) -> None:
    """Add a dropdown of the networks with scores, and of the consensus.

    Args:
        ctx: the context of the form
        inputs: the inputs of the form
        name: the param
        label: its label
        default (None): the network chosen at first; by default the first one that learned something
    """
    models = types.DropdownView()
    for model in find_models(ctx.dataset, derived=True):
        models.add_choice(model, label=network_label(model))
    default = default or preferred_networks(ctx.dataset, derived=True)[0]
    inputs.enum(name, models.values(), default=default, required=True, label=label, view=models)
    chosen = ctx.params.get(name) or default
    for model, problem in find_unlearned(ctx.dataset, [chosen] if chosen in models.values() else []).items():
        about = types.Warning(
            label=f"{network_label(model)} {problem}", description="Its scores say nothing about the samples"
        )
        inputs.view(f"unlearned_{name}", about)


def preferred_networks(dataset: fo.Dataset, derived: bool = False) -> list[str]:
    """Return the networks with scores, those that did not learn clearly more than chance last.

    Args:
        dataset: the dataset
        derived (False): whether to include the consensus
    """
    models = find_models(dataset, derived)
    unlearned = find_unlearned(dataset, models)
    return sorted(models, key=lambda model: model in unlearned)


def add_list_input(
    inputs: types.Object, name: str, label: str, choices: Mapping[str, str], default: list[str], description: str = ""
) -> None:
    """Add a dropdown in which several values can be chosen.

    Args:
        inputs: the inputs of the form
        name: the param
        label: its label
        choices: the label of each value
        default: the values chosen at first
        description (""): the text under it
    """
    view = types.DropdownView(multiple=True)
    for value, text in choices.items():
        view.add_choice(value, label=text)
    inputs.list(
        name, types.String(), default=default, required=True, label=label, description=description or None, view=view
    )


def add_radio_input(inputs: types.Object, name: str, label: str, choices: Mapping[str, str]) -> None:
    """Add radio buttons side by side; the first one is chosen at first.

    Args:
        inputs: the inputs of the form
        name: the param
        label: its label
        choices: the label of each value
    """
    view = types.RadioGroup(orientation="horizontal")
    for value, text in choices.items():
        view.add_choice(value, label=text)
    inputs.enum(name, view.values(), default=view.values()[0], required=True, label=label, view=view)


def require_overwrite(
    ctx: foo.ExecutionContext, inputs: types.Object, form: types.Property, label: str, replaced: str
) -> None:
    """Warn of what would be replaced, and refuse the form until its user agrees.

    Args:
        ctx: the context of the form
        inputs: the inputs of the form
        form: the form
        label: the title of the warning
        replaced: what would be replaced
    """
    inputs.view("replaces", types.Warning(label=label, description=f"This would replace {replaced}"))
    inputs.bool("overwrite", default=False, label="Replace them")
    if ctx.params.get("overwrite") is not True:
        refuse(form, "Tick “Replace them” to continue")


def warn_of_unlearned(inputs: types.Object, problems: Mapping[str, str], chosen: Collection[str]) -> None:
    """Warn in a form of networks that did not learn clearly more than chance.

    Args:
        inputs: the inputs of the form
        problems: by network why it is no evidence
        chosen: the networks that the form will use
    """
    for model, problem in problems.items():
        outcome = "You have chosen it nevertheless" if model in chosen else "It is left out unless you choose it"
        inputs.view(f"unlearned_{model}", types.Warning(label=f"{network_label(model)} {problem}", description=outcome))


def refuse(form: types.Property, reason: str) -> None:
    """Disable the submit button of a form.

    Args:
        form: the form
        reason: why, as its users and SDK callers see it
    """
    form.invalid, form.error_message = True, reason


def show_error(inputs: types.Object, form: types.Property, error: ValueError) -> None:
    """Show an invalid param in the form, and disable its submit button."""
    inputs.view("wrong", types.Error(label=str(error)))
    refuse(form, str(error))


def find_lost_run(dataset: fo.Dataset) -> str | None:
    """Say that a network's scores are here but not its run; None if all networks have their runs."""
    lost = [model for model in find_models(dataset) if find_run(dataset, model) is None]
    return sentence(describe_no_run(dataset, lost[0])) if lost else None


def sentence(text: str) -> str:
    """Return a message of the package as a sentence of a form: it begins with a capital letter."""
    return text[:1].upper() + text[1:]


def label_networks(models: list[str]) -> dict[str, str]:
    """Return the label of each network."""
    return {model: network_label(model) for model in models}


def quote_fields(fields: list[str]) -> str:
    """Return field names as Markdown code."""
    return ", ".join(f"`{field}`" for field in fields)


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 sample" or "2,000 samples"."""
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"
