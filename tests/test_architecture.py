"""The rules of docs/DESIGN.md that a machine can check: who imports whom, who writes what."""

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.jobs.types import TYPES

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("api", "cli", "core", "migrations", "workers")
TORCH_AND_KIN = {
    *("accelerate", "bitsandbytes", "gguf", "peft", "safetensors"),
    *("torch", "transformers"),
}
WORKER_EXTRA = TORCH_AND_KIN | {"datasets", "numpy", "pandas", "pyarrow", "tokenizers"}
"""What only `pip install tuneyard[worker]` brings."""
CELERY_PLACES = {"core/queue.py", "workers/app.py", "workers/tasks.py"}

WITHOUT_TORCH = """
import importlib, importlib.abc, pkgutil, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not installed here")

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Absent())
for package in sys.argv[2].split(","):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), package + "."):
        importlib.import_module(found.name)
"""


def sources(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            yield name, ast.parse(path.read_text(encoding="utf-8"), filename=name)


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of all imports of a file, those within functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Every node with the name of the innermost function around it ("" for none)."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
        for child in ast.iter_child_nodes(node):
            yield name, child
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, child.name if inner else name)

    return walk(tree, "")


def called(node: ast.AST) -> str:
    """The last part of the name of what is called: `values` for `update(Job).values()`."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_the_layers_are_kept():
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_torch_and_its_kin_are_imported_by_recipes_and_ml_alone():
    homes = ("workers/recipes/", "workers/ml/", "workers/fetch.py")
    guests = [
        (name, sorted(imported(tree) & TORCH_AND_KIN))
        for name, tree in sources(*PACKAGES)
        if not name.startswith(homes)
    ]
    assert [guest for guest in guests if guest[1]] == []


def test_celery_is_imported_in_three_files_alone():
    places = {name for name, tree in sources(*PACKAGES) if "celery" in imported(tree)}
    assert places <= CELERY_PLACES


@pytest.mark.parametrize(
    "packages",
    [
        "api",
        "cli",
        # The keeper is one of these, too.
        "workers.app,workers.tasks,workers.supervisor,workers.runner,workers.doctor",
        "core.jobs.types,core.jobs.sweep,core.accounts.bootstrap",
    ],
)
def test_starts_where_torch_is_not_installed(packages, tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH, ",".join(WORKER_EXTRA), packages]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TUNEYARD_DATA_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_status_is_written_by_transition_alone():
    writers = set()
    for name, tree in sources("api", "core", "workers"):
        for function, node in functions(tree):
            if called(node) == "values" and any(k.arg == "status" for k in node.keywords):
                writers.add((name, function))
            if isinstance(node, ast.Attribute) and node.attr == "status":
                owner = getattr(node.value, "id", getattr(node.value, "attr", ""))
                # The status of these is another word; a job's is a column of the queue itself.
                if isinstance(node.ctx, ast.Store) and owner not in (
                    "dataset",
                    "upload",
                    "delivery",
                ):
                    writers.add((name, function))
            if isinstance(node, ast.Constant) and "update jobs" in str(node.value).lower():
                writers.add((name, function))
    assert writers == {("core/jobs/transitions.py", "transition")}


def test_a_job_comes_into_being_in_submit_alone():
    makers = {
        (name, function)
        for name, tree in sources("api", "core", "workers")
        for function, node in functions(tree)
        if called(node) == "Job" and node.keywords
    }
    assert makers == {("core/jobs/service.py", "submit")}


def test_nobody_commits_or_opens_a_session_but_core_db():
    doers = set()
    for name, tree in sources("api", "core", "workers"):
        deeds = {"commit", "sessionmaker"}
        if "sqlalchemy" in imported(tree):
            deeds |= {"Session"}
        doers |= {(name, called(node)) for _, node in functions(tree) if called(node) in deeds}
    assert {name for name, _ in doers} <= {"core/db.py"}, doers


def test_every_job_type_has_a_recipe_and_every_recipe_a_type():
    types = {kind.name for kind in TYPES}
    recipes = {
        Path(name).stem
        for name, tree in sources("workers/recipes")
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body)
    }
    assert recipes == types
    for name in types:
        assert importlib.util.find_spec(f"core.jobs.types.{name}") is not None
