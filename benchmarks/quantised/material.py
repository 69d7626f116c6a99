"""The test questions in tokens and their gold SQL, in an order of its own. Knows no contest."""

import json
import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Questions:
    """`prompts`: JSON lines of token ids, as contestants read them; `gold`: the SQL of each."""

    prompts: Path
    gold: list[str]


def prepare(model: Path, data: Path, folder: Path) -> Questions:
    """Behind the schema, as the adapter of `benchmarks.inference.material` was trained."""
    from transformers import AutoTokenizer

    from core.sql.introspect import introspect_sqlite
    from core.sql.render import render_schema
    from core.training.prompts import PromptTemplate

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    schema = render_schema(introspect_sqlite(data / "db.sqlite"))
    template = PromptTemplate("schema", schema, "sqlite")
    lines = (data / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "test"]
    random.Random(1).shuffle(rows)
    asked = [{"question": row["question"], "answer": row["sql"]} for row in rows]
    prompts = folder / "test-prompts.jsonl"
    ids = [template.encode(tokenizer, one).prompt_ids for one in asked]
    prompts.write_text("\n".join(map(json.dumps, ids)), encoding="utf-8")
    return Questions(prompts, [row["sql"] for row in rows])
