"""One question over HTTP, streamed, and when its tokens came. Knows no platform but its address."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

MAX_TOKENS = 128
TIMEOUT = httpx.Timeout(300, connect=10)


@dataclass(frozen=True)
class Answer:
    """Seconds from the request to the first text and to the end; None where it failed."""

    first: float | None
    seconds: float
    tokens: int = 0
    error: str | None = None


def client_of(connection: Path, **settings: Any) -> httpx.AsyncClient:
    """A client of the platform that wrote this connection.json."""
    told = json.loads(connection.read_text(encoding="utf-8"))
    return httpx.AsyncClient(
        base_url=f"{told['base_url']}/v1",
        headers={"authorization": f"Bearer {told['api_key']}"},
        timeout=TIMEOUT,
        trust_env=False,
        **settings,
    )


async def ask(client: httpx.AsyncClient, model: str, question: str) -> Answer:
    """One streamed chat completion to its last token. A connection that fails is an answer that
    failed: those of the others count all the same."""
    begun = time.perf_counter()
    try:
        return await _stream(client, model, question, begun)
    except httpx.HTTPError as error:
        return Answer(None, time.perf_counter() - begun, error=type(error).__name__)


async def _stream(client: httpx.AsyncClient, model: str, question: str, begun: float) -> Answer:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    first, tokens = None, 0
    async with client.stream("POST", "/chat/completions", json=body) as response:
        if response.status_code != 200:
            await response.aread()
            return Answer(None, time.perf_counter() - begun, error=f"HTTP {response.status_code}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                error = event["error"]["message"]
                return Answer(first, time.perf_counter() - begun, tokens, error)
            if first is None and any(one["delta"].get("content") for one in event["choices"]):
                first = time.perf_counter() - begun
            if event.get("usage"):
                tokens = event["usage"]["completion_tokens"]
    return Answer(first, time.perf_counter() - begun, tokens)
