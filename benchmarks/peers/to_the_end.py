"""A peer's training from beginning to end: what accuracy it reaches. Not a contestant: no turns.

Told as JSON what ours trains with: rows, adapter to begin with, epochs, batch_size, learning_rate
and so on, and `peer`, a word of PEERS; leaves the trained adapter in `out`. Nothing is packed, so
that each step has exactly the batch. Checkpoints go to `checkpoints`; from the last of them it goes
on."""

from classic import checkpointed, padded
from datasets import Dataset
from trainer import load, read_rows, told
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer


def trl(settings, rows, tokenizer):
    """SFTTrainer, in padded batches."""
    arguments = SFTConfig(max_length=2048, gradient_checkpointing=False, **shared(settings))
    return SFTTrainer(
        model=load(settings, {}),
        args=arguments,
        train_dataset=Dataset.from_list([labelled(row) for row in rows]),
        processing_class=tokenizer,
    )


def classic(settings, rows, tokenizer):
    """The script of tutorials (`classic.py`)."""
    model = load(settings, {})
    model.enable_input_require_grads()
    return Trainer(
        model=model,
        args=TrainingArguments(**shared(settings, micro_batch=4) | checkpointed()),
        train_dataset=Dataset.from_list([padded(row) for row in rows]),
        data_collator=default_data_collator,
    )


def peft(settings, rows, tokenizer):
    """PEFT's layers as they are, padded to the longest of a micro-batch."""
    return Trainer(
        model=load(settings, {}),
        args=TrainingArguments(**shared(settings, micro_batch=4)),
        train_dataset=Dataset.from_list([labelled(row) for row in rows]),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )


PEERS = {"trl": trl, "classic": classic, "peft": peft}


def labelled(row):
    return {
        "input_ids": row["prompt_ids"] + row["completion_ids"],
        "labels": [-100] * len(row["prompt_ids"]) + row["completion_ids"],
    }


def shared(settings, micro_batch=None):
    """Arguments of all: the same steps at the same rate."""
    micro_batch = min(micro_batch or settings["batch_size"], settings["batch_size"])
    return {
        "output_dir": settings["checkpoints"],
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": settings["batch_size"] // micro_batch,
        "num_train_epochs": settings["epochs"],
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": settings["schedule"],
        "warmup_steps": settings["warmup_ratio"],  # below 1: a share of all steps
        "weight_decay": settings["weight_decay"],
        "max_grad_norm": settings["max_grad_norm"],
        "seed": settings["seed"],
        "bf16": settings["precision"] == "bf16",
        "use_cpu": True,
        "save_steps": 25,
        "save_total_limit": 1,
        "logging_steps": 20,
        "report_to": [],
        "disable_tqdm": True,
    }


def main():
    settings = told()
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    trainer = PEERS[settings["peer"]](settings, read_rows(settings["rows"]), tokenizer)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(settings["checkpoints"]))
    trainer.model.save_pretrained(settings["out"], save_embedding_layers=False)


main()
