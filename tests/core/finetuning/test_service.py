"""A fine-tuning job is two jobs: what becomes of one and the other, on both databases."""

import pytest

from core.db import Database
from core.errors import InvalidInput, NotFound, WrongState
from core.finetuning import service
from core.finetuning.order import Hyperparameters, Order
from core.finetuning.view import Tuning, look_at
from core.jobs.models import Job
from tests.core.finetuning.tunings import (
    accept_files,
    add_file,
    fail,
    read,
    refuse_files,
    submit,
    take,
)


def look(database: Database, job: Job) -> Tuning:
    with database.reading() as session:
        [tuning] = look_at(session, [service.get(session, job.project_id, job.id)])
    return tuning


def wish(database: Database, wished, job: Job) -> Job:
    with database.transaction() as session:
        return wished(session, job.project_id, job.id)


@pytest.fixture
def job(database: Database, project_id: str) -> Job:
    return submit(database, project_id, suffix="Sales", metadata={"team": "a"})


def test_a_training_waits_for_the_validation_of_its_file(database: Database, job: Job) -> None:
    prepare = read(database, job.depends_on)
    assert (job.type, prepare.type, prepare.queue) == ("train", "prepare", "cpu")
    assert (job.surface, prepare.surface) == ("fine_tuning", None)
    assert prepare.params["file"] == job.request["training_file"]
    assert prepare.params["split"] == "given"
    assert (job.labels, job.params["adapter"]) == ({"team": "a"}, "sales")
    assert look(database, job).status == "validating_files"
    accept_files(database, prepare.id)
    assert look(database, job).status == "queued"
    take(database, job.id)
    assert look(database, job).status == "running"


@pytest.mark.parametrize(
    ("file", "param", "place"),
    [
        (None, "training_file", "Line 2, $.messages[0].role:"),
        ("validation_file", "validation_file", "Line 2 of the validation file, $"),
    ],
)
def test_a_wrong_file_fails_it_and_names_file_and_line(
    database: Database, job: Job, file: str | None, param: str, place: str
) -> None:
    refuse_files(database, job.depends_on, file=file)
    tuning = look(database, job)
    assert tuning.status == "failed"
    assert tuning.job.token == 0, "no worker was asked"
    error = tuning.error
    assert (error["code"], error["param"], error["line"]) == ("bad_role", param, 2)
    assert error["message"].startswith(place)


@pytest.mark.parametrize(
    ("klass", "param"), [("data", "training_file"), ("oom_gpu", None), ("timeout", None)]
)
def test_a_training_that_fails_blames_the_file_only_for_its_data(
    database: Database, job: Job, klass: str, param: str | None
) -> None:
    accept_files(database, job.depends_on)
    fail(database, take(database, job.id), klass, "So it was.")
    tuning = look(database, job)
    assert (tuning.status, tuning.error["code"]) == ("failed", klass)
    assert (tuning.error["param"], tuning.error["message"]) == (param, "So it was.")


@pytest.mark.parametrize("working", [False, True])
def test_a_cancel_ends_the_validation_too(database: Database, job: Job, working: bool) -> None:
    if working:
        take(database, job.depends_on)
    assert wish(database, service.cancel, job).status == "cancelled"
    prepare = read(database, job.depends_on)
    assert prepare.cancel_requested_at if working else prepare.status == "cancelled"
    with pytest.raises(WrongState, match="has ended as 'cancelled'"):
        wish(database, service.cancel, job)


def test_what_is_cancelled_leaves_its_file_to_its_customer(database: Database, job: Job) -> None:
    wish(database, service.cancel, job)
    with database.transaction() as session:
        again = Order(model="tiny", training_file=job.request["training_file"])
        service.create(session, job.project_id, again)


def test_a_pause_holds_the_training_and_not_the_validation(database: Database, job: Job) -> None:
    wish(database, service.pause, job)
    assert look(database, job).status == "paused"
    accept_files(database, job.depends_on)
    assert look(database, job).status == "paused"
    assert wish(database, service.resume, job).status == "queued"
    assert look(database, job).status == "queued"


def test_a_file_found_wrong_in_a_pause_fails_the_job_when_it_is_resumed(
    database: Database, job: Job
) -> None:
    wish(database, service.pause, job)
    refuse_files(database, job.depends_on)
    assert look(database, job).status == "paused"
    assert wish(database, service.resume, job).status == "failed"
    assert look(database, job).error["param"] == "training_file"


def test_a_wrong_state_is_refused_with_its_own_code(database: Database, job: Job) -> None:
    with pytest.raises(WrongState) as refused:
        wish(database, service.resume, job)
    assert refused.value.code == "job_not_resumable"
    wish(database, service.pause, job)
    with pytest.raises(WrongState) as refused:
        wish(database, service.pause, job)
    assert refused.value.code == "job_not_pausable"


def test_queued_jobs_know_their_place_once_their_files_are_good(
    database: Database, project_id: str, job: Job
) -> None:
    second = submit(database, project_id)
    assert look(database, job).place is None
    for one in (second, job):
        accept_files(database, one.depends_on)
    assert [look(database, one).place for one in (job, second)] == [1, 2]
    take(database, job.id)
    assert [look(database, one).place for one in (job, second)] == [None, 1]


def test_auto_is_shown_until_it_came_to_a_value(database: Database, job: Job) -> None:
    asked = Hyperparameters(batch_size=4)
    job = submit(database, job.project_id, hyperparameters=asked)
    tuning = look(database, job)
    assert tuning.hyperparameters == vars(asked)
    tuning.job.result = {"resolved": {"epochs": 10, "batch_size": 4, "learning_rate": 1e-3}}
    shown = {"n_epochs": 10, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert tuning.hyperparameters == shown


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_file_has_to_be_there_and_for_fine_tuning(
    database: Database, project_id: str, job: Job, param: str
) -> None:
    with pytest.raises(NotFound) as refused:
        submit(database, project_id, **{param: "file_nowhere"})
    assert refused.value.param == param
    with database.transaction() as session:
        batch = add_file(session, project_id, purpose="batch")
    with pytest.raises(InvalidInput, match="purpose 'fine-tune'") as refused:
        submit(database, project_id, **{param: batch})
    assert refused.value.param == param


def test_a_model_that_is_none_is_refused_and_leaves_no_job(
    database: Database, project_id: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        submit(database, project_id, model="gpt-4o-mini")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")
    with database.reading() as session:
        assert session.query(Job).count() == 0


def test_a_plain_training_is_no_fine_tuning_job(database: Database, job: Job) -> None:
    with database.transaction() as session:
        session.get_one(Job, job.id).surface = None
    with database.reading() as session, pytest.raises(NotFound, match="no fine-tuning job"):
        service.get(session, job.project_id, job.id)
