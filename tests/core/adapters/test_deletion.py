"""Models go for good, unless somebody needs them; then the refusal says who."""

from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from core.adapters.deletion import delete_model
from core.adapters.names import checkpoint_name, resolve_model, tuned_name
from core.artifacts.service import of_job
from core.basemodels.service import require_free_name
from core.datasets.models import Dataset
from core.db import Database
from core.errors import Forbidden, InvalidInput, WrongState
from core.jobs import service
from core.jobs.carry import attach
from core.jobs.models import Checkpoint, Job
from core.jobs.types import job_type
from core.storage import get_storage
from tests.core.adapters.conftest import Making
from tests.core.jobs.jobs import add_job


def delete(database: Database, project_id: str, name: str) -> None:
    with database.transaction() as session:
        delete_model(session, project_id, name)


def lying() -> set[str]:
    return {found.key for found in get_storage().walk("projects")}


def tuned(job_id: str) -> str:
    return tuned_name("lab/tiny", "default", "sql", job_id)


def test_a_deleted_version_is_gone_by_every_name_and_its_number_is_not_given_again(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        version = making(session).version()
    delete(database, project_id, tuned(version.job_id))
    with database.reading() as session:
        for name in ("sql:1", tuned(version.job_id)):
            with pytest.raises(InvalidInput):
                resolve_model(session, project_id, name)
        assert of_job(session, version.job_id) == []
    assert lying() == set()
    with database.transaction() as session:
        assert making(session).version().address == "sql:2"


def test_a_deleted_merged_model_is_gone_and_its_name_is_not_given_again(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        make.merged(make.version(), "sql-merged")
    delete(database, project_id, "sql-merged")
    with database.transaction() as session:
        with pytest.raises(InvalidInput):
            resolve_model(session, project_id, "sql-merged")
        with pytest.raises(InvalidInput, match="existed"):
            require_free_name(session, project_id, "sql-merged")
    assert not any("sql-merged" in key for key in lying())
    delete(database, project_id, "sql:1")


@pytest.mark.parametrize("status", ["queued", "running", "paused"])
@pytest.mark.parametrize("named", ["sql:1", "sql@production", "ft"])
def test_a_model_that_a_job_asks_by_any_name_stays_until_the_job_has_ended(
    database: Database, project_id: str, making: Making, status: str, named: str
) -> None:
    with database.transaction() as session:
        make = making(session)
        version = make.version()
        if "@" in named:
            make.alias(version, "production")
        params = {"model": tuned(version.job_id) if named == "ft" else named}
        job = add_job(session, project_id, type="generate", status=status, params=params)
    with pytest.raises(WrongState, match=job.id) as caught:
        delete(database, project_id, "sql:1")
    assert caught.value.code == "model_in_use"
    assert len(lying()) == 1


@pytest.mark.parametrize(
    ("type", "params"),
    [("merge", {"adapter": "sql:1"}), ("train", {"model": "lab/tiny", "continue_from": "sql:1"})],
)
def test_a_model_that_another_is_made_of_stays(
    database: Database, project_id: str, making: Making, type: str, params: dict
) -> None:
    with database.transaction() as session:
        making(session).version()
        job = add_job(session, project_id, type=type, params=params)
    with pytest.raises(WrongState, match=job.id):
        delete(database, project_id, "sql:1")


@pytest.mark.parametrize(
    ("type", "params", "needed"),
    [
        ("merge", {"adapter": "sql:1"}, "sql:1"),
        ("train", {"model": "lab/tiny", "dataset": "d", "continue_from": "sql:1"}, "sql:1"),
        ("evaluate", {"model": "sql:1", "dataset": "d"}, "sql:1"),
        ("serve", {"model": "whole"}, "whole"),
    ],
)
def test_a_model_stays_whose_job_is_submitted_in_this_moment(
    database: Database, project_id: str, making: Making, type: str, params: dict, needed: str
) -> None:
    with database.transaction() as session:
        make = making(session)
        version = make.version()
        if needed == "whole":
            make.merged(version, "whole")
        session.get_one(Dataset, "ds_1").splits = {"test": 1}
    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            asked = job_type(type).params(**params)
            job = service.submit(session, project_id, type, asked)
            deleting = pool.submit(delete, database, project_id, needed)
            assert wait([deleting], timeout=0.5).not_done, "until the job is there or is not"
        with pytest.raises(WrongState, match=job.id):
            deleting.result(30)


def test_other_jobs_and_ended_ones_keep_nothing(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        make.version()
        make.version()
        for model in ("lab/tiny", "sql:2", "sql:9", None):
            add_job(session, project_id, type="evaluate", params={"model": model})
        add_job(session, project_id, type="evaluate", status="succeeded", params={"model": "sql:1"})
        # The name of an adapter to add a version to is none of a model.
        add_job(session, project_id, type="train", params={"model": "lab/tiny", "adapter": "sql"})
        add_job(session, project_id, type="train", params={"continue_from": "ckpt_gone"})
    delete(database, project_id, "sql:1")


def test_a_version_with_an_alias_or_a_merged_model_stays(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        first, second = make.version(), make.version()
        make.alias(first, "production")
        make.merged(second, "sql-merged")
    for name, reason in {
        "sql:1": "sql@production",
        "sql@production": "sql@production",
        "sql:2": "sql-merged",
    }.items():
        with pytest.raises(WrongState, match=reason):
            delete(database, project_id, name)


def test_a_base_model_is_the_operators(database: Database, project_id: str, making: Making) -> None:
    with pytest.raises(Forbidden) as caught:
        delete(database, project_id, "lab/tiny")
    assert caught.value.code == "base_model"


def test_a_checkpoint_goes_when_its_training_has_ended_and_nobody_asks_it(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        job = add_job(
            session, project_id, type="train", status="paused", params={"model": "lab/tiny"}
        )
        key = make.checkpoint(job.id, 20).storage_key
    name = checkpoint_name(tuned(job.id), 20)
    with pytest.raises(WrongState, match="is paused and may go on from it"):
        delete(database, project_id, name)
    with database.transaction() as session:
        params = {"model": name}
        evaluation = add_job(session, project_id, type="evaluate", params=params)
        end(session, job.id)
    with pytest.raises(WrongState, match=evaluation.id):
        delete(database, project_id, name)
    assert lying() == {f"{key}/adapter/prompt.json"}
    with database.transaction() as session:
        end(session, evaluation.id)
    delete(database, project_id, name)
    assert lying() == set()


def test_a_checkpoints_bytes_stay_while_another_training_has_them(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        version = make.version()
        checkpoint = make.checkpoint(version.job_id, 20)
        heir = add_job(session, project_id, type="train", params={"model": "lab/tiny"})
        attach(session, checkpoint, heir.id)
    delete(database, project_id, checkpoint_name(tuned(version.job_id), 20))
    with database.reading() as session:
        left = session.query(Checkpoint).one()
        assert left.job_id == heir.id
    assert f"{left.storage_key}/adapter/prompt.json" in lying()


def end(session: Session, job_id: str) -> None:
    session.execute(update(Job).where(Job.id == job_id).values(status="cancelled"))
