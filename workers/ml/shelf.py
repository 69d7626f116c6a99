"""The adapters that an engine has at hand: at most so many, the least recently used one leaves.

Knows their names and folders; not where the folders come from.
"""

from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path

from workers.ml.engine import Engine


class Shelf:
    """Adapters by name, at most `most`. An adapter's name stands for the same weights for good."""

    def __init__(self, engine: Engine, *, most: int) -> None:
        self.engine = engine
        self.most = most
        self._folders: OrderedDict[str, Path] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._folders

    @property
    def oldest(self) -> str | None:
        """The one that was used least recently."""
        return next(iter(self._folders), None)

    def use(self, name: str) -> Path:
        """The folder of one that is there, now the most recently used."""
        self._folders.move_to_end(name)
        return self._folders[name]

    def make_room(self, *, in_use: Collection[str]) -> bool:
        """Let go of the one that was used least recently, unless there is room for one more; False
        if all are in use."""
        if len(self._folders) < self.most:
            return True
        idle = next((name for name in self._folders if name not in in_use), None)
        if idle is None:
            return False
        self.engine.unload_adapter(idle)
        del self._folders[idle]
        return True

    def put(self, name: str, folder: Path) -> None:
        """JobFailure (config) where it is hostile, does not fit or is more than plain LoRA."""
        self.engine.load_adapter(name, folder)
        self._folders[name] = folder
