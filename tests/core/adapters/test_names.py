"""What a model's name means: every form of it, and what has none."""

import pytest

from core.accounts.service import ensure_project
from core.adapters.catalogue import named_targets
from core.adapters.models import AdapterAlias
from core.adapters.names import (
    checkpoint_name,
    hold_model,
    read_checkpoint_name,
    resolve_model,
    tuned_name,
)
from core.db import Database
from core.errors import InvalidInput
from core.jobs.carry import attach
from core.jobs.types.evaluate import EVALUATE
from core.jobs.types.models import model_inputs
from tests.core.adapters.conftest import Making
from tests.core.jobs.jobs import add_job


def test_a_version_has_an_address_aliases_and_openais_name(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        version = make.version()
        make.version()
        make.alias(version, "production")
        tuned = tuned_name("lab/tiny", "default", "sql", version.job_id)
    assert tuned == f"ft:lab/tiny:default:sql:{version.job_id}"
    with database.reading() as session:
        for name in ("sql:1", "sql@production", tuned):
            target = resolve_model(session, project_id, name)
            assert (target.version.id, target.name) == (version.id, "sql:1")
            assert target.base.name == "lab/tiny"
            assert model_inputs(target)["adapter"].key == version.storage_key


def test_every_listed_name_means_what_it_is_listed_for(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        first, second = make.version(), make.version()
        make.alias(first, "production")
        make.merged(second, "sql-merged")
    with database.reading() as session:
        listed = dict(named_targets(session, project_id))
        assert list(listed) == [
            "lab/tiny",
            "sql:1",
            "sql@production",
            f"ft:lab/tiny:default:sql:{first.job_id}",
            "sql:2",
            f"ft:lab/tiny:default:sql:{second.job_id}",
            "sql-merged",
        ]
        for name, target in listed.items():
            assert resolve_model(session, project_id, name) == target


def test_a_checkpoint_is_a_model_by_its_job_and_step(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        version = make.version()
        checkpoint = make.checkpoint(version.job_id, 20)
    tuned = tuned_name("lab/tiny", "default", "sql", version.job_id)
    name = checkpoint_name(tuned, 20)
    assert read_checkpoint_name(name) == (version.job_id, 20)
    assert read_checkpoint_name(tuned) is None
    with database.reading() as session:
        target = resolve_model(session, project_id, name)
        assert (target.checkpoint.id, target.name) == (checkpoint.id, name)
        assert model_inputs(target)["adapter"].key == f"{checkpoint.storage_key}/adapter"


def test_a_job_that_took_over_a_checkpoint_has_it_as_a_model_too(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        checkpoint = make.checkpoint(make.version().job_id, 20)
        job = add_job(session, project_id, type="train", params={"model": "lab/tiny"})
        attach(session, checkpoint, job.id)
    with database.reading() as session:
        name = checkpoint_name(tuned_name("lab/tiny", "default", "sql", job.id), 20)
        found = resolve_model(session, project_id, name)
        assert found.checkpoint.storage_key == checkpoint.storage_key


def test_a_checkpoint_that_can_not_be_asked_says_which_can(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        job_id = make.version().job_id
        make.checkpoint(job_id, 10)
        make.checkpoint(job_id, 20, rejected="bytes are missing")
        make.checkpoint(job_id, 30, manifest=[{"path": "state.pt", "bytes": 1, "sha256": "0"}])
    tuned = tuned_name("lab/tiny", "default", "sql", job_id)
    with database.reading() as session:
        for step in (20, 30, 40):
            with pytest.raises(InvalidInput, match="are there: 10") as caught:
                resolve_model(session, project_id, checkpoint_name(tuned, step))
            assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "name",
    [
        "sql@",
        "sql@staging",
        "@production",
        "ft:lab/tiny:default:sql:job_none",
        "ft:lab/tiny:default:sql:job_none:ckpt-step-1",
        "ft:lab/tiny:default:sql",
        "lab",
        "",
    ],
)
def test_a_name_that_means_nothing_is_refused(
    database: Database, project_id: str, making: Making, name: str
) -> None:
    with database.transaction() as session:
        make = making(session)
        make.alias(make.version(), "production")
    with database.reading() as session, pytest.raises(InvalidInput) as caught:
        resolve_model(session, project_id, name)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_no_name_reaches_into_another_project(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        version = make.version()
        make.checkpoint(version.job_id, 20)
        make.alias(version, "production")
        make.merged(version, "sql-merged")
        other = ensure_project(session, "other").id
    tuned = tuned_name("lab/tiny", "default", "sql", version.job_id)
    with database.reading() as session:
        names = {name for name, _ in named_targets(session, project_id)}
        for name in {*names, checkpoint_name(tuned, 20)} - {"lab/tiny"}:
            with pytest.raises(InvalidInput, match="[Tt]here is no"):
                resolve_model(session, other, name)
        assert [name for name, _ in named_targets(session, other)] == ["lab/tiny"]


def test_a_job_asks_what_an_alias_meant_at_the_submit(
    database: Database, project_id: str, making: Making
) -> None:
    with database.transaction() as session:
        make = making(session)
        first, second = make.version(), make.version()
        make.alias(first, "production")
        job = add_job(session, project_id, type="evaluate", params={"model": "sql@production"})
        EVALUATE.begin(session, job)
        alias = session.query(AdapterAlias).one()
        alias.version_id = second.id
    with database.reading() as session:
        assert resolve_model(session, project_id, "sql@production").name == "sql:2"
        assert session.get_one(type(job), job.id).params["model"] == "sql:1"


def test_a_base_model_is_held_by_nobody(database: Database, project_id: str, making: Making):
    with database.transaction() as session:
        assert hold_model(session, project_id, "lab/tiny").name == "lab/tiny"
