"""Question/SQL pairs of the demo, dealt into four splits; deterministic. Knows no model.

No SQL is in two splits. Half of the test questions are worded as no training question is.
"""

import json
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.demo.patterns import PATTERNS, Pattern
from cli.demo.values import Value, number_value, value_pools

LANGUAGES = ("en", "zh")
# Pairs of one pattern and language.
TRAIN_EACH = 7
# Random choices of values tried for a pattern.
DRAWS = 600
# A short training (`train_limit`) learns these: few codes, so that each is met often enough.
STARTERS = (
    "customers_of_tier_in_region",
    "new_customers_in_region",
    "new_customers_by_tier",
    "net_revenue",
    "net_revenue_of_channel",
    "average_order_value_of_channel",
    "net_revenue_by_channel",
    "cancellation_rate",
    "discount_rate",
    "largest_orders",
    "buyers_of_channel",
    "net_revenue_of_tier",
    "net_revenue_by_tier",
    "top_customers",
    "net_revenue_of_region",
    "top_stores",
)


@dataclass(frozen=True)
class Pair:
    """One example: `language` is "en" or "zh", `pattern` the name of its query pattern."""

    question: str
    sql: str
    split: str
    pattern: str
    language: str


@dataclass(frozen=True)
class Candidate:
    """One choice of values for a pattern's slots, with the SQL that it makes."""

    sql: str
    values: dict[str, Value]

    def sayable(self, language: str) -> bool:
        return all(value.wordings(language) for value in self.values.values())

    def keys(self, language: str) -> list[str]:
        return [f"{language} {key}" for value in self.values.values() for key in value.keys]


