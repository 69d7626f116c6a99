"""Contestant: llama-cpp-python in process, one question at a time, as its API has it. What a prompt
shares with the one before stays in its cache."""

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from llama_cpp import Llama
from turns import Turns


def answer(model, prompt, told):
    """How many tokens came before the end."""
    ends, count = set(told["ends"]), 0
    for token in model.generate(prompt, temp=0.0, repeat_penalty=1.0):
        if token in ends or count == told["max_new_tokens"]:
            break
        count += 1
    return count


def main():
    turns = Turns()
    told = json.loads(sys.argv[1])
    model = Llama(
        told["gguf"],
        n_ctx=1024,
        n_batch=512,
        n_threads=told["threads"],
        n_threads_batch=told["threads"],
        verbose=False,
    )
    lines = Path(told["prompts"]).read_text(encoding="utf-8").splitlines()
    prompts = cycle([json.loads(line) for line in lines])
    turns.ready("llama-cpp-python")
    while turns.wait():
        batch = list(islice(prompts, told["batch"]))
        began = time.perf_counter()
        tokens = sum(answer(model, prompt, told) for prompt in batch)
        seconds = time.perf_counter() - began
        turns.answer(requests_per_second=len(batch) / seconds, tokens_a_request=tokens / len(batch))


main()
