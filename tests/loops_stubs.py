"""Stand-ins for Lightning and transformers, for the examples of docs/training_loops.md.

They follow the documented contract of the hooks and nothing else: names, arguments and how they are passed, the order
of the calls, and what the libraries do to batches and outputs in between.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class LightningModule(nn.Module):
    """https://lightning.ai/docs/pytorch/stable/common/lightning_module.html."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


class Callback:
    """https://lightning.ai/docs/pytorch/stable/api/lightning.pytorch.callbacks.Callback.html."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None: ...

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None: ...

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


class LightningTrainer:
    """Trains with automatic optimisation on one device."""

    world_size = 1

    def __init__(
        self,
        *,
        max_epochs: int,
        callbacks: list[Callback],
        accelerator: str,
        logger: bool,
        enable_checkpointing: bool,
    ) -> None:
        self.max_epochs, self.callbacks = max_epochs, callbacks

    def fit(self, model: LightningModule, train_dataloaders: DataLoader) -> None:
        optimizer = model.configure_optimizers()
        model.train()
        for _ in range(self.max_epochs):
            self._call("on_train_epoch_start", model)
            for batch_idx, batch in enumerate(train_dataloaders):
                outputs = model.training_step(batch, batch_idx)
                optimizer.zero_grad()
                outputs["loss"].backward()
                optimizer.step()
                # hooks get the outputs without their graph
                detached = {name: value.detach() for name, value in outputs.items()}
                self._call("on_train_batch_end", model, detached, batch, batch_idx)
            self._call("on_train_epoch_end", model)
            # as saving and loading a checkpoint would
            for callback in self.callbacks:
                callback.load_state_dict(callback.state_dict())

    def _call(self, hook: str, model: LightningModule, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self, model, *arguments)


class TrainingArguments:
    """https://huggingface.co/docs/transformers/main_classes/trainer."""

    world_size = 1

    def __init__(
        self,
        output_dir: str,
        *,
        num_train_epochs: int,
        per_device_train_batch_size: int,
        remove_unused_columns: bool = True,
        save_strategy: str,
        report_to: list[str],
        use_cpu: bool,
    ) -> None:
        self.num_train_epochs = num_train_epochs
        self.per_device_train_batch_size = per_device_train_batch_size
        self.remove_unused_columns = remove_unused_columns


class TrainerCallback:
    """https://huggingface.co/docs/transformers/main_classes/callback."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None: ...


class HuggingFaceTrainer:
    """https://huggingface.co/docs/transformers/main_classes/trainer."""

    def __init__(
        self, model: nn.Module, args: TrainingArguments, train_dataset: Dataset, callbacks: list[TrainerCallback]
    ) -> None:
        self.model, self.args, self.train_dataset, self.callbacks = model, args, train_dataset, callbacks

    def _collate(self, entries: list[dict[str, Any]]) -> dict[str, Tensor]:
        taken = inspect.signature(self.model.forward).parameters
        if self.args.remove_unused_columns:
            entries = [{name: value for name, value in entry.items() if name in taken} for entry in entries]
        # strings are dropped
        names = [name for name, value in entries[0].items() if not isinstance(value, str)]
        return {name: torch.stack([torch.as_tensor(entry[name]) for entry in entries]) for name in names}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> Any:
        outputs = model(**inputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def train(self) -> None:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-5)
        state, control = object(), object()
        loader = DataLoader(
            self.train_dataset,
            batch_size=self.args.per_device_train_batch_size,
            shuffle=True,
            collate_fn=self._collate,
        )
        for _ in range(self.args.num_train_epochs):
            for inputs in loader:
                self.model.train()
                loss = self.compute_loss(self.model, inputs, num_items_in_batch=len(inputs["labels"]))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            for callback in self.callbacks:
                callback.on_epoch_end(self.args, state, control, model=self.model, train_dataloader=loader)


@contextmanager
def libraries() -> Iterator[None]:
    """Make `lightning` and `transformers` importable: the real packages if installed, or the stand-ins."""
    lightning, transformers = ModuleType("lightning"), ModuleType("transformers")
    vars(lightning).update(LightningModule=LightningModule, Callback=Callback, Trainer=LightningTrainer)
    vars(transformers).update(
        Trainer=HuggingFaceTrainer, TrainerCallback=TrainerCallback, TrainingArguments=TrainingArguments
    )
    missing = [module for module in (lightning, transformers) if find_spec(module.__name__) is None]
    for module in missing:
        sys.modules[module.__name__] = module
    try:
        yield
    finally:
        for module in missing:
            del sys.modules[module.__name__]
