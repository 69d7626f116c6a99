"""`/v1/batches`: many requests as one job, as OpenAI has it. A batch's id is its job's."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.deps import ReadDep, Reader, SessionDep, Writer
from api.idempotency import OnceDep
from api.schemas.batches import BatchBody, BatchShape, batch_shape
from api.schemas.common import ListBody, list_body
from core.batches import service
from core.batches.validation import Verdict, validate
from core.db import get_database
from core.jobs.models import Job
from core.pages import PageQuery, read_page
from core.settings import get_settings
from core.storage import get_storage

router = APIRouter(prefix="/batches", tags=["batches"])


async def get_page(
    after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> PageQuery:
    return PageQuery(after=after, limit=limit)


@router.post("")
def create_batch(body: BatchBody, principal: Writer, once: OnceDep) -> BatchShape:
    """Look through the file, then queue the batch. If a line is wrong the batch is `failed`, and
    its `errors` name the lines."""
    project_id = principal.project_id
    with get_database().transaction() as session:
        once.begin(session)  # answered before: the file is not looked through again
        file = service.input_of(session, project_id, body.input_file_id)
    verdict = _look_through(file.storage_key, body)
    with get_database().transaction() as session:
        once.begin(session)
        job = service.create(session, project_id, body.order(), verdict)
        return once.answer(session, batch_shape(job))


def _look_through(storage_key: str, body: BatchBody) -> Verdict:
    """Outside of any transaction: it takes a second or two for 50,000 lines."""
    scratch = get_settings().data_dir / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=scratch) as folder:
        path = get_storage().fetch(storage_key, Path(folder) / "input.jsonl")
        return validate(path, body.endpoint)


@router.get("")
def list_batches(
    session: ReadDep, principal: Reader, page: Annotated[PageQuery, Depends(get_page)]
) -> ListBody[BatchShape]:
    query = service.all_of(principal.project_id)
    return list_body(read_page(session, query, Job.id, page), batch_shape)


@router.get("/{batch_id}")
def get_batch(batch_id: str, session: ReadDep, principal: Reader) -> BatchShape:
    return batch_shape(service.get(session, principal.project_id, batch_id))


@router.post("/{batch_id}/cancel")
def cancel_batch(batch_id: str, session: SessionDep, principal: Writer) -> BatchShape:
    """Stop it: what is answered by then is kept and becomes its files."""
    return batch_shape(service.cancel(session, principal.project_id, batch_id))
