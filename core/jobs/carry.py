"""What a job takes over from an earlier one: finished rows, curves and checkpoints.

A checkpoint is taken over as a row that points to the same files: they are deleted when no row
points to them any more (`records.drop_old_checkpoints`). Knows no job type.
"""

from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from core.errors import InvalidInput, NotFound
from core.ids import new_id
from core.jobs.models import Checkpoint, Job, Metric, ResultRow
from core.jobs.transitions import add_event


def carry_over(session: Session, old: Job, new: Job) -> None:
    """Give `new` all that `old` left and that is of use."""
    _copy(session, ResultRow, old.id, new.id, {"row": ResultRow.row, "data": ResultRow.data})
    columns = {
        "step": Metric.step,
        "values": Metric.values,
        "token": literal(0),
        "created_at": Metric.created_at,
    }
    _copy(session, Metric, old.id, new.id, columns)
    mine = set(
        session.scalars(select(Checkpoint.storage_key).where(Checkpoint.job_id == new.id)).all()
    )
    # Locked: whoever drops one of these at this moment sees afterwards that a row points to it.
    left = select(Checkpoint).where(Checkpoint.job_id == old.id, Checkpoint.rejected.is_(None))
    kept = session.scalars(left.order_by(Checkpoint.step).with_for_update()).all()
    for one in kept:
        if one.storage_key not in mine:
            attach(session, one, new.id)
    message = f"It goes on where job {old.id} ended."
    add_event(session, new.id, message, data={"retry_of": old.id, "checkpoints": len(kept)})


def _copy(session: Session, table: type, old_id: str, new_id: str, columns: dict) -> None:
    chosen = select(literal(new_id), *columns.values()).where(table.job_id == old_id)
    session.execute(insert(table).from_select(["job_id", *columns], chosen))


def attach(session: Session, checkpoint: Checkpoint, job_id: str) -> None:
    """Let a job begin from a checkpoint of another."""
    columns = ("step", "storage_key", "manifest", "metrics", "bytes")
    values = {name: getattr(checkpoint, name) for name in columns}
    # Token 0: no attempt of this job made it.
    session.add(Checkpoint(id=new_id("ckpt"), job_id=job_id, token=0, **values))


def find_checkpoint(session: Session, project_id: str, checkpoint_id: str) -> Checkpoint:
    """A usable checkpoint of the project, locked, so that it stays until the transaction ends."""
    found = session.scalar(
        select(Checkpoint)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Checkpoint.id == checkpoint_id, Job.project_id == project_id)
        .with_for_update(of=Checkpoint)
    )
    if found is None:
        raise NotFound(
            f"There is no checkpoint '{checkpoint_id}' in this project (older ones are dropped); "
            "GET /v1/jobs/{id}/checkpoints lists those of a job.",
            param="continue_from",
        )
    if found.rejected is not None:
        raise InvalidInput(
            f"The checkpoint '{checkpoint_id}' is damaged ({found.rejected}); take another one.",
            param="continue_from",
        )
    return found
