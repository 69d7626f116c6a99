"""Groups of examples as one row of tokens. Knows token ids, no text and no model.

A group is `[prefix, suffix 1, …, suffix n]`: the prefix is what all its prompts begin with, each
suffix continues at position P = len(prefix) and sees the prefix and itself. With P = 0 the same
layout is a plain packed row of independent examples. Examples are not padded to one length; the row
as a whole is rounded up by a few tokens, so that rows come in few lengths (`rounded`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Example:
    """One row of a dataset in tokens. `line` is its line in the source file."""

    line: int
    prompt_ids: list[int]
    completion_ids: list[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class Layout:
    """Where a row's `suffixes` are: the `longest` has so many tokens, the `prefix` P. Side by side
    they are rows of `width` L.

    scatter [T - P]: index into the flattened [suffixes * L] rows of each suffix token, in order.
    Padding lies behind every real token of its row, so a causal mask is all the mask there is.
    """

    prefix: int
    suffixes: int
    longest: int
    width: int
    scatter: Tensor

    def to(self, device) -> "Layout":
        return replace(self, scatter=self.scatter.to(device))


@dataclass(frozen=True)
class Group:
    """A packed row of T tokens, the last `padding` of which say nothing. input_ids, position_ids
    [1, T]; label_positions [M]: the row's index of the token whose output predicts labels [M];
    `examples` in the order of the suffixes."""

    input_ids: Tensor
    position_ids: Tensor
    label_positions: Tensor
    labels: Tensor
    layout: Layout
    examples: tuple[Example, ...]
    padding: int = 0

    @property
    def tokens(self) -> int:
        return self.input_ids.numel() - self.padding

    def to(self, device) -> "Group":
        names = ("input_ids", "position_ids", "label_positions", "labels", "layout")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def rounded(length: int) -> int:
    """`length` or up to a sixteenth more: there are 16 such numbers from one power of two to the
    next. On a CPU oneDNN makes kernels for every shape that it meets, in bf16 20 MB of them for a
    row of a new length, and hardly gives them back: trainings grew to 7 GB."""
    grain = 1 << max(0, length.bit_length() - 5)
    return -(-length // grain) * grain


def common_prefix(examples: Sequence[Example]) -> int:
    """Length of the prompts' longest common prefix of token ids.

    Each prompt keeps at least one token of its own: the first label's prediction comes out of a
    suffix, not out of the shared prefix.
    """
    first = min(examples, key=lambda e: e.prompt_ids).prompt_ids
    last = max(examples, key=lambda e: e.prompt_ids).prompt_ids
    limit = min(len(e.prompt_ids) for e in examples) - 1
    shared = 0
    while shared < limit and first[shared] == last[shared]:
        shared += 1
    return shared


def pack(examples: Sequence[Example], *, share_prefix: bool = True) -> Group:
    """One group of at least one example; every example has a prompt and a completion."""
    prefix = common_prefix(examples) if share_prefix else 0
    row = list(examples[0].prompt_ids[:prefix])
    positions = list(range(prefix))
    label_positions: list[int] = []
    labels: list[int] = []
    lengths = []
    for example in examples:
        suffix = (example.prompt_ids + example.completion_ids)[prefix:]
        first_label = len(row) + len(example.prompt_ids) - prefix - 1
        label_positions.extend(range(first_label, first_label + len(example.completion_ids)))
        labels.extend(example.completion_ids)
        row.extend(suffix)
        positions.extend(range(prefix, prefix + len(suffix)))
        lengths.append(len(suffix))
    padding = rounded(len(row)) - len(row)  # behind the last example, where nothing looks
    row.extend([0] * padding)
    positions.extend([0] * padding)
    return Group(
        input_ids=torch.tensor([row]),
        position_ids=torch.tensor([positions]),
        label_positions=torch.tensor(label_positions),
        labels=torch.tensor(labels),
        layout=_layout(prefix, lengths, padding),
        examples=tuple(examples),
        padding=padding,
    )


def groups_of(
    examples: Sequence[Example], *, micro_batch: int, share_prefix: bool = True
) -> list[Group]:
    """An effective batch as groups of at most `micro_batch` examples.

    Sorted by prompt, so that examples with the same prefix (one schema of several, one system
    prompt of several) come together.
    """
    ordered = sorted(examples, key=lambda e: e.prompt_ids)
    chunks = [ordered[i : i + micro_batch] for i in range(0, len(ordered), micro_batch)]
    return [pack(chunk, share_prefix=share_prefix) for chunk in chunks]


def _layout(prefix: int, lengths: list[int], padding: int) -> Layout:
    longest = max(lengths)
    lengths = [*lengths[:-1], lengths[-1] + padding]
    width = rounded(max(lengths))
    real = torch.arange(width).unsqueeze(0) < torch.tensor(lengths).unsqueeze(1)
    scatter = real.flatten().nonzero().squeeze(1)
    return Layout(prefix, len(lengths), longest, width, scatter)
