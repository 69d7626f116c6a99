"""One part of the platform as a process: how it starts, ends, and what it leaves behind."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.platform.leash import dies_with


@dataclass(frozen=True)
class Part:
    """What to run and how to treat it. `stage`s start in order and stop in reverse."""

    name: str
    stage: int
    command: tuple[str, ...]
    env: dict[str, str]
    folder: Path
    """Where it runs. Not the user's: a package `core` there would shadow ours."""
    log: Path
    ready: Callable[[], bool]
    patience: float = 10
    """Seconds between SIGTERM and SIGKILL."""
    missing: Callable[[], str] = str
    """What it waits for while it is not ready, as words to append; "" if that is not known."""


def spawn(part: Part) -> subprocess.Popen[bytes]:
    """Start it in a session of its own (Ctrl-C must reach `up` alone), bound to our life."""
    with part.log.open("ab") as output:
        return subprocess.Popen(
            part.command,
            env=part.env,
            cwd=part.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=dies_with(os.getpid()),
        )


def terminate(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process and its group, at once."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def kill_orphans(keep: set[int]) -> None:
    """Kill and reap children of ours other than `keep`: what dead parts left to us.

    Each round may hand us the children of what it killed, so it goes on until none is left.
    """
    while orphans := children() - keep:
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def ending(process: subprocess.Popen[bytes]) -> str:
    """How it ended, in words."""
    code = process.returncode
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def last_words(log: Path, *, lines: int = 1) -> str:
    """The end of a log without its empty lines; "" if there is none."""
    try:
        text = log.read_bytes()[-20_000:].decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])


def children() -> set[int]:
    """Processes whose parent we are; none where there is no /proc."""
    parent = os.getpid()
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in the second field may hold spaces and brackets; the parent comes after.
            after_name = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        except OSError:
            continue
        if int(after_name.split()[1]) == parent:
            found.add(int(entry.parent.name))
    return found
