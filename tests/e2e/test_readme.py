"""The README's commands do what it says: its blocks of bash and Python are run as they stand.

Its one platform is on PostgreSQL and a configured broker, by settings alone; that of the other
end-to-end tests brings its own.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import running
from tests.servers import free_port, valkey_server

ROOT = Path(__file__).resolve().parents[2]


def blocks(language: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL))


def run(command: list[str], folder: Path) -> str:
    ran = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"MODEL": "tiny"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return ran.stdout


def test_the_fine_tunes_by_curl_and_by_the_sdk_run_as_written_also_on_configured_servers(
    model_dir: Path, tmp_path: Path, postgres_url: str
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    data_dir = tmp_path / ".tuneyard"
    with valkey_server(port=free_port()) as broker_url:
        servers = {"TUNEYARD_DATABASE_URL": postgres_url, "TUNEYARD_BROKER_URL": broker_url}
        # The tiny model stands for the real one: the commands are what is tested here.
        with running(data_dir, model_dir, **servers):
            said = run(["bash", "-euo", "pipefail", "-c", blocks("bash")], tmp_path)
            assert said.count(" succeeded") == 5
            assert "How many copies" in said and "有多少本诗歌书" in said
            said = run([sys.executable, "-c", blocks("python")], tmp_path)
            assert "succeeded ft:tiny:default:bookshop-sdk:job_" in said
        assert not (data_dir / "tuneyard.db").exists()
        assert list((data_dir / "broker").iterdir()) == []


def test_every_link_of_the_readme_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((docs/[^)]+)\)", text):
        assert (ROOT / target).is_file(), target
