"""The generation engine: prompts in, completions out as they finish. Knows no SQL, job or dataset.

One forward a step serves every row: those that are being decoded bring one token each, those that
enter bring their whole prompt behind the shared prefix, which is computed once and kept. A row that
ends leaves its place to the next one waiting.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.errors import JobFailure
from core.failpoints import failpoint
from workers.ml import memory
from workers.ml.adapters import Adapters, read_adapter
from workers.ml.cache import Prefix, RowCache, bytes_per_position, logit_bytes, rows_that_fit
from workers.ml.decoding import NAME
from workers.ml.endings import Endings, refusal
from workers.ml.inference import Inference
from workers.ml.loading import LoadedModel
from workers.ml.outofmemory import memory_failure
from workers.ml.prefixes import Prefixes, common_prefix, default_limit
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

# Prompt tokens that may enter in one step: bounds its activations, and what others wait for it.
ENTERING_TOKENS = 2048


@dataclass
class Counts:
    """What was computed. `trunk_tokens` went through the layers (prefixes included), `head_tokens`
    through the LM head; `prefix_tokens` are those of the `prefixes` that were computed."""

    prefixes: int = 0
    prefix_tokens: int = 0
    trunk_tokens: int = 0
    head_tokens: int = 0
    steps: int = 0


class Engine:
    """Works with a loaded model; one thread at a time. Holds the adapter as it is now.

    `submit` requests and `run`, or `generate` a whole batch, which finds its common prefix.
    `max_rows` caps the rows at a time; memory caps them too, and where it runs out nevertheless the
    rows begin again, half as many at a time (`on_shrink(before, after)`). `prefix_bytes` bounds the
    prefixes that are kept for later requests. The model is borrowed for each step and given back as
    it was, so that a training may ask its own model for answers.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        max_rows: int | None = None,
        prefix_bytes: int | None = None,
        on_shrink: Callable[[int, int], None] | None = None,
    ) -> None:
        self.loaded = loaded
        self.entering_tokens = ENTERING_TOKENS
        self.on_shrink = on_shrink
        self.counts = Counts()
        self.max_rows = max_rows
        model = loaded.model
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.endings = Endings(loaded.tokenizer)
        self.prefixes = Prefixes(
            bytes_per_position=bytes_per_position(self.model.config, loaded.dtype),
            limit=default_limit(loaded.device) if prefix_bytes is None else prefix_bytes,
        )
        self.adapters = Adapters(self.model)
        self._inference = Inference(self.model, attention=NAME, adapters=self.adapters)
        self._refused: list[Completion] = []
        self._waiting: deque[Row] = deque()
        self._rows: list[Row] = []
        self._cache = RowCache(rows=0, length=0)

    def generate(
        self, requests: Iterable[Request], *, on_step: Callable[[], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish, in any order. What all prompts for an adapter begin with is
        computed once.

        `on_step` is called after every step and may raise to stop the work.
        """
        groups: dict[str | None, list[Request]] = {}
        for request in requests:
            groups.setdefault(request.adapter, []).append(request)
        for adapter, group in groups.items():
            shared = common_prefix([r.prompt_ids for r in group if self._problem(r) is None])
            prefix = Prefix(tuple(shared), adapter) if shared else None
            # Long prompts first: what is left at the end, when few rows are in use, is short.
            for request in sorted(group, key=lambda r: -len(r.prompt_ids)):
                self._enqueue(request, prefix)
        yield from self.run(on_step=on_step)

    def load_adapter(self, name: str, directory: Path) -> None:
        """Makes an adapter (PEFT's format) ready for requests that name it; rows in flight go on.
        JobFailure (config) where it is hostile, does not fit or is more than plain LoRA."""
        self.adapters.add(name, read_adapter(self.loaded, directory))

    def unload_adapter(self, name: str) -> None:
        """Lets go of an adapter and its prefixes. JobFailure (config) while a request needs it."""
        if name not in self.adapters:
            raise JobFailure("config", f"no adapter {name!r} is loaded")
        if any(row.request.adapter == name for row in (*self._rows, *self._waiting)):
            raise JobFailure("config", f"adapter {name!r} is in use; unload it when it is idle")
        self.adapters.remove(name)
        self.prefixes.forget(name)

    def share_prefix(self, token_ids: list[int], *, adapter: str | None = None) -> None:
        """Keeps the keys and values of a prefix, which are computed unless they are kept already;
        prompts that are submitted from now on and begin with it use them."""
        prefix = Prefix(tuple(token_ids), adapter)
        if token_ids and self.prefixes.get(prefix) is None:
            self.prefixes.make_room(prefix, in_use=self._in_use())
            self._compute(prefix)

    def submit(self, request: Request) -> None:
        """Puts a request behind those that wait; it uses the longest kept prefix it begins with."""
        prefix = self.prefixes.longest(request.adapter, request.prompt_ids)
        self._enqueue(request, prefix)

    def run(self, *, on_step: Callable[[], None] | None = None) -> Iterator[Completion]:
        """Works until nothing waits; yields completions as they finish."""
        while self._waiting or self._rows or self._refused:
            yield from self.step()
            if on_step is not None:
                on_step()

    def step(self) -> list[Completion]:
        """One forward for all rows, with as many entering ones as there are places; what ended."""
        refused, self._refused = self._refused, []
        return refused + self._settle(self._next_tokens())

    def _enqueue(self, request: Request, prefix: Prefix | None) -> None:
        problem = self._problem(request)
        if problem is not None:
            self._refused.append(refusal(request, problem))
            return
        self._waiting.append(make_row(request, prefix, self.loaded.context_length))

    def _problem(self, request: Request) -> str | None:
        """Why a request can't be served; None if it can."""
        count, context = len(request.prompt_ids), self.loaded.context_length
        if not count:
            return "the prompt is empty"
        if count >= context:
            return f"the prompt has {count} tokens; the model takes fewer than {context}"
        if request.adapter not in self.adapters:
            return f"no adapter {request.adapter!r} is loaded"
        return None

    def _next_tokens(self) -> list[int]:
        """One for each row; none where memory ran out, and all rows wait again."""
        try:
            self._admit()
            if not self._rows:
                return []
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
        return []

    def _shrink(self, failure: JobFailure) -> None:
        """Put the rows back in front of those that wait; half as many are taken from now on."""
        count = len(self._rows)
        if count <= 1:
            raise failure
        context = self.loaded.context_length
        again = [make_row(row.request, row.prefix, context) for row in self._rows]
        self._waiting.extendleft(reversed(again))
        self._rows.clear()
        self._cache = RowCache(rows=0, length=0)
        self.max_rows, self.entering_tokens = count // 2, max(1, self.entering_tokens // 2)
        memory.give_back(self.loaded.device)
        if self.on_shrink is not None:
            self.on_shrink(count, self.max_rows)

    def _admit(self) -> None:
        """Takes waiting rows into free places."""
        self._lay_out()
        room = self.entering_tokens
        while self._waiting and len(self._rows) < self._cache.rows:
            row = self._waiting[0]
            if self._rows and row.length > self._cache.length:
                break  # longer places are laid out when these rows are done
            if len(row.suffix) > room and room < self.entering_tokens:
                break  # in the next step
            if not self._has_prefix(row):
                break  # when a row that uses another one is done
            room -= len(row.suffix)
            row.entered = time.monotonic()
            self._rows.append(self._waiting.popleft())

    def _lay_out(self) -> None:
        """Allocates places long enough for everything that waits, while no row is in use."""
        if self._rows or not self._waiting:
            return
        length = max(row.length for row in self._waiting)
        config = self.model.config
        row_bytes = length * bytes_per_position(config, self.loaded.dtype) + logit_bytes(config)
        count = min(rows_that_fit(row_bytes, self.loaded.device), len(self._waiting))
        count = min(count, self.max_rows or count)
        if self._cache.length < length or self._cache.rows < count:
            self._cache = RowCache(rows=count, length=length)

    def _has_prefix(self, row: Row) -> bool:
        """Sees to it that the row's prefix is computed; False while there is no room for it."""
        if row.prefix is None:
            return True
        kept = self.prefixes.get(row.prefix)
        if kept is None:
            if not self.prefixes.make_room(row.prefix, in_use=self._in_use()):
                return False
            self._compute(row.prefix)
        row.prefix = kept or row.prefix
        return True

    def _in_use(self) -> list[Prefix]:
        return [row.prefix for row in self._rows if row.prefix is not None]

    def _compute(self, prefix: Prefix) -> None:
        prefix.release()  # what an attempt left that ran out of memory, or one that was let go of
        self._cache.aim_at(prefix)
        with self._inference:
            self._forward(prefix_batch(prefix, self._cache, self.loaded.device))
        self.prefixes.keep(prefix)
        self.counts.prefixes += 1
        self.counts.prefix_tokens += len(prefix)

    def _forward(self, batch: Batch) -> Tensor:
        """Logits at each row's last token, [rows, vocabulary]."""
        device = self.loaded.device
        self.counts.steps += 1
        self.counts.trunk_tokens += len(batch.token_ids)
        self.counts.head_tokens += len(batch.last)
        self.adapters.assign(batch.adapters, device)
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
            if (completion := self.endings.of(row)) is not None:
                ended[index] = completion
        compact(self._rows, set(ended), self._cache)
        return list(ended.values())
