"""What is asked, and whom: GeoQuery's questions and an adapter trained on them, over REST.

Made once on a platform's data directory; the next run on it finds it there. A directory where that
was not finished is of no use: its names are taken.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx

from cli.client import ApiError, Client

NAME = "geoquery"
TRAINED = "trained"  # a file that says so
EPOCHS = 2  # enough for answers that look like SQL and end


def begin(folder: Path) -> None:
    """A platform's data directory: that of the last run if its adapter is there, else a new one."""
    if not (folder / TRAINED).exists():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


def finish(folder: Path) -> None:
    (folder / TRAINED).touch()


def prepare(client: Client, data: Path, model: str) -> dict[str, Any]:
    """The adapter version, made if it isn't there."""
    try:
        return client.get(f"/v1/adapters/{NAME}")["versions"][-1]
    except ApiError:
        _tell(f"training {EPOCHS} epochs of {model} for it")
    client.upload("/v1/databases", data / "db.sqlite", name=NAME)
    dataset = client.upload(
        "/v1/datasets", data / "examples.jsonl", name=NAME, database=NAME, model=model
    )
    client.wait(dataset["job"])
    client.wait(client.submit("train", model=model, dataset=NAME, epochs=EPOCHS)["id"])
    return client.get(f"/v1/adapters/{NAME}")["versions"][-1]


def download(connection: dict[str, Any], version: dict[str, Any], folder: Path) -> Path:
    """The version's files, as PEFT has them."""
    headers = {"authorization": f"Bearer {connection['api_key']}"}
    base_url = f"{connection['base_url']}/v1"
    with httpx.Client(base_url=base_url, headers=headers, trust_env=False) as http:
        job = http.get(f"/jobs/{version['job']}").raise_for_status().json()
        for artifact in job["artifacts"]:
            path = folder / artifact["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            content = http.get(f"/artifacts/{artifact['id']}/content").raise_for_status()
            path.write_bytes(content.content)
    return folder / "adapter"


def questions(data: Path) -> list[str]:
    """All of them, each once, those of the test split first: the adapter has not seen them."""
    lines = (data / "examples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted(map(json.loads, lines), key=lambda row: row["split"] != "test")
    return [*dict.fromkeys(row["question"] for row in rows)]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
