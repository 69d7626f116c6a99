"""The examples of docs/api/edge.md are run as they stand, against the real platform."""

import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from openai import NotFoundError, OpenAI

from tests.core.webhooks.receiver import receiver
from tests.e2e.conftest import Platform

PAGE = (Path(__file__).resolve().parents[3] / "docs/api/edge.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_commands_run(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text("fail-with-body\n")
    (own, *_) = platform.client.get("/v1/projects?order=asc")["data"]
    given = {
        "BASE": f"{platform.connection['base_url']}/v1",
        "KEY": platform.connection["api_key"],
        "PROJECT": own["id"],
        "CURL_HOME": str(tmp_path),
    }
    for block in blocks("sh"):
        command = ["bash", "-euo", "pipefail", "-c", block]
        ran = subprocess.run(
            command, env=os.environ | given, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert platform.client.get(f"/v1/projects/{own['id']}")["quotas"]["running_jobs"] == 4
    platform.client.post(f"/v1/projects/{own['id']}", {"quotas": {}})


def test_the_sdks_calls_run(sdk: OpenAI, training_file: str) -> None:
    repeated, made, heard = blocks("python")
    names = {"client": sdk, "file": SimpleNamespace(id=training_file), "date": "2026-01-01"}
    for _ in range(2):
        exec(repeated.replace("smollm2-135m", "tiny"), names)
        names.setdefault("first", names["job"])
    assert names["job"].id == names["first"].id, "it was repeated"
    sdk.fine_tuning.jobs.cancel(names["job"].id)
    with receiver() as hook:
        exec(made.replace("https://ci.example.com/tuneyard", hook.url), names)
        assert hook.arrived.acquire(timeout=60)
        # What is tried out tells of no job that there is.
        _, headers, body = hook.requests.pop(0)
        names["request"] = SimpleNamespace(headers=headers, body=body)
        with pytest.raises(NotFoundError, match="job_example"):
            exec(heard, names)
        sdk.webhooks.delete(names["endpoint"].id)
