"""From a request as it travels to one for the engine: template, prompt, shared beginning.

Knows tokenizer and templates; no Redis and no engine.
"""

from functools import lru_cache
from pathlib import Path

from core.errors import JobFailure
from core.serving.wire import Chat, Request, Sql
from core.training.prompts import FILE_NAME, PromptTemplate
from workers.ml import generation
from workers.ml.answering import choose_template
from workers.ml.drafts import Heard
from workers.ml.prefixes import common_prefix
from workers.ml.sampling import Sampling
from workers.ml.shelf import AtHand

MOST_TEMPLATES = 256
"""Models and schemas whose prompts are remembered."""


class Prompts:
    """How the model in `model_dir` is asked, and an adapter on it."""

    def __init__(self, tokenizer, model_dir: Path) -> None:
        self.tokenizer = tokenizer
        self.model_dir = model_dir
        # A model that was trained is one project's; a base model answers all of them, who are to
        # learn nothing of each other.
        self._heard = Heard() if (model_dir / FILE_NAME).exists() else None
        self._template = lru_cache(MOST_TEMPLATES)(self._choose_template)
        self._beginning = lru_cache(MOST_TEMPLATES)(self._find_beginning)

    def for_engine(
        self, request_id: str, request: Request, adapter: str | None, at_hand: AtHand | None
    ) -> generation.Request:
        """`at_hand`: the adapter, if any. `InvalidInput` or JobFailure where it can't be asked."""
        prompt = request.prompt
        template = self._template_for(prompt, at_hand)
        if isinstance(prompt, Chat):
            prompt_ids = template.encode_turns(self.tokenizer, prompt.messages)
        else:
            prompt_ids = self._question(template, prompt.question)
        sampling = Sampling(
            max_new_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            n=request.n,
            stop=request.stop,
            sql=isinstance(prompt, Sql) and template.style != "chat",
            logprobs=request.logprobs,
        )
        heard = self._heard if at_hand is None else at_hand.heard
        shared = self._shared(template, prompt_ids) if isinstance(prompt, Sql) else 0
        return generation.Request(request_id, prompt_ids, sampling, adapter, heard, shared)

    def _shared(self, template: PromptTemplate, prompt_ids: list[int]) -> int:
        """How many tokens every question on that database begins with: the schema's, where the
        prompt has it."""
        beginning = self._beginning(template)
        return len(beginning) if tuple(prompt_ids[: len(beginning)]) == beginning else 0

    def _template_for(self, prompt: Chat | Sql, at_hand: AtHand | None) -> PromptTemplate:
        folder = None if at_hand is None else at_hand.folder
        if isinstance(prompt, Chat):
            return self._template(folder, "chat", None, None)
        return self._template(folder, "sql", prompt.schema_text, prompt.dialect or "sqlite")

    def _choose_template(
        self, folder: Path | None, kind: str, schema_text: str | None, dialect: str | None
    ) -> PromptTemplate:
        inputs = {"model": self.model_dir} | ({"adapter": folder} if folder else {})
        try:
            return choose_template(
                inputs, style="auto", kind=kind, schema_text=schema_text, dialect=dialect
            )
        except (OSError, ValueError, TypeError) as error:
            raise JobFailure("config", f"The model's prompt can't be read: {error}.") from error

    def _find_beginning(self, template: PromptTemplate) -> tuple[int, ...]:
        """Of two questions that begin differently."""
        return tuple(common_prefix([self._question(template, text) for text in ("How", "是")]))

    def _question(self, template: PromptTemplate, question: str) -> list[int]:
        return template.encode(self.tokenizer, {"question": question, "answer": ""}).prompt_ids
