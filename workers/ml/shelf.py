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

    def has_room(self, *, in_use: Collection[str]) -> bool:
        """Whether one more may be put: there is a place, or one that is not in use."""
        return len(self._at_hand) < self.most or not self._at_hand.keys() <= {*in_use}

    def put(self, name: str, folder: Path, *, in_use: Collection[str]) -> None:
        """Loads it, and then lets go of the one that was used least recently where it was one too
        many: for one that can't be loaded none goes. JobFailure (config) where it is hostile, does
        not fit or is more than plain LoRA."""
        self.engine.load_adapter(name, folder)
        idle = [one for one in self._at_hand if one not in in_use]
        self._at_hand[name] = AtHand(folder)
        if len(self._at_hand) > self.most:
            # First: it is gone from the engine also where memory runs out on the way.
            del self._at_hand[idle[0]]
            self.engine.unload_adapter(idle[0])
