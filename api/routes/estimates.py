"""`/v1/estimates`: what a training would cost, before it is queued."""

from fastapi import APIRouter

from api.deps import ReadDep, Reader
from api.schemas.estimates import EstimateBody, EstimateShape, estimate_shape
from core.estimates.service import estimate

router = APIRouter(prefix="/estimates", tags=["estimates"])


@router.post("")
def estimate_training(body: EstimateBody, session: ReadDep, principal: Reader) -> EstimateShape:
    """Tokens, steps, and on each live worker memory and time. Nothing is queued. What a training
    would be refused for (a row that is too long, a missing schema) is refused here likewise."""
    found = estimate(session, principal.project_id, body.params)
    return estimate_shape(found, project_id=principal.project_id)
