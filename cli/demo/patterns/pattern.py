"""What one query pattern is: SQL with slots, and the ways people ask for it. Knows no values."""

import re
from dataclasses import dataclass, field

SLOT = re.compile(r"\{([a-z]+)(2?)\}")


@dataclass(frozen=True)
class Pattern:
    """SQL with `{slot}`s, and wordings in two languages that carry the same slots.

    `numbers` are the values that a numeric slot (`n`, `k`, `v`) takes in this pattern.
    `held_out` patterns never appear in training: they are the unseen-patterns split.
    """

    name: str
    sql: str
    zh: tuple[str, ...]
    en: tuple[str, ...]
    numbers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    held_out: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        """The slot names in the order in which the SQL first has them: `("cat", "cat2")`."""
        return tuple(dict.fromkeys(name + again for name, again in SLOT.findall(self.sql)))

    def wordings(self, language: str) -> tuple[str, ...]:
        """The wordings of one language, "en" or "zh"."""
        return self.zh if language == "zh" else self.en


def pattern(
    name: str, sql: str, *, zh: str, en: str, held_out: bool = False, **numbers: tuple[int, ...]
) -> Pattern:
    """A pattern from blocks of text: one wording a line; SQL may be broken over lines."""
    made = Pattern(
        name=name,
        sql=" ".join(sql.split()),
        zh=lines(zh),
        en=lines(en),
        numbers=numbers,
        held_out=held_out,
    )
    for wording in made.zh + made.en:
        spoken = {slot + again for slot, again in SLOT.findall(wording)}
        if spoken != set(made.slots):
            raise ValueError(f"pattern {name}: {wording!r} must have the slots {made.slots}")
    return made


def lines(block: str) -> tuple[str, ...]:
    """The non-empty lines of a block, stripped."""
    return tuple(line.strip() for line in block.splitlines() if line.strip())
