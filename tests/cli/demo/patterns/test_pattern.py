"""A pattern's wordings carry exactly the slots of its SQL."""

import pytest

from cli.demo.patterns.pattern import pattern


def test_slots_are_read_off_the_sql_in_order_and_text_is_joined():
    made = pattern(
        "p",
        "select a\n  from t where b='{cat}' and c<>'{cat2}'",
        zh="{cat}和{cat2}",
        en="{cat2}, {cat}",
    )
    assert made.slots == ("cat", "cat2")
    assert made.sql == "select a from t where b='{cat}' and c<>'{cat2}'"


def test_a_wording_without_a_slot_of_the_sql_is_refused():
    with pytest.raises(ValueError, match="must have the slots"):
        pattern("p", "select 1 where ch='{ch}'", zh="{ch}渠道", en="the channel")
