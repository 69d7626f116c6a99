"""What stands before every route: the key before the body, bounds, ids, headers."""

import re
import resource
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from core.db import get_database
from core.settings import get_settings
from tests.api.conftest import make_key
from tests.api.process import api_process
from tests.api.served import api_on_a_port
from tests.faults.rig import wait_until

PREPARE = {"type": "prepare", "params": {"name": "d", "file": "file_none"}}


def begin_post(base_url: str, path: str, *lines: str) -> bytes:
    """Send the head of a POST and a little of its body, and read what comes back at once."""
    parts = urlsplit(base_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", '{"type":'])
        connection.sendall(head.encode())
        return connection.recv(4096)


def test_who_has_no_key_is_refused_before_the_body_is_read(data_dir) -> None:
    size = f"Content-Length: {200 * 1024**2}"
    with api_process(data_dir) as api:
        for path in ("/v1/jobs", "/v1/files", "/v1/nowhere"):
            kind = "Content-Type: multipart/form-data; boundary=x"
            said = begin_post(api.base_url, path, size, kind, "Authorization: Bearer ty-wrong")
            assert said.startswith(b"HTTP/1.1 401"), said
        key = f"Authorization: Bearer {make_key('ours', 'admin')}"
        said = begin_post(api.base_url, "/v1/jobs", size, "Content-Type: application/json", key)
        assert said.startswith(b"HTTP/1.1 413"), said


def test_a_body_without_a_length_is_bounded_too(client: TestClient) -> None:
    def pieces():
        for _ in range(12):
            yield b" " * 1024**2

    for path in ("/v1/jobs", "/v1/databases/d/query"):
        answer = client.post(path, content=pieces(), headers={"content-type": "application/json"})
        assert answer.status_code == 413, path
        assert "10 MiB" in answer.json()["error"]["message"]
    form = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/jobs", content=pieces(), headers=form)
    assert answer.status_code == 413, "a form is none where no file is taken"


def test_the_bound_is_a_setting(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_settings(), "max_body_bytes", 20)
    answer = client.post("/v1/jobs", json=PREPARE)
    assert answer.status_code == 413
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_an_upload_is_not_held_to_the_bound_of_a_body(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_settings(), "max_body_bytes", 20)
    line = b'{"question": "?", "sql": "SELECT 1"}\n'
    files = {"file": ("a.jsonl", line)}
    answer = client.post("/v1/files", files=files, data={"purpose": "batch"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("length", ["-1", "x", "²", "9" * 5000])
def test_an_odd_content_length_is_no_500(client: TestClient, length: str) -> None:
    headers = {"content-length": length.encode()}
    answer = client.post("/v1/jobs", content=b"{}", headers=headers)
    assert answer.status_code in (400, 413)


def test_a_line_break_in_a_path_makes_no_line_of_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="api.access")
    client.get("/v1/jobs/作业%0A2026-01-01%20INFO%20forged%ED%A0%80")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "api.access"]
    assert "作业\\n2026-01-01 INFO forged" in line
    assert "\n" not in line


def test_every_answer_bears_an_id_and_safe_headers(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("unexpected")

    seen = []
    for path in ("/v1/jobs", "/v1/nowhere", "/nowhere", "/health/live", "/docs"):
        seen.append(client.get(path))
    monkeypatch.setattr(get_database(), "reading", broken)
    seen.append(client.get("/v1/jobs"))
    assert seen[-1].status_code == 500
    assert len({answer.headers["x-request-id"] for answer in seen}) == len(seen)
    for answer in seen:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
    assert seen[0].headers["cache-control"] == "no-store"


def test_the_log_lines_of_a_request_bear_its_id(data_dir, database) -> None:
    key = make_key("ours", "admin")
    with api_process(data_dir) as api:
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx.get(f"{api.base_url}/v1/jobs/job_none?secret=1", headers=headers)
        refused = httpx.get(f"{api.base_url}/v1/jobs")
        lines = [
            rf"\[{answer.headers['x-request-id']} proj_\w+\] GET /v1/jobs/job_none 404",
            rf"\[{refused.headers['x-request-id']}\] GET /v1/jobs 401",
        ]

        def log() -> str:
            return api.log.read_text(encoding="utf-8")

        # A line is written when the answer is out.
        wait_until(lambda: all(re.search(line, log()) for line in lines), what=log)
    assert key not in log()


def test_an_upload_that_fills_the_disk_is_a_503_and_leaves_nothing(data_dir) -> None:
    line = b'{"question": "' + b"x" * 500 + b'", "sql": "SELECT 1"}\n'
    file = {"file": ("a.jsonl", line * 30_000)}  # 16 MB
    headers = {"authorization": f"Bearer {make_key('ours', 'admin')}"}
    with api_process(data_dir) as api:

        def upload() -> httpx.Response:
            url, form = f"{api.base_url}/v1/files", {"purpose": "batch"}
            return httpx.post(url, files=file, data=form, headers=headers, timeout=60)

        _, most = resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE, (8 * 1024**2, most))
        full = upload()
        assert (full.status_code, full.json()["error"]["code"]) == (503, "disk_full")
        assert full.headers["retry-after"] == "60"
        assert list((data_dir / "uploads").iterdir()) == []
        resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE, (most, most))
        assert upload().status_code == 200


def test_a_client_that_leaves_in_the_middle_of_its_upload_is_no_error(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="api.access")
    head = (
        "POST /v1/files HTTP/1.1\r\nHost: here\r\n"
        f"Authorization: Bearer {make_key('ours', 'admin')}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{'
    )

    def told() -> list[str]:
        return [line.getMessage() for line in caplog.records if line.name == "api.access"]

    with api_on_a_port() as url:
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port)) as connection:
            connection.sendall(head.encode())
            wait_until(lambda: list((data_dir / "uploads").glob("*")), what=lambda: "no upload")
        wait_until(told, what=lambda: caplog.text)
    assert told()[0].startswith("POST /v1/files 499")
    assert not any(line.name.startswith("api.errors") for line in caplog.records), caplog.text
    assert list((data_dir / "uploads").iterdir()) == []
