"""Sees one job through: claim, start a runner, pass on what it says, record how it ends.

Knows the database and the storage; the work itself is the runner's. Every write is fenced by the
claim's token.
"""

import errno
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db import get_database
from core.errors import JobFailure, TuneyardError
from core.jobs import records, service
from core.jobs.claims import Claim, LostClaim
from core.jobs.records import Report
from core.jobs.types.base import Outcome
from core.settings import Settings, get_settings
from core.storage import StoredFile, get_storage
from workers.briefing import make_spec
from workers.channel import ChannelClosed
from workers.drain import DRAIN
from workers.heart import Heart
from workers.logtail import LogTail
from workers.spare import SPARE

log = logging.getLogger(__name__)

NOT_CLAIMED = "not claimed"
REPORT_SECONDS = 1.0
POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Written = TypeVar("Written")


class JobFailed(Exception):
    """Raised after the failure is recorded, so that Flower shows the task as failed."""


class JobCancelled(Exception):
    """Raised after the cancellation is recorded."""


def run(job_id: str, worker_id: str, queue: str, device: str) -> str:
    """Claim the job and see it to its end; returns what Flower shows as the task's result."""
    settings = get_settings()
    with get_database(settings).transaction() as session:
        claim = service.claim(session, job_id, worker_id)
    if claim is None:
        return NOT_CLAIMED
    workdir = settings.work_dir / worker_id / f"{claim.job_id}-{claim.token}"
    try:
        return Attempt(claim, settings, workdir, queue=queue, device=device).run()
    except LostClaim:
        log.warning("job %s: attempt %d lost its claim", claim.job_id, claim.token)
        return "lost claim"
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
        if settings.spare_runner and not DRAIN.is_set():
            SPARE.prepare(queue)


