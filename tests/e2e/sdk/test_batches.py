"""The real SDK makes batches, watches them, stops them and reads their files."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from openai.types import Batch

from tests.e2e.conftest import Platform, wait_until
from tests.e2e.sdk.conftest import upload

CHAT = "/v1/chat/completions"
SQL = "/v1/sql"
ENDED = ("completed", "failed", "expired", "cancelled")


def chat(custom_id: str, content: str = "How many shops?", **asked: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    body = {"model": "tiny", "messages": messages, "max_tokens": 4, **asked}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def sql(custom_id: str, question: str) -> dict[str, Any]:
    body = {"model": "tiny", "database": "shop", "question": question, "max_tokens": 8}
    return {"custom_id": custom_id, "method": "POST", "url": SQL, "body": body}


def file_of(folder: Path, lines: list[Any]) -> Path:
    path = folder / "batch.jsonl"
    texts = (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in lines)
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def make(
    sdk: OpenAI, folder: Path, lines: list[Any], endpoint: Any = CHAT, **options: Any
) -> Batch:
    file_id = upload(sdk, file_of(folder, lines), "batch")
    return sdk.batches.create(
        input_file_id=file_id, endpoint=endpoint, completion_window="24h", **options
    )


def when(sdk: OpenAI, batch: Batch, arrived: Any) -> Batch:
    """The batch as soon as it is as wanted."""
    seen: list[Batch] = []

    def look() -> bool:
        seen.append(sdk.batches.retrieve(batch.id))
        return arrived(seen[-1])

    wait_until(look, seconds=120)
    return seen[-1]


def ended(batch: Batch) -> bool:
    return batch.status in ENDED


def lines_of(sdk: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in sdk.files.content(file_id).text.splitlines()]


def test_a_batch_of_chat_requests_is_answered_in_its_order(sdk: OpenAI, tmp_path: Path) -> None:
    lines = [chat("a"), chat("two", n=2), chat("长", "问 " * 3000), chat("客", "有多少家店？")]
    batch = make(sdk, tmp_path, lines, metadata={"team": "数据"})
    assert (batch.object, batch.endpoint, batch.metadata) == ("batch", CHAT, {"team": "数据"})
    batch = when(sdk, batch, ended)
    assert batch.status == "completed", batch
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (4, 3, 1)
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
    good = lines_of(sdk, batch.output_file_id)
    assert [line["custom_id"] for line in good] == ["a", "two", "客"]
    for line in good:
        body = line["response"]["body"]
        assert (line["response"]["status_code"], line["error"]) == (200, None)
        assert (body["object"], body["model"]) == ("chat.completion", "tiny")
    assert len(good[1]["response"]["body"]["choices"]) == 2
    [bad] = lines_of(sdk, batch.error_file_id)
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("长", 400)
    assert bad["response"]["body"]["error"]["code"] == "context_length_exceeded"
    used = [line["response"]["body"]["usage"]["total_tokens"] for line in good]
    assert batch.usage.total_tokens == sum(used)
    file = sdk.files.retrieve(batch.output_file_id)
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")


def test_a_batch_of_questions_is_answered_with_sql(
    sdk: OpenAI, shop: dict[str, Any], tmp_path: Path
) -> None:
    lines = [sql("q1", "How many customers?"), sql("q2", "有多少客户？")]
    batch = when(sdk, make(sdk, tmp_path, lines, SQL), ended)
    assert batch.status == "completed", batch
    found = lines_of(sdk, batch.output_file_id)
    assert [line["custom_id"] for line in found] == ["q1", "q2"]
    for line in found:
        body = line["response"]["body"]
        assert (body["object"], body["database"]) == ("sql.answer", "shop")
        assert {"question", "sql", "parses", "executes", "error"} <= set(body)
    assert batch.error_file_id is None


def test_bad_lines_are_named_and_nobody_works_on_them(sdk: OpenAI, tmp_path: Path) -> None:
    lines = [chat("a"), "broken", chat("a"), chat("s", stream=True), chat("m", model="other")]
    batch = make(sdk, tmp_path, lines)
    assert batch.status == "failed"
    assert [(error.line, error.code) for error in batch.errors.data] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "streaming_unsupported"),
        (5, "model_mismatch"),
    ]
    assert batch.in_progress_at is None
    assert sdk.batches.retrieve(batch.id).status == "failed"


def test_a_cancelled_batch_keeps_what_it_has(sdk: OpenAI, tmp_path: Path) -> None:
    total = 3000
    lines = [chat(f"line-{n}", f"How many in {n}?", max_tokens=48) for n in range(total)]
    batch = make(sdk, tmp_path, lines)
    batch = when(sdk, batch, lambda one: one.request_counts.completed > 0)
    assert (batch.status, batch.request_counts.total) == ("in_progress", total)
    stopping = sdk.batches.cancel(batch.id)
    assert stopping.status == "cancelling"
    batch = when(sdk, batch, ended)
    assert batch.status == "cancelled"
    assert batch.cancelling_at <= batch.cancelled_at
    good, rest = (lines_of(sdk, one) for one in (batch.output_file_id, batch.error_file_id))
    assert 0 < len(good) < total
    assert len(good) + len(rest) == total
    assert (batch.request_counts.completed, batch.request_counts.failed) == (len(good), len(rest))
    assert {line["error"]["code"] for line in rest} == {"batch_cancelled"}
    names = {line["custom_id"] for line in (*good, *rest)}
    assert names == {f"line-{n}" for n in range(total)}, "each line in one of the files, once"
    with pytest.raises(BadRequestError) as refused:
        sdk.batches.cancel(batch.id)
    assert refused.value.code == "batch_not_cancellable"


def test_a_batch_whose_window_is_over_keeps_what_it_has(
    sdk: OpenAI, platform: Platform, tmp_path: Path
) -> None:
    total = 3000
    lines = [chat(f"line-{n}", f"How many in {n}?", max_tokens=48) for n in range(total)]
    batch = make(sdk, tmp_path, lines)
    batch = when(sdk, batch, lambda one: one.request_counts.completed > 0)
    with closing(sqlite3.connect(platform.data_dir / "tuneyard.db", timeout=30)) as record:
        record.execute("UPDATE jobs SET expires_at = created_at WHERE id = ?", [batch.id])
        record.commit()
    batch = when(sdk, batch, ended)
    assert batch.status == "expired"
    assert batch.expired_at is not None
    good, rest = (lines_of(sdk, one) for one in (batch.output_file_id, batch.error_file_id))
    assert 0 < len(good) < total
    assert len(good) + len(rest) == total
    assert {line["error"]["code"] for line in rest} == {"batch_expired"}


def test_pages_of_batches_are_walked_by_the_sdk(sdk: OpenAI, tmp_path: Path) -> None:
    made = [make(sdk, tmp_path, ["broken"]).id for _ in range(3)]
    found = [batch.id for batch in sdk.batches.list(limit=2)]
    assert found[:3] == made[::-1]
    assert len(found) == len(set(found))
    with pytest.raises(NotFoundError):
        sdk.batches.retrieve("job_none")


def test_the_async_client_does_the_same(async_sdk: AsyncOpenAI, tmp_path: Path) -> None:
    path = file_of(tmp_path, [chat("a"), chat("b")])

    async def whole() -> tuple[Batch, str]:
        async with async_sdk as sdk:
            file = await sdk.files.create(file=path, purpose="batch")
            batch = await sdk.batches.create(
                input_file_id=file.id,
                endpoint=CHAT,
                completion_window="24h",
                output_expires_after={"anchor": "created_at", "seconds": 3600},
            )
            async with asyncio.timeout(120):
                while not ended(batch):
                    await asyncio.sleep(0.1)
                    batch = await sdk.batches.retrieve(batch.id)
            page = await sdk.batches.list(limit=1)
            assert page.data[0].id == batch.id
            output = await sdk.files.retrieve(batch.output_file_id)
            assert output.expires_at - output.created_at == 3600
            return batch, (await sdk.files.content(batch.output_file_id)).text

    batch, text = asyncio.run(whole())
    assert batch.status == "completed"
    assert [json.loads(line)["custom_id"] for line in text.splitlines()] == ["a", "b"]
