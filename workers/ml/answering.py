"""What evaluating and generating share: model and adapter, prompt, answers as they come.

Knows neither jobs nor SQL execution; `workers.recipes` puts those around it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from core.training.prompts import FILE_NAME, PromptTemplate
from workers.ml.engine import Engine
from workers.ml.generation import Completion, Request
from workers.ml.loading import LoadedModel, load_adapter, load_base


def load_model(
    inputs: Mapping[str, Path], *, quantization: str, precision: str, device: str
) -> LoadedModel:
    """`inputs["model"]`, with `inputs["adapter"]` live on it where there is one."""
    loaded = load_base(
        inputs["model"], quantization=quantization, precision=precision, device=device
    )
    return load_adapter(loaded, inputs["adapter"]) if "adapter" in inputs else loaded


def choose_template(
    inputs: Mapping[str, Path],
    *,
    style: str,
    kind: str,
    schema_text: str | None,
    dialect: str | None,
) -> PromptTemplate:
    """How to ask. `auto`: as the adapter or merged model was trained, else what suits a base model.

    A prompt with the schema in it shows the schema of the database that is asked about, which is
    the one of the training unless the caller names another database.
    """
    if style != "auto":
        return PromptTemplate(style, schema_text if style == "schema" else None, dialect)
    home = inputs.get("adapter", inputs["model"])
    if not (home / FILE_NAME).exists():
        return PromptTemplate.for_base(kind, schema_text, dialect)
    template = PromptTemplate.load(home)
    if template.style == "schema" and schema_text:
        return replace(template, schema_text=schema_text, dialect=dialect or template.dialect)
    return template


def encode_prompt(tokenizer, template: PromptTemplate, example: Mapping[str, Any]) -> list[int]:
    """What asks an example ({question, input?, context?})."""
    asked = {"input": "", "context": "[]", **example, "answer": ""}
    return template.encode(tokenizer, asked).prompt_ids


class Answers:
    """One batch on one engine: `of(requests)` yields completions as they finish. `tell` takes an
    event for a person."""

    def __init__(self, loaded: LoadedModel, *, tell: Callable[..., None]) -> None:
        self.tell = tell
        self.engine = Engine(loaded, on_shrink=partial(tell_fewer, tell))
        self.finished = 0
        self._started = time.monotonic()

    def of(
        self, requests: Iterable[Request], *, on_step: Callable[[], None]
    ) -> Iterator[Completion]:
        """Asks all of them; those of a large batch are made as they are wanted."""
        self._started = time.monotonic()
        for completion in self.engine.generate(requests, on_step=on_step):
            self.finished += completion.index == 0
            yield completion

    def figures(self) -> dict[str, Any]:
        """What it took so far; `trunk_tokens` went through the layers, the prefix among them."""
        seconds = time.monotonic() - self._started
        return {
            "requests_per_second": round(self.finished / seconds, 3) if seconds else 0.0,
            "generate_seconds": round(seconds, 2),
            "prefix_tokens": self.engine.counts.prefix_tokens,
            "trunk_tokens": self.engine.counts.trunk_tokens,
            "steps": self.engine.counts.steps,
        }


def tell_fewer(tell: Callable[..., None], before: int, after: int) -> None:
    """Says that an engine (`on_shrink`) takes fewer rows at a time from here on."""
    message = f"memory ran out with {before} questions at a time; it goes on with {after}"
    tell(message, level="warning", before=before, after=after)


def describe(loaded: LoadedModel, template: PromptTemplate) -> dict[str, Any]:
    """What answered, for a result."""
    return {
        "quantization": loaded.quantization,
        "precision": loaded.precision,
        "quantized_layers": loaded.quantized_layers,
        "weight_bytes": loaded.weight_bytes,
        "prompt": template.style,
    }
