"""How a job's progress looks on a terminal. Knows the job's shape in the API."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

FIGURES = (
    ("loss", "loss {:.3f}"),
    ("examples_per_second", "{:.1f} examples/s"),
    ("requests_per_second", "{:.1f} requests/s"),
    ("tokens_per_second", "{:.0f} tokens/s"),
)


def figures(progress: dict[str, Any]) -> str:
    """The figures of a progress that a person wants to see, in one line."""
    shown = [form.format(progress[name]) for name, form in FIGURES if progress.get(name)]
    eta = progress.get("eta_seconds")
    if eta:
        shown.append(f"about {duration(eta)} left")
    return ", ".join(shown)


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class JobBar:
    """A bar that follows one job: `with JobBar(…) as bar: client.wait(job_id, bar)`."""

    def __init__(self, console: Console, title: str) -> None:
        self._bar = Progress(
            TextColumn("  {task.description:<40}"),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._task = self._bar.add_task(title, total=None, figures="queued")

    def __enter__(self) -> "JobBar":
        self._bar.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._bar.stop()

    def __call__(self, job: dict[str, Any]) -> None:
        progress = job["progress"] or {}
        text = figures(progress) if progress else job["status"]
        done, total = progress.get("step", 0), progress.get("total")
        if job["status"] == "succeeded":
            done = total = total or 1
        self._bar.update(self._task, completed=done, total=total, figures=text)
