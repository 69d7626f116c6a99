"""What the rows of a step say: drafts before the forward, tokens out of its logits. Knows no model.

A greedy row may bring a draft of what comes next (`workers.ml.drafts`). The forward says what
follows each of its tokens; the draft holds as far as it says the same, so that the tokens are those
of one step each (Leviathan et al. 2023, for greedy decoding).
"""

from collections.abc import Sequence

from torch import Tensor

from workers.ml.drafts import DRAFT, LONGEST, agreement
from workers.ml.rows import Row
from workers.ml.sampling import draw, greedy
from workers.ml.scores import scores

# So many times the rows may be drafted for where all have heard what their answers repeat.
MORE_ROWS = 8


def draft(rows: Sequence[Row], *, most_rows: int) -> None:
    """Gives rows drafts while they are few and all greedy: those that are decoded of one length,
    shorter ones filled up, which is verified like the rest; and those that enter, where others'
    answers tell how one begins."""
    if all(row.request.heard is not None and row.request.heard.pays for row in rows):
        most_rows *= MORE_ROWS
    most = LONGEST if len(rows) == 1 else DRAFT
    if len(rows) > most_rows or any(row.generator for row in rows):
        most = 0
    decoding = [row for row in rows if row.tokens]
    count = min((row.limit - len(row.tokens) - 1 for row in decoding), default=0)
    drafts = [_looked_up(row, min(count, most)) for row in decoding]
    width = max(map(len, drafts), default=0)
    for row, found in zip(decoding, drafts, strict=True):
        row.draft = found + row.tokens[-1:] * (width - len(found))
    for row in rows[len(decoding) :]:
        begins = row.request.heard is not None and not row.forks
        row.draft = _looked_up(row, min(row.limit - 1, most)) if begins else []


def _looked_up(row: Row, count: int) -> list[int]:
    return row.look_up(count) if count > 0 else []


def choose(rows: Sequence[Row], logits: Tensor) -> list[list[int]]:
    """The next tokens of each row out of logits [n, vocabulary], and then of each of its forks:
    none where logits are no numbers. What a row has cached of a draft that does not hold is given
    up."""
    best, sound = greedy(logits)
    chosen: list[list[int]] = []
    forked: list[list[int]] = []
    at = 0
    for row in rows:
        said = best[at : at + 1 + len(row.draft)]
        own = logits[at : at + len(said)]
        speaks = all(sound[at : at + len(said)])
        chosen.append(_next(row, own, said) if speaks else [])
        forked += [_next(one, own, said) if speaks else [] for one in row.forks]
        at += len(said)
    return chosen + forked


def _next(row: Row, logits: Tensor, said: list[int]) -> list[int]:
    """A row's next tokens out of its logits, of which `said` are the best."""
    sampling = row.request.sampling
    if row.generator is None:
        tokens = _verified(row, said)
    else:
        tokens = [draw(logits[0], sampling, row.generator)]
    if sampling.logprobs is not None:
        row.scores += scores(logits[: len(tokens)], tokens, sampling.logprobs)
    return tokens


def _verified(row: Row, said: list[int]) -> list[int]:
    """The draft as far as it is what the model said, and the token behind that."""
    right = agreement(row.draft, said)
    row.fill -= len(row.draft) - right
    return said[: right + 1]
