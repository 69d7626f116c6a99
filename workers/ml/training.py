"""The training loop: steps, validation, checkpoints, early stopping, from packed groups on.

Knows token ids and a model with an adapter; no text, no dataset format, no job. What it reports
goes to a `Reporter`, which the job's context satisfies.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from peft import PeftModel

from core.errors import JobFailure
from workers.ml import memory
from workers.ml.checkpointing import (
    Position,
    adapter_weights,
    load_adapter_weights,
    read_state,
    write_state,
)
from workers.ml.hyperparameters import EarlyStopping
from workers.ml.lora import trainable_parameters
from workers.ml.lower import LowerStates, first_adapted_layer, kept_bytes
from workers.ml.module import TrainingModule
from workers.ml.optimisation import make_optimizer, make_schedule
from workers.ml.packing import Example, groups_of

LOWER_SHARE = 0.2  # of the free memory that may hold the output of layers below the adapter


class Reporter(Protocol):
    def progress(self, step: int, total: int, **figures: Any) -> None: ...
    def metric(self, step: int, **values: float) -> None: ...
    def event(self, message: str, *, level: str = "info", **data: Any) -> None: ...
    def checkpoint(self, step: int, write: Callable[[Path], None], **metrics: float) -> None: ...
    def stop_requested(self) -> str | None: ...
    def check(self) -> None: ...


@dataclass(frozen=True)
class Plan:
    """A training with every "auto" resolved. `save_seconds`: a validation and a checkpoint come at
    each epoch's end, and after so long without one; `save_steps`, if set, instead of both."""

    epochs: float
    batch_size: int
    micro_batch: int
    learning_rate: float
    schedule: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    precision: str
    save_seconds: float
    save_steps: int | None
    early_stopping: EarlyStopping | None
    seed: int
    share_prefix: bool = True


