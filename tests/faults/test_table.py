"""The fault table of docs/RELIABILITY.md is shown row by row, by tests that exist."""

import ast
import re
from functools import cache

import pytest

from tests.platform import ROOT

PAGE = ROOT / "docs" / "RELIABILITY.md"
TESTS = ROOT / "tests"
OURS = [str(number) for number in range(1, 20)] + ["18b", "27"]
"""The rows that tests bear as a marker; those behind them are shown as the table says."""


def rows() -> dict[str, list[str]]:
    """The cells of each row of the table, by its number."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if re.match(r"\| \d+b? \|", line)]
    return {row[0]: row for row in cells}


@cache
def marked_tests() -> dict[str, set[str]]:
    """The tests that are marked with each row: `file::name`."""
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for row in marked(node):
                    name = f"{path.relative_to(TESTS).as_posix()}::{node.name}"
                    found.setdefault(row, set()).add(name)
    return found


def marked(test: ast.FunctionDef) -> list[str]:
    calls = [one for one in test.decorator_list if isinstance(one, ast.Call)]
    faults = [one for one in calls if ast.unparse(one.func) == "pytest.mark.fault"]
    return [str(ast.literal_eval(row)) for one in faults for row in one.args]


@pytest.mark.parametrize("row", OURS)
def test_every_fault_is_injected_by_a_test_that_names_its_row(row: str) -> None:
    assert row in rows()
    assert marked_tests().get(row), f"no test is marked with fault({row})"


def test_no_test_names_a_row_that_is_not_in_the_table() -> None:
    assert set(marked_tests()) <= set(rows())


@pytest.mark.parametrize("row", rows())
def test_the_files_that_a_row_says_it_is_shown_by_exist(row: str) -> None:
    shown = re.findall(r"`([\w/]+\.py)`", rows()[row][-1])
    assert shown or "planned" in rows()[row][-1], "the last column says what shows it"
    assert [name for name in shown if not (TESTS / name).exists()] == []


@pytest.mark.parametrize("row", OURS)
def test_a_row_names_every_file_whose_tests_bear_its_number(row: str) -> None:
    files = {name.partition("::")[0] for name in marked_tests().get(row, ())}
    assert [name for name in sorted(files) if f"`{name}`" not in rows()[row][-1]] == []
