"""Projects, and the operator's right over them: an administrator of project `default` is one."""

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.accounts.models import ApiKey, Project
from core.accounts.quotas import Quotas
from core.accounts.service import DEFAULT_PROJECT, Principal, create_key
from core.errors import Forbidden, InvalidInput, NotFound
from core.ids import new_id
from core.names import require_name


def create_project(
    session: Session, principal: Principal, *, name: str, quotas: Quotas
) -> tuple[Project, ApiKey, str]:
    """A project, its first key, which administers it, and the secret of that."""
    _require_operator(session, principal)
    require_name(name, param="name")
    if session.scalar(select(Project.id).where(Project.name == name)) is not None:
        raise InvalidInput(
            f"There is a project '{name}' already; choose another name.",
            param="name",
            code="name_taken",
        )
    project = Project(id=new_id("proj"), name=name, quotas=quotas.model_dump(exclude_none=True))
    session.add(project)
    session.flush()
    return project, *create_key(session, project, name="first")


def set_quotas(session: Session, principal: Principal, project_id: str, quotas: Quotas) -> Project:
    project = get_project(session, principal, project_id)
    _require_operator(session, principal)
    project.quotas = quotas.model_dump(exclude_none=True)
    session.flush()
    return project


def get_project(session: Session, principal: Principal, project_id: str) -> Project:
    project = session.scalar(visible_projects(session, principal).where(Project.id == project_id))
    if project is None:
        raise NotFound(f"There is no project '{project_id}' for this key.", param="project_id")
    return project


def visible_projects(session: Session, principal: Principal) -> Select[tuple[Project]]:
    """All projects for the operator, for everybody else their own."""
    query = select(Project)
    if _is_operator(session, principal):
        return query
    return query.where(Project.id == principal.project_id)


def _require_operator(session: Session, principal: Principal) -> None:
    if not _is_operator(session, principal):
        raise Forbidden(
            f"Only an administrator of project '{DEFAULT_PROJECT}' can do this; ask the operator."
        )


def _is_operator(session: Session, principal: Principal) -> bool:
    own = session.get_one(Project, principal.project_id)
    return own.name == DEFAULT_PROJECT and "admin" in principal.scopes
