"""Keys and values of the shared prefixes and of the rows being generated. Knows no tokens' meaning.

A prefix is computed once and not copied for a row, which holds only what comes after it and
attends to both apart (`workers.ml.decoding`). Several of one length that a step needs lie side by
side. Rows do so in one preallocated block a layer; a row that leaves is overwritten by the last
one, so the rows in use are always the first ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import Cache

from workers.ml import memory

# Rows at a time. On two cores 256 gave 1.5 times the requests/s of 64 in 8 bit, 1.3 in bf16: the
# weights are cast and laid out once a step. Beyond, a step only gets longer.
MAX_ROWS = 256
# Of the memory that is free when the rows are laid out; the rest is for activations and others.
MEMORY_SHARE = 0.4


@dataclass
class Prefix:
    """A token sequence in front of many prompts, or of one long one; keys and values
    [1, kv_heads, P, D] a layer, of the first `filled` tokens until all are computed. They depend on
    the adapter that computed them. `beginning`: a shorter one, others' too, to compute first."""

    token_ids: tuple[int, ...]
    adapter: str | None = None
    beginning: "Prefix | None" = None
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    releases: int = 0

    def __len__(self) -> int:
        return len(self.token_ids)

    def begins(self, token_ids: Sequence[int]) -> bool:
        """Whether a prompt begins with it and goes on."""
        length = len(self.token_ids)
        return len(token_ids) > length and tuple(token_ids[:length]) == self.token_ids

    @property
    def filled(self) -> int:
        return self.keys[0].shape[2] if self.keys else 0

    @property
    def partly(self) -> bool:
        """Whether it is computed, but not to its end."""
        return 0 < self.filled < len(self)

    def begin_with(self, other: "Prefix") -> None:
        """What a shorter one has of it need not be computed."""
        self.keys, self.values = [*other.keys], [*other.values]

    def add(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """A piece of a layer's keys and values behind what is there."""
        for held, more in ((self.keys, keys), (self.values, values)):
            if layer == len(held):
                held.append(more.contiguous())
            else:
                held[layer] = torch.cat([held[layer], more], dim=2)

    def release(self) -> None:
        self.keys.clear()
        self.values.clear()
        self.releases += 1


class PrefixGroup:
    """Prefixes of one length, keys and values [n, kv_heads, P, D] a layer: of one its own, of
    several a copy."""

    def __init__(self, prefixes: Sequence[Prefix]) -> None:
        self.prefixes = prefixes
        self._releases = [prefix.releases for prefix in prefixes]
        self.keys, self.values = prefixes[0].keys, prefixes[0].values
        if len(prefixes) > 1:
            self.keys = [*map(torch.cat, zip(*(p.keys for p in prefixes), strict=True))]
            self.values = [*map(torch.cat, zip(*(p.values for p in prefixes), strict=True))]

    def serves(self, prefixes: Sequence[Prefix]) -> bool:
        """Whether it holds these as they are now."""
        now = [prefix.releases for prefix in self.prefixes]
        return now == self._releases and {*map(id, prefixes)} <= {*map(id, self.prefixes)}


class RowCache(Cache):
    """What the model's attention layers write to: `update` stores, `workers.ml.decoding` reads.

    `rows` x `length` positions a layer, [rows, length, kv_heads, D], allocated when a layer first
    writes. Where a step writes is set by `aim_at`.
    """

    def __init__(self, *, rows: int, length: int) -> None:
        super().__init__(layers=[])
        self.rows = rows
        self.length = length
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._target: Tensor | Prefix | None = None
        self._groups: list[PrefixGroup] = []

    def aim_at(self, target: Tensor | Prefix | None) -> None:
        """The next forward writes to flat positions row * length + position [T], or behind what a
        prefix has."""
        self._target = target

    @torch.inference_mode()
    def grouped(self, wanted: Sequence[Sequence[Prefix]]) -> list[PrefixGroup]:
        """For each of the groups one that holds its prefixes and perhaps others, the last step's
        where that does; no other copies are kept."""
        held, self._groups = self._groups, []
        for prefixes in wanted:
            fitting = (one for one in held if len(prefixes) > 1 and one.serves(prefixes))
            self._groups.append(next(fitting, None) or PrefixGroup(prefixes))
        return self._groups

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args, **kwargs):
        """Stores [1, kv_heads, T, D] each, and hands them back as they came."""
        if isinstance(self._target, Prefix):
            self._target.add(layer_idx, key_states, value_states)
            return key_states, value_states
        if layer_idx == len(self.keys):
            self._allocate(key_states, value_states)
        for block, states in ((self.keys, key_states), (self.values, value_states)):
            _, heads, tokens, width = states.shape
            flat = block[layer_idx].view(self.rows * self.length, heads * width)
            flat.index_copy_(0, self._target, states.transpose(1, 2).reshape(tokens, -1))
        return key_states, value_states

    @torch.inference_mode()
    def copy(self, sources: list[int], targets: list[int], length: int) -> int:
        """What rows `sources` hold goes to the places `targets` too, the first `length` positions.
        No target may be a source. Returns how many bytes that was."""
        device = self.keys[0].device
        source, target = (torch.tensor(rows, device=device) for rows in (sources, targets))
        for block in (*self.keys, *self.values):
            block[target, :length] = block[source, :length]
        return sum(b[0, :length].nbytes for b in (*self.keys, *self.values)) * len(sources)

    @torch.inference_mode()
    def wipe(self, places: Sequence[int]) -> None:
        """What these places hold is no numbers: hidden from a later row there, it would still make
        NaN of that row's own."""
        for place in places:
            for block in (*self.keys, *self.values):
                block[place] = 0

    @torch.inference_mode()
    def grow(self, *, rows: int, length: int, used: int, filled: int) -> int:
        """More or longer places; the first `used` rows keep their first `filled` positions. Layer
        by layer, so that hardly more than the larger block is held at any time. Returns how many
        bytes were copied."""
        self.rows, self.length = rows, length
        for blocks in (self.keys, self.values):
            for layer, old in enumerate(blocks):
                blocks[layer] = old.new_zeros(rows, length, *old.shape[2:])
                blocks[layer][:used, :filled] = old[:used, :filled]
        return sum(b[:used, :filled].nbytes for b in (*self.keys, *self.values))

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in (*self.keys, *self.values))

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions are given to the model explicitly; nothing may be derived from this."""
        return 0

    def _allocate(self, keys: Tensor, values: Tensor) -> None:
        for block, states in ((self.keys, keys), (self.values, values)):
            _, heads, _, width = states.shape
            block.append(states.new_zeros(self.rows, self.length, heads, width))


def bytes_per_position(config, dtype: torch.dtype) -> int:
    """Bytes of one token's keys and values over all layers of a decoder with this config."""
    config = config.get_text_config(decoder=True)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return 2 * config.num_hidden_layers * kv_heads * width * dtype.itemsize


def logit_bytes(config) -> int:
    """Bytes of one row's logits: as they come, and once more while a token is chosen."""
    return config.get_text_config(decoder=True).vocab_size * 2 * torch.float32.itemsize


def rows_that_fit(row_bytes: int, device: str, *, held: int = 0) -> int:
    """Between 1 and MAX_ROWS, so that their cache takes at most MEMORY_SHARE of the free memory;
    `held` bytes are those of a cache that it takes the place of."""
    free = memory.available(device) + held
    return max(1, min(MAX_ROWS, int(free * MEMORY_SHARE) // max(row_bytes, 1)))
