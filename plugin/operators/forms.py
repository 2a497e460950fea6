"""Code that the operators' forms share."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
import fiftyone.operators.types as types
from fiftyone.operators.executor import ExecutionResult
from fiftyone.operators.message import GeneratedMessage, MessageType

from fiftyone_learnability import find_models
from fiftyone_learnability.dataset.evidence import find_unlearned
from fiftyone_learnability.dataset.registry import describe_no_run, find_run
from fiftyone_learnability.dataset.scored import describe_no_scores

from ..names import format_count, in_words_of_the_form, network_label
from .params import read_bool, read_choice

EASIEST, HARDEST = "easiest", "hardest"
KEEP, REPLACE = "keep", "replace"

logger = logging.getLogger(__name__)


class ScoreOperator(foo.Operator):
    """An operator over a dataset with scores; without them, its form says what to do first.

    A subclass sets ``config`` and ``verb``, and defines :meth:`add_inputs` and :meth:`run`. In the App, an error that
    explains itself is shown as one plain sentence. Callers from Python, and background jobs, get the exception.

    Attributes:
        verb: the label of the submit button
    """

    verb = "Run"

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property | None:
        """Build the form, or say what is missing; a background job has no form, and fails with the full message."""
        if ctx.delegated:
            return None
        inputs = types.Object()
        view = types.PromptView(label=self.config.label, submit_button_label=self.submit_label(ctx))
        form = types.Property(inputs, view=view)
        try:
            if problem := self.missing(ctx):
                inputs.view("missing", types.Warning(label=problem))
                hold(inputs, problem)
            else:
                self.add_inputs(ctx, inputs)
        except Exception as error:
            if not explains_itself(error):
                raise
            show_error(inputs, error)
        return form

    def execute(self, ctx: foo.ExecutionContext) -> Any:
        """Run the operator.

        Returns:
            what :meth:`run` returns; in the App, ``{"error": ...}`` if that failed

        Raises:
            ValueError: if something is missing, or a param is invalid
        """
        if self.config.execute_as_generator:
            return self._generate(ctx)
        try:
            self._check(ctx)
            return self.run(ctx)
        except Exception as error:
            if not _is_for_the_app(ctx, error):
                raise
            ctx.ops.notify(explain(error), variant="error")
            return {"error": explain(error)}

    def _generate(self, ctx: foo.ExecutionContext) -> Iterator[Any]:
        """Pass on the events of :meth:`run`; in the App, end with the sentence of an error in place of the error."""
        try:
            self._check(ctx)
            yield from self.run(ctx)
        except Exception as error:
            if not _is_for_the_app(ctx, error):
                raise
            yield ctx.ops.notify(explain(error), variant="error")
            failed = ExecutionResult(result={"error": explain(error)})
            yield GeneratedMessage(MessageType.SUCCESS, cls=ExecutionResult, body=failed)

    def _check(self, ctx: foo.ExecutionContext) -> None:
        if problem := self.missing(ctx):
            raise ValueError(problem)

    def resolve_output(self, ctx: foo.ExecutionContext) -> types.Property | None:
        """Show why the operator failed, None if it did not."""
        results = ctx.results or {}
        # the App wraps the result of a generator once more
        results = results.get("result") or results
        if not isinstance(results, dict) or not results.get("error"):
            return None
        outputs = types.Object()
        outputs.view("failed", types.Error(label="This did not work", description=str(results["error"])))
        return types.Property(outputs, view=types.View(label=self.config.label))

    def submit_label(self, ctx: foo.ExecutionContext) -> str:
        """Return the label of the submit button."""
        return self.verb

    def missing(self, ctx: foo.ExecutionContext) -> str | None:
        """Say what the operator needs and the dataset lacks; None if nothing."""
        if find_models(ctx.dataset, derived=True):
            return None
        return sentence(describe_no_scores(ctx.dataset))

    def add_inputs(self, ctx: foo.ExecutionContext, inputs: types.Object) -> None:
        """Add the inputs to the form."""
        raise NotImplementedError

    def run(self, ctx: foo.ExecutionContext) -> Any:
        """Read the params, which can differ from what the form allows, and do the work."""
        raise NotImplementedError


def is_in_app(ctx: foo.ExecutionContext) -> bool:
    """True if a page of the App is waiting for the answer; False for a call from Python, and in a background job."""
    # the App's server needs the operator's name in each request; ``execute_operator`` takes it as an argument
    return "operator_uri" in ctx.request_params and not ctx.delegated


def explains_itself(error: Exception) -> bool:
    """True if an error says to users what they can do: an input that cannot be used, a file, or one of ours."""
    return isinstance(error, (ValueError, OSError)) or type(error).__module__.startswith("fiftyone_learnability")


def explain(error: Exception) -> str:
    """Return an error as a sentence in the words of the forms."""
    return sentence(in_words_of_the_form(str(error)))


def _is_for_the_app(ctx: foo.ExecutionContext, error: Exception) -> bool:
    if not is_in_app(ctx) or not explains_itself(error):
        return False
    logger.info("shown in the App: %s", error, exc_info=error)
    return True


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
            label=f"{network_label(model)} {problem}", description="Its scores may say nothing about the samples"
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


def require_overwrite(ctx: foo.ExecutionContext, inputs: types.Object, label: str, replaced: str) -> None:
    """Warn of what would be replaced, and refuse the form until its user agrees.

    Args:
        ctx: the context of the form
        inputs: the inputs of the form
        label: the title of the warning
        replaced: what would be replaced
    """
    inputs.view("replaces", types.Warning(label=label, description=f"This would replace {replaced}"))
    inputs.bool("overwrite", default=False, label="Replace them")
    if ctx.params.get("overwrite") is not True:
        hold(inputs, "Tick “Replace them” to continue")


def add_existing_input(inputs: types.Object, existing: list[str], names: list[str]) -> None:
    """Ask what becomes of scores that exist: they stay beside the new ones, or are replaced.

    Args:
        inputs: the inputs of the form
        existing: the fields that exist
        names: the names that the new scores would get
    """
    view = types.RadioGroup(orientation="vertical")
    view.add_choice(KEEP, label="Keep both", description=f"The new scores are called {' and '.join(names)}")
    view.add_choice(REPLACE, label="Replace", description=f"The old values of {', '.join(existing)} are lost")
    inputs.enum(
        "existing", view.values(), default=KEEP, required=True, label="There are scores of this name already", view=view
    )


def read_existing(params: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether new scores get other names than existing ones, and whether they replace them.

    Args:
        params: the params of a form with :func:`add_existing_input`, or of a caller that gives ``overwrite``

    Raises:
        ValueError: if a param is invalid
    """
    existing = None if params.get("existing") is None else read_choice(params, "existing", (KEEP, REPLACE), KEEP)
    return existing == KEEP, existing == REPLACE or read_bool(params, "overwrite")


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


