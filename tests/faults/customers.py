"""Users of a rig under fire: they submit jobs of every type, cancel some, and never give up.

A request that is not answered is sent again with the same Idempotency-Key, as a client should.
"""

import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cli.client import FINAL

TYPES = {"prepare": 4, "train": 4, "evaluate": 2, "merge": 1, "generate": 3}
TRAIN = {"epochs": 30, "save_steps": 15, "early_stopping": False, "learning_rate": 0.01}
ANSWERS = {"model": "tiny", "max_new_tokens": 8}
REQUEST_SECONDS = 10
CANCELLED_SHARE = 0.08
PAUSED_SHARE = 0.1
PATIENCE_SECONDS = 180


@dataclass
class Customer:
    """One project's user. `open_jobs` bounds what waits and runs, so there is always work."""

    base_url: str
    key: str
    seed: int
    file_id: str
    adapter: str
    open_jobs: int = 8
    accepted: dict[str, str] = field(default_factory=dict)
    """Type by id of every job that was answered with a 2xx."""
    wished_away: set[str] = field(default_factory=set)
    plans: list[tuple[float, str, str]] = field(default_factory=list)
    """When which wish is told of which job: soon, while it waits or in its midst."""
    refused: list[str] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)
    """Names that can be given once: a request that was taken twice would show here."""

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._live, name="customer", daemon=True)
        self.chance = random.Random(self.seed)
        self.stopped = threading.Event()
        self.fell: BaseException | None = None
        self.http = httpx.Client(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {self.key}"},
            timeout=REQUEST_SECONDS,
        )

    def start(self) -> None:
        self.thread.start()

    def _live(self) -> None:
        try:
            while not self.stopped.is_set():
                self._shop()
                self.stopped.wait(0.3)
        except BaseException as error:  # told at the end: a thread's death must not go unseen
            self.fell = error

    def end(self) -> None:
        self.stopped.set()
        self.thread.join(timeout=PATIENCE_SECONDS + REQUEST_SECONDS)
        if self.fell is not None:
            raise self.fell

    def _shop(self) -> None:
        unfinished = [job for job in self._jobs() if job["status"] not in FINAL]
        if len(unfinished) < self.open_jobs:
            kind = self.chance.choices(list(TYPES), weights=list(TYPES.values()))[0]
            getattr(self, f"_{kind}")()
        for plan in [plan for plan in self.plans if plan[0] < time.monotonic()]:
            self.plans.remove(plan)
            _, wish, job_id = plan
            if wish == "cancel":
                self.wished_away.add(job_id)
            self._ask("POST", f"/v1/jobs/{job_id}/{wish}")

    def _jobs(self) -> list[dict[str, Any]]:
        answer = self._ask("GET", "/v1/jobs", params={"limit": 200})
        return answer.json()["data"] if answer is not None else []

    # -- what they want --------------------------------------------------------------------------

    def _prepare(self) -> None:
        name = self._name("data")
        self._submit("prepare", name=name, file=self.file_id, database="shop", model="tiny")
        if self.chance.random() < 0.3:  # and a training that has to wait for it
            self._submit("train", model="tiny", dataset=name, adapter=self._name("ad"), **TRAIN)

    def _train(self) -> None:
        adapter = self._name("ad")
        self._submit("train", model="tiny", dataset="shop-pairs", adapter=adapter, **TRAIN)

    def _evaluate(self) -> None:
        asked = ANSWERS | {"model": self.adapter}
        self._submit("evaluate", dataset="shop-pairs", split="validation", **asked)

    def _merge(self) -> None:
        self._submit("merge", adapter=self.adapter, name=self._name("merged"))

    def _generate(self) -> None:
        questions = [f"How many orders has customer {number}?" for number in range(8)]
        self._submit("generate", database="shop", questions=questions, **ANSWERS)

    def resume_all(self) -> None:
        """Whatever is paused goes on; the time to be fickle is over."""
        answer = self.http.get("/v1/jobs", params={"status": "paused", "limit": 200})
        for job in answer.json()["data"] if answer.is_success else []:
            self.http.post(f"/v1/jobs/{job['id']}/resume")

    def _name(self, kind: str) -> str:
        name = f"{kind}-{len(self.names)}"
        self.names.append(name)
        return name

    # -- how they ask ----------------------------------------------------------------------------

    def _submit(self, kind: str, **params: Any) -> None:
        key = {"Idempotency-Key": uuid.uuid4().hex}
        body = {"type": kind, "params": params}
        answer = self._ask("POST", "/v1/jobs", json=body, headers=key)
        if answer is None:
            return
        if answer.is_success:
            job_id = answer.json()["id"]
            self.accepted[job_id] = kind
            self._plan(job_id, kind)
        else:
            self.refused.append(f"{kind}: {answer.status_code} {answer.text[:200]}")

    def _plan(self, job_id: str, kind: str) -> None:
        """Some are cancelled (never a prepare: others wait for it), some paused for a while."""
        fickle, soon = self.chance.random(), time.monotonic() + self.chance.uniform(0, 20)
        if fickle < CANCELLED_SHARE and kind != "prepare":
            self.plans.append((soon, "cancel", job_id))
        elif fickle > 1 - PAUSED_SHARE:
            self.plans.append((soon, "pause", job_id))
            self.plans.append((soon + self.chance.uniform(5, 15), "resume", job_id))

    def _ask(self, method: str, path: str, **rest: Any) -> httpx.Response | None:
        """The answer of the platform; one that does not come is asked for again. None: in vain."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self.http.request(method, path, **rest)
            except httpx.TransportError as error:
                self.requests[type(error).__name__] += 1
            else:
                self.requests[str(answer.status_code)] += 1
                if answer.status_code < 500:
                    return answer
            time.sleep(0.5)
        return None


def upload_pairs(http: httpx.Client, path: Path) -> str:
    """A file that every prepare job reads; returns its id."""
    with path.open("rb") as stream:
        answer = http.post(
            "/v1/files", files={"file": (path.name, stream)}, data={"purpose": "fine-tune"}
        )
    answer.raise_for_status()
    return answer.json()["id"]
