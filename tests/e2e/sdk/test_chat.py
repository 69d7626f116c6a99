"""Chat with the real SDK against the real platform: a `serve` job answers with a tiny model."""

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionTokenLogprob
from openai.types.fine_tuning import FineTuningJob

from tests.e2e.conftest import SHORT, Platform, wait_until

ASKED = [{"role": "user", "content": "编号大于3的客户有多少在上海?"}]
LONG = {"model": "tiny", "messages": ASKED, "max_tokens": 4000}
"""The random base model goes on until it is stopped."""


def patient(sdk: OpenAI) -> OpenAI:
    """On a busy machine a runner takes longer to import torch than a request waits for it."""
    return sdk.with_options(max_retries=4)


@pytest.fixture(scope="module")
def server(platform: Platform, sdk: OpenAI) -> Iterator[str]:
    """The job of a server that computes in fp32: an answer is compared with another that was
    computed in other company or drafted, and in bf16 the random model's best two tokens are often
    as good as equal. First one is started because somebody asks. It holds the only device: it ends
    with these tests."""
    patient(sdk).chat.completions.create(model="tiny", messages=ASKED, max_tokens=1)
    jobs = platform.client.get("/v1/jobs", type="serve", status="running")["data"]
    assert len(jobs) == 1
    end(platform, f"/v1/jobs/{jobs[0]['id']}")
    job = platform.client.submit("serve", model="tiny", precision="fp32")
    path = f"/v1/jobs/{job['id']}"
    wait_until(lambda: platform.client.get(path)["status"] == "running", seconds=90)
    yield path
    end(platform, path)


def end(platform: Platform, path: str) -> None:
    platform.client.post(f"{path}/cancel")
    wait_until(lambda: platform.client.get(path)["status"] == "cancelled", seconds=90)


@pytest.fixture(scope="module")
def model(tuned: FineTuningJob, server: str) -> str:
    """The name of a model that the SDK has tuned, which is served."""
    return tuned.fine_tuned_model


def test_a_tuned_model_answers_by_the_name_that_its_job_gave(sdk: OpenAI, model: str) -> None:
    answer = sdk.chat.completions.create(model=model, messages=ASKED, max_tokens=40)
    (choice,) = answer.choices
    assert (answer.object, answer.model) == ("chat.completion", model)
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 40
    assert answer._request_id.startswith("req_")


