"""Contestant: PEFT's mixed-adapter batches: `generate(adapter_names=…)`, left-padded."""

import time
from itertools import cycle, islice
from pathlib import Path

import torch
from hf_generate import load, padded, read_prompts, told
from turns import Turns


def main():
    turns = Turns()
    settings = told()
    adapters = settings["adapters"]
    model = load(settings | {"adapter": adapters[0]})
    names = ["default"] + [str(number) for number in range(1, len(adapters))]
    for name, folder in zip(names[1:], adapters[1:], strict=True):
        model.load_adapter(folder, name)
    pad, ends = settings["ends"][0], torch.tensor(settings["ends"])
    prompts = cycle(read_prompts(Path(settings["prompts"])))
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    while turns.wait():
        batch = list(islice(prompts, settings["batch"]))
        asked = [(prompt, names[i % len(names)]) for i, prompt in enumerate(batch)]
        began = time.perf_counter()
        asked.sort(key=lambda one: len(one[0]))
        tokens = 0
        for start in range(0, len(asked), settings["rows"]):
            some = asked[start : start + settings["rows"]]
            inputs = padded([prompt for prompt, _ in some], pad)
            with torch.inference_mode():
                out = model.generate(
                    **inputs,
                    adapter_names=[name for _, name in some],
                    max_new_tokens=settings["max_new_tokens"],
                    do_sample=False,
                    pad_token_id=pad,
                    eos_token_id=settings["ends"],
                )
            ended = torch.isin(out[:, inputs["input_ids"].shape[1] :], ends).int()
            tokens += int((ended.cumsum(1) - ended == 0).sum())
        seconds = time.perf_counter() - began
        turns.answer(requests_per_second=len(batch) / seconds, tokens_a_request=tokens / len(batch))


if __name__ == "__main__":
    main()
