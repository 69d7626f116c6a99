"""What the rows of a step say: drafts before the forward, tokens out of its logits. Knows no model.

A greedy row may bring a draft of what comes next (`workers.ml.drafts`). The forward says what
follows each of its tokens; the draft holds as far as it says the same, so that the tokens are those
of one step each (Leviathan et al. 2023, for greedy decoding).
"""

from collections.abc import Sequence

from torch import Tensor

from workers.ml.drafts import DRAFT
from workers.ml.rows import Row
from workers.ml.sampling import draw, greedy


def draft(rows: Sequence[Row], *, most_rows: int) -> None:
    """Gives the rows that are decoded drafts of one length, while they are few and all greedy.
    Shorter ones are filled up, which is verified like the rest."""
    decoding = [row for row in rows if row.tokens]
    count = min((row.limit - len(row.tokens) - 1 for row in decoding), default=0)
    if len(decoding) > most_rows or any(row.generator for row in decoding):
        count = 0
    drafts = [row.look_up(min(count, DRAFT)) if count else [] for row in decoding]
    width = max(map(len, drafts), default=0)
    for row, found in zip(decoding, drafts, strict=True):
        row.draft = found + row.tokens[-1:] * (width - len(found))


def choose(rows: Sequence[Row], logits: Tensor) -> list[list[int]]:
    """The next tokens of each row out of logits [n, vocabulary], and then of each of its forks.
    What a row has cached of a draft that does not hold is given up."""
    best = greedy(logits)
    chosen: list[list[int]] = []
    forked: list[list[int]] = []
    at = 0
    for row in rows:
        said = best[at : at + 1 + len(row.draft)]
        chosen.append(_verified(row, said) if row.generator is None else [_drawn(row, logits[at])])
        forked += [
            said if one.generator is None else [_drawn(one, logits[at])] for one in row.forks
        ]
        at += len(said)
    return chosen + forked


def _drawn(row: Row, logits: Tensor) -> int:
    return draw(logits, row.request.sampling, row.generator)


def _verified(row: Row, said: list[int]) -> list[int]:
    """The draft as far as it is what the model said, and the token behind that."""
    right = 0
    while right < len(row.draft) and row.draft[right] == said[right]:
        right += 1
    row.fill -= len(row.draft) - right
    return said[: right + 1]
