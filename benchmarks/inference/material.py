"""What every contestant answers: GeoQuery's questions in tokens, and an adapter trained on them.

The adapter is trained once, with Tuneyard's loop and the schema in the prompt, so that answers end
where SQL ends: how long they get is a part of the work.

    python -m benchmarks.inference.material JSON

trains and merges, in a process of its own: what it took of memory is free again when others play.
Told as JSON: model, rows, shape (an adapter), trained and merged (the folders to make).
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import llama_build
from benchmarks.peers.environments import python_of
from benchmarks.training.material import prepare as training_material
from benchmarks.training.material import read_rows, whole
from cli.platform.leash import dies_with

EPOCHS = 1.5  # enough for answers that look like SQL and end
BATCH = 16
MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class Material:
    """`prompts`: JSON lines of token ids; `merged`: base and adapter in one, bf16."""

    model: Path
    prompts: Path
    adapter: Path
    merged: Path
    prefix: int
    own: float
    labels: float


def prepare(model: str, data: Path, folder: Path) -> Material:
    given = training_material(model, data, folder)
    rows = read_rows(given.rows)
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps(row["prompt_ids"]) for row in rows]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    adapter, merged = folder / "trained", folder / "merged"
    if not merged.exists():
        told = {"model": given.model, "rows": given.rows, "shape": given.adapter}
        told |= {"trained": adapter, "merged": merged}
        made = json.dumps({name: str(path) for name, path in told.items()})
        command = [sys.executable, "-m", "benchmarks.inference.material", made]
        subprocess.run(command, check=True, preexec_fn=dies_with(os.getpid()))
    return Material(
        model=given.model,
        prompts=prompts,
        adapter=adapter,
        merged=merged,
        prefix=given.prefix,
        own=given.own,
        labels=given.labels,
    )


def gguf(merged: Path, llama: Path) -> Path:
    """The merged model in 8 bit (Q8_0), written by llama.cpp's own converter; made once."""
    target = merged.with_suffix(".q8_0.gguf")
    if not target.exists():
        partial = target.with_suffix(".new")
        script = llama_build.sources(llama) / "convert_hf_to_gguf.py"
        command = [str(python_of("hf")), str(script), str(merged), "--outtype", "q8_0"]
        subprocess.run([*command, "--outfile", str(partial)], check=True)
        partial.replace(target)
    return target


def read_prompts(path: Path) -> list[list[int]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    told = {name: Path(path) for name, path in json.loads(sys.argv[1]).items()}
    if not told["trained"].exists():
        with whole(told["trained"]) as partial:
            _train(told["model"], read_rows(told["rows"]), told["shape"], partial)
    with whole(told["merged"]) as partial:
        _merge(told["model"], told["trained"], partial)


def _train(model: Path, rows: Sequence[dict[str, list[int]]], shape: Path, folder: Path) -> None:
    from benchmarks.training.loop import build_training
    from core.training.hyperparameters import LoraSettings
    from workers.ml.loading import load_base
    from workers.ml.lora import attach_adapter
    from workers.ml.packing import Example

    loaded = load_base(model)
    layers = loaded.model.config.num_hidden_layers
    adapted = attach_adapter(loaded.model, LoraSettings(layers="all"), seed=1)
    examples = [Example(i, row["prompt_ids"], row["completion_ids"]) for i, row in enumerate(rows)]
    training = build_training(
        adapted,
        loaded,
        examples,
        batch_size=BATCH,
        micro_batch=BATCH,
        layers=layers,
        epochs=EPOCHS,
    )
    print(training.run())
    adapted.save_pretrained(str(folder))
    shutil.copy(shape / "adapter_config.json", folder)


def _merge(model: Path, adapter: Path, folder: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    merged.to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    main()
