"""The control plane's application: routers, errors, request ids. No logic of its own."""

import logging
import secrets

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response

import core.tables  # noqa: F401 - a foreign key is followed to a table that is known
from api.deps import get_principal
from api.errors import broken, install_error_handlers
from api.routes import (
    adapters,
    artifacts,
    databases,
    datasets,
    files,
    health,
    jobs,
    models,
    workers,
)
from api.schemas.common import ERRORS

log = logging.getLogger("api.access")

RESOURCES = (files, databases, datasets, jobs, adapters, models, artifacts, workers)


def create_app() -> FastAPI:
    app = FastAPI(
        title="Tuneyard",
        version="1",
        summary="Self-hosted fine-tuning and batched inference.",
        redoc_url=None,
    )
    install_error_handlers(app)
    app.middleware("http")(_with_request_id)
    app.include_router(health.router)
    for resource in RESOURCES:
        app.include_router(
            resource.router,
            prefix="/v1",
            responses=ERRORS,
            dependencies=[Depends(get_principal)],
        )
    return app


async def _with_request_id(request: Request, call_next) -> Response:
    request_id = f"req_{secrets.token_hex(8)}"
    try:
        response = await call_next(request)
    except Exception as error:  # here, so that a 500 bears the id that its message refers to
        response = broken(request, error)
    response.headers["x-request-id"] = request_id
    log.info("%s %s %s %d", request_id, request.method, request.url.path, response.status_code)
    return response
