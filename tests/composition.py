"""`docker-compose.yml` as processes of this machine: the same commands, other folders and ports.

What is translated: /data and /models to a folder, the published ports to free ones, host names of
services to loopback, `python` to ours. All else is run as it is written.
"""

import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cli.platform.leash import dies_with
from tests.servers import free_port, postgres_host, postgres_programs

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")
PING = """#!{python}
import os, socket, sys
port = int(sys.argv[sys.argv.index("-p") + 1])
with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
    client.sendall(f"AUTH {{os.environ['REDISCLI_AUTH']}}\\r\\nPING\\r\\n".encode())
    answers = client.makefile()
    print(answers.readline(), answers.readline())
"""


def read_compose() -> dict[str, Any]:
    """The file as it is written: merge keys resolved, variables not."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@dataclass
class Composition:
    """The services of the file on this machine."""

    folder: Path
    database_url: str
    variables: dict[str, str]
    services: dict[str, Any] = field(default_factory=lambda: read_compose()["services"])
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, subprocess.Popen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ports = {port: free_port() for port in ("8400", "5555", "6379")}
        for name in ("beat", "flower", "storage", "work"):
            (self.folder / "data" / name).mkdir(parents=True)
        (self.folder / "models").mkdir()
        self._install_tools()

    def start(self, name: str) -> subprocess.Popen:
        """Run a service's command; its output goes to `<name>.log`."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            self.running[name] = subprocess.Popen(
                self._command(self.services[name]["command"]),
                env=self.environment(name),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with(os.getpid()),
            )
        return self.running[name]

    def wait_healthy(self, name: str, *, seconds: float) -> None:
        """Run the service's own health check until it passes."""
        kind, *rest = self.services[name]["healthcheck"]["test"]
        command = ["/bin/sh", "-c", self._text(rest[0])] if kind == "CMD-SHELL" else rest
        deadline = time.monotonic() + seconds
        while True:
            check = subprocess.run(
                self._command(command),
                env=self.environment(name),
                cwd=self.folder,
                capture_output=True,
                text=True,
            )
            if check.returncode == 0:
                return
            process = self.running.get(name)
            ended = process is not None and process.poll() is not None
            if ended or time.monotonic() > deadline:
                log = self.folder / f"{name}.log"
                said = log.read_text(errors="replace")[-3000:] if log.exists() else ""
                raise AssertionError(f"{name} is not healthy: {check.stderr}\n{said}")
            time.sleep(0.3)

    def stop(self) -> None:
        """SIGTERM to all, in reverse; a test that leaves nothing behind needs no patience."""
        for process in reversed(self.running.values()):
            process.terminate()
        for process in reversed(self.running.values()):
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def environment(self, name: str) -> dict[str, str]:
        written = self.services[name].get("environment", {})
        # One without a value is handed on if it is set, which `os.environ` below does.
        given = {key: value for key, value in written.items() if value is not None}
        here = {key: self._text(str(value)) for key, value in given.items()}
        if "TUNEYARD_DATABASE_URL" in here:
            here["TUNEYARD_DATABASE_URL"] = self.database_url
            # Importing torch ahead takes longer than all else here together.
            here["TUNEYARD_SPARE_RUNNER"] = "false"
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {
            **os.environ,
            **here,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "HOSTNAME": socket.gethostname(),
            "PGHOST": postgres_host(self.database_url),
        }

    def _command(self, written: list[str]) -> list[str]:
        words = [self._text(word) for word in written]
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    def _text(self, written: str) -> str:
        text = VARIABLE.sub(self._value, written).replace("$$", "$")
        text = text.replace("/opt/tuneyard", str(ROOT)).replace("@redis:", "@127.0.0.1:")
        text = re.sub(r"(?<![\w/])/(data|models)\b", rf"{self.folder}/\1", text)
        text = text.replace("file:///data", f"file://{self.folder}/data")
        text = text.replace("/tmp/valkey.conf", f"{self.folder}/valkey.conf")
        for port, mine in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(mine), text)
        return text.replace("--host=0.0.0.0", "--host=127.0.0.1")

    def _value(self, found: re.Match[str]) -> str:
        default = found["rest"] if found["kind"] == "-" else ""
        return self.variables.get(found["name"], default)

    def _install_tools(self) -> None:
        """The tools of the images: `python`, `valkey-server`, a `valkey-cli` that can ping."""
        from cli.platform.binaries import find_broker_binary

        tools = self.folder / "bin"
        tools.mkdir()
        (tools / "valkey-server").symlink_to(find_broker_binary())
        (tools / "pg_isready").symlink_to(postgres_programs() / "pg_isready")
        scripts = {
            # A link would not be of our virtual environment.
            "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
            "valkey-cli": PING.format(python=sys.executable),
        }
        for name, text in scripts.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
