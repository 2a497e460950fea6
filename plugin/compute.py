"""The operator that trains networks over the current dataset or view and writes learnability onto its samples."""

from __future__ import annotations

from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from fiftyone_learnability import ProgressEvent, compute_learnability
from fiftyone_learnability.dataset.samples import find_label_fields

MODELS = {"resnet20": "ResNet-20", "vgg16": "VGG-16", "mobilenet": "MobileNet"}


class ComputeLearnability(foo.Operator):
    """Trains networks over images and writes learnability and rank onto the samples."""

    @property
    def config(self) -> foo.OperatorConfig:
        """What FiftyOne needs to know of the operator."""
        return foo.OperatorConfig(
            name="compute_learnability",
            label="Compute learnability",
            description="Train networks on the images and score how easily each one is learned",
            icon="model_training",
            dynamic=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            risk_level=types.RiskLevel.MEDIUM,
        )

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        """The form: what to train on what, for how long, and whether scores may be replaced."""
        inputs = types.Object()
        fields = find_label_fields(ctx.target_view())
        if not fields:
            inputs.view(
                "nothing",
                types.Error(
                    label="No labels to learn",
                    description="The dataset has no Classification, string, int or bool field",
                ),
            )
            return types.Property(inputs, view=types.View(label="Compute learnability"))
        default = "ground_truth" if "ground_truth" in fields else fields[0]
        inputs.enum("label_field", fields, default=default, required=True, label="Labels")
        models = types.DropdownView(multiple=True)
        for name, label in MODELS.items():
            models.add_choice(name, label=label)
        inputs.list("models", types.String(), default=["resnet20"], required=True, label="Networks", view=models)
        inputs.int("epochs", default=200, min=1, required=True, label="Epochs")
        inputs.bool("overwrite", default=False, label="Replace existing scores of these networks")
        return types.Property(inputs, view=types.View(label="Compute learnability"))

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        """Trains, then writes."""

        def progress(event: ProgressEvent) -> None:
            ctx.set_progress(event.fraction, event.message)

        results = compute_learnability(
            ctx.target_view(),
            ctx.params.get("label_field", "ground_truth"),
            ctx.params.get("models", ["resnet20"]),
            epochs=ctx.params.get("epochs", 200),
            overwrite=ctx.params.get("overwrite", False),
            progress=progress,
        )
        if not ctx.delegated:
            ctx.trigger("reload_dataset")
        return {"models": list(results), "samples": next(iter(results.values())).num_samples}
