from core.sql.comments import comments_of


def test_a_comment_behind_a_column_is_about_it():
    ddl = "CREATE TABLE t (\n a INT, -- first\n b TEXT -- second: P = paid\n)"
    assert comments_of(ddl) == ("", {"a": "first", "b": "second: P = paid"})


def test_a_comment_on_its_own_line_is_about_the_next_column():
    ddl = "CREATE TABLE t (\n -- first\n -- of two lines\n a INT,\n /* second */\n b TEXT)"
    assert comments_of(ddl) == ("", {"a": "first of two lines", "b": "second"})


def test_a_comment_before_the_first_column_s_line_is_about_the_table():
    assert comments_of("CREATE TABLE t ( -- 客户表\n a INT)") == ("客户表", {})
    assert comments_of("CREATE TABLE t /* all of them */ (a INT)") == ("all of them", {})


def test_brackets_constraints_and_quoted_names_do_not_confuse_it():
    ddl = """CREATE TABLE t (
        "a, (b" DECIMAL(10, 2) DEFAULT (1), -- money
        [状态] TEXT CHECK (状态 IN ('-- no', 'x')), -- codes
        PRIMARY KEY ("a, (b") -- not a column
    )"""
    _, columns = comments_of(ddl)
    assert columns["a, (b"] == "money"
    assert columns["状态"].startswith("codes")
    assert "PRIMARY" not in columns


def test_what_is_no_table_has_no_comments():
    assert comments_of("") == ("", {})
    assert comments_of("((((") == ("", {})
