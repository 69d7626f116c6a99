"""Contestant: the script of fine-tuning tutorials. Every row padded to 512 tokens, the head's
logits for all of them, micro-batches of 4, gradient checkpointing."""

import tempfile

from datasets import Dataset
from trainer import EPOCHS, TurnByTurn, begin, counting, load, read_rows, told
from transformers import Trainer, TrainingArguments, default_data_collator
from turns import Turns

LENGTH = 512


def padded(row):
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    ids = (prompt + completion)[:LENGTH]
    labels = ([-100] * len(prompt) + completion)[:LENGTH]
    empty = LENGTH - len(ids)
    return {
        "input_ids": ids + [0] * empty,
        "attention_mask": [1] * len(ids) + [0] * empty,
        "labels": labels + [-100] * empty,
    }


def checkpointed():
    return {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }


def main():
    turns = Turns()
    settings = told()
    about = {}
    model = load(settings, about)
    model.enable_input_require_grads()
    callback = TurnByTurn(turns, gradients=settings.get("gradients"))
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=settings["batch"] // 4,
        **checkpointed(),
        num_train_epochs=EPOCHS,
        learning_rate=2e-4,
        bf16=settings["precision"] == "bf16",
        train_sampling_strategy="sequential",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    rows = Dataset.from_list([padded(row) for row in read_rows(settings["rows"])])
    trainer = counting(Trainer, callback)(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=default_data_collator,
        callbacks=[callback],
    )
    begin(turns, about)
    trainer.train()


if __name__ == "__main__":
    main()
