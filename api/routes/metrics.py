"""`/metrics`: figures for Prometheus, read from the database at each scrape.

They are the whole platform's, so a project's key does not do: the configured token, or a key of an
administrator. No label bears a name, an id or a project.
"""

import hmac
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from sqlalchemy.orm import Session

from api.deps import ReadDep, principal_of
from api.figures import HTTP
from api.schemas.common import ERRORS
from core.fleet.service import KEEPER_QUEUE, keeper_lags, live_workers
from core.jobs import figures
from core.jobs.types import TYPES
from core.settings import get_settings
from core.webhooks.deliveries import count_by_status
from core.webhooks.status import DeliveryStatus

router = APIRouter(tags=["metrics"])


class Figures:
    """A collector over one session: what it yields is true at this moment."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def collect(self) -> Iterator[Metric]:
        yield from _jobs(self._session)
        yield from _queues(self._session)
        yield from _attempts(self._session)
        yield from _checkpoints(self._session)
        yield from _fleet(self._session)
        yield from _webhooks(self._session)


@router.get("/metrics", response_class=Response, responses=ERRORS)
def metrics(request: Request, session: ReadDep) -> Response:
    """Prometheus's text format."""
    _require_operator(request.headers.get("authorization", ""))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures(session))
    text = generate_latest(registry) + generate_latest(HTTP)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _require_operator(authorization: str) -> None:
    token = get_settings().metrics_token
    given = authorization.removeprefix("Bearer ").encode()
    if token and hmac.compare_digest(given, token.encode()):
        return
    principal_of(authorization).require("admin")


def _jobs(session: Session) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("tuneyard_jobs", "Jobs by type and status.", labels=("type", "status"))
    for kind, status, count in figures.jobs_by_status(session):
        jobs.add_metric((kind, status), count)
    yield jobs


def _queues(session: Session) -> Iterator[Metric]:
    waiting = {row.queue: row for row in figures.waiting_by_queue(session)}
    ready = GaugeMetricFamily(
        "tuneyard_queue_ready_jobs", "Queued jobs that may run now.", labels=("queue",)
    )
    age = GaugeMetricFamily(
        "tuneyard_queue_age_seconds",
        "How long the oldest queued job that may run has waited; 0 if none does.",
        labels=("queue",),
    )
    for queue in sorted({kind.queue for kind in TYPES} | waiting.keys()):
        row = waiting.get(queue)
        ready.add_metric((queue,), row.jobs if row else 0)
        age.add_metric((queue,), row.seconds if row else 0)
    yield from (ready, age)


def _attempts(session: Session) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "tuneyard_attempts",
        "Ended attempts by outcome and failure class.",
        labels=("outcome", "failure"),
    )
    lapsed = 0
    for outcome, failure, count in figures.attempts_by_outcome(session):
        ended.add_metric((outcome, failure), count)
        lapsed += count if failure == "lease" else 0
    yield ended
    yield CounterMetricFamily(
        "tuneyard_lease_expiries", "Attempts whose worker fell silent.", value=lapsed
    )


def _checkpoints(session: Session) -> Iterator[Metric]:
    sums = figures.checkpoints(session)
    yield SummaryMetricFamily(
        "tuneyard_checkpoint_seconds",
        "Time to write, hash and store a checkpoint.",
        count_value=sums.written,
        sum_value=sums.seconds,
    )
    yield SummaryMetricFamily(
        "tuneyard_checkpoint_bytes",
        "Size of a checkpoint.",
        count_value=sums.written,
        sum_value=sums.bytes,
    )
    yield GaugeMetricFamily(
        "tuneyard_checkpoints_kept_bytes",
        "Bytes of the checkpoints that are kept now.",
        value=sums.kept_bytes,
    )


def _webhooks(session: Session) -> Iterator[Metric]:
    kept = GaugeMetricFamily(
        "tuneyard_webhook_deliveries", "Webhook deliveries by status.", labels=("status",)
    )
    found = count_by_status(session)
    for status in DeliveryStatus:
        kept.add_metric((status,), found.get(status, 0))
    yield kept


def _fleet(session: Session) -> Iterator[Metric]:
    live = GaugeMetricFamily("tuneyard_workers_live", "Live workers.", labels=("queue",))
    counts = {kind.queue: 0 for kind in TYPES} | {KEEPER_QUEUE: 0}
    for worker in live_workers(session):
        counts[worker.queue] = counts.get(worker.queue, 0) + 1
    for queue, count in sorted(counts.items()):
        live.add_metric((queue,), count)
    yield live
    lags = keeper_lags(session)
    for name, help_text in (
        ("sweep", "Time since the keeper's last finished sweep."),
        ("retain", "Time since the keeper last finished deleting what nobody needs."),
    ):
        if name in lags:  # never run: an absent figure, not a wrong one
            yield GaugeMetricFamily(f"tuneyard_{name}_lag_seconds", help_text, value=lags[name])
