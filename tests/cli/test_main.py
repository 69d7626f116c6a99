"""The words of the `tuneyard` command."""

import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.platform.errors import Refused, StartFailed


def test_help_names_the_words():
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    for word in ("up", "models", "admin-key"):
        assert word in shown.output


def test_up_knows_the_options_that_the_readme_names():
    shown = CliRunner().invoke(app, ["up", "--help"], env={"COLUMNS": "200"})
    for option in ("--data-dir", "--host", "--port", "--workers"):
        assert option in shown.output


@pytest.mark.parametrize("options", [[], ["--name", "ours"]])
def test_fetch_runs_in_a_process_of_its_own_and_passes_its_exit_code_on(monkeypatch, options):
    asked = []

    def run(command):
        asked.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr("subprocess.run", run)
    done = CliRunner().invoke(app, ["models", "fetch", "smollm2-135m", *options])
    assert asked == [[sys.executable, "-m", "workers.fetch", "smollm2-135m", *options]]
    assert done.exit_code == 3


def test_an_admin_key_opens_the_database_that_it_was_made_in(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/tuneyard.db"
    monkeypatch.setenv("TUNEYARD_DATABASE_URL", url)
    config = "migrations/alembic.ini"
    subprocess.run([sys.executable, "-m", "alembic", "-c", config, "upgrade", "head"], check=True)
    key = CliRunner().invoke(app, ["admin-key"]).output.strip()

    from core.accounts.service import authenticate
    from core.db import Database

    with Database(url).reading() as session:
        authenticate(session, key)  # raises for a key that this database does not know


def test_an_admin_key_without_tables_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEYARD_DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")
    done = CliRunner().invoke(app, ["admin-key"])
    assert done.exit_code == 2
    assert "upgrade head" in done.output


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://u:hidden@127.0.0.1:1/x", "Connection refused"),
        ("postgresql://u:hidden@127.0.0.1:port/x", "not a database's URL"),
        ("sqlite:////none/x.db", "unable to open"),
        ("nonsense", "Could not parse"),
        ("nosuchsql://u:hidden@h/x", "nosuchsql"),
    ],
)
def test_an_admin_key_says_why_there_is_none(monkeypatch, url, reason):
    monkeypatch.setenv("TUNEYARD_DATABASE_URL", url)
    done = CliRunner().invoke(app, ["admin-key"])
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert reason in done.output
    assert "hidden" not in done.output and "upgrade head" not in done.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(StartFailed("not ready"), 1), (Refused("in use"), 2), (httpx.ReadTimeout("timed out"), 1)],
)
def test_a_demo_that_fails_says_so_in_one_line(monkeypatch, error, code):
    def fail(**options):
        raise error

    monkeypatch.setattr("cli.demo.run.run_demo", fail)
    done = CliRunner().invoke(app, ["demo"])
    assert (done.exit_code, done.output) == (code, f"tuneyard demo: {error}\n")
