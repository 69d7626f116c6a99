"""Names of splits, and how groups of examples are dealt out to them. Knows no text."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import InvalidInput

TRAIN, VALIDATION, TEST = "train", "validation", "test"
DEFAULT_FRACTIONS = {TRAIN: 0.8, VALIDATION: 0.1, TEST: 0.1}
DEFAULT_SEED = 42
MAX_SPLITS = 20  # more names than this: the column holds something else
SPLIT_ADVICE = (
    "train, validation, test, or the name of another held-out split is right "
    "(a to z, 0 to 9 and _, beginning with a letter)"
)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SYNONYMS = {
    "training": TRAIN,
    "训练": TRAIN,
    "训练集": TRAIN,
    "dev": VALIDATION,
    "val": VALIDATION,
    "valid": VALIDATION,
    "验证": VALIDATION,
    "验证集": VALIDATION,
    "测试": TEST,
    "测试集": TEST,
}


def read_split_name(value: Any) -> str | None:
    """The name that a split column's value means; None for what is none."""
    if not isinstance(value, str):
        return None
    name = value.strip().lower().replace("-", "_")
    name = _SYNONYMS.get(name, name)
    return name if _NAME.fullmatch(name) else None


def read_fractions(asked: Mapping[str, Any]) -> dict[str, float]:
    """Fractions by split, train first. Raises `InvalidInput` unless they are sound."""
    fractions = {name: asked.get(name, 0) for name in (TRAIN, VALIDATION, TEST)}
    for name, fraction in fractions.items():
        if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise InvalidInput(f"split.{name} must be from 0 to 1", param=f"split.{name}")
    if not math.isclose(sum(fractions.values()), 1, abs_tol=1e-6):
        total = sum(fractions.values())
        raise InvalidInput(
            f"the fractions of train, validation and test add up to {total:g}; 1 is right",
            param="split",
        )
    if fractions[TRAIN] == 0:
        raise InvalidInput("split.train is 0; train needs examples", param="split.train")
    return {name: fraction for name, fraction in fractions.items() if fraction}


def deal(
    sizes: Sequence[int], keys: Sequence[int], fractions: Mapping[str, float], seed: int
) -> list[str]:
    """The split of each group, `sizes[i]` examples with the content key `keys[i]`.

    Groups come in an order that only the seed and their keys decide; each goes where the share
    filled, half of itself included, is smallest (Webster's method for seats). So the splits fill
    evenly, and a group too big for the small ones goes to train. With as many groups as splits
    none stays empty; with fewer, train does not.
    """
    order = sorted(range(len(sizes)), key=lambda group: _shuffled(seed, keys[group]))
    total = sum(sizes)
    wanted = {name: fraction * total for name, fraction in fractions.items()}
    filled = dict.fromkeys(wanted, 0)
    dealt = [""] * len(sizes)
    for group in order:
        size = sizes[group]
        name = min(wanted, key=lambda name: (filled[name] + size / 2) / wanted[name])
        dealt[group] = name
        filled[name] += size
    if len(sizes) >= len(wanted):
        _fill_empty(dealt, sizes, order, list(wanted))
    elif order and TRAIN not in dealt:
        dealt[order[0]] = TRAIN
    return dealt


def _shuffled(seed: int, key: int) -> bytes:
    """A place in the order that is the same on every machine and Python version."""
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()


def _fill_empty(
    dealt: list[str], sizes: Sequence[int], order: Sequence[int], names: Sequence[str]
) -> None:
    """Give each empty split the smallest group of the split that has the most groups."""
    for name in names:
        if name in dealt:
            continue
        richest = max(names, key=dealt.count)
        smallest = min(
            (group for group in order if dealt[group] == richest), key=lambda group: sizes[group]
        )
        dealt[smallest] = name
