"""A merge is refused before the work where its name is taken or will be."""

import pytest

from core.db import Database
from core.errors import InvalidInput
from core.jobs import service
from core.jobs.types.merge import MergeParams
from tests.core.adapters.conftest import Making, making  # noqa: F401 - a fixture


def submit(database: Database, project_id: str, *, adapter: str, name: str | None = None) -> str:
    with database.transaction() as session:
        params = MergeParams(adapter=adapter, name=name)
        return service.submit(session, project_id, "merge", params).id


def test_two_merges_are_not_to_have_one_name(
    database: Database,
    project_id: str,
    making: Making,  # noqa: F811
) -> None:
    with database.transaction() as session:
        make = making(session)
        make.version()
        make.version()
    first = submit(database, project_id, adapter="sql:1")
    with pytest.raises(InvalidInput, match=first) as refused:
        submit(database, project_id, adapter="sql:2", name="sql-v1-merged")
    assert (refused.value.param, refused.value.code) == ("name", "name_taken")
    submit(database, project_id, adapter="sql:2")
    with database.transaction() as session:
        service.request_cancel(session, project_id, first)
    submit(database, project_id, adapter="sql:1")
