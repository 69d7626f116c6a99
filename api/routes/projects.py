"""`/v1/projects`: one's own for its administrators, all of them for the operator."""

from fastapi import APIRouter
from pydantic import Field

from api.deps import Admin, PageDep, ReadDep, SessionDep
from api.idempotency import OnceDep
from api.schemas.accounts import NewProjectShape, ProjectShape, new_key_shape, project_shape
from api.schemas.common import Body, ListBody, list_body
from core.accounts import projects
from core.accounts.models import Project
from core.accounts.quotas import Quotas, usage_of, usages
from core.pages import read_page

router = APIRouter(prefix="/projects", tags=["projects"])


class ProjectRequest(Body):
    name: str
    quotas: Quotas = Field(default_factory=Quotas)


class QuotasRequest(Body):
    quotas: Quotas


@router.post("", status_code=201)
def create_project(
    body: ProjectRequest, principal: Admin, once: OnceDep, session: SessionDep
) -> NewProjectShape:
    """A project with its first key. Only for an administrator of project `default`."""
    once.begin(session)
    project, key, secret = projects.create_project(
        session, principal, name=body.name, quotas=body.quotas
    )
    shown = project_shape(project, usage_of(session, project.id)).model_dump()
    first = new_key_shape(key, secret)
    kept = NewProjectShape(**shown, key=first.model_copy(update={"secret": None}))
    return once.answer(session, NewProjectShape(**shown, key=first), kept=kept)


@router.get("")
def list_projects(session: ReadDep, principal: Admin, page: PageDep) -> ListBody[ProjectShape]:
    found = read_page(session, projects.visible_projects(session, principal), Project.id, page)
    used = usages(session, [row.id for row in found.rows])
    return list_body(found, lambda row: project_shape(row, used[row.id]))


@router.get("/{project_id}")
def get_project(project_id: str, session: ReadDep, principal: Admin) -> ProjectShape:
    """A project, its quotas, and what it has of them."""
    project = projects.get_project(session, principal, project_id)
    return project_shape(project, usage_of(session, project.id))


@router.post("/{project_id}")
def set_quotas(
    project_id: str, body: QuotasRequest, session: SessionDep, principal: Admin
) -> ProjectShape:
    """Set all quotas anew; one that is left out is not bounded any more."""
    project = projects.set_quotas(session, principal, project_id, body.quotas)
    return project_shape(project, usage_of(session, project.id))
