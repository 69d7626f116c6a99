"""Duplicates, conflicts, leaks and groups are found from digests alone."""

import pytest

from core.datasets.examples import Example
from core.datasets.ledger import Ledger, digest, remarks
from core.datasets.splits import DEFAULT_FRACTIONS
from core.errors import InvalidInput

LONG = "an answer that is long enough to give something away: "


def ledger(*rows: tuple, ids=None, sql: bool = True) -> Ledger:
    """Rows are (question, answer[, split[, line]])."""
    made = Ledger()
    for at, (question, answer, *rest) in enumerate(rows):
        split = rest[0] if rest else None
        line = rest[1] if len(rest) > 1 else at + 1
        example = Example(line, question, "", answer, split=split)
        answer = answer.lower() if sql else None
        made.add(example, row=line, sql=answer, row_id=ids[at] if ids else None)
    made.close()
    return made


def test_equal_examples_are_kept_once_and_told_by_line():
    made = ledger(("q", "a"), ("r", "b"), ("q", "a"), ("q", "a"))
    found = made.drop_duplicates(as_given=False)
    assert (found["exact"], found["exact_lines"]) == (2, [[1, 3], [1, 4]])
    assert made.keep.tolist() == [True, True, False, False]
    assert found["conflicting"] == 0


def test_given_splits_keep_an_example_each_and_the_leak_is_told():
    rows = [("q", "a", "train"), ("q", "a", "test"), ("q", "a", "test"), ("r", "A", "test")]
    made = ledger(*rows)
    assert made.drop_duplicates(as_given=True)["exact_lines"] == [[2, 3]]
    leaks = made.leaks(made.as_given(), as_given=True)
    assert leaks["shared_answers"] == {"train/test": 2}
    assert leaks["shared_questions"] == {"train/test": 1}


def test_one_question_with_different_answers_is_a_conflict_but_another_spelling_is_not():
    found = ledger(("q", "a"), ("r", "b"), ("q", "c"), ("r", "B")).drop_duplicates(as_given=False)
    assert (found["conflicting"], found["conflicting_lines"]) == (1, [[1, 3]])


def test_input_and_context_tell_questions_apart():
    made = Ledger()
    for row, (text, context) in enumerate((("x", "[]"), ("y", "[]"), ("x", '[{"role": "user"}]'))):
        made.add(Example(1, "sum up", text, "answer", context), row=row, sql=None)
    made.close()
    found = made.drop_duplicates(as_given=False)
    assert (found["exact"], found["conflicting"]) == (0, 0)


def test_equal_sql_equal_questions_and_rows_of_one_conversation_stay_together():
    rows = [(f"q{n}", f"s{n // 3}") for n in range(60)]
    rows += [("q0", "other"), ("x1", "y1", None, 99), ("x2", "y2", None, 99)]
    made = ledger(*rows)
    splits = made.deal(DEFAULT_FRACTIONS, seed=3)
    for start in range(0, 60, 3):
        assert len(set(splits[start : start + 3])) == 1
    assert splits[60] == splits[0]
    assert splits[61] == splits[62]
    assert set(splits) == {"train", "validation", "test"}
    leaks = made.leaks(splits, as_given=False)
    assert set(leaks["shared_answers"].values()) == {0} == set(leaks["shared_questions"].values())


def test_short_answers_that_are_no_sql_hold_nothing_together():
    made = ledger(*[(f"q{n}", "yes") for n in range(40)], sql=False)
    assert set(made.deal(DEFAULT_FRACTIONS, seed=1)) == {"train", "validation", "test"}
    made = ledger(*[(f"q{n}", LONG) for n in range(40)], sql=False)
    assert set(made.deal(DEFAULT_FRACTIONS, seed=1)) == {"train"}


def test_split_does_not_depend_on_the_order_of_the_file():
    rows = [(f"q{n}", f"s{n % 25}") for n in range(100)]
    forth, back = ledger(*rows), ledger(*reversed(rows))
    assert forth.deal(DEFAULT_FRACTIONS, 5) == back.deal(DEFAULT_FRACTIONS, 5)[::-1]


def test_repeated_ids_are_told_and_left_out_but_not_those_of_one_row():
    rows = [("a", "1", None, 1), ("b", "2", None, 2), ("c", "3", None, 2), ("d", "4", None, 3)]
    made = ledger(*rows, ids=["x", 7, 7, "7"])
    assert made.repeated_ids() == []
    made = ledger(*rows, ids=["x", 7, 7, 7])
    assert made.repeated_ids() == [(0, 2, 3)]
    assert made.keep.tolist() == [True, True, True, False]


def test_an_id_of_one_file_may_come_again_in_another():
    made = Ledger()
    for row, (source, line) in enumerate(((0, 1), (1, 1), (1, 2))):
        example = Example(line, f"q{source}{line}", "", "a")
        made.add(example, row=row, sql="a", row_id=7, source=source)
    made.close()
    assert made.repeated_ids() == [(1, 1, 2)]
    assert made.keep.tolist() == [True, True, False]


def test_rows_that_stand_on_one_line_are_rows_of_their_own():
    made = Ledger()
    for row in range(60):
        made.add(Example(1, f"q{row}", "", f"a{row}"), row=row, sql=f"a{row}", row_id=row % 59)
    made.close()
    assert made.repeated_ids() == [(0, 1, 1)]
    assert set(made.deal(DEFAULT_FRACTIONS, seed=3)) == {"train", "validation", "test", None}


def test_column_with_too_many_splits_is_none():
    with pytest.raises(InvalidInput, match="this is no split column"):
        ledger(*[(f"q{n}", "a", f"s{n}") for n in range(30)])


def test_digest_is_the_same_on_every_machine_and_texts_do_not_run_together():
    assert digest("问题", "SELECT 1") == 1784848787776159037
    assert digest("ab", "c") != digest("a", "bc")


def test_remarks_count_what_was_found():
    duplicates = {"exact": 2, "conflicting": 1}
    leaks = {
        "given": True,
        "shared_answers": {"train/test": 5, "train/validation": 0},
        "shared_questions": {"train/test": 0},
    }
    found = dict(remarks(duplicates, leaks))
    assert sorted(found) == ["conflicting_answers", "duplicate_examples", "shared_answers"]
    assert found["shared_answers"].startswith("5 examples of test share their answer with train")
    assert not list(remarks({"exact": 0, "conflicting": 0}, leaks | {"given": False}))
