"""The shared prefixes that an engine keeps: bounded in bytes, the least recently used one leaves.

Knows which tokens a prefix stands for and what it takes; computes none.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence

from workers.ml import memory
from workers.ml.cache import Prefix

# Of the memory that is free when an engine begins. The rows take their share of what is left. Those
# of several adapters that one step reads are copied side by side: as much again at most.
MEMORY_SHARE = 0.1

Key = tuple[str | None, tuple[int, ...]]


class Prefixes:
    """Computed prefixes by adapter and tokens, at most `limit` bytes of keys and values.

    One prefix may stay though it alone takes more: it is what the work at hand needs.
    """

    def __init__(self, *, bytes_per_position: int, limit: int) -> None:
        self.bytes_per_position = bytes_per_position
        self.limit = limit
        self._kept: OrderedDict[Key, Prefix] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        return sum(map(self._size, self._kept.values()))

    def get(self, prefix: Prefix) -> Prefix | None:
        """The kept one of the same adapter and tokens, now the most recently used."""
        kept = self._kept.get(_key(prefix))
        if kept is not None:
            self._kept.move_to_end(_key(prefix))
        return kept

    def longest(self, adapter: str | None, token_ids: Sequence[int]) -> Prefix | None:
        """The longest kept prefix that a prompt begins with and that leaves it a token."""
        fitting = [p for p in self._kept.values() if p.adapter == adapter and p.begins(token_ids)]
        return max(fitting, key=len, default=None)

    def make_room(self, prefix: Prefix, *, in_use: Collection[Prefix]) -> bool:
        """Lets go of what was used least recently, but for those `in_use`, until another prefix
        may be computed; False, and none goes, if those leave no room for it."""
        needed = {_key(used) for used in in_use}
        staying = sum(self._size(kept) for key, kept in self._kept.items() if key in needed)
        if needed and staying + self._size(prefix) > self.limit:
            return False
        idle = [key for key in self._kept if key not in needed]
        while idle and self.bytes + self._size(prefix) > self.limit:
            self._drop(idle.pop(0))
        return True

    def keep(self, prefix: Prefix) -> None:
        self._kept[_key(prefix)] = prefix

    def forget(self, adapter: str | None) -> None:
        """Lets go of all that was computed with an adapter, or with none."""
        for key in [key for key in self._kept if key[0] == adapter]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        """Rows that wait may still hold it: what it takes goes all the same."""
        self._kept.pop(key).release()

    def _size(self, prefix: Prefix) -> int:
        return len(prefix) * self.bytes_per_position


def default_limit(device: str) -> int:
    return int(memory.available(device) * MEMORY_SHARE)


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


def _key(prefix: Prefix) -> Key:
    return prefix.adapter, prefix.token_ids
