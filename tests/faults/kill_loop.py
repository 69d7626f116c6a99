"""Minutes of random faults on a whole platform, then quiet: do the promises hold?

    python -m tests.faults.kill_loop --minutes 10 --seed 1 [--database postgresql|sqlite] [--json F]

Real API, broker, database, keeper, beat, two gpu workers and a cpu worker on the tiny model. A
customer submits jobs of every type all the time. `mayhem.draw` makes the faults out of the seed.
When the time is over all is mended, and within SETTLE_SECONDS every accepted job must have ended.
Exits with 1 if anything that `invariants` asks for does not hold.

Leases are short, but longer than a process of this size can be held up by two busy cores. A job is
given up after ten barren attempts instead of three: an attempt is struck with a chance of about
0.4 here, so that three in a row would be every sixteenth job, ten are one in ten thousand. That a
poisoned job is given up after three is another test's business.
"""

import argparse
import contextlib
import json
import os
import platform as machine
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from core.db import Database
from core.jobs.models import Attempt, Job
from core.retention import retain
from core.storage import Storage
from tests.e2e.conftest import tiny_store, upload_shop
from tests.e2e.shop import pairs, write_jsonl
from tests.faults import invariants, mayhem
from tests.faults.customers import Customer, upload_pairs
from tests.faults.invariants import Watch
from tests.faults.mayhem import Mayhem
from tests.faults.rig import Rig, rig
from tests.platform import environment
from tests.servers import Server, killable_postgres, killable_valkey, new_postgres_database

SETTINGS = {
    "lease_seconds": "10",
    "heartbeat_seconds": "2",
    "fence_grace_seconds": "3",
    "sweep_seconds": "1",
    "ring_again_seconds": "5",
    "stop_grace_seconds": "15",
    "max_barren_attempts": "10",
    "spare_runner": "true",
}
WORKERS = ("gpu0", "gpu1", "cpu0")
SETTLE_SECONDS = 420
SAY_SECONDS = 10
WANTED_SHARE = 0.95
MOST_RUNS = 50  # of retention, each of 1,000 files at most


