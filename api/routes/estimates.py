"""`/v1/estimates`: what a training would cost, before it is queued."""

from fastapi import APIRouter

from api.deps import Reader
from api.schemas.estimates import EstimateBody, EstimateShape, estimate_shape
from core.db import get_database
from core.estimates import asked as asking
from core.estimates.service import estimate

router = APIRouter(prefix="/estimates", tags=["estimates"])


@router.post("")
def estimate_training(body: EstimateBody, principal: Reader) -> EstimateShape:
    """Tokens, steps, and on each live worker memory and time. Nothing is queued. What a training
    would be refused for (a row that is too long, a missing schema) is refused here likewise."""
    with get_database().reading() as session:
        named = asking.find(session, principal.project_id, body.params)
    asked = asking.count(named)  # no connection is held: this may take its time
    with get_database().reading() as session:
        found = estimate(session, asked)
    return estimate_shape(found, project_id=principal.project_id)
