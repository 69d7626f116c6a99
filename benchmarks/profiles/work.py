"""Contestant: an optimizer step of Tuneyard's training, or a batch of its engine, as it is and then
under torch's profiler.

Told as `benchmarks.training.ours`; or, with `adapters` (folders), as `benchmarks.adapters.ours`.
Answers with the seconds of the first, and those of the second by kind
(`benchmarks.profiles.kinds`): of an engine's steps every eighth, or its calls would take more
memory than there is.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.peers.turns import Turns
from benchmarks.profiles.kinds import ADAPTERS, ATTENTION, HEAD, KINDS, seconds_by_kind, spans

Work = Callable[[], Any]
EVERY = 8
# The narrow products of q, k, v are one: three times the rank. No base here is as narrow.
NARROW = 64


def main() -> None:
    turns = Turns()
    told = json.loads(sys.argv[1])
    sample, work = batches(told) if "adapters" in told else steps(told)
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    while turns.wait():
        once, again = work(), work()
        began = time.perf_counter()
        once()
        plain = time.perf_counter() - began
        with sample:
            again()
        turns.answer(plain_seconds=plain, seconds=sample.kinds.total(), **sample.by_kind())


class Sample:
    """Within it, one of `every` steps of a training or an engine is profiled. `model`: whose."""

    def __init__(self, stepping: Any, model: Any, every: int) -> None:
        self.kinds: Counter[str] = Counter()
        self._step, self._every, self._weights = stepping.step, every, shapes(model)
        self._calls, self._on = 0, False
        stepping.step = self._one

    def __enter__(self) -> None:
        self.kinds, self._calls, self._on = Counter(), 0, True

    def __exit__(self, *error: Any) -> None:
        self._on = False

    def by_kind(self) -> dict[str, float]:
        """Seconds."""
        return {kind: self.kinds[kind] for kind in KINDS}

    def _one(self, *given: Any) -> Any:
        self._calls += 1
        if not self._on or self._calls % self._every:
            return self._step(*given)
        from torch.profiler import ProfilerActivity, profile, record_function

        watched = profile(activities=[ProfilerActivity.CPU], record_shapes=True)
        with watched as profiler, record_function("step"):  # Python's own time is this one's
            result = self._step(*given)
        calls = spans(profiler.profiler.kineto_results.events())
        self.kinds += seconds_by_kind(calls, narrow=NARROW, weights=self._weights)
        return result


def steps(told: dict[str, Any]) -> tuple[Sample, Callable[[], Work]]:
    """What profiles it, and what gives the next optimizer step."""
    from benchmarks.training.ours import build, in_batches

    training, _ = build(told)
    order = in_batches(training.examples, told["batch"])

    def step() -> Work:
        batch = next(order)
        return lambda: training.step(batch)

    return Sample(training, training.model, every=1), step


def batches(told: dict[str, Any]) -> tuple[Sample, Callable[[], Work]]:
    """What profiles it, and what gives the next questions, dealt out over the adapters."""
    from benchmarks.adapters.ours import make_engine, warm_up
    from benchmarks.inference.material import read_prompts
    from benchmarks.inference.told import load
    from workers.ml.generation import Request
    from workers.ml.prefixes import common_prefix
    from workers.ml.sampling import Sampling

    loaded = load(told | {"adapter": None})  # the engine loads each itself
    mark(loaded.model)
    every = read_prompts(Path(told["prompts"]))
    prompts = cycle(every)
    names = [str(number) for number in range(len(told["adapters"]))]
    engine = make_engine(loaded, told["adapters"])
    warm_up(engine, names, every[0], len(common_prefix(every)))
    sampling = Sampling(max_new_tokens=told["max_new_tokens"])

    def batch() -> Work:
        requests = [
            Request(number, prompt, sampling, adapter=names[number % len(names)])
            for number, prompt in enumerate(islice(prompts, told["batch"]))
        ]
        return lambda: list(engine.generate(requests))

    return Sample(engine, loaded.model, EVERY), batch


def mark(model: Any) -> None:
    """Name in the profile what inference has no autograd node for."""
    from torch.profiler import record_function
    from transformers import AttentionInterface

    from workers.ml import decoding
    from workers.ml.stacks import Stack

    def marked(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with record_function(kind):
                return function(*args, **kwargs)

        return call

    AttentionInterface.register(decoding.NAME, marked(ATTENTION, decoding.rows_attention))
    Stack.add_to = marked(ADAPTERS, Stack.add_to)
    head, open_marks = model.get_output_embeddings(), []

    def begin(*_: Any) -> None:
        open_marks.append(record_function(HEAD))
        open_marks[-1].__enter__()

    head.register_forward_pre_hook(begin)
    head.register_forward_hook(lambda *_: open_marks.pop().__exit__(None, None, None))


def shapes(model: Any) -> set[tuple[int, ...]]:
    """Of the base's linear layers."""
    from torch import nn

    return {
        (layer.out_features, layer.in_features)
        for layer in model.modules()
        if isinstance(layer, nn.Linear)
    }


if __name__ == "__main__":
    main()
