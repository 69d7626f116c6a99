"""An answer ends with its statement, and not before."""

import pytest

from workers.ml.sampling import Sampling
from workers.ml.stopping import end_of_answer, end_of_sql, ends_possible


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("SELECT 1; and so on", "SELECT 1;"),
        ("select ';' , \"a;b\" from t; x", "select ';' , \"a;b\" from t;"),
        ("SELECT 'it''s; fine' FROM t;", "SELECT 'it''s; fine' FROM t;"),
        ("SELECT 1 -- one; two\n;", "SELECT 1 -- one; two\n;"),
        ("SELECT 1 /* ; */ ;x", "SELECT 1 /* ; */ ;"),
        ("```sql\nSELECT a\n\nFROM t\n```\nThis", "```sql\nSELECT a\n\nFROM t\n"),
        ("Here it is; look:\n```sql\nSELECT 1;\n```", "Here it is; look:\n```sql\nSELECT 1;"),
        ("SELECT a FROM t\n\nThis query lists", "SELECT a FROM t"),
        ("SELECT a FROM t\n\n这个查询 ", "SELECT a FROM t"),
        ("WITH x AS (SELECT 1) SELECT * FROM x; done", "WITH x AS (SELECT 1) SELECT * FROM x;"),
        ("The query:\nSELECT 1; done", "The query:\nSELECT 1;"),
        (
            "SELECT 名称 FROM 客户 WHERE 城市 = '北京；;' ; x",
            "SELECT 名称 FROM 客户 WHERE 城市 = '北京；;' ;",
        ),
    ],
)
def test_an_answer_ends_with_its_statement(text, answer):
    assert text[: end_of_sql(text)] == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SELECT a FROM t",
        "SELECT 'open; quote",
        "SELECT a\n\nFROM t",
        "SELECT a FROM t\n\n",
        "SELECT a FROM t\n\nWHE",
        "SELECT a FROM t\n\nWHERE b ",
        "SELECT a FROM (\n\nSELECT b ",
        "Sure; I can help.\n\nWith this query you see",
        "I would select the rows; then count them.\n\nSo",
        "```sql\n",
        "```sql\nSELECT a\n\nFROM",
    ],
)
def test_an_answer_goes_on_where_the_statement_may(text):
    assert end_of_sql(text) is None


def test_the_first_of_several_ends_counts():
    sampling = Sampling(stop=("END", "###"), sql=True)
    assert end_of_answer("SELECT 1 ### END", sampling) == 9
    assert end_of_answer("SELECT 1; ###", sampling) == 9
    assert end_of_answer("SELECT 1", sampling) is None


def test_only_pieces_that_could_end_an_answer_are_looked_at_closely():
    assert ends_possible(b");", Sampling(sql=True))
    assert ends_possible(b" x\n", Sampling(sql=True))
    assert not ends_possible(b" FROM", Sampling(sql=True))
    assert not ends_possible(b";", Sampling())
    assert ends_possible(b"a#b", Sampling(stop=("##",)))
    assert not ends_possible(b"#", Sampling(stop=("", "#!")))


def test_the_last_part_of_a_character_is_looked_at_closely_and_the_others_are_not():
    first, second, last = (bytes([byte]) for byte in "！".encode())
    sampling = Sampling(stop=("好！",))
    assert ends_possible(last, sampling) and ends_possible(b"x" + last + b"y", sampling)
    assert not ends_possible(first, sampling) and not ends_possible(second, sampling)


def test_where_the_bytes_of_a_character_are_not_known_it_is_looked_at_closely():
    assert ends_possible("x\ufffd".encode(), Sampling(stop=("！",)))
    assert ends_possible(b"\xe5", Sampling(stop=("\ufffd",)))
    assert not ends_possible("x\ufffd".encode(), Sampling(stop=("",)))


def test_a_stop_string_that_stands_in_no_text_does_no_harm():
    assert not ends_possible(b"a", Sampling(stop=("\ud83d",)))
