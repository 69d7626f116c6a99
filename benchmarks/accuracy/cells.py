"""The cells of the table: who was trained how, with which seed, on which split. Names, no work."""

from collections.abc import Iterator
from dataclasses import dataclass

# How the base model of a method is quantised; `full`: not at all, in the dtype of the machine.
OURS = {"ours-8bit": "8bit", "ours-full": "none"}
PEERS = {"trl-full": "none", "classic-full": "none", "peft-8bit": "8bit"}
BASE = ("base-zero-shot", "base-three-shot")
SPLITS = {"test": "split", "strict": "query_split"}  # the field of a row that says where it is


@dataclass(frozen=True)
class Cell:
    """`seed` is 0 where nothing is drawn."""

    split: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.split}-{self.method}-{self.seed}"

    @property
    def quantization(self) -> str:
        return (OURS | PEERS).get(self.method, "none")


def cells(split: str, seeds: int) -> Iterator[Cell]:
    """What is wanted most comes first: a stopped run leaves whole rows of the table."""
    for method in BASE:
        yield Cell(split, method, 0)
    first, *others = PEERS
    for methods in ((*OURS, first), others):
        for seed in range(1, seeds + 1):
            yield from (Cell(split, method, seed) for method in methods)
