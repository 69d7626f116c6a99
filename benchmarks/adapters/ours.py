"""Contestant: Tuneyard's engine, the questions of a turn dealt out over its adapters in turn.

Told as `benchmarks.inference.told` has it, and adapters (folders), keep (the engine, with the
adapters and prefixes that it holds, from turn to turn).
"""

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.inference.material import read_prompts
from benchmarks.inference.told import load
from benchmarks.peers.turns import Turns


def main() -> None:
    from workers.ml.generation import Request
    from workers.ml.prefixes import common_prefix
    from workers.ml.sampling import Sampling

    turns = Turns()
    told = json.loads(sys.argv[1])
    loaded = load(told | {"adapter": None})  # the engine loads each itself
    every = read_prompts(Path(told["prompts"]))
    prompts, common = cycle(every), common_prefix(every)
    sampling = Sampling(max_new_tokens=told["max_new_tokens"])
    names = list(map(str, range(len(told["adapters"]))))
    engine = None
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    while turns.wait():
        batch = list(islice(prompts, told["batch"]))
        if engine is None or not told["keep"]:
            engine = make_engine(loaded, told["adapters"])
            if told["keep"]:
                warm_up(engine, names, every[0], len(common))
        began = time.perf_counter()
        requests = [
            Request(i, prompt, sampling, adapter=names[i % len(names)])
            for i, prompt in enumerate(batch)
        ]
        done = list(engine.generate(requests))
        seconds = time.perf_counter() - began
        if refused := [one.error for one in done if one.error]:
            raise SystemExit(f"{len(refused)} requests were refused: {refused[0]}")
        tokens = sum(one.completion_tokens for one in done)
        turns.answer(requests_per_second=len(done) / seconds, tokens_a_request=tokens / len(done))


def make_engine(loaded, adapters: list[str]) -> Any:
    """An engine that holds the adapters and no prefix yet."""
    from workers.ml.engine import Engine

    engine = Engine(loaded)
    for number, folder in enumerate(adapters):
        engine.load_adapter(str(number), Path(folder))
    return engine


def warm_up(engine, names: list[str], prompt: list[int], shared: int) -> None:
    """Have what all prompts begin with computed for each adapter: the questions of one turn may
    share more than that, those of the next less, and it would compute again."""
    from workers.ml.generation import Request
    from workers.ml.sampling import Sampling

    for name in names:
        engine.submit(Request(name, prompt, Sampling(max_new_tokens=1), name, shared=shared))
    list(engine.run())


if __name__ == "__main__":
    main()
