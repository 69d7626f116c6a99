"""`/v1/queues`: what waits, what runs, and how much room there is."""

from fastapi import APIRouter

from api.deps import ReadDep, Reader
from api.schemas.common import ListBody, whole_list
from api.schemas.fleet import QueueShape, queue_shape
from core.jobs.occupancy import queues

router = APIRouter(prefix="/queues", tags=["queues"])


@router.get("")
def list_queues(session: ReadDep, principal: Reader) -> ListBody[QueueShape]:
    """Every queue with a worker or a job. Not paged: there are few."""
    return whole_list([queue_shape(queue) for queue in queues(session)])
