"""What somebody is told who asks for a base model that no worker has."""

import pytest

from core.basemodels.service import get_base
from core.db import Database
from core.errors import InvalidInput


def refusal(database: Database, name: str) -> str:
    with database.reading() as session, pytest.raises(InvalidInput) as refused:
        get_base(session, name)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    return refused.value.message


def test_a_model_of_the_catalogue_is_to_be_fetched_by_its_name(database: Database) -> None:
    assert "`tuneyard models fetch gemma3-270m`" in refusal(database, "gemma3-270m")


def test_a_name_that_nothing_has_is_not_to_be_fetched_but_the_catalogues_names_are_told(
    database: Database,
) -> None:
    message = refusal(database, "smollm3")
    assert "fetch smollm3" not in message
    assert "smollm2-135m" in message
