"""Sorting by id is sorting by age."""

from core.ids import new_id


def test_ids_made_in_a_row_sort_in_that_order_and_never_repeat() -> None:
    made = [new_id("job") for _ in range(20_000)]
    assert len(set(made)) == len(made)
    # Two within one microsecond are the only ones that may change places.
    swapped = sum(left > right for left, right in zip(made, made[1:], strict=False))
    assert swapped < len(made) / 100
