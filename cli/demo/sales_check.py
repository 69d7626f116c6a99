"""Proves what the demo promises of its data: `python -m cli.demo.sales_check` prints the table."""

import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from cli.demo.masking import QuestionMask, mask_sql
from cli.demo.pairs import LANGUAGES, Pair, build_pairs
from cli.demo.sales_codes import CODES
from cli.demo.sales_database import build_sales_database

SPLITS = ("train", "validation", "test", "unseen_patterns")
# What a query is said to have, by a text that only such queries contain; they are written alike.
FEATURES = {
    "joins": (30, (" join ",)),
    "sub-queries": (12, ("(select",)),
    "anti-joins": (4, ("not in (select",)),
    "grouping": (12, (" group by ",)),
    "having": (4, (" having ",)),
    "top-N": (8, (" limit ",)),
    "dates": (20, (" like '20", " between '20", "julianday", "strftime")),
    "ratios": (6, ("*1.0/sum", "avg(st=", "avg(oid in", "/size")),
}


@dataclass(frozen=True)
class Figure:
    """One promise: what was counted, and the least (or most) that is allowed."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def kept(self) -> bool:
        low = self.least is None or self.value >= self.least
        return low and (self.most is None or self.value <= self.most)

    @property
    def bound(self) -> str:
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        return f">= {self.least:g}" if self.most is None else f"<= {self.most:g}"


def figures(database: Path, pairs: list[Pair]) -> list[Figure]:
    """Every promise of the data, counted from the database and the pairs alone."""
    return [
        *database_figures(database),
        *size_figures(pairs),
        *pattern_figures(pairs),
        *separation_figures(pairs, QuestionMask(database)),
        *result_figures(database, pairs),
        *practice_figures(pairs),
    ]


def database_figures(database: Path) -> list[Figure]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    names = "select name from sqlite_master where type='table' and name not like 'sqlite%'"
    tables = [name for (name,) in connection.execute(names)]
    counts = [connection.execute(f"select count(*) from {t}").fetchone()[0] for t in tables]
    broken = len(connection.execute("pragma foreign_key_check").fetchall())
    connection.close()
    return [
        Figure("tables", len(tables), least=6),
        Figure("rows", sum(counts), least=10_000),
        Figure("rows with a broken foreign key", broken, most=0),
    ]


def size_figures(pairs: list[Pair]) -> list[Figure]:
    sizes = Counter(pair.split for pair in pairs)
    spoken = Counter((pair.split, pair.language) for pair in pairs)
    found = [Figure("pairs", len(pairs), least=1000, most=1500)]
    found.append(Figure("test questions", sizes["test"], least=100))
    found.append(Figure("unseen_patterns questions", sizes["unseen_patterns"], least=60))
    share = 100 * sizes["validation"] / len(pairs)
    found.append(Figure("validation, % of the pairs", round(share, 1), least=8, most=10))
    for split in SPLITS:
        for language in LANGUAGES:
            share = 100 * spoken[split, language] / sizes[split]
            found.append(Figure(f"{split}: {language} %", round(share, 1), least=40))
    return found


def pattern_figures(pairs: list[Pair]) -> list[Figure]:
    masks = {mask_sql(pair.sql): pair.sql for pair in pairs}
    seen = {mask_sql(pair.sql) for pair in pairs if pair.split == "train"}
    only = {mask_sql(pair.sql) for pair in pairs if pair.split == "unseen_patterns"} - seen
    tested = {mask_sql(pair.sql) for pair in pairs if pair.split == "test"}
    found = [
        Figure("patterns", len(masks), least=72),
        Figure("patterns that training has", len(seen), least=72),
        Figure("patterns of training that the test asks for", len(seen & tested), least=len(seen)),
        Figure("patterns only in unseen_patterns", len(only), least=12),
    ]
    for name, (least, marks) in FEATURES.items():
        having = [sql for sql in masks.values() if any(mark in sql for mark in marks)]
        found.append(Figure(f"patterns with {name}", len(having), least=least))
    return found


def separation_figures(pairs: list[Pair], mask: QuestionMask) -> list[Figure]:
    """What keeps the splits apart, and that a question never means two things."""
    queries = defaultdict(set)
    for pair in pairs:
        queries[pair.split].add(pair.sql)
    shared = [a for a in SPLITS for b in SPLITS if a < b for _ in queries[a] & queries[b]]
    taught = {mask(pair.question) for pair in pairs if pair.split == "train"}
    tested = [mask(pair.question) for pair in pairs if pair.split == "test"]
    new_wordings = {wording for wording in tested if wording not in taught}
    meanings, patterns, wordings = defaultdict(set), defaultdict(set), defaultdict(set)
    for pair in pairs:
        meanings[pair.question].add(pair.sql)
        patterns[mask(pair.question, one_name=True)].add(mask_sql(pair.sql))
        if pair.split != "unseen_patterns":
            wordings[pair.pattern, pair.language].add(mask(pair.question))
    new = sum(wording in new_wordings for wording in tested)
    return [
        Figure("SQL in two splits", len(shared), most=0),
        Figure("test wordings unseen in training, %", percent(new_wordings, set(tested)), least=50),
        Figure("test questions with an unseen wording, %", round(100 * new / len(tested), 1), 50),
        Figure("questions with two meanings", count_double(meanings), most=0),
        Figure("wordings with two patterns", count_double(patterns), most=0),
        Figure("wordings of a pattern and language, least", min(map(len, wordings.values())), 6),
        Figure("questions asked twice", len(pairs) - len(meanings), most=0),
    ]


def percent(part: set, whole: set) -> float:
    return round(100 * len(part) / len(whole), 1)


def count_double(found: dict[str, set]) -> int:
    return sum(len(values) > 1 for values in found.values())


def result_figures(database: Path, pairs: list[Pair]) -> list[Figure]:
    """Runs every gold query once."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    failed = filled = 0
    for pair in pairs:
        try:
            rows = connection.execute(pair.sql).fetchall()
        except sqlite3.Error:
            failed += 1
            continue
        filled += any(value is not None for row in rows for value in row)
    connection.close()
    return [
        Figure("gold queries that fail", failed, most=0),
        Figure("gold results with something in them, %", round(100 * filled / len(pairs), 1), 95),
    ]


def practice_figures(pairs: list[Pair]) -> list[Figure]:
    """How often training meets each code in each language: the least of each kind."""
    found = []
    for kind, codes in CODES.items():
        counts = [
            sum(
                f"'{code.code}'" in pair.sql and getattr(code, language) in pair.question
                for pair in pairs
                if pair.split == "train" and pair.language == language
            )
            for code in codes
            for language in LANGUAGES
        ]
        found.append(Figure(f"training pairs with a code of {kind}, least", min(counts), least=7))
    return found


def main() -> int:
    """Build everything in a scratch folder, print the table; exit code 1 if a promise is broken."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "sales.sqlite"
        build_sales_database(database)
        counted = figures(database, build_pairs(database))
    for figure in counted:
        mark = "ok" if figure.kept else "BROKEN"
        print(f"{figure.name:<52}{figure.value:>9g}   {figure.bound:<14}{mark}")
    return 0 if all(figure.kept for figure in counted) else 1


if __name__ == "__main__":
    sys.exit(main())
