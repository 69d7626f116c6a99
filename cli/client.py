"""A client of the REST API. Knows HTTP and the shapes of API.md, and nothing behind them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

FINAL = ("succeeded", "failed", "cancelled")
RETRY_PAUSES = (0.5, 1, 2, 4, 8)
Watch = Callable[[dict[str, Any]], None]


class ApiError(Exception):
    """The platform refused; the message is its own."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(error.get("message", "no message"))
        self.status = status
        self.code = error.get("code")
        self.param = error.get("param")


class JobEnded(Exception):
    """A job that was waited for did not succeed."""

    def __init__(self, job: dict[str, Any]) -> None:
        error = job.get("error") or {}
        reason = error.get("message", "no reason given")
        super().__init__(f"The {job['type']} job {job['id']} ended as {job['status']}: {reason}")
        self.job = job


class Client:
    """One key on one platform."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            headers={"authorization": f"Bearer {api_key}"},
            timeout=60,
            trust_env=False,  # a proxy can't reach this machine, and must not see the key
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Read; a platform that is away for a moment is asked again."""
        for pause in RETRY_PAUSES:
            try:
                answer = self._http.get(path, params=query)
                if answer.status_code != 503:
                    return self._answer(answer)
            except httpx.TransportError:
                pass
            time.sleep(pause)
        return self._answer(self._http.get(path, params=query))

    def post(self, path: str, body: Any = None) -> Any:
        return self._answer(self._http.post(path, json=body))

    def upload(self, path: str, file: Path, **fields: str) -> Any:
        """Send a file as multipart; it is streamed from disk."""
        with file.open("rb") as stream:
            parts = {"file": (file.name, stream)}
            return self._answer(self._http.post(path, data=fields, files=parts, timeout=None))

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, oldest first."""
        query = {"order": "asc", "limit": 500} | query
        while True:
            page = self.get(path, **query)
            yield from page["data"]
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]

    def submit(self, type: str, **params: Any) -> dict[str, Any]:
        return self.post("/v1/jobs", {"type": type, "params": params})

    def wait(self, job_id: str, watch: Watch = lambda job: None) -> dict[str, Any]:
        """Follow a job to its end, telling `watch` every second; raises `JobEnded` if it failed."""
        while True:
            job = self.get(f"/v1/jobs/{job_id}")
            watch(job)
            if job["status"] == "succeeded":
                return job
            if job["status"] in FINAL:
                raise JobEnded(job)
            time.sleep(1)

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_success:
            return response.json()
        try:
            error = response.json()["error"]
        except (ValueError, KeyError):
            error = {"message": f"HTTP {response.status_code}: {response.text[:200]}"}
        raise ApiError(response.status_code, error)
