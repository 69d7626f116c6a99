"""The doctor finds what is broken on a real installation, says what to mend, and never hangs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text, update

from core.db import db_now, get_database
from core.fleet import service as fleet
from core.fleet.models import KeeperRun
from tests.platform import ROOT, environment, migrate
from tests.servers import free_port, killable_valkey
from workers import doctor
from workers.doctor import BROKEN, OK, WARNING, Finding


def states(findings: list[tuple[str, Finding]]) -> dict[str, str]:
    """The worst state of each check."""
    order = (OK, WARNING, BROKEN)
    found: dict[str, str] = {}
    for name, one in findings:
        found[name] = max(found.get(name, OK), one.state, key=order.index)
    return found


def finding(name: str, state: str = BROKEN) -> Finding:
    return next(one for n, one in doctor.look() if n == name and one.state == state)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_model import build_tiny_model

    store = tmp_path_factory.mktemp("models")
    made = build_tiny_model(tmp_path_factory.mktemp("made") / "tiny")
    command = [sys.executable, "-m", "workers.fetch", str(made), "--store", str(store)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=120)
    return store


@pytest.fixture
def whole(tmp_path: Path, models: Path, valkey_url: str) -> Iterator[dict[str, str]]:
    """An installation at which nothing is broken; its settings."""
    store = shutil.copytree(models, tmp_path / "models")
    url = f"sqlite:///{tmp_path / 'tuneyard.db'}"
    settings = {"data_dir": str(tmp_path), "model_dir": str(store), "database_url": url}
    settings |= {"broker_url": valkey_url}
    with environment(**settings):
        migrate(url)
        with fleet.keeper_run("sweep"), get_database().transaction() as session:
            for queue in ("gpu", "cpu", "system"):
                fleet.register(session, fleet.Node(f"{queue}0@h", queue, "cpu", 1, 1, [], {}))
        yield settings


@contextmanager
def changed(settings: dict[str, str], **changes: str) -> Iterator[None]:
    with environment(**settings | changes):
        yield


def test_a_whole_installation_is_found_whole(whole: dict[str, str]) -> None:
    found = doctor.look(deep=True)
    assert {state for name, state in states(found).items() if name != "disk"} == {OK}, found


@pytest.mark.parametrize("deep", [False, True])
def test_a_damaged_model_is_found(whole: dict[str, str], tmp_path: Path, deep: bool) -> None:
    weights = next((tmp_path / "models" / "tiny").glob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data if deep else data[:-1])  # a flipped bit shows in the hash alone
    assert states(doctor.look(deep=deep))["models"] == BROKEN
    if deep:
        assert states(doctor.look())["models"] == OK
    else:
        mend = finding("models").mend
        assert mend.endswith("/tiny --name tiny` brings it again"), "from where it came"


def test_an_armed_failpoint_and_a_mistyped_setting_are_found(
    whole: dict[str, str], tmp_path: Path
) -> None:
    with changed(whole, failpoints=str(tmp_path), lease_second="60"):
        found = states(doctor.look())
        assert found["failpoints"] == BROKEN
        assert found["settings"] == WARNING
        assert "TUNEYARD_LEASE_SECOND " in finding("settings", WARNING).found


def test_a_wrong_setting_is_named_and_ends_the_look(whole: dict[str, str]) -> None:
    os.environ["TUNEYARD_LEASE_SECONDS"] = "0"
    doctor.get_settings.cache_clear()
    [(name, one)] = doctor.look()
    assert (name, one.state) == ("settings", BROKEN)
    assert "TUNEYARD_LEASE_SECONDS" in one.found


def test_a_database_that_is_behind_missing_or_away_is_found(
    whole: dict[str, str], tmp_path: Path
) -> None:
    old = f"sqlite:///{tmp_path / 'old.db'}"
    with changed(whole, database_url=old):
        missing = finding("database")
        assert "does not exist" in missing.found
        assert not (tmp_path / "old.db").exists(), "to look must not make one"
        migrate(old, "0001")
        assert "behind" in finding("database").found
        assert f"{ROOT}/migrations/alembic.ini upgrade head" in finding("database").mend
    with changed(whole, database_url="postgresql://nobody@127.0.0.1:1/none"):
        found = states(doctor.look())
        assert (found["database"], found["keeper"]) == (BROKEN, WARNING)


def test_a_database_of_a_newer_version_is_a_warning(whole: dict[str, str]) -> None:
    with get_database().transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "is at 9999, ahead of this program" in finding("database", WARNING).found


def test_a_storage_that_can_not_be_written_is_found(whole: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in_the_way").write_text("a file where a folder should be")
    with changed(whole, storage_url=f"file://{tmp_path}/in_the_way"):
        assert states(doctor.look())["storage"] == BROKEN


def test_the_storage_is_left_as_it_was_found(whole: dict[str, str], tmp_path: Path) -> None:
    doctor.look()
    assert [path for path in (tmp_path / "storage").rglob("*") if path.is_file()] == []


def test_s3_is_looked_at_like_a_disk(whole: dict[str, str], s3_storage) -> None:
    with changed(whole, storage_url=s3_storage.new_url()):
        assert states(doctor.look())["storage"] == OK
    with changed(whole, storage_url="s3://no-such-bucket/x"):
        assert "TUNEYARD_STORAGE_URL" in finding("storage").mend


def test_a_dead_keeper_and_a_stopped_clock_of_it_are_told_apart(whole: dict[str, str]) -> None:
    with get_database().transaction() as session:
        session.execute(update(KeeperRun).values(finished_at=db_now() - 600))
    assert "last swept 600 s ago" in finding("keeper").found
    assert "beat" in finding("keeper").mend
    with get_database().transaction() as session:
        fleet.retire(session, "system0@h")
    assert "no keeper lives" in finding("keeper").found


def test_a_package_below_its_floor_is_found(
    whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor.FLOORS, "celery", "99.0")
    assert "pip install" in finding("packages").mend


def test_a_broker_that_hangs_is_a_finding_and_no_hang(
    whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 4.0)
    with killable_valkey(port=free_port()) as server, changed(whole, broker_url=server.url):
        assert states(doctor.look())["broker"] == OK
        server.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        try:
            assert states(doctor.look())["broker"] == BROKEN
        finally:
            server.process.send_signal(signal.SIGCONT)
        assert time.monotonic() - begun < 60


def test_the_command_ends_with_1_and_its_lines_are_whole_without_a_terminal(
    whole: dict[str, str],
) -> None:
    command = [sys.executable, "-m", "cli.main", "doctor"]

    def run(**env: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    good = run()
    assert good.returncode == 0, good.stdout + good.stderr
    assert all(line.startswith(("ok ", "warning ")) for line in good.stdout.splitlines())
    bad = run(TUNEYARD_BROKER_URL="redis://127.0.0.1:1/0")
    assert bad.returncode == 1
    [line] = [line for line in bad.stdout.splitlines() if line.startswith("broken")]
    assert "broker" in line and "mend TUNEYARD_BROKER_URL" in line
