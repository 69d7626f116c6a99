"""Goal 13: what a job costs beside its work, and no-op jobs a second, against bare Celery.

    python -m benchmarks.queue [--database postgresql|sqlite] [--rounds 5] [--single 10] [--many 40]

One worker of one slot each, on the same Valkey; ours and theirs take turns. Ours: submit, commit,
ring, claim, spare runner, record of the success, all in the database. The overhead of one job is
measured with a spare runner that has done its imports; jobs a second include whatever a runner has
to do before it can work. Theirs: a task that notes when it ran, nothing recorded.
"""

import argparse
import json
import os
import platform as machine
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from benchmarks.queue import noop
from tests.platform import ROOT, environment, migrate
from tests.servers import new_postgres_database, postgres_server, valkey_server

RESULTS = Path(__file__).parent.parent / "results"
AIM_MS = 50
IDLE_SECONDS = 0.5
START_SECONDS = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--single", type=int, default=10, help="jobs a round, one after the other")
    parser.add_argument("--many", type=int, default=40, help="jobs a round, all at once")
    options = parser.parse_args()
    noop.install()
    with tempfile.TemporaryDirectory(prefix="ty-queue-") as folder, ExitStack() as stack:
        bench = stack.enter_context(both(Path(folder), options.database))
        rounds = [bench.round(options.single, options.many) for _ in range(options.rounds)]
    figures = conclude(options, rounds)
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(figures, ensure_ascii=False, indent=2)
    (RESULTS / f"queue-{options.database}.json").write_text(text + "\n", encoding="utf-8")
    print(text)


@contextmanager
def both(folder: Path, database: str) -> Iterator["Bench"]:
    """Broker, database and the two workers."""
    with ExitStack() as stack:
        broker = stack.enter_context(valkey_server())
        url = f"sqlite:///{folder / 'tuneyard.db'}"
        if database == "postgresql":
            url = new_postgres_database(stack.enter_context(postgres_server()))
        stack.enter_context(
            environment(
                data_dir=str(folder),
                model_dir=str(folder / "models"),
                database_url=url,
                broker_url=broker,
            )
        )
        migrate(url)
        ours = stack.enter_context(worker(folder, "benchmarks.queue.worker", "cpu"))
        stack.enter_context(worker(folder, "benchmarks.queue.bare", "bare"))
        bench = Bench(ours)
        bench.wait_ready()
        yield bench


