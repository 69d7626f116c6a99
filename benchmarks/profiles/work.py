"""Contestant: an optimizer step of Tuneyard's training, or a batch of its engine, as it is and then
under torch's profiler.

Told as `benchmarks.training.ours`; or, with `adapters` (folders), as `benchmarks.adapters.ours`.
Answers with the seconds of both, and those of the second by kind (`benchmarks.profiles.kinds`).
"""

import json
import sys
import time
from collections.abc import Callable, Collection
from functools import wraps
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.peers.turns import Turns
from benchmarks.profiles.kinds import ADAPTERS, ATTENTION, HEAD, KINDS, REST, seconds_by_kind, spans

Work = Callable[[], Any]
# The narrow products of q, k, v are one: three times the rank. No base here is as narrow.
NARROW = 64


def main() -> None:
    turns = Turns()
    told = json.loads(sys.argv[1])
    model, work = batches(told) if "adapters" in told else steps(told)
    weights = shapes(model)
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    while turns.wait():
        plain = timed(work())
        turns.answer(plain_seconds=plain, **profiled(work(), weights))


def steps(told: dict[str, Any]) -> tuple[Any, Callable[[], Work]]:
    """The model, and what gives the next optimizer step."""
    from benchmarks.training.ours import build, in_batches

    training, _ = build(told)
    order = in_batches(training.examples, told["batch"])

    def step() -> Work:
        batch = next(order)
        return lambda: training.step(batch)

    return training.model, step


def batches(told: dict[str, Any]) -> tuple[Any, Callable[[], Work]]:
    """The model, and what gives the next questions, dealt out over the adapters."""
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

    return loaded.model, batch


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


def profiled(work: Work, weights: Collection[tuple[int, ...]]) -> dict[str, float]:
    """Seconds, and of those by kind."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        seconds = timed(work)
    calls = spans(profiler.profiler.kineto_results.events())
    kinds = seconds_by_kind(calls, narrow=NARROW, weights=weights)
    kinds[REST] += seconds - kinds.total()  # what Python does beside torch
    return {"seconds": seconds} | {kind: kinds[kind] for kind in KINDS}


def timed(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
