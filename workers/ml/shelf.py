"""The adapters that an engine has at hand: at most so many, the least recently used one leaves, and
what was heard of it with it.

Knows their names and folders; not where the folders come from.
"""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from workers.ml.drafts import Heard
from workers.ml.engine import Engine


@dataclass(frozen=True)
class AtHand:
    """An adapter that is loaded: its folder, and what it answered of late."""

    folder: Path
    heard: Heard = field(default_factory=Heard)


class Shelf:
    """Adapters by name, at most `most`. An adapter's name stands for the same weights for good."""

    def __init__(self, engine: Engine, *, most: int) -> None:
        self.engine = engine
        self.most = most
        self._at_hand: OrderedDict[str, AtHand] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._at_hand

    @property
    def oldest(self) -> str | None:
        """The one that was used least recently."""
        return next(iter(self._at_hand), None)

    def use(self, name: str) -> AtHand:
        """One that is there, now the most recently used."""
        self._at_hand.move_to_end(name)
        return self._at_hand[name]

    def make_room(self, *, in_use: Collection[str]) -> bool:
        """Let go of the one that was used least recently, unless there is room for one more; False
        if all are in use."""
        if len(self._at_hand) < self.most:
            return True
        idle = next((name for name in self._at_hand if name not in in_use), None)
        if idle is None:
            return False
        self.engine.unload_adapter(idle)
        del self._at_hand[idle]
        return True

    def put(self, name: str, folder: Path) -> None:
        """JobFailure (config) where it is hostile, does not fit or is more than plain LoRA."""
        self.engine.load_adapter(name, folder)
        self._at_hand[name] = AtHand(folder)
