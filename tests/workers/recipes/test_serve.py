"""A server answers what the engine says, many at once, and stops when and how it should."""

import asyncio
import time

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core import failpoints
from core.errors import InvalidInput, JobFailure, Unavailable
from core.serving import wire
from core.serving.places import Place
from core.serving.wire import Text, Usage
from core.training.prompts import PromptTemplate
from tests.platform import environment
from tests.servers import free_port, killable_valkey
from tests.tiny_model import build_tiny_model
from tests.workers.recipes.serving import Running, answer_of, ask, chat, nothing, running, sql
from workers.context import Stopped
from workers.ml import generation
from workers.ml.engine import Engine
from workers.ml.loading import load_base
from workers.ml.sampling import Sampling

SCHEMA = "customers(id, name, city) orders(id, customer_id, total) 客户(编号, 名称)"
QUESTIONS = ["How many orders?", "总销售额是多少？", "What is the total of all sales?"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def loaded(model):
    return load_base(model, precision="fp32")


@pytest.fixture
def folder(valkey_url, tmp_path):
    with environment(data_dir=str(tmp_path), broker_url=valkey_url, stop_grace_seconds="20"):
        yield tmp_path


def said(loaded, prompt_ids, *, adapter=None, **sampling):
    """What the engine says alone."""
    engine = Engine(loaded)
    if adapter is not None:
        engine.load_adapter("a", adapter)
        adapter = "a"
    request = generation.Request(0, prompt_ids, Sampling(**sampling), adapter)
    return [done.text for done in sorted(engine.generate([request]), key=lambda d: d.index)]


def prompt_of(loaded, text, template=None):
    turns = [{"role": "user", "content": text}]
    return (template or PromptTemplate("chat")).encode_turns(loaded.tokenizer, turns)


def test_answers_are_those_of_the_engine_whole_and_in_pieces(folder, model, loaded):
    async def work(client):
        asked = [chat(text, stream=stream) for text in QUESTIONS for stream in (False, True)]
        return await asyncio.gather(*(answer_of(client, server.place, one) for one in asked))

    with running(folder / "work", model) as server:
        answers = ask(work)
    for index, text in enumerate(QUESTIONS):
        prompt_ids = prompt_of(loaded, text)
        expected = said(loaded, prompt_ids, max_new_tokens=12)
        for texts, usage in answers[2 * index : 2 * index + 2]:
            assert texts == expected
            assert usage.prompt_tokens == len(prompt_ids)
            assert 1 <= usage.completion_tokens <= 12
    assert server.done["requests"] == 6
    last = server.ctx.of_kind("progress")[-1]["progress"]
    assert (last["step"], last["total"], last["requests"]) == (6, 6, 6)


def test_several_drawn_answers_and_stop_strings_are_the_engine_s_too(folder, model, loaded):
    prompt_ids = prompt_of(loaded, QUESTIONS[0])
    how = {"temperature": 0.8, "top_p": 0.9, "seed": 5, "n": 3}
    stop = (said(loaded, prompt_ids, max_new_tokens=30)[0][4:6],)

    async def work(client):
        drawn = await answer_of(client, server.place, chat(QUESTIONS[0], stream=True, **how))
        stopped = chat(QUESTIONS[0], max_tokens=30, stop=stop, stream=True)
        return drawn[0], (await answer_of(client, server.place, stopped))[0]

    with running(folder / "work", model) as server:
        drawn, stopped = ask(work)
    assert drawn == said(loaded, prompt_ids, max_new_tokens=12, **how)
    assert stopped == said(loaded, prompt_ids, max_new_tokens=30, stop=stop)


def test_one_that_comes_later_and_is_short_is_answered_before_a_long_one_is_done(folder, model):
    async def work(client):
        long = chat("x", max_tokens=3000, stream=True)
        async with client.ask(server.place, long, nothing) as answer:
            events = aiter(answer)
            assert isinstance(await anext(events), Text)
            await answer_of(client, server.place, chat("y", max_tokens=4))
            more = [await anext(events) for _ in range(3)]
            assert all(isinstance(event, Text) for event in more)

    with running(folder / "work", model) as server:
        server.engine.endings.tokens = set()  # it does not end by itself
        ask(work)


def test_a_client_that_leaves_stops_its_answer(folder, model):
    async def work(client):
        for stream in (True, False):
            long = chat("x", max_tokens=3000, stream=stream)
            async with client.ask(server.place, long, nothing) as gone:
                if stream:
                    await anext(aiter(gone))
                while not server.engine.busy:
                    await asyncio.sleep(0.01)
            deadline = time.monotonic() + 20
            while server.engine.busy:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)

    with running(folder / "work", model) as server:
        server.engine.endings.tokens = set()
        ask(work)
        assert server.engine.counts.steps < 2000
    assert server.done == server.done | {"requests": 0, "failed": 2}


