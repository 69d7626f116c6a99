"""Every POST that creates takes an Idempotency-Key, and is carried out once under one."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from core.accounts.service import ensure_project
from core.adapters.aliases import move
from core.adapters.service import add_version
from core.datasets.models import Dataset
from core.db import get_database
from core.ids import new_id
from tests.api.belongings import own_one_of_each
from tests.api.conftest import make_key
from tests.api.document import v1_routes
from tests.core.jobs.jobs import add_job
from tests.e2e.shop import build_shop

LINE = b'{"question": "How many?", "sql": "SELECT 1"}\n'
CHAT = (
    b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": '
    b'{"model": "tiny", "messages": [{"role": "user", "content": "?"}]}}\n'
)
NO_CREATION = {
    *("cancel", "pause", "resume", "revoke", "refresh", "redeliver", "rotate_secret", "test"),
    *("query", "sql", "completions", "estimates"),
    *("{project_id}", "{webhook_endpoint_id}"),
}
"""The last part of the paths of other POSTs: they change what is there, or answer a question."""


@dataclass(frozen=True)
class Request:
    """A POST that creates: JSON, or a form with a file."""

    path: str
    json: Any = None
    form: dict[str, str] = field(default_factory=dict)
    file: tuple[str, bytes] | None = None
    part: str = "file"

    def send(self, client: TestClient, key: str | None = None) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        if self.file is None:
            return client.post(self.path, json=self.json, headers=headers)
        files = {self.part: self.file}
        return client.post(self.path, data=self.form, files=files, headers=headers)


Pair = tuple[Request, Request]
"""One that can be carried out, and another one for the same route."""


@pytest.fixture
def operator(client: TestClient) -> TestClient:
    """An administrator of project `default`, which owns one of everything."""
    client.headers["authorization"] = f"Bearer {make_key('default', 'admin')}"
    with get_database().transaction() as session:
        own_one_of_each(session, ensure_project(session, "default"))
        splits = {"train": 8, "validation": 1, "test": 1}
        session.execute(update(Dataset).values(splits=splits))
    return client


def of_json(path: str, **body: Any) -> Callable[[TestClient, Path], Pair]:
    """`name` alone differs, where there is one, else what is called `other`."""
    other = body.pop("other")
    return lambda *_: (Request(path, body), Request(path, body | other))


def upload(client: TestClient, purpose: str, content: bytes = LINE) -> str:
    form = {"files": {"file": ("a.jsonl", content)}, "data": {"purpose": purpose}}
    answer = client.post("/v1/files", **form)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def file(client: TestClient, folder: Path) -> Pair:
    form = {"purpose": "batch"}
    first, other = (Request("/v1/files", form=form, file=("a", LINE * n)) for n in (1, 2))
    return first, other


def dataset(client: TestClient, folder: Path) -> Pair:
    names = [new_id("name").replace("_", "-") for _ in range(2)]
    first, other = (
        Request("/v1/datasets", form={"name": name}, file=("a.jsonl", LINE)) for name in names
    )
    return first, other


def database(client: TestClient, folder: Path) -> Pair:
    content = build_shop(folder / f"{new_id('shop')}.sqlite").read_bytes()
    names = [new_id("name").replace("_", "-") for _ in range(2)]
    first, other = (
        Request("/v1/databases", form={"name": name}, file=("shop.sqlite", content))
        for name in names
    )
    return first, other


def announced(client: TestClient, size: int) -> str:
    body = {"filename": "a.jsonl", "purpose": "batch", "bytes": size, "mime_type": "text/jsonl"}
    return client.post("/v1/uploads", json=body).json()["id"]


def part(client: TestClient, folder: Path) -> Pair:
    path = f"/v1/uploads/{announced(client, 2 * len(LINE))}/parts"
    first, other = (Request(path, file=("p", LINE * n), part="data") for n in (1, 2))
    return first, other


def completion(client: TestClient, folder: Path) -> Pair:
    path = f"/v1/uploads/{announced(client, len(LINE))}"
    sent = Request(f"{path}/parts", file=("p", LINE), part="data").send(client).json()
    body = {"part_ids": [sent["id"]]}
    other = body | {"md5": "0" * 32}
    return Request(f"{path}/complete", body), Request(f"{path}/complete", other)


def prepare(client: TestClient, folder: Path) -> Pair:
    params = {"name": new_id("name").replace("_", "-"), "file": upload(client, "fine-tune")}
    body = {"type": "prepare", "params": params}
    return Request("/v1/jobs", body), Request("/v1/jobs", body | {"priority": 1})


def retry(client: TestClient, folder: Path) -> Pair:
    paths = []
    for _ in range(2):
        job = prepare(client, folder)[0].send(client).json()
        client.post(f"/v1/jobs/{job['id']}/cancel")
        paths.append(f"/v1/jobs/{job['id']}/retry")
    return Request(paths[0]), Request(paths[1])


def rollback(client: TestClient, folder: Path) -> Pair:
    """Of two aliases that were moved once each since they were made."""
    names = [new_id("alias").replace("_", "-") for _ in range(2)]
    with get_database().transaction() as session:
        project_id = ensure_project(session, "default").id
        newer = add_version(
            session,
            project_id,
            "theirs",
            base_model="tiny",
            dataset_id="ds_1",
            job_id=add_job(session, project_id, status="succeeded").id,
            storage_key="v",
            bytes=1,
            settings={},
            metrics={},
        )
        older = newer.adapter.versions[0]
        for name in names:
            for version in (older, newer):
                move(session, newer.adapter, name, version)
    first, other = (Request(f"/v1/adapters/theirs/aliases/{name}/rollback") for name in names)
    return first, other


def tuning(client: TestClient, folder: Path) -> Pair:
    body = {"model": "tiny", "training_file": upload(client, "fine-tune")}
    path = "/v1/fine_tuning/jobs"
    return Request(path, body), Request(path, body | {"seed": 7})


def batch(client: TestClient, folder: Path) -> Pair:
    body = {
        "input_file_id": upload(client, "batch", CHAT),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    return Request("/v1/batches", body), Request("/v1/batches", body | {"metadata": {"a": "b"}})


def project(client: TestClient, folder: Path) -> Pair:
    names = [new_id("name").replace("_", "-") for _ in range(2)]
    first, other = (Request("/v1/projects", {"name": name}) for name in names)
    return first, other


def key(client: TestClient, folder: Path) -> Pair:
    first, other = (Request("/v1/keys", {"name": name, "scopes": ["read"]}) for name in "ab")
    return first, other


CREATIONS: dict[str, Callable[[TestClient, Path], Pair]] = {
    "/v1/files": file,
    "/v1/uploads": of_json(
        "/v1/uploads",
        filename="a.jsonl",
        purpose="batch",
        bytes=10,
        mime_type="text/jsonl",
        other={"bytes": 11},
    ),
    "/v1/uploads/{upload_id}/parts": part,
    "/v1/uploads/{upload_id}/complete": completion,
    "/v1/databases": database,
    "/v1/datasets": dataset,
    "/v1/jobs": prepare,
    "/v1/jobs/{job_id}/retry": retry,
    "/v1/fine_tuning/jobs": tuning,
    "/v1/batches": batch,
    "/v1/evaluations": of_json(
        "/v1/evaluations", model="tiny", dataset="pairs", split="test", other={"limit": 1}
    ),
    "/v1/merges": of_json("/v1/merges", adapter="theirs:1", name="made", other={"name": "another"}),
    "/v1/adapters/{name}/aliases/{alias}/rollback": rollback,
    "/v1/keys": key,
    "/v1/projects": project,
    "/v1/webhook_endpoints": of_json(
        "/v1/webhook_endpoints",
        name="h",
        url="https://example.com/",
        event_types=["batch.failed"],
        other={"name": "i"},
    ),
}
SECRETS = ("secret", "signing_secret")


def without_secrets(body: Any) -> Any:
    """As a repeated answer has it: what was shown once is not shown again."""
    if not isinstance(body, dict):
        return body
    return {
        name: None if name in SECRETS else without_secrets(value) for name, value in body.items()
    }


def test_every_post_that_creates_takes_a_key(client: TestClient) -> None:
    posts = [route for route in v1_routes(client.app) if route.method == "POST"]
    assert {route.path for route in posts if route.creates} == set(CREATIONS)
    others = {route.path.rpartition("/")[2] for route in posts if not route.creates}
    assert others <= NO_CREATION


def test_the_same_again_gets_the_same_answer_and_another_is_refused(
    operator: TestClient, tmp_path: Path
) -> None:
    for path, make in CREATIONS.items():
        first, other = make(operator, tmp_path)
        done = first.send(operator, path)
        assert done.status_code in (200, 201, 202), f"{path}: {done.text}"
        again = first.send(operator, path)
        assert again.status_code == done.status_code, f"{path}: {again.text}"
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == without_secrets(done.json())
        refused = other.send(operator, path)
        assert refused.status_code == 409, f"{path}: {refused.text}"
        assert refused.json()["error"]["code"] == "idempotency_key_reused"
        assert refused.headers["x-should-retry"] == "false"


def test_of_two_at_once_one_is_carried_out(operator: TestClient, tmp_path: Path) -> None:
    for path, make in CREATIONS.items():
        request, _ = make(operator, tmp_path)
        start = threading.Barrier(2)

        def send(request: Request = request, start: threading.Barrier = start) -> httpx.Response:
            start.wait()
            return request.send(operator, f"two:{request.path}")

        with ThreadPoolExecutor(2) as pool:
            answers = [one.result() for one in [pool.submit(send) for _ in range(2)]]
        codes = sorted(answer.status_code for answer in answers)
        assert codes[0] in (200, 201, 202), f"{path}: {[one.text for one in answers]}"
        assert codes[1] in (codes[0], 409), f"{path}: {[one.text for one in answers]}"
        bodies = [without_secrets(one.json()) for one in answers if one.status_code == codes[0]]
        assert all(body == bodies[0] for body in bodies), path
