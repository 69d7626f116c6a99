"""What of a text becomes a tree, and that no text keeps the parser busy."""

import pytest

from core.sql.parse import NO_SELECT, parse_or_say

DIALECTS = ("sqlite", "postgres")


def nested(opens: str, inner: str, closes: str, levels: int, before: str = "SELECT ") -> str:
    return before + opens * levels + inner + closes * levels


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "sql",
    [
        nested("date(", "d", ")", 5),
        nested("date(", "d", ", '-1 day')", 4),
        nested("CAST(date(", "d", ") AS text)", 4),
        nested("date(coalesce(", "d", ", '2020-01-01'))", 4),
        nested("(", "1", ")", 30),
        nested("abs(", "1", ")", 30),
        nested("CASE WHEN a THEN ", "1", " END", 20),
        nested("(SELECT ", "1", ")", 20),
        nested("(SELECT a FROM t ORDER BY a LIMIT ", "1", ")", 3),
        nested("(SELECT * FROM ", "t", ") AS s", 20, before="SELECT * FROM "),
        "SELECT * FROM a JOIN b JOIN c JOIN d JOIN e JOIN f JOIN g JOIN h WHERE a.x = b.x",
        "SELECT * FROM a" + " JOIN b ON a.x = b.x" * 500,
        "SELECT " + ", ".join(["date(d)"] * 5000),
        "SELECT a FROM t WHERE a IN (" + ", ".join(["1"] * 10_000) + ")",
        "SELECT a + INTERVAL '1 day' FROM t WHERE a = 'x'",
    ],
)
def test_what_people_write_is_read(sql, dialect):
    tree, reason = parse_or_say(sql, dialect=dialect)
    assert tree is not None, reason


@pytest.mark.parametrize(
    ("opens", "inner", "closes"),
    [
        ("date((", "1", "))"),
        ("text(date(", "1", "))"),
        ("struct(", "1", ")"),
        ("char(", "1", " USING x)"),
        ("date((SELECT ", "1", "))"),
        ("date(CASE WHEN a THEN ", "1", " END)"),
        ("(SELECT 1 FROM t LIMIT ", "1", ")"),
        ("(SELECT 1 FROM t OFFSET ", "1", ")"),
        ("IF - ", "a", ""),
    ],
)
def test_what_would_be_read_again_and_again_is_answered(opens, inner, closes):
    tree, reason = parse_or_say(nested(opens, inner, closes, 30), dialect="sqlite")
    assert (tree is None) == bool(reason)


@pytest.mark.parametrize(
    ("sql", "dialect"),
    [
        (nested("ARRAY[", "1", "]", 30), "postgres"),
        (nested("date(", "d", ")", 30), "sqlite"),
        (nested("date(", "d", ")", 30), "postgres"),
        ("SELECT 1 FROM t" + " JOIN t" * 30, "sqlite"),
        ("SELECT 1 FROM t" + " LEFT JOIN t AS s" * 30, "postgres"),
        # The text of a quoted type's name is a text of SQL once more.
        ('SELECT a::"' + "date(" * 30 + "1" + ")" * 30 + '"', "postgres"),
        ("SELECT " + ", ".join(['a::"' + "date(" * 11 + "1" + ")" * 11 + '"'] * 30), "postgres"),
        ("SELECT date(date(date(" + "1, " * 10_000 + "1)))", "sqlite"),
        (nested("(", "1", ")", 200), "sqlite"),
        (nested("NOT ", "a", "", 5000), "sqlite"),
        (nested("- ", "a", "", 5000), "sqlite"),
    ],
)
def test_what_is_nested_too_deeply_is_refused_with_what_would_be_right(sql, dialect):
    tree, reason = parse_or_say(sql, dialect=dialect)
    assert tree is None
    assert reason == "nested too deeply: fewer levels are right, and an ON for each JOIN"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("text", ["1" * 45_000, " " * 45_000, " " * 20_000 + "1" + " " * 20_000])
def test_a_long_text_of_an_interval_is_refused(text, dialect):
    for sql in (f"SELECT INTERVAL '{text}'", f"SELECT INTERVAL '1' day + '{text}'"):
        tree, reason = parse_or_say(sql, dialect=dialect)
        assert tree is None
        assert reason == "beside INTERVAL a text has at most 1000 characters"


def test_other_texts_are_no_query_and_say_why():
    assert parse_or_say("SELECT 1; SELECT 2", dialect="sqlite")[1].startswith("2 statements")
    assert parse_or_say("DROP TABLE t", dialect="sqlite")[1] == NO_SELECT
    assert parse_or_say("x" * 50_001, dialect="sqlite")[1] == "longer than 50000 characters"
