"""Movable names for versions (`sales-sql@production`): moved when a bar is met, taken back in one
step. What an alias resolves to stands in `names`; what an evaluation measured in `evaluations`.
"""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core.adapters.bars import evidence
from core.adapters.models import Adapter, AdapterAlias, AdapterVersion, AliasMove
from core.adapters.names import hold_model
from core.db import exclusive
from core.errors import NotFound, WrongState
from core.ids import new_id
from core.names import require_name

KEEP: Any = object()
"""Instead of a bar: the alias keeps the one that it has."""


def all_of(session: Session, adapter: Adapter) -> list[AdapterAlias]:
    return list(
        session.scalars(
            select(AdapterAlias)
            .where(AdapterAlias.adapter_id == adapter.id)
            .order_by(AdapterAlias.name)
        )
    )


def find(session: Session, adapter: Adapter, name: str) -> AdapterAlias | None:
    return session.scalar(
        select(AdapterAlias).where(AdapterAlias.adapter_id == adapter.id, AdapterAlias.name == name)
    )


def get(session: Session, adapter: Adapter, name: str) -> AdapterAlias:
    alias = find(session, adapter, name)
    if alias is None:
        known = ", ".join(f"'{one.name}'" for one in all_of(session, adapter)) or "none yet"
        raise NotFound(
            f"There is no alias '{name}' of the adapter '{adapter.name}'; there are: {known}.",
            param="alias",
        )
    return alias


def move(
    session: Session,
    adapter: Adapter,
    name: str,
    version: AdapterVersion,
    *,
    bar: dict[str, Any] | None = KEEP,
) -> AdapterAlias:
    """Let the alias, which is made at its first move, stand for a version of its adapter.

    A bar that is given holds from now on, for this very move too. Where it is not met the alias
    stays, and the refusal has the numbers.
    """
    require_name(name, param="alias")
    _lock(session, adapter, name)
    hold_model(session, adapter.project_id, version.address)
    alias = find(session, adapter, name)
    wanted = (alias.bar if alias else None) if bar is KEEP else bar
    if alias is not None and alias.version_id == version.id and alias.bar == wanted:
        return alias
    shown = evidence(session, adapter, name, version, wanted) if wanted else None
    if alias is None:
        alias = AdapterAlias(
            id=new_id("alias"),
            project_id=adapter.project_id,
            adapter_id=adapter.id,
            name=name,
            version_id=version.id,
        )
        session.add(alias)
        session.flush()
        _record(session, alias, None, version.id, shown)
    elif alias.version_id != version.id:
        _record(session, alias, alias.version_id, version.id, shown)
    alias.version_id, alias.bar = version.id, wanted
    session.flush()
    return alias


def roll_back(session: Session, adapter: Adapter, name: str) -> AdapterAlias:
    """Take back the last move that still stands. No bar is asked: what stood there did before."""
    _lock(session, adapter, name)
    alias = get(session, adapter, name)
    last = session.scalars(
        moves(alias).where(AliasMove.rolled_back.is_(False)).order_by(AliasMove.id.desc())
    ).first()
    if last is None or last.from_version_id is None:
        raise _stays(f"'{adapter.name}@{name}' has stood for nothing else before.")
    before = session.get_one(AdapterVersion, last.from_version_id)
    if before.deleted_at is not None:
        raise _stays(f"'{before.address}', for which it stood before, is deleted.")
    hold_model(session, adapter.project_id, before.address)
    last.rolled_back = True
    alias.version_id = before.id
    session.flush()
    return alias


def remove(session: Session, adapter: Adapter, name: str) -> None:
    """The name is free again; its history goes with it."""
    _lock(session, adapter, name)
    alias = get(session, adapter, name)
    for one in session.scalars(moves(alias)):
        session.delete(one)
    session.flush()
    session.delete(alias)


def moves(alias: AdapterAlias) -> Select[tuple[AliasMove]]:
    """Its history, to be paged."""
    return select(AliasMove).where(AliasMove.alias_id == alias.id)


def _record(
    session: Session, alias: AdapterAlias, before: str | None, after: str, shown: str | None
) -> None:
    session.add(
        AliasMove(
            id=new_id("move"),
            alias_id=alias.id,
            from_version_id=before,
            to_version_id=after,
            evaluation_id=shown,
        )
    )


def _lock(session: Session, adapter: Adapter, name: str) -> None:
    exclusive(session, f"alias:{adapter.id}:{name}")


def _stays(why: str) -> WrongState:
    return WrongState(f"{why} There is no move to take back.", code="alias_not_rollbackable")