@dataclass
class Report:
    """What a run has shown; written as JSON."""

    seed: int
    minutes: float
    database: str
    machine: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    faults_skipped: dict[str, int] = field(default_factory=dict)
    fell_by_itself: list[str] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    accepted: int = 0
    jobs: dict[str, dict[str, int]] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    cancelled_by_the_customer: int = 0
    share_succeeded: float = 0.0
    settle_seconds: float = 0.0
    polls: int = 0
    states_seen: int = 0
    artifacts_verified: int = 0
    left_behind: dict[str, int] = field(default_factory=dict)
    """What the retention took away at the end."""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.broken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--gap", type=float, default=5, help="seconds between faults, on average")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path, help="folder to leave the platform's files in")
    options = parser.parse_args()
    report = Report(options.seed, options.minutes, options.database, machine=this_machine())
    with tempfile.TemporaryDirectory(prefix="ty-loop-", ignore_cleanup_errors=True) as temporary:
        run(report, options.keep or Path(temporary), gap=options.gap)
    show(report)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(vars(report) | {"holds": report.holds}, ensure_ascii=False, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    sys.exit(0 if report.holds else 1)


def run(report: Report, folder: Path, *, gap: float) -> None:
    with platform(report.database, folder) as (made, servers):
        upload_shop(made.client, folder)
        customer = begin_shopping(made, folder, report.seed)
        lease = float(made.settings["lease_seconds"])
        watch = Watch(made.settings["database_url"], made.folder, lease_seconds=lease)
        faults = mayhem.draw(
            report.seed,
            60 * report.minutes,
            gap=gap,
            lease=lease,
            without=() if "database" in servers else ("database killed",),
        )
        chaos = Mayhem(made, servers, faults)
        watch.start()
        customer.start()
        say(f"{len(faults)} faults in {report.minutes:g} minutes, seed {report.seed}")
        storm(report, chaos, customer, watch)
        customer.stopped.set()
        report.settle_seconds = settle(chaos, customer, watch)
        customer.end()
        time.sleep(2 * lease)  # what should have ended itself by now is an orphan
        watch.end()
        conclude(report, made, chaos, customer, watch)


@contextmanager
def platform(database: str, folder: Path) -> Iterator[tuple[Rig, dict[str, Server]]]:
    """Servers that can be killed and a rig on them."""
    with ExitStack() as stack:
        servers = {"broker": stack.enter_context(killable_valkey(appendonly=True))}
        url = None
        if database == "postgresql":
            servers["database"] = stack.enter_context(killable_postgres())
            url = new_postgres_database(servers["database"].url)
        store = tiny_store(folder)
        made = stack.enter_context(
            rig(
                folder / "rig",
                broker_url=servers["broker"].url,
                model_dir=store,
                database_url=url,
                workers=WORKERS,
                **SETTINGS,
            )
        )
        yield made, servers


def begin_shopping(made: Rig, folder: Path, seed: int) -> Customer:
    """A customer with a file, a dataset and a first adapter: what every type of job needs."""
    key = made.key
    http = httpx.Client(base_url=made.base_url, headers={"authorization": f"Bearer {key}"})
    file_id = upload_pairs(http, write_jsonl(folder / "more.jsonl", pairs(40)))
    http.close()
    first = made.client.submit("train", model="tiny", dataset="shop-pairs", epochs=2)
    adapter = made.client.wait(first["id"])["result"]["adapter"]
    return Customer(made.base_url, key, seed, file_id, adapter)


def storm(report: Report, chaos: Mayhem, customer: Customer, watch: Watch) -> None:
    """Faults until the time is over."""
    began = said = time.monotonic()
    seconds = 60 * report.minutes
    while (now := time.monotonic()) < began + seconds:
        chaos.step()
        report.fell_by_itself += chaos.revive()
        if now - said > SAY_SECONDS:
            said = now
            left = timedelta(seconds=round(began + seconds - now))
            faults = sum(chaos.done.values())
            states = ", ".join(f"{count} {name}" for name, count in sorted(watch.counts().items()))
            accepted = len(customer.accepted)
            say(f"{left} left: {faults} faults, {accepted} jobs accepted; {states}")
        time.sleep(0.1)


def settle(chaos: Mayhem, customer: Customer, watch: Watch) -> float:
    """Mend everything and wait until every job has ended; returns how long that took."""
    began = said = time.monotonic()
    while time.monotonic() < began + SETTLE_SECONDS:
        chaos.step()
        chaos.revive()
        with contextlib.suppress(httpx.HTTPError):
            customer.resume_all()
        with contextlib.suppress(SQLAlchemyError), watch.database.reading() as session:
            open_jobs = len(invariants.unfinished(session))
            if chaos.over() and not customer.thread.is_alive() and open_jobs == 0:
                break
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                say(f"quiet for {said - began:.0f} s: {open_jobs} jobs have not ended")
        time.sleep(0.5)
    return round(time.monotonic() - began, 1)


def conclude(report: Report, made: Rig, chaos: Mayhem, customer: Customer, watch: Watch) -> None:
    """Fill in what the database, the storage and the processes show."""
    report.faults, report.faults_skipped = dict(chaos.done), dict(chaos.skipped)
    report.requests, report.refused = dict(customer.requests), customer.refused
    report.accepted = len(customer.accepted)
    report.polls, report.states_seen = watch.polls, watch.states
    database = Database(made.settings["database_url"])
    with database.reading() as session:
        report.jobs = jobs_by_type(session)
        report.attempts = dict(
            session.execute(
                select(func.coalesce(Attempt.outcome, "open"), func.count()).group_by(
                    Attempt.outcome
                )
            ).all()
        )
        failed = session.scalars(select(Job).where(Job.status == "failed"))
        report.failures = [{"job": one.id, "type": one.type, **one.error} for one in failed]
        report.lost = invariants.lost(session, customer.accepted) + invariants.unfinished(session)
        report.doubled = invariants.doubled(session)
        report.broken += invariants.badly_recorded(session)
        cancelled = set(session.scalars(select(Job.id).where(Job.status == "cancelled")))
        report.cancelled_by_the_customer = len(cancelled & customer.wished_away)
        for job_id in sorted(cancelled - customer.wished_away):
            report.broken.append(f"{job_id} was cancelled by nobody")
        files = made.folder / "data" / "storage"
        verified = invariants.verify_artifacts(session, Storage(f"file://{files}"))
    report.artifacts_verified = verified.files
    report.left_behind = tidy_up(made)
    with database.reading() as session:
        ownerless = invariants.unowned_files(session, files)
        again = invariants.verify_artifacts(session, Storage(f"file://{files}"))
    report.broken += [f"orphan file: {one}" for one in ownerless]
    report.broken += [f"after the retention: {one}" for one in again.broken]
    report.broken += [f"orphan work: {one}" for one in invariants.abandoned_work(made.folder)]
    report.broken += verified.broken + sorted(watch.broken)
    report.broken += [f"orphan process: {one}" for one in mayhem.orphans(made)]
    totals = Counter(status for kind in report.jobs.values() for status in Counter(kind).elements())
    counted = sum(totals.values()) - report.cancelled_by_the_customer
    report.share_succeeded = round(totals["succeeded"] / max(1, counted), 4)
    if report.share_succeeded < WANTED_SHARE:
        report.broken.append(f"only {report.share_succeeded:.1%} of the jobs succeeded")


def tidy_up(made: Rig) -> dict[str, int]:
    """What the keeper's retention takes away once everything is old; in several runs, as it forgets
    a checkpoint in one and deletes its bytes in the next, and so many files in one at most."""
    at_once = {"retain_orphans_days": "1e-9", "retain_checkpoints_days": "1e-9"}
    with environment(**made.settings | at_once):
        runs = [vars(retain())]
        while any(runs[-1].values()) and len(runs) < MOST_RUNS:
            runs.append(vars(retain()))
    return {name: sum(run[name] for run in runs) for name in runs[0]}


def jobs_by_type(session) -> dict[str, dict[str, int]]:
    rows = session.execute(
        select(Job.type, Job.status, func.count())
        .group_by(Job.type, Job.status)
        .order_by(Job.type, Job.status)
    )
    found: dict[str, dict[str, int]] = {}
    for kind, status, count in rows:
        found.setdefault(kind, {})[status] = count
    return found


def show(report: Report) -> None:
    console = Console()
    faults = Table("fault", "times", "nobody to strike")
    for kind in sorted(mayhem.WEIGHTS):
        missed = report.faults_skipped.get(kind, 0)
        faults.add_row(kind, str(report.faults.get(kind, 0)), str(missed))
    statuses = ("succeeded", "failed", "cancelled", "queued", "running", "paused")
    jobs = Table("job", *statuses)
    for kind, counts in report.jobs.items():
        jobs.add_row(kind, *(str(counts.get(status, 0)) for status in statuses))
    attempts = Table("attempts", "count")
    for outcome, count in sorted(report.attempts.items()):
        attempts.add_row(outcome, str(count))
    for table in (faults, jobs, attempts):
        console.print(table)
    for sentence in [*report.lost, *report.doubled, *report.broken]:
        console.print(f"BROKEN: {sentence}", markup=False)
    for failure in report.failures:
        console.print(f"failed: {failure}", markup=False)
    verdict = "the promises hold" if report.holds else "the promises do NOT hold"
    print(
        f"accepted {report.accepted}, lost {len(report.lost)}, doubled {len(report.doubled)}, "
        f"{report.share_succeeded:.1%} succeeded, {report.artifacts_verified} artifacts verified, "
        f"quiet after {report.settle_seconds:g} s: {verdict}"
    )


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def this_machine() -> dict[str, Any]:
    return {
        "system": machine.platform(),
        "python": machine.python_version(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