@contextmanager
def worker(folder: Path, app: str, queue: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-Q", queue, "-c", "1"]
    command += ["-n", f"{queue}0@bench", "-l", "WARNING", "--without-gossip", "--without-mingle"]
    with (folder / f"{queue}.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


class Bench:
    """The two systems and what is asked of them."""

    def __init__(self, ours: subprocess.Popen[bytes]) -> None:
        from benchmarks.queue import bare
        from core.accounts.service import ensure_project
        from core.db import get_database

        self.bare = bare
        self.ours = psutil.Process(ours.pid)
        self.database = get_database()
        with self.database.transaction() as session:
            self.project_id = ensure_project(session, "bench").id

    def wait_ready(self) -> None:
        from core.fleet.service import live_slots

        def joined() -> bool:
            with self.database.reading() as session:
                return live_slots(session).get("cpu") == 1

        wait(joined)
        self.theirs_at_once(1)
        self.ours_at_once(1)

    def round(self, single: int, many: int) -> dict[str, Any]:
        """A B A B: one at a time, then many at once."""
        figures = {
            "ours_ms": self.ours_one_by_one(single),
            "theirs_ms": self.theirs_one_by_one(single),
            "ours_per_second": self.ours_at_once(many),
            "theirs_per_second": self.theirs_at_once(10 * many),
        }
        shown = {name: statistics.median(one) for name, one in figures["ours_ms"].items()}
        print(
            {"ours_ms": shown, **{k: v for k, v in figures.items() if k != "ours_ms"}}, flush=True
        )
        return figures

    # -- ours ------------------------------------------------------------------------------------

    def ours_one_by_one(self, count: int) -> dict[str, list[float]]:
        """Milliseconds by the database's clock, part by part."""
        from core.jobs.models import Job

        parts: dict[str, list[float]] = {"to_claim": [], "to_record": [], "all": []}
        for _ in range(count):
            self._wait_for_the_spare()
            job_id = self._submit()
            wait(lambda job_id=job_id: self._ended([job_id]) == 1, pause=0.02)
            with self.database.reading() as session:
                job = session.get_one(Job, job_id)
            assert job.status == "succeeded", job.error
            parts["to_claim"].append(1000 * (job.started_at - job.created_at))
            parts["to_record"].append(1000 * (job.finished_at - job.started_at))
            parts["all"].append(1000 * (job.finished_at - job.created_at))
        return parts

    def ours_at_once(self, count: int) -> float:
        from core.jobs.models import Job

        ids = [self._submit() for _ in range(count)]
        wait(lambda: self._ended(ids) == count, seconds=30 + 5 * count, pause=0.1)
        with self.database.reading() as session:
            first, last = session.execute(
                select(func.min(Job.created_at), func.max(Job.finished_at)).where(Job.id.in_(ids))
            ).one()
        return count / (last - first)

    def _submit(self) -> str:
        from core.jobs import service

        with self.database.transaction() as session:
            return service.submit(session, self.project_id, "noop", noop.NOOP.params()).id

    def _ended(self, ids: list[str]) -> int:
        from core.jobs.models import Job
        from core.jobs.status import FINAL

        with self.database.reading() as session:
            chosen = Job.id.in_(ids), Job.status.in_(FINAL)
            return session.scalar(select(func.count()).where(*chosen))

    def _wait_for_the_spare(self) -> None:
        """Until no process of our worker has used the CPU for a while: imports are done."""
        used = -1.0
        while (now := self._cpu_seconds()) - used > 0.05:
            used = now
            time.sleep(IDLE_SECONDS)

    def _cpu_seconds(self) -> float:
        times = [one.cpu_times() for one in self.ours.children(recursive=True)]
        return sum(one.user + one.system for one in times)

    # -- theirs ----------------------------------------------------------------------------------

    def theirs_one_by_one(self, count: int) -> list[float]:
        found = []
        for _ in range(count):
            self.bare.STORE.delete(self.bare.DONE)
            began = time.time()
            self.bare.nothing.delay()
            ran = float(self.bare.STORE.blpop([self.bare.DONE], timeout=30)[1])
            found.append(1000 * (ran - began))
            time.sleep(0.05)
        return found

    def theirs_at_once(self, count: int) -> float:
        self.bare.STORE.delete(self.bare.DONE)
        began = time.time()
        for _ in range(count):
            self.bare.nothing.delay()
        wait(lambda: self.bare.STORE.llen(self.bare.DONE) >= count, seconds=120, pause=0.02)
        return count / (float(self.bare.STORE.lindex(self.bare.DONE, -1)) - began)


def wait(condition: Callable[[], bool], *, seconds: float = START_SECONDS, pause: float = 0.1):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the worker does not come on; see its log")
        time.sleep(pause)


def conclude(options: argparse.Namespace, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def parts(name: str) -> list[float]:
        return [value for one in rounds for value in one["ours_ms"][name]]

    overhead = spread(parts("all"))
    return {
        "what": "overhead of one no-op job, and no-op jobs a second",
        "database": options.database,
        "overhead_ms": overhead,
        "of_that_until_the_claim_ms": spread(parts("to_claim")),
        "of_that_until_the_record_ms": spread(parts("to_record")),
        "bare_celery_ms": spread([value for one in rounds for value in one["theirs_ms"]]),
        "jobs_per_second": spread([one["ours_per_second"] for one in rounds]),
        "bare_celery_tasks_per_second": spread([one["theirs_per_second"] for one in rounds]),
        "aim_ms": AIM_MS,
        "met": overhead["median"] <= AIM_MS,
        "rounds": options.rounds,
        "machine": {"system": machine.platform(), "cores": os.cpu_count(), "load": os.getloadavg()},
        "python": machine.python_version(),
        "commit": commit(),
    }


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 2),
        "least": round(ordered[0], 2),
        "most": round(ordered[-1], 2),
        "count": len(ordered),
    }


def commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    return asked.stdout.strip()


if __name__ == "__main__":
    main()
