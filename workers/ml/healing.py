"""What a training does where memory runs out: the same work again with less at a time.

Groups of half as many examples, down to one; then gradient checkpointing; then no kept states of
the lower layers; then it is a failure. Knows no examples and no steps. How a batch is cut does not
change its gradient, so none of this changes what is learned; but for dropout, whose masks a smaller
group draws anew.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from core.errors import JobFailure
from core.training.sizing import Sizing
from workers.ml import memory
from workers.ml.checkpointing import random_state, set_random_state
from workers.ml.lower import Indivisible, LowerStates
from workers.ml.module import TrainingModule
from workers.ml.outofmemory import memory_class
from workers.ml.parallel import ALONE, World

Done = TypeVar("Done")

CLASSES = (None, "oom_host", "oom_gpu")

AT_LAST = (
    "Use quantization '8bit' or '4bit', a shorter max_length, fewer lora.layers, a smaller base "
    "model, or a device with more memory."
)


class Teller(Protocol):
    def event(self, message: str, *, level: str = "info", **data: Any) -> None: ...
    def memory(self, **lesson: Any) -> None: ...


@dataclass(frozen=True)
class Thrift:
    """How sparing a training is: examples in a group, gradient checkpointing, and the group size
    with which the lower layers' states were computed (0: they are not kept)."""

    micro_batch: int
    gradient_checkpointing: bool = False
    lower_cache: int = 0

    def more(self, examples: int) -> "Thrift | None":
        """The next step, where `examples` were to be worked on; None if there is none."""
        micro = min(self.micro_batch, examples)
        if micro > 1:
            return replace(self, micro_batch=micro // 2)
        if not self.gradient_checkpointing:
            return replace(self, gradient_checkpointing=True)
        return replace(self, lower_cache=0) if self.lower_cache else None

    def below(self, sizing: Sizing) -> "Thrift":
        """As sparing as it takes to stay below what has been too much before."""
        thrift = self
        while sizing.failed_before(thrift.micro_batch, thrift.gradient_checkpointing):
            more = thrift.more(thrift.micro_batch)
            if more is None:
                break
            thrift = more
        return thrift

    def __str__(self) -> str:
        parts = [f"micro_batch {self.micro_batch}"]
        parts += ["gradient checkpointing"] * self.gradient_checkpointing
        parts += ["kept states of the lower layers"] * bool(self.lower_cache)
        return ", ".join(parts)


class Healing:
    """Does pieces of work, and again with more `thrift` as long as memory runs out in them. What
    it comes to is written into `resolved`, hence into checkpoints and the result. In a `world` of
    several ranks all do so together, whichever lacks memory; where they share the base's weights
    they can't, as the others wait in the midst of a pass for the one that lacks it."""

    def __init__(
        self,
        module: TrainingModule,
        thrift: Thrift,
        sizing: Sizing,
        *,
        reporter: Teller,
        device: str,
        resolved: dict[str, Any],
        world: World = ALONE,
    ) -> None:
        self.module, self.sizing, self.world = module, sizing, world
        self.reporter, self.device, self.resolved = reporter, device, resolved
        self.began = memory.used(device)
        self.adopt(thrift)

    def adopt(self, thrift: Thrift) -> None:
        """Be as sparing as this from here on."""
        if thrift.gradient_checkpointing and not self.module.checkpointed:
            self.module.checkpoint_activations()
        if not thrift.lower_cache:
            self.module.lower = None
        self.thrift = thrift
        self.resolved.update(vars(thrift))

    def run(self, work: Callable[[], Done], *, examples: int, step: int) -> Done:
        """`work()`, which begins anew whenever it is called, on as many `examples`, and in which
        no rank waits for another."""
        random = random_state()
        while True:
            klass = None
            try:
                done = work()
            except Exception as error:
                klass = memory_class(error)
                if klass is None or self.world.sharded:
                    raise
            klass = self._of_any_rank(klass)
            if klass is None:
                return done
            # Here the error is gone, and with it the frames that held what filled the memory.
            memory.give_back(self.device)
            set_random_state(random)
            self._spare(klass, int(self.world.largest(examples)), step)

    def keep_lower(self, compute: Callable[[], LowerStates], size: int) -> None:
        """Keep what the lower layers give, computed in groups of `size`, if memory allows it and
        the model can be divided there."""
        lower, why = None, "no memory to keep what the lower layers give"
        try:
            with full_memory_passed_over():
                lower = compute()
        except Indivisible as error:
            why = str(error)
        if not self.world.smallest(lower is not None):
            lower = None  # what is computed elsewhere too would be of no use
            memory.give_back(self.device)
            self.reporter.event(f"{why}: the lower layers run in every step", level="warning")
            return
        self.module.lower = lower
        self.adopt(replace(self.thrift, lower_cache=size))
        kept = f"{lower.kept_bytes / 1e6:.0f} MB kept"
        self.reporter.event(f"the lowest {lower.first} layers are run once: {kept}")

    def tell(self, *, fitted: bool | None) -> None:
        """Report what groups of this size take; `fitted` is None before they are tried."""
        need = self.sizing.need(self.thrift.micro_batch, self.thrift.gradient_checkpointing)
        peak = max(0, memory.peak(self.device) - self.began)
        self.reporter.memory(**vars(need), fitted=fitted, peak_bytes=0 if fitted is None else peak)

    def _of_any_rank(self, klass: str | None) -> str | None:
        return CLASSES[int(self.world.largest(CLASSES.index(klass)))]

    def _spare(self, klass: str, examples: int, step: int) -> None:
        before, after = self.thrift, self.thrift.more(examples)
        self.tell(fitted=False)
        if after is None:
            raise JobFailure(
                klass,
                f"Memory did not suffice for step {step}, not even with {before}. {AT_LAST}",
            )
        self.adopt(after)
        self.reporter.event(
            f"memory ran out in step {step} with {before}; it is done again with {after}",
            level="warning",
            step=step,
            before=vars(before),
            after=vars(after),
        )
        self.tell(fitted=None)


@contextmanager
def full_memory_passed_over() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if memory_class(error) is None:
            raise
