import pytest

from core.sql.normalise import normalise, skeleton


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("select Name from Singer;", 'SELECT  "name"\nFROM singer -- all'),
        ("SELECT T1.name FROM singer AS T1", "SELECT name FROM singer"),
        (
            "SELECT name AS n FROM singer s WHERE s.age <> 3",
            "SELECT name FROM singer WHERE age != 3",
        ),
        (
            "SELECT T1.a, T2.b FROM x AS T1 JOIN y AS T2 ON T1.i = T2.i",
            "SELECT x.a, y.b FROM x INNER JOIN y ON x.i = y.i",
        ),
        (
            "SELECT a.n FROM t AS a JOIN t AS b ON a.i = b.j",
            "SELECT p.n FROM t AS p JOIN t AS q ON p.i = q.j",
        ),
        (
            "SELECT T1.a FROM t AS T1 WHERE T1.b IN (SELECT T1.b FROM u AS T1)",
            "SELECT a FROM t WHERE b IN (SELECT b FROM u)",
        ),
        (
            "SELECT x, count(*) AS n FROM t GROUP BY x ORDER BY n ASC",
            "SELECT x, COUNT(*) FROM t GROUP BY x ORDER BY COUNT(*)",
        ),
        ("SELECT a FROM t LEFT OUTER JOIN u USING (i)", "SELECT a FROM t LEFT JOIN u USING (i)"),
        ("SELECT k.姓名 FROM 客户 AS k", 'SELECT "姓名" FROM 客户'),
    ],
)
def test_one_query_in_two_spellings_is_one_text(left, right):
    assert normalise(left) is not None
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("SELECT a FROM t WHERE b = 'X'", "SELECT a FROM t WHERE b = 'x'"),
        ("SELECT a FROM t WHERE b = '1'", "SELECT a FROM t WHERE b = 1"),
        ("SELECT a FROM t", "SELECT DISTINCT a FROM t"),
        ("SELECT a FROM t JOIN u ON t.i = u.i", "SELECT a FROM t LEFT JOIN u ON t.i = u.i"),
        ("SELECT a FROM t ORDER BY b", "SELECT a FROM t ORDER BY b DESC"),
        (
            "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.x = t.y)",
            "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.x = u.y)",
        ),
        ('SELECT "North West" FROM t', 'SELECT "north west" FROM t'),
    ],
)
def test_different_queries_stay_different(left, right):
    assert normalise(left) != normalise(right)


@pytest.mark.parametrize("sql", ["", "SELEC", "SELECT (", "DROP TABLE t", "SELECT 1; SELECT 2"])
def test_what_is_not_one_query_has_no_text(sql):
    assert normalise(sql) is None


def test_a_text_nested_too_deep_has_none_either():
    assert normalise("SELECT " + "(" * 5000 + "1" + ")" * 5000) is None
    assert normalise("SELECT " + "1 + " * 20_000 + "1") is None


def test_a_skeleton_masks_values_and_names_of_aliases():
    left = (
        "SELECT T1.name, sum(x) AS n FROM t AS T1 WHERE a = 'x' AND b IN (1, 2)"
        " HAVING n > -5 LIMIT 3"
    )
    right = (
        "SELECT k.name, SUM(x) AS m FROM t k WHERE a = '北京' AND b IN (7) HAVING m > 2.5 LIMIT 1"
    )
    assert skeleton(left) == skeleton(right)
    assert skeleton(left) == (
        "SELECT name, SUM(x) AS a1 FROM t WHERE a = ? AND b IN (?) HAVING a1 > ? LIMIT ?"
    )


def test_skeletons_of_different_patterns_differ():
    assert skeleton("SELECT a FROM t WHERE b = 1") != skeleton("SELECT a FROM t WHERE b > 1")
    assert skeleton("SELECT a FROM t") != skeleton("SELECT b FROM t")


def test_what_does_not_parse_is_its_own_skeleton():
    assert skeleton("SELEC  a\nFROM") == "SELEC a FROM"


def test_every_real_gold_has_a_text_and_its_own_text_again(real_data):
    for _, examples in real_data("spider_dev"):
        for example in examples:
            text = normalise(example["sql"])
            assert text is not None and normalise(text) == text
