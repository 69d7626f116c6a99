"""Builds the demo's sales database, the same for the same seed. Knows no questions."""

import random
import sqlite3
from bisect import bisect_right
from datetime import date, timedelta
from itertools import accumulate
from pathlib import Path

from cli.demo.sales_codes import CODES, YEARS
from cli.demo.sales_names import PRODUCTS, STORES, listed, people
from cli.demo.sales_schema import INDEXES, TABLES

CUSTOMERS = 1100
ORDERS = 5600
REPS_PER_STORE = 3
FIRST_DAY = date(YEARS[0], 1, 1)
LAST_DAY = date(YEARS[-1], 12, 31)
# From this day on, stores that are shut and reps who have left take no orders.
CLOSING_DAY = date(2025, 7, 1)
EARLY_CUSTOMERS = (date(2017, 1, 1), date(2019, 12, 31))
LATER_CUSTOMERS = (FIRST_DAY, LAST_DAY - timedelta(days=40))
DISCOUNTS = {"K8": 0.12, "K5": 0.08, "K3": 0.04, "K1": 0.0}
PRICES = {  # yuan, lowest and highest of a category
    "G1": (35, 320),
    "G2": (40, 380),
    "G4": (60, 480),
    "G5": (18, 160),
    "G6": (30, 360),
    "G7": (22, 120),
    "G8": (25, 420),
}


def build_sales_database(path: Path, *, seed: int = 7) -> None:
    """Write the SQLite file `path` (replaced if it exists): 8 tables, about 20,000 rows."""
    path.unlink(missing_ok=True)
    rng = random.Random(f"sales database {seed}")
    names = people(rng, chinese=660, english=640)
    rows: dict[str, list[tuple]] = {}
    rows["regions"] = make_regions(names)
    rows["stores"] = make_stores(rng)
    rows["reps"] = make_reps(rng, names, stores=rows["stores"])
    rows["customers"] = make_customers(rng, names)
    rows["products"] = make_products(rng)
    rows["orders"], rows["sales_records"] = make_orders(rng, rows)
    rows["returns"] = make_returns(rng, rows)
    database = sqlite3.connect(path)
    try:
        with database:
            database.executescript(TABLES)
            for table, values in rows.items():
                marks = ",".join("?" * len(values[0]))
                database.executemany(f"insert into {table} values ({marks})", values)
            database.executescript(INDEXES)
        database.execute("analyze")
        database.commit()
    finally:
        database.close()


def pick(rng: random.Random, kind: str) -> str:
    """A code of one kind, by its weight."""
    codes = CODES[kind]
    return rng.choices([c.code for c in codes], [c.weight for c in codes])[0]


def day_between(rng: random.Random, first: date, last: date) -> date:
    return first + timedelta(days=rng.randint(0, (last - first).days))


def make_regions(names: list[str]) -> list[tuple]:
    return [(code.code, code.zh, names.pop()) for code in CODES["rg"]]


def make_stores(rng: random.Random) -> list[tuple]:
    names = listed(STORES)
    sizes = rng.sample(range(80, 900, 5), len(names))
    regions = [code.code for code in CODES["rg"]]
    stores = []
    for sid, (name, size) in enumerate(zip(names, sizes, strict=True), start=1):
        opened = day_between(rng, date(2012, 1, 1), date(2019, 12, 1))
        shut = int(sid % 9 == 0)
        stores.append((sid, name, regions[sid % len(regions)], size, opened.isoformat(), shut))
    return stores


def make_reps(rng: random.Random, names: list[str], *, stores: list[tuple]) -> list[tuple]:
    reps = []
    for store in stores:
        for _ in range(REPS_PER_STORE):
            hired = day_between(rng, date(2013, 1, 1), date(2019, 12, 20)).isoformat()
            eid = len(reps) + 1
            gone = int(rng.random() < 0.12)
            reps.append((eid, names.pop(), store[0], pick(rng, "grd"), hired, gone))
    return reps


def make_customers(rng: random.Random, names: list[str]) -> list[tuple]:
    customers = []
    for cid in range(1, CUSTOMERS + 1):
        # Nearly half were customers before the first order of the record.
        span = EARLY_CUSTOMERS if rng.random() < 0.45 else LATER_CUSTOMERS
        joined = day_between(rng, *span)
        deleted = int(rng.random() < 0.07)
        region = pick(rng, "rg")
        customers.append((cid, names.pop(), pick(rng, "lvl"), region, joined.isoformat(), deleted))
    return customers


