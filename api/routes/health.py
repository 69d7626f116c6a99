"""`/health`: is this process alive, and can the platform take work? No key is asked for here."""

import logging
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from core import queue
from core.db import get_database
from core.fleet.service import live_slots
from core.storage import get_storage

log = logging.getLogger(__name__)
router = APIRouter(prefix="/health", tags=["health"])


@router.get("/live")
def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/ready")
def ready() -> JSONResponse:
    """200 when database, broker and storage answer; which workers live is told beside it."""
    parts = {
        "database": _works(get_database().ping),
        "broker": _works(queue.ping),
        "storage": _works(get_storage().ping),
    }
    good = all(state == "ok" for state in parts.values())
    body: dict[str, Any] = {"status": "ready" if good else "unavailable", **parts, "workers": {}}
    if parts["database"] == "ok":
        with get_database().reading() as session:
            body["workers"] = live_slots(session)
    return JSONResponse(body, 200 if good else 503)


def _works(check: Callable[[], object]) -> str:
    try:
        check()
    except Exception as error:  # whatever it is, the answer is the same: this part is away
        log.warning("health: %s", error)
        return "away"
    return "ok"
