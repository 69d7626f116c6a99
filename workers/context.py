"""What a recipe may ask and say while it works. Knows neither the database nor the Job.

In a runner what is said goes through the pipe to the supervisor; `LocalContext` keeps it in lists.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workers.checkpoints import write_checkpoint

PROGRESS_SECONDS = 0.5


class Stopped(Exception):
    """The job was asked to stop (`reason`: cancel, pause or drain) and the recipe obeys."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class Spec:
    """All that a runner is told of its job: plain values and local paths."""

    job_id: str
    type: str
    params: dict[str, Any]
    inputs: dict[str, str]
    workdir: str
    device: str = "cpu"
    threads: int = 0
    resume: str | None = None
    rows: str | None = None
    """JSONL of the rows that earlier attempts left: {"row", "data"}."""
    processes: int = 1
    """How many do the work together, on a device each; `rank` is the number of this one."""
    rank: int = 0
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    """What no file, log or message may hold: `dsn`, how one logs in to the job's database."""


@dataclass
class Context:
    spec: Spec
    send: Callable[..., None]
    stop: str | None = None
    others_wait: bool = False
    """Jobs that may run wait for the slot of this one; only types that yield hear of it."""
    _last_progress: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        self.params = self.spec.params
        self.inputs = {name: Path(path) for name, path in self.spec.inputs.items()}
        self.secrets = self.spec.secrets
        self.workdir = Path(self.spec.workdir)
        self.rank, self.processes = self.spec.rank, self.spec.processes
        self.meeting = self.workdir / "meeting"
        # Only the first one's is kept.
        self.out = self.workdir / (f"out-{self.rank}" if self.rank else "out")
        self.out.mkdir(parents=True, exist_ok=True)
        self.resume = Path(self.spec.resume) if self.spec.resume else None
        self.device = self.spec.device
        self.done_rows = {row for row, _ in self.previous_rows()}
        self.points: dict[int, dict[str, Any]] = {}  # of the job's curves, as this attempt tells

    def progress(self, step: int, total: int, **figures: Any) -> None:
        """Where the work stands. Cheap: what comes too fast is dropped, but never the last step."""
        now = time.monotonic()
        if step < total and now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        self.send(kind="progress", progress={"step": step, "total": total, **figures})

    def metric(self, step: int, **values: float) -> None:
        """A point of the job's curves."""
        self.points.setdefault(step, {}).update(values)
        self.send(kind="metric", step=step, values=values)

    def event(self, message: str, *, level: str = "info", **data: Any) -> None:
        """A sentence for a person."""
        self.send(kind="event", event={"message": message, "level": level, "data": data})

    def resolved(self, values: dict[str, Any]) -> None:
        """What every "auto" came to: the first part of the job's result, there while it runs."""
        self.send(kind="resolved", values=values)

    def memory(self, **lesson: Any) -> None:
        """What groups of this size take: tokens, labels, need_bytes, peak_bytes, and whether they
        `fitted`; None before they are tried."""
        self.send(kind="memory", lesson=lesson)

    def row(self, index: int, data: dict[str, Any]) -> None:
        """A finished row: durable within about a second."""
        self.send(kind="row", row=index, data=data)

    def previous_rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows that earlier attempts of this job left."""
        if self.spec.rows is None:
            return
        with Path(self.spec.rows).open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                yield entry["row"], entry["data"]

    def checkpoint(self, step: int, write: Callable[[Path], None], **metrics: Any) -> None:
        """Save the state at `step`: `write` fills a folder, which is then hashed and recorded."""
        begun = time.monotonic()
        folder, files = write_checkpoint(self.workdir / "checkpoints", step, write)
        self.send(
            kind="checkpoint",
            step=step,
            path=str(folder),
            files=[entry.to_dict() for entry in files],
            metrics=metrics,
            seconds=time.monotonic() - begun,
        )

    def stop_requested(self) -> str | None:
        return self.stop

    def check(self) -> None:
        """Raise `Stopped` if the job is to stop; call it between steps."""
        if self.stop is not None:
            raise Stopped(self.stop)


class LocalContext(Context):
    """A context without a supervisor: what is said is kept here. For tests and scripts."""

    def __init__(
        self,
        params: dict[str, Any],
        inputs: dict[str, Path],
        workdir: Path,
        *,
        resume: Path | None = None,
        rows: list[tuple[int, dict[str, Any]]] | None = None,
        device: str = "cpu",
        secrets: dict[str, str] | None = None,
    ) -> None:
        self.said: list[dict[str, Any]] = []
        self.checkpoints: list[Path] = []
        workdir.mkdir(parents=True, exist_ok=True)
        spec = Spec(
            job_id="local",
            type="local",
            params=params,
            inputs={name: str(path) for name, path in inputs.items()},
            workdir=str(workdir),
            device=device,
            resume=str(resume) if resume else None,
            rows=write_rows(workdir / "previous.jsonl", rows) if rows else None,
            secrets=secrets or {},
        )
        super().__init__(spec, self._keep)

    def _keep(self, **message: Any) -> None:
        json.dumps(message)  # what can't travel through a pipe is an error here too
        self.said.append(message)
        if message["kind"] == "checkpoint":
            self.checkpoints.append(Path(message["path"]))

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.said if message["kind"] == kind]

    @property
    def rows(self) -> dict[int, dict[str, Any]]:
        return {message["row"]: message["data"] for message in self.of_kind("row")}

    def keep_checkpoint(self, target: Path) -> Path:
        """Copy the newest checkpoint to where it outlives the workdir."""
        return Path(shutil.copytree(self.checkpoints[-1], target))


def write_rows(path: Path, rows: Iterable[tuple[int, dict[str, Any]]]) -> str | None:
    """Write rows as `Spec.rows` wants them: the file, or None without any."""
    with path.open("w", encoding="utf-8") as out:
        for row, data in rows:
            out.write(json.dumps({"row": row, "data": data}, ensure_ascii=False) + "\n")
    if path.stat().st_size:
        return str(path)
    path.unlink()
    return None
