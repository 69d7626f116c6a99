"""Contestant: the platform over HTTP, a few streamed questions a turn, one after the other.

Told as JSON: connection (a connection.json), address (the model's), questions, batch (a turn).
"""

import asyncio
import json
import statistics
import sys
from itertools import cycle, islice
from pathlib import Path

from benchmarks.peers.turns import Turns
from benchmarks.serve.asking import Answer, ask, client_of


def main() -> None:
    turns = Turns()
    told = json.loads(sys.argv[1])
    questions = cycle(told["questions"])
    turns.ready("httpx", "fastapi", "uvicorn")
    with asyncio.Runner() as runner:
        client = client_of(Path(told["connection"]))

        async def turn() -> list[Answer]:
            asked = islice(questions, told["batch"])
            return [await ask(client, told["address"], question) for question in asked]

        while turns.wait():
            answers = runner.run(turn())
            if failed := [answer.error for answer in answers if answer.error is not None]:
                raise SystemExit(f"a question had no answer: {failed[0]}")
            turns.answer(
                first_token_seconds=statistics.median(answer.first for answer in answers),
                seconds_a_request=statistics.mean(answer.seconds for answer in answers),
                tokens_a_request=statistics.mean(answer.tokens for answer in answers),
            )
        runner.run(client.aclose())


if __name__ == "__main__":
    main()
