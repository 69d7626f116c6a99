"""What has ended is told once to everybody who listens, tried again until taken, and then given up
where all can see it; a slow endpoint holds up nobody."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from core.db import Database, db_now
from core.errors import WrongState
from core.jobs import service
from core.jobs.claims import Claim
from core.settings import get_settings
from core.webhooks import deliveries, endpoints, keeper, outbox
from core.webhooks.deliveries import ATTEMPTS, wait_seconds
from core.webhooks.events import EVENT_TYPES
from core.webhooks.models import WebhookDelivery
from tests.core.jobs.jobs import add_job
from tests.core.jobs.lives import take
from tests.core.webhooks.receiver import Receiver, answering, receiver


@pytest.fixture(autouse=True)
def here(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "webhook_allow_private", True)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


def listen(database: Database, project_id: str, url: str, *events: str) -> str:
    with database.transaction() as session:
        wanted = list(events or EVENT_TYPES)
        return endpoints.create(session, project_id, name="h", url=url, events=wanted).id


def tell(database: Database, project_id: str, kind: str = "batch.completed") -> None:
    with database.transaction() as session:
        outbox.tell(session, project_id, kind, "job_1")


def all_of(database: Database) -> list[WebhookDelivery]:
    with database.reading() as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def make_due(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(WebhookDelivery).values(due_at=db_now() - 1))


@pytest.mark.parametrize(
    ("type", "end", "told"),
    [
        ("train", "succeeded", "fine_tuning.job.succeeded"),
        ("train", "failed", "fine_tuning.job.failed"),
        ("train", "cancelled", "fine_tuning.job.cancelled"),
        ("evaluate", "succeeded", "evaluation.succeeded"),
        ("evaluate", "failed", "evaluation.failed"),
        ("evaluate", "cancelled", None),
        ("merge", "succeeded", None),
        ("generate", "succeeded", None),
    ],
)
def test_the_end_of_a_job_is_told_under_its_name(
    database: Database, project_id: str, type: str, end: str, told: str | None
) -> None:
    listen(database, project_id, "https://example.com/")
    with database.transaction() as session:
        job = add_job(session, project_id, type=type, status="running", token=1)
        service.transition(session, job.id, end, "it ended", held=1)
    assert [row.type for row in all_of(database)] == ([told] if told else [])
    assert [row.payload["data"] for row in all_of(database)] == ([{"id": job.id}] if told else [])


def test_what_is_rolled_back_is_not_told(database: Database, project_id: str) -> None:
    listen(database, project_id, "https://example.com/")
    with database.transaction() as session:
        job_id = add_job(session, project_id, type="train").id
    with pytest.raises(RuntimeError), database.transaction() as session:
        service.request_cancel(session, project_id, job_id)
        raise RuntimeError
    assert all_of(database) == []
    with database.transaction() as session:
        service.request_cancel(session, project_id, job_id)
    (told,) = all_of(database)
    assert told.type == "fine_tuning.job.cancelled"


def test_an_attempt_that_lost_its_claim_tells_nothing(database: Database, project_id: str) -> None:
    listen(database, project_id, "https://example.com/")
    with database.transaction() as session:
        job_id = add_job(session, project_id, type="train").id
    held: Claim = take(database, job_id)
    with database.transaction() as session:
        assert service.transition(session, job_id, "failed", "late", held=held.token - 1) is None
    assert all_of(database) == []


def test_only_who_wants_to_hear_of_it_is_told(database: Database, project_id: str) -> None:
    listen(database, project_id, "https://example.com/a", "batch.failed")
    both = [listen(database, project_id, f"https://example.com/{name}") for name in "bc"]
    tell(database, project_id)
    told = all_of(database)
    assert sorted(row.endpoint_id for row in told) == sorted(both)
    assert len({row.event_id for row in told}) == 1


def test_what_is_taken_is_delivered(database: Database, project_id: str, hook: Receiver) -> None:
    endpoint = listen(database, project_id, hook.url)
    for _ in range(3):
        tell(database, project_id)
    while keeper.deliver_next(endpoint):
        pass
    rows = all_of(database)
    assert [(row.status, row.last_code, row.attempts) for row in rows] == [
        ("delivered", 200, 1)
    ] * 3
    sent = [headers["webhook-id"] for _, headers, _ in hook.requests]
    assert sent == [row.event_id for row in rows], "in order"


def test_what_is_not_taken_waits_longer_each_time_and_is_given_up(
    database: Database, project_id: str
) -> None:
    with receiver(answering(500)) as hook:
        endpoint = listen(database, project_id, hook.url)
        tell(database, project_id)
        tell(database, project_id)
        assert not keeper.deliver_next(endpoint)
        first, second = all_of(database)
        assert (first.status, first.attempts, first.last_code) == ("pending", 1, 500)
        assert "answered 500" in first.last_error
        assert second.attempts == 0, "who fails is left alone until the next turn"
        with database.reading() as session:
            wait = first.due_at - session.scalar(select(db_now()))
        assert 0 < wait <= 10
        for _ in range(ATTEMPTS - 1):
            make_due(database)
            keeper.deliver_next(endpoint)
            keeper.deliver_next(endpoint)
    first, second = all_of(database)
    assert (first.status, first.attempts) == ("dead", ATTEMPTS)
    assert (second.status, second.attempts) == ("pending", ATTEMPTS - 1)


def test_the_waits_grow_to_hours_and_lie_apart_by_chance() -> None:
    bounds = [10, 40, 160, 640, 2560, 10240, 21600, 21600, 21600]
    for number, bound in enumerate(bounds, start=1):
        waits = {wait_seconds(number) for _ in range(20)}
        assert len(waits) > 1
        assert all(bound / 2 <= wait <= bound for wait in waits)


def test_a_dead_delivery_is_sent_again_on_request(
    database: Database, project_id: str, hook: Receiver
) -> None:
    endpoint = listen(database, project_id, hook.url)
    tell(database, project_id)
    with database.transaction() as session:
        delivery = session.scalars(select(WebhookDelivery)).one()
        with pytest.raises(WrongState):
            deliveries.redeliver(session, delivery)
        session.execute(update(WebhookDelivery).values(status="dead", attempts=ATTEMPTS))
        session.refresh(delivery)
        deliveries.redeliver(session, delivery)
    assert keeper.deliver_next(endpoint)
    (row,) = all_of(database)
    assert (row.status, row.attempts) == ("delivered", 1)


def test_two_keepers_send_a_delivery_once(
    database: Database, project_id: str, hook: Receiver
) -> None:
    endpoint = listen(database, project_id, hook.url)
    tell(database, project_id)
    threads = [threading.Thread(target=keeper.deliver_next, args=(endpoint,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hook.requests) == 1


def test_a_sender_that_dies_leaves_its_delivery_to_the_next_one(
    database: Database, project_id: str, hook: Receiver
) -> None:
    endpoint = listen(database, project_id, hook.url)
    tell(database, project_id)
    with database.transaction() as session:
        lost = deliveries.take(session, endpoint)
    assert not keeper.deliver_next(endpoint), "not before the time for a try is over"
    make_due(database)
    assert keeper.deliver_next(endpoint)
    with database.transaction() as session:  # and it was only slow: what it says is too late
        deliveries.failed(session, lost, "timed out", None)
    (row,) = all_of(database)
    assert (row.status, row.attempts) == ("delivered", 2)


def test_an_endpoint_that_is_being_deleted_does_not_break_the_end_of_a_job(
    database: Database, project_id: str
) -> None:
    endpoint_id = listen(database, project_id, "https://example.com/")
    ended: list[str] = []

    def end() -> None:
        tell(database, project_id)
        ended.append("told")

    with database.transaction() as session:
        endpoints.forget(session, endpoints.get(session, project_id, endpoint_id))
        teller = threading.Thread(target=end)
        teller.start()
        teller.join(timeout=0.5)
        assert ended == [], "it waits for what becomes of the endpoint"
    teller.join(timeout=30)
    assert ended == ["told"]
    assert all_of(database) == []


def test_an_endpoint_that_hangs_holds_up_no_other(
    database: Database, project_id: str, hook: Receiver
) -> None:
    go_on = threading.Event()

    def hang(connection: socket.socket) -> None:
        go_on.wait(30)

    with receiver(hang) as slow:
        listen(database, project_id, slow.url)
        listen(database, project_id, hook.url)
        tell(database, project_id)
        assert keeper.deliver_in_background() == 2
        assert slow.arrived.acquire(timeout=20)
        assert hook.arrived.acquire(timeout=20), "while the other hangs"
        tell(database, project_id)
        # Again and again, as a keeper does: the thread of the first one may still be ending.
        assert any(
            keeper.deliver_in_background() is not None and hook.arrived.acquire(timeout=1)
            for _ in range(20)
        )
        assert len(slow.requests) == 1, "one thread for an endpoint"
        go_on.set()
        for thread in threading.enumerate():
            if thread.name.startswith("webhook-"):
                thread.join(timeout=20)


def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(
    database: Database, project_id: str
) -> None:
    endpoint_id = listen(database, project_id, "https://example.com/")
    with database.transaction() as session:
        endpoint = endpoints.get(session, project_id, endpoint_id)
        old, now = endpoint.secret, endpoint.created_at
        endpoints.rotate_secret(session, endpoint, keep_old=True)
        assert endpoints.signing_secrets(endpoint, now + 3600) == [endpoint.secret, old]
        assert endpoints.signing_secrets(endpoint, now + 25 * 3600) == [endpoint.secret]
        endpoints.rotate_secret(session, endpoint, keep_old=False)
        assert endpoints.signing_secrets(endpoint, now + 3600) == [endpoint.secret]


def test_a_deleted_endpoint_takes_what_was_for_it_along(
    database: Database, project_id: str
) -> None:
    endpoint_id = listen(database, project_id, "https://example.com/")
    tell(database, project_id)
    with database.transaction() as session:
        endpoints.forget(session, endpoints.get(session, project_id, endpoint_id))
    assert all_of(database) == []


def test_old_deliveries_are_forgotten_and_pending_ones_never(
    database: Database, project_id: str
) -> None:
    listen(database, project_id, "https://example.com/")
    for _ in range(3):
        tell(database, project_id)
    with database.transaction() as session:
        old = db_now() - deliveries.KEEP_SECONDS - 1
        session.execute(update(WebhookDelivery).values(created_at=old))
        first = session.scalars(select(WebhookDelivery.id).order_by(WebhookDelivery.id)).first()
        not_first = WebhookDelivery.id != first
        session.execute(update(WebhookDelivery).where(not_first).values(status="dead"))
        assert deliveries.drop_old(session) == 2
    assert [row.id for row in all_of(database)] == [first]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_an_endpoint_that_is_deleted_while_it_is_told_of_something_goes_with_that(
    database: Database, project_id: str
) -> None:
    """On SQLite one of the two waits for the other anyway."""
    endpoint_id = listen(database, project_id, "https://example.com/")
    asked = threading.Event()

    def delete() -> None:
        with database.transaction() as session:
            endpoint = endpoints.get(session, project_id, endpoint_id)
            asked.set()
            endpoints.forget(session, endpoint)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            outbox.tell(session, project_id, "batch.completed", "job_1")
            session.flush()
            deleted = pool.submit(delete)
            assert asked.wait(10)
            with pytest.raises(TimeoutError):
                deleted.result(timeout=1)
        deleted.result(timeout=10)
    assert all_of(database) == []