class Attempt:
    """One claim of one job, from the briefing to the record of its end."""

    def __init__(
        self, claim: Claim, settings: Settings, workdir: Path, *, queue: str, device: str
    ) -> None:
        self.claim = claim
        self.settings = settings
        self.workdir = workdir
        self.queue = queue
        self.device = device
        self.database = get_database(settings)
        self.storage = get_storage(settings.storage_url)
        self.key = f"projects/{claim.project_id}/jobs/{claim.job_id}/attempt-{claim.token}"
        self.report = Report()
        self.reported = time.monotonic()
        self.log = LogTail(workdir / "runner.log")
        self.deadline = time.monotonic() + claim.time_limit_seconds
        self.stop_deadline: float | None = None
        self.last_checkpoint: int | None = None
        self.keep = 3
        self.runner = SPARE.take(queue)
        self.heart = Heart(claim, settings, lambda: self._tell(kind="alive"))

    def run(self) -> str:
        self.heart.start()
        try:
            return self._work()
        except JobFailure as failure:
            return self._record_failure(failure)
        except ChannelClosed:
            return self._record_lost()
        except (LostClaim, JobFailed, JobCancelled):
            raise
        except Exception as error:  # ours, not the job's: give it back now, not after the lease
            log.exception("job %s: the supervisor broke", self.claim.job_id)
            return self._record_broken(error)
        finally:
            self.runner.kill()
            self.heart.end()

    def _work(self) -> str:
        """From the briefing to the record of the runner's last word."""
        try:
            self.workdir.mkdir(parents=True)
            self._brief()
            return self._conclude(self._listen())
        except TuneyardError as error:  # the contract refuses now what it took at the submit
            raise JobFailure("config", error.message) from error
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise JobFailure("disk", f"The disk is full: {error}. Free some room.") from error

    def _brief(self) -> None:
        spec = make_spec(self.claim, self.settings, self.workdir, self.device)
        self.keep = spec.params.get("keep") or self.keep
        pid = self.runner.pid
        self._write(lambda session: records.note_attempt(session, self.claim, runner_pid=pid))
        fence = self.settings.lease_seconds - self.settings.fence_grace_seconds
        self.runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=fence)

    def _write(self, write: Callable[[Session], Written]) -> Written:
        """Run `write` in a transaction; a database that is away is tried again while the claim is
        ours. Every write is fenced, so one whose answer was lost does nothing the second time."""
        while True:
            try:
                with self.database.transaction() as session:
                    return write(session)
            except OperationalError as error:
                log.warning("job %s: the database is away: %s", self.claim.job_id, error)
            self._keep_claim()
            time.sleep(RETRY_SECONDS)

    def _keep_claim(self) -> None:
        if self.heart.lost is not None:
            log.warning("job %s: %s", self.claim.job_id, self.heart.lost)
            raise LostClaim(self.claim.job_id)

    def _tell(self, **message: Any) -> None:
        with suppress(ChannelClosed):
            self.runner.channel.send(**message)

    # -- while it runs ---------------------------------------------------------------------------

    def _listen(self) -> dict[str, Any]:
        """Pass on what the runner says until it says its last; returns that message."""
        while True:
            self._keep_limits()
            message = self.runner.channel.receive(timeout=POLL_SECONDS)
            if message is not None:
                if message["kind"] in ("result", "failed", "stopped"):
                    return message
                self._take(message)
            if time.monotonic() - self.reported >= REPORT_SECONDS:
                self._flush()

    def _keep_limits(self) -> None:
        now = time.monotonic()
        self._keep_claim()
        if now > self.deadline:
            hours = self.claim.time_limit_seconds / 3600
            raise JobFailure("timeout", f"The job's time limit of {hours:g} hours is over.")
        reason = "cancel" if self.heart.wishes.cancel else "drain" if DRAIN.is_set() else None
        if reason and self.stop_deadline is None:
            self.stop_deadline = now + self.settings.stop_grace_seconds
            self._tell(kind="stop", reason=reason)
        if self.stop_deadline is not None and now > self.stop_deadline:
            raise ChannelClosed("the runner did not stop in time")

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == "progress":
            self.report.progress = message["progress"]
        elif kind == "metric":
            self.report.metrics.setdefault(message["step"], {}).update(message["values"])
        elif kind == "event":
            self.report.events.append(message["event"])
        elif kind == "row":
            self.report.rows[message["row"]] = message["data"]
        elif kind == "checkpoint":
            self._store_checkpoint(message)

    def _flush(self) -> None:
        """Write what has gathered since the last time, in one transaction."""
        self.report.log += self.log.read()
        if self.report:
            self._write(
                lambda session: records.write_report(
                    session, self.claim, self.report, log_seq=self.log.sequence
                )
            )
            self.log.sequence += bool(self.report.log)
            self.report = Report()
        self.reported = time.monotonic()

    def _store_checkpoint(self, message: dict[str, Any]) -> None:
        if message["step"] == self.last_checkpoint:
            return  # a drain right behind an epoch's end: it is saved already
        self.last_checkpoint = message["step"]
        key = f"{self.key}/checkpoints/step-{message['step']}"
        self.storage.put_tree(Path(message["path"]), key, move=True)
        files = [StoredFile(**entry) for entry in message["files"]]

        def record(session: Session) -> list[str]:
            records.add_checkpoint(
                session,
                self.claim,
                step=message["step"],
                storage_key=key,
                manifest=files,
                metrics=message["metrics"],
            )
            return records.drop_old_checkpoints(session, self.claim, keep=self.keep)

        for old in self._write(record):
            self.storage.delete(old)

    # -- how it ends -----------------------------------------------------------------------------

    def _conclude(self, last: dict[str, Any]) -> str:
        if last["kind"] == "failed":
            raise JobFailure(**last["failure"])
        if last["kind"] == "stopped":
            return self._record_stopped(last["reason"])
        self._flush()
        self.storage.put_tree(self.workdir / "out", f"{self.key}/out", move=True)
        files = [StoredFile(**entry) for entry in last["files"]]
        outcome = Outcome(last["result"], files, f"{self.key}/out")
        job = self._write(lambda session: service.succeed(session, self.claim, outcome))
        if job.status != "succeeded":
            raise JobFailed(job.error["message"])
        return "succeeded"

    def _record_failure(self, failure: JobFailure) -> str:
        self._flush()
        self._write(lambda session: service.fail(session, self.claim, failure))
        raise JobFailed(f"{failure.klass}: {failure.message}")

    def _record_stopped(self, reason: str) -> str:
        self._flush()
        if reason == "cancel":
            self._write(lambda session: service.cancelled(session, self.claim))
            raise JobCancelled(self.claim.job_id)
        message = "The worker was told to stop; the job is queued again."
        self._write(
            lambda session: service.requeue(session, self.claim, outcome="drained", message=message)
        )
        return "drained"

    def _record_broken(self, error: Exception) -> str:
        message = f"The supervisor broke with {type(error).__name__}: {error}."
        self._write(lambda session: service.lost_runner(session, self.claim, message))
        raise JobFailed(message) from error

    def _record_lost(self) -> str:
        """The runner is gone without a last word: because it was stopped, or because it died."""
        self.runner.kill()
        if self.stop_deadline is not None:
            return self._record_stopped("cancel" if self.heart.wishes.cancel else "drain")
        self._flush()
        code = self.runner.process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        job = self._write(
            lambda session: service.lost_runner(session, self.claim, f"The runner {how}.")
        )
        if job.status == "failed":
            raise JobFailed(job.error["message"])
        return "requeued"
