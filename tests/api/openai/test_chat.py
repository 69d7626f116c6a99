"""`/v1/chat/completions` over HTTP: what it refuses, how it answers, and how it breaks off."""

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from core.accounts.service import ensure_project
from core.db import get_database
from core.fleet.service import Node, register
from core.jobs.models import Job
from core.serving.exchange import Asked
from core.serving.wire import End, Event, Failed, Text, Usage
from tests.api.belongings import own_one_of_each
from tests.api.process import api_process
from tests.api.served import Speaker
from tests.e2e.conftest import wait_until

PATH = "/v1/chat/completions"
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "北京有多少客户?"}]}
STREAMED = ASKED | {"stream": True}

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""


def said(*texts: str, n: int = 1) -> list[Event]:
    """An answer that comes in these pieces, n times."""
    events: list[Event] = []
    for index in range(n):
        events += [Text(index, text) for text in texts[:-1]]
        events.append(End(index, texts[-1], "stop"))
    return [*events, Usage(prompt_tokens=7, completion_tokens=len(texts) * n)]


def lines_of(response: httpx.Response) -> list[Any]:
    data = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


@on_sqlite
@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"grammar": "x"}, "grammar"),
        ({"messages": [{"role": "assistant", "content": "Four"}]}, "messages"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_what_is_not_honoured_is_a_400_that_names_the_field(
    client: TestClient, given: dict[str, Any], param: str
) -> None:
    answer = client.post(PATH, json=ASKED | given)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_an_unknown_model_is_a_404_as_openai_has_it(client: TestClient) -> None:
    answer = client.post(PATH, json=ASKED | {"model": "gpt-4o"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@on_sqlite
def test_without_redis_it_is_a_503_that_says_when_to_try_again(client: TestClient) -> None:
    answer = client.post(PATH, json=ASKED)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "Redis" in answer.json()["error"]["message"]


@on_sqlite
def test_answers_come_whole_in_order_and_counted(http: httpx.Client) -> None:
    events = [End(1, "两个", "length"), End(0, "一个", "stop"), Usage(7, 9)]
    with Speaker(lambda asked: events) as speaker:
        answer = http.post(PATH, json=ASKED | {"n": 2, "max_tokens": 4, "temperature": 1}).json()
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "tiny"
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["一个", "两个"]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop", "length"]
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
    request = speaker.asked[0].request
    assert (request.n, request.max_tokens, request.temperature) == (2, 4, 1)
    assert request.prompt.messages == ASKED["messages"]


@on_sqlite
def test_a_stream_has_the_role_the_texts_why_it_ended_and_done(http: httpx.Client) -> None:
    with Speaker(lambda asked: said("SELECT", " 1", "")):
        response = http.post(PATH, json=STREAMED)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = lines_of(response)
    assert done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "SELECT"},
        {"content": " 1"},
        {},
    ]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None, None, None, "stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)


@on_sqlite
def test_usage_comes_last_if_it_is_asked_for(http: httpx.Client) -> None:
    body = STREAMED | {"n": 2, "temperature": 1, "stream_options": {"include_usage": True}}
    with Speaker(lambda asked: said("a", "b", n=2)):
        *chunks, last, done = lines_of(http.post(PATH, json=body))
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}


def token(text: bytes, logprob: float, *others: dict[str, Any]) -> dict[str, Any]:
    shown = text.decode("utf-8", "replace")
    told = {"token": shown, "logprob": logprob, "bytes": [*text]}
    return {**told, "top_logprobs": [told, *others]}


END_OF_TURN = {"token": "<|im_end|>", "logprob": -3.5, "bytes": None}
HALVES = [token(b"\xe5\xa5", -0.25, END_OF_TURN), token(b"\xbd", 0.0)]
WITH_TOKENS = {"logprobs": True, "top_logprobs": 2}