def test_questions_on_a_database_share_its_schema(folder, model, loaded):
    async def work(client):
        asked = [sql(text, schema_text=SCHEMA, dialect="sqlite") for text in QUESTIONS]
        return [(await answer_of(client, server.place, one))[0] for one in asked]

    with running(folder / "work", model) as server:
        answers = ask(work)
        counts = server.engine.counts
    template = PromptTemplate.for_base("sql", SCHEMA, "sqlite")
    prompts = [
        template.encode(loaded.tokenizer, {"question": text, "answer": ""}).prompt_ids
        for text in QUESTIONS
    ]
    assert answers == [said(loaded, ids, max_new_tokens=12, sql=True) for ids in prompts]
    assert counts.prefixes == 1
    assert counts.prefix_tokens > len(loaded.tokenizer(SCHEMA).input_ids)


@pytest.fixture(scope="module")
def tuned(model, tmp_path_factory):
    """Three adapters with the prompt that each was trained with."""
    made = {}
    for seed, name in enumerate("abc"):
        torch.manual_seed(seed)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        made[name] = tmp_path_factory.mktemp(name)
        get_peft_model(load_base(model, precision="fp32").model, config).save_pretrained(made[name])
        PromptTemplate("schema", SCHEMA, "sqlite").save(made[name])
    return made


@pytest.fixture
def stored(folder, tuned):
    """Storage keys of the adapters."""
    from core.storage import get_storage

    for name, source in tuned.items():
        get_storage().put_tree(source, f"projects/p/{name}")
    return {name: f"projects/p/{name}" for name in tuned}


def test_adapters_come_when_they_are_asked_for_and_the_least_used_one_goes(
    folder, model, loaded, tuned, stored
):
    """Asked with the very prompt of the training, by chat and by SQL."""

    async def work(client):
        heard = {}
        for name in "abca":
            place = Place(server.place.server, stored[name])
            heard[name] = (await answer_of(client, place, chat(QUESTIONS[1])))[0]
            by_sql = (await answer_of(client, place, sql(QUESTIONS[1], dialect="sqlite")))[0]
            assert len(server.engine.adapters.names) <= 3
        heard[None] = (await answer_of(client, server.place, chat(QUESTIONS[1])))[0]
        return heard, by_sql

    with running(folder / "work", model, max_adapters=2) as server:
        heard, by_sql = ask(work)
        assert set(server.engine.adapters.names) == {None, stored["a"], stored["c"]}
    prompt_ids = prompt_of(loaded, QUESTIONS[1], PromptTemplate("schema", SCHEMA, "sqlite"))
    for name in "abc":
        expected = said(loaded, prompt_ids, adapter=tuned[name], max_new_tokens=12)
        assert heard[name] == expected
    assert heard[None] == said(loaded, prompt_of(loaded, QUESTIONS[1]), max_new_tokens=12)
    assert by_sql == said(loaded, prompt_ids, adapter=tuned["a"], max_new_tokens=12, sql=True)


def test_more_adapters_at_once_than_there_is_room_for_are_answered_in_turn(folder, model, stored):
    async def work(client):
        places = [Place(server.place.server, stored[name]) for name in "abcabc"]
        return await asyncio.gather(*(answer_of(client, place, chat("x")) for place in places))

    with running(folder / "work", model, max_adapters=1) as server:
        answers = [texts for texts, _ in ask(work)]
    assert answers[:3] == answers[3:]
    assert len({texts[0] for texts in answers}) == 3


