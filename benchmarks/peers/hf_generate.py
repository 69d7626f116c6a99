"""Contestant: transformers' `generate`, left-padded batches in the order of their length.

Told besides: `rows` at a time, `merged` (a model without an adapter) or the adapter live on it.
"""

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from turns import Turns


def load(told):
    torch.set_num_threads(told["threads"])
    options = {"dtype": torch.bfloat16}
    if told["quantization"] == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        options["device_map"] = {"": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(told["model"], **options)
    if told["adapter"]:
        model = PeftModel.from_pretrained(model, told["adapter"])
    return model.eval()


def padded(prompts, pad):
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(one)) + one for one in prompts]
    mask = [[0] * (longest - len(one)) + [1] * len(one) for one in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def main():
    turns = Turns()
    told = json.loads(sys.argv[1])
    model = load(told)
    pad = AutoTokenizer.from_pretrained(told["model"]).pad_token_id or 0
    lines = Path(told["prompts"]).read_text(encoding="utf-8").splitlines()
    prompts = cycle([json.loads(line) for line in lines])
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    while turns.wait():
        batch = list(islice(prompts, told["batch"]))
        began = time.perf_counter()
        batch.sort(key=len)
        tokens = 0
        for start in range(0, len(batch), told["rows"]):
            inputs = padded(batch[start : start + told["rows"]], pad)
            with torch.inference_mode():
                out = model.generate(
                    **inputs,
                    max_new_tokens=told["max_new_tokens"],
                    do_sample=False,
                    pad_token_id=pad,
                    eos_token_id=told["ends"],
                )
            new = out[:, inputs["input_ids"].shape[1] :]
            ended = torch.isin(new, torch.tensor(told["ends"])).int()
            tokens += int((ended.cumsum(1) - ended == 0).sum())
        seconds = time.perf_counter() - began
        turns.answer(requests_per_second=len(batch) / seconds, tokens_a_request=tokens / len(batch))


main()
