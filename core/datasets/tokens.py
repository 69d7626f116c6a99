"""How long examples are for a base model, counted by its tokenizer alone. Needs no torch."""

from collections.abc import Sequence
from pathlib import Path

FILE_NAME = "tokenizer.json"


class TokenCounter:
    """Counts the tokens of texts; `unit` is `tokens`, or `characters` without a tokenizer."""

    def __init__(self, model_dir: Path | None) -> None:
        path = model_dir / FILE_NAME if model_dir else None
        self._tokenizer = None
        if path is not None and path.is_file():
            from tokenizers import Tokenizer  # slow to import, and not always needed

            self._tokenizer = Tokenizer.from_file(str(path))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        self.unit = "characters" if self._tokenizer is None else "tokens"

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text, special tokens of a template not included."""
        if self._tokenizer is None:
            return [len(text) for text in texts]
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(one.ids) for one in encoded]
