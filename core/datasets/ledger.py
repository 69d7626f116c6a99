"""A few numbers for each example, from which duplicates, leaks and splits are found.

Holds no text: 64-bit digests of it (a chance collision in 10^6 examples: 3 in 10^8), about 60
bytes an example, so that memory stays small however large the rows are.

In the report:

    duplicates  {"exact": n, "exact_lines": [[kept, dropped]...], "conflicting": n,
                 "conflicting_lines": [[line, line...]...]}   lists of at most 20
    leaks       {"given": bool, "shared_answers": {"train/test": n}, "shared_questions": {…}}:
                examples of the second split whose answer (SQL) or question train has too
"""

import hashlib
from array import array
from collections.abc import Iterator

import numpy as np

from core.datasets.examples import Example
from core.datasets.splits import MAX_SPLITS, TRAIN, deal
from core.errors import InvalidInput

MAX_LISTED = 20
# Shorter answers that are no SQL (yes, no, a label) repeat in any split and give nothing away.
MIN_SHARED_CHARACTERS = 32
NO_SPLIT = 255


def digest(*texts: str) -> int:
    """64 bits of BLAKE2b, equal on every machine. NUL parts the texts: none of them has one."""
    data = "\x00".join(texts).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


class Ledger:
    """Columns of numbers, one entry an example, in file order. 0 in a key column means none."""

    def __init__(self) -> None:
        self.split_names: list[str] = []
        self.lines = array("q")
        self.rows = array("q")  # counted over all files: several rows may stand on one line
        self.sources = array("B")  # the number of the file in which the line is
        self.exact = array("Q")  # question, input, context and answer
        self.questions = array("Q")  # question, input and context
        self.answers = array("Q")  # the normalised SQL; of other answers the text, if long
        self.ids = array("Q")
        self.given = array("B")
        self.keep = np.ones(0, dtype=bool)

    def __len__(self) -> int:
        return len(self.lines)

    def add(
        self,
        example: Example,
        *,
        row: int,
        sql: str | None,
        row_id: object = None,
        source: int = 0,
    ) -> None:
        """Enter an example of the row of that number, from 1, which no row of another file has.
        `sql` is its answer normalised, or None where it is no SQL. Files beside the first
        (`source` above 0) bring their split."""
        asked = (example.question, example.input, example.context)
        self.lines.append(example.line)
        self.rows.append(row)
        self.sources.append(source)
        self.questions.append(digest(*asked))
        self.exact.append(digest(*asked, example.answer))
        answer = sql if sql is not None else example.answer
        counts = sql is not None or len(answer) >= MIN_SHARED_CHARACTERS
        self.answers.append(digest(answer) if counts else 0)
        named = (type(row_id).__name__, str(row_id), str(source))
        self.ids.append(0 if row_id is None else digest(*named))
        self.given.append(NO_SPLIT if example.split is None else self._code(example.split))

    def _code(self, name: str) -> int:
        if name not in self.split_names:
            if len(self.split_names) == MAX_SPLITS:
                raise InvalidInput(
                    f"more than {MAX_SPLITS} splits, {name!r} among them: this is no split column; "
                    "map another one, or give fractions",
                    code="too_many_splits",
                )
            self.split_names.append(name)
        return self.split_names.index(name)

    def close(self) -> None:
        """All examples are in; decisions follow."""
        self.keep = np.ones(len(self), dtype=bool)

    def repeated_ids(self) -> list[tuple[int, int, int]]:
        """(source, first line, later line) of rows that carry an id which another row of their
        file has; the later ones are dropped.

        Examples of one row share its id rightly.
        """
        found: dict[int, tuple[int, int, int]] = {}
        rows = np.asarray(self.rows)
        for members in _equal(np.asarray(self.ids), self.keep):
            first = self.lines[int(members[0])]
            for later in members[rows[members] != rows[members[0]]].tolist():
                self.keep[later] = False
                found[self.rows[later]] = (self.sources[later], first, self.lines[later])
        return [found[row] for row in sorted(found)]

    def drop_duplicates(self, *, as_given: bool) -> dict:
        """Keep the first of equal examples (with given splits: in each split); report the rest."""
        lines = np.asarray(self.lines)
        given = np.asarray(self.given)
        pairs = []
        for members in _equal(np.asarray(self.exact), self.keep):
            first: dict[int, int] = {}
            for member in members.tolist():
                kept = first.setdefault(int(given[member]) if as_given else 0, member)
                if kept != member:
                    self.keep[member] = False
                    pairs.append([int(lines[kept]), int(lines[member])])
        conflicts = []
        exact, answers = np.asarray(self.exact), np.asarray(self.answers)
        meanings = np.where(answers != 0, answers, exact)
        for members in _equal(np.asarray(self.questions), self.keep):
            _, firsts = np.unique(meanings[members], return_index=True)
            if len(firsts) > 1:
                conflicts.append(sorted(lines[members[firsts]].tolist())[:MAX_LISTED])
        return {
            "exact": len(pairs),
            "exact_lines": sorted(pairs, key=lambda pair: pair[1])[:MAX_LISTED],
            "conflicting": len(conflicts),
            "conflicting_lines": sorted(conflicts)[:MAX_LISTED],
        }

    def deal(self, fractions: dict[str, float], seed: int) -> list[str | None]:
        """A split for each kept example (None for the dropped).

        Examples with an equal answer, an equal question or of one row stay together.
        """
        kept = np.flatnonzero(self.keep)
        roots = self._groups()[kept]
        groups, group_of, sizes = np.unique(roots, return_inverse=True, return_counts=True)
        # A group is known by its smallest content digest: the order of the file plays no part.
        keys = np.full(len(groups), np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(keys, group_of, np.asarray(self.exact)[kept])
        dealt = deal(sizes.tolist(), keys.tolist(), fractions, seed)
        splits: list[str | None] = [None] * len(self)
        for entry, group in zip(kept.tolist(), group_of.tolist(), strict=True):
            splits[entry] = dealt[group]
        return splits

    def as_given(self) -> list[str | None]:
        """The split that each kept example came with."""
        return [
            self.split_names[code] if keep else None
            for code, keep in zip(self.given, self.keep.tolist(), strict=True)
        ]

    def _groups(self) -> np.ndarray:
        """The smallest member of each entry's group: union-find over equal keys."""
        parent = list(range(len(self)))

        def root(entry: int) -> int:
            while parent[entry] != entry:
                parent[entry] = parent[parent[entry]]
                entry = parent[entry]
            return entry

        for keys in (self.answers, self.questions, self.rows):
            for members in _equal(np.asarray(keys), self.keep):
                first = root(int(members[0]))
                for member in members[1:].tolist():
                    other = root(member)
                    first, other = min(first, other), max(first, other)
                    parent[other] = first
        return np.fromiter((root(entry) for entry in range(len(self))), np.int64, len(self))

    def leaks(self, splits: list[str | None], *, as_given: bool) -> dict:
        """What the other splits share with train."""
        names = [TRAIN, *sorted(set(splits) - {None, TRAIN})]
        codes = {name: code for code, name in enumerate(names)}
        of_entry = np.fromiter((codes.get(name, -1) for name in splits), np.int8, len(splits))
        report: dict = {"given": as_given, "shared_answers": {}, "shared_questions": {}}
        for label, column in (("answers", self.answers), ("questions", self.questions)):
            keys = np.asarray(column)
            known = keys[(of_entry == codes[TRAIN]) & (keys != 0)]
            for other in names[1:]:
                shared = int(np.isin(keys[of_entry == codes[other]], known).sum())
                report[f"shared_{label}"][f"{TRAIN}/{other}"] = shared
        return report


def remarks(duplicates: dict, leaks: dict) -> Iterator[tuple[str, str]]:
    """(code, warning) of what only all rows together show."""
    if duplicates["exact"]:
        yield "duplicate_examples", f"{duplicates['exact']} examples repeat others; kept once each"
    if duplicates["conflicting"]:
        found = f"{duplicates['conflicting']} questions have several answers"
        yield "conflicting_answers", f"{found}; one answer to a question is right"
    for what in ("answers", "questions") if leaks["given"] else ():
        for splits, count in leaks[f"shared_{what}"].items():
            other = splits.removeprefix(f"{TRAIN}/")
            found = f"{count} examples of {other} share their {what[:-1]} with train"
            if count:
                yield (
                    f"shared_{what}",
                    f"{found}; results on {other} will look better than they are",
                )


def _equal(keys: np.ndarray, keep: np.ndarray) -> Iterator[np.ndarray]:
    """The entries of each key that two or more kept entries have, in file order."""
    entries = np.flatnonzero(keep & (keys != 0))
    _, numbers, counts = np.unique(keys[entries], return_inverse=True, return_counts=True)
    shared = counts[numbers] > 1
    entries, numbers = entries[shared], numbers[shared]
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    yield from np.split(entries[order], ends) if len(entries) else ()
