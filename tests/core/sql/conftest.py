"""A small shop, half English, half Chinese, as a SQLite file; and real data where it is given."""

import json
import os
import sqlite3
from pathlib import Path

import pytest

from core.sql.execute import Limits, SqlRunner

_SHOP = """
CREATE TABLE regions ( -- where we sell
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL -- 地区
);
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT,
    -- G = gold, S = silver, N = none
    level TEXT,
    region_id INTEGER REFERENCES regions(id),
    joined DATE,
    photo BLOB
);
CREATE TABLE "订单" (
    "编号" INTEGER PRIMARY KEY,
    "客户" INTEGER REFERENCES customers,
    "状态" TEXT,
    "金额" REAL
);
CREATE TABLE lines (
    order_id INTEGER, place INTEGER, "unit price" REAL,
    PRIMARY KEY (order_id, place),
    FOREIGN KEY (order_id) REFERENCES "订单"("编号")
);
CREATE VIEW gold AS SELECT * FROM customers WHERE level = 'G';
INSERT INTO regions VALUES (1, 'North'), (2, 'South'), (3, '华东');
INSERT INTO customers VALUES
    (1, 'Ann', 'G', 1, '2024-01-05', x'00ff'), (2, 'Bo', 'S', 1, '2024-02-01', NULL),
    (3, '李雷', 'G', 3, '2024-02-01', NULL), (4, '韩梅梅', 'N', 3, '2024-03-09', NULL),
    (5, 'O''Neil', 'S', 2, NULL, NULL);
INSERT INTO "订单" VALUES
    (1, 1, '已付款', 10.5), (2, 1, '待付款', 20.0), (3, 3, '已付款', 30.25), (4, 4, '已付款', 0.1),
    (5, 4, '已取消', 0.2);
INSERT INTO lines VALUES (1, 1, 10.5), (2, 1, 5.0), (2, 2, 15.0);
"""


def _made(path: Path, script: str) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


@pytest.fixture(scope="session")
def make_database():
    """(path, script) -> the path, at which the script has made a database."""
    return _made


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Path:
    return _made(tmp_path_factory.mktemp("shop") / "shop.sqlite", _SHOP)


@pytest.fixture(scope="session")
def runner(shop):
    with SqlRunner(shop, limits=Limits(seconds=5.0)) as runner:
        yield runner


@pytest.fixture(scope="session")
def real_data():
    """name -> [(database path, examples)], of the folder in TUNEYARD_DATA_DIR."""
    folder = os.environ.get("TUNEYARD_DATA_DIR")
    if not folder:
        pytest.skip("TUNEYARD_DATA_DIR names no folder with geoquery/ and spider_dev/")

    def load(name: str) -> list[tuple[Path, list[dict]]]:
        lines = (Path(folder) / name / "examples.jsonl").read_text("utf-8").splitlines()
        found: dict[Path, list[dict]] = {}
        for example in map(json.loads, lines):
            file = f"databases/{example['db_id']}.sqlite" if "db_id" in example else "db.sqlite"
            found.setdefault(Path(folder) / name / file, []).append(example)
        return list(found.items())

    return load
