"""What the protocol of jobs promises, as plain Python: no database, no time, no chance.

`test_protocol_model.py` does to this model what it does to the product and holds one against the
other. A method that returns False says: the product must refuse this, and nothing may change.
"""

from dataclasses import dataclass, field

FINAL = ("succeeded", "failed", "cancelled")
MAX_BARREN = 3
MAX_RETRIES = 2


@dataclass
class ModelJob:
    """One job as it must be."""

    id: str
    project: str
    type: str
    priority: int
    depends_on: str | None
    status: str = "queued"
    token: int = 0
    barren: int = 0
    retries: int = 0
    rung: bool = False
    """The broker was told a moment ago, and nobody has come yet."""
    lapsed: bool = False
    waits: bool = False
    """It failed and is tried again after a while."""
    cancel: bool = False
    pause: bool = False
    outcomes: list[str | None] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)
    rows: set[int] = field(default_factory=set)
    versions: int = 0

    def state(self) -> dict[str, object]:
        """What is compared with the product after every step."""
        return {
            "status": self.status,
            "token": self.token,
            "barren": self.barren,
            "retries": self.retries,
            "rung": self.rung,
            "waits": self.status == "queued" and self.waits,
            "cancel": self.cancel,
            "pause": self.pause,
            "outcomes": self.outcomes,
            "steps": sorted(self.steps),
            "rows": sorted(self.rows),
            "versions": self.versions,
        }


@dataclass
class Model:
    """All jobs, and the workers that live."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)
    workers: set[str] = field(default_factory=set)

    # -- who may write ---------------------------------------------------------------------------

    def holds(self, job_id: str, token: int) -> bool:
        """Is this claim the live one? A lapsed lease alone takes nothing away: the sweep does."""
        job = self.jobs[job_id]
        return job.status == "running" and job.token == token

    # -- from the queue to a claim ---------------------------------------------------------------

    def submit(self, job: ModelJob) -> None:
        self.jobs[job.id] = job

    def ready(self) -> list[ModelJob]:
        """What may be rung for."""
        return [
            job
            for job in self.jobs.values()
            if job.status == "queued" and not (job.rung or job.waits) and self.may_run(job)
        ]

    def may_run(self, job: ModelJob) -> bool:
        return job.depends_on is None or self.jobs[job.depends_on].status == "succeeded"

    def free_slots(self) -> int:
        busy = [job for job in self.jobs.values() if job.status == "running" or job.rung]
        return max(0, len(self.workers) - len(busy))

    def next_rings(self) -> list[str]:
        """Whom a dispatcher rings for now: projects in turn, within one by priority, then age."""
        turns = []
        for project in {job.project for job in self.jobs.values()}:
            mine = [job for job in self.jobs.values() if job.project == project]
            running = sum(job.status == "running" for job in mine)
            waiting = [job for job in self.ready() if job.project == project]
            waiting.sort(key=lambda job: (-job.priority, job.id))
            turns += [(place + running, job) for place, job in enumerate(waiting)]
        turns.sort(key=lambda one: (one[0], -one[1].priority, one[1].id))
        return [job.id for _, job in turns[: self.free_slots()]]

    def claim(self, job_id: str) -> bool:
        job = self.jobs[job_id]
        if job.status != "queued" or job.waits:
            return False
        job.status, job.token = "running", job.token + 1
        job.rung = job.lapsed = False
        job.outcomes.append(None)
        return True

    # -- what a worker writes --------------------------------------------------------------------

    def checkpoint(self, job_id: str, step: int) -> None:
        self.jobs[job_id].steps.add(step)
        self._has_brought_something(self.jobs[job_id])

    def report(self, job_id: str, row: int) -> None:
        self.jobs[job_id].rows.add(row)
        self._has_brought_something(self.jobs[job_id])

    def _has_brought_something(self, job: ModelJob) -> None:
        job.barren = job.retries = 0

    def succeed(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.versions = int(job.type == "train")
        self._end(job, "succeeded")

    def fail(self, job_id: str, *, again: bool) -> None:
        """`again`: the failure's class is one that is tried again."""
        job = self.jobs[job_id]
        if not again or job.retries >= MAX_RETRIES:
            return self._end(job, "failed")
        if not self._as_wished(job, "failed"):
            job.retries += 1
            job.waits = True
            self._leave(job, "queued", "failed")
        return None

    def cancelled(self, job_id: str) -> None:
        self._end(self.jobs[job_id], "cancelled")

    def paused(self, job_id: str) -> None:
        job = self.jobs[job_id]
        job.pause = job.pause or not job.cancel  # a cancel that came first is all that is looked at
        self._as_wished(job, "paused")

    def drained(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if not self._as_wished(job, "drained"):
            self._leave(job, "queued", "drained")

    def died(self, job_id: str, *, barren: bool = True) -> None:
        """An attempt ended without a word: counted, unless the user wished it away or the next one
        will ask for less (`barren`)."""
        job = self.jobs[job_id]
        if self._as_wished(job, "lost"):
            return
        if job.barren + barren < MAX_BARREN:
            job.barren += barren
            self._leave(job, "queued", "lost")
        else:
            self._end(job, "failed", outcome="lost")

    def _as_wished(self, job: ModelJob, outcome: str) -> bool:
        """A cancel beats a pause, a pause the queue."""
        if job.cancel:
            self._end(job, "cancelled")
        elif job.pause:
            job.pause = False
            self._leave(job, "paused", outcome)
        return job.status != "running"

    def _leave(self, job: ModelJob, status: str, outcome: str) -> None:
        job.status, job.outcomes[-1] = status, outcome

    # -- what a user and the keeper do -----------------------------------------------------------

    def request_cancel(self, job_id: str) -> bool:
        job = self.jobs[job_id]
        if job.status in FINAL:
            return False
        if job.status == "running":
            job.cancel = True
        else:
            self._end(job, "cancelled")
        return True

    def request_pause(self, job_id: str) -> bool:
        job = self.jobs[job_id]
        if job.status == "running":
            job.pause = True
        elif job.status == "queued":
            job.status, job.rung = "paused", False
        else:
            return False
        return True

    def resume(self, job_id: str) -> bool:
        job = self.jobs[job_id]
        if job.status != "paused":
            return False
        job.status, job.waits = "queued", False
        return True

    def may_be_retried(self, job_id: str) -> bool:
        return self.jobs[job_id].status in ("failed", "cancelled")

    def retried(self, job_id: str, new: ModelJob) -> None:
        new.steps, new.rows = set(self.jobs[job_id].steps), set(self.jobs[job_id].rows)
        self.submit(new)

    def sweep(self) -> int:
        """Give back what lapsed, end what waits in vain; returns how many were given back."""
        stranded = [job for job in self.jobs.values() if self._waits_in_vain(job)]
        lapsed = [job for job in self.jobs.values() if job.status == "running" and job.lapsed]
        for job in lapsed:
            self.died(job.id)
        for job in stranded:
            if job.status == "queued":
                self._end(job, "failed")
        return len(lapsed)

    def _waits_in_vain(self, job: ModelJob) -> bool:
        if job.status != "queued" or job.depends_on is None:
            return False
        return self.jobs[job.depends_on].status in ("failed", "cancelled")

    def _end(self, job: ModelJob, status: str, *, outcome: str | None = None) -> None:
        if job.status == "running":
            job.outcomes[-1] = outcome or status
        job.status = status
        job.waits = False
        job.rung = False
        if status != "succeeded":
            for other in self.jobs.values():
                if other.depends_on == job.id and other.status == "queued":
                    self._end(other, "failed")
