"""Jobs are found by their labels on both databases, whatever the labels are made of."""

import pytest
from sqlalchemy import select

from core.db import Database
from core.jobs.labels import labelled, unlabelled
from core.jobs.models import Job
from tests.core.jobs.jobs import add_job

ODD = {'"': "'", "a.b[0]$": "%_\\", "团队": "销售 🚀", "empty": ""}


@pytest.fixture
def jobs(database: Database, project_id: str) -> dict[str, str]:
    """Ids by name."""
    labels = {"none": {}, "sales": {"team": "sales", "run": "1"}, "odd": ODD}
    with database.transaction() as session:
        return {
            name: add_job(session, project_id, labels=pairs).id for name, pairs in labels.items()
        }


FOUND = [
    ({"team": "sales"}, {"sales"}),
    ({"team": "sales", "run": "1"}, {"sales"}),
    ({"team": "sales", "run": "2"}, set()),
    ({"team": "sale"}, set()),
    ({"sales": "team"}, set()),
    *(({key: value}, {"odd"}) for key, value in ODD.items()),
    ({"empty": "x"}, set()),
]


def test_a_job_is_found_by_all_of_its_pairs(database: Database, jobs: dict[str, str]) -> None:
    with database.reading() as session:
        for wanted, names in FOUND:
            ids = set(session.scalars(select(Job.id).where(labelled(session, wanted))))
            assert ids == {jobs[name] for name in names}, wanted


def test_jobs_without_labels_are_found(database: Database, jobs: dict[str, str]) -> None:
    with database.reading() as session:
        assert list(session.scalars(select(Job.id).where(unlabelled()))) == [jobs["none"]]
