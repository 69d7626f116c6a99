"""What may stand in a pattern's slot: its SQL text and its wordings. Knows no pattern."""

import sqlite3
from dataclasses import dataclass

from cli.demo.sales_codes import CODES, FISCAL_YEARS, MONTHS_EN, YEARS

NAMES = {
    "cust": "select cname from customers where del=0 and cid in"
    " (select cid from orders where st='P7' group by cid having count(*)>=4)",
    "prod": "select pname from products",
    "store": "select sname from stores",
    "rep": "select ename from reps",
}


@dataclass(frozen=True)
class Value:
    """`sql` is written into the query; `en`/`zh` are ways of saying it; `keys` what it exercises.

    The keys are counted over the training pairs, so that each code, month and year is practised
    about equally often in each language.
    """

    sql: str
    en: tuple[str, ...]
    zh: tuple[str, ...]
    keys: tuple[str, ...] = ()

    def wordings(self, language: str) -> tuple[str, ...]:
        return self.zh if language == "zh" else self.en


def value_pools(database: sqlite3.Connection) -> dict[str, tuple[Value, ...]]:
    """Every slot's values but the numeric ones, by slot name; names come from the database."""
    pools = {kind: tuple(code_value(kind, code) for code in codes) for kind, codes in CODES.items()}
    pools["y"] = tuple(year_value(year) for year in YEARS)
    pools["m"] = tuple(month_value(year, month) for year in YEARS for month in range(1, 13))
    pools["p"] = pools["y"] + pools["m"]
    pools["fy"] = tuple(fiscal_value(year) for year in FISCAL_YEARS)
    for slot, query in NAMES.items():
        names = sorted(name for (name,) in database.execute(query))
        pools[slot] = tuple(name_value(slot, name) for name in names)
    return pools


def code_value(kind: str, code) -> Value:
    return Value(code.code, (code.en,), (code.zh,), (f"{kind}:{code.code}",))


def year_value(year: int) -> Value:
    return Value(str(year), (str(year),), (f"{year}年",), ("period:year", f"year:{year}"))


def month_value(year: int, month: int) -> Value:
    keys = ("period:month", f"year:{year}", f"month:{month}")
    english = (f"{MONTHS_EN[month - 1]} {year}",)
    return Value(f"{year}-{month:02}", english, (f"{year}年{month}月",), keys)


def fiscal_value(year: int) -> Value:
    """The fiscal year that begins in April of `year`."""
    span = f"between '{year}-04-01' and '{year + 1}-03-31'"
    return Value(span, (f"FY{year}", f"fiscal {year}"), (f"{year}财年",), (f"fy:{year}",))


def name_value(slot: str, name: str) -> Value:
    """A name is said as it is; English questions only carry names in Latin letters."""
    return Value(name, (name,) if name.isascii() else (), (name,), (f"{slot}:{name}",))


def number_value(slot: str, number: int) -> Value:
    return Value(str(number), (str(number),), (str(number),), (f"{slot}:{number}",))
