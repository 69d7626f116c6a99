"""Looks over an installation and says what to mend: `python -m workers.doctor [--deep]`.

Each check is asked with a bound in time, so that a broker or database that hangs is a finding and
not a hang. Exit code 0, or 1 if something is broken; a warning breaks nothing.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import select

from core import failpoints, queue
from core.basemodels.store import MANIFEST, ModelStore
from core.db import db_now, get_database
from core.errors import ConfigError, InvalidInput
from core.fleet.service import KEEPER_QUEUE, keeper_lags, live_workers
from core.settings import Settings, get_settings
from core.storage import get_storage
from workers.node import find_device, gpu_memory, host_memory

OK, WARNING, BROKEN = "ok", "warning", "broken"
SECONDS = 15.0
"""For each check; a deep look at the models has all the time it needs."""
SKEW_SECONDS = 2.0
LATE_SECONDS = 60.0
GIB = 1024**3
FULL, NEARLY_FULL = 1 * GIB, 10 * GIB

OF_THE_DATABASE = ("clock", "keeper", "workers")

# Versions below these have known holes; docs/operations.md has the same table with the reasons.
FLOORS = {
    "celery": "5.2.2",
    "flower": "1.2",
    "python-multipart": "0.0.30",
    "starlette": "1.3.0",
    "torch": "2.10",
    "transformers": "5.2.1",
}


@dataclass(frozen=True)
class Finding:
    """What a check found, and what would mend it."""

    state: str
    found: str
    mend: str = ""


Check = Callable[[], Iterator[Finding]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tuneyard doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--deep", action="store_true", help="hash every file of every model")
    options = parser.parse_args(arguments)
    findings = look(deep=options.deep)
    show(findings)
    return 1 if any(one.state == BROKEN for _, one in findings) else 0


def look(*, deep: bool = False) -> list[tuple[str, Finding]]:
    """Every finding with the name of its check."""
    try:
        settings = get_settings()
    except ConfigError as error:
        mend = "docs/settings.md has every variable; nothing else was looked at"
        return [("settings", Finding(BROKEN, error.message, mend))]
    checks: dict[str, Check] = {
        "settings": lambda: check_settings(settings),
        "failpoints": check_failpoints,
        "database": lambda: check_database(settings),
        "clock": check_clock,
        "broker": lambda: check_broker(settings),
        "storage": check_storage,
        "keeper": lambda: check_keeper(settings),
        "workers": check_workers,
        "models": lambda: check_models(settings, deep=deep),
        "devices": lambda: check_devices(settings),
        "packages": check_packages,
        "disk": lambda: check_disk(settings),
    }
    findings: list[tuple[str, Finding]] = []
    for name, check in checks.items():
        if name in OF_THE_DATABASE and ("database", BROKEN) in {(n, f.state) for n, f in findings}:
            findings.append((name, Finding(WARNING, "not looked at: it is in the database")))
            continue
        seconds = None if deep and name == "models" else SECONDS
        findings += [(name, finding) for finding in _bounded(check, seconds)]
    return findings


def _bounded(check: Check, seconds: float | None) -> list[Finding]:
    """What the check found within its time; an error of any kind is a finding too."""
    findings: list[Finding] = []

    def run() -> None:
        try:
            findings.extend(check())
        except Exception as error:  # noqa: BLE001 - whatever it is, the operator has to see it
            findings.append(Finding(BROKEN, _one_line(error), "see docs/operations.md"))

    thread = threading.Thread(target=run, daemon=True)  # a daemon: it must not hold up the exit
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return [Finding(BROKEN, f"no answer within {seconds:g} s: it hangs", "restart that server")]
    return findings


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300] or type(error).__name__


# -- the checks ------------------------------------------------------------------------------------


def check_settings(settings: Settings) -> Iterator[Finding]:
    known = {f"TUNEYARD_{name.upper()}" for name in Settings.model_fields} | {failpoints.VARIABLE}
    unknown = sorted(n for n in os.environ if n.startswith("TUNEYARD_") and n not in known)
    for name in unknown:
        yield Finding(WARNING, f"{name} is no setting", "a typing error? see docs/settings.md")
    if not unknown:
        yield Finding(OK, f"data in {settings.data_dir}")


def check_failpoints() -> Iterator[Finding]:
    if os.environ.get(failpoints.VARIABLE) is None:
        yield Finding(OK, "not armed")
        return
    mend = "unset it: it lets tests make processes fail, and has no place on a platform"
    yield Finding(BROKEN, f"{failpoints.VARIABLE} is set", mend)


def check_database(settings: Settings) -> Iterator[Finding]:
    path = settings.database_url.partition("sqlite:///")[2]
    if path and not Path(path).exists():  # to connect would make it
        mend = "`tuneyard up` makes it; is TUNEYARD_DATA_DIR or TUNEYARD_DATABASE_URL right?"
        yield Finding(BROKEN, f"{path} does not exist", mend)
        return
    try:
        with get_database().reading() as session:
            there = set(MigrationContext.configure(session.connection()).get_current_heads())
    except Exception as error:  # noqa: BLE001
        mend = "start it, or mend TUNEYARD_DATABASE_URL"
        yield Finding(BROKEN, f"can't be reached: {_one_line(error)}", mend)
        return
    config = _migrations() / "alembic.ini"
    migrate = (
        f"stop nothing; run `{sys.executable} -m alembic -c {config} upgrade head` "
        "(compose: `docker compose run --rm migrate`)"
    )
    scripts = ScriptDirectory(str(_migrations()))
    known = {script.revision for script in scripts.walk_revisions()}
    if not there:
        yield Finding(BROKEN, "has none of our tables", migrate)
    elif there - known:
        # Migrations add: this is where the way back to the version before leads.
        mend = "a newer version migrated it, and this one works with its tables; upgrade again soon"
        yield Finding(WARNING, f"is at {', '.join(sorted(there))}, ahead of this program", mend)
    elif there != set(scripts.get_heads()):
        yield Finding(BROKEN, f"is at {', '.join(sorted(there))}, behind this program", migrate)
    else:
        yield Finding(OK, f"reachable, at revision {', '.join(sorted(there))}")


def _migrations() -> Path:
    found = find_spec("migrations")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the package `migrations` is not installed")
    return Path(found.submodule_search_locations[0]).resolve()


def check_clock() -> Iterator[Finding]:
    with get_database().reading() as session:
        before = time.time()
        theirs = session.scalar(select(db_now()))
        skew = theirs - (before + time.time()) / 2
    said = f"{abs(skew):.1f} s {'behind' if skew > 0 else 'ahead of'} the database's"
    if abs(skew) > SKEW_SECONDS:
        # Leases live by the database's clock; logs, ids and beat by this one.
        yield Finding(WARNING, f"this machine's clock is {said}", "switch NTP on, on both")
    else:
        yield Finding(OK, f"within {SKEW_SECONDS:g} s of the database's")


def check_broker(settings: Settings) -> Iterator[Finding]:
    if not settings.broker_url:
        mend = "start `tuneyard up`, which brings its own, or set TUNEYARD_BROKER_URL"
        yield Finding(BROKEN, "none is configured, and none of `tuneyard up` runs here", mend)
        return
    try:
        queue.ping()
    except Exception as error:  # noqa: BLE001 - each transport has errors of its own
        mend = "start it, or mend TUNEYARD_BROKER_URL; queued jobs wait meanwhile, none is lost"
        yield Finding(BROKEN, f"can't be reached: {_one_line(error)}", mend)
        return
    yield Finding(OK, "answers")


def check_storage() -> Iterator[Finding]:
    """Write, read back, delete: what a checkpoint needs of it."""
    storage, key = get_storage(), f"doctor/{uuid.uuid4().hex}"
    text = os.urandom(64 * 1024)
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe"
            source.write_bytes(text)
            storage.put(source, key)
        if b"".join(storage.chunks(key)) != text:
            yield Finding(BROKEN, "gives back other bytes than it got", "check its disks")
        storage.delete(key)
    except Exception as error:  # noqa: BLE001 - each file system has errors of its own
        mend = "check TUNEYARD_STORAGE_URL, its permissions and free room, for S3 also the keys"
        # Of an object store's client, what it said itself: this is for the operator.
        yield Finding(BROKEN, _one_line(error.__cause__ or error), mend)
        return
    yield Finding(OK, f"written, read and deleted in {time.monotonic() - begun:.2f} s")


def check_keeper(settings: Settings) -> Iterator[Finding]:
    with get_database().reading() as session:
        alive = any(worker.queue == KEEPER_QUEUE for worker in live_workers(session))
        lag = keeper_lags(session).get("sweep")
    if not alive:
        mend = "start it: `celery -A workers.app worker -Q system`, or `tuneyard up`"
        yield Finding(BROKEN, "no keeper lives: lost jobs are not given back", mend)
    elif lag is None or lag > LATE_SECONDS + settings.sweep_seconds:
        said = "has never swept" if lag is None else f"last swept {lag:.0f} s ago"
        mend = "is `celery -A workers.app beat` running, and does its broker answer?"
        yield Finding(BROKEN, f"lives but {said}", mend)
    else:
        yield Finding(OK, f"swept {lag:.0f} s ago")


def check_workers() -> Iterator[Finding]:
    with get_database().reading() as session:
        live = live_workers(session)
    for name in ("gpu", "cpu"):
        count = sum(worker.queue == name for worker in live)
        if count:
            yield Finding(OK, f"{count} of queue '{name}'")
        else:
            mend = f"start one: `celery -A workers.app worker -Q {name} -n {name}0@$HOSTNAME -c 1`"
            yield Finding(WARNING, f"none of queue '{name}': its jobs wait", mend)


def check_models(settings: Settings, *, deep: bool) -> Iterator[Finding]:
    store = ModelStore(settings.model_dir)
    names = [path.parent.name for path in sorted(store.root.glob(f"*/{MANIFEST}"))]
    for name in names:
        try:
            fault = store.verify(name) if deep else _wrong_size(store, name)
        except InvalidInput as error:
            fault = error.message
        mend = f"`tuneyard models fetch {_source(store, name)}` brings it again" if fault else ""
        how = "every byte as recorded" if deep else "every file there, sizes as recorded"
        yield Finding(BROKEN if fault else OK, f"{name}: {fault or how}", mend)
    if not names:
        mend = "on a machine with workers: `tuneyard models fetch smollm2-135m`"
        yield Finding(WARNING, f"none in {store.root}", mend)


def _source(store: ModelStore, name: str) -> str:
    """What to fetch for a model of that name: one of the catalogue, or where it came from."""
    try:
        source = Path(store.get(name)["source"])
    except (InvalidInput, KeyError):
        return name
    return f"{source} --name {name}" if source.is_absolute() else name


def _wrong_size(store: ModelStore, name: str) -> str | None:
    for entry in store.get(name)["files"]:
        path = store.path(name) / entry["path"]
        if not path.is_file():
            return f"{entry['path']} is missing"
        if path.stat().st_size != entry["bytes"]:
            return f"{entry['path']} has {path.stat().st_size} bytes, not {entry['bytes']}"
    return None


def check_devices(settings: Settings) -> Iterator[Finding]:
    gpu = gpu_memory()
    if settings.device == "cuda" and not gpu:
        mend = "does `nvidia-smi` list it? Else set TUNEYARD_DEVICE=auto or cpu"
        yield Finding(BROKEN, "TUNEYARD_DEVICE=cuda, but no GPU is visible", mend)
    elif find_device(settings) == "cpu":
        size = host_memory() / GIB
        yield Finding(OK, f"CPU: {os.cpu_count()} cores, {size:.1f} GiB of memory")
    else:
        yield Finding(OK, f"GPU with {gpu / GIB:.1f} GiB of memory")


def check_packages() -> Iterator[Finding]:
    found = {name: here for name in FLOORS if (here := _version(name)) is not None}
    old = {name: here for name, here in found.items() if _numbers(here) < _numbers(FLOORS[name])}
    for name, here in old.items():
        mend = f"`pip install '{name}>={FLOORS[name]}'`: versions below have known holes"
        yield Finding(BROKEN, f"{name} {here} is below {FLOORS[name]}", mend)
    if not old:
        said = ", ".join(f"{name} {here}" for name, here in found.items())
        yield Finding(OK, f"none below its security floor: {said}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None  # torch is not everywhere


def _numbers(text: str) -> tuple[int, ...]:
    """2.13.0+cpu as (2, 13, 0): enough for floors, which are releases."""
    return tuple(int(part) for part in re.match(r"\d+(\.\d+)*", text)[0].split("."))


def check_disk(settings: Settings) -> Iterator[Finding]:
    places = {"data": settings.data_dir, "work": settings.work_dir, "models": settings.model_dir}
    storage = get_storage()
    if storage.local:
        places["storage"] = Path(storage.root)
    by_disk: dict[int, tuple[list[str], Path]] = {}
    for name, path in places.items():
        there = next(p for p in (path, *path.parents) if p.exists())
        by_disk.setdefault(there.stat().st_dev, ([], there))[0].append(name)
    for names, path in by_disk.values():
        free = shutil.disk_usage(path).free
        said = f"{free / GIB:.1f} GiB free for {', '.join(names)}"
        mend = "free some room; docs/operations.md, 'Disk full', says what may go"
        if free < FULL:
            yield Finding(BROKEN, said, mend)
        else:
            yield Finding(WARNING if free < NEARLY_FULL else OK, said, mend)


# -- what the operator sees ------------------------------------------------------------------------

COLOURS = {OK: "green", WARNING: "yellow", BROKEN: "bold red"}


def show(findings: list[tuple[str, Finding]]) -> None:
    """A table in a terminal; elsewhere a line for each finding, whole, for grep and mail."""
    console = Console()
    if not console.is_terminal:
        for name, one in findings:
            cure = f" -- {one.mend}" if one.mend and one.state != OK else ""
            print(f"{one.state:8} {name:11} {one.found}{cure}")
        return
    table = Table(show_header=True, header_style="bold")
    for heading in ("", "what", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for name, one in findings:
        mend = "" if one.state == OK else one.mend
        # As text: a path or message may hold what rich takes for its markup.
        cells = (Text(one.state, style=COLOURS[one.state]), name, Text(one.found), Text(mend))
        table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
