"""`/health`: is this process alive, and can the platform take work? No key is asked for here.

Both are `async`: endpoints that wait for a database that hangs take up all threads there are.
"""

from functools import lru_cache
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.probes import AWAY, Probe, ask_all
from core import queue
from core.db import get_database
from core.fleet.service import KEEPER_QUEUE, keeper_lags, live_slots
from core.settings import get_settings
from core.storage import get_storage

router = APIRouter(prefix="/health", tags=["health"])

LATE_SECONDS = 60
"""A sweep is late when it is this long overdue: the keeper lives, but its clock (beat) does not."""


@router.get("/live")
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get("/ready", responses={503: {"description": "A part is away; the body says which."}})
async def ready() -> JSONResponse:
    """200 when database, broker and storage answer within seconds and the keeper does its work;
    which workers live is told beside it."""
    found = await ask_all(_probes())
    fleet = found.pop("fleet")
    parts = {name: "away" if state is AWAY else "ok" for name, state in found.items()}
    workers, lags = ({}, {}) if fleet is AWAY else fleet
    parts["database"] = "away" if fleet is AWAY else "ok"
    parts["keeper"] = _keeper(workers, lags)
    good = all(state == "ok" for state in parts.values())
    body: dict[str, Any] = {"status": "ready" if good else "unavailable", **parts}
    return JSONResponse(body | {"workers": workers}, 200 if good else 503)


@lru_cache
def _probes() -> list[Probe]:
    return [
        Probe("fleet", _fleet),
        Probe("broker", lambda: queue.ping()),
        Probe("storage", lambda: get_storage().ping()),
    ]


def _fleet() -> tuple[dict[str, int], dict[str, float]]:
    with get_database().reading() as session:
        return live_slots(session), keeper_lags(session)


def _keeper(workers: dict[str, int], lags: dict[str, float]) -> str:
    """`away` without a live keeper, `late` if no sweep was run for long."""
    if not workers.get(KEEPER_QUEUE):
        return "away"
    patience = LATE_SECONDS + get_settings().sweep_seconds
    return "late" if lags.get("sweep", 0) > patience else "ok"
