"""`/v1/adapters/{name}/aliases`: movable names for versions, moved over a bar and back."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.deps import PageDep, ReadDep, Reader, SessionDep, Writer
from api.idempotency import OnceDep
from api.schemas.adapters import (
    AliasMoveShape,
    AliasShape,
    MoveBody,
    RemovedShape,
    alias_address,
    alias_shape,
    move_shape,
)
from api.schemas.common import ListBody, list_body, whole_list
from core.adapters import aliases
from core.adapters.models import Adapter, AdapterAlias, AdapterVersion, AliasMove
from core.adapters.service import get_adapter, get_version
from core.errors import InvalidInput
from core.pages import read_page

router = APIRouter(prefix="/adapters/{name}/aliases", tags=["adapters"])


@router.get("")
def list_aliases(name: str, session: ReadDep, principal: Reader) -> ListBody[AliasShape]:
    """All of them: an adapter has few."""
    adapter = get_adapter(session, principal.project_id, name)
    return whole_list([_shown(session, adapter, one) for one in aliases.all_of(session, adapter)])


@router.get("/{alias}")
def get_alias(name: str, alias: str, session: ReadDep, principal: Reader) -> AliasShape:
    adapter = get_adapter(session, principal.project_id, name)
    return _shown(session, adapter, aliases.get(session, adapter, alias))


@router.put("/{alias}")
def move_alias(
    name: str, alias: str, body: MoveBody, session: SessionDep, principal: Writer
) -> AliasShape:
    """Let the alias, made at its first move, stand for a version. With a bar the version needs a
    finished evaluation that meets it: else 400 `bar_not_met`, with the numbers."""
    adapter = get_adapter(session, principal.project_id, name)
    version = _version(session, adapter, body.version)
    bar: Any = aliases.KEEP
    if "bar" in body.model_fields_set:
        bar = body.bar and body.bar.model_dump(exclude_none=True)
    moved = aliases.move(session, adapter, alias, version, bar=bar)
    return _shown(session, adapter, moved)


@router.delete("/{alias}")
def remove_alias(name: str, alias: str, session: SessionDep, principal: Writer) -> RemovedShape:
    """The alias goes with its history; the version stays."""
    adapter = get_adapter(session, principal.project_id, name)
    aliases.remove(session, adapter, alias)
    return RemovedShape(id=alias_address(adapter, alias))


@router.post("/{alias}/rollback")
def roll_back(
    name: str, alias: str, once: OnceDep, session: SessionDep, principal: Writer
) -> AliasShape:
    """Take back the alias' last move. With an `Idempotency-Key` a repeated call takes back one."""
    once.begin(session)
    adapter = get_adapter(session, principal.project_id, name)
    return once.answer(
        session, _shown(session, adapter, aliases.roll_back(session, adapter, alias))
    )


@router.get("/{alias}/history")
def list_moves(
    name: str, alias: str, session: ReadDep, principal: Reader, page: PageDep
) -> ListBody[AliasMoveShape]:
    """Its moves, newest first, with those that were taken back."""
    adapter = get_adapter(session, principal.project_id, name)
    query = aliases.moves(aliases.get(session, adapter, alias))
    addresses = {version.id: version.address for version in adapter.versions}
    rows = read_page(session, query, AliasMove.id, page)
    return list_body(rows, lambda row: move_shape(row, addresses))


def _version(session: Session, adapter: Adapter, given: int | str) -> AdapterVersion:
    """A version of this adapter by number or address."""
    address = given if isinstance(given, str) and ":" in given else f"{adapter.name}:{given}"
    version = get_version(session, adapter.project_id, address)
    if version.adapter_id != adapter.id:
        raise InvalidInput(
            f"'{address}' is no version of '{adapter.name}'; an alias stands for one of its own.",
            param="version",
        )
    return version


def _shown(session: Session, adapter: Adapter, alias: AdapterAlias) -> AliasShape:
    return alias_shape(adapter, alias, session.get_one(AdapterVersion, alias.version_id))
