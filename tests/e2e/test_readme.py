"""The README's commands do what it says: its bash blocks are run as they stand."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.e2e.conftest import running

ROOT = Path(__file__).resolve().parents[2]


def bash_blocks() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL))


def test_the_fine_tune_by_curl_runs_as_written(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    # The tiny model stands for the real one: the commands are what is tested here.
    with running(tmp_path / ".tuneyard", model_dir):
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", bash_blocks()],
            cwd=tmp_path,
            env=os.environ | {"MODEL": "tiny"},
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert ran.stdout.count(" succeeded") == 5
    assert "How many copies" in ran.stdout
    assert "有多少本诗歌书" in ran.stdout


def test_every_link_of_the_readme_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((docs/[^)]+)\)", text):
        assert (ROOT / target).is_file(), target
