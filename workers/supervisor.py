"""Sees one job through: claim, start a runner, pass on what it says, record how it ends.

Knows the database and the storage; the work itself is the runner's. Every write is fenced by the
claim's token.
"""

import logging
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.db import get_database
from core.errors import JobFailure, TuneyardError
from core.failpoints import failpoint
from core.jobs import records, service
from core.jobs.claims import Claim, LostClaim
from core.jobs.models import Job
from core.jobs.types.base import Outcome
from core.logs import logged
from core.redaction import redact
from core.settings import Settings, get_settings
from core.storage import StoredFile, get_storage
from workers.briefing import Aid, make_spec
from workers.channel import ChannelClosed
from workers.drain import DRAIN
from workers.heart import Heart
from workers.ledger import Ledger
from workers.limits import Limits, StopAsked
from workers.logtail import LogTail
from workers.oomkill import OomKills
from workers.spare import SPARE
from workers.transfer import storage_failure, transfer

log = logging.getLogger(__name__)

NOT_CLAIMED = "not claimed"
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
    with logged(project=claim.project_id, job=claim.job_id, attempt=claim.token):
        log.info("an attempt of a %s job begins", claim.type)
        return _run_claimed(claim, worker_id, queue, device)


def _run_claimed(claim: Claim, worker_id: str, queue: str, device: str) -> str:
    settings = get_settings()
    workdir = settings.work_dir / worker_id / f"{claim.job_id}-{claim.token}"
    try:
        return Attempt(claim, settings, workdir, queue=queue, device=device).run()
    except LostClaim as lost:
        log.warning("attempt %d lost its claim: %s", claim.token, lost)
        return "lost claim"
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
        if settings.spare_runner and not DRAIN.is_set():
            SPARE.prepare(queue, device)


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
        self.storage = get_storage(settings.storage_url)
        self.key = f"projects/{claim.project_id}/jobs/{claim.job_id}/attempt-{claim.token}"
        self.heard: deque[dict[str, Any]] = deque()
        self.last_checkpoint: int | None = None
        self.oom_kills = OomKills()
        self.ceiling: int | None = None
        self.keep = 3
        self.ordered = False
        self.told: str | None = None
        self.told_others = False
        # Before a runner is waited for: the lease runs from the claim.
        self.heart = Heart(claim, settings, lambda: self._tell(kind="alive"))
        self.runner = SPARE.take(queue)
        self.limits = Limits(claim, settings, self.heart)
        tail = LogTail(workdir / "runner.log")
        self.ledger = Ledger(claim, get_database(settings), self._keep_claim, tail)

    def run(self) -> str:
        self.heart.start()
        try:
            return self._work()
        except StopAsked:
            return self._record_stopped()
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
            raise storage_failure(error) from error

    def _brief(self) -> None:
        failpoint("attempt.brief")
        heed = self.limits.check_or_stop
        aid = Aid(self.ledger.read, self.ledger.write, lambda work: transfer(work, heed))
        spec = make_spec(self.claim, self.settings, self.workdir, self.device, aid)
        self.keep = spec.params.get("keep") or self.keep
        self.ceiling = spec.params.get("memory_ceiling")
        while not self.runner.begun(POLL_SECONDS):
            heed()
        self.ledger.note(records.note_attempt, runner_pid=self.runner.pid)
        heed()
        fence = self.settings.lease_seconds - self.settings.fence_grace_seconds
        self.runner.channel.send(kind="job", spec=asdict(spec), fence_seconds=fence)
        self.ordered = True

    def _tell(self, **message: Any) -> None:
        """Say something to a runner that has its order: before, it would take this for one."""
        if self.ordered:
            with suppress(ChannelClosed):
                self.runner.channel.send(**message)

    # -- while it runs ---------------------------------------------------------------------------

    def _listen(self) -> dict[str, Any]:
        """Pass on what the runner says until it says its last; returns that message."""
        while True:
            self._heed()
            message = self._next_message()
            if message is not None:
                if message["kind"] in ("result", "failed", "stopped"):
                    return message
                self._take(message)
            self.ledger.flush_when_due()

    def _next_message(self) -> dict[str, Any] | None:
        if self.heard:
            return self.heard.popleft()
        return self.runner.channel.receive(timeout=POLL_SECONDS)

    def _heed(self) -> None:
        """Keep the limits while the runner works: told to stop, it has the grace to do so."""
        self.limits.check()
        if self.limits.stop != self.told:
            self.told = self.limits.stop
            self._tell(kind="stop", reason=self.told)
        if self.heart.others_wait != self.told_others:
            self.told_others = self.heart.others_wait
            self._tell(kind="others", wait=self.told_others)
        if self.limits.patience_over:
            raise ChannelClosed("the runner did not stop in time")

    def _take(self, message: dict[str, Any]) -> None:
        if message["kind"] == "checkpoint":
            self._store_checkpoint(message)
        elif message["kind"] == "memory":
            self.ledger.learn(message["lesson"])
        else:
            self.ledger.gather(message)

    def _store_checkpoint(self, message: dict[str, Any]) -> None:
        if message["step"] == self.last_checkpoint:
            return  # a drain right behind an epoch's end: it is saved already
        self.last_checkpoint = message["step"]
        begun = time.monotonic()
        key = f"{self.key}/checkpoints/step-{message['step']}"
        files = [StoredFile(**entry) for entry in message["files"]]
        fault = transfer(partial(self._upload, message["path"], key, files), self._heed_storing)
        if fault is not None:
            raise JobFailure("infra", f"The checkpoint was not stored as it was written: {fault}.")
        shutil.rmtree(message["path"], ignore_errors=True)  # an object store has taken a copy
        failpoint("attempt.checkpoint", at=message["step"])
        seconds = message.get("seconds", 0) + time.monotonic() - begun
        # Whoever resumes from it repeats no step before it: their points must not be lost with us.
        self.ledger.flush()

        def record(session: Session) -> list[str]:
            records.add_checkpoint(
                session,
                self.claim,
                step=message["step"],
                storage_key=key,
                manifest=files,
                metrics=message["metrics"],
                seconds=seconds,
            )
            # The newest was just looked at in the storage: the older ones are not the last good.
            return records.drop_old_checkpoints(session, self.claim, keep=self.keep)

        self._delete(self.ledger.write(record))

    def _upload(self, path: str, key: str, files: list[StoredFile]) -> str | None:
        """Store a folder; then what the storage says is wrong with it, if anything."""
        self.storage.put_tree(Path(path), key, move=True)
        return self.storage.fault_in(key, files)

    def _heed_storing(self) -> None:
        """What is being saved for a pause is worth waiting for; the grace begins when it is."""
        if self.told == "pause" and not DRAIN.is_set():
            self.limits.wait_anew()
        self._heed()
        self._hear()

    def _keep_claim(self) -> None:
        """What is done while the database is away."""
        self.limits.keep_claim()
        if self.ordered:
            self._hear()

    def _hear(self) -> None:
        """Take what the runner says, for later: one whose messages nobody takes would hold its
        work up, and at last end itself."""
        with suppress(ChannelClosed):  # it has said its last, and what it saved is still wanted
            while (message := self.runner.channel.receive(timeout=0)) is not None:
                self.heard.append(message)

    def _delete(self, keys: list[str]) -> None:
        for key in keys:
            try:
                transfer(partial(self.storage.delete, key), self._heed_storing)
            except JobFailure as failure:  # no row points to it: the keeper takes it away
                log.warning("could not delete %s: %s", key, failure.message)

    # -- how it ends -----------------------------------------------------------------------------

    def _conclude(self, last: dict[str, Any]) -> str:
        if last["kind"] == "failed":
            raise JobFailure(**last["failure"])
        if last["kind"] == "stopped" and last["reason"] == "yield":
            self.ledger.flush()
            return self._end(service.yielded)
        if last["kind"] == "stopped":
            return self._record_stopped()
        heed = self.limits.check_while_finishing
        heed()
        self.ledger.flush()
        files = [StoredFile(**entry) for entry in last["files"]]
        out = f"{self.key}/out"
        fault = transfer(partial(self._upload, str(self.workdir / "out"), out, files), heed)
        if fault is not None:
            raise JobFailure("infra", f"The result was not stored as it was written: {fault}.")
        outcome = Outcome(last["result"], files, out)
        failpoint("attempt.finish")
        return self._end(service.succeed, outcome=outcome)

    def _record_failure(self, failure: JobFailure) -> str:
        self.runner.kill()
        self.ledger.flush()
        return self._end(service.fail, failure=failure)

    def _record_stopped(self) -> str:
        """The attempt ends as wished: the row says last who wished what."""
        self.runner.kill()
        self.ledger.flush()
        if self.limits.stop == "cancel":
            return self._end(service.cancelled)
        if self.limits.stop == "pause":
            return self._end(service.paused)
        message = "The worker was told to stop; the job is queued again."
        return self._end(service.requeue, outcome="drained", message=message)

    def _record_broken(self, error: Exception) -> str:
        self.runner.kill()
        message = redact(f"The supervisor broke with {type(error).__name__}: {error}.")
        self.ledger.note(service.lost_runner, message=message)
        raise JobFailed(message) from error

    def _record_lost(self) -> str:
        """The runner is gone without a last word: because it was stopped, or because it died."""
        self.runner.kill()
        if self.limits.stop is not None:
            return self._record_stopped()
        self.ledger.flush()
        code = self.runner.process.returncode
        if code == -signal.SIGKILL and self.oom_kills.rose():
            return self._record_oom_kill()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return self._end(service.lost_runner, message=f"The runner {how}.")

    def _record_oom_kill(self) -> str:
        """The kernel ended the runner for its memory. A training's next attempt begins with less,
        which is not held against it as long as there is less to begin with."""
        need = self.ledger.learn_from_kill()
        less = need is not None and (self.ceiling is None or need < self.ceiling)
        message = "The kernel killed the runner because the machine's memory was full. " + (
            "It is tried with smaller groups."
            if less
            else "Use a smaller model, batch or max_length, or a machine with more memory."
        )
        return self._end(service.lost_runner, message=message, klass="oom_host", barren=not less)

    def _end(self, record: Callable[..., Job], **values: Any) -> str:
        """Record it; returns what Flower shows: a job that failed or was cancelled raises."""
        job = self.ledger.note(record, **values)
        if job.status == "failed":
            raise JobFailed(f"{job.error['class']}: {job.error['message']}")
        if job.status == "cancelled":
            raise JobCancelled(job.id)
        return job.status
