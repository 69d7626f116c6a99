"""Contestant: transformers' greedy `generate`, questions one after the other; with `lookup`, its
prompt-lookup decoding of so many tokens; with `warm`, from a copy of the shared prefix's keys and
values, as its documentation has it ("prefill a cache")."""

import copy
import json
import time
from itertools import cycle, islice
from pathlib import Path

import torch
from hf_generate import load, read_prompts, told
from transformers import DynamicCache
from turns import Turns


def main():
    turns = Turns()
    settings = told()
    model = load(settings)
    every = read_prompts(Path(settings["prompts"]))
    file = Path(settings["answers"])
    answered = len(file.read_bytes().splitlines()) if file.exists() else 0
    prompts = islice(cycle(enumerate(every)), answered, None)  # a contest may go on
    warm = prefilled(model, every) if settings["warm"] else None
    options = {
        "max_new_tokens": settings["max_new_tokens"],
        "do_sample": False,
        "pad_token_id": settings["ends"][0],
        "eos_token_id": settings["ends"],
    }
    if settings["lookup"]:
        options["prompt_lookup_num_tokens"] = settings["lookup"]
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    with file.open("a", encoding="utf-8") as answers:
        while turns.wait():
            tokens, began = 0, time.perf_counter()
            asked = list(islice(prompts, settings["batch"]))
            for number, prompt in asked:
                ids = torch.tensor([prompt])
                if warm is not None:
                    options["past_key_values"] = copy.deepcopy(warm)
                with torch.inference_mode():
                    out = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
                new = out[0, len(prompt) :].tolist()
                tokens += len(new)
                kept = [token for token in new if token not in settings["ends"]]
                print(json.dumps([number, kept]), file=answers, flush=True)
            seconds = time.perf_counter() - began
            count = len(asked)
            turns.answer(
                requests_per_second=count / seconds,
                seconds_a_request=seconds / count,
                tokens_a_request=tokens / count,
            )


@torch.inference_mode()
def prefilled(model, prompts):
    """The keys and values of what all prompts begin with."""
    first, last = min(prompts), max(prompts)
    shared = next(n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    cache = DynamicCache(config=model.config)
    model(torch.tensor([first[:shared]]), past_key_values=cache)
    return cache


main()