def test_a_request_that_can_t_be_answered_is_its_own_error_and_the_server_goes_on(
    folder, model, stored
):
    """No such adapter, a prompt that is too long, an adapter that is none or computes nothing."""
    (folder / "storage" / "projects" / "p" / "bad").mkdir()
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    adapted = get_peft_model(load_base(model, precision="fp32").model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.fill_(1e30)
    adapted.save_pretrained(folder / "storage" / "projects" / "p" / "huge")

    async def refused(client, place, request):
        with pytest.raises(InvalidInput) as error:
            await answer_of(client, place, request)
        return error.value.code

    async def work(client):
        server_place = server.place.server
        codes = [
            await refused(client, Place(server_place, "projects/p/none"), chat("x")),
            await refused(client, server.place, chat("x" * 9000)),
            await refused(client, Place(server_place, "projects/p/bad"), chat("x")),
            await refused(client, Place(server_place, "projects/p/huge"), chat("x", n=2)),
        ]
        return codes, await answer_of(client, server.place, chat("x"))

    with running(folder / "work", model) as server:
        codes, (texts, _) = ask(work)
    assert codes == [
        "model_not_found",
        "context_length_exceeded",
        "model_config",
        "model_not_finite",
    ]
    assert texts[0]
    assert server.done["failed"] == 4


def test_an_answer_that_memory_does_not_suffice_for_fails_alone(folder, model, monkeypatch):
    points = folder / "failpoints"
    points.mkdir()
    monkeypatch.setattr(failpoints, "_folder", str(points))

    async def work(client):
        before = server.engine.counts.steps
        (points / f"engine.step@{before + 2}").write_text("oom")
        with pytest.raises(Unavailable) as full:
            await answer_of(client, server.place, chat("x", max_tokens=50))
        assert full.value.code == "out_of_memory"
        return await answer_of(client, server.place, chat("x"))

    with running(folder / "work", model) as server:
        assert ask(work)[0][0]


# -- how it ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["drain", "cancel", "pause", "yield"])
def test_it_answers_what_it_has_taken_and_leaves_the_rest_to_the_next(folder, model, reason):
    """A yield by the policy `always`, the others by a wish."""
    server = Running(folder / "one", model, yield_policy="always")
    heir = Running(folder / "two", model, address=server.place.server)
    server.thread.start()

    async def work(client):
        while not await client.is_ready(server.place.server):
            await asyncio.sleep(0.05)
        server.engine.endings.tokens = set()
        long = chat("x", max_tokens=300, stream=True)
        async with client.ask(server.place, long, nothing) as begun:
            events = aiter(begun)
            await anext(events)
            if reason == "yield":
                server.ctx.others_wait = True
            else:
                server.ctx.stop = reason
            while await client.is_ready(server.place.server):
                await asyncio.sleep(0.01)
            async with client.ask(server.place, chat("y"), nothing) as later:
                last = [event async for event in events][-1]
                assert last == Usage(last.prompt_tokens, 300)
                heir.thread.start()
                assert isinstance([event async for event in later][-1], Usage)

    ask(work)
    ended = server.join()
    assert isinstance(ended, Stopped)
    assert ended.reason == reason
    assert server.done["requests"] == 1
    heir.stop()
    assert heir.done["requests"] == 1


def test_what_can_t_be_finished_within_half_the_grace_is_told_so(valkey_url, tmp_path, model):
    async def work(client):
        long = chat("x", max_tokens=4000, stream=True)
        async with client.ask(server.place, long, nothing) as answer:
            events = aiter(answer)
            await anext(events)
            server.ctx.stop = "drain"
            with pytest.raises(Unavailable) as stopping:
                async for _ in events:
                    pass
            assert stopping.value.code == "server_stopping"

    with (
        environment(data_dir=str(tmp_path), broker_url=valkey_url, stop_grace_seconds="1"),
        running(tmp_path / "work", model) as server,
    ):
        server.engine.endings.tokens = set()
        ask(work)


def test_by_the_policy_idle_it_makes_room_when_nobody_has_asked_for_so_long(folder, model):
    with running(folder / "work", model, yield_policy="idle", idle_seconds=1.5) as server:
        ask(lambda client: answer_of(client, server.place, chat("x")))
        asked = time.monotonic()
        server.ctx.others_wait = True
        ended = server.join()
        assert time.monotonic() - asked > 1
    assert isinstance(ended, Stopped)
    assert ended.reason == "yield"


def test_by_the_policy_never_it_stays_though_others_wait(folder, model):
    with running(folder / "work", model, yield_policy="never") as server:
        server.ctx.others_wait = True
        for _ in range(3):
            ask(lambda client: answer_of(client, server.place, chat("x")))
        assert server.thread.is_alive()


def test_when_nobody_asks_for_long_it_ends_well(folder, model):
    server = Running(folder / "work", model, max_idle_seconds=0.2)
    server.thread.start()
    done = server.join()
    assert done == {"requests": 0, "failed": 0, "prompt_tokens": 0, "completion_tokens": 0}
    assert server.ctx.rows == {}, "an attempt that did nothing has brought nothing"


# -- Redis comes and goes --------------------------------------------------------------------------


def test_it_outlives_its_redis_and_nobody_waits_in_vain(tmp_path, model, monkeypatch):
    monkeypatch.setattr(wire, "ALIVE_SECONDS", 2.0)

    async def cut_off(client):
        long = chat("x", max_tokens=4000, stream=True)
        async with client.ask(server.place, long, nothing) as answer:
            events = aiter(answer)
            await anext(events)
            valkey.kill()
            with pytest.raises(Unavailable):
                async for _ in events:
                    pass

    async def again(client):
        while not await client.is_ready(server.place.server):
            await asyncio.sleep(0.1)
        return await answer_of(client, server.place, chat("x"))

    with (
        killable_valkey(port=free_port()) as valkey,
        environment(data_dir=str(tmp_path), broker_url=valkey.url, stop_grace_seconds="4"),
        running(tmp_path / "work", model) as server,
    ):
        server.engine.endings.tokens = set()
        ask(cut_off)
        valkey.start()
        assert ask(again)[0][0]


def test_without_redis_at_the_start_it_is_tried_again_later(tmp_path, model):
    with environment(data_dir=str(tmp_path), redis_url="redis://127.0.0.1:1/0"):
        server = Running(tmp_path / "work", model)
        server.thread.start()
        ended = server.join()
    assert isinstance(ended, JobFailure)
    assert ended.klass == "infra"


def test_a_request_of_another_version_is_answered_with_what_is_to_be_done(
    folder, model, monkeypatch
):
    async def work(client):
        monkeypatch.setattr(wire, "write_request", lambda request, adapter: '{"said": {}}')
        with pytest.raises(Unavailable) as odd:
            await answer_of(client, server.place, chat("x"))
        assert odd.value.code == "unreadable_request"

    with running(folder / "work", model) as server:
        ask(work)
