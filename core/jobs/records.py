"""What a running job leaves behind and what is read of it: progress, curves, rows, checkpoints.

Writes are fenced by the claim; reads are pages. Knows no job type.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Text, cast, delete, func, select, update
from sqlalchemy.orm import Session

from core.db import storable, upsert
from core.ids import new_id
from core.jobs.claims import Claim, hold
from core.jobs.models import Attempt, Checkpoint, LogChunk, Metric, ResultRow
from core.jobs.transitions import add_event
from core.jobs.uses import asked_checkpoints
from core.redaction import redact
from core.storage import StoredFile

MAX_LOG_CHUNKS = 500
MOST_LOG = 8 * 1024**2
"""Characters of one answer; a job of many attempts has many times as many."""
CUT = "[older lines are left out: these are the newest 8 MiB]\n"
CHUNKS_AT_ONCE = 10
ROWS_AT_ONCE = 100
MOST_AT_ONCE = 4 * 1024**2
"""Characters of those rows; one that is longer is read alone."""
SIZES_AT_ONCE = 1000
# Counted by the database.
ROW_CHARACTERS = func.length(cast(ResultRow.data, Text))
# What an attempt has saved, the next one need not do: those that bring nothing are counted anew.
BROUGHT_SOMETHING = {"barren_attempts": 0, "retries": 0}


@dataclass
class Report:
    """What a runner said since the last write: at most one of these a second is written."""

    progress: dict[str, Any] | None = None
    resolved: dict[str, Any] | None = None
    metrics: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    log: str = ""

    def __bool__(self) -> bool:
        return any(vars(self).values())


def write_report(session: Session, held: Claim, report: Report, *, log_seq: int) -> None:
    """Write all of a report in one transaction, or raise `LostClaim`."""
    values: dict[str, Any] = {}
    if report.progress:
        values["progress"] = report.progress
    if report.resolved:
        values["result"] = {"resolved": report.resolved}
    if report.rows:
        values |= BROUGHT_SOMETHING
    hold(session, held, **values)
    for event in report.events:
        add_event(session, held.job_id, **event)
    _write_metrics(session, held, report.metrics)
    upsert(
        session,
        ResultRow,
        [{"job_id": held.job_id, "row": row, "data": data} for row, data in report.rows.items()],
    )
    if report.log:
        _append_log(session, held, storable(redact(report.log)), log_seq)


def _write_metrics(session: Session, held: Claim, metrics: dict[int, dict[str, Any]]) -> None:
    """A step's loss and its validation loss may come in two reports: the second adds to the first.
    What an earlier attempt wrote is written over."""
    ours = select(Metric.step, Metric.values).where(
        Metric.job_id == held.job_id, Metric.token == held.token, Metric.step.in_(metrics)
    )
    before = {step: values for step, values in session.execute(ours)} if metrics else {}
    rows = [
        {"job_id": held.job_id, "step": step, "values": before.get(step, {}) | numbers}
        for step, numbers in metrics.items()
    ]
    upsert(session, Metric, [row | {"token": held.token} for row in rows])


def _append_log(session: Session, held: Claim, text: str, seq: int) -> None:
    """Keep the newest pieces: the end of a log says why a job ended."""
    row = {"job_id": held.job_id, "token": held.token, "seq": seq, "text": text}
    upsert(session, LogChunk, [row])
    session.execute(
        delete(LogChunk).where(
            LogChunk.job_id == held.job_id,
            LogChunk.token == held.token,
            LogChunk.seq <= seq - MAX_LOG_CHUNKS,
        )
    )


def add_checkpoint(
    session: Session,
    held: Claim,
    *,
    step: int,
    storage_key: str,
    manifest: list[StoredFile],
    metrics: dict[str, Any],
    seconds: float = 0,
) -> None:
    """Record a stored checkpoint, which took so long; the attempt is no longer barren. Done again,
    because the answer of the commit was lost, it does nothing."""
    hold(session, held, **BROUGHT_SOMETHING)
    same = (Checkpoint.job_id == held.job_id) & (Checkpoint.storage_key == storage_key)
    if session.scalar(select(Checkpoint.id).where(same)) is not None:
        return
    size = sum(entry.bytes for entry in manifest)
    session.add(
        Checkpoint(
            id=new_id("ckpt"),
            job_id=held.job_id,
            token=held.token,
            step=step,
            storage_key=storage_key,
            manifest=[entry.to_dict() for entry in manifest],
            metrics=metrics,
            bytes=size,
        )
    )
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == held.job_id, Attempt.token == held.token)
        .values(
            checkpoints=Attempt.checkpoints + 1,
            checkpoint_bytes=Attempt.checkpoint_bytes + size,
            checkpoint_seconds=Attempt.checkpoint_seconds + seconds,
        )
    )
    add_event(session, held.job_id, f"Checkpoint at step {step}.", data={"step": step})


def usable_checkpoints(session: Session, job_id: str) -> list[Checkpoint]:
    """Newest first; verify one before it is used."""
    return list(
        session.scalars(
            select(Checkpoint)
            .where(Checkpoint.job_id == job_id, Checkpoint.rejected.is_(None))
            .order_by(Checkpoint.step.desc(), Checkpoint.id.desc())
        )
    )


def drop_old_checkpoints(session: Session, held: Claim, *, keep: int) -> list[str]:
    """Forget all but the newest `keep`, the best, and what another job is asking; returns the
    storage keys to delete: those to which no checkpoint of any job points any more."""
    hold(session, held)
    usable = usable_checkpoints(session, held.job_id)
    best = min(usable, key=_loss, default=None)
    spare = [one for one in usable[keep:] if one is not best]
    _lock(session, spare)
    asked = asked_checkpoints(session)  # behind the lock: who holds one has submitted its job
    old = [one for one in spare if (one.job_id, one.step) not in asked]
    session.execute(delete(Checkpoint).where(Checkpoint.id.in_([one.id for one in old])))
    return unpointed_keys(session, [one.storage_key for one in old])


def _lock(session: Session, checkpoints: list[Checkpoint]) -> None:
    ids = [one.id for one in checkpoints]
    rows = select(Checkpoint.id).where(Checkpoint.id.in_(ids)).order_by(Checkpoint.step)
    session.execute(rows.with_for_update())


def _loss(checkpoint: Checkpoint) -> float:
    """Infinite where it was not validated, or its loss is no number."""
    loss = checkpoint.metrics.get("validation_loss")
    return math.inf if loss is None or math.isnan(loss) else loss


def unpointed_keys(session: Session, keys: list[str]) -> list[str]:
    """Which of these no checkpoint points to. Ask after the rows are deleted: the files of one may
    be those of a job that was made from this one."""
    pointed = set(
        session.scalars(select(Checkpoint.storage_key).where(Checkpoint.storage_key.in_(keys)))
    )
    return [key for key in keys if key not in pointed]


def reject_checkpoint(session: Session, held: Claim, checkpoint_id: str, reason: str) -> None:
    """Never try this one again, and say so."""
    hold(session, held)
    checkpoint = session.get_one(Checkpoint, checkpoint_id)
    checkpoint.rejected = reason
    message = f"The checkpoint at step {checkpoint.step} is not used: {reason}. Stepping back one."
    add_event(session, held.job_id, message, level="warning")


def note_attempt(session: Session, held: Claim, **values: Any) -> None:
    """Fill in columns of the running attempt."""
    hold(session, held)
    attempt = session.get_one(Attempt, (held.job_id, held.token))
    for name, value in values.items():
        setattr(attempt, name, value)


def done_rows(session: Session, job_id: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every durable row in order, read as it is asked for: there may be many, and large ones."""
    rows = select(ResultRow.row, ResultRow.data).where(ResultRow.job_id == job_id)
    for first, last in _stretches(session, job_id):
        part = rows.where(ResultRow.row.between(first, last)).order_by(ResultRow.row)
        yield from session.execute(part)


