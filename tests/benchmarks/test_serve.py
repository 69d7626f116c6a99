"""The load of `benchmarks/serve` on the real API: every request is counted, none is lost."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from benchmarks.serve.asking import ask
from benchmarks.serve.load import under
from core.serving.exchange import Asked
from core.serving.wire import End, Event, Failed, Text, Usage
from tests.api.conftest import data_dir, database, http, redis, sqlite_template
from tests.api.served import Speaker

__all__ = ["data_dir", "database", "http", "redis", "sqlite_template"]

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def test_a_connection_that_breaks_is_an_answer_that_failed(database: str) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("gone", request=request)

    async def asked():
        transport = httpx.MockTransport(broken)
        async with httpx.AsyncClient(base_url="http://here", transport=transport) as client:
            return await ask(client, "tiny", "How many?")

    answer = asyncio.run(asked())
    assert (answer.first, answer.tokens, answer.error) == (None, 0, "ReadError")


def test_clients_share_the_requests_and_see_when_their_tokens_come(
    http: httpx.Client, tmp_path: Path
) -> None:
    def answer(asked: Asked) -> list[Event]:
        if "broken" in asked.request.prompt.messages[0]["content"]:
            return [Failed("platform", "server_stopping", "Ask again.")]
        return [Text(0, "SELECT"), End(0, " 1", "stop"), Usage(5, 2)]

    connection = tmp_path / "connection.json"
    key = http.headers["authorization"].removeprefix("Bearer ")
    connection.write_text(json.dumps({"base_url": str(http.base_url), "api_key": key}))
    questions = ["How many?", "多少?", "broken?"]
    with Speaker(answer):
        seen = under(connection, "tiny", 2 * questions, clients=2)
    assert (seen["clients"], seen["requests"], seen["failed"]) == (2, 6, 2)
    assert seen["errors"] == ["HTTP 503"]
    assert seen["tokens_per_second"] == pytest.approx(2 * seen["requests_per_second"], rel=0.1)
    assert 0 < seen["first_token_seconds"]["p50"] <= seen["seconds"]["p99"]
