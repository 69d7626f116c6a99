"""What may be sent to a PostgreSQL server, by its text alone."""

import pytest

from core.sql.errors import SqlError
from core.sql.postgres.guard import vet


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM orders WHERE total > 10 -- all of them",
        "VALUES (1), (2)",
        "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1",
        "SELECT 客户.姓名 FROM 客户 WHERE 城市 = '上海';",
        "WITH t(a, b) AS MATERIALIZED (SELECT 1, 2) SELECT a FROM t AS u (a, b)",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c LIMIT 3",
        "SELECT DISTINCT ON (a) a, b FROM sales.t ORDER BY a, b DESC NULLS LAST",
        "SELECT date_trunc('month', d)::date, extract(year FROM d), d AT TIME ZONE 'UTC' FROM t",
        "SELECT CAST(x AS numeric(10, 2)), x::varchar(3), interval '1 day' FROM t",
        "SELECT count(*) FILTER (WHERE a), string_agg(b, ',' ORDER BY b) FROM t",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b ROWS 3 PRECEDING) FROM t",
        "SELECT rank() OVER w FROM t WINDOW w AS (ORDER BY b)",
        "SELECT a, sum(b) FROM t GROUP BY GROUPING SETS ((a), ()), ROLLUP (a)",
        "SELECT a = ANY (ARRAY[1, 2]), a IN (SELECT 1), NOT (a), EXISTS (SELECT 1) FROM t",
        "SELECT * FROM t LEFT JOIN LATERAL (SELECT 1) AS s ON (true) JOIN u USING (id)",
        "SELECT * FROM generate_series(1, 3) AS g(n), unnest(ARRAY[1]) WITH ORDINALITY",
        "SELECT j->>'a', j #>> '{a,b}', j @> '{}'::jsonb, name ~* 'x', name ILIKE 'x%' FROM t",
        "SELECT trim(both ' ' FROM a), substring(a FROM 1 FOR 2), position('a' IN b) FROM t",
        "SELECT lpad(a::text, 5, '0'), repeat('-', 3), format('%s (%5s)', a, b) FROM t",
        "SELECT E'it\\'s', $$quoted$$, $tag$ ; DROP $tag$, ';' FROM t",
        "SELECT pg_rating FROM films",
        "SELECT (jsonb_each(j)).key, (regexp_match(a, 'b'))[1], (t).* FROM t",
        "SELECT a FROM t FETCH FIRST 3 ROWS ONLY",
        "TABLE orders",
        "SELECT g.n FROM generate_series(1, 3) AS g(n)",
        "SELECT u, u.u FROM t, unnest(t.a) AS u",
        "SELECT u.x, u.n FROM t CROSS JOIN LATERAL unnest(t.a) WITH ORDINALITY AS u (x, n)",
        "SELECT u.ordinality FROM unnest(ARRAY[1]) WITH ORDINALITY u",
        "SELECT r.a, r.b FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS r(a, b)",
        "SELECT e.value->>'a', t.name FROM t, jsonb_array_elements(t.x) AS e WHERE e.value = t.y",
        "SELECT j.key, j.* FROM jsonb_each('{}'::jsonb) AS j",
        "SELECT generate_series.generate_series, t.a FROM t, generate_series(1, 3)",
        'SELECT "G"."N" FROM generate_series(1, 3) AS "G"("N")',
        "SELECT c.name, count(*) AS orders FROM c JOIN orders ON orders.cid = c.id GROUP BY c.name",
        "SELECT s.a, v.column1 FROM (SELECT max(a) AS a FROM t) s, (VALUES (1)) AS v",
        "WITH c(a) AS (SELECT 1) SELECT c.a, u.b FROM c, sales.t AS u (b) WHERE lower(u.b) = 'x'",
        "SELECT o.x FROM o WHERE o.d IN (SELECT date(d.d) FROM d) AND extract(year FROM o.d) = 1",
        'SELECT "user".name, date.day FROM "user" JOIN date ON true',
        "SELECT o.x FROM o JOIN p ON lower(o.a) = lower(p.a) LEFT JOIN q ON (p.id = q.id)",
    ],
)
def test_a_query_passes(sql):
    assert isinstance(vet(sql), str), vet(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE t",
        "DELETE FROM t",
        "UPDATE t SET a = 1",
        "INSERT INTO t SELECT 1",
        "MERGE INTO t USING s ON a = b WHEN MATCHED THEN DELETE",
        "TRUNCATE t",
        "CREATE TABLE t AS SELECT 1",
        "CREATE TEMP TABLE t (a int)",
        "SELECT * INTO t FROM s",
        "SELECT 1 INTO TEMP t",
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
        "WITH x AS (SELECT 1) UPDATE t SET a = 1",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM (SELECT * FROM t FOR SHARE NOWAIT) AS s",
        "SET statement_timeout = 0",
        "SET LOCAL transaction_read_only = off",
        "RESET ALL",
        "SHOW ALL",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "COPY t TO '/tmp/x'",
        "COPY t FROM PROGRAM 'id'",
        "DO $$ BEGIN PERFORM pg_sleep(9); END $$",
        "CALL f()",
        "EXPLAIN ANALYZE DELETE FROM t",
        "PREPARE a AS SELECT 1",
        "EXECUTE a",
        "DECLARE c CURSOR FOR SELECT 1",
        "LISTEN x",
        "NOTIFY x",
        "LOCK TABLE t",
        "VACUUM",
        "GRANT ALL ON t TO public",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE t",
        "SELECT pg_sleep(10)",
        "SELECT PG_SLEEP (10)",
        "SELECT pg_sleep/**/(10)",
        'SELECT "pg_sleep"(10)',
        "SELECT pg_catalog.pg_sleep(10)",
        'SELECT U&"\\0070g_sleep"(10)',
        "SELECT * FROM pg_sleep(10)",
        "SELECT 1 ORDER BY pg_sleep(10)",
        "WITH pg_sleep(a) AS (SELECT 1) SELECT pg_sleep(10)",
        "WITH lo_create(a) AS (SELECT 1) SELECT lo_create(10) FROM lo_create",
        "SELECT public.lower('x')",
        "SELECT (100::float8).pg_sleep",
        "SELECT ('/etc/passwd'::text) . pg_read_file FROM t",
        "SELECT (t).name.lo_import FROM t",
        "SELECT (jsonb_each(j)).key.pg_sleep FROM t",
        "SELECT (ARRAY[100::float8])[1].pg_sleep",
        "SELECT x.pg_sleep FROM generate_series(10, 10) AS x",
        "SELECT x.pg_sleep FROM generate_series(10, 10) x",
        "SELECT x . /* */ pg_sleep FROM generate_series(10, 10) AS x",
        'SELECT "x"."pg_sleep" FROM generate_series(10, 10) AS x',
        "SELECT x.pg_advisory_lock FROM generate_series(1, 1) AS x",
        "SELECT x.current_setting FROM unnest(ARRAY['data_directory']) AS x",
        "SELECT x.pg_cancel_backend FROM generate_series(1, 100000) AS x",
        "SELECT x.pg_sleep FROM generate_series(10, 10) AS x(n)",
        "SELECT 1 FROM generate_series(10, 10) AS x WHERE x.pg_sleep IS NULL",
        "SELECT 1 FROM generate_series(10, 10) AS x ORDER BY x.pg_sleep",
        "SELECT 1 FROM t JOIN generate_series(10, 10) AS x ON x.pg_sleep IS NULL",
        "SELECT 1 FROM t, LATERAL generate_series(10, 10) AS x WHERE x.pg_sleep IS NULL",
        "SELECT x.pg_sleep FROM pg_catalog.generate_series(10, 10) AS x",
        "SELECT x.pg_sleep FROM ROWS FROM (generate_series(10, 10)) AS x",
        "SELECT x.pg_sleep FROM (generate_series(10, 10) AS x CROSS JOIN t)",
        "SELECT x.pg_sleep FROM unnest(ARRAY[10]) WITH ORDINALITY AS x",
        "SELECT x.pg_sleep FROM coalesce(10) AS x",
        "SELECT x.pg_sleep FROM CAST(10 AS float8) AS x",
        "SELECT float8.pg_sleep FROM CAST(10 AS float8)",
        "SELECT x.pg_read_file FROM left('/etc/passwd', 11) AS x",
        "SELECT x.pg_read_file FROM current_user AS x",
        "SELECT current_user.pg_read_file FROM current_user",
        "SELECT generate_series.pg_sleep FROM generate_series(10, 10)",
        "SELECT generate_series.pg_sleep FROM generate_series(10, 10) LEFT JOIN t ON true",
        # The parser takes this alias for a kind of JOIN.
        "SELECT semi.pg_sleep FROM generate_series(10, 10) semi JOIN t ON true",
        # Declared at another place, or the name of a table there.
        "SELECT x.pg_sleep, (SELECT 1 FROM unnest(ARRAY[1]) AS x(pg_sleep)) "
        "FROM generate_series(10, 10) AS x",
        "WITH x AS (SELECT 1) SELECT x.pg_sleep FROM generate_series(10, 10) AS x "
        "WHERE EXISTS (SELECT 1 FROM x)",
        # A word after a dot begins no clause, and of a name the server takes 63 bytes.
        "SELECT x.pg_sleep FROM t JOIN u ON t.where = 1 JOIN generate_series(10, 10) x ON true",
        f"SELECT {'x' * 63}.pg_sleep FROM generate_series(10, 10) AS {'x' * 64}",
        "SELECT x$y.pg_sleep FROM generate_series(10, 10) AS x$y",
        "SELECT 客户.pg_sleep FROM generate_series(10, 10) AS 客户",
        "SELECT 😀.pg_sleep FROM generate_series(10, 10) AS 😀",
        "SELECT x😀.pg_sleep FROM generate_series(10, 10) x😀",
        # A Kelvin sign: to Python, not to the server, its lower case is the letter k.
        "SELECT x.pg_advisory_lock FROM generate_series(1, 1) AS x(pg_advisory_loc\u212a)",
        'SELECT "Lower"(a) FROM t',
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT current_setting('data_directory')",
        "SELECT lo_create(0)",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT pg_stat_file('/')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_notify('x', 'y')",
        "SELECT nextval('s')",
        "SELECT setval('s', 1)",
        "SELECT query_to_xml('SELECT 1', true, true, '')",
        "SELECT table_to_xml('t', true, true, '')",
        "SELECT * FROM ts_stat('SELECT 1')",
        "SELECT ts_rewrite('a'::tsquery, 'SELECT 1')",
        "SELECT * FROM dblink('host=x', 'SELECT 1') AS t(a int)",
        "SELECT * FROM crosstab('SELECT 1') AS t(a int)",
        "SELECT random()",
        "SELECT xmlelement(name a)",
        "SELECT * FROM t TABLESAMPLE bernoulli (10)",
        "SELECT 1 OPERATOR(pg_catalog.+) 2",
        "SELECT * FROM pg_authid",
        "SELECT * FROM pg_catalog.pg_shadow",
        'SELECT * FROM "pg_authid"',
        "TABLE pg_authid",
        "SELECT (SELECT rolpassword FROM pg_authid LIMIT 1)",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM t JOIN pg_stat_activity ON true",
    ],
)
def test_all_but_one_reading_query_over_listed_functions_is_forbidden(sql):
    refused = vet(sql)
    assert isinstance(refused, SqlError), refused
    assert refused.klass == "forbidden", refused
    assert refused.message


