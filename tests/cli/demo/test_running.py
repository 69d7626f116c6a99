"""The demo's platform has nothing to do with a real one, and says why it did not start."""

import subprocess

import pytest

from cli.demo.running import _connection, _environment
from cli.platform.errors import StartFailed


def test_a_real_platforms_settings_are_left_out(monkeypatch):
    for name in ("DATABASE_URL", "BROKER_URL", "STORAGE_URL", "REDIS_URL", "WORK_DIR"):
        monkeypatch.setenv(f"TUNEYARD_{name}", "of the real one")
    monkeypatch.setenv("TUNEYARD_MODEL_DIR", "/models")
    found = {name: text for name, text in _environment().items() if name.startswith("TUNEYARD_")}
    assert found == {"TUNEYARD_MODEL_DIR": "/models"}


def test_a_platform_that_does_not_start_is_no_traceback(tmp_path):
    log = tmp_path / "up.log"
    log.write_text("tuneyard: port 8400 can't be used\n")
    process = subprocess.Popen(["false"])
    process.wait()
    with pytest.raises(StartFailed, match="port 8400"):
        _connection(process, tmp_path, log)