def build_pairs(database: Path, *, seed: int = 7, train_limit: int | None = None) -> list[Pair]:
    """All pairs over the sales database: train, validation, test, unseen_patterns.

    `train_limit` gives a short set for a quick training: sixteen patterns, at most so many
    training pairs, and a test split of the same sixteen.
    """
    taught = [p for p in PATTERNS if not p.held_out]
    unseen = [p for p in PATTERNS if p.held_out]
    if train_limit is not None:
        taught = [p for p in taught if p.name in STARTERS]
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        dealer = Dealer(connection, seed=seed)
        each = TRAIN_EACH if train_limit is None else max(1, train_limit // (2 * len(taught)))
        tests = 1 if train_limit is None else 2
        for turn, pattern in enumerate(taught):
            dealer.deal_taught(pattern, turn=turn, train_each=each, tests_each=tests)
        for pattern in unseen:
            dealer.deal_unseen(pattern, wordings_each=1 if train_limit else 3)
    finally:
        connection.close()
    return dealer.pairs


def write_pairs(path: Path, pairs: list[Pair]) -> None:
    """JSON Lines, one pair a line."""
    lines = [json.dumps(asdict(pair), ensure_ascii=False) for pair in pairs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Dealer:
    """Deals one pattern after the other, keeping count of what training has practised."""

    def __init__(self, database: sqlite3.Connection, *, seed: int) -> None:
        self.database = database
        self.pools = value_pools(database)
        self.seed = seed
        self.pairs: list[Pair] = []
        self.practised: Counter[str] = Counter()

    def deal_taught(self, pattern: Pattern, *, turn: int, train_each: int, tests_each: int) -> None:
        """Test, validation and training pairs of one pattern.

        The languages take turns in having a wording that only the test has, so half of the test
        questions are worded as in training and half are not.
        """
        rng = random.Random(f"{self.seed} {pattern.name}")
        pool = self.candidates(pattern, rng)
        taught: dict[str, list[str]] = {}
        for index, language in enumerate(LANGUAGES):
            wordings = rng.sample(pattern.wordings(language), len(pattern.wordings(language)))
            hides = [(turn + index + number) % 2 == 0 for number in range(tests_each)]
            hidden = wordings.pop() if any(hides) else ""
            for hide in hides:
                wording = hidden if hide else wordings[0]
                self.add(pattern, pool.take(language), wording, "test", language)
            if (turn + 2 * index) % 4 < 3:
                self.add(pattern, pool.take(language), wordings[-1], "validation", language)
            taught[language] = wordings
        # Only now: what training gets is what no held-out question has taken.
        for language, wordings in taught.items():
            for number in range(train_each):
                chosen = pool.least_practised(language, self.practised)
                self.practised.update(chosen.keys(language))
                self.add(pattern, chosen, wordings[number % len(wordings)], "train", language)

    def deal_unseen(self, pattern: Pattern, *, wordings_each: int) -> None:
        """Wordings of a held-out pattern in both languages, each time with new values."""
        pool = self.candidates(pattern, random.Random(f"{self.seed} {pattern.name}"))
        for language in LANGUAGES:
            for wording in pattern.wordings(language)[:wordings_each]:
                self.add(pattern, pool.take(language), wording, "unseen_patterns", language)

    def add(
        self, pattern: Pattern, chosen: Candidate, wording: str, split: str, language: str
    ) -> None:
        rng = random.Random(f"{self.seed} {wording} {chosen.sql}")
        spoken = {slot: rng.choice(v.wordings(language)) for slot, v in chosen.values.items()}
        question = wording.format(**spoken)
        if language == "zh":  # "West End 2025年", not "West End2025年"
            question = re.sub(r"([A-Za-z])(\d)", r"\1 \2", question)
        self.pairs.append(Pair(question, chosen.sql, split, pattern.name, language))

    def candidates(self, pattern: Pattern, rng: random.Random) -> "Candidates":
        """Random choices of values, each SQL once."""
        found: dict[str, Candidate] = {}
        for _ in range(DRAWS):
            values = {slot: self.draw(pattern, slot, rng) for slot in pattern.slots}
            sql = pattern.sql.format(**{slot: value.sql for slot, value in values.items()})
            if all(values[slot] != values.get(f"{slot}2") for slot in values):
                found.setdefault(sql, Candidate(sql, values))
        return Candidates(list(found.values()), self.database)

    def draw(self, pattern: Pattern, slot: str, rng: random.Random) -> Value:
        kind = slot.rstrip("2")
        if kind in pattern.numbers:
            return number_value(kind, rng.choice(pattern.numbers[kind]))
        if kind == "p":  # years and months alike, though there are twelve times as many months
            kind = rng.choice(("y", "m"))
        return rng.choice(self.pools[kind])


class Candidates:
    """The choices of one pattern; what is taken for a held-out split is never given again."""

    def __init__(self, candidates: list[Candidate], database: sqlite3.Connection) -> None:
        self.left = candidates
        self.database = database
        self.used: Counter[str] = Counter()

    def take(self, language: str) -> Candidate:
        """The next candidate, for one held-out question alone."""
        return self.first(language, lambda candidate: 0, remove=True)

    def least_practised(self, language: str, practised: Counter[str]) -> Candidate:
        """The candidate whose SQL and whose codes training has met least often."""

        def met(candidate: Candidate) -> tuple[int, float]:
            counts = [practised[key] for key in candidate.keys(language)]
            return self.used[candidate.sql], sum(counts) / max(1, len(counts))

        chosen = self.first(language, met, remove=False)
        self.used[chosen.sql] += 1
        return chosen

    def first(self, language: str, order: Callable[[Candidate], Any], *, remove: bool) -> Candidate:
        """The first usable candidate in that order; unusable ones are dropped on the way."""
        for candidate in sorted(self.left, key=order):
            if not candidate.sayable(language):
                continue
            if not is_telling(self.database, candidate.sql):
                self.left.remove(candidate)
                continue
            if remove:
                self.left.remove(candidate)
            return candidate
        raise ValueError("a pattern has too few values with a result: give it more numbers")


def is_telling(database: sqlite3.Connection, sql: str) -> bool:
    """Whether the result says something: not empty, not zero, and no tie at the limit's cut."""
    rows = database.execute(sql).fetchall()
    if all(value in (None, 0) for row in rows for value in row):
        return False
    head, limit, count = sql.rpartition(" limit ")
    if not limit:
        return True
    longer = database.execute(f"{head} limit {int(count) + 1}").fetchall()
    return len(longer) == int(count) + 1 and longer[-1][-1] != longer[-2][-1]
