"""The generation engine: prompts in, completions out as they finish. Knows no SQL, job or dataset.

One forward a step serves every row: those that are being decoded bring one token each, those that
enter bring their whole prompt behind the shared prefix, which is computed once. A row that ends
leaves its place to the next one waiting.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workers.ml.cache import Prefix, RowCache, bytes_per_position, rows_that_fit
from workers.ml.decoding import NAME, Entering, Step
from workers.ml.loading import LoadedModel
from workers.ml.prompts import end_token_ids
from workers.ml.sampling import Sampling, draw, greedy
from workers.ml.stopping import end_of_answer, ends_possible

# Prompt tokens that may enter in one step: bounds its activations, and what others wait for it.
ENTERING_TOKENS = 2048


@dataclass(frozen=True)
class Request:
    """`id` is the caller's; it comes back with the completion."""

    id: int
    prompt_ids: list[int]
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Completion:
    """`text` without end tokens and stop strings. `latency_seconds`: from entering to the end.

    finish_reason: `stop` (end token, stop string or end of the statement), `length`, or `error`,
    and then `error` says what was wrong with this prompt alone.
    """

    id: int
    token_ids: list[int]
    text: str
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    finish_reason: str
    error: str | None = None


@dataclass
class Counts:
    """What was computed. `trunk_tokens` went through the layers (prefix included), `head_tokens`
    through the LM head; `prefix_tokens` is the length of the prefixes, each computed once."""

    prefix_tokens: int = 0
    trunk_tokens: int = 0
    head_tokens: int = 0
    steps: int = 0


@dataclass
class _Row:
    """A request in a place: `fill` positions of its own are cached, `tokens` were generated."""

    request: Request
    prefix: Prefix | None
    suffix: list[int]
    limit: int
    entered: float
    fill: int = 0
    tokens: list[int] = field(default_factory=list)
    generator: torch.Generator | None = None


