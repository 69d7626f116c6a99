"""Versions, aliases, lineage and download of adapters over HTTP."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from core.accounts.service import ensure_project
from core.adapters.service import add_version
from core.artifacts.models import Artifact
from core.basemodels.models import MergedModel
from core.datasets.models import Dataset
from core.db import get_database
from core.ids import new_id
from core.storage import get_storage
from tests.api.belongings import own_one_of_each
from tests.api.conftest import statements
from tests.core.evaluations.finished import add_evaluation

BAR = {"metric": "execution_accuracy", "at_least": 0.8}
PRODUCTION = "/v1/adapters/theirs/aliases/production"


@pytest.fixture
def ids(client: TestClient) -> dict[str, str]:
    """`theirs` with two versions; @production stands for the first."""
    with get_database().transaction() as session:
        project = ensure_project(session, "ours")
        ids = own_one_of_each(session, project)
        session.get_one(Dataset, "ds_1").splits = {"test": 4}
        add_version(
            session,
            project.id,
            "theirs",
            base_model="tiny",
            dataset_id="ds_1",
            job_id=new_id("job"),
            storage_key="v2",
            bytes=1,
            settings={},
            metrics={"train_loss": 0.5},
        )
        return ids | {"project": project.id}


def evaluated(ids: dict[str, str], model: str, *right: bool) -> str:
    with get_database().transaction() as session:
        return add_evaluation(session, ids["project"], model, right, dataset="pairs").id


def test_versions_come_newest_first_in_pages(client: TestClient, ids: dict[str, str]) -> None:
    page = client.get("/v1/adapters/theirs/versions", params={"limit": 1}).json()
    assert [row["address"] for row in page["data"]] == ["theirs:2"] and page["has_more"]
    after = {"after": page["last_id"]}
    rest = client.get("/v1/adapters/theirs/versions", params=after).json()
    assert [row["address"] for row in rest["data"]] == ["theirs:1"] and not rest["has_more"]


@pytest.mark.parametrize("version", [2, "2", "theirs:2"])
def test_an_alias_is_moved_by_number_or_address_and_is_a_model(
    client: TestClient, ids: dict[str, str], version: int | str
) -> None:
    moved = client.put(PRODUCTION, json={"version": version})
    assert moved.status_code == 200, moved.text
    assert (moved.json()["id"], moved.json()["version"]) == ("theirs@production", "theirs:2")
    assert client.get(PRODUCTION).json() == moved.json()
    listed = client.get("/v1/adapters/theirs/aliases").json()
    assert [row["id"] for row in listed["data"]] == ["theirs@production"]
    assert client.get("/v1/models/theirs%40production").status_code == 200


def test_a_bar_refuses_with_the_numbers_until_it_is_met(
    client: TestClient, ids: dict[str, str]
) -> None:
    wanted = {"version": 2, "bar": BAR}
    unknown = client.put(PRODUCTION, json=wanted)
    assert unknown.status_code == 400
    assert unknown.json()["error"]["code"] == "bar_not_met"
    assert "POST /v1/evaluations" in unknown.json()["error"]["message"]
    low = evaluated(ids, "theirs:2", True, True, True, False)
    refused = client.put(PRODUCTION, json=wanted).json()["error"]
    assert (refused["code"], refused["param"]) == ("bar_not_met", "version")
    assert all(part in refused["message"] for part in ("0.7500", "0.8000", low))
    assert client.get(PRODUCTION).json()["version"] == "theirs:1"
    met = evaluated(ids, "theirs:2", True, True, True, True)
    moved = client.put(PRODUCTION, json=wanted).json()
    assert moved["version"] == "theirs:2"
    assert moved["bar"] == BAR | {"split": "test"}
    [last, _] = client.get(f"{PRODUCTION}/history").json()["data"]
    assert (last["before"], last["version"], last["evaluation"]) == ("theirs:1", "theirs:2", met)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "version"),
        ({"version": 2, "bar": {}}, "bar"),
        ({"version": 2, "bar": {"at_least": 90}}, "bar.at_least"),
        ({"version": 2, "bar": {"at_least": 0.9, "metric": "beauty"}}, "bar.metric"),
        ({"version": 2, "bar": {"at_least": 0.9, "split": "dev"}}, "split"),
        ({"version": 2, "forced": True}, "forced"),
    ],
)
def test_a_body_that_asks_for_nothing_sensible_is_refused(
    client: TestClient, ids: dict[str, str], body: dict, param: str
) -> None:
    answer = client.put(PRODUCTION, json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


@pytest.mark.parametrize("version", [9, "theirs:9", "others:1", "nobody"])
def test_a_version_that_is_not_there_is_a_404(
    client: TestClient, ids: dict[str, str], version: int | str
) -> None:
    assert client.put(PRODUCTION, json={"version": version}).status_code == 404


def test_one_call_takes_the_last_move_back_and_repeated_under_one_key_no_other(
    client: TestClient, ids: dict[str, str]
) -> None:
    client.put(PRODUCTION, json={"version": 2})
    client.put(PRODUCTION, json={"version": 1})
    key = {"Idempotency-Key": "once"}
    first, again = (client.post(f"{PRODUCTION}/rollback", headers=key) for _ in range(2))
    assert first.json()["version"] == again.json()["version"] == "theirs:2"
    assert again.headers["idempotent-replayed"] == "true"
    assert client.post(f"{PRODUCTION}/rollback").json()["version"] == "theirs:1"
    refused = client.post(f"{PRODUCTION}/rollback")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "alias_not_rollbackable"
    moves = client.get(f"{PRODUCTION}/history").json()["data"]
    assert [move["rolled_back"] for move in moves] == [True, True, False]


def test_a_removed_alias_is_gone_and_its_version_is_not(
    client: TestClient, ids: dict[str, str]
) -> None:
    assert client.delete(PRODUCTION).json()["deleted"] is True
    assert client.get(PRODUCTION).status_code == client.delete(PRODUCTION).status_code == 404
    assert client.get("/v1/adapters/theirs:1").status_code == 200


def test_lineage_names_all_that_a_version_came_from_and_what_came_of_it(
    client: TestClient, ids: dict[str, str]
) -> None:
    evaluation = evaluated(ids, "theirs:1", True, False, True, True)
    with get_database().transaction() as session:
        session.get_one(MergedModel, "mm_1").parity = {"max_logit_difference": 1e-5}
    lineage = client.get("/v1/adapters/theirs:1/lineage").json()
    assert lineage["version"]["address"] == "theirs:1"
    assert lineage["base_model"]["name"] == "tiny" and lineage["base_model"]["licence"] == "none"
    assert (lineage["dataset"]["id"], lineage["dataset"]["name"]) == ("ds_1", "pairs")
    assert lineage["job"] == "job_1"
    summaries = {one["id"]: one["summary"] for one in lineage["evaluations"]}
    assert summaries[evaluation]["execution_accuracy"]["value"] == 0.75
    assert [one["name"] for one in lineage["merged"]] == ["merged"]
    assert lineage["aliases"] == ["theirs@production"]


def test_a_download_is_the_peft_files_under_their_sums(
    client: TestClient, ids: dict[str, str], tmp_path: Path
) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"w" * 3_000_000}
    with get_database().transaction() as session:
        for name, content in files.items():
            (tmp_path / "file").write_bytes(content)
            get_storage().put(tmp_path / "file", f"v/{name}")
            session.add(
                Artifact(
                    id=new_id("art"),
                    project_id=ids["project"],
                    job_id="job_1",
                    path=f"adapter/{name}",
                    storage_key=f"v/{name}",
                    bytes=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                )
            )
    answer = client.get("/v1/adapters/theirs%3A1/download")
    assert answer.headers["content-type"] == "application/zip"
    assert "theirs-v1.zip" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {name: archive.read(name) for name in files} == files
        assert set(archive.namelist()) == {*files, "SHA256SUMS"}  # not the job's other file
    get_storage().delete("v/adapter_config.json")
    gone = client.get("/v1/adapters/theirs:1/download")
    assert gone.status_code == 404 and "adapter_config.json" in gone.json()["error"]["message"]


def test_a_list_of_adapters_asks_no_more_for_many_than_for_one(
    client: TestClient, ids: dict[str, str]
) -> None:
    with get_database().transaction() as session:
        for name in ("a", "b", "c"):
            add_version(
                session,
                ids["project"],
                name,
                base_model="tiny",
                dataset_id="ds_1",
                job_id=new_id("job"),
                storage_key=name,
                bytes=1,
                settings={},
                metrics={},
            )

    def asked(limit: int) -> int:
        with statements() as seen:
            rows = client.get("/v1/adapters", params={"limit": limit}).json()["data"]
        assert len(rows) == limit and all(row["versions"] for row in rows)
        return len(seen)

    asked(1)  # the key, which was not used before, is noted
    assert asked(4) == asked(1)
