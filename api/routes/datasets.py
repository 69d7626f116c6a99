"""`/v1/datasets`: upload a file, get a dataset once its prepare job is done."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from api.deps import PageDep, ReadDep, Reader, Writer
from api.idempotency import Once, OnceDep
from api.schemas.common import ListBody, list_body
from api.schemas.forms import DATASET_FORM
from api.schemas.resources import DatasetShape, dataset_shape
from api.uploads import Form, read_data_form
from core.accounts.quotas import require_storage
from core.datasets import service
from core.datasets.models import Dataset
from core.datasets.store import read_examples
from core.db import get_database
from core.errors import InvalidInput, WrongState
from core.files import service as files
from core.files.purposes import OF_DATASET
from core.jobs import service as jobs
from core.jobs.types.prepare import PrepareParams
from core.names import name_of_file, require_name
from core.pages import read_page
from core.settings import get_settings
from core.storage import get_storage

router = APIRouter(prefix="/datasets", tags=["datasets"])

JSON_FIELDS = ("mapping", "split", "drop_bad_rows")


@router.post("", status_code=202, openapi_extra=DATASET_FORM)
async def create_dataset(request: Request, principal: Writer, once: OnceDep) -> DatasetShape:
    """Upload a file and prepare it: multipart with `file`, and beside it `name`, `database`,
    `format`, `mapping` (JSON), `sql_dialect`, `split` (JSON), `drop_bad_rows`, `model`.

    Answers at once with a dataset that is `processing`; what the stream of bytes shows to be
    wrong (size, encoding, line length) is refused while it is still coming.
    """
    form = await read_data_form(request)
    return await run_in_threadpool(_create, principal.project_id, form, once)


def _create(project_id: str, form: Form, once: Once) -> DatasetShape:
    try:
        path, stored = form.require_file()
        params = _params(form)
        with (
            files.stored_upload(project_id, path) as key,
            get_database().transaction() as session,
        ):
            once.begin(session, form)
            require_storage(session, project_id, stored.bytes)
            file = files.create(
                session,
                project_id,
                filename=form.filename,
                purpose=OF_DATASET,
                stored=stored,
                storage_key=key,
            )
            params = params.model_copy(update={"file": file.id})
            job = jobs.submit(session, project_id, "prepare", params)
            return once.answer(session, dataset_shape(service.of_job(session, job.id)))
    finally:
        form.discard()


def _params(form: Form) -> PrepareParams:
    given: dict[str, Any] = {name: value for name, value in form.fields.items() if value != ""}
    given.setdefault("name", name_of_file(form.filename, unnamed="dataset"))
    for name in JSON_FIELDS:
        if name in given:
            given[name] = _json(name, given[name])
    try:
        params = PrepareParams.model_validate(given | {"file": "pending"})
    except ValidationError as error:
        found = [one | {"loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(found, body=given) from None
    require_name(params.name, param="name")  # before the file is stored
    return params


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidInput(f"{name}: {text[:80]!r} is no JSON.", param=name) from None


@router.get("")
def list_datasets(session: ReadDep, principal: Reader, page: PageDep) -> ListBody[DatasetShape]:
    query = select(Dataset).where(Dataset.project_id == principal.project_id)
    return list_body(read_page(session, query, Dataset.id, page), dataset_shape)


@router.get("/{dataset_id}")
def get_one_dataset(dataset_id: str, session: ReadDep, principal: Reader) -> DatasetShape:
    """A dataset by id or name, with its validation report."""
    return dataset_shape(service.find(session, principal.project_id, dataset_id))


@router.get("/{dataset_id}/examples")
def list_examples(
    dataset_id: str,
    session: ReadDep,
    principal: Reader,
    split: str = "train",
    after: Annotated[int, Query(ge=-1)] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> dict[str, Any]:
    """Prepared rows of a split in order; `after` is the number of the last row seen."""
    dataset = service.find(session, principal.project_id, dataset_id)
    if dataset.status != service.READY:
        raise WrongState(f"The dataset is '{dataset.status}'; only a ready one has examples.")
    service.require_split(dataset, split)
    session.close()  # its connection is others' while the rows are brought here
    folder = get_storage().fetch(
        dataset.storage_key, get_settings().data_dir / "cache" / dataset.id
    )
    rows = read_examples(folder, split, start=after + 1, limit=limit)
    numbered = [{"row": place, **row} for place, row in enumerate(rows, start=after + 1)]
    last = after + len(rows)
    return {
        "object": "list",
        "data": numbered,
        "has_more": last + 1 < dataset.splits[split],
        "first_id": str(after + 1) if rows else None,
        "last_id": str(last) if rows else None,
    }