class Engine:
    """Owns a loaded model while it generates; one thread at a time.

    `submit` requests and `run`, or `generate` a whole batch, which finds its common prefix.
    `max_rows` caps the rows at a time; memory caps them too.
    """

    def __init__(self, loaded: LoadedModel, *, max_rows: int | None = None) -> None:
        self.loaded = loaded
        self.counts = Counts()
        self.max_rows = max_rows
        model = loaded.model
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._ends = end_token_ids(loaded.tokenizer)
        self._prefixes: list[Prefix] = []
        self._waiting: deque[Request] = deque()
        self._rows: list[_Row] = []
        self._cache: RowCache | None = None
        self._pieces: dict[int, str] = {}

    def generate(
        self, requests: Iterable[Request], *, on_step: Callable[[], None] | None = None
    ) -> Iterator[Completion]:
        """Completions as they finish, in any order. Whatever all prompts begin with is computed once.

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
        cache = self._cache or RowCache(rows=0, length=0)
        cache.aim_at(prefix)
        with self._exclusive():
            self._forward(
                token_ids, list(range(len(prefix))), Step(cache=cache, prefill=prefix), last=[]
            )
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
        with self._exclusive():
            logits = self._decode()
        return refused + self._settle(self._choose(logits))

    # --- rows come -------------------------------------------------------------------------------

    def _admit(self) -> list[Completion]:
        """Takes waiting requests into free places; returns those that can't be served."""
        refused = []
        self._lay_out()
        budget = ENTERING_TOKENS
        while self._waiting and len(self._rows) < self._cache.rows:
            request = self._waiting[0]
            if not self._fits(request):
                refused.append(_refusal(self._waiting.popleft(), self.loaded.context_length))
                continue
            row = self._row(request)
            if len(row.suffix) + row.limit > self._cache.length and self._rows:
                break  # the places are too short for it: new ones are laid out when these are done
            if len(row.suffix) > budget and budget < ENTERING_TOKENS:
                break
            budget -= len(row.suffix)
            self._rows.append(row)
            self._waiting.popleft()
        return refused

    def _lay_out(self) -> None:
        """Allocates places long enough for everything that waits, while no row is in use."""
        if self._rows or not self._waiting:
            return
        rows = [self._row(r) for r in self._waiting if self._fits(r)]
        length = max((len(row.suffix) + row.limit for row in rows), default=1)
        row_bytes = length * bytes_per_position(self.model.config, self.loaded.dtype)
        count = min(rows_that_fit(row_bytes, self.loaded.device), max(len(rows), 1))
        count = min(count, self.max_rows or count)
        if self._cache is None or self._cache.length < length or self._cache.rows < count:
            self._cache = None  # the old places are freed before the new ones are taken
            self._cache = RowCache(rows=count, length=length)

    def _fits(self, request: Request) -> bool:
        return 0 < len(request.prompt_ids) < self.loaded.context_length

    def _row(self, request: Request) -> _Row:
        ids = request.prompt_ids
        prefix = next((p for p in self._prefixes if _begins(ids, p.token_ids)), None)
        limit = min(request.sampling.max_new_tokens, self.loaded.context_length - len(ids))
        row = _Row(
            request=request,
            prefix=prefix,
            suffix=ids[len(prefix) if prefix else 0 :],
            limit=limit,
            entered=time.monotonic(),
        )
        if request.sampling.temperature > 0:
            row.generator = torch.Generator().manual_seed(request.sampling.seed)
        return row

    # --- one forward -----------------------------------------------------------------------------

    def _decode(self) -> Tensor:
        """Logits [rows, vocabulary] of every row's next token."""
        rows, length = self._rows, self._cache.length
        token_ids: list[int] = []
        places: list[int] = []
        positions: list[int] = []
        last: list[int] = []
        for index, row in enumerate(rows):
            new = row.tokens[-1:] or row.suffix
            start = len(row.prefix or ())
            token_ids += new
            places += range(index * length + row.fill, index * length + row.fill + len(new))
            positions += range(start + row.fill, start + row.fill + len(new))
            last.append(len(token_ids) - 1)
            row.fill += len(new)
        self._cache.aim_at(torch.tensor(places, device=self.loaded.device))
        return self._forward(token_ids, positions, self._plan(), last=last)

    def _plan(self) -> Step:
        """How this step's tokens attend. Rows that enter are the last ones."""
        rows, device = self._rows, self.loaded.device
        decoding = sum(1 for row in rows if row.tokens)
        longest = max((row.fill for row in rows[:decoding]), default=0)
        mask = None
        if decoding:
            fills = torch.tensor([row.fill for row in rows[:decoding]], device=device)
            behind = torch.arange(longest, device=device) >= fills[:, None]
            mask = torch.zeros(behind.shape, device=device).masked_fill_(behind, float("-inf"))
            mask = mask[:, None, None, :]
        return Step(
            cache=self._cache,
            decoding=decoding,
            longest=longest,
            mask=mask,
            entering=self._entering(decoding),
            shared=self._shared(),
        )

    def _entering(self, decoding: int) -> Entering | None:
        lengths = [row.fill for row in self._rows[decoding:]]
        if not lengths:
            return None
        longest = max(lengths)
        gather = torch.zeros(len(lengths), longest, dtype=torch.long)
        scatter = []
        start = decoding
        for index, length in enumerate(lengths):
            gather[index, :length] = torch.arange(start, start + length)
            scatter += range(index * longest, index * longest + length)
            start += length
        device = self.loaded.device
        return Entering(decoding, gather.to(device), torch.tensor(scatter, device=device))

    def _shared(self) -> tuple[tuple[Prefix, slice | Tensor], ...]:
        """Which tokens of the step attend to which prefix; a slice if it is one for all."""
        prefixes = {id(row.prefix): row.prefix for row in self._rows if row.prefix is not None}
        if len(prefixes) == 1 and all(row.prefix is not None for row in self._rows):
            return ((next(iter(prefixes.values())), slice(None)),)
        tokens: dict[int, list[int]] = {key: [] for key in prefixes}
        start = 0
        for row in self._rows:
            count = 1 if row.tokens else row.fill
            if row.prefix is not None:
                tokens[id(row.prefix)] += range(start, start + count)
            start += count
        device = self.loaded.device
        return tuple((prefixes[k], torch.tensor(t, device=device)) for k, t in tokens.items())

    def _forward(self, token_ids: list[int], positions: list[int], step: Step, *, last) -> Tensor:
        """Logits at the tokens `last`, [len(last), vocabulary]."""
        device = self.loaded.device
        self.counts.steps += 1
        self.counts.trunk_tokens += len(token_ids)
        self.counts.head_tokens += len(last)
        keep = torch.tensor(last, dtype=torch.long, device=device)
        output = self.model(
            input_ids=torch.tensor([token_ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            past_key_values=step.cache,
            use_cache=True,
            logits_to_keep=keep,
            step=step,
        )
        return output.logits[0]

    def _exclusive(self) -> "_Borrowed":
        return _Borrowed(self.model)

    # --- rows go ---------------------------------------------------------------------------------

    def _choose(self, logits: Tensor) -> list[int]:
        tokens = greedy(logits)
        for index, row in enumerate(self._rows):
            if row.generator is not None:
                tokens[index] = draw(logits[index], row.request.sampling, row.generator)
        return tokens

    def _settle(self, tokens: list[int]) -> list[Completion]:
        """Gives each row its token; those that end leave, and the last ones take their places."""
        ended: dict[int, Completion] = {}
        for index, (row, token) in enumerate(zip(self._rows, tokens, strict=True)):
            row.tokens.append(token)
            if (completion := self._ended(row)) is not None:
                ended[index] = completion
        staying = len(self._rows) - len(ended)
        targets = [index for index in ended if index < staying]
        sources = [i for i in range(staying, len(self._rows)) if i not in ended]
        if targets:
            longest = max(self._rows[i].fill for i in sources)
            self._cache.move(sources, targets, longest)
        for source, target in zip(sources, targets, strict=True):
            self._rows[target] = self._rows[source]
        del self._rows[staying:]
        return list(ended.values())

    def _ended(self, row: _Row) -> Completion | None:
        token = row.tokens[-1]
        if token in self._ends:
            return self._completion(row, row.tokens[:-1], None, "stop")
        sampling = row.request.sampling
        if ends_possible(self._piece(token), sampling):
            end = end_of_answer(self._text(row.tokens), sampling)
            if end is not None:
                return self._completion(row, row.tokens, end, "stop")
        if len(row.tokens) >= row.limit:
            return self._completion(row, row.tokens, None, "length")
        return None

    def _completion(
        self, row: _Row, tokens: list[int], end: int | None, reason: str
    ) -> Completion:
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


class _Borrowed:
    """The model in evaluation mode, with the engine's attention and without gradients; put back
    as it was at the end, so that a training can ask its own model for answers."""

    def __init__(self, model) -> None:
        self.model = model
        self._inference = torch.inference_mode()

    def __enter__(self) -> None:
        self._attention = self.model.config._attn_implementation
        self._training = self.model.training
        if self._training:
            self.model.eval()
        self.model.config._attn_implementation = NAME
        self._inference.__enter__()

    def __exit__(self, *error) -> None:
        self._inference.__exit__(*error)
        self.model.config._attn_implementation = self._attention
        if self._training:
            self.model.train()


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


def _begins(ids: list[int], prefix: tuple[int, ...]) -> bool:
    return len(ids) > len(prefix) and tuple(ids[: len(prefix)]) == prefix


def _refusal(request: Request, context_length: int) -> Completion:
    count = len(request.prompt_ids)
    message = (
        f"the prompt has {count} tokens; the model takes fewer than {context_length}"
        if count
        else "the prompt is empty"
    )
    return Completion(request.id, [], "", count, 0, 0.0, "error", message)
