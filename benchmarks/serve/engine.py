"""Contestant: the engine in process, the same questions with the same prompt, weights and threads.

Told as JSON: model, adapter (folders), questions, quantization, batch (a turn), threads.
"""

import json
import statistics
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from benchmarks.peers.turns import Turns
from benchmarks.serve.asking import MAX_TOKENS


def main() -> None:
    import torch

    from core.training.prompts import PromptTemplate
    from workers.ml.drafts import Heard
    from workers.ml.engine import Engine
    from workers.ml.generation import Request
    from workers.ml.loading import load_base
    from workers.ml.sampling import Sampling

    turns = Turns()
    told = json.loads(sys.argv[1])
    torch.set_num_threads(told["threads"])
    loaded = load_base(Path(told["model"]), quantization=told["quantization"], precision="auto")
    engine = Engine(loaded)
    engine.load_adapter("tuned", Path(told["adapter"]))
    template = PromptTemplate.load(Path(told["adapter"]))
    sampling = Sampling(max_new_tokens=MAX_TOKENS)
    questions, heard = cycle(told["questions"]), Heard()
    turns.ready("torch", "transformers", "bitsandbytes")
    while turns.wait():
        firsts, seconds, tokens = [], [], []
        for question in islice(questions, told["batch"]):
            begun = time.perf_counter()
            prompt = template.encode(loaded.tokenizer, {"question": question, "answer": ""})
            engine.submit(Request(0, prompt.prompt_ids, sampling, "tuned", heard))
            done = engine.step()
            firsts.append(time.perf_counter() - begun)
            while not done:
                done = engine.step()
            seconds.append(time.perf_counter() - begun)
            tokens.append(done[0].completion_tokens)
        turns.answer(
            first_token_seconds=statistics.median(firsts),
            seconds_a_request=statistics.mean(seconds),
            tokens_a_request=statistics.mean(tokens),
        )


if __name__ == "__main__":
    main()
