"""What an attempt writes down while it goes on, and how: fenced, patient, about once a second.

Knows the database and the claim; neither the runner's process nor how an attempt ends.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session

from core.db import Database
from core.jobs import records
from core.jobs.claims import Claim
from core.jobs.lessons import note_memory
from core.jobs.records import Report
from workers.logtail import LogTail

log = logging.getLogger(__name__)

REPORT_SECONDS = 1.0
RETRY_SECONDS = 1.0
DATABASE_AWAY = (OperationalError, InterfaceError, NoConnection)

Written = TypeVar("Written")


class Ledger:
    """The record of one attempt. `keep_claim` raises `LostClaim` when waiting for the database
    must end; `tail` is the runner's log."""

    def __init__(
        self, claim: Claim, database: Database, keep_claim: Callable[[], None], tail: LogTail
    ) -> None:
        self.claim = claim
        self.database = database
        self.keep_claim = keep_claim
        self.tail = tail
        self.tried: dict[str, Any] | None = None
        self._report = Report()
        self._reported = time.monotonic()

    def write(self, work: Callable[[Session], Written]) -> Written:
        """Run `work` in a transaction. Every write is fenced, so one whose answer was lost does
        nothing the second time."""
        return self._persist(self.database.transaction, work)

    def read(self, work: Callable[[Session], Written]) -> Written:
        return self._persist(self.database.reading, work)

    def note(self, record: Callable[..., Written], **values: Any) -> Written:
        """`record(session, held=claim, …)` in a transaction."""
        return self.write(partial(record, held=self.claim, **values))

    def gather(self, message: dict[str, Any]) -> None:
        """Take up what the runner says of its progress."""
        kind = message["kind"]
        if kind == "progress":
            self._report.progress = message["progress"]
        elif kind == "metric":
            self._report.metrics.setdefault(message["step"], {}).update(message["values"])
        elif kind == "event":
            self._report.events.append(message["event"])
        elif kind == "resolved":
            self._report.resolved = message["values"]
        elif kind == "row":
            self._report.rows[message["row"]] = message["data"]

    def flush_when_due(self) -> None:
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered since the last time, in one transaction."""
        self._report.log += self.tail.read()
        if self._report:
            sequence = self.tail.sequence
            self.note(records.write_report, report=self._report, log_seq=sequence)
            self.tail.sequence += bool(self._report.log)
            self._report = Report()
        self._reported = time.monotonic()

    def learn(self, lesson: dict[str, Any]) -> None:
        """Keep what a training has shown of its memory; what it is only about to try (`fitted` is
        None) is remembered, in case that is the last that is heard of it."""
        self.tried = lesson if lesson["fitted"] is None else None
        if self.tried is None:
            self.note(note_memory, lesson=lesson)

    def learn_from_kill(self) -> int | None:
        """What was tried last was too much for the machine; returns its need in bytes."""
        if self.tried is None:
            return None
        self.note(note_memory, lesson=self.tried | {"fitted": False})
        return self.tried["need_bytes"]

    def _persist(self, opening: Callable[[], Any], work: Callable[[Session], Written]) -> Written:
        """A database that is away is tried again while the claim is ours."""
        while True:
            try:
                with opening() as session:
                    return work(session)
            except DATABASE_AWAY as error:
                log.warning("job %s: the database is away: %s", self.claim.job_id, error)
            self.keep_claim()
            time.sleep(RETRY_SECONDS)
