"""The generation engine: prompts in, completions out as they finish. Knows no SQL, job or dataset.

One forward a step serves every row: those that are being decoded bring one token each, those that
enter bring their whole prompt behind the shared prefix, which is computed once and kept. A row that
ends leaves its place to the next one waiting. A long prompt is a prefix of its own; prefixes are
computed in pieces, between which the others go on.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from core.errors import JobFailure
from core.failpoints import failpoint
from workers.ml import memory
from workers.ml.adapters import Adapters, read_adapter
from workers.ml.cache import Prefix, bytes_per_position
from workers.ml.choosing import choose, draft
from workers.ml.decoding import NAME
from workers.ml.endings import Endings
from workers.ml.generation import (
    NOT_FINITE,
    Completion,
    Counts,
    Problem,
    Request,
    Unfinished,
    problem_of,
    refusal,
)
from workers.ml.inference import Inference
from workers.ml.loading import LoadedModel
from workers.ml.outofmemory import memory_failure, telling_memory
from workers.ml.places import Places
from workers.ml.prefill import ENTERING_TOKENS, Prefill
from workers.ml.prefixes import Prefixes, common_prefix, default_limit
from workers.ml.rows import Batch, Row, advance, compact, fork, make_row, prefix_batch

# While so few rows are being decoded, what they say next is drafted and verified. GeoQuery's gold
# answers, drafted from their prompts, come at 1.7 tokens a step. A step of one row with 8 drafted
# tokens took 1.9 times the CPU time of one without (smollm2-135m, fp32), and 0.4 of them bring any;
# of four rows one almost always does, and nothing is gained.
DRAFTING_ROWS = 2
# After memory ran out it takes as many as before again, once it has been idle after so long: what
# filled it may have been another process.
SPARING_SECONDS = 600.0
# So many of a batch's rows wait at most: the rest of it is not read yet, which bounds what its
# prompts take. Many enough to find what they begin with in common.
MOST_WAITING = 1000


class Engine:
    """Works with a loaded model; one thread at a time. Holds the adapter as it is now.

    `submit` requests and `run`, or `generate` a whole batch, which finds its common prefix; or call
    `step` again and again: what is submitted in between joins the others.
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
        self.max_rows = max_rows
        self._spares_until: float | None = None
        self.drafting_rows = DRAFTING_ROWS
        self.on_shrink = on_shrink
        self.counts = Counts()
        model = loaded.model
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.endings = Endings(loaded.tokenizer, self.model.generation_config)
        self.prefixes = Prefixes(
            bytes_per_position=bytes_per_position(self.model.config, loaded.dtype),
            limit=default_limit(loaded.device) if prefix_bytes is None else prefix_bytes,
        )
        self.prefill = Prefill(self.prefixes, self.counts, self._compute)
        self.adapters = Adapters(self.model)
        self._inference = Inference(self.model, attention=NAME, adapters=self.adapters)
        self._refused: list[Completion] = []
        self._waiting: deque[Row] = deque()
        self._rows: list[Row] = []
        self.places = Places(self.model.config, loaded.dtype, loaded.device, most=max_rows)
        self._came = False

    def generate(
        self, requests: Iterable[Request], *, on_step: Callable[[], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish, in any order. What all prompts for an adapter begin with is
        computed once. A large batch is read as it is worked off.

        `on_step` is called after every step and may raise to stop the work.
        """
        left = iter(requests)
        self._take(left)

        def after_step() -> None:
            if len(self._waiting) <= MOST_WAITING // 2:
                self._take(left)
            if on_step is not None:
                on_step()

        yield from self.run(on_step=after_step)

    def _take(self, left: Iterator[Request]) -> None:
        """Reads on in a batch, until enough rows wait."""
        groups: dict[str | None, list[Request]] = {}
        room = MOST_WAITING - len(self._waiting)
        while room > 0 and (request := next(left, None)) is not None:
            groups.setdefault(request.adapter, []).append(request)
            room -= request.sampling.n
        for adapter, group in groups.items():
            prefix = self._shared(adapter, [r for r in group if self._problem(r) is None])
            # Long prompts first: what is left at the end, when few rows are in use, is short.
            for request in sorted(group, key=lambda r: -len(r.prompt_ids)):
                self._enqueue(request, prefix)

    def load_adapter(self, name: str, directory: Path) -> None:
        """Makes an adapter (PEFT's format) ready for requests that name it; rows in flight go on.
        JobFailure (config) where it is hostile, does not fit or is more than plain LoRA, and where
        memory does not suffice for it; then all is as it was."""
        with telling_memory("loading the adapter"):
            self.adapters.add(name, read_adapter(self.loaded, directory))

    def unload_adapter(self, name: str) -> None:
        """Lets go of an adapter and its prefixes. JobFailure (config) while a request needs it."""
        if name not in self.adapters:
            raise JobFailure("config", f"no adapter {name!r} is loaded")
        if any(row.request.adapter == name for row in (*self._rows, *self._waiting)):
            raise JobFailure("config", f"adapter {name!r} is in use; unload it when it is idle")
        self.prefixes.forget(name)
        with telling_memory("unloading the adapter"):
            self.adapters.remove(name)

    def submit(self, request: Request) -> None:
        """Puts a request behind those that wait; it uses the longest kept prefix it begins with, or
        what it shares with later ones, if those in use leave room for that."""
        prefix = self.prefixes.longest(request.adapter, request.prompt_ids)
        count = min(request.shared, len(request.prompt_ids) - 1)
        if count > len(prefix or ()) and self._problem(request) is None:
            shared = Prefix(tuple(request.prompt_ids[:count]), request.adapter)
            if self.prefill.begin(shared, in_use=self._in_use()):
                prefix = shared
        self._enqueue(request, prefix)

    def run(self, *, on_step: Callable[[], None] | None = None) -> Iterator[Completion]:
        """Works until nothing waits; yields completions as they finish. What is not finished when
        the caller stops is given up."""
        try:
            while self.busy:
                yield from self.step()
                if on_step is not None:
                    on_step()
        finally:
            self.give_up()

    @property
    def busy(self) -> bool:
        """Whether anything is left to be answered."""
        return bool(self._waiting or self._rows or self._refused)

    def step(self) -> list[Completion]:
        """One forward for all rows, with as many entering ones as there are places; what ended."""
        chosen = self._next_tokens()  # first: where it raises, nothing that was refused is lost
        refused, self._refused = self._refused, []
        return refused + self._settle(chosen)

    def unfinished(self) -> Iterator[Unfinished]:
        """What the answers that go on have said so far. Where memory ran out one may begin again;
        it says the same once more, as far as a step of fewer rows rounds alike: in bf16, of two
        tokens that are nearly as probable, it may take the other."""
        for row in self._rows:
            yield Unfinished(row.request.id, row.index, row.tokens, row.scores)

    def first_in_turn(self) -> set[Hashable]:
        """The requests that a step works on; while no row is in use, the one that it would begin
        with. Where a step ran out of memory it is these that can't be answered."""
        return {row.request.id for row in self._rows or [*self._waiting][:1]}

    def cancel(self, request_id: Hashable) -> None:
        """Nothing more is computed for a request, nor said of it."""
        self._waiting = deque(row for row in self._waiting if row.request.id != request_id)
        self._refused = [one for one in self._refused if one.id != request_id]
        gone = {place for place, row in enumerate(self._rows) if row.request.id == request_id}
        self.counts.copied_bytes += compact(self._rows, gone, self.places.cache)

    def give_up(self) -> None:
        """As `cancel`, everything."""
        for unfinished in (self._waiting, self._rows, self._refused):
            unfinished.clear()

    def _enqueue(self, request: Request, prefix: Prefix | None) -> None:
        problem = self._problem(request)
        if problem is not None:
            self._refused.append(refusal(request, problem))
            return
        if len(request.prompt_ids) - len(prefix or ()) > self.prefill.most:
            prefix = Prefix(tuple(request.prompt_ids[:-1]), request.adapter, beginning=prefix)
        for index in range(request.sampling.n):
            self._waiting.append(self._row(request, prefix, index))
        self._came = True

    def _shared(self, adapter: str | None, requests: list[Request]) -> Prefix | None:
        """What the prompts begin with, or the kept part of it if the rest isn't worth a prefix."""
        common = common_prefix([request.prompt_ids for request in requests])
        kept = self.prefixes.longest(adapter, [*common, -1])
        rows = sum(request.sampling.n for request in requests)
        if (len(common) - len(kept or ())) * rows <= len(common):
            return kept
        return Prefix(tuple(common), adapter)

    def _problem(self, request: Request) -> Problem | None:
        """Why a request can't be served; None if it can."""
        return problem_of(
            request, context_length=self.loaded.context_length, adapters=self.adapters
        )

    def _next_tokens(self) -> list[list[int]]:
        """One or more for each row, none for one whose logits are no numbers; nothing at all where
        memory ran out, and all rows wait again."""
        entering = True
        try:
            self._admit()
            entering = False
            if not self._rows:
                return []
            draft(self._rows, most_rows=self.drafting_rows)
            batch = advance(self._rows, self.places.cache, self.loaded.device)
            self.places.cache.aim_at(torch.tensor(batch.places, device=self.loaded.device))
            with self._inference:
                chosen = choose(self._rows, self._forward(batch))
            self.counts.drafted_tokens += sum(len(row.draft) for row in self._rows)
            self.counts.accepted_tokens += sum(len(tokens) - 1 for tokens in chosen if tokens)
            self.counts.copied_bytes += fork(self._rows, self.places.cache)
            return chosen
        except Exception as error:
            failure = memory_failure(error, f"answering {len(self._rows)} questions at a time")
            if failure is None:
                raise
        # Here the error is gone, and with it the frames that held what filled the memory.
        self._shrink(failure, entering=entering)
        return []

    def _shrink(self, failure: JobFailure, *, entering: bool) -> None:
        """Put the rows back in front of those that wait; half as many are taken from now on, and
        one where it was too much that another was `entering` beside it, or half computed. Where
        none was in use, what enters does so in smaller pieces."""
        rows = [one for row in self._rows for one in (row, *row.forks)]
        count = len(rows)
        self.places.clear()  # first: perhaps they are grown by half
        freed = self._release_partly()
        less = entering and (count or self.prefill.divisible)
        if count < 2 and not freed and not less:
            raise failure
        again = [self._row(row.request, row.prefix, row.index) for row in rows]
        self._waiting.extendleft(reversed(again))
        self._rows.clear()
        self.prefill.fewer()
        self._spares_until = time.monotonic() + SPARING_SECONDS
        memory.give_back(self.loaded.device)
        if count:
            self.places.most = max(1, count // 2)
        if self.on_shrink is not None and count > 1:
            self.on_shrink(count, self.places.most)

    def _release_partly(self) -> bool:
        """Gives back what is half computed for rows that wait; whether there was any."""
        prefixes = [row.prefix for row in self._waiting if row.prefix is not None]
        prefixes += [one.beginning for one in prefixes if one.beginning is not None]
        partly = [one for one in prefixes if one.partly]
        for one in partly:
            one.release()
        return bool(partly)

    def _admit(self) -> None:
        """Takes waiting rows into free places. Answers to one prompt enter as one row."""
        self._lay_out()
        self.prefill.left = self.prefill.most
        free = self.places.cache.rows - len(self._rows)
        while self._waiting and free:
            row, last = self._waiting[0], self._rows[-1] if self._rows else None
            if last is not None and last.request is row.request and not last.fill:
                last.forks.append(self._waiting.popleft())
                row.entered, row.prefix = last.entered, last.prefix
                free -= 1
                continue
            if self._rows and row.length > self.places.cache.length:
                break  # there is no room for longer places until these rows are done
            if not self._has_prefix(row):
                break  # when a row that uses another one is done, or after its next piece
            if self.prefill.exceeds(len(row.suffix)):
                break  # in the next step
            self.prefill.left -= len(row.suffix)
            row.entered = row.entered or time.monotonic()
            self._rows.append(self._waiting.popleft())
            free -= 1

    def _lay_out(self) -> None:
        """Places for what waits. Those in use change only when requests have come."""
        if not self._waiting:
            return
        if not self._rows:
            self._spare_no_longer()
            self.places.lay_out(self._waiting)
        elif self._came:
            self.counts.copied_bytes += self.places.extend(self._rows, self._waiting)
        self._came = False

    def _spare_no_longer(self) -> None:
        """Where memory ran out long ago, take as many rows as at first."""
        if self._spares_until is not None and time.monotonic() > self._spares_until:
            self.places.most, self.prefill.most = self.max_rows, ENTERING_TOKENS
            self._spares_until = None

    def _row(self, request: Request, prefix: Prefix | None, index: int) -> Row:
        return make_row(request, prefix, self.loaded.context_length, index=index)

    def _has_prefix(self, row: Row) -> bool:
        """Sees to it that the row's prefix is computed; False while there is no room for it, or
        more of it is left than a step takes."""
        if row.prefix is None:
            return True
        if (kept := self.prefixes.get(row.prefix)) is not None:
            row.prefix = kept
            return True
        if self.prefill.begin(row.prefix, in_use=self._in_use()):
            row.entered = row.entered or time.monotonic()
            return self.prefill.go_on(row.prefix)
        if len(row.prefix) == len(row.request.prompt_ids) - 1:
            # Its own: it need not wait for room. As a row it wants a longer place.
            row.prefix, self._came = row.prefix.beginning, True
        return False

    def _in_use(self) -> list[Prefix]:
        return [row.prefix for row in self._rows if row.prefix is not None]

    def _compute(self, prefix: Prefix, count: int) -> None:
        """The next tokens of a prefix."""
        batch = prefix_batch(prefix, count, self.places.cache, self.loaded.device)
        self.places.cache.aim_at(prefix)
        try:
            with self._inference:
                self._forward(batch)
        except BaseException:
            prefix.release()  # some layers have the piece
            raise
        finally:
            self.places.cache.aim_at(None)

    def _forward(self, batch: Batch) -> Tensor:
        """Logits [n, vocabulary] at the tokens that want them."""
        device = self.loaded.device
        self.counts.steps += 1
        self.counts.trunk_tokens += len(batch.token_ids)
        self.counts.head_tokens += len(batch.heads)
        self.adapters.assign(batch.adapters, device)
        failpoint("engine.step", at=self.counts.steps, oom=torch.OutOfMemoryError)
        output = self.model(
            input_ids=torch.tensor([batch.token_ids], device=device),
            position_ids=batch.step.positions.unsqueeze(0),
            past_key_values=batch.step.cache,
            use_cache=True,
            logits_to_keep=torch.tensor(batch.heads, dtype=torch.long, device=device),
            step=batch.step,
        )
        return output.logits[0]

    def _settle(self, chosen: list[list[int]]) -> list[Completion]:
        """Gives each row its tokens; those that end leave, and those that have none."""
        ended: dict[int, Completion] = {}
        broken: dict[Hashable, Completion] = {}
        for index, (row, tokens) in enumerate(zip(self._rows, chosen, strict=True)):
            if not tokens:
                broken[row.request.id] = refusal(row.request, NOT_FINITE)
            for token in tokens:
                row.tokens.append(token)
                if (completion := self.endings.of(row)) is not None:
                    ended[index] = completion
                    if row.request.heard is not None:
                        row.request.heard.add(row.tokens, row.request.prompt_ids)
                    break
        self.places.cache.wipe([place for place, tokens in enumerate(chosen) if not tokens])
        self.counts.copied_bytes += compact(self._rows, set(ended), self.places.cache)
        for request_id in broken:
            self.cancel(request_id)  # its other answers too
        return [*ended.values(), *broken.values()]
