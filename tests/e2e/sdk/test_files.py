"""Files and uploads with the `openai` package: as its users write it, sync and async."""

import asyncio
import hashlib
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.e2e.conftest import Platform
from tests.e2e.sdk.conftest import address

LINES = b"".join(b'{"question": "q%d", "sql": "SELECT %d"}\n' % (n, n) for n in range(500))
DAY = 24 * 3600


@pytest.fixture(scope="module")
def notes(sdk: OpenAI) -> list[str]:
    """Ids of five files of one purpose, oldest first."""
    return [
        sdk.files.create(file=(f"笔记{n}.txt", b"\x00%d" % n), purpose="assistants").id
        for n in range(5)
    ]


def test_a_file_from_upload_to_deletion(sdk: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "问题.jsonl"
    path.write_bytes(LINES)
    file = sdk.files.create(file=path, purpose="batch")
    assert (file.object, file.filename, file.bytes) == ("file", "问题.jsonl", len(LINES))
    assert file.expires_at == file.created_at + 30 * DAY
    assert sdk.files.wait_for_processing(file.id, poll_interval=0.1).status == "processed"
    assert sdk.files.retrieve(file.id) == file
    assert sdk.files.content(file.id).read() == LINES
    assert sdk.files.content(file.id).text == LINES.decode()
    done = sdk.files.delete(file.id)
    assert (done.id, done.object, done.deleted) == (file.id, "file", True)
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(file.id)


def test_the_same_asynchronously(async_sdk: AsyncOpenAI) -> None:
    async def use() -> None:
        async with async_sdk as client:
            after = {"anchor": "created_at", "seconds": 3600}
            file = await client.files.create(
                file=("a.jsonl", LINES), purpose="fine-tune", expires_after=after
            )
            assert file.expires_at == file.created_at + 3600
            assert await client.files.retrieve(file.id) == file
            assert (await client.files.content(file.id)).read() == LINES
            assert (await client.files.delete(file.id)).deleted

    asyncio.run(use())


def test_a_list_goes_on_by_itself_from_page_to_page(sdk: OpenAI, notes: list[str]) -> None:
    page = sdk.files.list(purpose="assistants", limit=2)
    assert [file.id for file in page.data] == notes[:2:-1]
    assert page.has_next_page()
    assert [file.id for file in page.get_next_page().data] == notes[2:0:-1]
    assert [file.id for file in page] == notes[::-1]
    assert [file.id for file in sdk.files.list(purpose="assistants", order="asc")] == notes


def test_a_list_goes_on_asynchronously_too(async_sdk: AsyncOpenAI, notes: list[str]) -> None:
    async def collect() -> list[str]:
        async with async_sdk as client:
            listed = client.files.list(purpose="assistants", limit=2, order="asc")
            return [file.id async for file in listed]

    assert asyncio.run(collect()) == notes


def test_content_is_streamed(sdk: OpenAI) -> None:
    content = bytes(range(256)) * 12_000  # 3 MB
    file = sdk.files.create(file=("photo.png", content), purpose="vision")
    with sdk.files.with_streaming_response.content(file.id) as response:
        assert response.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
        assert b"".join(response.iter_bytes(64 * 1024)) == content


def test_a_raw_response_bears_the_requests_id(sdk: OpenAI, notes: list[str]) -> None:
    raw = sdk.files.with_raw_response.retrieve(notes[0])
    assert raw.status_code == 200
    file = raw.parse()
    assert file.filename == "笔记0.txt"
    assert raw.headers["x-request-id"] == file._request_id


def test_a_refusal_says_what_is_wrong_and_is_not_tried_again(sdk: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.files.create(file=("a.jsonl", b"\xff\xfe not text"), purpose="fine-tune")
    error = caught.value
    assert (error.code, error.param, error.type) == ("utf16", "file", "invalid_request_error")
    assert "UTF-8" in error.message
    assert error.request_id
    # The SDK counts its tries in a header of the request.
    assert error.request.headers["x-stainless-retry-count"] == "0"


def test_a_file_in_use_is_a_refusal_that_is_not_tried_again(
    sdk: OpenAI, platform: Platform
) -> None:
    file = sdk.files.create(file=("a.jsonl", LINES), purpose="fine-tune")
    job = platform.client.submit("prepare", name="sdk-in-use", file=file.id)
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.files.delete(file.id)
    assert caught.value.code == "file_in_use"
    assert job["id"] in caught.value.message
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"
    platform.client.wait(job["id"])
    assert sdk.files.delete(file.id).deleted
    assert platform.client.get("/v1/datasets/sdk-in-use")["status"] == "ready", "it has its own"


def test_a_wrong_key_is_an_authentication_error(platform: Platform) -> None:
    with (
        OpenAI(**address(platform) | {"api_key": "ty-wrong"}) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.files.list()
    assert caught.value.code == "invalid_api_key"


def test_the_same_upload_under_one_key_makes_one_file(sdk: OpenAI) -> None:
    key = {"Idempotency-Key": "sdk-files-once"}
    make = {"file": ("once.jsonl", LINES), "purpose": "evals", "extra_headers": key}
    first, second = sdk.files.create(**make), sdk.files.create(**make)
    assert first == second
    with pytest.raises(openai.ConflictError) as caught:
        sdk.files.create(**make | {"purpose": "batch"})
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"


# -- uploads ---------------------------------------------------------------------------------------


def test_parts_become_a_file(sdk: OpenAI) -> None:
    upload = sdk.uploads.create(
        bytes=len(LINES), filename="parts.jsonl", mime_type="application/jsonl", purpose="batch"
    )
    assert (upload.status, upload.expires_at) == ("pending", upload.created_at + 3600)
    pieces = [LINES[start : start + 5000] for start in range(0, len(LINES), 5000)]
    parts = [sdk.uploads.parts.create(upload.id, data=piece).id for piece in reversed(pieces)]
    done = sdk.uploads.complete(upload.id, part_ids=parts[::-1], md5=hashlib.md5(LINES).hexdigest())
    assert (done.status, done.file.object, done.file.bytes) == ("completed", "file", len(LINES))
    assert sdk.files.content(done.file.id).read() == LINES


def test_the_sdk_cuts_a_file_into_parts_itself(sdk: OpenAI, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(LINES)
    done = sdk.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="fine-tune", part_size=4096
    )
    assert done.file.filename == "long.jsonl"
    assert sdk.files.content(done.file.id).read() == LINES


def test_parts_come_side_by_side(async_sdk: AsyncOpenAI) -> None:
    async def use() -> bytes:
        async with async_sdk as client:
            upload = await client.uploads.create(
                bytes=len(LINES), filename="a.bin", mime_type="text/plain", purpose="user_data"
            )
            pieces = [LINES[start : start + 3000] for start in range(0, len(LINES), 3000)]
            adding = [client.uploads.parts.create(upload.id, data=piece) for piece in pieces]
            parts = await asyncio.gather(*adding)
            done = await client.uploads.complete(upload.id, part_ids=[part.id for part in parts])
            return (await client.files.content(done.file.id)).read()

    assert asyncio.run(use()) == LINES


def test_a_cancelled_upload_takes_no_part(sdk: OpenAI) -> None:
    upload = sdk.uploads.create(
        bytes=10, filename="a.bin", mime_type="text/plain", purpose="user_data"
    )
    sdk.uploads.parts.create(upload.id, data=b"hello")
    assert sdk.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.uploads.parts.create(upload.id, data=b"hello")
    assert caught.value.code == "upload_not_pending"
