"""`tuneyard up`: the whole platform on this machine, from the first process to the last.

It starts processes and looks after them; it imports none of what they run.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cli.platform import broker, parts, ports
from cli.platform.connection import FILE_NAME, Connection, read_connection, write_connection
from cli.platform.datadir import own_data_dir
from cli.platform.devices import count_gpus, plan_workers, visible_gpus
from cli.platform.errors import Refused, StartFailed
from cli.platform.interrupts import Interrupts
from cli.platform.parts import Plan
from cli.platform.processes import last_words
from cli.platform.supervision import Supervisor
from core.accounts.bootstrap import ensure_admin_key
from core.errors import ConfigError
from core.settings import Settings, load_settings

FLOWER_USER = "tuneyard"
FLOWER_PORT = 5555


def up(*, data_dir: Path | None, host: str, port: int, workers: int | None) -> int:
    """Run the platform until it is told to stop; the exit code.

    0 after a stop that was asked for, 1 if a part did not start, 2 if the request can't be
    carried out (a taken port, a data directory in use, a broken setting).
    """
    try:
        settings = load_settings(**({"data_dir": data_dir} if data_dir else {}))
        os.umask(0o077)  # keys, data and models are this user's alone
        with own_data_dir(settings.data_dir):
            plan = _plan(settings, host=host, port=port, workers=workers)
            _warn(plan)
            return _run(settings, plan)
    except (ConfigError, Refused) as error:
        _complain(str(error))
        return 2
    except (StartFailed, OSError, subprocess.SubprocessError) as error:
        # A full disk, no process to be had: nothing that a traceback would tell better.
        _complain(str(error))
        return 1


def admin_key() -> int:
    """Print a new admin key of project `default`: for a platform that `up` did not start."""
    try:
        settings = load_settings()
        print(ensure_admin_key(settings, None))
    except ConfigError as error:
        _complain(str(error))
        return 2
    except ValueError:  # of a URL; what it says may be a piece of a password
        _complain("TUNEYARD_DATABASE_URL: not a database's URL; docs/settings.md shows some")
        return 2
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        reason = _without_password(_first_line(error), settings.database_url)
        _complain(f"TUNEYARD_DATABASE_URL: {reason}{_advice(reason)}")
        return 2
    return 0


def _first_line(error: Exception) -> str:
    """What the driver said, where one did: SQLAlchemy adds the statement and a link."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__


def _without_password(text: str, url: str) -> str:
    try:
        password = make_url(url).password
    except (ArgumentError, ValueError):
        return text.replace(url, "the URL")
    return text.replace(str(password), "***") if password else text


def _advice(reason: str) -> str:
    if not re.search("no such table|relation .* does not exist", reason):
        return ""
    config = parts.migrations_config()
    return f"; `{sys.executable} -m alembic -c {config} upgrade head` makes our tables"


def own_broker() -> dict[str, str]:
    """The setting that names the broker of the `up` that runs on this machine's data directory;
    nothing where a broker is configured or no `up` runs."""
    try:
        settings = load_settings()
    except ConfigError:
        return {}
    folder = broker.find_folder(settings.data_dir)
    if settings.broker_url or folder is None or not broker.answers(folder):
        return {}
    return {"TUNEYARD_BROKER_URL": broker.broker_url(folder)}


def _plan(settings: Settings, *, host: str, port: int, workers: int | None) -> Plan:
    workers_planned = plan_workers(
        device=settings.device,
        gpus=visible_gpus(os.environ, count_gpus()),
        wanted=workers,
        threads=settings.threads,
    )
    port = ports.take_port(host, port)
    settled = _environment(settings)
    folder = None
    if settings.broker_url:
        broker.check_configured(settings.broker_url)
    else:
        folder = broker.private_folder(settings.data_dir)
        settled["TUNEYARD_BROKER_URL"] = broker.broker_url(folder)
    before = read_connection(settings.data_dir)
    return Plan(
        data_dir=settings.data_dir,
        host=host,
        port=port,
        flower_port=ports.prefer_port("127.0.0.1", FLOWER_PORT),
        flower_user=before.flower_user or FLOWER_USER,
        flower_password=before.flower_password or secrets.token_urlsafe(24),
        workers=workers_planned,
        broker_folder=folder,
        stop_grace=settings.stop_grace_seconds,
        env=settled,
    )