def _stretches(session: Session, job_id: str) -> Iterator[tuple[int, int]]:
    """First and last of the rows that are read at once; the database alone looks at their sizes."""
    query = select(ResultRow.row, ROW_CHARACTERS).where(ResultRow.job_id == job_id)
    query = query.order_by(ResultRow.row)
    rows: list[int] = []
    size = 0
    for row, more in session.execute(query, execution_options={"yield_per": SIZES_AT_ONCE}):
        if rows and (len(rows) == ROWS_AT_ONCE or size + more > MOST_AT_ONCE):
            yield rows[0], rows[-1]
            rows, size = [], 0
        rows.append(row)
        size += more
    if rows:
        yield rows[0], rows[-1]


def job_log(session: Session, job_id: str, *, token: int | None = None) -> str:
    """What the runners of a job printed, or one attempt's part: the newest of it, where it is more
    than MOST_LOG, under a line that says so."""
    query = select(LogChunk.text).where(LogChunk.job_id == job_id)
    if token is not None:
        query = query.where(LogChunk.token == token)
    backwards = query.order_by(LogChunk.token.desc(), LogChunk.seq.desc())
    pieces, size = [], 0
    with session.execute(backwards, execution_options={"yield_per": CHUNKS_AT_ONCE}) as found:
        for piece in found.scalars():
            pieces.append(piece)
            size += len(piece)
            if size > MOST_LOG:
                break
    text = "".join(reversed(pieces))
    if size <= MOST_LOG:
        return text
    newest = text[-MOST_LOG:]
    return CUT + (newest.partition("\n")[2] or newest)  # a progress bar is one line for hours


def attempts(session: Session, job_id: str) -> list[Attempt]:
    return list(
        session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.token))
    )
