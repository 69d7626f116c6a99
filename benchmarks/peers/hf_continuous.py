"""Contestant: transformers' continuous batching: paged keys and values, SDPA, prefixes shared."""

import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation import ContinuousBatchingConfig
from turns import Turns

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
PAGE = 32  # tokens: small, so that most of the schema is shared


def main():
    turns = Turns()
    told = json.loads(sys.argv[1])
    torch.set_num_threads(told["threads"])
    model = AutoModelForCausalLM.from_pretrained(
        told["model"], dtype=DTYPES[told["precision"]], attn_implementation="sdpa"
    ).eval()
    lines = Path(told["prompts"]).read_text(encoding="utf-8").splitlines()
    prompts = cycle([json.loads(line) for line in lines])
    longest = max(map(len, map(json.loads, lines))) + told["max_new_tokens"]
    sampling = GenerationConfig(
        max_new_tokens=told["max_new_tokens"],
        do_sample=False,
        eos_token_id=told["ends"],
        pad_token_id=told["ends"][0],
    )
    batching = ContinuousBatchingConfig(
        page_size=PAGE,
        num_blocks=told["batch"] * (longest // PAGE + 1),
        max_batch_tokens=2048,
        max_requests_per_batch=told["batch"],
        auto_switch_to_flash=False,
    )
    turns.ready("torch", "transformers")
    while turns.wait():
        batch = list(islice(prompts, told["batch"]))
        began = time.perf_counter()
        done = model.generate_batch(
            batch, generation_config=sampling, continuous_batching_config=batching
        )
        seconds = time.perf_counter() - began
        if len(done) < len(batch) or any(one.error for one in done.values()):
            raise SystemExit("continuous batching lost requests")
        tokens = sum(len(one.generated_tokens) for one in done.values())
        turns.answer(requests_per_second=len(batch) / seconds, tokens_a_request=tokens / len(batch))


main()
