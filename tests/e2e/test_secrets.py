"""A secret that is put everywhere is found nowhere: in no log, event, error or argument, not in
Flower, and in no row but the one that needs it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import psutil
import pytest

from cli.client import JobEnded
from tests.core.webhooks.receiver import Receiver, answering, receiver
from tests.e2e.conftest import METRICS_TOKEN, Platform, wait_until
from tests.e2e.test_flower import flower, wait_for_state

PASSWORD = "canary-of-a-target-database"
DSN = f"postgresql://reader:{PASSWORD}@127.0.0.1:1/shop"
TIMEOUT = 60


@pytest.fixture(scope="module")
def hook() -> Iterator[Receiver]:
    with receiver(answering(500)) as one:
        yield one


@pytest.fixture(scope="module")
def secrets(platform: Platform, shop: dict[str, Any], hook: Receiver) -> dict[str, str]:
    """Secrets by what they are, after each has been put wherever a caller can put something."""
    body = {"name": "canary", "scopes": ["write"]}
    key = platform.client.post("/v1/keys", body)["secret"]
    body = {"name": "h", "url": hook.url, "event_types": ["fine_tuning.job.failed"]}
    endpoint = platform.client.post("/v1/webhook_endpoints", body)
    found = {
        "an API key": key,
        "the operator's key": platform.connection["api_key"],
        "a signing secret": endpoint["signing_secret"],
        "a DSN's password": PASSWORD,
        "Flower's password": platform.connection["flower_password"],
        "the token of /metrics": METRICS_TOKEN,
    }
    for secret in (key, endpoint["signing_secret"], DSN):
        send_everywhere(platform, key, secret)
    # It has no shape of its own: it is known as a secret where it belongs alone.
    bearer = {"authorization": f"Bearer {METRICS_TOKEN}"}
    assert httpx.get(f"{platform.connection['base_url']}/metrics", headers=bearer).is_success
    fail_a_training(platform)
    assert hook.arrived.acquire(timeout=60), "the failure is told, and answered by 500"
    return found


def send_everywhere(platform: Platform, key: str, secret: str) -> None:
    base = platform.connection["base_url"]
    bearer = {"authorization": f"Bearer {key}"}
    odd = httpx.URL(base).copy_with(path=f"/v1/jobs/{secret}")
    with httpx.Client(timeout=TIMEOUT, headers=bearer, base_url=f"{base}/v1") as client:
        client.get(odd)
        client.get("/jobs", params={"after": secret, "type": secret})
        client.get("/jobs", headers={"authorization": f"Bearer {secret}x", "x-odd": secret})
        client.get(f"{base}/metrics", headers={"authorization": f"Bearer {secret}"})
        client.post("/jobs", content=f'{{"type": "{secret}", '.encode())
        client.post("/jobs", json={"type": "merge", "params": {"adapter": secret}})
        client.post("/jobs", json={"type": "merge", "params": {secret: 1}})
        client.post("/databases", json={"name": "canary", "dsn": secret})
        client.post("/webhook_endpoints", json={"name": secret, "url": secret, "event_types": []})
        named = {"file": (f"{secret}.jsonl".replace("/", "_"), b'{"question": "?"')}
        for path, form in (("/files", {"purpose": secret}), ("/datasets", {"name": secret})):
            client.post(path, files=named, data=form, headers={"Idempotency-Key": "canary"})


def fail_a_training(platform: Platform) -> None:
    job = platform.client.submit("train", model="tiny", dataset="shop-pairs", max_length=16)
    with suppress(JobEnded):
        platform.client.wait(job["id"])
    wait_for_state(platform, job["id"], "FAILURE")


def assert_none_in(text: str, where: str, secrets: dict[str, str]) -> None:
    found = [what for what, secret in secrets.items() if secret in text]
    assert found == [], f"{where} tells {found}"


@pytest.mark.fault(24)
def test_no_log_tells_a_secret_and_every_line_of_ours_is_json(
    platform: Platform, secrets: dict[str, str]
) -> None:
    logs = {path.stem: path for path in (platform.data_dir / "logs").glob("*.log")}
    assert {"api", "keeper", "beat", "gpu0", "cpu0", "flower"} <= logs.keys()
    for path in [*logs.values(), platform.data_dir / "up.log"]:
        text = path.read_text(encoding="utf-8")
        assert_none_in(text, path.name, secrets)
    api = [json.loads(line) for line in logs["api"].read_text(encoding="utf-8").splitlines()]
    asked = [line["data"]["path"] for line in api if line["logger"] == "api.access"]
    assert any("/v1/jobs/ty-" in path and path.endswith("***") for path in asked)
    worker = [json.loads(line) for line in logs["gpu0"].read_text(encoding="utf-8").splitlines()]
    begun = [line for line in worker if line["message"] == "an attempt of a train job begins"]
    assert all({"project", "job", "attempt"} <= line.keys() for line in begun)
    assert begun


@pytest.mark.fault(24)
def test_no_event_error_or_log_of_a_job_tells_a_secret(
    platform: Platform, secrets: dict[str, str]
) -> None:
    jobs = platform.client.get("/v1/jobs?limit=1000")["data"]
    assert_none_in(json.dumps([job["error"] for job in jobs]), "an error", secrets)
    for job in jobs:
        path = f"/v1/jobs/{job['id']}"
        for part in ("events", "attempts"):
            told = json.dumps(platform.client.get(f"{path}/{part}"), ensure_ascii=False)
            assert_none_in(told, part, secrets)


@pytest.mark.fault(24)
def test_flower_tells_no_secret(platform: Platform, secrets: dict[str, str]) -> None:
    for path in ("/api/tasks", "/api/workers", "/tasks", "/broker"):
        assert_none_in(flower(platform, path).text, f"Flower's {path}", secrets)


@pytest.mark.fault(24)
def test_no_process_has_a_secret_among_its_arguments(
    platform: Platform, secrets: dict[str, str]
) -> None:
    up = psutil.Process(platform.pids["up"])
    for process in [up, *up.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            assert_none_in(" ".join(process.cmdline()), process.name(), secrets)


@pytest.mark.fault(24)
def test_no_row_has_a_secret_but_the_one_that_signs_with_it(
    platform: Platform, secrets: dict[str, str]
) -> None:
    with closing(
        sqlite3.connect(f"file:{platform.data_dir / 'tuneyard.db'}?mode=ro", uri=True)
    ) as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        for table in tables:
            rows = str(db.execute(f'SELECT * FROM "{table}"').fetchall())
            signs = {} if table != "webhook_endpoints" else {"a signing secret"}
            others = {what: text for what, text in secrets.items() if what not in signs}
            assert_none_in(rows, table, others)


def test_what_was_not_taken_can_be_seen(platform: Platform, secrets: dict[str, str]) -> None:
    def tried() -> bool:
        (endpoint, *_) = platform.client.get("/v1/webhook_endpoints")["data"]
        path = f"/v1/webhook_endpoints/{endpoint['id']}/deliveries"
        return platform.client.get(path)["data"][0]["last_status_code"] == 500

    wait_until(tried, seconds=30)
