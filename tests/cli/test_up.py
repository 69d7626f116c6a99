"""`tuneyard up`: a whole platform starts, heals, goes on, and leaves nothing behind."""

import base64
import errno
import os
import shutil
import signal
import stat
import subprocess
import urllib.error
import urllib.request

import pytest

from cli.platform.broker import private_folder
from cli.platform.connection import Connection
from cli.up import _note, up
from tests.cli.platform_process import COMMAND, Platform, alive, environment, wait_for

PARTS = {"up", "broker", "gpu0", "cpu0", "keeper", "beat", "api", "flower"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    made = Platform(tmp_path_factory.mktemp("up"))
    yield made
    if made.process.poll() is None:
        made.stop()


def status(url: str, authorization: str | None = None) -> int:
    request = urllib.request.Request(url)
    if authorization:
        request.add_header("Authorization", authorization)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def basic(connection: dict) -> str:
    pair = f"{connection['flower_user']}:{connection['flower_password']}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def test_it_says_where_everything_is_and_writes_it_for_its_owner_alone(platform):
    connection = platform.connection
    assert connection["base_url"] in platform.said
    assert connection["flower_url"] in platform.said
    assert set(connection["pids"]) == PARTS
    mode = (platform.data_dir / "connection.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_the_api_takes_the_key_that_it_wrote_and_no_other(platform):
    jobs = platform.connection["base_url"] + "/v1/jobs"
    assert status(jobs, f"Bearer {platform.connection['api_key']}") == 200
    assert status(jobs, "Bearer ty_wrong") == 401
    assert status(jobs) == 401


def test_flower_takes_the_password_that_it_wrote_and_no_other(platform):
    workers = platform.connection["flower_url"] + "/workers"
    assert status(workers, basic(platform.connection)) == 200
    assert status(workers) == 401
    assert status(platform.connection["flower_url"] + "/api/tasks") == 401


def test_no_secret_stands_in_an_argument_or_in_what_it_says(platform):
    secrets = [platform.connection["api_key"], platform.connection["flower_password"]]
    said = platform.said + "".join(
        log.read_text(encoding="utf-8", errors="replace")
        for log in (platform.data_dir / "logs").glob("*.log")
    )
    for process in platform.processes():
        said += " ".join(process.cmdline())
    assert not [secret for secret in secrets if secret in said]


def test_a_data_directory_in_use_is_refused_in_one_line(platform):
    again = [*COMMAND, "--data-dir", str(platform.data_dir), "--port", "0"]
    done = subprocess.run(
        again, env=environment(platform.folder), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"(pid {platform.process.pid})" in done.stderr


@pytest.mark.parametrize("name", ["cpu0", "broker", "api"])
def test_a_part_that_is_killed_comes_back(platform, name):
    before = platform.connection["pids"][name]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: platform.connection["pids"].get(name, before) != before, seconds=20)
    assert f"{name} ended (killed by SIGKILL)" in platform.said
    ready = platform.connection["base_url"] + "/health/ready"
    wait_for(lambda: answers(ready), seconds=60)


def answers(url: str) -> bool:
    try:
        return status(url) == 200
    except OSError:
        return False


def test_the_next_one_goes_on_and_neither_leaves_anything_behind(platform):
    before, processes = platform.connection, platform.processes()
    assert len(processes) > len(PARTS)
    assert platform.stop() == 0
    assert alive(processes) == []
    assert platform.connection["pids"] == {}

    following = Platform(platform.folder)
    try:
        kept = ("api_key", "flower_user", "flower_password")
        assert [following.connection[name] for name in kept] == [before[name] for name in kept]
        jobs = following.connection["base_url"] + "/v1/jobs"
        assert status(jobs, f"Bearer {before['api_key']}") == 200
        processes = following.processes()
    finally:
        following.stop(by=signal.SIGKILL)
    wait_for(lambda: not alive(processes), seconds=3)
    shutil.rmtree(private_folder(platform.data_dir))  # the next `up` would use it again


@pytest.fixture
def quiet_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("quiet_umask")
@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("LEASE_SECONDS", "soon", "TUNEYARD_LEASE_SECONDS: "),
        ("HEARTBEAT_SECONDS", "59", "heartbeat_seconds must be at most half"),
        ("BROKER_URL", "redis://:hidden@127.0.0.1:1/0", "TUNEYARD_BROKER_URL: can't reach"),
        ("DATABASE_URL", "sqlite:///here.db", "write an absolute path"),
        ("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/x", "can't prepare the database"),
        ("DEVICE", "cuda", "no GPU is visible"),
        ("DEVICE", "cuda:1", "TUNEYARD_DEVICE: "),
        ("STORAGE_URL", "file://shared", "write an absolute path"),
        ("STORAGE_URL", "shared", "write an absolute path"),
    ],
)
def test_a_broken_setting_is_one_clear_line(monkeypatch, capsys, tmp_path, setting, value, reason):
    monkeypatch.setenv(f"TUNEYARD_{setting}", value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert up(data_dir=tmp_path / "data", host="127.0.0.1", port=0, workers=None) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert reason in errors
    assert "hidden" not in errors


@pytest.mark.usefixtures("quiet_umask")
def test_a_taken_port_is_one_clear_line(capsys, tmp_path):
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert up(data_dir=tmp_path, host="127.0.0.1", port=port, workers=None) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert f"port {port} of 127.0.0.1" in errors


@pytest.mark.usefixtures("quiet_umask")
def test_opening_it_to_the_network_is_warned_of(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("cli.up._run", lambda settings, plan: 0)
    assert up(data_dir=tmp_path, host="0.0.0.0", port=0, workers=None) == 0
    assert "opens the API to the network" in capsys.readouterr().err
    private_folder(tmp_path).rmdir()


@pytest.mark.usefixtures("quiet_umask")
@pytest.mark.parametrize("place", ["_plan", "_run"])
def test_a_full_disk_at_the_start_is_one_clear_line(capsys, tmp_path, monkeypatch, place):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", "connection.new")

    monkeypatch.setattr(f"cli.up.{place}", fail)
    assert up(data_dir=tmp_path, host="127.0.0.1", port=0, workers=None) == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "No space left on device" in errors
    shutil.rmtree(private_folder(tmp_path))


@pytest.mark.usefixtures("quiet_umask")
def test_a_file_system_without_locks_is_one_clear_line(capsys, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    assert up(data_dir=tmp_path, host="127.0.0.1", port=0, workers=None) == 1
    assert capsys.readouterr().err == f"tuneyard: data directory {tmp_path}: No locks available\n"


def test_what_cannot_be_noted_while_it_works_is_said_and_no_more(capsys, tmp_path):
    _note(tmp_path / "gone", Connection())
    assert "connection.json is not up to date: No such file" in capsys.readouterr().err
