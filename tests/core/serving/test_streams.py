"""A request reaches one server once, its answer one client; whoever goes away is missed in time."""

import asyncio
import time

import pytest

from core.errors import InvalidInput, Unavailable
from core.serving import client as client_side
from core.serving import exchange as server_side
from core.serving import wire
from core.serving.connection import connect
from core.serving.exchange import Exchange
from core.serving.wire import Chat, End, Failed, Request, Text, Usage
from tests.core.serving.conftest import nothing, with_client
from tests.platform import environment

ASK = Request(Chat([{"role": "user", "content": "你好"}]), max_tokens=5, stream=True)
SAID = [Text(0, "你"), End(0, "好", "stop"), Usage(3, 2)]


async def all_of(answer):
    return [event async for event in answer]


async def asked_in_full(client, place):
    async with client.ask(place, ASK, nothing) as answer:
        return await all_of(answer)


def test_a_request_is_taken_with_its_adapter_and_its_events_come_in_order(place, exchange):
    exchange.open()

    async def work(client):
        adapted = client_side.Place(place.server, "projects/p/jobs/j/adapter")
        async with client.ask(adapted, ASK, nothing) as answer:
            [asked] = exchange.take(5)
            assert (asked.request, asked.adapter) == (ASK, "projects/p/jobs/j/adapter")
            assert exchange.take(5) == []
            assert exchange.tell({asked.id: SAID[:1]}) == set()
            assert exchange.tell({asked.id: SAID[1:]}) == set()
            assert await all_of(answer) == SAID

    with_client(work)


def test_a_server_that_waits_has_a_request_at_once(place, exchange):
    """Blocked in Redis, not asking again and again."""
    exchange.open()

    async def work(client):
        waiting = asyncio.create_task(asyncio.to_thread(exchange.take, 1, patience=4))
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        async with client.ask(place, ASK, nothing):
            assert len(await waiting) == 1
        assert time.monotonic() - begun < 2

    with_client(work)


def test_of_two_servers_each_request_has_one(place, exchange):
    other = Exchange(connect(), server=place.server)

    async def work(client):
        async with (
            client.ask(place, ASK, nothing),
            client.ask(place, ASK, nothing),
            client.ask(place, ASK, nothing),
        ):
            taken = [one.id for side in (exchange, other) for one in side.take(2)]
            assert len(set(taken)) == len(taken) == 3

    with_client(work)


def test_a_client_that_leaves_is_missed_and_its_waiting_request_is_taken_back(place, exchange):
    exchange.open()

    async def work(client):
        async with client.ask(place, ASK, nothing):
            [asked] = exchange.take(1)
        async with client.ask(place, ASK, nothing):
            pass
        await asyncio.gather(*client._ending)
        assert exchange.tell({asked.id: [Text(0, "a")]}) == {asked.id}
        assert exchange.tell({asked.id: []}) == {asked.id}
        assert exchange.take(1) == []

    with_client(work)


