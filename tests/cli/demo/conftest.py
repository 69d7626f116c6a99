"""One sales database and its pairs for all tests of the demo's data."""

import pytest

from cli.demo.pairs import build_pairs
from cli.demo.sales_database import build_sales_database


@pytest.fixture(scope="session")
def sales_database(tmp_path_factory):
    path = tmp_path_factory.mktemp("sales") / "sales.sqlite"
    build_sales_database(path)
    return path


@pytest.fixture(scope="session")
def sales_pairs(sales_database):
    return build_pairs(sales_database)
