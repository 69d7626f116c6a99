"""Groups of examples as one row of tokens. Knows token ids, no text and no model.

A row holds prefix trees one behind the other: `[prefix, suffix 1, …, suffix n, prefix, …]`. A
prefix is what all prompts of its tree begin with; each suffix continues at position P = len(prefix)
and sees the prefix and itself. With P = 0 a tree is a plain packed row of independent examples.

Examples are not padded to one length. Suffixes and the row as a whole are rounded up by a few
tokens, so that they come in few lengths (`rounded`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.training.examples import Example, common_prefix, families, rounded


@dataclass(frozen=True)
class Tree:
    """Where a row's tree is: `prefix` tokens from `start` on, then suffixes of `widths` tokens."""

    start: int
    prefix: int
    widths: tuple[int, ...]

    @property
    def trunk_end(self) -> int:
        return self.start + self.prefix

    @property
    def end(self) -> int:
        return self.trunk_end + sum(self.widths)

    def suffixes(self) -> list[tuple[int, int]]:
        """Of each suffix the first token and the one behind its last."""
        spans, start = [], self.trunk_end
        for width in self.widths:
            spans.append((start, start + width))
            start += width
        return spans


@dataclass(frozen=True)
class Layout:
    """A row's trees. What lies behind the last one belongs to nobody. `longest`: tokens of the
    longest example; offsets [T]: of each token in its prefix or suffix, so what it sees of that is
    what has no larger offset. Padding lies behind every real token of its suffix."""

    trees: tuple[Tree, ...]
    longest: int
    offsets: Tensor

    def to(self, device) -> "Layout":
        return replace(self, offsets=self.offsets.to(device))


@dataclass(frozen=True)
class Group:
    """A packed row of T tokens, `tokens` of which say something. input_ids, position_ids [1, T];
    label_positions [M]: the row's index of the token whose output predicts labels [M]; `examples`
    in the order of the suffixes."""

    input_ids: Tensor
    position_ids: Tensor
    label_positions: Tensor
    labels: Tensor
    layout: Layout
    examples: tuple[Example, ...]
    tokens: int

    def places(self) -> Iterator[tuple[Tree, Example, slice]]:
        """Each example with its tree and the slice of the row that its own tokens are."""
        examples = iter(self.examples)
        for tree in self.layout.trees:
            for (start, _), example in zip(tree.suffixes(), examples, strict=False):
                yield tree, example, slice(start, start + len(example) - tree.prefix)

    def to(self, device) -> "Group":
        names = ("input_ids", "position_ids", "label_positions", "labels", "layout")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def groups_of(
    examples: Sequence[Example], *, micro_batch: int, share_prefix: bool = True
) -> list[Group]:
    """An effective batch as groups of at most `micro_batch` examples.

    A family is divided over no more groups than it must be, those of like length together; what is
    left of several families fills up a row.
    """
    pieces = []
    for family in families(examples) if share_prefix else [examples]:
        family = sorted(family, key=len)
        pieces += [family[i : i + micro_batch] for i in range(0, len(family), micro_batch)]
    rows: list[list[list[Example]]] = []
    for piece in sorted(pieces, key=len, reverse=True):
        fitting = (row for row in rows if sum(map(len, row)) + len(piece) <= micro_batch)
        row = next(fitting, None)
        if row is None:
            rows.append([piece])
        else:
            row.append(piece)
    return [pack(*row, share_prefix=share_prefix) for row in rows]


def pack(*parts: Sequence[Example], share_prefix: bool = True) -> Group:
    """One row of a tree for each part; every example has a prompt and a completion."""
    row = _Row()
    for part in parts:
        row.add(part, common_prefix(part) if share_prefix else 0)
    return row.group()


class _Row:
    """A row as it grows."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.offsets: list[int] = []
        self.label_positions: list[int] = []
        self.examples: list[Example] = []
        self.trees: list[Tree] = []
        self.tokens = 0

    def add(self, examples: Sequence[Example], prefix: int) -> None:
        start = len(self.ids)
        self._append(examples[0].prompt_ids[:prefix], prefix, position=0)
        widths = []
        for example in examples:
            suffix = (example.prompt_ids + example.completion_ids)[prefix:]
            first = len(self.ids) + len(example.prompt_ids) - prefix - 1
            self.label_positions.extend(range(first, first + len(example.completion_ids)))
            widths.append(rounded(len(suffix)))
            self._append(suffix, widths[-1], position=prefix)
        self.trees.append(Tree(start, prefix, tuple(widths)))
        self.examples.extend(examples)

    def group(self) -> Group:
        self._append([], rounded(len(self.ids)) - len(self.ids), position=0)
        return Group(
            input_ids=torch.tensor([self.ids]),
            position_ids=torch.tensor([self.positions]),
            label_positions=torch.tensor(self.label_positions),
            labels=torch.tensor([i for e in self.examples for i in e.completion_ids]),
            layout=Layout(
                tuple(self.trees), max(map(len, self.examples)), torch.tensor(self.offsets)
            ),
            examples=tuple(self.examples),
            tokens=self.tokens,
        )

    def _append(self, ids: list[int], width: int, *, position: int) -> None:
        """Tokens at `position` and behind it, and padding up to `width`."""
        self.ids.extend(ids + [0] * (width - len(ids)))
        self.positions.extend(range(position, position + width))
        self.offsets.extend(range(width))
        self.tokens += len(ids)