def make_products(rng: random.Random) -> list[tuple]:
    products = []
    for cat, names in PRODUCTS.items():
        low, high = PRICES[cat]
        for name in listed(names):
            price = rng.randint(low, high) * 100 - rng.choice((0, 10, 50))
            cost = int(price * rng.uniform(0.45, 0.75))
            off = int(rng.random() < 0.2)
            products.append((len(products) + 1, name, cat, price, cost, off))
    return products


class Buyers:
    """Who orders, when: some customers never do, and better tiers order more often."""

    def __init__(self, rng: random.Random, customers: list[tuple]) -> None:
        self.rng = rng
        self.customers = [c for c in customers if c[0] % 8 != 0]
        eager = {"K8": 5, "K5": 3, "K3": 2, "K1": 1}
        self.cumulative = list(accumulate(eager[c[2]] for c in self.customers))

    def next_order(self) -> tuple[tuple, date]:
        """A customer and a day after they joined; drawn again until both fit."""
        while True:
            draw = self.rng.random() * self.cumulative[-1]
            customer = self.customers[bisect_right(self.cumulative, draw)]
            day = day_between(self.rng, FIRST_DAY, LAST_DAY)
            if day.isoformat() >= customer[4] and self.rng.random() < season(day):
                return customer, day


def season(day: date) -> float:
    """The chance that a possible order of that day happens: growth, and a busy autumn."""
    growth = 0.85 + 0.03 * (day.year - FIRST_DAY.year)
    return growth * (1.0 if day.month in (6, 11, 12) else 0.78)


def make_orders(rng: random.Random, tables: dict) -> tuple[list[tuple], list[tuple]]:
    """Orders and their sales records; an order's amounts are the sums of its sold lines."""
    buyers = Buyers(rng, tables["customers"])
    drawn = sorted((buyers.next_order() for _ in range(ORDERS)), key=lambda pair: pair[1])
    shut = {store[0] for store in tables["stores"] if store[5]}
    remaining = [rep for rep in tables["reps"] if not rep[5] and rep[2] not in shut]
    orders: list[tuple] = []
    records: list[tuple] = []
    for oid, (customer, day) in enumerate(drawn, start=10001):
        rep = rng.choice(tables["reps"] if day < CLOSING_DAY else remaining)
        status = order_status(rng, day)
        lines = sold_lines(rng, tables["products"])
        rate = DISCOUNTS[customer[2]] + rng.choice((0, 0, 0.03, 0.05))
        gross = discount = 0
        for product, quantity in lines:
            amount = product[3] * quantity
            cut = round(amount * rate)
            gross, discount = gross + amount, discount + cut
            kind = "D6" if status in ("P1", "P9") else "D1"
            sold = (oid, product[0], day.isoformat(), kind, quantity, amount - cut)
            records.append((len(records) + 1, *sold))
        if rng.random() < 0.3:
            gift = (oid, rng.choice(tables["products"])[0], day.isoformat(), "D4", 1, 0)
            records.append((len(records) + 1, *gift))
        where = (customer[0], rep[2], rep[0])
        channel = pick(rng, "ch")
        orders.append((oid, *where, day.isoformat(), channel, status, gross, discount))
    return orders, records


def order_status(rng: random.Random, day: date) -> str:
    """Open states gather in the last weeks; old orders are mostly completed or cancelled."""
    if (LAST_DAY - day).days < 20:
        return rng.choice(("P1", "P4", "P7"))
    return pick(rng, "st")


def sold_lines(rng: random.Random, products: list[tuple]) -> list[tuple[tuple, int]]:
    """One to three different products with their quantities."""
    chosen = rng.sample(products, rng.choices((1, 2, 3), (45, 35, 20))[0])
    return [(product, rng.choices((1, 2, 3, 5), (60, 25, 10, 5))[0]) for product in chosen]


def make_returns(rng: random.Random, tables: dict) -> list[tuple]:
    """About one in seven completed orders sends one of its sold lines back within a month."""
    completed = {order[0]: order for order in tables["orders"] if order[6] == "P7"}
    first_line = {}
    for record in tables["sales_records"]:
        if record[1] in completed and record[4] == "D1":
            first_line.setdefault(record[1], record)
    returns = []
    for oid, record in first_line.items():
        day = date.fromisoformat(completed[oid][4]) + timedelta(days=rng.randint(1, 30))
        if rng.random() < 0.15 and day <= LAST_DAY:
            refund = record[6] if rng.random() < 0.8 else record[6] // 2
            values = (oid, record[2], day.isoformat(), pick(rng, "rsn"), refund)
            returns.append((len(returns) + 1, *values))
    return returns
