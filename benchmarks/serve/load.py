"""So many clients at once, each asking its next question when it has the last one's answer."""

import asyncio
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.serve.asking import Answer, ask, client_of

PERCENTILES = (50, 95, 99)


def under(connection: Path, model: str, questions: Sequence[str], *, clients: int):
    """What so many clients saw together, each question asked once."""
    return asyncio.run(_under(connection, model, questions, clients))


async def _under(
    connection: Path, model: str, questions: Sequence[str], clients: int
) -> dict[str, Any]:
    left = iter(questions)
    answers: list[Answer] = []

    async def one(client: httpx.AsyncClient) -> None:
        for question in left:  # one iterator for all: whoever is free takes the next
            answers.append(await ask(client, model, question))

    limits = httpx.Limits(max_connections=clients)
    async with client_of(connection, limits=limits) as client:
        begun = time.perf_counter()
        await asyncio.gather(*(one(client) for _ in range(clients)))
        seconds = time.perf_counter() - begun
    return figures(answers, clients, seconds)


def figures(answers: Sequence[Answer], clients: int, seconds: float) -> dict[str, Any]:
    good = [answer for answer in answers if answer.error is None]
    return {
        "clients": clients,
        "requests": len(answers),
        "errors": sorted({a.error for a in answers if a.error is not None}),
        "failed": len(answers) - len(good),
        "requests_per_second": round(len(good) / seconds, 3),
        "tokens_per_second": round(sum(a.tokens for a in good) / seconds, 1),
        "seconds": percentiles([a.seconds for a in good]),
        "first_token_seconds": percentiles([a.first for a in good if a.first is not None]),
    }


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    """By nearest rank: every figure is one that somebody waited."""
    if not values:
        return None
    ranked = sorted(values)
    return {
        f"p{share}": round(ranked[math.ceil(share / 100 * len(ranked)) - 1], 4)
        for share in PERCENTILES
    }
