"""`/v1/workers`: the live fleet."""

from typing import Any

from fastapi import APIRouter

from api.deps import ReadDep, Reader
from core.fleet.service import live_workers

router = APIRouter(prefix="/workers", tags=["workers"])


@router.get("")
def list_workers(session: ReadDep, principal: Reader) -> dict[str, Any]:
    """Workers that were heard of within the lease."""
    data = [
        {
            "id": worker.id,
            "object": "worker",
            "queue": worker.queue,
            "device": worker.device,
            "slots": worker.slots,
            "memory_bytes": worker.memory_bytes,
            "models": worker.models,
            "versions": worker.versions,
            "heartbeat_at": worker.heartbeat_at,
        }
        for worker in live_workers(session)
    ]
    return {"object": "list", "data": data, "has_more": False}
