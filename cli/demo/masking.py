"""Masks values in questions and SQL, so that wordings and patterns can be counted from pairs alone.

Independent of how the pairs were made: it reads the database's names and the table of codes.
"""

import re
import sqlite3
from pathlib import Path

from cli.demo.sales_codes import CODES, MONTHS_EN
from cli.demo.values import NAMES

PERIODS = (
    ("<fy>", r"FY\d{4}|fiscal \d{4}|\d{4}财年"),
    ("<p>", r"\d{4}年\d{1,2}月|(?:" + "|".join(MONTHS_EN) + r") \d{4}"),
    ("<p>", r"\d{4}年|\b20\d\d\b"),
)


class QuestionMask:
    """Turns "Top 5 VIP customers in May 2024" into "Top <n> <lvl> customers in <p>"."""

    def __init__(self, database: Path) -> None:
        names: dict[str, str] = {}
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        for kind, query in NAMES.items():
            names.update({name: f"<{kind}>" for (name,) in connection.execute(query)})
        connection.close()
        codes: dict[str, str] = {}
        for kind, known in CODES.items():
            for code in known:
                codes.update({code.zh: f"<{kind}>", code.en: f"<{kind}>"})
        self.names = Words(names)
        self.codes = Words(codes)

    def __call__(self, question: str, *, one_name: bool = False) -> str:
        """The wording. `one_name` gives every sort of name the same mask: a reader can't tell
        a customer from a rep by the name."""
        masked = self.names.replace(question)
        if one_name:
            masked = re.sub("<(?:" + "|".join(NAMES) + ")>", "<name>", masked)
        for mask, expression in PERIODS:
            masked = re.sub(expression, mask, masked)
        masked = self.codes.replace(masked)
        return " ".join(re.sub(r"\d+", "<n>", masked).split())


class Words:
    """Replaces each known word, longest first; Latin ones only where they stand alone."""

    def __init__(self, words: dict[str, str]) -> None:
        longest = sorted(words, key=len, reverse=True)
        latin = "|".join(re.escape(word) for word in longest if word.isascii())
        other = "|".join(re.escape(word) for word in longest if not word.isascii())
        self.words = words
        self.expression = re.compile(rf"(?<![A-Za-z])(?:{latin})(?![A-Za-z])|{other}")

    def replace(self, text: str) -> str:
        return self.expression.sub(lambda match: self.words[match.group()], text)


def mask_sql(sql: str) -> str:
    """The query's pattern: literals masked. The pairs are written without table aliases."""
    return re.sub(r"\b\d+(?:\.\d+)?\b", "?", re.sub(r"'[^']*'", "?", sql))
