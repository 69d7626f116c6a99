"""Makes the example that the README uses: `python examples/make.py` writes bookshop.sqlite and
bookshop.jsonl beside itself. Both are committed; this says how they came about."""

import json
import sqlite3
from pathlib import Path

HERE = Path(__file__).parent
GENRES = {"novel": "小说", "poetry": "诗歌", "history": "历史", "science": "科学", "travel": "旅行"}
CITIES = ["Lisbon", "上海", "Oslo", "成都"]
SCHEMA = """
CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, genre TEXT, price REAL, stock INTEGER);
CREATE TABLE sales (
    id INTEGER PRIMARY KEY, book_id INTEGER REFERENCES books (id), city TEXT, sold_on TEXT,
    copies INTEGER
);
"""


def make_database(path: Path) -> None:
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as shop:
        shop.executescript(SCHEMA)
        for number in range(1, 41):
            genre = list(GENRES)[number % 5]
            price, stock = 5 + number * 0.75, number * 7 % 23
            row = (number, f"Book {number}", genre, price, stock)
            shop.execute("INSERT INTO books VALUES (?, ?, ?, ?, ?)", row)
        for number in range(1, 401):
            day = f"202{number % 3 + 3}-{number % 12 + 1:02d}-{number % 28 + 1:02d}"
            row = (number, number % 40 + 1, CITIES[number % 4], day, number % 5 + 1)
            shop.execute("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", row)
    shop.close()


def make_pairs() -> list[dict[str, str]]:
    pairs = []
    for genre, chinese in GENRES.items():
        sql = f"select count(*) from books where genre='{genre}'"
        pairs += both(f"How many {genre} books are there?", f"有多少本{chinese}书?", sql)
        sql = f"select title from books where genre='{genre}' order by price desc limit 3"
        pairs += both(f"The three dearest {genre} books", f"最贵的三本{chinese}书", sql)
        sql = (
            "select sum(copies*price) from sales join books on books.id=book_id "
            f"where genre='{genre}'"
        )
        pairs += both(f"Revenue of {genre} books", f"{chinese}书的销售额", sql)
    for city in CITIES:
        for year in (2023, 2024, 2025):
            sql = f"select sum(copies) from sales where city='{city}' and sold_on like '{year}%'"
            asked = f"How many copies were sold in {city} in {year}?"
            pairs += both(asked, f"{year}年在{city}卖了多少本?", sql)
    return pairs


def both(english: str, chinese: str, sql: str) -> list[dict[str, str]]:
    return [{"question": english, "sql": sql}, {"question": chinese, "sql": sql}]


if __name__ == "__main__":
    make_database(HERE / "bookshop.sqlite")
    lines = [json.dumps(pair, ensure_ascii=False) for pair in make_pairs()]
    (HERE / "bookshop.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
