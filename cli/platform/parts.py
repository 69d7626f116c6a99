"""The platform of one machine, part by part: what runs, with what, and when it is ready.

Knows no setting's meaning: it is handed values and passes them on as environment.
"""

import hashlib
import importlib.util
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cli
from cli.platform import broker, ports
from cli.platform.datadir import fresh_log
from cli.platform.devices import WorkerPlan
from cli.platform.processes import Part

BROKER, WORKERS, KEEPER, API, FLOWER = range(5)
"""Stages: started in this order, stopped in reverse."""

WORKER_SAVE_SECONDS = 15
"""What a worker gets on top of its job's grace: to record the drain and to leave."""


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first process starts."""

    data_dir: Path
    host: str
    port: int
    flower_port: int
    flower_user: str
    flower_password: str
    workers: list[WorkerPlan]
    broker_folder: Path | None
    """Where the broker's socket is; None if the broker is somebody else's."""
    stop_grace: float
    """Seconds that a running job has to save itself."""
    env: dict[str, str]
    """TUNEYARD_* of every part."""


def node_host(data_dir: Path) -> str:
    """The `HOST` in a worker's name `gpu0@HOST`: this machine and this data directory.

    Two platforms on one machine may share a broker; Celery takes two nodes of a name for one.
    """
    digest = hashlib.sha256(str(data_dir).encode()).hexdigest()[:6]
    return f"{socket.gethostname()}-{digest}"


def broker_part(plan: Plan, folder: Path) -> Part:
    command = broker.broker_command(folder=folder, state=plan.data_dir / "broker")
    return _part(plan, "broker", BROKER, command, lambda: broker.answers(folder))


def migrate_part(plan: Plan) -> Part:
    """Bring the database to this version; runs to its end before anything else."""
    command = _python("alembic", "-c", str(migrations_config()), "upgrade", "head")
    return _part(plan, "migrate", BROKER, command, lambda: True)


def migrations_config() -> Path:
    """Alembic's settings, wherever this version is installed."""
    found = importlib.util.find_spec("migrations")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the package `migrations` is not installed")
    return Path(found.submodule_search_locations[0]).resolve() / "alembic.ini"


def service_parts(plan: Plan) -> list[Part]:
    """Workers, keeper, beat, API, Flower."""
    return [*_worker_parts(plan), *_keeper_parts(plan), _api_part(plan), _flower_part(plan)]


def _worker_parts(plan: Plan) -> Iterator[Part]:
    for worker in plan.workers:
        peers = sum(other.queue == worker.queue for other in plan.workers)
        yield _part(
            plan,
            worker.name,
            WORKERS,
            _celery_worker(worker.queue, f"{worker.name}@{node_host(plan.data_dir)}"),
            _counted(plan, worker.queue, peers),
            env=worker.env,
            patience=plan.stop_grace + WORKER_SAVE_SECONDS,
        )


def _keeper_parts(plan: Plan) -> Iterator[Part]:
    node = f"keeper@{node_host(plan.data_dir)}"
    system = _celery_worker("system", node)
    # A GPU hidden from the keeper can't be held by it.
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    yield _part(plan, "keeper", KEEPER, system, _counted(plan, "system", 1), env=hidden)
    folder, begun = plan.data_dir / "beat", time.time()
    schedule = str(folder / "schedule")
    # No pid file: one that a killed beat left behind would keep the next from starting.
    command = _celery("beat", "-s", schedule, "--pidfile=")
    yield _part(plan, "beat", KEEPER, command, lambda: _written_since(folder, begun))


def _api_part(plan: Plan) -> Part:
    # Without a limit an open event stream would hold the process after SIGTERM.
    command = _python(
        *("uvicorn", "api.app:create_app", "--factory", "--timeout-graceful-shutdown", "2"),
        *("--host", plan.host, "--port", str(plan.port)),
    )
    return _part(plan, "api", API, command, lambda: _status(plan) == "ready")


def _flower_part(plan: Plan) -> Part:
    command = _python(
        *("celery", "-A", "workers.app", "flower", "--address=127.0.0.1"),
        *(f"--port={plan.flower_port}", "--read_only=true"),
        # Its history outlives it, also when it is killed.
        *("--persistent=true", f"--db={plan.data_dir / 'flower' / 'state'}"),
        *("--state_save_interval=30000", "--purge_offline_workers=3600"),
    )
    # In the environment, since everybody on a machine can read everybody's arguments.
    env = {"FLOWER_BASIC_AUTH": f"{plan.flower_user}:{plan.flower_password}"}
    headers = ports.basic_auth(plan.flower_user, plan.flower_password)

    def ready() -> bool:
        return ports.get("127.0.0.1", plan.flower_port, "/workers", headers=headers)[0] == 200

    return _part(plan, "flower", FLOWER, command, ready, env=env)


def _celery_worker(queue: str, node: str) -> tuple[str, ...]:
    pool = ("-c", "1", "--pool", "prefork", "-l", "INFO")
    return _celery("worker", "-Q", queue, "-n", node, *pool)


def _celery(*arguments: str) -> tuple[str, ...]:
    """Without Celery's banner, which would stand between lines of JSON."""
    return _python("celery", "--quiet", "-A", "workers.app", *arguments)


def _counted(plan: Plan, queue: str, number: int) -> Callable[[], bool]:
    """Ready when the API knows of that many live workers of the queue."""

    def ready() -> bool:
        live = ports.get_json(plan.host, plan.port, "/health/ready").get("workers") or {}
        return live.get(queue, 0) >= number

    return ready


def _status(plan: Plan) -> str | None:
    return ports.get_json(plan.host, plan.port, "/health/ready").get("status")


def _missing(plan: Plan) -> str:
    """What the API calls away, or late."""
    said = ports.get_json(plan.host, plan.port, "/health/ready")
    faults = [f"{name} is {state}" for name, state in said.items() if state in ("away", "late")]
    return f" ({', '.join(faults)})" if faults else ""


def _written_since(folder: Path, begun: float) -> bool:
    # The schedule's file name depends on the dbm that Python was built with; some clocks of
    # file systems lag a little behind the system's.
    return any(file.stat().st_mtime >= begun - 1 for file in folder.glob("schedule*"))


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _part(
    plan: Plan,
    name: str,
    stage: int,
    command: tuple[str, ...],
    ready: Callable[[], bool],
    *,
    env: dict[str, str] | None = None,
    patience: float = 10,
) -> Part:
    # The children run the very code that this file belongs to, wherever `up` was called.
    root = str(Path(cli.__file__).resolve().parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    common = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **plan.env}
    return Part(
        name=name,
        stage=stage,
        command=command,
        env={**os.environ, **common, **(env or {})},
        folder=plan.data_dir,
        log=fresh_log(plan.data_dir, name),
        ready=ready,
        patience=patience,
        missing=lambda: _missing(plan),
    )
