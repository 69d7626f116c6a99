"""Contestant: TRL's SFTTrainer, completion-only loss, with the settings that it is told.

Packed (`packing` best-fit decreasing into rows of `length` tokens) or in padded batches."""

import tempfile

from datasets import Dataset
from trainer import EPOCHS, TurnByTurn, begin, counting, load, read_rows, told
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer
from turns import Turns


def main():
    turns = Turns()
    settings = told()
    callback = TurnByTurn(turns, gradients=settings.get("gradients"))
    rows = [
        {
            "input_ids": row["prompt_ids"] + row["completion_ids"],
            "labels": [-100] * len(row["prompt_ids"]) + row["completion_ids"],
        }
        for row in read_rows(settings["rows"])
    ]
    about = {}
    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        packing=settings["packing"],
        packing_strategy="bfd",
        # Packing leaves the longest rows first, and few turns would see no others.
        shuffle_dataset=settings["packing"],
        max_length=settings["length"],
        per_device_train_batch_size=settings["micro_batch"],
        gradient_accumulation_steps=settings["accumulation"],
        gradient_checkpointing=settings["checkpointing"],
        num_train_epochs=EPOCHS,
        learning_rate=2e-4,
        max_grad_norm=settings.get("max_grad_norm", 1.0),
        bf16=settings["precision"] == "bf16",
        train_sampling_strategy="sequential",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = counting(SFTTrainer, callback)(
        model=load(settings, about),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
        callbacks=[callback],
    )
    if settings["precision"] == "fp32":
        keep_fp32(trainer.model)
    begin(turns, about)
    trainer.train()


def keep_fp32(model):
    """On a quantised base TRL turns the adapter to bf16, which a CPU that is told fp32 emulates."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


main()
