"""A field that a model does not have is refused by its name, in bounded time."""

import time

import pytest
from pydantic import ValidationError

from core.closed import Closed


class Inner(Closed):
    alpha: int = 1


class Asked(Closed):
    model: str
    database: str = ""
    inner: list[Inner] = []


@pytest.mark.parametrize(
    ("given", "place", "message"),
    [
        ({"database_id": 1}, ("database_id",), "no such field; perhaps database is meant"),
        ({"modle": "m"}, ("modle",), "no such field; perhaps model is meant"),
        ({"model": "m", "x" * 9: 1}, ("x" * 9,), "Extra inputs are not permitted"),
        ({"model": "m", "{near}": 1}, ("{near}",), "Extra inputs are not permitted"),
        (
            {"model": "m", "inner": [{}, {"alfa": 1}]},
            ("inner", 1, "alfa"),
            "no such field; perhaps alpha is meant",
        ),
    ],
)
def test_the_field_that_may_be_meant_is_told(given: dict, place: tuple, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Asked.model_validate(given)
    [error] = refused.value.errors()
    assert (error["type"], error["loc"], error["msg"]) == ("extra_forbidden", place, message)


def test_a_body_of_many_and_long_names_is_refused_at_once() -> None:
    many, long = {str(number): 1 for number in range(300_000)}, {"database" * 1_000_000: 1}
    for given in (many, long):
        begun = time.process_time()
        with pytest.raises(ValidationError):
            Asked.model_validate(given)
        assert time.process_time() - begun < 1
