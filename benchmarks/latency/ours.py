"""Contestant: Tuneyard's engine, questions one after the other, as a server of a trained model has
them: the prefix warm, and drafts from what was answered before (`workers.serving.prompts`).

Told as JSON: model, adapter (or none), prompts, quantization, precision, batch (questions a turn),
max_new_tokens, threads, answers (a file for the tokens of each).
"""

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from benchmarks.inference.material import read_prompts
from benchmarks.peers.turns import Turns


def main() -> None:
    import torch

    from workers.ml.drafts import Heard
    from workers.ml.engine import Engine
    from workers.ml.loading import load_adapter, load_base
    from workers.ml.prefixes import common_prefix
    from workers.ml.rows import Request
    from workers.ml.sampling import Sampling

    turns = Turns()
    told = json.loads(sys.argv[1])
    torch.set_num_threads(told["threads"])
    loaded = load_base(
        Path(told["model"]), quantization=told["quantization"], precision=told["precision"]
    )
    if told["adapter"]:
        loaded = load_adapter(loaded, Path(told["adapter"]))
    every = read_prompts(Path(told["prompts"]))
    prompts = cycle(enumerate(every))
    sampling = Sampling(max_new_tokens=told["max_new_tokens"])
    engine, heard = Engine(loaded), Heard()
    shared = len(common_prefix(every))
    engine.submit(Request("warm", every[0], Sampling(max_new_tokens=1), shared=shared))
    list(engine.run())
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    with Path(told["answers"]).open("a", encoding="utf-8") as answers:
        while turns.wait():
            tokens, began = 0, time.perf_counter()
            asked = list(islice(prompts, told["batch"]))
            for number, prompt in asked:
                engine.submit(Request(number, prompt, sampling, heard=heard))
                (done,) = engine.run()
                tokens += done.completion_tokens
                print(json.dumps([number, done.token_ids]), file=answers, flush=True)
            seconds = time.perf_counter() - began
            count = len(asked)
            turns.answer(
                requests_per_second=count / seconds,
                seconds_a_request=seconds / count,
                tokens_a_request=tokens / count,
            )


if __name__ == "__main__":
    main()
