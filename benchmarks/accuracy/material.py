"""GeoQuery as a prepared dataset; three examples for a prompt; what TRL's training begins with."""

import json
from pathlib import Path
from typing import Any

from benchmarks.accuracy.cells import SPLITS

SHOTS = 3


def make_dataset(data: Path, folder: Path, split: str) -> Path:
    """A dataset with `train` and `test`, laid out as the `prepare` recipe does. Development rows
    are left out: nobody chooses by them."""
    from datasets import Dataset, DatasetDict

    from core.sql.introspect import introspect_sqlite
    from core.sql.render import render_schema

    if (folder / "dataset.json").exists():
        return folder
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    lines = (data / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    for number, example in enumerate(map(json.loads, lines), start=1):
        if (part := parts.get(example[SPLITS[split]])) is not None:
            row = {"line": number, "question": example["question"], "answer": example["sql"]}
            part.append(row | {"input": "", "context": "[]"})
    DatasetDict({name: Dataset.from_list(rows) for name, rows in parts.items()}).save_to_disk(
        folder
    )
    schema = render_schema(introspect_sqlite(data / "db.sqlite"))
    about = {"kind": "sql", "dialect": "sqlite", "schema_text": schema}
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def three_shot_schema(dataset: Path) -> str:
    """The schema, with a short, a middling and a long training query and their questions."""
    from workers.ml.examples import read_dataset

    given = read_dataset(dataset)
    rows = sorted(given.splits["train"], key=lambda row: len(row["answer"]))
    chosen = [rows[(2 * shot + 1) * len(rows) // (2 * SHOTS)] for shot in range(SHOTS)]
    shots = [f"Question: {row['question']}\n{row['answer']}" for row in chosen]
    return "\n\n".join([given.schema_text, *shots])


def beginning(params: dict[str, Any], inputs: dict[str, Path], folder: Path) -> dict[str, Any]:
    """What our training would begin with: rows in tokens, the untrained adapter and the prompt's
    template in `folder`; the resolved hyperparameters."""
    from core.training.examples import encode_rows
    from core.training.hyperparameters import LoraSettings, TrainSettings
    from core.training.planning import choose_template
    from workers.ml import lora
    from workers.ml.examples import read_dataset
    from workers.ml.loading import load_base
    from workers.recipes.train import first_plan

    settings = TrainSettings.from_params(params)
    dataset = read_dataset(inputs["dataset"])
    template = choose_template(
        settings,
        kind=dataset.kind,
        schema_text=params.get("schema_text") or dataset.schema_text,
        dialect=params.get("dialect") or dataset.dialect,
    )
    loaded = load_base(inputs["model"], quantization=settings.quantization)
    examples = encode_rows(
        dataset.splits["train"],
        loaded.tokenizer,
        template,
        max_length=settings.max_length,
        truncate=False,
    )
    resolved = first_plan(settings, loaded, examples)
    adapted = lora.attach_adapter(
        loaded.model, LoraSettings(**resolved["lora"]), seed=settings.seed
    )
    adapted.save_pretrained(str(folder / "adapter"))
    template.save(folder)
    rows = [{"prompt_ids": e.prompt_ids, "completion_ids": e.completion_ids} for e in examples]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    kept = ("epochs", "batch_size", "learning_rate", "schedule", "warmup_ratio", "weight_decay")
    return {name: resolved[name] for name in (*kept, "max_grad_norm", "precision", "seed")} | {
        "model": str(inputs["model"]),
        "adapter": str(folder / "adapter"),
        "rows": str(folder / "rows.jsonl"),
        "quantization": settings.quantization,
    }
