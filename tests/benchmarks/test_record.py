"""At which commit something was measured: whether the program was another one."""

import subprocess

import pytest

from benchmarks import record


def git(*words):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("core/a.py", "benchmarks/results/a.json", "docs/performance.md"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    return tmp_path


def test_what_a_benchmark_writes_itself_makes_no_other_program(repository):
    (repository / "benchmarks/results/a.json").write_text("2")
    (repository / "docs/performance.md").write_text("2")
    clean = record.commit()
    assert len(clean) == 12
    (repository / "core/a.py").write_text("2")
    assert record.commit() == f"{clean}+"


def test_a_folder_without_history_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert record.commit() == "unknown"


def test_a_record_says_where_it_is_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    record.write("a", {"figure": 1, "commits": ["abc", "def+"]})
    line = capsys.readouterr().err
    assert line.startswith("a.json: ") and "torch " in line and "commit abc, def+" in line
