"""`/v1/workers`: the live fleet, what it runs and how fast it was."""

from fastapi import APIRouter

from api.deps import ReadDep, Reader
from api.schemas.common import ListBody, whole_list
from api.schemas.fleet import WorkerShape, worker_shape
from core.fleet.service import live_workers
from core.jobs import occupancy

router = APIRouter(prefix="/workers", tags=["workers"])


@router.get("")
def list_workers(session: ReadDep, principal: Reader) -> ListBody[WorkerShape]:
    """Workers that were heard of within the lease. Not paged: they are few."""
    work = occupancy.work_by_worker(session)
    speeds = occupancy.speed_by_worker(session)
    return whole_list(
        [
            worker_shape(
                worker,
                work.get(worker.id, []),
                speeds.get(worker.id, {}),
                project_id=principal.project_id,
            )
            for worker in live_workers(session)
        ]
    )
