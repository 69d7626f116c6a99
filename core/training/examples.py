"""From rows of a prepared dataset to token ids, and what the prompts of those share.

Columns: `line` (in the source file), `question`, `input`, `answer`, `context` (JSON messages).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import JobFailure
from core.training.prompts import PromptTemplate

NAMED_ROWS = 10  # at most so many rows are named in a refusal


@dataclass(frozen=True)
class Example:
    """One row of a dataset in tokens. `line` is its line in the source file."""

    line: int
    prompt_ids: list[int]
    completion_ids: list[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def encode_rows(
    rows: Iterable[Mapping[str, Any]],
    tokenizer,
    template: PromptTemplate,
    *,
    max_length: int,
    truncate: bool,
    model_takes: int | None = None,
) -> list[Example]:
    """Every row in tokens. One longer than `max_length` tokens, or than its base `model_takes`, is
    cut at its end if `truncate`; else, and where not even the prompt fits, JobFailure (data) names
    the rows' lines."""
    examples, refused = [], []
    wanted, max_length = max_length, min(max_length, model_takes or max_length)
    for row in rows:
        encoded = template.encode(tokenizer, row)
        example = Example(row["line"], encoded.prompt_ids, encoded.completion_ids)
        if len(example) > max_length:
            if not truncate or len(example.prompt_ids) >= max_length:
                refused.append(example)
                continue
            room = max_length - len(example.prompt_ids)
            example = Example(example.line, example.prompt_ids, example.completion_ids[:room])
        examples.append(example)
    if refused:
        what = f"max_length {wanted}"
        advice = "raise max_length to the longest, shorten the rows"
        if max_length < wanted:
            what = f"the {max_length} tokens that the base model takes"
            advice = "shorten the rows, choose another base model"
        raise JobFailure("data", _too_long(refused, what, advice), rows=len(refused))
    return examples


def _too_long(refused: list[Example], what: str, advice: str) -> str:
    named = ", ".join(f"line {e.line} ({len(e)} tokens)" for e in refused[:NAMED_ROWS])
    more = f" and {len(refused) - NAMED_ROWS} more" if len(refused) > NAMED_ROWS else ""
    return (
        f"{len(refused)} rows are longer than {what}: {named}{more}; {advice}, or ask for "
        "long_rows: truncate"
    )


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
    return _shared(first, last, min(len(e.prompt_ids) for e in examples) - 1)


def families(examples: Sequence[Example]) -> list[list[Example]]:
    """The examples, sorted by prompt, cut where that saves tokens: those of a family share one
    prefix (one schema of several, one system prompt of several).

    Neighbours are joined in the order of what they share, the most first. A family of n that shares
    P saves (n - 1) P tokens; where its parts save more apart, it is cut between them.
    """
    if not examples:
        return []
    ordered = sorted(examples, key=lambda e: e.prompt_ids)
    shared = [0] + [common_prefix(pair) for pair in zip(ordered, ordered[1:], strict=False)]
    first, last = list(range(len(ordered))), list(range(len(ordered)))
    saved = [0] * len(ordered)  # by the part that begins here
    begins = bytearray(len(ordered))
    for k in sorted(range(1, len(ordered)), key=lambda k: -shared[k]):
        start, end = first[k - 1], last[k]
        together, apart = (end - start) * shared[k], saved[start] + saved[k]
        if together >= apart:
            begins[start + 1 : end + 1] = bytes(end - start)
        else:
            begins[k] = 1
        saved[start] = max(together, apart)
        first[end], last[start] = start, end
    cuts = [0, *(k for k, begin in enumerate(begins) if begin), len(ordered)]
    return [ordered[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]


def _shared(one: list[int], other: list[int], limit: int) -> int:
    """How many of the first `limit` ids are equal; by halves, since slices compare quickly."""
    same, end = 0, limit
    while same < end:
        middle = (same + end + 1) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            end = middle - 1
    return same
