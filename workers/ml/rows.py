"""The rows that an engine works on, and how their tokens stand in one step. Computes nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from workers.ml.cache import Prefix, PrefixGroup, RowCache
from workers.ml.decoding import Entering, Shared, Step
from workers.ml.drafts import Lookup
from workers.ml.generation import Request
from workers.ml.grouping import padded
from workers.ml.sampling import generator_of
from workers.ml.scores import Score


@dataclass
class Row:
    """An answer in a place: `fill` positions of its own are cached, `tokens` were generated.
    `forks`: further answers to the same prompt, which take a copy of its cache once it has entered.
    `draft`: what it tries to say next after its last token, to be verified in this step.
    `watched`: its text has taken a turn after which any token may show that it has ended.
    `scores`: of its tokens, if the request wants them."""

    request: Request
    prefix: Prefix | None
    limit: int
    index: int = 0
    entered: float = 0.0
    fill: int = 0
    tokens: list[int] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    forks: list["Row"] = field(default_factory=list)
    draft: list[int] = field(default_factory=list)
    lookup: Lookup | None = None
    watched: bool = False
    generator: torch.Generator | None = None

    @property
    def suffix(self) -> list[int]:
        """The part of the prompt that is the row's own."""
        return self.request.prompt_ids[len(self.prefix or ()) :]

    def look_up(self, count: int) -> list[int]:
        """Up to `count` tokens that may come next."""
        if self.lookup is None:
            self.lookup = Lookup(self.request.prompt_ids, self.request.heard)
        return self.lookup.draft(self.tokens, count)

    @property
    def length(self) -> int:
        """The positions that it may come to need."""
        return len(self.request.prompt_ids) - len(self.prefix or ()) + self.limit


@dataclass(frozen=True)
class Batch:
    """The tokens of one step, flat: ids, positions in their texts, places in the cache, which ones
    want logits, and adapters with how many tokens in a row are for each."""

    token_ids: list[int]
    positions: list[int]
    places: list[int]
    heads: list[int]
    adapters: list[tuple[str | None, int]]
    step: Step


def make_row(
    request: Request, prefix: Prefix | None, context_length: int, *, index: int = 0
) -> Row:
    """The row of a request's answer `index`. `prefix`: one that the prompt begins with."""
    sampling = request.sampling
    limit = min(sampling.max_new_tokens, context_length - len(request.prompt_ids))
    row = Row(request=request, prefix=prefix, limit=limit, index=index)
    if sampling.temperature > 0:
        row.generator = generator_of(sampling, index)
    return row


def advance(rows: list[Row], cache: RowCache, device: str) -> Batch:
    """Each row's next tokens: its whole suffix when it enters, then what it generated last; and its
    draft, which is as long for all that don't enter. Logits are wanted behind the last of the first
    and behind each of the draft.

    Rows that enter must be the last ones. Their `fill` grows by what they bring.
    """
    token_ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    heads: list[int] = []
    adapters: list[tuple[str | None, int]] = []
    for index, row in enumerate(rows):
        new = [*(row.tokens[-1:] or row.suffix), *row.draft]
        start, place = len(row.prefix or ()) + row.fill, index * cache.length + row.fill
        token_ids += new
        positions += range(start, start + len(new))
        places += range(place, place + len(new))
        heads += range(len(token_ids) - 1 - len(row.draft), len(token_ids))
        adapters.append((row.request.adapter, len(new)))
        row.fill += len(new)
    step = _step(rows, positions, cache, device)
    return Batch(token_ids, positions, places, heads, adapters, step)


def fork(rows: list[Row], cache: RowCache) -> int:
    """Gives the forks of rows that have entered their places, behind all others; the bytes that
    were copied."""
    sources: list[int] = []
    count = len(rows)
    for place, row in enumerate(rows[:count]):
        for one in row.forks:
            one.fill = row.fill
            rows.append(one)
            sources.append(place)
        row.forks = []
    if sources:
        targets = list(range(count, len(rows)))
        return cache.copy(sources, targets, max(rows[place].fill for place in sources))
    return 0


