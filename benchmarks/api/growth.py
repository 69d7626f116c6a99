"""Goal 16: seconds and memory by size; rows in a file, lines of a batch, jobs in a list.

Linear at worst and memory flat is what is aimed at. Times are the least of a few: what disturbs
only adds. Memory is by how much the process that does the work grew at its peak.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import delete, insert, select

from benchmarks.api.bare import PROJECT
from benchmarks.api.memory import peak, reset_peak, resident
from benchmarks.api.servers import MODEL, Servers
from core.accounts.models import Project
from core.batches.results import fetch_input, write_files
from core.batches.validation import MOST_LINES
from core.db import get_database
from core.ids import new_id
from core.jobs.models import Job, JobEvent, ResultRow

ROWS = (1_000, 10_000, 100_000)
LINES = (1_000, 10_000, MOST_LINES)
JOBS = (100, 1_000, 10_000, 100_000)
TIMES = 3
PAGE = 100
AT_ONCE = 1_000
Points = list[dict[str, float]]


def grown(both: Servers, folder: Path) -> dict[str, Points]:
    """What grows: points {count, seconds, grown_bytes} each."""
    headers = {"authorization": f"Bearer {both.key}"}
    url = f"http://127.0.0.1:{both.ours}/v1"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=300) as client:
        return {
            "upload of a file, rows": list(_uploads(client, both.pid, folder)),
            "validation of a dataset, rows": list(_judged("dataset", ROWS, folder)),
            "validation of a batch, lines": list(_judged("batch", LINES, folder)),
            "output of a batch, lines": list(_outputs(client, folder)),
            "first page of a project's jobs": list(_pages(client, both.pid)),
        }


def _uploads(client: httpx.Client, pid: int, folder: Path) -> Iterator[dict[str, float]]:
    for count in ROWS:
        path = _file(folder, "dataset", count)

        def upload(path: Path = path) -> None:
            with path.open("rb") as file:
                form = {"data": {"purpose": "fine-tune"}, "files": {"file": (path.name, file)}}
                client.post("/files", **form).raise_for_status()

        yield {"count": count, **_measured(upload, pid)}


def _judged(kind: str, counts: tuple[int, ...], folder: Path) -> Iterator[dict[str, float]]:
    for count in counts:
        path = _file(folder, kind, count)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            command = [sys.executable, "-m", "benchmarks.api.validating", kind, str(path), work]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        yield {"count": count, **json.loads(told)}


def _outputs(client: httpx.Client, folder: Path) -> Iterator[dict[str, float]]:
    """The files of a batch whose every line was answered; the rows are put where a worker would."""
    for count in LINES:
        path = _file(folder, "batch", count)
        with path.open("rb") as file:
            form = {"data": {"purpose": "batch"}, "files": {"file": (path.name, file)}}
            given = client.post("/files", **form).raise_for_status().json()
        body = {"input_file_id": given["id"], "completion_window": "24h"}
        body["endpoint"] = "/v1/chat/completions"
        batch = client.post("/batches", json=body).raise_for_status().json()
        _answer(batch["id"], count)
        client.post(f"/batches/{batch['id']}/cancel").raise_for_status()

        def write(job_id: str = batch["id"]) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as made:
                with get_database().reading() as session:
                    job = session.get_one(Job, job_id)
                source = fetch_input(job, Path(made))
                with get_database().reading() as session:
                    written = write_files(session, job, Path(made), source)
                assert len(written.files) == 1  # no line without an answer

        yield {"count": count, **_measured(write, None)}


def _answer(job_id: str, count: int) -> None:
    body = {"id": "chatcmpl-1", "object": "chat.completion", "usage": None}
    body["usage"] = {"prompt_tokens": 240, "completion_tokens": 40}
    body["choices"] = [{"index": 0, "message": {"role": "assistant", "content": "SELECT 1 " * 15}}]
    response = {"status_code": 200, "request_id": "req_1", "body": body}
    with get_database().transaction() as session:
        for begin in range(0, count, AT_ONCE):
            rows = [
                {
                    "job_id": job_id,
                    "row": row,
                    "data": {
                        "id": f"batch_req_{row}",
                        "custom_id": f"line-{row}",
                        "response": response,
                        "error": None,
                    },
                }
                for row in range(begin, min(begin + AT_ONCE, count))
            ]
            session.execute(insert(ResultRow), rows)


def _pages(client: httpx.Client, pid: int) -> Iterator[dict[str, float]]:
    there = 0
    with get_database().transaction() as session:
        session.execute(delete(JobEvent))
        session.execute(delete(ResultRow))
        session.execute(delete(Job).where(Job.type != "prepare"))
    for count in JOBS:
        _add_jobs(count - there)
        there = count

        def page() -> None:
            found = client.get("/jobs", params={"limit": PAGE}).raise_for_status().json()
            assert len(found["data"]) == PAGE

        yield {"count": count, **_measured(page, pid)}


def _add_jobs(count: int) -> None:
    """Jobs that wait, as a customer's queue that has grown."""
    with get_database().transaction() as session:
        project = session.scalars(select(Project.id).where(Project.name == PROJECT)).one()
        for begin in range(0, count, AT_ONCE):
            rows = [
                {
                    "id": new_id("job"),
                    "project_id": project,
                    "type": "generate",
                    "queue": "gpu",
                    "status": "queued",
                    "params": {"model": MODEL["name"], "questions": [{"id": "1", "question": "?"}]},
                    "time_limit_seconds": 3600.0,
                }
                for _ in range(min(AT_ONCE, count - begin))
            ]
            session.execute(insert(Job), rows)


def _measured(work: Callable[[], None], pid: int | None) -> dict[str, float]:
    """The least seconds of a few runs, and the growth of the process in the last: by then it has
    what it keeps for good."""
    seconds = []
    for _ in range(TIMES):
        before = resident(pid)
        reset_peak(pid)
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return {"seconds": min(seconds), "grown_bytes": max(0, peak(pid) - before)}


def _file(folder: Path, kind: str, count: int) -> Path:
    """Made once: `count` right lines, a third of them Chinese."""
    path = folder / f"{kind}-{count}.jsonl"
    if not path.exists():
        line = {"dataset": _example, "batch": _request}[kind]
        with path.open("w", encoding="utf-8") as file:
            for number in range(count):
                file.write(json.dumps(line(number), ensure_ascii=False) + "\n")
    return path


def _example(number: int) -> dict[str, Any]:
    asked = f"客户 {number} 买了什么?" if number % 3 == 0 else f"What did customer {number} buy?"
    return {"instruction": asked, "output": f"SELECT * FROM orders WHERE customer = {number}"}


def _request(number: int) -> dict[str, Any]:
    asked = {"role": "user", "content": _example(number)["instruction"]}
    return {
        "custom_id": f"line-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": MODEL["name"], "messages": [asked], "max_tokens": 64},
    }
