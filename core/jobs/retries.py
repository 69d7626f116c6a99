"""Which failures are tried again, how often and after how long. Pure: knows no database.

A class that is not tried again here heals elsewhere or not at all: out of memory within the
training, a runner that died as a barren attempt (`ends.lost_runner`), the rest by a person.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import FAILURE_CLASSES


@dataclass(frozen=True)
class Rule:
    """`times` in a row without anything new; waits grow threefold from `first` up to `longest`."""

    times: int = 0
    first_seconds: float = 0
    longest_seconds: float = 0

    def wait_seconds(self, retried: int, chance: Callable[[], float] = random.random) -> float:
        """How long to wait after `retried` retries. Full jitter: what broke together must not come
        back together."""
        return chance() * min(self.longest_seconds, self.first_seconds * 3**retried)


NEVER = Rule()
RULES: dict[str, Rule] = {klass: NEVER for klass in FAILURE_CLASSES} | {
    # A storage or a database that was away comes back; another worker may have the base model.
    "infra": Rule(times=5, first_seconds=5, longest_seconds=300),
}
