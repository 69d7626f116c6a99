"""When a row has ended, and what its completion is. Knows the tokenizer; no model."""

import time

from transformers import GenerationConfig

from core.training.prompts import end_token_ids
from workers.ml.generation import Completion
from workers.ml.rows import Row
from workers.ml.spelling import Spelling
from workers.ml.stopping import end_of_answer, ends_possible


class Endings:
    """Judges rows by their last token: end token, stop string, end of a statement, limit."""

    def __init__(self, tokenizer, config: GenerationConfig | None = None) -> None:
        self.tokenizer = tokenizer
        self.tokens = end_token_ids(tokenizer) | _named(config, tokenizer)
        self._spelling = Spelling(tokenizer)

    def of(self, row: Row) -> Completion | None:
        """The completion of a row that ends with the token it got last; None if it goes on."""
        token, sampling = row.tokens[-1], row.request.sampling
        if token in self.tokens:
            return self._completion(row, row.tokens[:-1], None, "stop")
        piece = self._spelling.of(token, first=False)  # with the space that begins it, if any
        row.watched = row.watched or (sampling.sql and b"\n" in piece)
        if row.watched or ends_possible(piece, sampling):
            end = end_of_answer(self._text(row.tokens), sampling)
            if end is not None:
                return self._completion(row, row.tokens, end, "stop")
        if len(row.tokens) >= row.limit:
            return self._completion(row, row.tokens, None, "length")
        return None

    def _completion(self, row: Row, tokens: list[int], end: int | None, reason: str) -> Completion:
        return Completion(
            id=row.request.id,
            token_ids=list(tokens),
            text=self._text(tokens)[:end],
            prompt_tokens=len(row.request.prompt_ids),
            completion_tokens=len(row.tokens),
            latency_seconds=time.monotonic() - row.entered,
            finish_reason=reason,
            index=row.index,
            scores=row.scores[: len(tokens)],
        )

    def _text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)


def _named(config: GenerationConfig | None, tokenizer) -> set[int]:
    """The ends that a model's makers name: that of its turns may be no word that others use. What
    is no special token stands there by default, and is an ordinary word of this model."""
    ends = None if config is None else config.eos_token_id
    ends = {ends} if isinstance(ends, int) else {*(ends or ())}
    return {
        end for end in ends if (token := tokenizer.added_tokens_decoder.get(end)) and token.special
    }
