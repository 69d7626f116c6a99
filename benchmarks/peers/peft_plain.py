"""Contestant: PEFT in a plain loop, as bare as it can be: padded to the longest row of a
micro-batch, sorted by length, the model's own loss, AdamW. Autocast in bf16, as Trainer has it:
without it PEFT computes the adapter in fp32."""

import time
from itertools import cycle, islice

import torch
from trainer import answer, begin, load, read_rows, told
from turns import Turns


def collate(rows):
    longest = max(len(row["prompt_ids"]) + len(row["completion_ids"]) for row in rows)
    ids, mask, labels = [], [], []
    for row in rows:
        whole = row["prompt_ids"] + row["completion_ids"]
        empty = longest - len(whole)
        ids.append(whole + [0] * empty)
        mask.append([1] * len(whole) + [0] * empty)
        labels.append([-100] * len(row["prompt_ids"]) + row["completion_ids"] + [-100] * empty)
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def main():
    turns = Turns()
    settings = told()
    about = {}
    model = load(settings, about).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4)
    rows = cycle(read_rows(settings["rows"]))
    begin(turns, about)
    while turns.wait():
        batch = list(islice(rows, settings["batch"]))
        began = time.perf_counter()
        batch.sort(key=lambda row: len(row["prompt_ids"]) + len(row["completion_ids"]))
        labels = sum(len(row["completion_ids"]) for row in batch)
        for start in range(0, len(batch), settings["micro_batch"]):
            inputs = collate(batch[start : start + settings["micro_batch"]])
            with torch.autocast("cpu", torch.bfloat16, enabled=settings["precision"] == "bf16"):
                loss = model(**inputs, num_items_in_batch=labels).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - began
        answer(turns, labels, seconds)


main()