def test_a_client_whose_task_is_cancelled_leaves_nothing_behind(place, exchange):
    exchange.open()

    async def work(client):
        asking = asyncio.create_task(asked_in_full(client, place))
        asked = []
        while not asked:
            asked = await asyncio.to_thread(exchange.take, 1, patience=1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.gather(*client._ending)
        assert exchange.tell({asked[0].id: []}) == {asked[0].id}

    with_client(work)


def test_a_cancellation_is_not_lost_at_whatever_moment_it_comes(place, exchange):
    """A lost one keeps a connection and a device busy for somebody who is gone."""
    exchange.open()

    async def work(client):
        for turns in range(400):
            asking = asyncio.create_task(asked_in_full(client, place))
            for _ in range(turns % 80):
                await asyncio.sleep(0)
            exchange.take(1)
            for _ in range(turns // 40):
                await asyncio.sleep(0)
            asking.cancel()
            assert await asyncio.wait({asking}, timeout=5) == ({asking}, set()), turns
            assert asking.cancelled()

    with_client(work)


def test_a_failure_says_whose_fault_it_is(place, exchange):
    exchange.open()

    async def work(client, failed, kind):
        async with client.ask(place, ASK, nothing) as answer:
            [asked] = exchange.take(1)
            exchange.tell({asked.id: [Text(0, "a"), failed]})
            heard = []
            with pytest.raises(kind) as raised:
                async for event in answer:
                    heard.append(event)
            assert heard == [Text(0, "a")]
            return raised.value.code

    request = Failed("request", "invalid_messages", "no")
    platform = Failed("platform", "server_stopping", "later")
    assert with_client(lambda c: work(c, request, InvalidInput)) == "invalid_messages"
    assert with_client(lambda c: work(c, platform, Unavailable)) == "server_stopping"


def test_a_server_that_dies_ends_the_stream_in_time(place, exchange, monkeypatch):
    monkeypatch.setattr(wire, "ALIVE_SECONDS", 1.5)
    exchange.open()

    async def work(client):
        async with client.ask(place, ASK, nothing) as answer:
            [asked] = exchange.take(1)
            exchange.tell({asked.id: [Text(0, "a")]})
            exchange._beat._ended.set()  # as a process that is gone: nobody says so
            heard, begun = [], time.monotonic()
            with pytest.raises(Unavailable) as lost:
                async for event in answer:
                    heard.append(event)
        assert lost.value.code == "server_lost"
        assert heard == [Text(0, "a")]
        assert time.monotonic() - begun < 1.5 + 2 * client_side.TICK_SECONDS + 2
        assert not await client.is_ready(place.server)

    with_client(work)


def test_what_a_server_said_last_is_heard_though_it_is_gone(place, exchange):
    exchange.open()

    async def work(client):
        async with client.ask(place, ASK, nothing) as answer:
            [asked] = exchange.take(1)
            exchange.tell({asked.id: SAID})
            exchange.close()
            assert await all_of(answer) == SAID

    with_client(work)


def test_what_a_dead_server_had_not_taken_the_next_one_takes(place, exchange):
    exchange.open()

    async def work(client):
        async with client.ask(place, ASK, nothing) as lost, client.ask(place, ASK, nothing) as kept:
            exchange.take(1)
            exchange.close()
            heir = Exchange(connect(), server=place.server)
            heir.open()
            [asked] = heir.take(5)
            heir.tell({asked.id: SAID})
            assert await all_of(kept) == SAID
            with pytest.raises(Unavailable, match="lost"):
                await all_of(lost)
            heir.close()

    with_client(work)


def test_a_request_that_nobody_takes_is_given_up_and_taken_back(place, exchange, monkeypatch):
    monkeypatch.setattr(wire, "WAIT_SECONDS", 0.5)

    async def work(client):
        async with client.ask(place, ASK, nothing) as answer:
            with pytest.raises(Unavailable) as nobody:
                await all_of(answer)
        assert nobody.value.code == "no_server"
        await asyncio.gather(*client._ending)
        assert exchange.take(1) == []

    with_client(work)


def test_while_no_server_lives_one_is_asked_for_and_what_that_raises_ends_the_wait(
    place, exchange, monkeypatch
):
    monkeypatch.setattr(client_side, "ENSURE_SECONDS", 0.0)
    monkeypatch.setattr(client_side, "TICK_SECONDS", 0.05)
    asked_for = []

    async def ensure():
        asked_for.append(time.monotonic())
        if len(asked_for) == 3:
            raise Unavailable("no device is free")

    async def work(client):
        async with client.ask(place, ASK, ensure) as answer:
            with pytest.raises(Unavailable, match="no device"):
                await all_of(answer)

    with_client(work)
    assert len(asked_for) == 3


def test_more_than_can_be_answered_in_time_is_refused(place, monkeypatch):
    monkeypatch.setattr(client_side, "MOST_WAITING", 2)

    async def work(client):
        async with client.ask(place, ASK, nothing), client.ask(place, ASK, nothing):
            with pytest.raises(Unavailable) as full:
                async with client.ask(place, ASK, nothing):
                    pass
        assert full.value.code == "overloaded"

    with_client(work)


def test_a_server_that_begins_anew_answers_nothing_of_before(place, exchange, monkeypatch):
    monkeypatch.setattr(wire, "ALIVE_SECONDS", 1.5)
    exchange.open()

    async def work(client):
        async with client.ask(place, ASK, nothing) as before:
            exchange.take(1)
            exchange.open()
            async with client.ask(place, ASK, nothing) as after:
                [asked] = exchange.take(1)
                exchange.tell({asked.id: SAID})
                assert await all_of(after) == SAID
            with pytest.raises(Unavailable, match="lost"):
                await all_of(before)

    with_client(work)


def test_a_server_whose_work_hangs_does_not_live(place, exchange, monkeypatch):
    monkeypatch.setattr(wire, "ALIVE_SECONDS", 1.5)
    monkeypatch.setattr(server_side, "STUCK_SECONDS", 0.0)
    exchange.open()

    async def work(client):
        assert await client.is_ready(place.server)
        deadline = time.monotonic() + 10
        while await client.is_ready(place.server):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)

    with_client(work)


def test_one_that_leaves_is_not_ready_but_still_answers(place, exchange):
    exchange.open()

    async def work(client):
        async with client.ask(place, ASK, nothing) as answer:
            [asked] = exchange.take(1)
            exchange.leave()
            assert not await client.is_ready(place.server)
            exchange.tell({asked.id: SAID})
            assert await all_of(answer) == SAID

    with_client(work)


def test_without_redis_beside_rabbitmq_chat_is_refused_with_what_to_set(tmp_path):
    with (
        environment(data_dir=str(tmp_path), broker_url="amqp://guest@localhost//"),
        pytest.raises(Unavailable, match="TUNEYARD_REDIS_URL"),
    ):
        connect()


def test_a_redis_that_is_away_is_unavailable_and_is_named_in_the_log_alone(tmp_path, caplog):
    async def work(client):
        await client.is_ready("models/any")

    with (
        environment(data_dir=str(tmp_path), redis_url="redis://127.0.0.1:1/0"),
        pytest.raises(Unavailable, match="Redis") as away,
    ):
        with_client(work)
    assert "127.0.0.1" not in away.value.message
    assert "127.0.0.1" in caplog.text