@on_sqlite
def test_logprobs_come_with_each_answer_as_openai_has_them(http: httpx.Client) -> None:
    events = [End(1, "", "stop", []), End(0, "好", "stop", HALVES), Usage(7, 3)]
    with Speaker(lambda asked: events) as speaker:
        answer = http.post(PATH, json=ASKED | WITH_TOKENS | {"n": 2}).json()
    assert speaker.asked[0].request.logprobs == 2
    first, second = (choice["logprobs"] for choice in answer["choices"])
    assert first == {"content": HALVES, "refusal": None}
    assert second == {"content": [], "refusal": None}


@on_sqlite
def test_in_a_stream_they_come_with_the_text_that_they_are(http: httpx.Client) -> None:
    events = [
        Text(0, "好", HALVES),
        Text(0, "a", []),  # of a token that goes on behind what can be said
        End(0, "", "stop", [token(b"a", -1.0)]),
        Usage(7, 3),
    ]
    with Speaker(lambda asked: events):
        *chunks, _ = lines_of(http.post(PATH, json=STREAMED | WITH_TOKENS))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["delta"].get("content") for choice in choices] == ["", "好", "a", "", None]
    told = [choice["logprobs"] and choice["logprobs"]["content"] for choice in choices]
    assert told == [None, HALVES, [], [token(b"a", -1.0)], None]


@on_sqlite
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_who_asks_for_no_logprobs_has_null(http: httpx.Client, stream: bool) -> None:
    with Speaker(lambda asked: said("4")) as speaker:
        text = http.post(PATH, json=ASKED | {"stream": stream}).text
    assert speaker.asked[0].request.logprobs is None
    assert text.count('"logprobs":null') == text.count('"index":')


