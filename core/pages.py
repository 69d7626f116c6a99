"""Keyset pages, newest first: the one way in which lists are read. Knows no table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.orm import Session

from core.errors import InvalidInput


@dataclass(frozen=True)
class PageQuery:
    """Up to `limit` rows behind the row whose id is `after`."""

    after: str | None = None
    limit: int = 20
    order: str = "desc"


@dataclass(frozen=True)
class Page:
    rows: list[Any]
    has_more: bool


def read_page(
    session: Session,
    query: Select[Any],
    key: Any,
    page: PageQuery,
    *,
    cursor: Callable[[str], Any] = str,
) -> Page:
    """One page of `query` along the unique column `key` (ids sort by age)."""
    if page.after is not None:
        try:
            after = cursor(page.after)
            if isinstance(after, int) and not 0 <= after < 2**63:
                raise ValueError(after)
        except ValueError:
            raise InvalidInput(
                f"after={page.after!r} is no id of this list.", param="after"
            ) from None
        query = query.where(key < after if page.order == "desc" else key > after)
    ordered = query.order_by(key.desc() if page.order == "desc" else key.asc())
    rows = list(session.scalars(ordered.limit(page.limit + 1)).unique())
    return Page(rows[: page.limit], len(rows) > page.limit)
