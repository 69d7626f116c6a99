"""What the contestants on transformers' Trainer share: model, adapter, rows, a turn each step."""

import json
import sys
import time
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainerCallback

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
EPOCHS = 1000  # more than any contest has turns


def told():
    return json.loads(sys.argv[1])


def load(told, about):
    """The base model with the adapter of the material on it, trainable, in fp32 as PEFT has it.
    What the weights of the base take goes into `about`."""
    torch.set_num_threads(told["threads"])
    options = {"dtype": DTYPES[told["precision"]]}
    if told["quantization"] == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
        options["device_map"] = {"": "cpu"}
    model = AutoModelForCausalLM.from_pretrained(told["model"], **options)
    model.config.use_cache = False
    about["weight_bytes"] = weight_bytes(model)
    return PeftModel.from_pretrained(model, told["adapter"], is_trainable=True)


def weight_bytes(model):
    """All parameters and buffers, shared ones once, with the scales of 8-bit ones."""
    seen = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        for part in (tensor, getattr(tensor, "SCB", None)):
            if part is not None:
                seen[part.data_ptr()] = part.numel() * part.element_size()
    return sum(seen.values())


def read_rows(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


class TurnByTurn(TrainerCallback):
    """Holds the training between its optimizer steps. Before the first it says who it is, with
    `gradients` it leaves those of the first step in that file."""

    def __init__(self, turns, *, gradients=None):
        self.turns, self.gradients = turns, gradients
        self.labels = 0

    def on_step_begin(self, args, state, control, **kwargs):
        if not self.turns.wait():
            sys.exit(0)
        self.labels, self.began = 0, time.perf_counter()

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.gradients:
            from safetensors.torch import save_file

            found = {n: p.grad.float() for n, p in model.named_parameters() if p.grad is not None}
            save_file(found, self.gradients)
            self.gradients = None

    def on_step_end(self, args, state, control, **kwargs):
        answer(self.turns, self.labels, time.perf_counter() - self.began)


def counting(trainer_class, callback):
    """The trainer, which tells the callback of the labels that it trains on."""

    class Counting(trainer_class):
        def training_step(self, model, inputs, *args, **kwargs):
            callback.labels += int((inputs["labels"] != -100).sum())
            return super().training_step(model, inputs, *args, **kwargs)

    return Counting


def answer(turns, labels, seconds):
    turns.answer(
        labels_per_second=labels / seconds, seconds_a_label=seconds / labels, seconds=seconds
    )


def begin(turns, about):
    turns.ready("torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl", **about)