def test_the_pieces_of_a_stream_are_the_whole_answer(sdk: OpenAI, model: str) -> None:
    # Asked for the first time: an answer that was given before is drafted, and comes in few pieces.
    messages = [{"role": "user", "content": "Which pieces does an answer come in?"}]
    asked: dict[str, Any] = {"model": model, "messages": messages, "max_tokens": 40}
    chunks = list(
        sdk.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    whole = sdk.chat.completions.create(**asked)
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 5, "it came in pieces"


def test_the_sdks_own_helper_puts_a_stream_together(sdk: OpenAI, server: str) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": ASKED, "max_tokens": 20}
    whole = sdk.chat.completions.create(**asked)
    with sdk.chat.completions.stream(**asked) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
    assert "".join(texts) == whole.choices[0].message.content


def test_answers_to_one_question_are_drawn_apart_and_a_seed_draws_them_again(
    sdk: OpenAI, server: str
) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": ASKED, "max_tokens": 12, "n": 3}
    first, again, other = (
        [
            choice.message.content
            for choice in sdk.chat.completions.create(**asked, temperature=1.5, seed=seed).choices
        ]
        for seed in (7, 7, 8)
    )
    assert len(set(first)) == 3
    assert first == again
    assert first != other


def test_an_answer_ends_before_a_stop_string(sdk: OpenAI, server: str) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": ASKED, "max_tokens": 40}
    whole = sdk.chat.completions.create(**asked).choices[0].message.content
    stop = whole[5:7]
    cut = sdk.chat.completions.create(**asked, stop=stop).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_each_token_of_an_answer_comes_with_its_log_probability(sdk: OpenAI, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "messages": ASKED, "max_tokens": 40}
    plain = sdk.chat.completions.create(**asked)
    assert plain.choices[0].logprobs is None
    asked |= {"logprobs": True, "top_logprobs": 5}
    [choice] = sdk.chat.completions.create(**asked).choices
    assert choice.message.content == plain.choices[0].message.content
    content = choice.logprobs.content
    text = b"".join(bytes(token.bytes) for token in content).decode("utf-8", "replace")
    assert text == choice.message.content
    for token in content:
        assert len(token.top_logprobs) == 5
        best = token.top_logprobs[0]
        assert (best.token, best.logprob) == (token.token, token.logprob), "it is not drawn"
    with sdk.chat.completions.stream(**asked) as stream:
        told = [one for event in stream if event.type == "chunk" for one in of_chunk(event.chunk)]
    assert stream.current_completion_snapshot.choices[0].logprobs.content == told
    assert [one.bytes for one in told] == [one.bytes for one in content]
    assert [one.logprob for one in told] == pytest.approx(
        [one.logprob for one in content], abs=1e-3
    )


def of_chunk(chunk: ChatCompletionChunk) -> list[ChatCompletionTokenLogprob]:
    return [
        token
        for choice in chunk.choices
        for token in (choice.logprobs and choice.logprobs.content) or []
    ]


def test_a_conversation_goes_on_with_an_answer_as_it_came(sdk: OpenAI, server: str) -> None:
    answer = sdk.chat.completions.create(model="tiny", messages=ASKED, max_tokens=5)
    turns = [*ASKED, answer.choices[0].message, {"role": "user", "content": "And in Rome?"}]
    more = sdk.chat.completions.create(model="tiny", messages=turns, max_tokens=5)
    assert more.usage.prompt_tokens > answer.usage.prompt_tokens


def test_a_question_in_chat_has_the_prompt_of_a_question_for_sql(
    platform: Platform, sdk: OpenAI, model: str
) -> None:
    """Which is the one that training, evaluation and batches use."""
    asked = {"model": model, "database": "shop", "question": ASKED[0]["content"], "rows": 3}
    told = platform.client.post("/v1/sql", asked)
    chat = sdk.chat.completions.create(model=model, messages=ASKED, max_tokens=1)
    assert told["usage"]["prompt_tokens"] == chat.usage.prompt_tokens
    assert told["object"] == "sql.answer"
    assert told["executes"] is (told["error"] is None)


def test_requests_at_once_are_answered_as_one_by_one(async_sdk: AsyncOpenAI, model: str) -> None:
    async def ask(number: int) -> str:
        content = f"How many customers above {number} live in Rome?"
        answer = await async_sdk.chat.completions.create(
            model=model if number % 2 else "tiny",
            messages=[{"role": "user", "content": content}],
            max_tokens=20,
        )
        return answer.choices[0].message.content

    async def both() -> tuple[list[str], list[str]]:
        async with async_sdk:
            at_once = await asyncio.gather(*map(ask, range(12)))
            return at_once, [await ask(number) for number in range(12)]

    at_once, one_by_one = asyncio.run(both())
    assert at_once == one_by_one


def test_streams_of_the_async_client_come_side_by_side(async_sdk: AsyncOpenAI, server: str) -> None:
    async def read(order: list[int], number: int) -> None:
        stream = await async_sdk.chat.completions.create(**LONG | {"max_tokens": 60}, stream=True)
        async for _ in stream:
            order.append(number)

    async def all_three() -> list[int]:
        order: list[int] = []
        async with async_sdk:
            await asyncio.gather(*(read(order, number) for number in range(3)))
        return order

    order = asyncio.run(all_three())
    assert order != sorted(order), "one did not wait for the other's end"


def test_whoever_closes_a_stream_ends_the_generation(
    platform: Platform, sdk: OpenAI, server: str
) -> None:
    def given_up() -> int:
        return platform.client.get(server)["progress"]["failed"]

    before = given_up()
    with sdk.chat.completions.create(**LONG, stream=True) as stream:
        for _, _ in zip(range(3), stream, strict=False):
            pass
    wait_until(lambda: given_up() == before + 1, seconds=10)


def test_errors_are_the_sdks_own_and_name_the_field(sdk: OpenAI, server: str) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.chat.completions.create(model="gpt-4o", messages=ASKED)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as unheard:
        sdk.chat.completions.create(model="tiny", messages=ASKED, frequency_penalty=1)
    assert unheard.value.param == "frequency_penalty"
    with pytest.raises(openai.BadRequestError) as long:
        sdk.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "客户" * 5000}], stream=True
        )
    assert (long.value.code, long.value.param) == ("context_length_exceeded", "messages")


@pytest.mark.timeout(600)
def test_a_server_killed_mid_stream_is_an_error_and_the_next_request_is_answered(
    platform: Platform, sdk: OpenAI, server: str
) -> None:
    """The error comes, and the stream ends. The job is given back within the lease, and the same
    job answers whoever asks meanwhile."""
    stream = sdk.chat.completions.create(**LONG, stream=True)
    next(stream)
    platform.runner_of("gpu0").send_signal(signal.SIGKILL)
    killed = time.time()
    with pytest.raises(openai.APIError) as lost:
        for _ in stream:
            pass
    assert lost.value.code == "server_lost"
    answer = patient(sdk).chat.completions.create(model="tiny", messages=ASKED, max_tokens=3)
    assert answer.choices[0].message.content
    first, second = platform.client.get(f"{server}/attempts")["data"]
    assert (first["outcome"], second["outcome"]) == ("lost", None)
    assert first["finished_at"] - killed < float(SHORT["TUNEYARD_LEASE_SECONDS"])
