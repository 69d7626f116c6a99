"""The prompt template: what a model is asked with, in training and ever after. Knows no dataset.

It is stored as `prompt.json` in the adapter's (or merged model's) directory, so that evaluation,
merging and serving use the very prompt that the adapter was trained with.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInput, JobFailure

FILE_NAME = "prompt.json"
STYLES = ("schema", "bare", "classic", "chat", "zero_shot")
# Tokens that end a turn in the chat templates in use, before the tokenizer's own end of text.
TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>")
TEXT_ENDS = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>")


@dataclass(frozen=True)
class Encoded:
    """Token ids; a loss stands on the completion alone, which ends with the end-of-turn token."""

    prompt_ids: list[int]
    completion_ids: list[int]


@dataclass(frozen=True)
class PromptTemplate:
    """`schema`: the schema in front of the question. `bare`: the question alone (the schema is
    learned). `classic`: the course's headings. `chat`: the conversation as it is. `zero_shot`: the
    schema and the task spelt out, for a model that was not tuned on it."""

    style: str
    schema_text: str | None = None
    dialect: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise JobFailure("config", f"unknown prompt style {self.style!r}; one of {STYLES}")
        if self.style in ("schema", "zero_shot") and not self.schema_text:
            raise JobFailure(
                "config",
                f"prompt style '{self.style}' needs the database's schema; "
                "name a database with the dataset, or use 'bare'",
            )

    @classmethod
    def for_base(cls, kind: str, schema_text: str | None, dialect: str | None) -> "PromptTemplate":
        """What an untuned model is asked with: all it can know stands in the prompt."""
        if kind != "sql":
            return cls("chat")
        return cls("zero_shot" if schema_text else "bare", schema_text, dialect)

    def render(self, tokenizer, example: Mapping[str, Any]) -> str:
        """The prompt's text up to where the answer begins. `InvalidInput` where the chat template
        refuses its roles."""
        if self.style == "classic":
            return _classic(example)
        return _rendered(tokenizer, self._messages(example))

    def encode_turns(self, tokenizer, turns: Sequence[Mapping[str, str]]) -> list[int]:
        """The prompt of a conversation {role, content}, which ends with the user. Where it has no
        system message of its own it gets the training's, so that a lone question is asked just as
        the training asked it. `InvalidInput` where the chat template refuses the roles."""
        if self.style == "classic" and len(turns) == 1:
            text = _classic({"question": turns[0]["content"]})
        else:
            text = _rendered(tokenizer, self._with_system(turns))
        return list(tokenizer(text, add_special_tokens=False).input_ids)

    def encode(self, tokenizer, example: Mapping[str, Any]) -> Encoded:
        """Prompt and completion are tokenised apart: generation starts from the same prompt ids."""
        prompt = tokenizer(self.render(tokenizer, example), add_special_tokens=False).input_ids
        answer = tokenizer(example["answer"], add_special_tokens=False).input_ids
        return Encoded(list(prompt), [*answer, end_token_id(tokenizer)])

    def save(self, directory: Path) -> None:
        text = json.dumps(asdict(self), ensure_ascii=False, indent=2)
        (directory / FILE_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> "PromptTemplate":
        """Raises FileNotFoundError where the directory holds no prompt."""
        return cls(**json.loads((directory / FILE_NAME).read_text(encoding="utf-8")))

    def _messages(self, example: Mapping[str, Any]) -> list[dict[str, str]]:
        if self.style == "chat":
            messages = json.loads(example.get("context") or "[]")
        elif self.style == "zero_shot":
            return self._zero_shot(example)
        else:
            messages = []
        return [*self._with_system(messages), {"role": "user", "content": _question(example)}]

    def _with_system(self, messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
        system = self._sql_system() if self.style in ("schema", "bare") else self.system
        if not system or any(message["role"] == "system" for message in messages):
            return [*messages]
        return [{"role": "system", "content": system}, *messages]

    def _zero_shot(self, example: Mapping[str, Any]) -> list[dict[str, str]]:
        """Task and schema stand beside the question: a small model that finds them in the system
        message alone answers in prose (seen on a 135M model)."""
        name = _dialect_name(self.dialect)
        system = f"You are a SQL assistant. Answer with one {name} query and nothing else."
        asked = f"Question: {_question(example)}\nWrite the {name} query."
        content = f"Database schema:\n{self.schema_text}\n\n{asked}"
        return [{"role": "system", "content": system}, {"role": "user", "content": content}]

    def _sql_system(self) -> str:
        """Stands in front of every example, so its tokens are computed once for a group."""
        system = self.system or f"Answer with one {_dialect_name(self.dialect)} query."
        return f"{system}\n{self.schema_text}" if self.style == "schema" else system


def end_token_id(tokenizer) -> int:
    """The token that a completion ends with: the chat template's end of turn, else end of text."""
    return _known(tokenizer, TURN_ENDS)[0] if _known(tokenizer, TURN_ENDS) else _eos(tokenizer)


def end_token_ids(tokenizer) -> set[int]:
    """Every token at which an answer stops."""
    ends = _known(tokenizer, TURN_ENDS) + _known(tokenizer, TEXT_ENDS)
    return {*ends, _eos(tokenizer)}


def _eos(tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise JobFailure("config", "the base model's tokenizer names no end-of-text token")
    return tokenizer.eos_token_id


def _known(tokenizer, tokens: tuple[str, ...]) -> list[int]:
    """Ids of those that the tokenizer knows. Asked for each example, so one by one: `get_vocab`
    copies the whole vocabulary, which takes 80 ms."""
    known = []
    for token in tokens:
        # Of a token that it does not know: None, or the id of the unknown one.
        token_id = tokenizer.convert_tokens_to_ids(token)
        if token_id is not None and tokenizer.convert_ids_to_tokens(token_id) == token:
            known.append(token_id)
    return known


def _question(example: Mapping[str, Any]) -> str:
    extra = example.get("input") or ""
    return f"{example['question']}\n\n{extra}" if extra else example["question"]


def _classic(example: Mapping[str, Any]) -> str:
    extra = example.get("input") or ""
    return f"### 指令:\n{example['question']}\n### 输入:\n{extra}\n### 输出:\n"


def _rendered(tokenizer, messages: Sequence[Mapping[str, str]]) -> str:
    if not getattr(tokenizer, "chat_template", None):
        return _plain(messages)
    from jinja2 import TemplateError  # comes with transformers

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise InvalidInput(
            f"The model's chat template does not take these messages: {error}.",
            param="messages",
            code="invalid_messages",
        ) from error


def _plain(messages: Sequence[Mapping[str, str]]) -> str:
    """For a base model without a chat template."""
    turns = [f"{m['role'].capitalize()}: {m['content']}\n" for m in messages]
    return "".join(turns) + "Assistant:"


def _dialect_name(dialect: str | None) -> str:
    names = {"sqlite": "SQLite", "postgres": "PostgreSQL", "postgresql": "PostgreSQL"}
    return names.get(dialect or "", dialect or "SQL")