def compact(rows: list[Row], gone: set[int], cache: RowCache) -> int:
    """Takes the rows `gone` out; the last ones that stay move into their places. The bytes that
    were copied."""
    staying = len(rows) - len(gone)
    targets = [index for index in sorted(gone) if index < staying]
    sources = [index for index in range(staying, len(rows)) if index not in gone]
    copied = 0
    if targets:
        copied = cache.copy(sources, targets, max(rows[source].fill for source in sources))
    for source, target in zip(sources, targets, strict=True):
        rows[target] = rows[source]
    del rows[staying:]
    return copied


def prefix_batch(prefix: Prefix, count: int, cache: RowCache, device: str) -> Batch:
    """The step that computes the next `count` tokens of a prefix."""
    piece = range(prefix.filled, prefix.filled + count)
    step = Step(
        cache=cache,
        positions=torch.tensor(piece, device=device),
        reach=piece.stop,
        prefill=prefix,
    )
    token_ids = list(prefix.token_ids[piece.start : piece.stop])
    return Batch(token_ids, list(piece), [], [], [(prefix.adapter, len(piece))], step)


def _step(rows: list[Row], positions: list[int], cache: RowCache, device: str) -> Step:
    decoding = [row for row in rows if row.tokens]
    longest = max((row.fill for row in decoding), default=0)
    width = 1 + len(decoding[0].draft) if decoding else 1
    return Step(
        cache=cache,
        positions=torch.tensor(positions, device=device),
        reach=max(positions) + 1,
        starts=torch.tensor([len(row.prefix or ()) for row in rows], device=device),
        decoding=len(decoding),
        width=width,
        longest=longest,
        mask=_mask([row.fill for row in decoding], width, longest, device) if decoding else None,
        entering=_entering(
            [row.fill for row in rows[len(decoding) :]], len(decoding), width, device
        ),
        shared=_shared(rows, cache, device),
    )


def _mask(fills: list[int], width: int, longest: int, device: str) -> Tensor:
    """[rows, 1, width, longest] float32: -inf behind each of a row's last `width` tokens."""
    ends = torch.tensor(fills, device=device)[:, None] - torch.arange(
        width - 1, -1, -1, device=device
    )
    behind = torch.arange(longest, device=device) >= ends[:, :, None]
    mask = torch.zeros(behind.shape, device=device).masked_fill_(behind, float("-inf"))
    return mask[:, None]


def _entering(lengths: list[int], first: int, width: int, device: str) -> Entering | None:
    """`first` rows, each with `width` tokens, stand before those that enter."""
    if not lengths:
        return None
    longest = max(lengths)
    gather = torch.zeros(len(lengths), longest, dtype=torch.long)
    scatter: list[int] = []
    start = first * width
    for index, length in enumerate(lengths):
        gather[index, :length] = torch.arange(start, start + length)
        scatter += range(index * longest, index * longest + length)
        start += length
    return Entering(first, gather.to(device), torch.tensor(scatter, device=device))


def _shared(rows: list[Row], cache: RowCache, device: str) -> tuple[Shared, ...]:
    """Which tokens of the step attend to which prefixes, those of one length at once."""
    tokens: dict[int, list[int]] = {}
    by_length: dict[int, dict[int, Prefix]] = {}
    start = 0
    for row in rows:
        count = 1 + len(row.draft) if row.tokens else row.fill
        if row.prefix is not None:
            tokens.setdefault(id(row.prefix), []).extend(range(start, start + count))
            by_length.setdefault(len(row.prefix), {})[id(row.prefix)] = row.prefix
        start += count
    if len(tokens) == 1 and all(row.prefix is not None for row in rows):
        [group] = cache.grouped([[rows[0].prefix]])
        return (Shared(group, slice(None)),)
    found = []
    for group in cache.grouped([[*prefixes.values()] for prefixes in by_length.values()]):
        found += _attending(group, tokens, device)
    return tuple(found)


def _attending(
    group: PrefixGroup, tokens: Mapping[int, Sequence[int]], device: str
) -> Iterator[Shared]:
    """At once, where one has about as many tokens as another."""
    own = [tokens.get(id(prefix), ()) for prefix in group.prefixes]
    if len(own) > 1 and (batch := padded(own, device)) is not None:
        every = sorted(chain.from_iterable(own))
        yield Shared(group, torch.tensor(every, device=device), batch)
        return
    for prefix, some in zip(group.prefixes, own, strict=True):
        if some:
            yield Shared(PrefixGroup([prefix]), torch.tensor(some, device=device))
