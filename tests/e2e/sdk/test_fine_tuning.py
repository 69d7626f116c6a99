"""The whole loop by the unmodified SDK: upload, fine-tune, watch, pause, resume, use."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.e2e.conftest import Platform, wait_until
from tests.e2e.sdk.conftest import upload, wait_for
from tests.e2e.shop import pairs, write_jsonl

PAGE = Path(__file__).resolve().parents[3] / "docs/api/fine-tuning.md"
LONG = {"learning_rate": 1e-2, "database": "shop", "early_stopping": False, "save_steps": 5}


def epochs(number: int) -> dict[str, Any]:
    hyperparameters = {"n_epochs": number, "batch_size": 4}
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def chat(path: Path, count: int) -> Path:
    """Conversations in OpenAI's training format."""
    return write_jsonl(
        path,
        [
            {
                "messages": [
                    {"role": "system", "content": "Answer with one SQL query."},
                    {"role": "user", "content": pair["question"]},
                    {"role": "assistant", "content": pair["sql"]},
                ]
            }
            for pair in pairs(count)
        ],
    )


@pytest.fixture(scope="module")
def validated(sdk: OpenAI, tmp_path_factory: pytest.TempPathFactory) -> FineTuningJob:
    """A tuning on conversations with a validation file of their own, all defaults beside it."""
    folder = tmp_path_factory.mktemp("chat")
    job = sdk.fine_tuning.jobs.create(
        model="tiny",
        training_file=upload(sdk, chat(folder / "train.jsonl", 24)),
        validation_file=upload(sdk, chat(folder / "validation.jsonl", 6)),
        suffix="Chat 对话",
        seed=11,
        metadata={"team": "sdk"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    )
    assert job.status == "validating_files"
    return wait_for(sdk, job.id)


def test_a_tuned_model_is_named_as_openai_names_it(validated: FineTuningJob) -> None:
    assert validated.status == "succeeded", validated.error
    assert validated.fine_tuned_model == f"ft:tiny:default:chat:{validated.id}"
    assert validated.trained_tokens and validated.trained_tokens > 0
    assert validated.finished_at and validated.finished_at >= validated.created_at
    assert (validated.seed, validated.metadata) == (11, {"team": "sdk"})
    assert validated.error is None


def test_auto_came_to_values_and_what_was_asked_stays(validated: FineTuningJob) -> None:
    assert validated.hyperparameters.n_epochs == 2
    assert validated.hyperparameters.batch_size == 16
    assert validated.hyperparameters.learning_rate_multiplier == 1.0
    assert validated.method and validated.method.supervised
    of_method = validated.method.supervised.hyperparameters
    assert of_method and of_method.model_dump() == validated.hyperparameters.model_dump()
    assert validated.resolved["learning_rate"] > 0  # type: ignore[attr-defined]


def test_events_tell_metrics_and_messages_newest_first(
    sdk: OpenAI, validated: FineTuningJob
) -> None:
    events = list(sdk.fine_tuning.jobs.list_events(validated.id, limit=3))
    assert len({event.id for event in events}) == len(events) > 6
    assert [event.created_at for event in events] == sorted(
        (event.created_at for event in events), reverse=True
    )
    assert {event.level for event in events} <= {"info", "warn", "error"}
    assert events[-1].message == "The prepare job is queued."
    assert events[0].message == "The train job succeeded."
    metrics = [event.data for event in events if event.type == "metrics"]
    assert any("train_loss" in point for point in metrics)
    assert any({"valid_loss", "valid_mean_token_accuracy"} <= set(point) for point in metrics)


def test_the_curves_are_a_file_of_results(sdk: OpenAI, validated: FineTuningJob) -> None:
    [file_id] = validated.result_files
    assert sdk.files.retrieve(file_id).purpose == "fine-tune-results"
    first, *lines = sdk.files.content(file_id).text.splitlines()
    assert first.startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,")
    assert [line.split(",")[0] for line in lines] == ["1", "2", "3", "4"]
    for column in (3, 4):
        assert [bool(line.split(",")[column]) for line in lines] == [False, True, False, True]


def test_a_checkpoint_is_a_model(sdk: OpenAI, validated: FineTuningJob) -> None:
    checkpoints = list(sdk.fine_tuning.jobs.checkpoints.list(validated.id, limit=1))
    assert [one.step_number for one in checkpoints] == [4, 2]
    last = checkpoints[0]
    assert last.fine_tuning_job_id == validated.id
    assert last.fine_tuned_model_checkpoint == f"{validated.fine_tuned_model}:ckpt-step-4"
    assert last.metrics.train_loss and last.metrics.valid_loss
    for share in (last.metrics.train_mean_token_accuracy, last.metrics.valid_mean_token_accuracy):
        assert share is not None and 0 <= share <= 1
    found = sdk.models.retrieve(last.fine_tuned_model_checkpoint)
    assert found.id == last.fine_tuned_model_checkpoint


def test_the_tuned_model_answers_a_batch_of_questions(
    platform: Platform, sdk: OpenAI, tuned: FineTuningJob
) -> None:
    assert sdk.models.retrieve(tuned.fine_tuned_model or "").id
    job = platform.client.submit(
        "generate", model=tuned.fine_tuned_model, questions=["How many?"], max_new_tokens=4
    )
    assert platform.client.wait(job["id"])["status"] == "succeeded"


def test_a_tuning_goes_on_from_a_tuned_model(
    platform: Platform, sdk: OpenAI, tuned: FineTuningJob, training_file: str
) -> None:
    job = sdk.fine_tuning.jobs.create(
        model=tuned.fine_tuned_model or "",
        training_file=training_file,
        extra_body={"database": "shop"},
    )
    assert job.model == tuned.fine_tuned_model
    params = platform.client.get(f"/v1/jobs/{job.id}")["params"]
    assert params["continue_from"] == "sdk-tuned:1"
    assert sdk.fine_tuning.jobs.cancel(job.id).status == "cancelled"


def test_a_running_job_is_paused_resumed_watched_and_cancelled(
    platform: Platform, sdk: OpenAI, shop: dict[str, Any], training_file: str
) -> None:
    job = sdk.fine_tuning.jobs.create(
        model="tiny", training_file=training_file, method=epochs(50), extra_body=LONG
    )
    running = wait_for(sdk, job.id, "running")
    assert running.status == "running", running.error

    def steps() -> int:
        progress = sdk.fine_tuning.jobs.retrieve(job.id).progress  # type: ignore[attr-defined]
        return progress["step"] if progress else 0

    wait_until(lambda: steps() > 0, seconds=600)
    shown = sdk.fine_tuning.jobs.retrieve(job.id)
    assert shown.hyperparameters.n_epochs == 50
    assert shown.resolved["quantization"] == "8bit"  # type: ignore[attr-defined]
    sdk.fine_tuning.jobs.pause(job.id)
    paused = wait_for(sdk, job.id, "paused")
    assert paused.status == "paused", paused.error
    held_at = steps()
    assert sdk.fine_tuning.jobs.resume(job.id).status == "queued"
    wait_until(lambda: steps() > held_at, seconds=600)
    sdk.fine_tuning.jobs.cancel(job.id)
    cancelled = wait_for(sdk, job.id)
    assert (cancelled.status, cancelled.fine_tuned_model) == ("cancelled", None)
    attempts = platform.client.get(f"/v1/jobs/{job.id}/attempts")["data"]
    assert [one["outcome"] for one in attempts] == ["paused", "cancelled"]
    assert attempts[1]["resumed_from_step"] >= held_at


@pytest.mark.parametrize("param", ["training_file", "validation_file"])
def test_a_bad_file_ends_the_job_with_its_line_before_a_gpu_worker_is_asked(
    platform: Platform, sdk: OpenAI, training_file: str, tmp_path: Path, param: str
) -> None:
    good, bad = pairs(2), {"question": "no answer"}
    wrong = upload(sdk, write_jsonl(tmp_path / "bad.jsonl", [*good, bad]))
    files = {"training_file": training_file} | {param: wrong}
    job = sdk.fine_tuning.jobs.create(model="tiny", **files)
    failed = wait_for(sdk, job.id)
    assert failed.status == "failed"
    assert failed.error and (failed.error.param, failed.error.code) == (param, "missing_field")
    assert "Line 3" in failed.error.message
    assert failed.error.line == 3  # type: ignore[attr-defined]
    assert platform.client.get(f"/v1/jobs/{job.id}/attempts")["data"] == []


def test_lists_page_by_themselves_and_filter_by_metadata(
    sdk: OpenAI, validated: FineTuningJob, tuned: FineTuningJob
) -> None:
    ids = [job.id for job in sdk.fine_tuning.jobs.list(limit=1)]
    assert {validated.id, tuned.id} <= set(ids)
    assert ids == sorted(set(ids), reverse=True)
    assert [job.id for job in sdk.fine_tuning.jobs.list(metadata={"team": "sdk"})] == [validated.id]
    assert list(sdk.fine_tuning.jobs.list(metadata={"team": "none"})) == []


class Counting(httpx.HTTPTransport):
    """Counts what is really sent."""

    sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent += 1
        return super().handle_request(request)


def test_what_is_refused_is_not_tried_again(sdk: OpenAI, tuned: FineTuningJob) -> None:
    """Of itself the SDK sends a 409 or a 5xx twice more."""
    transport = Counting()
    patient = sdk.with_options(http_client=httpx.Client(transport=transport))
    for verb in ("cancel", "pause", "resume"):
        with pytest.raises(openai.BadRequestError) as refused:
            getattr(patient.fine_tuning.jobs, verb)(tuned.id)
        assert str(refused.value.code).startswith("job_not_")
        assert refused.value.request_id
    with pytest.raises(openai.NotFoundError):
        patient.fine_tuning.jobs.retrieve("job_nowhere")
    with pytest.raises(openai.BadRequestError) as refused:
        patient.fine_tuning.jobs.create(
            model="tiny", training_file="x", extra_body={"colour": "red"}
        )
    assert refused.value.param == "colour"
    assert transport.sent == 5


def test_a_create_that_is_sent_twice_makes_one_job(sdk: OpenAI, training_file: str) -> None:
    same = {"extra_headers": {"Idempotency-Key": "one-tuning"}}
    first, second = (
        sdk.fine_tuning.jobs.create(model="tiny", training_file=training_file, **same)
        for _ in range(2)
    )
    assert first == second
    sdk.fine_tuning.jobs.cancel(first.id)


def test_the_raw_response_has_the_request_id(sdk: OpenAI, tuned: FineTuningJob) -> None:
    raw = sdk.fine_tuning.jobs.with_raw_response.retrieve(tuned.id)
    assert raw.status_code == 200
    assert raw.headers["x-request-id"] == raw.request_id
    assert raw.parse() == sdk.fine_tuning.jobs.retrieve(tuned.id)


def test_the_async_client_runs_the_loop_too(
    async_sdk: AsyncOpenAI, training_file: str, shop: dict[str, Any]
) -> None:
    async def loop() -> tuple[FineTuningJob, list[str], list[str]]:
        async with async_sdk as client:
            job = await client.fine_tuning.jobs.create(
                model="tiny",
                training_file=training_file,
                method=epochs(1),
                extra_body={"database": "shop", "adapter": "async-sql"},
            )
            while job.status not in ("succeeded", "failed", "cancelled"):
                await asyncio.sleep(0.2)
                job = await client.fine_tuning.jobs.retrieve(job.id)
            kinds = [e.type async for e in client.fine_tuning.jobs.list_events(job.id, limit=5)]
            steps = client.fine_tuning.jobs.checkpoints.list(job.id)
            return job, kinds, [one.fine_tuned_model_checkpoint async for one in steps]

    job, kinds, checkpoints = asyncio.run(loop())
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model == f"ft:tiny:default:async-sql:{job.id}"
    assert {"message", "metrics"} == set(kinds)
    assert checkpoints


def test_events_stream_live_to_their_end(
    platform: Platform, sdk: OpenAI, training_file: str, shop: dict[str, Any]
) -> None:
    job = sdk.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        method=epochs(1),
        extra_body={"database": "shop"},
    )
    seen = []
    with httpx.stream(
        "GET",
        f"{platform.connection['base_url']}/v1/fine_tuning/jobs/{job.id}/events",
        headers={
            "authorization": f"Bearer {platform.connection['api_key']}",
            "accept": "text/event-stream",
        },
        timeout=120,
    ) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                seen.append(json.loads(line.removeprefix("data: ")))
            if line == "data: [DONE]":
                break
    assert sdk.fine_tuning.jobs.retrieve(job.id).status == "succeeded"
    told = [event.id for event in sdk.fine_tuning.jobs.list_events(job.id)][::-1]
    assert [event["id"] for event in seen] == told


def test_the_page_for_users_does_what_it_says(
    platform: Platform,
    shop: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its Python, with a model, a database and an address that are there."""
    write_jsonl(tmp_path / "pairs.jsonl", pairs(12))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.sleep", lambda seconds, sleep=time.sleep: sleep(0.2))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(block for block in blocks if "jobs.pause" not in block)
    there = {
        "http://127.0.0.1:8400": platform.connection["base_url"],
        '"ty-…"': repr(platform.connection["api_key"]),
        "qwen2.5-0.5b-instruct": "tiny",
        '"database": "sales"': '"database": "shop"',
    }
    for written, real in there.items():
        assert written in code
        code = code.replace(written, real)
    exec(compile(code, str(PAGE), "exec"), {})
    said = capsys.readouterr().out
    assert "ft:tiny:default:sales-sql:job_" in said
    assert "metrics Step 1/" in said and ":ckpt-step-" in said
