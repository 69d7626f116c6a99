"""The rows that an engine works on, and how their tokens stand in one step. Computes nothing."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workers.ml.cache import Prefix, RowCache
from workers.ml.decoding import Entering, Step
from workers.ml.sampling import Sampling


@dataclass(frozen=True)
class Request:
    """`id` is the caller's; it comes back with the completion. `adapter`: one that the engine has
    loaded under this name; None is the model as it is."""

    id: int
    prompt_ids: list[int]
    sampling: Sampling = field(default_factory=Sampling)
    adapter: str | None = None


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
class Row:
    """A request in a place: `fill` positions of its own are cached, `tokens` were generated.
    `watched`: its text has taken a turn after which any token may show that it has ended."""

    request: Request
    prefix: Prefix | None
    limit: int
    entered: float = 0.0
    fill: int = 0
    tokens: list[int] = field(default_factory=list)
    watched: bool = False
    generator: torch.Generator | None = None

    @property
    def suffix(self) -> list[int]:
        """The part of the prompt that is the row's own."""
        return self.request.prompt_ids[len(self.prefix or ()) :]

    @property
    def length(self) -> int:
        """The positions that it may come to need."""
        return len(self.request.prompt_ids) - len(self.prefix or ()) + self.limit


@dataclass(frozen=True)
class Batch:
    """The tokens of one step, flat: ids, positions in their texts, places in the cache, which is
    the last one of each row, and adapters with how many tokens in a row are for each."""

    token_ids: list[int]
    positions: list[int]
    places: list[int]
    last: list[int]
    adapters: list[tuple[str | None, int]]
    step: Step


def make_row(request: Request, prefix: Prefix | None, context_length: int) -> Row:
    """`prefix`: one that the prompt begins with."""
    sampling = request.sampling
    limit = min(sampling.max_new_tokens, context_length - len(request.prompt_ids))
    row = Row(request=request, prefix=prefix, limit=limit)
    if sampling.temperature > 0:
        row.generator = torch.Generator().manual_seed(sampling.seed)
    return row


def advance(rows: list[Row], cache: RowCache, device: str) -> Batch:
    """Each row's next tokens: its whole suffix when it enters, then what it generated last.

    Rows that enter must be the last ones. Their `fill` grows by what they bring.
    """
    token_ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    last: list[int] = []
    adapters: list[tuple[str | None, int]] = []
    for index, row in enumerate(rows):
        new = row.tokens[-1:] or row.suffix
        start, place = len(row.prefix or ()) + row.fill, index * cache.length + row.fill
        token_ids += new
        positions += range(start, start + len(new))
        places += range(place, place + len(new))
        last.append(len(token_ids) - 1)
        adapters.append((row.request.adapter, len(new)))
        row.fill += len(new)
    step = _step(rows, positions, cache, device)
    return Batch(token_ids, positions, places, last, adapters, step)


def compact(rows: list[Row], gone: set[int], cache: RowCache) -> None:
    """Takes the rows `gone` out; the last ones that stay move into their places."""
    staying = len(rows) - len(gone)
    targets = [index for index in sorted(gone) if index < staying]
    sources = [index for index in range(staying, len(rows)) if index not in gone]
    if targets:
        cache.move(sources, targets, max(rows[source].fill for source in sources))
    for source, target in zip(sources, targets, strict=True):
        rows[target] = rows[source]
    del rows[staying:]


def prefix_batch(prefix: Prefix, cache: RowCache, device: str) -> Batch:
    """The step that computes a prefix."""
    positions = list(range(len(prefix)))
    step = Step(
        cache=cache,
        positions=torch.tensor(positions, device=device),
        reach=len(prefix),
        prefill=prefix,
    )
    adapters = [(prefix.adapter, len(prefix))]
    return Batch(list(prefix.token_ids), positions, [], [], adapters, step)


def _step(rows: list[Row], positions: list[int], cache: RowCache, device: str) -> Step:
    decoding = [row for row in rows if row.tokens]
    longest = max((row.fill for row in decoding), default=0)
    return Step(
        cache=cache,
        positions=torch.tensor(positions, device=device),
        reach=max(positions) + 1,
        starts=torch.tensor([len(row.prefix or ()) for row in rows], device=device),
        decoding=len(decoding),
        longest=longest,
        mask=_mask([row.fill for row in decoding], longest, device) if decoding else None,
        entering=_entering([row.fill for row in rows[len(decoding) :]], len(decoding), device),
        shared=_shared(rows, device),
    )


def _mask(fills: list[int], longest: int, device: str) -> Tensor:
    """[rows, 1, 1, longest] float32: -inf behind each row's own end."""
    behind = torch.arange(longest, device=device) >= torch.tensor(fills, device=device)[:, None]
    mask = torch.zeros(behind.shape, device=device).masked_fill_(behind, float("-inf"))
    return mask[:, None, None, :]


def _entering(lengths: list[int], first: int, device: str) -> Entering | None:
    if not lengths:
        return None
    longest = max(lengths)
    gather = torch.zeros(len(lengths), longest, dtype=torch.long)
    scatter: list[int] = []
    start = first
    for index, length in enumerate(lengths):
        gather[index, :length] = torch.arange(start, start + length)
        scatter += range(index * longest, index * longest + length)
        start += length
    return Entering(first, gather.to(device), torch.tensor(scatter, device=device))


def _shared(rows: list[Row], device: str) -> tuple[tuple[Prefix, slice | Tensor], ...]:
    """Which tokens of the step attend to which prefix; a slice if it is one for all."""
    prefixes = {id(row.prefix): row.prefix for row in rows if row.prefix is not None}
    if len(prefixes) == 1 and all(row.prefix is not None for row in rows):
        return ((next(iter(prefixes.values())), slice(None)),)
    tokens: dict[int, list[int]] = {key: [] for key in prefixes}
    start = 0
    for row in rows:
        count = 1 if row.tokens else row.fill
        if row.prefix is not None:
            tokens[id(row.prefix)] += range(start, start + count)
        start += count
    return tuple((prefixes[k], torch.tensor(t, device=device)) for k, t in tokens.items())
