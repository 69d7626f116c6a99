"""What endpoints ask for: a session, who is asking, a page.

What waits for nothing is `async`: a plain function would be called in a thread of its own.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from sqlalchemy.orm import Session

from core.accounts.service import Principal, authenticate, touch_key
from core.db import get_database
from core.errors import Unauthenticated
from core.pages import PageQuery


def get_session() -> Iterator[Session]:
    """A transaction that commits before the response is sent (`scope="function"`)."""
    with get_database().transaction() as session:
        yield session


def get_reader() -> Iterator[Session]:
    with get_database().reading() as session:
        yield session


SessionDep = Annotated[Session, Depends(get_session, scope="function")]
ReadDep = Annotated[Session, Depends(get_reader, scope="function")]


def principal_of(authorization: str) -> Principal:
    """The holder of the key in that header, or `Unauthenticated`."""
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Unauthenticated("Send 'Authorization: Bearer <key>' with a key of this platform.")
    database = get_database()
    with database.reading() as session:
        principal, stale = authenticate(session, secret.strip())
    if stale:
        with database.transaction() as session:
            touch_key(session, principal.key_id)
    return principal


async def get_principal(request: Request) -> Principal:
    """Who asks, as the gate has found out before the body was read."""
    return request.state.principal


Known = Annotated[Principal, Depends(get_principal)]


async def get_reading_principal(principal: Known) -> Principal:
    principal.require("read")
    return principal


async def get_writing_principal(principal: Known) -> Principal:
    principal.require("write")
    return principal


async def get_administering_principal(principal: Known) -> Principal:
    principal.require("admin")
    return principal


Reader = Annotated[Principal, Depends(get_reading_principal)]
Writer = Annotated[Principal, Depends(get_writing_principal)]
Admin = Annotated[Principal, Depends(get_administering_principal)]


# From the least to the largest: what the document says that an endpoint asks for.
SCOPE_OF = {
    get_reading_principal: "read",
    get_writing_principal: "write",
    get_administering_principal: "admin",
}


async def get_page(
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> PageQuery:
    return PageQuery(after=after, limit=limit, order=order)


PageDep = Annotated[PageQuery, Depends(get_page)]
