"""One of every thing that a project can own, put straight into the database."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.accounts.models import Project
from core.accounts.service import create_key
from core.adapters.aliases import move
from core.adapters.service import add_version
from core.artifacts.models import Artifact
from core.basemodels.models import MergedModel
from core.batches import service as batches
from core.batches.validation import Verdict
from core.databases.models import TargetDatabase
from core.datasets.models import Dataset
from core.files.models import File
from core.finetuning.order import Order
from core.jobs.models import Job, JobEvent, ResultRow
from core.uploads import service as uploads
from core.webhooks import endpoints, outbox
from core.webhooks.events import EVENT_TYPES
from core.webhooks.models import WebhookDelivery


def own_one_of_each(session: Session, project: Project) -> dict[str, str]:
    """The path parameters of the API with an id of this project for each; base model `tiny`."""
    mine = {"project_id": project.id}
    file = File(
        id="file_1",
        purpose="batch",
        filename="q.jsonl",
        bytes=1,
        sha256="0" * 64,
        storage_key="f",
        **mine,
    )
    database = TargetDatabase(
        id="db_1",
        name="shop",
        dialect="sqlite",
        storage_key="d",
        bytes=1,
        schema={"tables": [], "dialect": "sqlite"},
        **mine,
    )
    session.add_all([file, database])
    session.flush()
    dataset = Dataset(
        id="ds_1",
        name="pairs",
        status="ready",
        kind="sql",
        file_id=file.id,
        storage_key="s",
        job_id="job_1",
        **mine,
    )
    job = Job(
        id="job_1",
        type="train",
        queue="gpu",
        status="running",
        params={},
        time_limit_seconds=1,
        **mine,
    )
    evaluation = Job(
        id="job_2",
        type="evaluate",
        queue="gpu",
        status="queued",
        params={"model": "theirs:1", "dataset": "pairs", "split": "test"},
        time_limit_seconds=1,
        **mine,
    )
    merge = Job(
        id="job_3",
        type="merge",
        queue="gpu",
        status="queued",
        params={"adapter": "theirs:1", "precision": "fp32", "name": None},
        time_limit_seconds=1,
        **mine,
    )
    tuning = Job(
        id="job_5",
        type="train",
        queue="gpu",
        status="queued",
        params={"model": "tiny", "dataset": "ds_1", "adapter": "theirs", "seed": 42},
        time_limit_seconds=1,
        surface="fine_tuning",
        request=Order(model="tiny", training_file=file.id).to_say_again(),
        **mine,
    )
    batch = Job(
        id="job_6",
        type="generate",
        queue="gpu",
        status="queued",
        params={"model": "tiny", "file": file.id},
        time_limit_seconds=1,
        surface="batch",
        request=batches.Order(file.id, "/v1/sql", "24h", {}).to_say_again(Verdict(total=1)),
        expires_at=1,
        **mine,
    )
    session.add_all([dataset, job, evaluation, merge, tuning, batch])
    session.flush()
    session.add_all(
        [
            JobEvent(job_id=job.id, level="info", message="secret", data={}),
            ResultRow(job_id=job.id, row=0, data={"sql": "secret"}),
            Artifact(
                id="art_1", job_id=job.id, path="a", storage_key="a", bytes=1, sha256="0", **mine
            ),
        ]
    )
    version = add_version(
        session,
        project.id,
        "theirs",
        base_model="tiny",
        dataset_id=dataset.id,
        job_id=job.id,
        storage_key="v",
        bytes=1,
        settings={},
        metrics={},
    )
    session.add(
        MergedModel(
            id="mm_1",
            name="merged",
            base_model="tiny",
            adapter_version_id=version.id,
            job_id=job.id,
            storage_key="m",
            precision="fp32",
            parity={},
            **mine,
        )
    )
    move(session, version.adapter, "production", version)
    upload = uploads.create(
        session, project.id, filename="a", purpose="batch", mime_type="text/plain", bytes=1
    )
    endpoint = endpoints.create(
        session, project.id, name="hook", url="https://example.com/", events=list(EVENT_TYPES)
    )
    outbox.tell(session, project.id, "batch.completed", "job_1")
    key, _ = create_key(session, project, name="key")
    session.flush()
    return {
        "key_id": key.id,
        "project_id": project.id,
        "webhook_endpoint_id": endpoint.id,
        "delivery_id": session.scalars(select(WebhookDelivery.id)).one(),
        "file_id": "file_1",
        "upload_id": upload.id,
        "database_id": "db_1",
        "dataset_id": "ds_1",
        "job_id": "job_1",
        "artifact_id": "art_1",
        "address": "theirs:1",
        "name": "theirs",
        "alias": "production",
        "evaluation_id": "job_2",
        "merge_id": "job_3",
        "batch_id": "job_6",
        "fine_tuning_job_id": "job_5",
        "model": "merged",
    }
