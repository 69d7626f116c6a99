"""Contestant: Tuneyard's engine, a batch of questions a turn. It stays from turn to turn, as the
peers' engines do, but computes the prefix in each.

Told as `benchmarks.inference.told` has it.
"""

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from benchmarks.inference.material import read_prompts
from benchmarks.inference.told import load
from benchmarks.peers.turns import Turns


def main() -> None:
    from workers.ml.engine import Engine
    from workers.ml.generation import Request
    from workers.ml.sampling import Sampling

    turns = Turns()
    told = json.loads(sys.argv[1])
    loaded = load(told)
    prompts = cycle(read_prompts(Path(told["prompts"])))
    sampling = Sampling(max_new_tokens=told["max_new_tokens"])
    engine = Engine(loaded)
    turns.ready("torch", "transformers", "peft", "bitsandbytes", weight_bytes=loaded.weight_bytes)
    while turns.wait():
        batch = list(islice(prompts, told["batch"]))
        began = time.perf_counter()
        engine.prefixes.forget(None)
        requests = [Request(i, prompt, sampling) for i, prompt in enumerate(batch)]
        done = list(engine.generate(requests))
        seconds = time.perf_counter() - began
        tokens = sum(one.completion_tokens for one in done)
        turns.answer(requests_per_second=len(done) / seconds, tokens_a_request=tokens / len(done))


if __name__ == "__main__":
    main()
