"""The generation engine: prompts in, completions out as they finish. Knows no SQL, job or dataset.

One forward a step serves every row: those that are being decoded bring one token each, those that
enter bring their whole prompt behind the shared prefix, which is computed once. A row that ends
leaves its place to the next one waiting.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from core.errors import JobFailure
from core.failpoints import failpoint
from workers.ml import memory
from workers.ml.cache import Prefix, RowCache, bytes_per_position, logit_bytes, rows_that_fit
from workers.ml.decoding import NAME
from workers.ml.inference import Inference
from workers.ml.loading import LoadedModel
from workers.ml.outofmemory import memory_failure
from workers.ml.prompts import end_token_ids
from workers.ml.rows import (
    Batch,
    Completion,
    Request,
    Row,
    advance,
    compact,
    make_row,
    prefix_batch,
)
from workers.ml.sampling import draw, greedy
from workers.ml.stopping import end_of_answer, ends_possible

# Prompt tokens that may enter in one step: bounds its activations, and what others wait for it.
ENTERING_TOKENS = 2048


@dataclass
class Counts:
    """What was computed. `trunk_tokens` went through the layers (prefix included), `head_tokens`
    through the LM head; `prefix_tokens` is the length of the prefixes, each computed once."""

    prefix_tokens: int = 0
    trunk_tokens: int = 0
    head_tokens: int = 0
    steps: int = 0


class Engine:
    """Works with a loaded model; one thread at a time. Holds the adapter as it is now.

    `submit` requests and `run`, or `generate` a whole batch, which finds its common prefix.
    `max_rows` caps the rows at a time; memory caps them too, and where it runs out nevertheless the
    rows begin again, half as many at a time (`on_shrink(before, after)`). The model is borrowed for
    each step and given back as it was, so that a training may ask its own model for answers.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_rows: int | None = None,
        on_shrink: Callable[[int, int], None] | None = None,
    ) -> None:
        self.loaded = loaded
        self.entering_tokens = ENTERING_TOKENS
        self.on_shrink = on_shrink
        self.counts = Counts()
        self.max_rows = max_rows
        model = loaded.model
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._inference = Inference(self.model, attention=NAME)
        self._ends = end_token_ids(loaded.tokenizer)
        self._prefixes: list[Prefix] = []
        self._waiting: deque[Request] = deque()
        self._rows: list[Row] = []
        self._cache = RowCache(rows=0, length=0)
        self._pieces: dict[int, str] = {}

    def generate(
        self, requests: Iterable[Request], *, on_step: Callable[[], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish, in any order. What all prompts begin with is computed once.

        `on_step` is called after every step and may raise to stop the work.
        """
        requests = list(requests)
        self.share_prefix(common_prefix([r.prompt_ids for r in requests if self._fits(r)]))
        # Long prompts first: what is left at the end, when few rows are in use, is short.
        for request in sorted(requests, key=lambda r: -len(r.prompt_ids)):
            self.submit(request)
        yield from self.run(on_step=on_step)

    def share_prefix(self, token_ids: list[int]) -> None:
        """Computes the keys and values of a prefix; prompts that begin with it use them."""
        if not token_ids or any(p.token_ids == tuple(token_ids) for p in self._prefixes):
            return
        prefix = Prefix(tuple(token_ids))
        self._cache.aim_at(prefix)
        with self._inference:
            self._forward(prefix_batch(prefix, self._cache, self.loaded.device))
        self._prefixes.append(prefix)
        self._prefixes.sort(key=len, reverse=True)
        self.counts.prefix_tokens += len(prefix)

    def submit(self, request: Request) -> None:
        """Puts a request behind those that wait."""
        self._waiting.append(request)

    def run(self, *, on_step: Callable[[], None] | None = None) -> Iterator[Completion]:
        """Works until nothing waits; yields completions as they finish."""
        while self._waiting or self._rows:
            yield from self.step()
            if on_step is not None:
                on_step()

    def step(self) -> list[Completion]:
        """One forward for all rows, with as many entering ones as there are places; what ended."""
        refused = self._admit()
        if not self._rows:
            return refused
        tokens = self._next_tokens()
        return refused + (self._settle(tokens) if tokens is not None else [])

    def _next_tokens(self) -> list[int] | None:
        """One for each row; None where memory ran out, and all rows wait again."""
        try:
            batch = advance(self._rows, self._cache, self.loaded.device)
            self._cache.aim_at(torch.tensor(batch.places, device=self.loaded.device))
            with self._inference:
                return self._choose(self._forward(batch))
        except Exception as error:
            failure = memory_failure(error, f"answering {len(self._rows)} questions at a time")
            if failure is None:
                raise
        # Here the error is gone, and with it the frames that held what filled the memory.
        self._shrink(failure)
        return None

    def _shrink(self, failure: JobFailure) -> None:
        """Put the rows back in front of those that wait; half as many are taken from now on."""
        count = len(self._rows)
        if count == 1:
            raise failure
        self._waiting.extendleft(row.request for row in reversed(self._rows))
        self._rows.clear()
        self._cache = RowCache(rows=0, length=0)
        self.max_rows, self.entering_tokens = count // 2, max(1, self.entering_tokens // 2)
        memory.give_back(self.loaded.device)
        if self.on_shrink is not None:
            self.on_shrink(count, self.max_rows)

    def _admit(self) -> list[Completion]:
        """Takes waiting requests into free places; returns those that can't be served."""
        refused = []
        self._lay_out()
        room = self.entering_tokens
        while self._waiting and len(self._rows) < self._cache.rows:
            if not self._fits(self._waiting[0]):
                refused.append(_refusal(self._waiting.popleft(), self.loaded.context_length))
                continue
            row = self._row(self._waiting[0])
            if self._rows and len(row.suffix) + row.limit > self._cache.length:
                break  # longer places are laid out when these rows are done
            if len(row.suffix) > room and room < self.entering_tokens:
                break  # in the next step
            room -= len(row.suffix)
            self._rows.append(row)
            self._waiting.popleft()
        return refused

    def _lay_out(self) -> None:
        """Allocates places long enough for everything that waits, while no row is in use."""
        if self._rows or not self._waiting:
            return
        rows = [self._row(request) for request in self._waiting if self._fits(request)]
        length = max((len(row.suffix) + row.limit for row in rows), default=1)
        config = self.model.config
        row_bytes = length * bytes_per_position(config, self.loaded.dtype) + logit_bytes(config)
        count = min(rows_that_fit(row_bytes, self.loaded.device), max(len(rows), 1))
        count = min(count, self.max_rows or count)
        if self._cache.length < length or self._cache.rows < count:
            self._cache = RowCache(rows=count, length=length)

    def _fits(self, request: Request) -> bool:
        return 0 < len(request.prompt_ids) < self.loaded.context_length

    def _row(self, request: Request) -> Row:
        return make_row(request, self._prefixes, self.loaded.context_length)

    def _forward(self, batch: Batch) -> Tensor:
        """Logits at each row's last token, [rows, vocabulary]."""
        device = self.loaded.device
        self.counts.steps += 1
        self.counts.trunk_tokens += len(batch.token_ids)
        self.counts.head_tokens += len(batch.last)
        failpoint("engine.step", at=self.counts.steps, oom=torch.OutOfMemoryError)
        output = self.model(
            input_ids=torch.tensor([batch.token_ids], device=device),
            position_ids=batch.step.positions.unsqueeze(0),
            past_key_values=batch.step.cache,
            use_cache=True,
            logits_to_keep=torch.tensor(batch.last, dtype=torch.long, device=device),
            step=batch.step,
        )
        return output.logits[0]

    def _choose(self, logits: Tensor) -> list[int]:
        tokens = greedy(logits)
        for index, row in enumerate(self._rows):
            if row.generator is not None:
                tokens[index] = draw(logits[index], row.request.sampling, row.generator)
        return tokens

    def _settle(self, tokens: list[int]) -> list[Completion]:
        """Gives each row its token; those that end leave."""
        ended: dict[int, Completion] = {}
        for index, (row, token) in enumerate(zip(self._rows, tokens, strict=True)):
            row.tokens.append(token)
            if (completion := self._ended(row)) is not None:
                ended[index] = completion
        compact(self._rows, set(ended), self._cache)
        return list(ended.values())

    def _ended(self, row: Row) -> Completion | None:
        token, sampling = row.tokens[-1], row.request.sampling
        if token in self._ends:
            return self._completion(row, row.tokens[:-1], None, "stop")
        piece = self._piece(token)
        row.watched = row.watched or (sampling.sql and "\n" in piece)
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
            token_ids=tokens,
            text=self._text(tokens)[:end],
            prompt_tokens=len(row.request.prompt_ids),
            completion_tokens=len(row.tokens),
            latency_seconds=time.monotonic() - row.entered,
            finish_reason=reason,
        )

    def _text(self, tokens: list[int]) -> str:
        return self.loaded.tokenizer.decode(tokens, skip_special_tokens=True)

    def _piece(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._text([token])
        return self._pieces[token]


def common_prefix(prompts: list[list[int]]) -> list[int]:
    """The longest beginning that all prompts share and that leaves each at least one token."""
    if not prompts:
        return []
    first, last = min(prompts), max(prompts)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    return first[: min(length, min(map(len, prompts)) - 1)]


def _refusal(request: Request, context_length: int) -> Completion:
    count = len(request.prompt_ids)
    message = (
        f"the prompt has {count} tokens; the model takes fewer than {context_length}"
        if count
        else "the prompt is empty"
    )
    return Completion(request.id, [], "", count, 0, 0.0, "error", message)
