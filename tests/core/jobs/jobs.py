"""Jobs put straight into the database: what these tests need of a submit, without its inputs."""

from sqlalchemy.orm import Session

from core.fleet.service import Node, register
from core.ids import new_id
from core.jobs.models import Job


def add_job(session: Session, project_id: str, *, type: str = "merge", **values: object) -> Job:
    job = Job(
        id=new_id("job"),
        project_id=project_id,
        type=type,
        queue=values.pop("queue", "gpu"),
        status=values.pop("status", "queued"),
        params=values.pop("params", {}),
        time_limit_seconds=3600,
        **values,
    )
    session.add(job)
    session.flush()
    return job


def add_worker(session: Session, name: str, *, queue: str = "gpu", slots: int = 1) -> None:
    node = Node(
        id=name,
        queue=queue,
        device="cpu",
        slots=slots,
        memory_bytes=8 * 1024**3,
        models=[],
        versions={},
    )
    register(session, node)