def refuse(shown: types.Property, reason: str) -> None:
    """Mark an input as invalid, which disables the submit button and shows the reason in red.

    Args:
        shown: the input
        reason: why, as its users and SDK callers see it
    """
    shown.invalid, shown.error_message = True, reason


def hold(inputs: types.Object, reason: str) -> None:
    """Disable the submit button of a form whose user has to answer something first, without anything in red.

    Args:
        inputs: the inputs of the form
        reason: what is missing; the App shows it beside the mouse on the button
    """
    refuse(inputs.view("unanswered", types.HiddenView()), reason)


def show_error(inputs: types.Object, error: Exception) -> None:
    """Show what is wrong once, at the input that the message begins with, else at the end of the form.

    Args:
        inputs: the inputs of the form
        error: what is wrong
    """
    message = str(error)
    name = re.match(r"\w*", message).group()  # type: ignore[union-attr]
    shown = inputs.properties.get(name)
    if shown is not None:
        text = in_words_of_the_form(message[len(name) :].lstrip(": "))
        refuse(shown, text[:1].upper() + text[1:])
        return
    inputs.view("wrong", types.Error(label=explain(error)))
    hold(inputs, message)


def find_lost_run(dataset: fo.Dataset) -> str | None:
    """Say that a network's scores are here but not its run; None if all networks have their runs."""
    lost = [model for model in find_models(dataset) if find_run(dataset, model) is None]
    return sentence(describe_no_run(dataset, lost[0])) if lost else None


def sentence(text: str) -> str:
    """Return a message of the package as a sentence of a form: with a capital letter first, unless that is a name's."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text


def label_networks(models: list[str]) -> dict[str, str]:
    """Return the label of each network."""
    return {model: network_label(model) for model in models}


def quote_fields(fields: list[str]) -> str:
    """Return field names as Markdown code."""
    return ", ".join(f"`{field}`" for field in fields)


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun, such as "1 sample" or "2,000 samples"."""
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"