class Training:
    """One run over `examples`; `run` returns its figures, with the best adapter in the model."""

    def __init__(
        self,
        model: PeftModel,
        examples: Sequence[Example],
        validation: Sequence[Example],
        plan: Plan,
        *,
        reporter: Reporter,
        device: str,
        resolved: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.examples, self.validation = model, examples, validation
        self.plan, self.reporter, self.device = plan, reporter, device
        self.resolved = resolved or {}
        self.batches_per_epoch = math.ceil(len(examples) / plan.batch_size)
        self.total_steps = max(1, math.ceil(plan.epochs * self.batches_per_epoch))
        self.position, self.best = Position(), None
        self.losses: list[float] = []
        self._prepare()

    def _prepare(self) -> None:
        plan = self.plan
        fp16 = plan.precision == "fp16"
        self.accelerator = Accelerator(
            mixed_precision="fp16" if fp16 else "no", cpu=self.device == "cpu"
        )
        self.parameters = trainable_parameters(self.model)
        optimizer = make_optimizer(
            self.parameters, learning_rate=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.schedule = make_schedule(
            optimizer,
            schedule=plan.schedule,
            warmup_ratio=plan.warmup_ratio,
            total_steps=self.total_steps,
        )
        # The base model lies on its device already, in 8 bit perhaps: it must not be moved.
        self.module, self.optimizer = self.accelerator.prepare(
            TrainingModule(self.model), optimizer, device_placement=[False, True]
        )
        self.parts = {"optimizer": self.optimizer, "schedule": self.schedule}
        if self.accelerator.scaler is not None:
            self.parts["scaler"] = self.accelerator.scaler

    def _keep_lower_states(self) -> None:
        """Where only the last layers are adapted, and there is room, the others run once."""
        first = first_adapted_layer(self.model)
        share = self.plan.share_prefix
        size = kept_bytes(
            self.examples,
            self.model.config.hidden_size,
            self.model.dtype.itemsize,
            share_prefix=share,
        )
        if not first or size > LOWER_SHARE * memory.available(self.device):
            return
        lower = LowerStates(self.model, self.examples, first=first, share_prefix=share)
        for group in self._groups(self.examples):
            self.reporter.check()
            lower.fill(group.to(self.device))
        self.accelerator.unwrap_model(self.module).lower = lower
        self.reporter.event(f"the lowest {first} layers are run once: {size / 1e6:.0f} MB kept")

    def resume(self, directory: Path) -> None:
        """Goes on where the checkpoint was written, as if nothing had happened."""
        self.position, self.best = read_state(directory, model=self.model, parts=self.parts)

    def run(self) -> dict[str, Any]:
        self._keep_lower_states()
        saved = time.monotonic()
        while self.position.step < self.total_steps and not self._worsening():
            self._stop_if_asked()
            self._report(self._step(self._batch()))
            if self._save_due(saved):
                self._validate()
                self._save()
                saved = time.monotonic()
        if self._worsening():
            self.reporter.event(
                f"validation loss no longer falls: stopped after step {self.position.step} of "
                f"{self.total_steps}, the best was step {self.position.best_step}"
            )
        if self.best is not None and self.position.best_step != self.position.step:
            load_adapter_weights(self.model, self.best)
        return self._figures()

    def _batch(self) -> list[Example]:
        """The step's examples. Every epoch has an order of its own, drawn from seed and epoch."""
        self.position.epoch, self.position.batch = divmod(
            self.position.step, self.batches_per_epoch
        )
        generator = torch.Generator().manual_seed(self.plan.seed * 100_003 + self.position.epoch)
        order = torch.randperm(len(self.examples), generator=generator)
        start = self.position.batch * self.plan.batch_size
        return [self.examples[i] for i in order[start : start + self.plan.batch_size].tolist()]

    def _step(self, batch: list[Example]) -> float:
        """One optimizer step; returns the mean loss of a token.

        The gradient is that of the batch's mean token loss, however it is cut into groups.
        """
        start = time.monotonic()
        self.module.train()
        labels = sum(len(example.completion_ids) for example in batch)
        total, tokens = torch.zeros((), device=self.device), 0
        for group in self._groups(batch):
            loss, _ = self.module(group.to(self.device))
            self.accelerator.backward(loss / labels)
            total += loss.detach()
            tokens += group.input_ids.numel()
        self.grad_norm = float(
            self.accelerator.clip_grad_norm_(self.parameters, self.plan.max_grad_norm)
        )
        self.rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        self.optimizer.zero_grad()
        mean = total.item() / labels
        self._count(batch, tokens, time.monotonic() - start)
        return mean

    def _groups(self, batch: Sequence[Example]):
        return groups_of(
            batch, micro_batch=self.plan.micro_batch, share_prefix=self.plan.share_prefix
        )

    def _count(self, batch: list[Example], tokens: int, seconds: float) -> None:
        position = self.position
        position.step += 1
        position.epoch, position.batch = divmod(position.step, self.batches_per_epoch)
        position.examples += len(batch)
        position.tokens += tokens
        position.seconds += seconds

    def _report(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise JobFailure(
                "data",
                f"the loss is {loss} at step {self.position.step}; a lower learning rate is right",
            )
        self.losses.append(loss)
        position = self.position
        per_step = position.seconds / position.step
        self.reporter.metric(
            position.step,
            loss=loss,
            learning_rate=self.rate,
            gradient_norm=self.grad_norm,
            memory_bytes=memory.used(self.device),
        )
        self.reporter.progress(
            position.step,
            self.total_steps,
            epoch=position.step / self.batches_per_epoch,
            loss=loss,
            examples_per_second=position.examples / position.seconds,
            tokens_per_second=position.tokens / position.seconds,
            eta_seconds=per_step * (self.total_steps - position.step),
        )

    def _save_due(self, saved: float) -> bool:
        step = self.position.step
        if step == self.total_steps:
            return True
        if self.plan.save_steps:
            return step % self.plan.save_steps == 0
        return self.position.batch == 0 or time.monotonic() - saved >= self.plan.save_seconds

    @torch.no_grad()
    def _validate(self) -> None:
        """Mean token loss over the validation examples; keeps the adapter if it is the best."""
        if not self.validation:
            return
        self.module.eval()
        total, labels = 0.0, 0
        for group in self._groups(self.validation):
            loss, count = self.module(group.to(self.device))
            total, labels = total + loss.item(), labels + count
            if self.reporter.stop_requested() == "cancel":
                self.reporter.check()
        position, mean = self.position, total / labels
        position.last_loss = mean
        self.reporter.metric(position.step, validation_loss=mean)
        stopping = self.plan.early_stopping or EarlyStopping()
        gained = position.best_loss is None or mean < position.best_loss - stopping.min_delta
        position.without_gain = 0 if gained else position.without_gain + 1
        if position.best_loss is None or mean < position.best_loss:
            position.best_loss, position.best_step = mean, position.step
            self.best = adapter_weights(self.model)

    def _worsening(self) -> bool:
        stopping = self.plan.early_stopping
        return stopping is not None and self.position.without_gain >= stopping.patience

    def _save(self) -> None:
        def write(directory: Path) -> None:
            write_state(
                directory,
                model=self.model,
                best=self.best,
                parts=self.parts,
                position=self.position,
                resolved=self.resolved,
            )

        loss = self.position.last_loss
        self.reporter.checkpoint(
            self.position.step, write, **({} if loss is None else {"validation_loss": loss})
        )

    def _stop_if_asked(self) -> None:
        """A pause or a drain saves first, so that nothing is done twice; a cancel does not."""
        if self.reporter.stop_requested() in ("pause", "drain") and self.position.step:
            self._save()
        self.reporter.check()

    def _figures(self) -> dict[str, Any]:
        position = self.position
        recent = self.losses[-self.batches_per_epoch :]
        return {
            "steps": position.step,
            "epochs": round(position.step / self.batches_per_epoch, 3),
            "train_loss": sum(recent) / len(recent) if recent else None,
            "validation_loss": position.best_loss,
            "best_step": position.best_step or position.step,
            "train_seconds": round(position.seconds, 3),
            "examples_per_second": position.examples / max(position.seconds, 1e-9),
            "tokens_per_second": position.tokens / max(position.seconds, 1e-9),
            "peak_memory_bytes": memory.peak(self.device),
        }
