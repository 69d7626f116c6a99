"""How prompts enter: so many tokens a step, prefixes in pieces behind what is kept of them.

Knows prefixes and counts tokens; no row and no model.
"""

from collections.abc import Callable, Collection

from workers.ml.cache import Prefix
from workers.ml.generation import Counts
from workers.ml.prefixes import Prefixes

# Prompt tokens that enter in a step or are computed of prefixes before it: bounds activations, and
# what others wait for. A row that there is no room for as a prefix brings more by itself.
ENTERING_TOKENS = 2048
# Where memory runs out it becomes less, but pieces of a few tokens would only be slow.
FEWEST_ENTERING = 256


class Prefill:
    """`most` tokens a step, of which `left` are to be had in this one. `compute` the next so many
    tokens of a prefix; where it raises, nothing of the prefix is left."""

    def __init__(
        self, prefixes: Prefixes, counts: Counts, compute: Callable[[Prefix, int], None]
    ) -> None:
        self.most = self.left = ENTERING_TOKENS
        self._prefixes = prefixes
        self._counts = counts
        self._compute = compute

    @property
    def divisible(self) -> bool:
        """Whether a step may take fewer."""
        return self.most > FEWEST_ENTERING

    def fewer(self) -> None:
        """After memory ran out."""
        if self.divisible:
            self.most = max(FEWEST_ENTERING, self.most // 2)

    def exceeds(self, tokens: int) -> bool:
        """Whether so many are too many for what is left of a step; for a whole one none are."""
        return tokens > self.left and self.left < self.most

    def begin(self, prefix: Prefix, *, in_use: Collection[Prefix]) -> bool:
        """Makes room for a prefix and lets it begin with the longest kept one that it can, or what
        it begins with; before that one may have to go. False while those in use leave no room."""
        kept = None
        if not prefix.filled:
            kept = self._prefixes.longest(prefix.adapter, prefix.token_ids)
        first = prefix
        if kept is not None and len(kept) < len(prefix.beginning or ()):
            first = prefix.beginning  # others' too: it shall be there whole
        begins = kept is not None and not first.filled
        if begins:
            first.begin_with(kept)
        if self._prefixes.make_room(prefix, in_use=in_use):
            return True
        if begins:
            first.release()
        return False

    def go_on(self, prefix: Prefix) -> bool:
        """Computes the next piece of a prefix, or of what it begins with; whether it is whole. It
        is kept then."""
        first = prefix.beginning
        if not prefix.filled and first is not None:
            if self.go_on(first):
                prefix.begin_with(first)
            return False
        count = min(len(prefix) - prefix.filled, self.most)
        if self.exceeds(count):
            return False
        self.left -= count
        self._compute(prefix, count)
        self._counts.prefix_tokens += count
        if prefix.partly:
            return False
        prefix.beginning = None
        self._prefixes.keep(prefix)
        self._counts.prefixes += 1
        return True
