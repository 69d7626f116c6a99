"""Adapters, artifacts and workers, as they are shown."""

import hashlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.artifacts.models import Artifact
from core.db import get_database
from core.storage import get_storage
from tests.api.belongings import own_one_of_each
from tests.core.jobs.jobs import add_worker


@pytest.fixture
def ids(client: TestClient) -> dict[str, str]:
    with get_database().transaction() as session:
        return own_one_of_each(session, ensure_project(session, "ours"))


def test_an_adapter_is_shown_with_its_versions_and_a_version_with_its_lineage(
    client: TestClient, ids: dict[str, str]
) -> None:
    adapter = client.get("/v1/adapters/theirs").json()
    assert adapter["latest"] == "theirs:1"
    assert [version["address"] for version in adapter["versions"]] == ["theirs:1"]
    version = client.get("/v1/adapters/theirs:1").json()
    assert (version["base_model"], version["dataset"], version["job"]) == ("tiny", "ds_1", "job_1")
    assert [artifact["id"] for artifact in version["artifacts"]] == ["art_1"]


@pytest.mark.parametrize("address", ["theirs:2", "theirs:0", "theirs:x", "nobody"])
def test_an_adapter_or_version_that_is_not_there_is_a_404(
    client: TestClient, ids: dict[str, str], address: str
) -> None:
    assert client.get(f"/v1/adapters/{address}").status_code == 404


def test_an_artifacts_content_is_its_bytes_under_its_hash(
    client: TestClient, ids: dict[str, str], tmp_path: Path
) -> None:
    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / "weights").write_bytes(content)
    get_storage().put(tmp_path / "weights", "a")
    with get_database().transaction() as session:
        artifact = session.get_one(Artifact, "art_1")
        artifact.path, artifact.bytes, artifact.sha256 = "权重.bin", len(content), digest
    answer = client.get("/v1/artifacts/art_1/content")
    assert answer.content == content
    assert answer.headers["etag"] == f'"{digest}"'
    assert "%E6%9D%83%E9%87%8D.bin" in answer.headers["content-disposition"]


def test_workers_are_shown_with_what_they_can_do(client: TestClient) -> None:
    with get_database().transaction() as session:
        add_worker(session, "gpu0@host")
    [worker] = client.get("/v1/workers").json()["data"]
    assert (worker["id"], worker["queue"], worker["slots"]) == ("gpu0@host", "gpu", 1)
