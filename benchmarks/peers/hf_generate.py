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
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from turns import Turns

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def told():
    return json.loads(sys.argv[1])


def load(told):
    torch.set_num_threads(told["threads"])
    options = {"dtype": DTYPES[told["precision"]]}
    if told["quantization"] == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        options["device_map"] = {"": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(told["model"], **options)
    if told["adapter"]:
        model = PeftModel.from_pretrained(model, told["adapter"], autocast_adapter_dtype=False)
        # In the model's dtype: products in fp32, as PEFT has them else, are slower.
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.data = weight.data.to(options["dtype"])
    return model.eval()


def read_prompts(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def padded(prompts, pad):
    longest = max(map(len, prompts))
    ids = [[pad] * (longest - len(one)) + one for one in prompts]
    mask = [[0] * (longest - len(one)) + [1] * len(one) for one in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def main():
    turns = Turns()
    settings = told()
    model = load(settings)
    pad, ends = settings["ends"][0], torch.tensor(settings["ends"])
    prompts = cycle(read_prompts(Path(settings["prompts"])))
    turns.ready("torch", "transformers", "peft", "bitsandbytes")
    while turns.wait():
        batch = list(islice(prompts, settings["batch"]))
        began = time.perf_counter()
        batch.sort(key=len)
        tokens = 0
        for start in range(0, len(batch), settings["rows"]):
            inputs = padded(batch[start : start + settings["rows"]], pad)
            with torch.inference_mode():
                out = model.generate(
                    **inputs,
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
