"""The model card that lies beside an adapter: what it was made of, how, and how well it did."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")


def write_card(
    directory: Path,
    *,
    base_model: str,
    dataset_hash: str | None,
    settings: dict[str, Any],
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Writes `card.json` for machines and `README.md` for people; returns the former's content."""
    card = {
        "base_model": base_model,
        "dataset_sha256": dataset_hash,
        "settings": settings,
        "metrics": metrics,
        "versions": {name: version(name) for name in PACKAGES},
    }
    text = json.dumps(card, ensure_ascii=False, indent=2)
    (directory / "card.json").write_text(text + "\n", encoding="utf-8")
    (directory / "README.md").write_text(_readme(card), encoding="utf-8")
    return card


def _readme(card: dict[str, Any]) -> str:
    head = json.dumps(card["base_model"], ensure_ascii=False)
    parts = [
        f"---\nbase_model: {head}\nlibrary_name: peft\ntags:\n- lora\n---\n",
        "# LoRA adapter\n",
        f"Base model: `{card['base_model']}`. Dataset (sha256): `{card['dataset_sha256']}`.\n",
        "The prompt that it was trained with is `prompt.json`; ask it with that one.\n",
    ]
    for title in ("metrics", "settings", "versions"):
        rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in card[title].items())
        parts.append(f"## {title.capitalize()}\n\n| name | value |\n|---|---|\n{rows}")
    return "\n".join(parts)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False).replace("|", "\\|")
