import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]


def test_importing_it_brings_in_neither_torch_nor_sqlglot():
    script = (
        "import sys, core.sql.judge, core.sql.introspect, core.sql.render, core.sql.normalise\n"
        "print([m for m in ('torch', 'transformers', 'sqlglot', 'fastapi', 'celery')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=_ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_sandbox_imports_the_standard_library_alone():
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_ROOT / "core/sql/sandbox.py")],
        input=b"",
        capture_output=True,
    )
    assert b"JSONDecodeError" in done.stderr  # it came as far as reading its configuration
