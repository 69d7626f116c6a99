"""The training loop: steps, validation, checkpoints, early stopping, from packed groups on.

Knows token ids and a model with an adapter; no text, no dataset format, no job. What is learned
depends on the examples, the plan and the numbers of threads and of ranks alone: not on the clock,
on kills, or on memory that ran out. Of several ranks (`workers.ml.parallel`) the first reports,
saves and hears wishes.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from peft import PeftModel
from torch import Tensor

from core.errors import JobFailure
from core.failpoints import failpoint
from core.training.hyperparameters import EarlyStopping
from core.training.planning import batches_per_epoch, total_steps
from core.training.sizing import Sizing
from workers.ml import memory
from workers.ml.checkpointing import (
    Position,
    adapter_weights,
    load_adapter_weights,
    read_state,
    write_state,
)
from workers.ml.healing import Healing, Thrift
from workers.ml.lora import trainable_parameters
from workers.ml.lower import LowerStates, has_room
from workers.ml.module import TrainingModule
from workers.ml.optimisation import make_optimizer, make_schedule, prepare_scaler
from workers.ml.packing import Example, Group, groups_of, pack
from workers.ml.parallel import ALONE, World
from workers.ml.plan import Plan, Reporter
from workers.ml.quantization import evaluation


class Training:
    """One run over `examples`; `run` returns its figures, with the best adapter in the model.
    `furnish` puts beside a checkpoint's adapter what it takes to use that one as a model."""

    def __init__(
        self,
        model: PeftModel,
        examples: Sequence[Example],
        validation: Sequence[Example],
        plan: Plan,
        *,
        sizing: Sizing,
        reporter: Reporter,
        device: str,
        resolved: dict[str, Any] | None = None,
        world: World = ALONE,
        furnish: Callable[[Path], None] = lambda adapter: None,
    ) -> None:
        self.model, self.examples, self.validation = model, examples, validation
        self.plan, self.sizing, self.reporter, self.device = plan, sizing, reporter, device
        self.resolved = {} if resolved is None else resolved
        self.world, self.furnish = world, furnish
        self.batches_per_epoch = batches_per_epoch(len(examples), plan.batch_size)
        self.total_steps = total_steps(plan.epochs, len(examples), plan.batch_size)
        self.position, self.best = Position(), None
        self.saved_step, self.saved_at = 0, time.monotonic()
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
        inner = TrainingModule(self.model)
        inner.require_apart(self.device)
        # The base model lies on its device already, in 8 bit perhaps: it must not be moved. Nor is
        # it wrapped in DDP: the sum of the gradients is ours, once a step.
        self.module = self.accelerator.prepare_model(
            inner, device_placement=False, evaluation_mode=True
        )
        self.optimizer = self.accelerator.prepare_optimizer(optimizer, device_placement=True)
        self.parts = {"optimizer": self.optimizer, "schedule": self.schedule}
        prepare_scaler(self.accelerator.scaler, self.device)
        if self.accelerator.scaler is not None:
            self.parts["scaler"] = self.accelerator.scaler
        self.healing = Healing(
            inner,
            Thrift(plan.micro_batch, plan.gradient_checkpointing),
            self.sizing,
            reporter=self.reporter,
            device=self.device,
            resolved=self.resolved,
            world=self.world,
        )

    def keep_lower_states(self) -> None:
        """Where only the last layers are adapted, and there is room, the others run once. A resumed
        run does as it did at first, in groups of the same size: to the last bit."""
        plan, size = self.plan, 0 if self.world.sharded else self.plan.lower_cache
        if size is None:
            free = self.world.room(memory.available(self.device))
            room = has_room(self.model, self.examples, share_prefix=plan.share_prefix, free=free)
            size = plan.micro_batch if self.world.smallest(room) else 0
        if size:
            groups = self._groups(self.examples, size)
            self.healing.keep_lower(lambda: self._lower_states(groups), size)

    def _lower_states(self, groups: Sequence[Group]) -> LowerStates:
        lower = LowerStates(self.model, self.examples, share_prefix=self.plan.share_prefix)
        for number, group in enumerate(groups):
            self.reporter.check()
            lower.fill(group.to(self.device))
            if number == 0:
                lower.require_same(group.to(self.device))
        return lower

    def resume(self, directory: Path) -> None:
        """Goes on where the checkpoint was written, as if nothing had happened."""
        self.position, self.best = read_state(directory, model=self.model, parts=self.parts)
        self.saved_step = self.position.step

    def run(self) -> dict[str, Any]:
        memory.forget_peak(self.device)
        self.keep_lower_states()
        self.healing.tell(fitted=None)
        while self.position.step < self.total_steps and not self._worsening():
            self._stop_if_asked()
            self._report(self.step(self._batch()))
            if self._validation_due():
                self._save(self._validate())
            elif time.monotonic() - self.saved_at >= self.plan.save_seconds:
                self._save()
        self.healing.tell(fitted=True)
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

    def step(self, batch: list[Example]) -> float:
        """One optimizer step; returns the mean loss of a label.

        The gradient is that of the batch's mean token loss, however it is cut into groups and
        divided over the ranks.
        """
        start = time.monotonic()
        self.module.train()
        self.world.seed(self.plan.seed, self.position.step)
        share, labels = self.world.share(batch), _labels(batch)
        done = self.healing.run(
            lambda: self._gradients(share, labels),
            examples=len(share),
            step=self.position.step + 1,
        )
        total, hits, tokens = self.world.sum(*done)
        self.accuracy = hits / labels
        self.world.sum_gradients(self.parameters)
        self.grad_norm = float(
            self.accelerator.clip_grad_norm_(self.parameters, self.plan.max_grad_norm)
        )
        self.rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        if not self.accelerator.optimizer_step_was_skipped:
            self.schedule.step()
        self.optimizer.zero_grad()
        mean = total / labels
        self._count(batch, int(tokens), mean, time.monotonic() - start)
        return mean

    def _gradients(self, share: Sequence[Example], labels: int) -> tuple[float, int, int]:
        """Forward and backward of every group, for a batch of so many `labels`; returns the sum of
        the losses, the labels that were hit, and the tokens."""
        self.optimizer.zero_grad()  # what an earlier try left
        tokens = 0
        total, hit = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        groups = self._groups(share)
        idle = self.world.idle(len(groups))
        for group in groups:
            loss, hits = self.module(group.to(self.device))
            failpoint("train.step", at=self.position.step + 1, oom=torch.OutOfMemoryError)
            self.accelerator.backward(loss / labels)
            total += loss.detach()
            hit += hits
            tokens += group.tokens
        for loss in self._idle(idle):
            self.accelerator.backward(0 * loss)
        return total.item(), int(hit.item()), tokens

    def _idle(self, passes: int) -> Iterator[Tensor]:
        """Passes that the other ranks need and that count for nothing."""
        for _ in range(passes):
            yield self.module(pack(self.examples[:1]).to(self.device))[0]

    def _groups(self, batch: Sequence[Example], size: int | None = None) -> list[Group]:
        micro_batch = size or self.healing.thrift.micro_batch
        return groups_of(batch, micro_batch=micro_batch, share_prefix=self.plan.share_prefix)

    def _count(self, batch: list[Example], tokens: int, loss: float, seconds: float) -> None:
        position = self.position
        if position.step % self.batches_per_epoch == 0:
            position.loss_sum, position.loss_steps = 0.0, 0
        position.step += 1
        position.epoch, position.batch = divmod(position.step, self.batches_per_epoch)
        position.loss_sum, position.loss_steps = position.loss_sum + loss, position.loss_steps + 1
        position.examples += len(batch)
        position.tokens += tokens
        position.seconds += seconds

    def _report(self, loss: float) -> None:
        self._require_finite("loss", loss)
        if self.accelerator.scaler is None:  # which leaves out a step whose gradient is not
            self._require_finite("norm of the gradient", self.grad_norm)
        position = self.position
        per_step = position.seconds / position.step
        self.reporter.metric(
            position.step,
            loss=loss,
            token_accuracy=self.accuracy,
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

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise JobFailure(
                "data",
                f"the {what} is {value} at step {self.position.step}; a lower learning rate is "
                "right",
            )

    def _validation_due(self) -> bool:
        step = self.position.step
        if step == self.total_steps:
            return True
        return step % self.plan.save_steps == 0 if self.plan.save_steps else not self.position.batch

    def _validate(self) -> dict[str, float]:
        """Mean loss of a label over the validation examples, and the share of labels that are hit;
        keeps the adapter if its loss is the least."""
        if not self.validation:
            return {}
        share = self.world.share(self.validation)
        with evaluation(self.module):
            done = self.healing.run(
                lambda: self._judge(share), examples=len(share), step=self.position.step
            )
        total, hits, labels = self.world.sum(*done)
        mean = total / labels
        self._require_finite("validation loss", mean)
        metrics = {"validation_loss": mean, "validation_token_accuracy": hits / labels}
        self.reporter.metric(self.position.step, **metrics)
        stopping = self.plan.early_stopping or EarlyStopping()
        if self.position.judge(mean, min_delta=stopping.min_delta):
            self.best = adapter_weights(self.model)
        return metrics

    @torch.no_grad()
    def _judge(self, share: Sequence[Example]) -> tuple[float, int, int]:
        """The sum of the labels' losses, those that were hit, and their number."""
        total, hit, labels = 0.0, 0, 0
        groups = self._groups(share)
        idle = self.world.idle(len(groups))
        for group in groups:
            loss, hits = self.module(group.to(self.device))
            total, hit = total + loss.item(), hit + int(hits.item())
            labels += group.labels.numel()
            if self.reporter.stop_requested() == "cancel":
                self.reporter.check()
        for _ in self._idle(idle):
            pass
        return total, hit, labels

    def _worsening(self) -> bool:
        stopping = self.plan.early_stopping
        return stopping is not None and self.position.without_gain >= stopping.patience

    def _save(self, metrics: dict[str, float] | None = None) -> None:
        """A checkpoint; `metrics`: what a validation at this step came to."""
        if not self.world.leads:
            return

        def write(directory: Path) -> None:
            write_state(
                directory,
                model=self.model,
                best=self.best,
                parts=self.parts,
                position=self.position,
                resolved=self.resolved,
            )
            self.furnish(directory / "adapter")

        self.reporter.checkpoint(self.position.step, write, **(metrics or {}))
        self.saved_step, self.saved_at = self.position.step, time.monotonic()

    def _stop_if_asked(self) -> None:
        """A pause or a drain saves first, so that nothing is done twice; a cancel does not."""
        new = self.position.step > self.saved_step
        if new and self.reporter.stop_requested() in ("pause", "drain"):
            self._save()
        self.reporter.check()

    def _figures(self) -> dict[str, Any]:
        position = self.position
        return {
            "steps": position.step,
            "epochs": round(position.step / self.batches_per_epoch, 3),
            "train_loss": position.loss_sum / position.loss_steps if position.loss_steps else None,
            "validation_loss": position.best_loss,
            "best_step": position.best_step or position.step,
            "train_seconds": round(position.seconds, 3),
            "examples_per_second": position.examples / max(position.seconds, 1e-9),
            "tokens_per_second": position.tokens / max(position.seconds, 1e-9),
            "peak_memory_bytes": int(self.world.largest(memory.peak(self.device))),
        }


def _labels(batch: Sequence[Example]) -> int:
    return sum(len(example.completion_ids) for example in batch)
