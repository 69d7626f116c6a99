"""A small shop and questions about it, in English and Chinese: the data of the end-to-end tests."""

import json
import sqlite3
from pathlib import Path

CITIES = ["Paris", "Rome", "上海", "北京", "Berlin", "Oslo"]


def build_shop(path: Path) -> Path:
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER "
            "REFERENCES customers(id), total REAL);"
        )
        for number in range(60):
            city = CITIES[number % len(CITIES)]
            connection.execute("INSERT INTO customers VALUES (?,?,?)", (number, f"N{number}", city))
            connection.execute("INSERT INTO orders VALUES (?,?,?)", (number, number, number * 1.5))
    connection.close()
    return path


def pairs(count: int = 60) -> list[dict[str, str]]:
    """Questions with distinct gold SQL, so that a split by SQL can tell them apart."""
    made = []
    for number in range(count):
        city = CITIES[number % len(CITIES)]
        sql = f"SELECT COUNT(*) FROM customers WHERE city = '{city}' AND id > {number}"
        asked = f"How many customers above {number} live in {city}?"
        if number % 2:
            asked = f"编号大于{number}的客户有多少在{city}?"
        made.append({"question": asked, "sql": sql})
    return made


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
