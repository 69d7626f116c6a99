"""A training with its adapter and checkpoints, put straight into the database and the storage."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from core.adapters.models import AdapterAlias, AdapterVersion
from core.adapters.service import add_version
from core.artifacts.service import record_files
from core.basemodels.models import MergedModel
from core.basemodels.service import record_base
from core.datasets.models import Dataset
from core.db import Database
from core.files.models import File
from core.ids import new_id
from core.jobs.models import Checkpoint
from core.storage import StoredFile, get_storage
from tests.core.jobs.jobs import add_job

BASE = {"name": "lab/tiny", "parameters": 1, "architecture": "L", "context_length": 8}
WHOLE = [{"path": "adapter/prompt.json", "bytes": 1, "sha256": "0"}]


class Maker:
    """Makes rows of one project; each with a file under its key."""

    def __init__(self, session: Session, project_id: str, folder: Path) -> None:
        self.session, self.project_id, self.folder = session, project_id, folder

    def put(self, key: str, name: str) -> str:
        source = self.folder / "source"
        source.write_bytes(b"bytes")
        get_storage().put(source, f"{key}/{name}")
        return key

    def version(self, adapter: str = "sql") -> AdapterVersion:
        """A version of a training that has ended, with its files among the job's artifacts."""
        params = {"model": "lab/tiny", "dataset": "ds_1", "adapter": adapter}
        job = add_job(
            self.session, self.project_id, type="train", status="succeeded", params=params
        )
        home = f"projects/{self.project_id}/jobs/{job.id}/attempt-1/out"
        key = self.put(f"{home}/adapter", "adapter_model.safetensors")
        files = [StoredFile("adapter/adapter_model.safetensors", 5, "0")]
        record_files(self.session, self.project_id, job.id, home, files)
        return add_version(
            self.session,
            self.project_id,
            adapter,
            base_model="lab/tiny",
            dataset_id="ds_1",
            job_id=job.id,
            storage_key=key,
            bytes=5,
            settings={},
            metrics={},
        )

    def checkpoint(self, job_id: str, step: int, **values: object) -> Checkpoint:
        key = f"projects/{self.project_id}/jobs/{job_id}/attempt-1/checkpoints/step-{step}"
        row = {"token": 1, "manifest": WHOLE, "metrics": {}, "bytes": 1, "storage_key": key}
        one = Checkpoint(id=new_id("ckpt"), job_id=job_id, step=step, **row | values)
        self.put(one.storage_key, "adapter/prompt.json")
        self.session.add(one)
        self.session.flush()
        return one

    def alias(self, version: AdapterVersion, name: str) -> None:
        alias = {"project_id": self.project_id, "adapter_id": version.adapter_id}
        self.session.add(AdapterAlias(id=new_id("al"), name=name, version_id=version.id, **alias))
        self.session.flush()

    def merged(self, version: AdapterVersion, name: str) -> MergedModel:
        row = MergedModel(
            id=new_id("model"),
            project_id=self.project_id,
            name=name,
            base_model="lab/tiny",
            adapter_version_id=version.id,
            job_id=new_id("job"),
            storage_key=self.put(f"projects/{self.project_id}/jobs/{name}/model", "config.json"),
            precision="fp32",
            parity={},
        )
        self.session.add(row)
        self.session.flush()
        return row


Making = Callable[[Session], Maker]


@pytest.fixture
def making(database: Database, project_id: str, tmp_path: Path) -> Making:
    """What makes things within a transaction of the test's."""
    mine = {"project_id": project_id}
    file = {"purpose": "fine-tune", "filename": "x", "bytes": 1, "sha256": "x", "storage_key": "x"}
    with database.transaction() as session:
        record_base(session, BASE)
        session.add(File(id="file_1", **file, **mine))
        session.flush()
        session.add(Dataset(id="ds_1", name="d", status="ready", file_id="file_1", **mine))
    return lambda session: Maker(session, project_id, tmp_path)
