"""Models with the `openai` package: every name, a checkpoint that really answers, deletion."""

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.e2e.conftest import Platform

QUESTIONS = [f"客户 {n}?" for n in range(5)]


@pytest.fixture(scope="module")
def spare(platform: Platform, shop: dict[str, Any]) -> dict[str, Any]:
    """A training whose models may be deleted."""
    job = platform.client.submit(
        "train", model="tiny", dataset="shop-pairs", adapter="sdk-spare", epochs=1
    )
    return platform.client.wait(job["id"])


def answers(platform: Platform, model: str) -> list[dict[str, Any]]:
    """What a model says to QUESTIONS, and how it was asked."""
    job = platform.client.submit(
        "generate", model=model, database="shop", questions=QUESTIONS, max_new_tokens=12
    )
    done = platform.client.wait(job["id"])
    rows = platform.client.pages(f"/v1/jobs/{job['id']}/results")
    said = [row["data"] for row in rows]
    kept = ("answer", "sql", "prompt_tokens")
    return [{name: row[name] for name in kept} | {"as": done["result"]["prompt"]} for row in said]


def test_every_listed_model_is_retrieved_as_it_is_listed(sdk: OpenAI, tuned: FineTuningJob) -> None:
    listed = {model.id: model for model in sdk.models.list()}
    assert {"tiny", tuned.fine_tuned_model} < listed.keys()
    for name, model in listed.items():
        assert sdk.models.retrieve(name) == model
        assert (model.object, model.id) == ("model", name)
    assert listed["tiny"].owned_by == "operator"


def test_the_same_asynchronously(async_sdk: AsyncOpenAI, tuned: FineTuningJob) -> None:
    async def use() -> None:
        async with async_sdk as client:
            names = [model.id async for model in client.models.list()]
            assert tuned.fine_tuned_model in names
            model = await client.models.retrieve(tuned.fine_tuned_model)
            assert model.id == tuned.fine_tuned_model
            with pytest.raises(openai.NotFoundError):
                await client.models.delete("no/such:model")

    asyncio.run(use())


def test_a_raw_response_of_a_model(sdk: OpenAI) -> None:
    raw = sdk.models.with_raw_response.retrieve("tiny")
    assert raw.headers["x-request-id"]
    assert raw.parse().id == "tiny"


def test_a_checkpoint_answers_as_the_adapter_that_was_made_of_it(
    sdk: OpenAI, platform: Platform, tuned: FineTuningJob
) -> None:
    checkpoint = next(iter(sdk.fine_tuning.jobs.checkpoints.list(tuned.id)))
    name = checkpoint.fine_tuned_model_checkpoint
    assert name == f"{tuned.fine_tuned_model}:ckpt-step-{checkpoint.step_number}"
    model = sdk.models.retrieve(name)
    assert (model.id, model.kind, model.base_model) == (name, "checkpoint", "tiny")
    # After one epoch the last step is the best one, so both are the same weights.
    trained = platform.client.get(f"/v1/jobs/{tuned.id}")
    assert trained["result"]["best_step"] == checkpoint.step_number
    assert answers(platform, name) == answers(platform, tuned.fine_tuned_model)


def test_a_checkpoint_is_evaluated(
    platform: Platform, spare: dict[str, Any], shop: dict[str, Any]
) -> None:
    name = f"ft:tiny:default:sdk-spare:{spare['id']}:ckpt-step-{spare['result']['steps']}"
    job = platform.client.submit("evaluate", model=name, dataset="shop-pairs", max_new_tokens=8)
    done = platform.client.wait(job["id"])
    assert done["params"]["model"] == name
    assert done["result"]["prompt"] == spare["result"]["prompt"]


@pytest.mark.parametrize("name", ["nobody", "Qwen/Qwen2.5:v/1", "sdk-spare@production"])
def test_a_model_that_is_not_there_is_not_found(sdk: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.models.retrieve(name)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_base_model_is_not_the_customers(sdk: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        sdk.models.delete("tiny")


def test_a_model_in_use_stays_and_is_deleted_afterwards(
    sdk: OpenAI, platform: Platform, spare: dict[str, Any]
) -> None:
    address = spare["result"]["adapter"]
    tuned = f"ft:tiny:default:sdk-spare:{spare['id']}"
    job = platform.client.submit("generate", model=tuned, questions=QUESTIONS, max_new_tokens=4)
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.models.delete(address)
    assert caught.value.code == "model_in_use"
    assert job["id"] in caught.value.message
    platform.client.wait(job["id"])
    done = sdk.models.delete(tuned)
    assert (done.id, done.object, done.deleted) == (tuned, "model", True)
    for name in (address, tuned):
        with pytest.raises(openai.NotFoundError):
            sdk.models.retrieve(name)
    assert address not in {model.id for model in sdk.models.list()}
