"""`/v1/merges`: jobs of type `merge` by the model that they make."""

from fastapi import APIRouter
from sqlalchemy import select

from api.deps import PageDep, ReadDep, Reader, SessionDep, Writer
from api.idempotency import OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.merges import MergeShape, merge_shape
from core.artifacts.service import of_job as artifacts_of
from core.errors import NotFound
from core.jobs import service
from core.jobs.models import Job
from core.jobs.types.merge import MergeParams
from core.pages import read_page

router = APIRouter(prefix="/merges", tags=["merges"])


@router.post("", status_code=202)
def create_merge(
    body: MergeParams, once: OnceDep, session: SessionDep, principal: Writer
) -> MergeShape:
    """Queue a merge of an adapter version into its base. It is a job, with the job's id."""
    once.begin(session)
    job = service.submit(session, principal.project_id, "merge", body)
    return once.answer(session, merge_shape(job))


@router.get("")
def list_merges(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[MergeShape]:
    query = select(Job).where(Job.project_id == principal.project_id, Job.type == "merge")
    return list_body(read_page(session, query, Job.id, page), merge_shape)


@router.get("/{merge_id}")
def get_merge(merge_id: str, session: ReadDep, principal: Reader) -> MergeShape:
    job = session.scalar(
        select(Job).where(
            Job.id == merge_id, Job.project_id == principal.project_id, Job.type == "merge"
        )
    )
    if job is None:
        raise NotFound(f"There is no merge '{merge_id}' in this project.", param="merge")
    return merge_shape(job, artifacts_of(session, job.id))
