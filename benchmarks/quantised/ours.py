"""Contestant: Tuneyard's engine, a batch of questions a turn, whose linear layers compute in one of
several ways.

Told as `benchmarks.inference.told` has it, and answers (a file for the tokens of each), max_rows,
and threshold: that of bitsandbytes' own int8 products, above which a column of the activations is
multiplied apart (0: none is); none of them where it is null.
"""

import json
import sys
import time
from itertools import islice
from pathlib import Path

from benchmarks.inference.told import keep, load, prompts_behind
from benchmarks.peers.turns import Turns


def main() -> None:
    from workers.ml import inference, memory
    from workers.ml.engine import Engine
    from workers.ml.generation import Request
    from workers.ml.sampling import Sampling

    turns = Turns()
    told = json.loads(sys.argv[1])
    loaded = load(told)
    if told["threshold"] is not None:
        inference.products = lambda model: {}  # each layer's own forward
        for layer in loaded.model.modules():
            if hasattr(layer, "state") and hasattr(layer.state, "threshold"):
                layer.state.threshold = told["threshold"]
    file = Path(told["answers"])
    prompts = prompts_behind(told, file)
    sampling = Sampling(max_new_tokens=told["max_new_tokens"])
    engine = Engine(loaded, max_rows=told["max_rows"])
    turns.ready("torch", "transformers", "peft", "bitsandbytes", weight_bytes=loaded.weight_bytes)
    with file.open("a", encoding="utf-8") as answers:
        while turns.wait():
            batch = list(islice(prompts, told["batch"]))
            began = time.perf_counter()
            engine.prefixes.forget(None)
            done = list(engine.generate(Request(i, prompt, sampling) for i, prompt in batch))
            seconds = time.perf_counter() - began
            for one in done:
                keep(one.id, one.token_ids, answers)
            turns.answer(
                requests_per_second=len(done) / seconds, peak_bytes=memory.peak(loaded.device)
            )


if __name__ == "__main__":
    main()
