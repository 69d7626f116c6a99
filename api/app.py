"""The control plane's application: routers, errors, the gate before them. No logic of its own."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI

import core.tables  # noqa: F401 - a foreign key is followed to a table that is known
from api.closing import closing_by_signal
from api.deps import get_principal
from api.document import install_document
from api.errors import install_error_handlers
from api.gate import Gate
from api.idempotency import Replay, replayed
from api.logs import configure_logs
from api.openai import batches, chat, files, fine_tuning, models, uploads, webhook_endpoints
from api.routes import (
    adapters,
    aliases,
    artifacts,
    databases,
    datasets,
    estimates,
    evaluations,
    health,
    jobs,
    keys,
    merges,
    metrics,
    projects,
    queues,
    sql,
    workers,
)
from api.schemas.common import ERRORS
from core.retention import tidy_machine
from core.settings import get_settings

RESOURCES = (
    fine_tuning,
    files,
    uploads,
    databases,
    datasets,
    jobs,
    adapters,
    models,
    artifacts,
    workers,
    keys,
    projects,
    aliases,
    evaluations,
    merges,
    queues,
    estimates,
    webhook_endpoints,
    batches,
    chat,
    sql,
)


def create_app() -> FastAPI:
    configure_logs()
    app = FastAPI(
        title="Tuneyard",
        version="1",
        summary="Self-hosted fine-tuning and batched inference.",
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.closing = threading.Event()
    install_error_handlers(app)
    app.add_exception_handler(Replay, replayed)
    app.add_middleware(Gate)
    for resource in (health, metrics):
        app.include_router(resource.router)
    for resource in RESOURCES:
        app.include_router(
            resource.router,
            prefix="/v1",
            responses=ERRORS,
            dependencies=[Depends(get_principal)],
        )
    app.state.routers = [("", health.router), ("", metrics.router)]
    app.state.routers += [("/v1", resource.router) for resource in RESOURCES]
    install_document(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """While the API runs, what uploads left unfinished on this machine is tidied away."""
    closing: threading.Event = app.state.closing
    threading.Thread(target=_keep_tidy, args=(closing,), name="tidy", daemon=True).start()
    with closing_by_signal(closing):
        yield
    closing.set()


def _keep_tidy(closing: threading.Event) -> None:
    # Waiting first: a process that is just starting has better things to do.
    while not closing.wait(get_settings().retain_seconds):
        tidy_machine()
