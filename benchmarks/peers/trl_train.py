"""TRL's SFTTrainer from beginning to end: what accuracy it reaches. Not a contestant: no turns.

Told as JSON what ours trains with: rows, adapter to begin with, epochs, batch_size, learning_rate
and so on; leaves the trained adapter in `out`. Padded batches: each step has exactly the batch.
Checkpoints go to `checkpoints`; from the last of them it goes on."""

from datasets import Dataset
from trainer import load, read_rows, told
from transformers import AutoTokenizer
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer


def main():
    settings = told()
    rows = [
        {
            "input_ids": row["prompt_ids"] + row["completion_ids"],
            "labels": [-100] * len(row["prompt_ids"]) + row["completion_ids"],
        }
        for row in read_rows(settings["rows"])
    ]
    arguments = SFTConfig(
        output_dir=settings["checkpoints"],
        max_length=2048,
        per_device_train_batch_size=settings["batch_size"],
        gradient_checkpointing=False,
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup_ratio"],  # below 1: a share of all steps
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        seed=settings["seed"],
        bf16=settings["precision"] == "bf16",
        use_cpu=True,
        save_steps=25,
        save_total_limit=1,
        logging_steps=20,
        report_to=[],
        disable_tqdm=True,
    )
    model = load(settings, {})
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(settings["checkpoints"]))
    trainer.model.save_pretrained(settings["out"], save_embedding_layers=False)


main()
