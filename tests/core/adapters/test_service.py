"""Adapter versions are numbered without gaps or doubles, and names mean one thing."""

import os
import subprocess
import sys

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.adapters.models import AdapterVersion
from core.adapters.service import add_version, find_version, get_version, resolve_model
from core.basemodels.service import record_base, require_free_name
from core.datasets.models import Dataset
from core.db import Database
from core.errors import InvalidInput, NotFound
from core.files.models import File
from core.ids import new_id

BASE = {"name": "tiny", "parameters": 1, "architecture": "L", "context_length": 8}


@pytest.fixture
def dataset_id(database: Database, project_id: str) -> str:
    with database.transaction() as session:
        record_base(session, BASE)
        file = File(
            id="file_1",
            project_id=project_id,
            purpose="fine-tune",
            filename="x",
            bytes=1,
            sha256="x",
            storage_key="x",
        )
        session.add(file)
        session.flush()
        session.add(
            Dataset(id="ds_1", project_id=project_id, name="d", status="ready", file_id="file_1")
        )
    return "ds_1"


def add(session: Session, project_id: str, dataset_id: str, name: str = "sql") -> AdapterVersion:
    return add_version(
        session,
        project_id,
        name,
        base_model="tiny",
        dataset_id=dataset_id,
        job_id=new_id("job"),
        storage_key="k",
        bytes=1,
        settings={},
        metrics={},
    )


def test_versions_count_up_by_adapter(database: Database, project_id: str, dataset_id: str) -> None:
    with database.transaction() as session:
        made = [add(session, project_id, dataset_id).version for _ in range(3)]
        other = add(session, project_id, dataset_id, "other")
    assert (made, other.version) == ([1, 2, 3], 1)
    with database.reading() as session:
        assert get_version(session, project_id, "sql:2").version == 2
        assert resolve_model(session, project_id, "sql:2").version.address == "sql:2"


def test_jobs_that_end_at_once_take_different_numbers(
    database: Database, project_id: str, dataset_id: str
) -> None:
    code = (
        "import sys; import core.tables; from core.db import get_database\n"
        "from tests.core.adapters.test_service import add\n"
        "for _ in range(5):\n"
        "    with get_database().transaction() as session:\n"
        f"        add(session, {project_id!r}, {dataset_id!r})\n"
    )
    env = os.environ | {"PYTHONPATH": os.getcwd()}
    racers = [subprocess.Popen([sys.executable, "-c", code], env=env) for _ in range(4)]
    assert [racer.wait(timeout=60) for racer in racers] == [0, 0, 0, 0]
    with database.reading() as session:
        versions = list(session.scalars(select(AdapterVersion.version)))
    assert sorted(versions) == list(range(1, 21))


@pytest.mark.parametrize("address", ["sql", "sql:0", "sql:x", ":1", "sql:99", "sql:" + "9" * 40])
def test_an_address_that_leads_nowhere(
    database: Database, project_id: str, dataset_id: str, address: str
) -> None:
    with database.transaction() as session:
        add(session, project_id, dataset_id)
    with database.reading() as session:
        assert find_version(session, project_id, address) is None
        with pytest.raises(NotFound, match="looks like"):
            get_version(session, project_id, address)


def test_another_projects_adapter_is_no_model(
    database: Database, project_id: str, dataset_id: str
) -> None:
    with database.transaction() as session:
        add(session, project_id, dataset_id)
    with database.reading() as session, pytest.raises(InvalidInput, match="no base model"):
        resolve_model(session, "proj_other", "sql:1")


def test_a_merged_model_may_not_hide_a_base(
    database: Database, project_id: str, dataset_id: str
) -> None:
    with pytest.raises(InvalidInput, match="exists"), database.transaction() as session:
        require_free_name(session, project_id, "tiny")