@pytest.mark.parametrize(
    ("sql", "klass"),
    [
        ("", "not_a_query"),
        ("-- nothing", "not_a_query"),
        (" ;; ", "not_a_query"),
        ("SELEC name FROM t", "syntax"),
        ("SELECT (name FROM t", "syntax"),
        ("SELECT 'open", "syntax"),
        ("SELECT $$ open", "syntax"),
        # To the server `a$$` is a name: what stands behind it is no quote.
        ("SELECT a$$ , pg_sleep(10) , $$ FROM t", "syntax"),
        ("SELECT a\x00b", "syntax"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "syntax"),
        ("SELECT repeat('x', 1000000000)", "memory"),
        ("SELECT repeat('x', n) FROM t", "memory"),
        ("SELECT lpad('x', 900000000)", "memory"),
        ("SELECT format('%900000000s', 'x')", "memory"),
        ("SELECT format('%*s', 900000000, 'x')", "memory"),
    ],
)
def test_other_refusals_have_the_class_of_their_cause(sql, klass):
    refused = vet(sql)
    assert isinstance(refused, SqlError) and refused.klass == klass, refused


@pytest.mark.parametrize(
    ("sql", "sent"),
    [
        ("SELECT 1 /* /* nested */ pg_sleep */ , 2;", "SELECT 1 , 2"),
        ("SELECT 1 -- x\n, 2", "SELECT 1 , 2"),
        ("SELECT a\u00a0, b FROM t", "SELECT a , b FROM t"),
        # What touches a quote may be its prefix: E'…', U&"…".
        ('SELECT a"b" FROM t', 'SELECT a "b" FROM t'),
        ("SELECT 1 AS \"a;b\", 'x'", "SELECT 1 AS \"a;b\", 'x'"),
    ],
)
def test_what_is_sent_are_the_tokens_that_were_looked_at(sql, sent):
    assert vet(sql) == sent
