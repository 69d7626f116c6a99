"""`/v1/keys`: who may ask on behalf of a project, and for what."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import select

from api.deps import Admin, PageDep, ReadDep, SessionDep
from api.idempotency import OnceDep
from api.schemas.accounts import KeyShape, NewKeyShape, key_shape, new_key_shape
from api.schemas.common import Body, ListBody, list_body
from core.accounts import service
from core.accounts.models import ApiKey
from core.pages import read_page

router = APIRouter(prefix="/keys", tags=["keys"])

LATEST = 2**40
"""Seconds: some 34,000 years."""


class KeyRequest(Body):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Literal["read", "write", "admin"]], Field(min_length=1, max_length=3)]
    expires_at: Annotated[int, Field(gt=0, lt=LATEST)] | None = None


@router.post("", status_code=201)
def create_key(
    body: KeyRequest, principal: Admin, once: OnceDep, session: SessionDep
) -> NewKeyShape:
    """A key of this project. Its secret is in this answer and nowhere else."""
    once.begin(session)
    key, secret = service.grant_key(
        session,
        principal,
        name=body.name,
        scopes=tuple(dict.fromkeys(body.scopes)),
        expires_at=body.expires_at,
    )
    shape = new_key_shape(key, secret)
    return once.answer(session, shape, kept=shape.model_copy(update={"secret": None}))


@router.get("")
def list_keys(session: ReadDep, principal: Admin, page: PageDep) -> ListBody[KeyShape]:
    """Keys of this project, revoked ones too."""
    query = select(ApiKey).where(ApiKey.project_id == principal.project_id)
    return list_body(read_page(session, query, ApiKey.id, page), key_shape)


@router.get("/{key_id}")
def get_key(key_id: str, session: ReadDep, principal: Admin) -> KeyShape:
    return key_shape(service.get_key(session, principal.project_id, key_id))


@router.post("/{key_id}/revoke")
def revoke_key(key_id: str, session: SessionDep, principal: Admin) -> KeyShape:
    """From now on the key is good for nothing. The last one that administers can't be revoked."""
    return key_shape(service.revoke_key(session, principal.project_id, key_id))
