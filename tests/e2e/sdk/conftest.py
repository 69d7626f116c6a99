"""The real `openai` package, sync and async, as its users have it, against the real platform.

`platform` and `shop` are those of all end-to-end tests; `tuned` is a model that the SDK has made.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.e2e.conftest import Platform, wait_until
from tests.e2e.shop import pairs, write_jsonl

ENDED = ("succeeded", "failed", "cancelled")


def address(platform: Platform) -> dict[str, Any]:
    """What a client is told, and all that it is told: the rest is the SDK's own."""
    base_url = f"{platform.connection['base_url']}/v1"
    return {"base_url": base_url, "api_key": platform.connection["api_key"]}


@pytest.fixture(scope="session")
def sdk(platform: Platform) -> Iterator[OpenAI]:
    with OpenAI(**address(platform)) as client:
        yield client


@pytest.fixture
def async_sdk(platform: Platform) -> AsyncOpenAI:
    """Of one test: a client's connections belong to the event loop that made them."""
    return AsyncOpenAI(**address(platform))


@pytest.fixture(scope="session")
def training_file(sdk: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of an uploaded file of questions and SQL."""
    path = write_jsonl(tmp_path_factory.mktemp("sdk") / "pairs.jsonl", pairs())
    return upload(sdk, path)


@pytest.fixture(scope="session")
def tuned(sdk: OpenAI, shop: dict[str, Any], training_file: str) -> FineTuningJob:
    """A fine-tuning job that succeeded: `tuned.fine_tuned_model` names its model."""
    job = sdk.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        suffix="sdk-tuned",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
        extra_body={"database": "shop", "learning_rate": 1e-2},
    )
    job = wait_for(sdk, job.id)
    assert job.status == "succeeded", job.error
    return job


def upload(sdk: OpenAI, path: Path, purpose: str = "fine-tune") -> str:
    """The id of the file that `path` becomes."""
    with path.open("rb") as stream:
        return sdk.files.create(file=stream, purpose=purpose).id


def wait_for(sdk: OpenAI, job_id: str, *statuses: str) -> FineTuningJob:
    """The fine-tuning job once it has one of these statuses, or has ended."""
    seen: list[FineTuningJob] = []

    def arrived() -> bool:
        seen.append(sdk.fine_tuning.jobs.retrieve(job_id))
        return seen[-1].status in (*statuses, *ENDED)

    wait_until(arrived, seconds=600)  # a busy machine; pytest has a bound of its own
    return seen[-1]
