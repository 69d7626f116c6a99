"""A backup is taken while the platform works, and a new platform is started from it.

By the commands of docs/operations.md: first the database, then the storage.
"""

import hashlib
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.client import Client
from tests.e2e.conftest import upload_shop
from tests.e2e.shop import pairs, write_jsonl
from tests.faults.rig import Rig, rig, wait_until
from tests.servers import new_postgres_database, postgres_programs

SHORT_TRAIN = {"model": "tiny", "dataset": "shop-pairs", "epochs": 1, "adapter": "sales"}
LONG_TRAIN = {
    "model": "tiny",
    "dataset": "shop-pairs",
    "epochs": 200,
    "save_steps": 5,
    "early_stopping": False,
}


@contextmanager
def uploads(platform: Rig, folder: Path) -> Iterator[list[str]]:
    """Clients that upload without a pause; yields the ids of what was accepted so far."""
    accepted: list[str] = []
    stop = threading.Event()
    file = write_jsonl(folder / "load.jsonl", pairs(30))

    def upload(number: int) -> None:
        client, count = Client(platform.base_url, platform.key), 0
        while not stop.is_set():
            count += 1
            made = client.upload("/v1/datasets", file, name=f"load-{number}-{count}")
            accepted.append(made["job"])
            stop.wait(0.2)
        client.close()

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield accepted
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def back_up(url: str, storage: Path, into: Path) -> None:
    """As docs/operations.md says it: the database first, then what its rows point to."""
    into.mkdir()
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.execute("VACUUM INTO ?", (str(into / "tuneyard.db"),))
        connection.close()
    else:
        dump = [str(postgres_programs() / "pg_dump"), "--format=custom", "--file"]
        subprocess.run([*dump, str(into / "tuneyard.dump"), url], check=True)
    # Not checked: a checkpoint that is rotated away meanwhile is a file that vanishes.
    (into / "storage").mkdir()
    copy = ["cp", "-a", f"{storage}/.", str(into / "storage")]
    subprocess.run(copy, stderr=subprocess.DEVNULL)


def restore(kind: str, backup: Path, folder: Path, server: str) -> str:
    """The database's new URL; the storage is in its place."""
    folder.mkdir()
    shutil.move(backup / "storage", folder / "storage")
    if kind == "sqlite":
        shutil.move(backup / "tuneyard.db", folder / "tuneyard.db")
        return f"sqlite:///{folder / 'tuneyard.db'}"
    url = new_postgres_database(server)
    command = [str(postgres_programs() / "pg_restore"), "--exit-on-error", "--no-owner"]
    subprocess.run([*command, "--dbname", url, str(backup / "tuneyard.dump")], check=True)
    return url


def sha256_of(platform: Rig, artifact: dict[str, Any]) -> str:
    headers = {"authorization": f"Bearer {platform.key}"}
    url = f"{platform.base_url}/v1/artifacts/{artifact['id']}/content"
    return hashlib.sha256(httpx.get(url, headers=headers).content).hexdigest()


@pytest.mark.chaos
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_backup_taken_under_load_starts_elsewhere_with_all_that_was_there(
    kind: str, tmp_path: Path, model_dir: Path, valkey_url: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres_server_url") if kind == "postgresql" else ""
    url = new_postgres_database(server) if server else f"sqlite:///{tmp_path}/tuneyard.db"
    first, storage = tmp_path / "first", tmp_path / "storage"
    places = {"database_url": url, "storage_url": f"file://{storage}"}
    with rig(first, broker_url=valkey_url, model_dir=model_dir, **places) as platform:
        upload_shop(platform.client, tmp_path)
        trained = platform.client.submit("train", **SHORT_TRAIN)
        platform.client.wait(trained["id"])
        running = platform.client.submit("train", **LONG_TRAIN)["id"]
        platform.wait_event(running, "Checkpoint at step", seconds=120)
        with uploads(platform, tmp_path) as accepted:
            wait_until(lambda: len(accepted) > 4)
            before = list(accepted)
            back_up(url, storage, tmp_path / "backup")
            wait_until(lambda: len(accepted) > len(before) + 2)  # it worked on meanwhile
        version = platform.client.get("/v1/adapters/sales:1")
    shutil.rmtree(storage)

    second = tmp_path / "second"
    url = restore(kind, tmp_path / "backup", second, server)
    places = {"database_url": url, "storage_url": f"file://{second}/storage"}
    with rig(tmp_path / "third", broker_url=valkey_url, model_dir=model_dir, **places) as platform:
        client = platform.client
        assert client.get("/v1/datasets/shop-pairs")["status"] == "ready"
        found = client.get("/v1/adapters/sales:1")
        assert found == version
        assert [sha256_of(platform, one) for one in found["artifacts"]] == [
            one["sha256"] for one in version["artifacts"]
        ]
        for job_id in [trained["id"], *before]:
            platform.wait_status(job_id, "succeeded", seconds=180)
        # What ran in that moment was given back when its lease lapsed, and goes on where it was.
        platform.wait_event(running, "was not heard of", seconds=120)
        wait_until(
            lambda: any(one["resumed_from_step"] for one in platform.attempts(running)),
            seconds=180,
            what=lambda: platform.events(running),
        )
        client.post(f"/v1/jobs/{running}/cancel", {})
        platform.wait_status(running, "cancelled", seconds=120)
