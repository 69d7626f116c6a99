"""A base model's tokenizer and chat template, read from its directory without transformers.

It answers to what `core.training.prompts` asks of a tokenizer, with the same token ids, so that an
estimate counts what a training will see. The template is the operator's own model's, and still runs
in Jinja's sandbox.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import JobFailure

TOKENIZER, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


@dataclass(frozen=True)
class Tokens:
    input_ids: list[int]


class FileTokenizer:
    """Raises ImportError where `tokenizers` or Jinja is missing, OSError without the files,
    ValueError where they are no tokenizer's."""

    def __init__(self, directory: Path) -> None:
        self._tokenizer = _read_tokenizer(directory / TOKENIZER)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        config = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
        self._special = {name: _content(config[name]) for name in SPECIAL if config.get(name)}
        self.chat_template = _read_template(directory, config)
        self._render = _compile(self.chat_template) if self.chat_template else None

    def __call__(self, text: str, *, add_special_tokens: bool) -> Tokens:
        return Tokens(self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        if tokenize or self._render is None:
            raise ValueError("only the text of a template that the model has can be rendered")
        return self._render(
            messages=messages, add_generation_prompt=add_generation_prompt, **self._special
        )

    @property
    def eos_token_id(self) -> int | None:
        return self.convert_tokens_to_ids(self._special.get("eos_token", ""))

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def convert_ids_to_tokens(self, token_id: int) -> str | None:
        return self._tokenizer.id_to_token(token_id)


@lru_cache(maxsize=4)
def load_tokenizer(directory: Path) -> FileTokenizer:
    """Kept: reading one takes most of a second."""
    return FileTokenizer(directory)


def _read_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer  # slow to import, and the API may lack it

    text = path.read_text(encoding="utf-8")
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"{path.name} is no tokenizer: {error}") from error


def _content(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else token["content"]


def _read_template(directory: Path, config: dict[str, Any]) -> str | None:
    if (directory / TEMPLATE).is_file():
        return (directory / TEMPLATE).read_text(encoding="utf-8")
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {one["name"]: one["template"] for one in found}.get("default")
    return found


def _compile(source: str) -> Callable[..., str]:
    """As transformers compiles one: same trimming, same helpers."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **how: json.dumps(
        value, **{"ensure_ascii": False, **how}
    )
    environment.globals["raise_exception"] = refuse
    template = environment.from_string(source)

    def render(**given: Any) -> str:
        try:
            return template.render(tools=None, documents=None, **given)
        except TemplateError as error:
            message = f"the base model's chat template does not take such messages: {error}"
            raise JobFailure("data", message) from error

    return render
