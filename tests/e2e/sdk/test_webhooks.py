"""Webhooks by the openai SDK: made, changed, tried out, and what comes is taken by `unwrap`."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types.webhooks import WebhookEndpointWithSecret

from tests.core.webhooks.receiver import Receiver, receiver

SECONDS = 60


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


@pytest.fixture
def endpoint(sdk: OpenAI, hook: Receiver) -> Iterator[WebhookEndpointWithSecret]:
    made = sdk.webhooks.create(
        name="sdk",
        url=hook.url,
        event_types=["fine_tuning.job.cancelled", "fine_tuning.job.failed"],
    )
    yield made
    sdk.webhooks.delete(made.id)
    with pytest.raises(NotFoundError):
        sdk.webhooks.retrieve(made.id)


def unwrapped(sdk: OpenAI, hook: Receiver, secret: str) -> Any:
    """The next event that comes, if its signature is good."""
    assert hook.arrived.acquire(timeout=SECONDS)
    _, headers, body = hook.requests.pop(0)
    return sdk.webhooks.unwrap(body, headers, secret=secret)


def test_an_endpoint_lives_its_life(
    sdk: OpenAI, hook: Receiver, endpoint: WebhookEndpointWithSecret
) -> None:
    assert [one.id for one in sdk.webhooks.list(limit=1)][0] == endpoint.id
    changed = sdk.webhooks.update(endpoint.id, name="renamed")
    assert (changed.name, changed.url) == ("renamed", hook.url)
    assert "batch.completed" in sdk.webhooks.event_types.list().data
    new = sdk.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    result = sdk.webhooks.test(endpoint.id, event_type="batch.completed")
    assert (result.status_code, result.success) == (200, True)
    assert hook.arrived.acquire(timeout=SECONDS)
    _, headers, body = hook.requests.pop(0)
    for secret in (endpoint.signing_secret, new.signing_secret):
        assert sdk.webhooks.unwrap(body, headers, secret=secret).type == "batch.completed"


def test_a_cancelled_job_is_told(
    sdk: OpenAI, hook: Receiver, endpoint: WebhookEndpointWithSecret, training_file: str
) -> None:
    job = sdk.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    sdk.fine_tuning.jobs.cancel(job.id)
    event = unwrapped(sdk, hook, endpoint.signing_secret)
    assert event.type == "fine_tuning.job.cancelled"
    assert sdk.fine_tuning.jobs.retrieve(event.data.id).status == "cancelled"
    assert event.data.id == job.id


def test_a_url_of_no_use_is_refused_at_once(sdk: OpenAI) -> None:
    with pytest.raises(BadRequestError) as refused:
        sdk.webhooks.create(name="x", url="ftp://x/", event_types=["batch.failed"])
    assert refused.value.param == "url"


async def in_turn(client: AsyncOpenAI) -> list[str]:
    async with client:
        return [one.id async for one in client.webhooks.list(limit=1)]


def test_the_async_client_pages_through_them(
    async_sdk: AsyncOpenAI, endpoint: WebhookEndpointWithSecret
) -> None:
    assert endpoint.id in asyncio.run(in_turn(async_sdk))