@on_sqlite
@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("fault", "status"), [("request", 400), ("platform", 503)], ids=["request", "platform"]
)
def test_what_goes_wrong_before_the_first_text_is_a_status(
    http: httpx.Client, body: dict[str, Any], fault: str, status: int
) -> None:
    with Speaker(lambda asked: [Failed(fault, "some_code", "That was wrong.", "messages")]):
        answer = http.post(PATH, json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("some_code", "messages")
    assert ("retry-after" in answer.headers) == (status == 503)


@on_sqlite
def test_what_goes_wrong_later_is_an_error_in_the_stream_and_its_end(http: httpx.Client) -> None:
    failed = Failed("platform", "server_stopping", "The server is told to stop.")
    with Speaker(lambda asked: [Text(0, "SEL"), failed]):
        response = http.post(PATH, json=STREAMED)
    assert response.status_code == 200
    *chunks, last = lines_of(response)
    assert chunks[-1]["choices"][0]["delta"] == {"content": "SEL"}
    assert last["error"]["code"] == "server_stopping"
    assert last["error"]["type"] == "server_error"


@on_sqlite
def test_a_server_that_dies_in_the_middle_ends_the_stream_with_an_error(http: httpx.Client) -> None:
    def half(asked: Asked) -> Iterator[Event]:
        yield Text(0, "SEL")
        speaker.die()

    with Speaker(half) as speaker:
        *_, last = lines_of(http.post(PATH, json=STREAMED))
    assert last["error"]["code"] == "server_lost"


@on_sqlite
@pytest.mark.parametrize("pause", [0.0, 60.0], ids=["among tokens", "between two"])
def test_an_api_that_is_stopped_ends_the_stream_with_an_error(
    http: httpx.Client, data_dir: Path, pause: float
) -> None:
    over = threading.Event()

    def endless(asked: Asked) -> Iterator[Event]:
        while not over.is_set():
            yield Text(0, "x")
            over.wait(pause)

    with Speaker(endless), api_process(data_dir) as api:
        url, headers = f"{api.base_url}{PATH}", {"authorization": http.headers["authorization"]}
        with httpx.stream("POST", url, json=STREAMED, headers=headers, timeout=30) as answer:
            lines = answer.iter_lines()
            next(lines)
            api.process.send_signal(signal.SIGTERM)
            *_, last = [line for line in lines if line]
        assert api.process.wait(timeout=5) in (0, -signal.SIGTERM)
        over.set()
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "api_stopping"


@on_sqlite
@pytest.mark.parametrize("body", [ASKED, STREAMED], ids=["whole", "streamed"])
def test_when_the_client_is_gone_the_answer_stops(http: httpx.Client, body: dict[str, Any]) -> None:
    """Between any two tokens the server looks whether somebody still listens."""
    begun = threading.Event()

    def endless(asked: Asked) -> Iterator[Event]:
        for _ in range(100_000):
            begun.set()
            yield Text(0, "x")

    request = http.build_request("POST", PATH, json=body)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with Speaker(endless) as speaker:
        with socket.create_connection((http.base_url.host, http.base_url.port)) as client:
            client.sendall(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
            assert begun.wait(30)
        assert speaker.left.wait(30)


@on_sqlite
def test_the_sdk_asks_again_after_the_time_that_a_503_names(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    clock = SimpleNamespace(**vars(time) | {"sleep": waits.append})
    monkeypatch.setattr(openai._base_client, "time", clock)
    key = http.headers["authorization"].removeprefix("Bearer ")
    tries = iter([[Failed("platform", "server_stopping", "Ask again.")], said("4")])
    with (
        Speaker(lambda asked: next(tries)),
        openai.OpenAI(base_url=f"{http.base_url}/v1", api_key=key) as sdk,
    ):
        raw = sdk.chat.completions.with_raw_response.create(**ASKED)
    assert raw.parse().choices[0].message.content == "4"
    assert (raw.retries_taken, waits) == (1, [5])


def test_without_a_server_and_a_free_device_it_is_a_503_at_once(
    redis: None, client: TestClient
) -> None:
    answer = client.post(PATH, json=ASKED)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["error"]["code"] == "no_server"


@on_sqlite
def test_the_first_request_has_a_server_started_and_waits_for_it(http: httpx.Client) -> None:
    node = Node("gpu0@here", "gpu", "cpu", 1, 8 << 30, ["tiny"], {})
    with get_database().transaction() as session:
        register(session, node)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(http.post, PATH, json=ASKED) for _ in range(2)]
        wait_until(serve_jobs, seconds=10)
        with Speaker(lambda asked: said("4")):
            answers = [one.result().json() for one in waiting]
    assert [answer["choices"][0]["message"]["content"] for answer in answers] == ["4", "4"]
    assert [job.params["model"] for job in serve_jobs()] == ["tiny"], "one server for both"


@on_sqlite
def test_requests_that_wait_hold_no_thread(http: httpx.Client) -> None:
    """More of them than there are threads for endpoints, and another request is answered."""
    everybody = 60
    all_asked = threading.Event()

    def mute(asked: Asked) -> list[Event]:
        if len(speaker.asked) == everybody:
            all_asked.set()
        return []

    limits = httpx.Limits(max_connections=everybody + 1)
    headers = dict(http.headers)
    with (
        Speaker(mute) as speaker,
        httpx.Client(base_url=http.base_url, headers=headers, limits=limits, timeout=30) as many,
        ThreadPoolExecutor(everybody) as pool,
    ):
        waiting = [pool.submit(many.post, PATH, json=ASKED) for _ in range(everybody)]
        assert all_asked.wait(30)
        assert http.get("/v1/models").status_code == 200
        for asked in speaker.asked:
            speaker.tell(asked, said("4"))
        assert {one.result().status_code for one in waiting} == {200}


def serve_jobs() -> list[Job]:
    with get_database().reading() as session:
        return list(session.scalars(select(Job).where(Job.type == "serve")))


@on_sqlite
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (PATH, ASKED | {"messages": [{"role": "user", "content": "a" * 20_000}]}, "messages"),
        ("/v1/sql", {"model": "tiny", "database": "shop", "question": "a" * 20_000}, "question"),
    ],
)
def test_what_is_longer_than_the_context_waits_nowhere(
    client: TestClient, path: str, body: dict[str, Any], param: str
) -> None:
    with get_database().transaction() as session:
        own_one_of_each(session, ensure_project(session, "ours"))
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", param)
    assert "16,384" in error["message"], "eight times 2048"
