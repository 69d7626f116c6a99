"""Contestant: Tuneyard's engine, questions one after the other, as a server of a trained model has
them: the prefix warm, and drafts from what was answered before (`workers.serving.prompts`).

Told as `benchmarks.inference.told` has it, and answers (a file for the tokens of each).
"""

import json
import sys
import time
from itertools import islice
from pathlib import Path

from benchmarks.inference.material import read_prompts
from benchmarks.inference.told import keep, load, prompts_behind
from benchmarks.peers.turns import Turns


def main() -> None:
    from workers.ml.drafts import Heard
    from workers.ml.engine import Engine
    from workers.ml.generation import Request
    from workers.ml.prefixes import common_prefix
    from workers.ml.sampling import Sampling

    turns = Turns()
    told = json.loads(sys.argv[1])
    loaded = load(told)
    every, file = read_prompts(Path(told["prompts"])), Path(told["answers"])
    prompts = prompts_behind(told, file)
    sampling = Sampling(max_new_tokens=told["max_new_tokens"])
    engine, heard = Engine(loaded), Heard()
    shared = len(common_prefix(every))
    engine.submit(Request("warm", every[0], Sampling(max_new_tokens=1), shared=shared))
    list(engine.run())
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    with file.open("a", encoding="utf-8") as answers:
        while turns.wait():
            tokens, began = 0, time.perf_counter()
            asked = list(islice(prompts, told["batch"]))
            for number, prompt in asked:
                engine.submit(Request(number, prompt, sampling, heard=heard))
                (done,) = engine.run()
                tokens += done.completion_tokens
                keep(number, done.token_ids, answers)
            seconds = time.perf_counter() - began
            count = len(asked)
            turns.answer(
                requests_per_second=count / seconds,
                seconds_a_request=seconds / count,
                tokens_a_request=tokens / count,
            )


if __name__ == "__main__":
    main()