def _environment(settings: Settings) -> dict[str, str]:
    """What the parts must agree on, resolved: they run in another folder than we do."""
    path = settings.database_url.partition("sqlite:///")[2]
    if path and not path.startswith("/"):
        raise Refused(
            f"TUNEYARD_DATABASE_URL: {settings.database_url} is relative to nothing; "
            "write an absolute path after four slashes, sqlite:////srv/tuneyard.db"
        )
    path = settings.storage_url.removeprefix("file://")
    if "://" not in path and not path.startswith("/"):
        raise Refused(
            f"TUNEYARD_STORAGE_URL: {settings.storage_url} is relative to nothing; "
            "write an absolute path after three slashes, file:///srv/storage"
        )
    return {
        "TUNEYARD_DATA_DIR": str(settings.data_dir),
        "TUNEYARD_MODEL_DIR": str(settings.model_dir),
        "TUNEYARD_WORK_DIR": str(settings.work_dir),
        "TUNEYARD_DATABASE_URL": settings.database_url,
        "TUNEYARD_STORAGE_URL": settings.storage_url,
        "TUNEYARD_BROKER_URL": settings.broker_url,
    }


def _run(settings: Settings, plan: Plan) -> int:
    flower_url = ports.http_url("127.0.0.1", plan.flower_port)
    connection = Connection(
        base_url=ports.http_url(plan.host, plan.port),
        api_key=read_connection(plan.data_dir).api_key,
        flower_url=flower_url,
        flower_user=plan.flower_user,
        flower_password=plan.flower_password,
    )
    write_connection(plan.data_dir, connection)

    def record(pids: dict[str, int]) -> None:
        _note(plan.data_dir, replace(connection, pids={"up": os.getpid(), **pids}))

    with Interrupts() as interrupts:
        supervisor = Supervisor(interrupts, say=_say, changed=record)
        try:
            if not _start_store(supervisor, plan):
                return 0
            key = ensure_admin_key(settings, connection.api_key or None)
            connection = replace(connection, api_key=key)
            write_connection(plan.data_dir, connection)
            if supervisor.start(parts.service_parts(plan)):
                record(supervisor.pids)
                _announce(plan, connection)
                supervisor.watch()
                _say(f"stopping; a running job has up to {plan.stop_grace:g} s to save itself")
            return 0
        finally:
            supervisor.stop()
            _note(plan.data_dir, connection)
            if plan.broker_folder:
                shutil.rmtree(plan.broker_folder, ignore_errors=True)


def _note(data_dir: Path, connection: Connection) -> None:
    """Once the platform works: that a disk is full is no reason to end it."""
    try:
        write_connection(data_dir, connection)
    except OSError as error:
        _complain(f"{data_dir / FILE_NAME} is not up to date: {error.strerror}")


def _start_store(supervisor: Supervisor, plan: Plan) -> bool:
    """Broker and database, in this order; False if a stop was asked for meanwhile."""
    _say("starting …")
    if plan.broker_folder and not supervisor.start([parts.broker_part(plan, plan.broker_folder)]):
        return False
    migrate = parts.migrate_part(plan)
    code = supervisor.run(migrate)
    if code:
        reason = _database_reason(last_words(migrate.log, lines=40))
        raise Refused(f"TUNEYARD_DATABASE_URL: can't prepare the database: {reason}")
    return code == 0


def _database_reason(log: str) -> str:
    """The line of a traceback that names the error; SQLAlchemy adds a link below it."""
    named = [line for line in log.splitlines() if "Error" in line and not line.startswith(" ")]
    return (named or log.splitlines() or ["no reason given"])[-1]


def _warn(plan: Plan) -> None:
    if not ports.is_loopback(plan.host):
        _complain(
            f"warning: --host {plan.host} opens the API to the network, without TLS; "
            "put a TLS proxy in front of it"
        )


def _announce(plan: Plan, connection: Connection) -> None:
    slots = ", ".join(worker.name for worker in plan.workers)
    _say(f"Tuneyard is up. Workers: {slots}. Stop it by Ctrl-C.")
    _say(f"  API      {connection.base_url}/v1   (its pages: {connection.base_url}/docs)")
    _say(f"  Flower   {connection.flower_url}   (user {connection.flower_user})")
    _say(f"  API key and Flower password: {plan.data_dir / 'connection.json'}")
    _say(f"  Logs: {plan.data_dir / 'logs'}")


def _say(line: str) -> None:
    _write(sys.stdout, line)


def _complain(line: str) -> None:
    _write(sys.stderr, f"tuneyard: {line}")


def _write(stream: TextIO, line: str) -> None:
    try:
        print(line, file=stream, flush=True)
    except OSError:
        # Whoever read our output is gone; the platform goes on without a listener.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
