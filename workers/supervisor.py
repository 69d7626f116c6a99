"""Sees one job through: claim, start a runner, pass on what it says, record how it ends.

Knows the database and the storage; the work itself is the runner's. Every write is fenced by the
claim's token.
"""

import logging
import shutil
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from core.db import get_database
from core.errors import JobFailure
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
from workers.spare import SPARE, RunnerProcess

log = logging.getLogger(__name__)

NOT_CLAIMED = "not claimed"
REPORT_SECONDS = 1.0
POLL_SECONDS = 0.1


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
    workdir.mkdir(parents=True)
    try:
        return Attempt(claim, settings, workdir, queue=queue, device=device).run()
    except LostClaim:
        log.warning("job %s: attempt %d lost its claim", claim.job_id, claim.token)
        return "lost claim"
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
        if settings.spare_runner:
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
        self.keep = 3

    def run(self) -> str:
        runner = SPARE.take(self.queue)
        heart = Heart(self.claim, self.settings, lambda: _tell(runner, kind="alive"))
        heart.start()
        try:
            spec = make_spec(self.claim, self.settings, self.workdir, self.device)
            self._note_start(runner, spec.params)
            fence = self.settings.lease_seconds - self.settings.fence_grace_seconds
            runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=fence)
            last = self._listen(runner, heart)
            return self._conclude(last, runner)
        except JobFailure as failure:
            return self._record_failure(failure)
        except ChannelClosed:
            return self._record_lost(runner)
        finally:
            heart.end()
            runner.kill()

    def _note_start(self, runner: RunnerProcess, params: dict[str, Any]) -> None:
        self.keep = params.get("keep") or 3
        with self.database.transaction() as session:
            records.note_attempt(session, self.claim, runner_pid=runner.pid)

    # -- while it runs ---------------------------------------------------------------------------

    def _listen(self, runner: RunnerProcess, heart: Heart) -> dict[str, Any]:
        """Pass on what the runner says until it says its last; returns that message."""
        while True:
            self._keep_limits(runner, heart)
            message = runner.channel.receive(timeout=POLL_SECONDS)
            if message is not None:
                if message["kind"] in ("result", "failed", "stopped"):
                    self._flush()
                    return message
                self._take(message)
            if time.monotonic() - self.reported >= REPORT_SECONDS:
                self._flush()

    def _keep_limits(self, runner: RunnerProcess, heart: Heart) -> None:
        now = time.monotonic()
        if heart.lost is not None:
            log.warning("job %s: %s", self.claim.job_id, heart.lost)
            raise LostClaim(self.claim.job_id)
        if now > self.deadline:
            hours = self.claim.time_limit_seconds / 3600
            raise JobFailure("timeout", f"The job's time limit of {hours:g} hours is over.")
        reason = "cancel" if heart.wishes.cancel else "drain" if DRAIN.is_set() else None
        if reason and self.stop_deadline is None:
            self.stop_deadline = now + self.settings.stop_grace_seconds
            _tell(runner, kind="stop", reason=reason)
        if self.stop_deadline is not None and now > self.stop_deadline:
            runner.kill()
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
        """Write what has gathered, in one transaction. A database that is away is tried again."""
        self.reported = time.monotonic()
        self.report.log += self.log.read()
        if not self.report:
            return
        try:
            with self.database.transaction() as session:
                records.write_report(session, self.claim, self.report, log_seq=self.log.sequence)
        except SQLAlchemyError as error:
            log.warning("job %s: could not write a report: %s", self.claim.job_id, error)
            return
        self.log.sequence += bool(self.report.log)
        self.report = Report()

    def _store_checkpoint(self, message: dict[str, Any]) -> None:
        key = f"{self.key}/checkpoints/step-{message['step']}"
        self.storage.put_tree(Path(message["path"]), key, move=True)
        files = [StoredFile(**entry) for entry in message["files"]]
        with self.database.transaction() as session:
            records.add_checkpoint(
                session,
                self.claim,
                step=message["step"],
                storage_key=key,
                manifest=files,
                metrics=message["metrics"],
            )
            dropped = records.drop_old_checkpoints(session, self.claim, keep=self.keep)
        for old in dropped:
            self.storage.delete(old)

    # -- how it ends -----------------------------------------------------------------------------

    def _conclude(self, last: dict[str, Any], runner: RunnerProcess) -> str:
        if last["kind"] == "failed":
            raise JobFailure(**last["failure"])
        if last["kind"] == "stopped":
            return self._record_stopped(last["reason"])
        self.storage.put_tree(self.workdir / "out", f"{self.key}/out", move=True)
        files = [StoredFile(**entry) for entry in last["files"]]
        outcome = Outcome(last["result"], files, f"{self.key}/out")
        with self.database.transaction() as session:
            job = service.succeed(session, self.claim, outcome)
        if job.status != "succeeded":
            raise JobFailed(job.error["message"])
        return "succeeded"

    def _record_failure(self, failure: JobFailure) -> str:
        self._flush()
        with self.database.transaction() as session:
            service.fail(session, self.claim, failure)
        raise JobFailed(f"{failure.klass}: {failure.message}")

    def _record_stopped(self, reason: str) -> str:
        with self.database.transaction() as session:
            if reason == "cancel":
                service.cancelled(session, self.claim)
            else:
                message = "The worker was told to stop; the job is queued again."
                service.requeue(session, self.claim, outcome="drained", message=message)
        if reason == "cancel":
            raise JobCancelled(self.claim.job_id)
        return "drained"

    def _record_lost(self, runner: RunnerProcess) -> str:
        """The runner is gone without a last word: because it was stopped, or because it died."""
        if self.stop_deadline is not None:
            return self._record_stopped("drain" if DRAIN.is_set() else "cancel")
        runner.kill()
        self._flush()
        code = runner.process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        with self.database.transaction() as session:
            job = service.lost_runner(session, self.claim, f"The runner {how}.")
        if job.status == "failed":
            raise JobFailed(job.error["message"])
        return "requeued"


def _tell(runner: RunnerProcess, **message: Any) -> None:
    with suppress(ChannelClosed):
        runner.channel.send(**message)
